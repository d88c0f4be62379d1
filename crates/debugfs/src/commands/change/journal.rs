//! Journals: emptied for good, and with a transaction that nobody has brought to its place.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::Blkno;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_volume::journal::Transaction;

use super::{refused, say};
use crate::commands::blocks::block;
use crate::error::{Explain, Failure, of_file};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::number;

/// Blocks that are overwritten at once.
const PIECE: u64 = 256;

/// The slot that a word names.
pub fn slot_of(shell: &Shell, word: &[u8]) -> Result<u16, Failure> {
    let slots = shell.fs()?.volume.max_slots();
    let slot = number(word).and_then(|slot| u16::try_from(slot).ok());
    let invalid = || Failure::Failed("Invalid node slot number".to_owned());
    slot.filter(|slot| *slot < slots).ok_or_else(invalid)
}

/// `logclear`: zeros over what is in the log of a slot, of which nothing is needed any more.
pub(in super::super) fn logclear(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word] = words else { return Err(Failure::Usage) };
    let slot = slot_of(shell, word)?;
    let volume = shell.fs()?.volume.on(shell.fs()?.volume.device().clone());
    let journal = volume.journal(slot)?;
    let JournalSuperblock { s_first, s_maxlen, .. } = journal.superblock;
    if journal.is_dirty() {
        return Err(refused(word, "has a journal that has to be replayed: fsck.ocfs2 does it"));
    }
    let bits = volume.geometry().bpc_bits();
    let used = u64::from(s_first)..u64::from(s_maxlen);
    let interrupt = shell.interrupt().clone();
    let size = volume.block_size().size();
    let committed = shell.damage(|edit| {
        for extent in volume.tree(&journal.inode)?.extents() {
            let extent = extent?;
            let start = u64::from(extent.cpos.0) << bits;
            let end = (start + (u64::from(extent.clusters) << bits)).min(used.end);
            let mut at = start.max(used.start);
            while at < end {
                interrupt.check()?;
                let count = PIECE.min(end - at);
                let blkno = Blkno(extent.blkno.0 + (at - start));
                // What is zeros already is not written again.
                let there = volume.read_blocks(blkno, count as u32)?;
                for (index, _) in there.chunks(size).enumerate().filter(|(_, it)| !is_zeros(it)) {
                    edit.put_blocks(Blkno(blkno.0 + index as u64), &vec![0; size])?;
                }
                at += count;
            }
        }
        Ok(())
    })?;
    say(out, &format!("the log of slot {slot} is zeros"), committed)
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// `jw`: a transaction in the journal of a slot, as after a crash.
pub(in super::super) fn jw(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (mut revoked, mut words) = (BTreeSet::new(), words);
    while let [option, word, rest @ ..] = words
        && option == b"-r"
    {
        revoked.insert(block(shell.fs()?, word)?);
        words = rest;
    }
    let (word, target) = match words {
        [word] if !revoked.is_empty() => (word, None),
        [word, target, file] => (word, Some((target, file))),
        _ => return Err(Failure::Usage),
    };
    let slot = slot_of(shell, word)?;
    let fs = shell.fs()?;
    let size = fs.volume.block_size().size();
    let mut transaction = Transaction { revoked, ..Transaction::default() };
    if let Some((target, file)) = target {
        let first = block(fs, target)?;
        let path = Path::new(std::ffi::OsStr::from_bytes(file));
        let most = fs.volume.journal(slot)?.inode.size();
        let metadata = path.metadata().map_err(|err| of_file(&err, path))?;
        if metadata.len() == 0 || metadata.len() > most {
            return Err(refused(file, "has nothing, or more than the journal"));
        }
        let bytes = std::fs::read(path).map_err(|err| of_file(&err, path))?;
        for (index, chunk) in bytes.chunks(size).enumerate() {
            let blkno = Blkno(first.0 + index as u64);
            fs.block(blkno).of(target)?;
            let mut bytes = chunk.to_vec();
            bytes.resize(size, 0);
            transaction.blocks.insert(blkno, bytes);
        }
    }
    let (count, revoked) = (transaction.blocks.len(), transaction.revoked.len());
    shell.writer()?.log(slot, transaction)?;
    writeln!(
        out,
        "the journal of slot {slot} has a transaction that writes {count} and revokes {revoked} \
         blocks: fsck.ocfs2 or a mount replays it"
    )?;
    Ok(())
}
