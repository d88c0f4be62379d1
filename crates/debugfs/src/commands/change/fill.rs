//! Blocks filled with a pattern.

use ocfs2_format::Blkno;

use super::{refused, say};
use crate::commands::blocks::block;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::count_of;

/// The most bytes that are filled at once: they are kept in memory until they are written.
const MOST_BYTES: u64 = 64 << 20;

/// `fill`: as `zap` for blocks in a row, with a pattern of any length. It begins again in each
/// block.
pub(in super::super) fn fill(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (count, words) = match words {
        [option, count, rest @ ..] if option == b"-n" => (count_of(count)?, rest),
        words => (1, words),
    };
    let [word, digits] = words else { return Err(Failure::Usage) };
    let pattern = pattern_of(digits)?;
    let fs = shell.fs()?;
    let first = block(fs, word)?;
    fs.block(first).of(word)?;
    let size = fs.volume.block_size().size();
    let is_there = first.0.checked_add(count - 1).is_some_and(|last| fs.is_block(Blkno(last)));
    if !is_there || count.saturating_mul(size as u64) > MOST_BYTES {
        return Err(refused(word, "is not followed by so many blocks, or by more than 64 MiB"));
    }
    let one: Vec<u8> = pattern.iter().copied().cycle().take(size).collect();
    let all = one.repeat(count as usize);
    let committed = shell.damage(|edit| Ok(edit.put_blocks(first, &all)?))?;
    let last = first.0 + count - 1;
    let which = match count {
        1 => format!("block {first} is"),
        _ => format!("blocks {first} to {last} are"),
    };
    say(out, &format!("{which} full of {}", ocfs2_cli::terminal(digits)), committed)
}

/// The bytes that pairs of hexadecimal digits stand for.
fn pattern_of(digits: &[u8]) -> Result<Vec<u8>, Failure> {
    let (pairs, []) = digits.as_chunks::<2>() else { return Err(Failure::Usage) };
    let byte = |[high, low]: &[u8; 2]| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
    };
    let bytes: Option<Vec<_>> = pairs.iter().map(byte).collect();
    bytes
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| refused(digits, "is no pattern: hexadecimal digits, two for each byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_pairs_of_digits() {
        assert_eq!(pattern_of(b"dEad00").unwrap(), [0xde, 0xad, 0]);
        for wrong in ["", "d", "dea", "0x12", "xx", "+1"] {
            assert!(pattern_of(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
