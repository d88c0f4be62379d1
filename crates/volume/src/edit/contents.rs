//! Contents of files that are not part of the transaction.
//!
//! They are written to their places before the transaction is committed. That is right where the
//! committed volume does not show the place: in clusters that were free or unwritten, and where the
//! contents there are to be replaced. Three kinds of places are not written so, but as part of
//! the transaction:
//!
//! - clusters that were given back in this transaction: until it is committed they belong to
//!   whoever gave them back;
//! - blocks that are part of this transaction or of a step that is being made: the commit writes
//!   them;
//! - blocks that are in the log and not in their places yet: a replay or the checkpoint writes
//!   them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::{Blkno, Cluster};

use super::{Edit, EditError};
use crate::Error;
use ocfs2_device::{Device, OverlayDevice};

type Overlay = OverlayDevice<Arc<dyn Device>>;

/// Where contents go that are not part of the transaction.
pub(super) struct Apart {
    /// The device itself, or a pass through its gate.
    device: Arc<dyn Device>,
    /// What is in the log and not in its place yet.
    pending: Arc<Overlay>,
    /// The changes of the steps that are being made.
    drafts: Vec<Arc<Overlay>>,
    /// Clusters that were given back in this transaction: where each run begins, and where it ends.
    freed: BTreeMap<u32, u32>,
    /// How many there are, at most.
    freed_count: u64,
}

impl Apart {
    fn is_freed(&self, clusters: &Range<u32>) -> bool {
        let before = self.freed.range(..clusters.end).next_back();
        before.is_some_and(|(_, end)| *end > clusters.start)
    }
}

impl Edit {
    /// Writes contents to their places on `device` from now on, where they may be.
    pub(super) fn write_apart(&mut self, device: Arc<dyn Device>, pending: Arc<Overlay>) {
        let (drafts, freed) = (Vec::new(), BTreeMap::new());
        self.contents = Some(Apart { device, pending, drafts, freed, freed_count: 0 });
    }

    /// Whether contents are written to their places before the transaction.
    pub(super) fn writes_apart(&self) -> bool {
        self.contents.is_some()
    }

    /// A step begins.
    pub(super) fn enter(&mut self, draft: &Arc<Overlay>) {
        if let Some(apart) = &mut self.contents {
            apart.drafts.push(Arc::clone(draft));
        }
    }

    /// A step has ended.
    pub(super) fn leave(&mut self) {
        if let Some(apart) = &mut self.contents {
            apart.drafts.pop();
        }
    }

    /// Clusters were given back.
    pub(super) fn note_freed(&mut self, run: &Range<u32>) {
        let Some(apart) = &mut self.contents else { return };
        let mut run = run.clone();
        apart.freed_count += u64::from(run.end.saturating_sub(run.start));
        // Runs that touch become one, so that those of the map are apart and in order.
        while let Some((start, end)) = apart.freed.range(..=run.end).next_back() {
            let (start, end) = (*start, *end);
            if end < run.start {
                break;
            }
            apart.freed.remove(&start);
            run = run.start.min(start)..run.end.max(end);
        }
        apart.freed.insert(run.start, run.end);
    }

    /// Bytes in clusters that were given back in this transaction: contents that get them again are
    /// part of it, and take room in the log.
    pub(crate) fn freed_bytes(&self) -> u64 {
        let count = self.contents.as_ref().map_or(0, |apart| apart.freed_count);
        count << self.geometry().cluster_size.bits()
    }

    /// Whether the bytes of the device can be written now, before the transaction.
    fn is_apart(&self, place: u64, len: u64) -> bool {
        let Some(apart) = &self.contents else { return false };
        let geometry = self.geometry();
        let bits = self.block_size().bits();
        let end = place.saturating_add(len);
        let cluster = |byte: u64| geometry.cluster_of(Blkno(byte >> bits)).unwrap_or(Cluster(0)).0;
        let clusters = cluster(place)..cluster(end.saturating_sub(1)).saturating_add(1);
        let changed = |overlay: &Overlay| overlay.is_any_changed(place..end);
        !apart.is_freed(&clusters)
            && !apart.drafts.iter().any(|draft| changed(draft))
            && !changed(&self.changes)
            && !changed(&apart.pending)
    }

    /// Writes contents of a file, whose block for messages is `blkno`, at a byte of the device.
    pub(super) fn write_contents(
        &mut self,
        blkno: Blkno,
        place: u64,
        bytes: &[u8],
    ) -> Result<(), EditError> {
        self.each_apart(blkno, place, bytes.len() as u64, |device, range| {
            let part = (range.start - place) as usize..(range.end - place) as usize;
            device.write_at(bytes.get(part).unwrap_or_default(), range.start)
        })
    }

    /// Zeroes contents of a file in clusters that are new to it.
    pub(super) fn zero_contents(
        &mut self,
        blkno: Blkno,
        place: u64,
        len: u64,
    ) -> Result<(), EditError> {
        self.each_apart(blkno, place, len, |device, range| {
            device.zero(range.start, range.end - range.start)
        })
    }

    /// Calls `write` with the device for all of the bytes, or for each block of them.
    fn each_apart(
        &mut self,
        blkno: Blkno,
        place: u64,
        len: u64,
        write: impl Fn(&dyn Device, Range<u64>) -> std::io::Result<()>,
    ) -> Result<(), EditError> {
        let failed = |source| EditError::from(Error::Write { blkno, source });
        let end = place.saturating_add(len);
        let Some(device) = self.contents.as_ref().map(|apart| Arc::clone(&apart.device)) else {
            return write(&**self.device(), place..end).map_err(failed);
        };
        if self.is_apart(place, len) {
            return write(&*device, place..end).map_err(failed);
        }
        let bits = self.block_size().bits();
        let mut at = place;
        while at < end {
            let to = (((at >> bits) + 1) << bits).min(end);
            let own = if self.is_apart(at, to - at) { &device } else { self.device() };
            write(&**own, at..to).map_err(failed)?;
            at = to;
        }
        Ok(())
    }
}
