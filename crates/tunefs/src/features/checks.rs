//! Block checks.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use ocfs2_format::Blkno;
use ocfs2_users::work::{Piece, Work};
use ocfs2_volume::Volume;
use ocfs2_volume::metadata::{MetadataKind, MetadataRun};

use crate::walk::ahead;

/// Most blocks that are written at once.
const PIECE: u64 = 256;

/// Bytes of pieces after which they are written.
const ENOUGH: usize = 32 << 20;

/// Gives all blocks of directories trailers, then all metadata block checks. Without the feature,
/// nothing reads either, so checks need no transaction: a block of which only a part was written is
/// as good as before.
pub(super) fn stamp(work: &mut Work<'_>) -> Result<()> {
    // What was changed before this is still without checks, and a transaction is written after them.
    work.flush()?;
    let without_trailer = stamp_all(work, false)?;
    if without_trailer.is_empty() {
        return work.flush();
    }
    work.begin("Installing dir trailers", without_trailer.len());
    for dir in without_trailer {
        work.edit.install_trailers(dir)?;
        work.settle()?;
        work.advance(1);
    }
    work.flush()?;
    // Allocators and trees have changed. What has its check already is not written again.
    if !work.is_read_by_nobody() {
        stamp_all(work, true)?;
    }
    work.flush()
}

/// Gives all metadata block checks, except blocks of directories that have no trailers. Returns
/// these directories; none if `have_trailers`: until the feature is on, only those with an index show
/// that they have.
fn stamp_all(work: &mut Work<'_>, have_trailers: bool) -> Result<BTreeSet<Blkno>> {
    // The volume as it is now: checks change nothing of what is read to find the metadata.
    let now = work.edit.volume().on(Arc::clone(work.edit.volume().device()));
    work.begin("Writing blocks", 0);
    let (mut without_trailer, mut stamps) = (BTreeSet::new(), Stamps::new(&now));
    ahead(now.metadata(), |run| {
        let run = run?;
        work.advance(run.blocks);
        let is_bare = run.kind == MetadataKind::DirBlock && run.check_offset.is_none();
        if is_bare && !have_trailers {
            without_trailer.insert(run.owner);
        } else if work.is_rehearsal() {
            if !work.is_read_by_nobody() {
                work.edit.stamp(&run)?;
            }
            work.settle()?;
        } else if run.has_check() {
            run.pieces(PIECE).try_for_each(|piece| stamps.add(piece, work))?;
        }
        Ok(())
    })?;
    stamps.put(work)?;
    Ok(without_trailer)
}

/// Blocks in a row that get their checks.
struct Stamps<'v> {
    volume: &'v Volume,
    runs: Vec<MetadataRun>,
    blocks: u64,
    /// Bytes of pieces that wait to be written.
    waiting: usize,
}

impl<'v> Stamps<'v> {
    fn new(volume: &'v Volume) -> Self {
        Self { volume, runs: Vec::new(), blocks: 0, waiting: 0 }
    }

    fn add(&mut self, run: MetadataRun, work: &mut Work<'_>) -> Result<()> {
        let next = self.runs.first().map(|first| first.blkno.0 + self.blocks);
        if next.is_some_and(|next| next != run.blkno.0) || self.blocks + run.blocks > PIECE {
            self.put(work)?;
        }
        self.blocks += run.blocks;
        self.runs.push(run);
        Ok(())
    }

    /// Computes the checks, and has the blocks written before the next transaction.
    fn put(&mut self, work: &mut Work<'_>) -> Result<()> {
        let Some(first) = self.runs.first().map(|run| run.blkno) else { return Ok(()) };
        let size = self.volume.block_size();
        let mut bytes = self.volume.read_blocks(first, self.blocks as u32)?;
        let mut rest = bytes.as_mut_slice();
        let mut is_changed = false;
        for run in self.runs.drain(..) {
            let (own, others) = rest.split_at_mut(run.blocks as usize * size.size());
            is_changed |= run.stamp(own, size);
            rest = others;
        }
        self.blocks = 0;
        if !is_changed {
            return Ok(());
        }
        self.waiting += bytes.len();
        work.before.push(Piece::Blocks(first, bytes));
        if self.waiting >= ENOUGH {
            self.waiting = 0;
            work.flush()?;
        }
        Ok(())
    }
}
