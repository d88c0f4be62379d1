//! Losses of the repairs: determined before anything is written, reported afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};

use anyhow::{Context as _, Result};
use ocfs2_cli::{Interrupt, Interrupted, shown};
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_volume::{Inode, SystemFile, Volume};

use super::Run;
use super::layers::Overlay;
use crate::losses::{Comparison, Doubt, Loss, Touched};
use crate::plan::{Plan, Planned};
use crate::report::{LossRecord, Record};

/// The most losses kept for the report. Further ones are counted, and written to the file of
/// `--lost`.
const LISTED: usize = 100_000;

/// What a run has lost.
#[derive(Debug, Default)]
pub(super) struct Losses {
    listed: Vec<Loss>,
    /// Number of certain losses; the next is that of possible ones.
    pub lost: u64,
    pub doubtful: u64,
}

/// The file of `--lost`.
pub(super) struct LostFile {
    file: BufWriter<File>,
    end: u8,
}

impl LostFile {
    fn write(&mut self, loss: &Loss) -> std::io::Result<()> {
        let Some(path) = loss.path.as_ref().filter(|_| loss.is_certain()) else { return Ok(()) };
        let Some(path) = possible(path) else { return Ok(()) };
        self.file.write_all(&path)?;
        self.file.write_all(&[self.end])
    }
}

/// The path as a file in a backup can have it. No name contains a NUL: what is before it is the
/// name, only the length was wrong. `None` if nothing is before it.
fn possible(path: &[u8]) -> Option<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').map(|name| {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.get(..end).filter(|cut| !cut.is_empty() || name.is_empty())
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join(&b'/'))
}

impl Run<'_> {
    /// Makes the file of `--lost`, if it was asked for.
    pub(super) fn lost_file(&mut self) -> Result<Option<LostFile>> {
        let Some(path) = &self.cli.lost else { return Ok(None) };
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        // An empty file, of a run without losses, is used again.
        let is_empty =
            |path| fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0);
        let made = made.or_else(|err| match err.kind() {
            ErrorKind::AlreadyExists if is_empty(path) => OpenOptions::new().write(true).open(path),
            _ => Err(err),
        });
        let made = made.with_context(|| format!("{} cannot be made", shown(path)))?;
        self.has_lost_file = true;
        let end = if self.cli.nul { 0 } else { b'\n' };
        Ok(Some(LostFile { file: BufWriter::new(made), end }))
    }

    /// Removes the file again: the losses in it did not happen.
    pub(super) fn drop_lost_file(&mut self) {
        if std::mem::take(&mut self.has_lost_file)
            && let Some(path) = &self.cli.lost
        {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Compares the volume before the repairs with what `overlay` makes of it.
    pub(super) fn losses(
        &mut self,
        (before, after): (&Volume, &Volume),
        overlay: &Overlay,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<Losses> {
        let mut listed = self.lost_journals(before, after);
        if self.is_new_superblock {
            listed.push(Loss { inode: SUPERBLOCK_BLKNO, superblock: true, ..Loss::default() });
        }
        let mut losses = Losses { lost: listed.len() as u64, listed, doubtful: 0 };
        let is_corrected = |planned: &Planned| {
            planned.answer && planned.finding.place.block == Some(SUPERBLOCK_BLKNO.0)
        };
        if self.has_doubtful_superblock
            && !self.is_new_superblock
            && (self.early > 0 || plan.findings.iter().any(is_corrected))
        {
            let doubt = Some(Doubt::Superblock);
            losses.listed.push(Loss { inode: SUPERBLOCK_BLKNO, doubt, ..Loss::default() });
            losses.doubtful += 1;
        }
        if !plan.is_changed {
            return Ok(losses);
        }
        let touched = Touched::of(before, overlay, &plan.findings);
        let mut failed = None;
        let found = Comparison::new(before, after, &touched, interrupt).find(&mut |loss| {
            match loss.is_certain() {
                true => losses.lost += 1,
                false => losses.doubtful += 1,
            }
            if let Some(file) = &mut self.lost_file {
                failed = failed.take().or(file.write(&loss).err());
            }
            if losses.listed.len() < LISTED {
                losses.listed.push(loss);
            }
        });
        found.map_err(|_| Interrupted)?;
        if let Some(mut file) = self.lost_file.take() {
            let flushed = failed.map_or_else(|| file.file.flush(), Err);
            let path = self.cli.lost.as_deref().map(shown).unwrap_or_default();
            flushed.with_context(|| format!("{path} cannot be written; nothing was repaired"))?;
        }
        let order = |loss: &Loss| (!loss.is_certain(), loss.path.is_none(), loss.path.clone());
        losses.listed.sort_by_cached_key(order);
        Ok(losses)
    }

    /// Journals of slots that were not unmounted, emptied without a complete replay.
    fn lost_journals(&self, before: &Volume, after: &Volume) -> Vec<Loss> {
        let is_dirty = |inode: &Inode| inode.dinode.journal_flags() & Dinode::JOURNAL_DIRTY != 0;
        let is_journal = |inode: &Inode| inode.dinode.flags().contains(InodeFlags::JOURNAL);
        // What an old entry pointed to, if not a journal, was not that of the slot.
        let own = |slot: &u16| {
            let inode = after.system_file(SystemFile::Journal(*slot));
            inode.and_then(|inode| before.inode(inode.blkno)).ok().filter(is_journal)
        };
        let was_dirty = |slot: &u16| {
            own(slot)
                .or_else(|| before.system_file(SystemFile::Journal(*slot)).ok())
                .is_some_and(|it| is_dirty(&it))
        };
        let was_clean = |slot: &u16| own(slot).is_some_and(|it| !is_dirty(&it));
        let unusable = |slot: &u16| before.journal(*slot).is_err();
        let slots = (0..after.max_slots()).filter(|slot| {
            let is_lost = self.unreplayed.contains(slot) || unusable(slot) && was_dirty(slot);
            // A log replayed in part is clean by now.
            let is_lost = is_lost && !was_clean(slot) || self.torn.contains(slot);
            is_lost && after.journal_is_dirty(*slot).is_ok_and(|is_dirty| !is_dirty)
        });
        let slots = slots
            .filter_map(|slot| Some((slot, after.system_file(SystemFile::Journal(slot)).ok()?)));
        let loss = |(slot, inode): (u16, Inode)| Loss {
            inode: inode.blkno,
            kind: inode.kind(),
            journal: Some(slot),
            ..Loss::default()
        };
        slots.map(loss).collect()
    }

    /// Reports the losses.
    pub(super) fn tell_losses(&mut self, losses: &Losses) {
        for loss in &losses.listed {
            self.report.show(&Record::Lost(&LossRecord::new(loss)));
        }
        let left_off = losses.lost + losses.doubtful - losses.listed.len() as u64;
        if left_off > 0 {
            self.report.note(&format!("{left_off} more losses are not listed."));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_in_a_list_has_a_nul() {
        let cut = |path: &[u8]| possible(path);
        assert_eq!(cut(b"/a/b c\n"), Some(b"/a/b c\n".to_vec()));
        assert_eq!(cut(b"/a\0\0/b\0x/c"), Some(b"/a/b/c".to_vec()));
        assert_eq!(cut(b"/a/\0\0"), None);
        assert_eq!(cut(b"/"), Some(b"/".to_vec()));
    }
}
