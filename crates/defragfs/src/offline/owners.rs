//! A check that nothing is moved onto what belongs to somebody, or away from a second owner.

use std::ops::Range;

use anyhow::{Result, bail};
use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_volume::allocator::FreeMap;
use ocfs2_volume::tree::Extent;
use ocfs2_volume::{SystemFile, Volume};

/// Clusters and who has them: an inode, or the group of an allocator.
struct Owned {
    run: Range<u32>,
    owner: Blkno,
    /// Whether other files may have them as well.
    is_shared: bool,
}

/// The clusters of all files, directories and allocators with their owners.
#[derive(Default)]
pub(super) struct Owners(Vec<Owned>);

impl Owners {
    /// Adds the extents of an inode.
    pub fn add(&mut self, volume: &Volume, owner: Blkno, extents: &[Extent]) {
        self.0.extend(extents.iter().map(|extent| {
            let start = volume.geometry().cluster_of(extent.blkno).unwrap_or_default().0;
            let run = start..start.saturating_add(extent.clusters.into());
            let is_shared = extent.flags.contains(ExtentFlags::REFCOUNTED);
            Owned { run, owner, is_shared }
        }));
    }

    /// Fails if one of the clusters, or of those of an allocator, is free according to the global bitmap,
    /// or has two owners: what is copied to a free place must not be what belongs to somebody.
    ///
    /// # Errors
    /// A description of what is wrong; an allocator cannot be read; a signal came.
    pub fn verify(self, volume: &Volume, interrupt: &Interrupt) -> Result<()> {
        let (free, mut all) = (FreeMap::of(volume)?, self.0);
        add_groups(volume, interrupt, &mut all)?;
        if let Some(Owned { run, owner, .. }) = all.iter().find(|it| free.overlaps(&it.run)) {
            let (start, end) = (run.start, run.end.saturating_sub(1));
            bail!(
                "clusters {start} to {end} belong to block {owner}, and some of them are free in the \
                 global bitmap: run fsck.ocfs2 -f first"
            );
        }
        all.sort_unstable_by_key(|owned| (owned.run.start, owned.run.end));
        // The ends of those before: of all, and of those that share nothing.
        let (mut any, mut own) = ((0, Blkno(0)), (0, Blkno(0)));
        for Owned { run, owner, is_shared } in all {
            let (end, other) = if is_shared { own } else { any };
            if run.start < end {
                let start = run.start;
                bail!(
                    "cluster {start} belongs to blocks {other} and {owner}: run fsck.ocfs2 -f first"
                );
            }
            any = any.max((run.end, owner));
            if !is_shared {
                own = own.max((run.end, owner));
            }
        }
        Ok(())
    }
}

/// Adds the clusters of the groups of inodes and of other metadata.
fn add_groups(volume: &Volume, interrupt: &Interrupt, all: &mut Vec<Owned>) -> Result<()> {
    let slots = 0..volume.max_slots();
    let of_slots =
        slots.flat_map(|slot| [SystemFile::InodeAlloc(slot), SystemFile::ExtentAlloc(slot)]);
    for file in [SystemFile::GlobalInodeAlloc].into_iter().chain(of_slots) {
        let allocator = volume.allocator(volume.system_file(file)?)?;
        for group in volume.groups(&allocator) {
            interrupt.check()?;
            let group = group?;
            let step = volume.geometry().blocks_per_cluster() as usize;
            for bit in (0..u32::from(group.desc.bg_bits)).step_by(step.max(1)) {
                let block = group.block_of_bit(bit);
                let cluster = block.and_then(|block| volume.geometry().cluster_of(block));
                let Some(cluster) = cluster else { continue };
                let run = cluster.0..cluster.0.saturating_add(1);
                all.push(Owned { run, owner: group.blkno, is_shared: false });
            }
        }
    }
    Ok(())
}
