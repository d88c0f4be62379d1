//! Journals: cleared, replayed, and given transactions that are not yet written to their places.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::Blkno;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_volume::journal::Transaction;

use super::{counted, refused, say};
use crate::commands::blocks::block;
use crate::error::{Explain, Failure, of_file};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::number;

/// Blocks overwritten at a time.
const PIECE: u64 = 256;

/// Parses the number of a slot.
pub fn slot_of(shell: &Shell, word: &[u8]) -> Result<u16, Failure> {
    let slots = shell.fs()?.volume.max_slots();
    let slot = number(word).and_then(|slot| u16::try_from(slot).ok());
    let invalid = || Failure::Failed("Invalid node slot number".to_owned());
    slot.filter(|slot| *slot < slots).ok_or_else(invalid)
}

/// `logclear`: overwrites the log of a clean journal with zeros.
pub(in super::super) fn logclear(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word] = words else { return Err(Failure::Usage) };
    let slot = slot_of(shell, word)?;
    if shell.writer()?.log_slot() == Some(slot) {
        return Err(refused(word, "has a journal that is open: jc closes it"));
    }
    let volume = shell.fs()?.volume.on(shell.fs()?.volume.device().clone());
    let journal = volume.journal(slot)?;
    let JournalSuperblock { s_first, s_maxlen, .. } = journal.superblock;
    if journal.is_dirty() {
        return Err(refused(
            word,
            "has a journal that has to be replayed: jr or fsck.ocfs2 does it",
        ));
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
                // Blocks of zeros need not be written.
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

/// `jo`: opens a journal for transactions that stay in it.
pub(in super::super) fn jo(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word] = words else { return Err(Failure::Usage) };
    let slot = slot_of(shell, word)?;
    shell.writer()?.open_log(slot)?;
    out.row(
        "log_change",
        |it| it.put("slot", slot).put("is_open", true),
        format_args!("the journal of slot {slot} is open: jw writes to it, jc closes it"),
    )?;
    Ok(())
}

/// `jc`: closes the open journal as a crash would.
pub(in super::super) fn jc(
    shell: &mut Shell,
    _: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (slot, written) = shell.writer()?.close_log()?;
    let count = written.transactions;
    let text = match count {
        0 => format!("the journal of slot {slot} is closed and as it was"),
        1 => format!(
            "the journal of slot {slot} is closed and has 1 transaction: jr, fsck.ocfs2 or a mount \
             replays it"
        ),
        _ => format!(
            "the journal of slot {slot} is closed and has {count} transactions: jr, fsck.ocfs2 or a \
             mount replays them"
        ),
    };
    out.row(
        "log_change",
        |it| it.put("slot", slot).put("is_open", false).put("transactions", count),
        format_args!("{text}"),
    )?;
    Ok(())
}

/// `jr`: replays the journals of nodes that did not unmount, and does the rest of their recovery.
pub(in super::super) fn jr(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    if let Some(slot) = shell.writer()?.log_slot() {
        return Err(Failure::Failed(format!("The journal of slot {slot} is open: jc closes it")));
    }
    let owing = shell.writer()?.unfinished()?;
    let wanted = match words {
        [] => owing,
        [word] => {
            let slot = slot_of(shell, word)?;
            owing.into_iter().filter(|it| *it == slot).collect()
        }
        _ => return Err(Failure::Usage),
    };
    if wanted.is_empty() {
        out.row("recovery", |it| it, format_args!("No journal has to be replayed"))?;
        return Ok(());
    }
    for slot in shell.recover(&wanted)? {
        let replayed = slot.replayed;
        let (transactions, blocks) =
            replayed.map_or((0, 0), |replayed| (replayed.transactions, replayed.blocks));
        let clusters = slot.leftovers.as_ref().map_or(0, |leftovers| leftovers.clusters());
        let (number, deleted, left) = (slot.slot, slot.deleted, slot.left_count);
        out.row(
            "recovery",
            |it| {
                let it = it.put("slot", number).put("transactions", transactions);
                let it = it.put("blocks", blocks).put("clusters", clusters);
                it.put("deleted", deleted).put("left", left)
            },
            format_args!(
                "slot {number}: {} with {} replayed, {} given back, {} deleted, {left} left",
                counted(transactions.into(), "transaction"),
                counted(blocks as u64, "block"),
                counted(clusters, "cluster"),
                counted(deleted, "orphan"),
            ),
        )?;
    }
    Ok(())
}

/// `jw`: leaves a transaction in the journal of a slot, as a crash would.
pub(in super::super) fn jw(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (mut revoked, mut words) = (BTreeSet::new(), words);
    let mut named = None;
    while let [option, word, rest @ ..] = words
        && (option == b"-r" || option == b"-b")
    {
        match option == b"-r" {
            true => drop(revoked.insert(block(shell.fs()?, word)?)),
            false => named = Some(word),
        }
        words = rest;
    }
    let open = shell.writer()?.log_slot();
    // If a journal is open, its slot can be left out.
    let (word, target) = match (words, named, open) {
        ([], None, Some(_)) if !revoked.is_empty() => (None, None),
        ([file], Some(target), Some(_)) | ([target, file], None, Some(_)) => {
            (None, Some((target, file)))
        }
        ([word], None, _) if !revoked.is_empty() => (Some(word), None),
        ([word, file], Some(target), _) | ([word, target, file], None, _) => {
            (Some(word), Some((target, file)))
        }
        _ => return Err(Failure::Usage),
    };
    let slot = match (word, open) {
        (Some(word), _) => slot_of(shell, word)?,
        (None, Some(slot)) => slot,
        (None, None) => return Err(Failure::Usage),
    };
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
    match open {
        Some(_) if open == Some(slot) => shell.writer()?.append(transaction)?,
        _ => shell.writer()?.log(slot, transaction)?,
    }
    out.row(
        "log_change",
        |it| it.put("slot", slot).put("blocks", count).put("revoked", revoked),
        format_args!(
            "the journal of slot {slot} has a transaction that writes {count} and revokes \
             {revoked} blocks: jr, fsck.ocfs2 or a mount replays it"
        ),
    )?;
    Ok(())
}
