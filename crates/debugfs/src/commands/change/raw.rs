//! Blocks overwritten without a journal: intended damage, and corrected checks.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::{Blkno, Block, BlockCheck, Structure, check};

use super::{refused, say};
use crate::commands::blocks::block;
use crate::commands::print::shape_of;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::parts::check_offset;
use crate::words::number_of;

/// Which part of a block is overwritten, and with what.
struct Zap {
    from: usize,
    len: usize,
    pattern: u8,
    bit: Option<usize>,
    mends_check: bool,
}

impl Zap {
    fn of(words: &[Vec<u8>], size: usize) -> Result<(Self, &[u8]), Failure> {
        let mut zap = Self { from: 0, len: size, pattern: 0, bit: None, mends_check: false };
        let (mut block, mut len, mut words) = (None, None, words.iter());
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or(Failure::Usage);
            match word.as_slice() {
                b"-o" => zap.from = number_of(next()?)?,
                b"-l" => len = Some(number_of(next()?)?),
                b"-p" => zap.pattern = number_of(next()?)?,
                b"-b" => zap.bit = Some(number_of(next()?)?),
                b"-c" => zap.mends_check = true,
                word if block.is_none() && !word.starts_with(b"-") => block = Some(word),
                _ => return Err(Failure::Usage),
            }
        }
        zap.len = len.unwrap_or(size.saturating_sub(zap.from));
        let is_within = zap.from.checked_add(zap.len).is_some_and(|end| end <= size)
            && zap.bit.is_none_or(|bit| bit < 8 * zap.len);
        let word = block.ok_or(Failure::Usage)?;
        if is_within { Ok((zap, word)) } else { Err(refused(word, "is not so long")) }
    }

    fn apply(&self, bytes: &mut [u8]) {
        let Some(part) = bytes.get_mut(self.from..self.from + self.len) else { return };
        match self.bit {
            Some(bit) => {
                if let Some(byte) = part.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            None => part.fill(self.pattern),
        }
    }
}

/// `zap`
pub(in super::super) fn zap(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (zap, word) = Zap::of(words, fs.volume.block_size().size())?;
    let blkno = block(fs, word)?;
    let mut bytes = fs.block(blkno).of(word)?;
    zap.apply(&mut bytes);
    let what = match zap.bit {
        Some(bit) => format!("bit {bit} from byte {} on of block {blkno} is another one", zap.from),
        None => {
            let Zap { from, len, pattern, .. } = zap;
            format!("{len} bytes of block {blkno} from {from} on are {pattern:#04x}")
        }
    };
    if zap.mends_check {
        stamp(&mut bytes, blkno)?;
    }
    overwrite(shell, blkno, &bytes, &what, out)
}

/// `copy_block`
pub(in super::super) fn copy_block(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [from, to] = words else { return Err(Failure::Usage) };
    let fs = shell.fs()?;
    let (source, target) = (block(fs, from)?, block(fs, to)?);
    let bytes = fs.block(source).of(from)?;
    fs.block(target).of(to)?;
    let what = format!("block {target} is a copy of block {source}");
    overwrite(shell, target, &bytes, &what, out)
}

/// `copy_inode`: copies an inode, except its block, its generation and where it was allocated.
pub(in super::super) fn copy_inode(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (is_meant, words) = crate::commands::option(words, "--direct");
    let [from, to] = words else { return Err(Failure::Usage) };
    if !is_meant {
        let why = "would share its clusters without being counted: reflink does it, or --direct";
        return Err(refused(from, why));
    }
    let fs = shell.fs()?;
    let (source, target) = (shell.find(fs, from).of(from)?, shell.find(fs, to).of(to)?);
    let (source, own) = (fs.inode(source).of(from)?, fs.inode(target).of(to)?.dinode);
    let mut bytes = source.block().to_vec();
    let copy = Dinode {
        i_blkno: own.i_blkno,
        i_generation: own.i_generation,
        i_suballoc_slot: own.i_suballoc_slot,
        i_suballoc_bit: own.i_suballoc_bit,
        i_suballoc_loc: own.i_suballoc_loc,
        ..source.dinode.clone()
    };
    copy.encode(&mut bytes)?;
    if fs.has_checks() {
        Dinode::stamp(&mut bytes);
    }
    let what = format!("inode {target} is a copy of inode {}", source.blkno);
    overwrite(shell, target, &bytes, &what, out)
}

fn overwrite(
    shell: &mut Shell,
    blkno: Blkno,
    bytes: &[u8],
    what: &str,
    out: &mut Screen,
) -> Result<(), Failure> {
    let committed = shell.damage(|edit| Ok(edit.put_blocks(blkno, bytes)?))?;
    say(out, what, committed)
}

fn stamp(bytes: &mut [u8], blkno: Blkno) -> Result<(), Failure> {
    let none = || Failure::Failed(format!("Block {blkno} has no signature that is known"));
    let offset = check_offset(bytes).ok_or_else(none)?;
    check::stamp(bytes, offset);
    Ok(())
}

/// What `crc` does.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Crc {
    Say,
    Show,
    Mend,
    Break,
}

/// `crc`: shows whether the check of a block is right; `-v` shows it as well, `-r` corrects it,
/// `-i` makes it wrong.
pub(in super::super) fn crc(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (what, words) = match words.split_first() {
        Some((word, rest)) if word == b"-v" => (Crc::Show, rest),
        Some((word, rest)) if word == b"-r" => (Crc::Mend, rest),
        Some((word, rest)) if word == b"-i" => (Crc::Break, rest),
        _ => (Crc::Say, words),
    };
    let (shape, words) = shape_of(words)?;
    let [word] = words else { return Err(Failure::Usage) };
    let fs = shell.fs()?;
    if !fs.has_checks() {
        return Err(Failure::Failed("The volume has no block checks (metaecc)".to_owned()));
    }
    let blkno = shell.find(fs, word).of(word)?;
    let mut bytes = fs.block(blkno).of(word)?;
    let none = || Failure::Failed(format!("Block {blkno} has no signature that is known"));
    let offset = shape.check_offset(&bytes).ok_or_else(none)?;
    let stored = BlockCheck::decode(bytes.get(offset..).unwrap_or_default())?;
    let computed = check::compute(&bytes, offset);
    let holds = (stored.bc_crc32e, stored.bc_ecc) == (computed.bc_crc32e, computed.bc_ecc);
    match what {
        Crc::Mend if !holds => {
            check::stamp(&mut bytes, offset);
            let text = format!("the check of block {blkno} did not hold and does");
            return overwrite(shell, blkno, &bytes, &text, out);
        }
        Crc::Break => {
            // Turned altogether, so that no bit of the block can make up for it.
            let wrong = BlockCheck { bc_crc32e: !computed.bc_crc32e, ..computed };
            wrong.encode(bytes.get_mut(offset..).unwrap_or_default())?;
            let text = format!("the check of block {blkno} does not hold any more");
            return overwrite(shell, blkno, &bytes, &text, out);
        }
        _ => {}
    }
    let verb = if holds { "holds" } else { "does not hold" };
    if holds || what == Crc::Show {
        let of = |check: &BlockCheck| format!("{:08x} {:04x}", check.bc_crc32e, check.bc_ecc);
        let values = match what {
            Crc::Show if holds => format!(": CRC32 and ECC {}", of(&stored)),
            Crc::Show => format!(": CRC32 and ECC {}, computed {}", of(&stored), of(&computed)),
            _ => String::new(),
        };
        out.row(
            "check",
            |it| {
                let it = it.put("block", blkno.0).put("check_holds", holds);
                let it = it.put("crc32", stored.bc_crc32e).put("ecc", stored.bc_ecc);
                it.put("computed_crc32", computed.bc_crc32e).put("computed_ecc", computed.bc_ecc)
            },
            format_args!("the check of block {blkno} {verb}{values}"),
        )?;
    }
    if holds {
        return Ok(());
    }
    Err(Failure::Failed(format!("The check of block {blkno} does not hold")))
}
