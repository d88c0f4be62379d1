//! Blocks in hexadecimal, their kinds, and their validity.

use std::io::Write;

use ocfs2_format::{Blkno, check};

use super::only;
use crate::error::{Explain, Failure, Problem};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::fields::hex;
use crate::show::parts::{check_offset, kind, verify};

/// Bytes per line.
const LINE: usize = 16;

fn dump(out: &mut Screen, bytes: &[u8]) -> Result<(), Failure> {
    out.record("bytes", |it| it.put("hex", hex(bytes)))?;
    let mut before: Option<&[u8]> = None;
    let mut is_skipped = false;
    for (index, line) in bytes.chunks(LINE).enumerate() {
        // Lines equal to the one before are shown as a single star.
        if before == Some(line) {
            if !is_skipped {
                writeln!(out, "*")?;
            }
            is_skipped = true;
            continue;
        }
        (before, is_skipped) = (Some(line), false);
        let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.join(" ");
        let text = line.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        writeln!(out, "{:04x}  {hex:<48} {}", index * LINE, text.collect::<String>())?;
    }
    writeln!(out, "{:04x}", bytes.len())?;
    Ok(())
}

/// `block_dump`
pub(super) fn block_dump(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = only(words)?;
    // A file stands for its inode.
    let blkno = shell.find(fs, word).of(word)?;
    dump(out, &fs.block(blkno).of(word)?)
}

/// `inode_dump`
pub(super) fn inode_dump(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = only(words)?;
    let blkno = shell.find(fs, word).of(word)?;
    dump(out, fs.inode(blkno).of(word)?.block())
}

/// Reads the block that a word names; returns it with its kind.
fn described(shell: &Shell, word: &[u8]) -> Result<(Blkno, Vec<u8>, &'static str), Failure> {
    let fs = shell.fs()?;
    let blkno = shell.find(fs, word).of(word)?;
    let block = fs.block(blkno).of(word)?;
    let kind = kind(&block);
    let none = || Failure::Failed(format!("Block {blkno} has no signature that is known"));
    Ok((blkno, block, kind.ok_or_else(none)?))
}

/// `type`
pub(super) fn type_of(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (blkno, _, kind) = described(shell, only(words)?)?;
    out.row(
        "block_type",
        |it| it.put("block", blkno.0).put("structure", kind),
        format_args!("Block {blkno} is a {kind}"),
    )?;
    Ok(())
}

/// `verify`
pub(super) fn verify_block(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let word = only(words)?;
    let (blkno, block, kind) = described(shell, word)?;
    let fs = shell.fs()?;
    let wrong = |problem: Problem| Failure::Failed(format!("Block {blkno}: {problem}"));
    verify(&block, blkno, &fs.volume).map_err(wrong)?;
    if let Some(offset) = check_offset(&block).filter(|_| fs.has_checks()) {
        let mut stamped = block.clone();
        check::stamp(&mut stamped, offset);
        if stamped != block {
            return Err(Failure::Failed(format!("The check of block {blkno} does not hold")));
        }
    }
    out.row(
        "block_type",
        |it| it.put("block", blkno.0).put("structure", kind).put("is_sound", true),
        format_args!("Block {blkno} is a sound {kind}"),
    )?;
    Ok(())
}
