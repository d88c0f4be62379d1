//! The overlays in which a run works out its changes, one on top of the other, and how they reach
//! the device.
//!
//! Nothing is written before the passes have seen the recovered volume: only they know whether
//! another file also claims the clusters of a journal or of the slot map. Then the recovery is made
//! on the device, not copied there: again in its own order and transactions, as it was worked out.
//! The repairs are committed afterwards.
//!
//! If the recovery would write over clusters that another file claims, that has to be repaired in
//! the same run. Then recovery and repairs are a single commit, which uses none of the journals to
//! be recovered.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, anyhow};
use ocfs2_cli::{Interrupt, Interrupted};
use ocfs2_device::{Device, OverlayDevice};
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::gate::{Gate, Pass, Planned, Worked};
use ocfs2_volume::recovery::{RecoverOptions, Writes};
use ocfs2_volume::{SystemFile, Volume};

use crate::codes::refcounts as codes;
use crate::plan::Plan;

/// An overlay in which changes are worked out.
pub(super) type Overlay = Arc<OverlayDevice<Arc<dyn Device>>>;

/// The end of the message if the device fails during the writes.
const UNFINISHED: &str = "the repairs were not written to their end; once the device can be written \
                          again, fsck.ocfs2 -fy finishes them";

/// The overlays below the repairs.
pub(super) struct Layers {
    /// The device, which cannot be written through this handle if there is a gate.
    device: Arc<dyn Device>,
    /// What writes go through; `None` if nothing is written.
    pub gate: Option<Gate>,
    /// What is repaired before the recovery: what the superblock names, and the marks of journals.
    pub tops: Overlay,
    /// On top of that, the recovery of slots.
    pub recovered: Overlay,
    /// The slots that are recovered.
    pub slots: Vec<u16>,
    /// The time given to deleted orphans, in seconds since 1970.
    pub time: u64,
    changes_bytes: u64,
    written: Cell<bool>,
    /// Number of blocks written early, since they mark journals as such.
    marks: Cell<usize>,
    /// Called before the first write.
    before_writes: Box<dyn Fn()>,
}

/// System files that the recovery writes to although others claim their clusters.
#[derive(Debug, Default)]
pub(super) struct Collision {
    /// The text of the first such finding.
    pub text: String,
    /// Whether each of the files has clusters of its own after all repairs.
    pub is_repaired: bool,
    /// Offsets in bytes of blocks that the recovery has changed in clusters which do not belong to
    /// the file.
    pub not_its_own: Vec<u64>,
}

impl Layers {
    /// Starts without changes, which may take about `changes_bytes` bytes of memory.
    pub fn new(
        device: Arc<dyn Device>,
        gate: Option<Gate>,
        volume: &Volume,
        changes_bytes: u64,
    ) -> Self {
        let device = gate.as_ref().map_or(device, Gate::sealed);
        // The other half is for the repairs, which come on top.
        let changes_bytes = changes_bytes / 2;
        let tops = overlay(Arc::clone(&device), volume, changes_bytes);
        let recovered = overlay(tops.clone(), volume, changes_bytes);
        let (slots, time, written) = (Vec::new(), 0, Cell::new(false));
        Self {
            device,
            gate,
            tops,
            recovered,
            slots,
            time,
            changes_bytes,
            written,
            marks: Cell::new(0),
            before_writes: Box::new(|| {}),
        }
    }

    /// Registers `call`, which is called before anything is written.
    pub fn before_writes(&mut self, call: impl Fn() + 'static) {
        self.before_writes = Box::new(call);
    }

    /// Announces that writes follow.
    pub fn begin_writes(&self) {
        (self.before_writes)();
    }

    /// A new overlay on top of all others, for repairs.
    pub fn repairs(&self, volume: &Volume) -> Overlay {
        overlay(self.recovered.clone(), volume, self.changes_bytes)
    }

    /// The number of blocks changed before any repair.
    pub fn changed_blocks(&self) -> usize {
        self.tops.changed_blocks() + self.recovered.changed_blocks()
    }

    /// Whether anything was written to the device.
    pub fn is_written(&self) -> bool {
        self.written.get()
    }

    /// The number of blocks that were written early, before everything else.
    pub fn marks(&self) -> usize {
        self.marks.get()
    }

    /// Returns the files, if any, whose clusters the recovery overwrites although others claim
    /// them. `volume` is the recovered volume, `changes` are the repairs.
    ///
    /// `dropped` are the offsets of blocks that were dropped from the recovery since they belong to
    /// others: made on the device, the recovery would still write them.
    pub fn collision(
        &self,
        (volume, changes): (&Volume, &Overlay),
        plan: &Plan,
        dropped: &[u64],
    ) -> Option<Collision> {
        let block = u64::from(volume.block_size().bytes());
        let mut changed = self.recovered.changed_ranges();
        changed.extend(dropped.iter().map(|at| *at..at.saturating_add(block)));
        changed.sort_by_key(|range| range.start);
        changed.dedup();
        let mut found: Option<Collision> = None;
        let journals = self.slots.iter().map(|slot| volume.system_file(SystemFile::Journal(*slot)));
        let journals: Vec<_> = journals.flatten().map(|inode| inode.blkno).collect();
        for planned in &plan.findings {
            if planned.finding.code.name != codes::DUP_CLUSTERS_SYSFILE_CLONE.name {
                continue;
            }
            let Some(inode) = planned.finding.place.inode.map(Blkno) else { continue };
            let stored = stored(volume, inode);
            let touched = overlaps(&changed, &stored);
            if touched.is_empty() && !journals.contains(&inode) {
                continue;
            }
            let after: Arc<dyn Device> = changes.clone();
            let kept = self::stored(&volume.on(after), inode);
            let blocks = touched.iter().flat_map(|range| range.clone().step_by(block as usize));
            let gone = blocks.filter(|at| !kept.iter().any(|range| range.contains(at)));
            let collision = found.get_or_insert_with(|| Collision {
                text: planned.finding.text.clone(),
                is_repaired: true,
                not_its_own: Vec::new(),
            });
            collision.is_repaired &= planned.is_repaired;
            collision.not_its_own.extend(gone);
        }
        found
    }

    /// Writes everything through `gate`; `commit` writes what is left after the recovery. `volume`
    /// is the recovered volume, `changes` are the repairs.
    pub fn write<T>(
        &self,
        gate: &Gate,
        (volume, changes): (&Volume, &Overlay),
        collision: Option<&Collision>,
        interrupt: &Interrupt,
        commit: impl FnOnce(&Volume, &Overlay, &Pass<'_>) -> Result<T, CommitError>,
    ) -> Result<T> {
        interrupt.check()?;
        self.begin_writes();
        let on_device = volume.on(Arc::clone(&self.device));
        let recovered: [&dyn Worked; 3] = [&*self.tops, &*self.recovered, &**changes];
        let mut worked = &recovered[..];
        let repairs: [&dyn Worked; 2] = [&*self.tops, &**changes];
        self.write_marks(gate, worked, (volume, changes), collision)?;
        let is_apart = collision.is_none()
            && !self.changes_a_journal(volume, changes)
            && !self.mends_a_journal(volume);
        if self.recovered.changed_blocks() > 0 && is_apart {
            let outcome: Arc<dyn Device> = self.recovered.clone();
            let planned = Planned { changes: worked, outcome: Some(&outcome) };
            let pass = gate.open(planned).map_err(|changed| self.stopped(&changed))?;
            for layer in [&self.tops, &self.recovered, changes] {
                let reserved = on_device.reserve_changes(layer, &pass);
                reserved.map_err(|err| self.stopped(&err))?;
            }
            self.written.set(true);
            self.recover(&on_device, &pass, interrupt)?;
            self.forget_what_is_there(&on_device)?;
            worked = &repairs;
        }
        let all = self.flattened(volume, changes)?;
        let outcome: Arc<dyn Device> = all.clone();
        let planned = Planned { changes: worked, outcome: Some(&outcome) };
        let pass = gate.open(planned).map_err(|changed| self.stopped(&changed))?;
        interrupt.check()?;
        let written = commit(&on_device, &all, &pass);
        let is_written = match &written {
            Ok(_) => all.changed_blocks() > 0,
            Err(err) => !err.is_before_writes(),
        };
        if let Err(err) = &written
            && !is_written
        {
            return Err(self.stopped(err));
        }
        self.written.set(self.written.get() || is_written);
        written.context(UNFINISHED)
    }

    /// Writes what marks journals as such, block by block: a journal without that can take neither
    /// the recovery nor repairs. If others claim the blocks as well, they wait for the single
    /// commit.
    fn write_marks(
        &self,
        gate: &Gate,
        worked: &[&dyn Worked],
        (volume, changes): (&Volume, &Overlay),
        collision: Option<&Collision>,
    ) -> Result<()> {
        let journals = (0..volume.max_slots()).filter_map(|slot| volume.journal(slot).ok());
        let blocks = journals.flat_map(|journal| [journal.inode.blkno, journal.blkno]);
        let offsets = blocks.filter_map(|blkno| blkno.offset_bytes(volume.block_size()));
        let is_mark = |offset: &u64| self.tops.is_changed(*offset) && !changes.is_changed(*offset);
        let offsets: Vec<u64> = offsets.filter(is_mark).collect();
        if offsets.is_empty() || collision.is_some() {
            return Ok(());
        }
        let outcome: Arc<dyn Device> = self.tops.clone();
        let planned = Planned { changes: worked, outcome: Some(&outcome) };
        let pass = gate.open(planned).map_err(|changed| self.stopped(&changed))?;
        for offset in offsets {
            let mut block = vec![0; volume.block_size().size()];
            self.tops.read_at(&mut block, offset)?;
            self.written.set(true);
            pass.write_at(&block, offset).context(UNFINISHED)?;
            self.marks.set(self.marks.get() + 1);
            self.tops.forget(offset);
        }
        pass.flush().context(UNFINISHED)
    }

    /// The error for a run that stopped because of `cause`, with what was written until then.
    fn stopped(&self, cause: &dyn Display) -> Error {
        match self.written.get() {
            false => anyhow!("{cause}; nothing was written"),
            true => anyhow!("{cause}; no repair was written, only what comes before them"),
        }
    }

    /// Whether the repairs change the superblock of a journal to be recovered: the recovery relies
    /// on the old one while it is written.
    fn changes_a_journal(&self, volume: &Volume, changes: &Overlay) -> bool {
        self.journals(volume).any(|(_, offset)| changes.is_changed(offset))
    }

    /// Whether a journal to be recovered has marks that are only correct in the overlay.
    fn mends_a_journal(&self, volume: &Volume) -> bool {
        self.journals(volume).any(|(journal, offset)| {
            let inode = journal.inode.blkno.offset_bytes(volume.block_size());
            self.tops.is_changed(offset) || inode.is_some_and(|inode| self.tops.is_changed(inode))
        })
    }

    /// The journals of the slots, with the offset of their superblocks in bytes.
    fn journals<'a>(
        &'a self,
        volume: &'a Volume,
    ) -> impl Iterator<Item = (ocfs2_volume::Journal, u64)> + 'a {
        let journals = self.slots.iter().filter_map(|slot| volume.journal(*slot).ok());
        journals.filter_map(|journal| {
            let offset = journal.blkno.offset_bytes(volume.block_size())?;
            Some((journal, offset))
        })
    }

    /// Repeats the recovery, this time on the device.
    fn recover(&self, on_device: &Volume, pass: &Pass<'_>, interrupt: &Interrupt) -> Result<()> {
        let changed = RefCell::new(None);
        let interrupted = || {
            if !interrupt.requested() && changed.borrow().is_none() {
                *changed.borrow_mut() = pass.still().err();
            }
            interrupt.requested() || changed.borrow().is_some()
        };
        let (slots, time, writes) = (&self.slots[..], self.time, Writes::Journaled);
        on_device.recover(pass, &RecoverOptions { slots, writes, time, interrupted: &interrupted });
        if let Some(changed) = changed.into_inner() {
            return Err(anyhow!("{changed}; only a part of what slots owed was written"));
        }
        if interrupt.requested() {
            return Err(Interrupted.into());
        }
        Ok(())
    }

    /// Removes from the overlay what the device has now. Blocks that the recovery could not write
    /// through a journal stay, and are committed with the repairs.
    fn forget_what_is_there(&self, on_device: &Volume) -> Result<()> {
        // These superblocks differ from the overlay: their sequence numbers went on. Committed, the
        // overlay's would set them back.
        let emptied = self.journals(on_device).filter(|(it, _)| it.superblock.s_start == 0);
        let mut same: Vec<u64> = emptied.map(|(_, offset)| offset).collect();
        self.recovered.for_each_change::<std::io::Error>(|offset, bytes| {
            let mut now = vec![0; bytes.len()];
            self.device.read_at(&mut now, offset)?;
            if now == bytes {
                same.push(offset);
            }
            Ok(())
        })?;
        for offset in same {
            self.recovered.forget(offset);
            // The recovery has overwritten what was below it.
            self.tops.forget(offset);
        }
        Ok(())
    }

    /// Merges all changes into one overlay on the device.
    fn flattened(&self, volume: &Volume, changes: &Overlay) -> Result<Overlay> {
        if self.changed_blocks() == 0 {
            return Ok(Arc::clone(changes));
        }
        let all = OverlayDevice::within(
            Arc::clone(&self.device),
            volume.block_size().bytes(),
            self.changes_bytes,
        );
        for layer in [&self.tops, &self.recovered, changes] {
            layer.for_each_change(|offset, bytes| all.write_at(bytes, offset))?;
        }
        Ok(Arc::new(all))
    }
}

fn overlay(device: Arc<dyn Device>, volume: &Volume, memory_bytes: u64) -> Overlay {
    let block_size = volume.block_size().bytes();
    Arc::new(OverlayDevice::within(device, block_size, memory_bytes).remembering())
}

/// Where the contents of an inode are, in bytes, as far as its tree can be read.
fn stored(volume: &Volume, inode: Blkno) -> Vec<Range<u64>> {
    let geometry = volume.geometry();
    let Ok(inode) = volume.inode(inode) else { return Vec::new() };
    let Ok(tree) = volume.tree(&inode) else { return Vec::new() };
    let extents = tree.extents().map_while(Result::ok);
    let ranges = extents.filter_map(|extent| {
        let start = extent.blkno.offset_bytes(geometry.block_size)?;
        let len = u64::from(extent.clusters) << geometry.cluster_size.bits();
        Some(start..start.checked_add(len)?)
    });
    ranges.collect()
}

/// The parts of `these` that are in `those`; `these` have to be in order.
fn overlaps(these: &[Range<u64>], those: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for that in those {
        let first = these.partition_point(|range| range.end <= that.start);
        let rest = these.get(first..).unwrap_or_default();
        let overlapping = rest.iter().take_while(|range| range.start < that.end);
        found.extend(overlapping.map(|range| range.start.max(that.start)..range.end.min(that.end)));
    }
    found
}

/// Empties the logs of journals that the repairs moved: the recovery emptied them only in their old
/// places. `on` is the repaired volume.
pub(super) fn empty_moved_logs(on: &Volume, slots: &[u16]) -> Result<()> {
    let mut edit = Edit::new(on, EditOptions::default());
    for slot in slots {
        let Ok(journal) = on.journal(*slot) else { continue };
        if journal.is_dirty() || journal.superblock.s_start == 0 {
            continue;
        }
        let mut block = on.read_block(journal.blkno)?;
        let mut superblock = journal.superblock;
        superblock.s_start = 0;
        superblock.encode(&mut block)?;
        edit.put_blocks(journal.blkno, &block)?;
    }
    edit.commit(How::Unguarded, &**on.device())?;
    Ok(())
}
