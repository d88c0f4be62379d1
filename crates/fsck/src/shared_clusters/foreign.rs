//! Clusters that a directory shares with others and that hold nothing of it.
//!
//! Blocks of a directory name their owner: the trailer names the directory, and the first block
//! begins with an entry for it. A directory whose extents run into the clusters of others does not
//! get copies of these, as it would get their names.

use std::ops::Range;

use ocfs2_format::dir::{self, DirTrailer};
use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::dir::Barren;
use ocfs2_volume::{Inode, Volume};

use crate::clusters::ClusterSet;
use crate::context::Context;
use crate::others::Others;
use crate::read::holds::Holds;
use crate::repair::share::{clusters_of, cut};
use crate::repair::tree;

/// Blocks that are read for this in one check: 128 MiB of the largest.
const MOST_BLOCKS: u64 = 1 << 15;

/// Judges the shared clusters of directories, within one limit of blocks for all of them.
pub(super) struct Foreign {
    left: u64,
    others: Others,
}

/// Whose the shared clusters of a directory are.
pub(super) enum Verdict {
    /// They are the directory's, or nothing shows otherwise.
    Own,
    /// These hold nothing of the directory; ascending.
    Foreign(Vec<Range<u32>>),
    /// Unknown, as too many blocks were read for other directories.
    Later,
}

impl Default for Foreign {
    fn default() -> Self {
        Self { left: MOST_BLOCKS, others: Others::default() }
    }
}

impl Foreign {
    /// Returns whose the clusters are that the directory `inode` shares.
    pub fn judge(
        &mut self,
        context: &Context<'_>,
        inode: &Inode,
        shared: &[Range<u32>],
    ) -> Verdict {
        let volume = context.volume;
        let gathered = tree::gather(volume, inode.blkno, inode.id2(), Holds::Dense, false);
        let Ok(gathered) = gathered else { return Verdict::Own };
        let is_first = self.left == MOST_BLOCKS;
        let bits = volume.geometry().bpc_bits();
        let parts = gathered.extents.iter().flat_map(|rec| cut(clusters_of(rec, bits), shared));
        let (mut foreign, mut in_a_row) = (ClusterSet::default(), 0);
        let mut seen = ClusterSet::default();
        'all: for (part, is_shared) in parts {
            for cluster in part.clone() {
                // The directory has ended: no reader treats what follows as a part of it.
                if in_a_row > Barren::MOST {
                    if is_shared {
                        foreign.insert(cluster..part.end, |_| {});
                    }
                    break;
                }
                if self.left == 0 || context.interrupt.requested() {
                    break 'all;
                }
                // A cluster that it has twice is read once. The second time does not count as the
                // end.
                let is_known = seen.contains(cluster);
                seen.insert(cluster..cluster + 1, |_| {});
                if is_known || self.may_be_of(volume, inode, cluster) {
                    in_a_row = 0;
                } else {
                    in_a_row += 1 << bits;
                    if is_shared {
                        foreign.insert(cluster..cluster + 1, |_| {});
                    }
                }
            }
        }
        let foreign: Vec<_> = foreign.runs(0..u32::MAX).collect();
        match foreign.is_empty() {
            false => Verdict::Foreign(foreign),
            true if self.left == 0 && !is_first => Verdict::Later,
            true => Verdict::Own,
        }
    }

    /// Returns whether a cluster may be one of the directory.
    fn may_be_of(&mut self, volume: &Volume, inode: &Inode, cluster: u32) -> bool {
        let geometry = volume.geometry();
        let first = geometry.block_of(Cluster(cluster)).0;
        let count = 1_u64 << geometry.bpc_bits();
        self.left = self.left.saturating_sub(count);
        let Ok(bytes) = volume.read_blocks(Blkno(first), count as u32) else { return true };
        let mut blocks = (first..).map(Blkno).zip(bytes.chunks(volume.block_size().size()));
        blocks.any(|(blkno, block)| is_block_of(volume, inode, blkno, block, &mut self.others))
    }
}

/// Returns whether a block may be one of the directory: it says so, or does not name another
/// directory that has it.
fn is_block_of(
    volume: &Volume,
    inode: &Inode,
    blkno: Blkno,
    block: &[u8],
    others: &mut Others,
) -> bool {
    let mut len = block.len();
    if volume.has_dir_trailers(inode) {
        let trailer = DirTrailer::of_block(block).ok();
        let trailer = trailer.filter(|trailer| trailer.db_signature == DirTrailer::SIGNATURE);
        if let Some(trailer) = trailer.filter(|trailer| trailer.db_blkno == blkno) {
            let owner = trailer.db_parent_dinode;
            return owner == inode.blkno || !others.has(volume, owner, blkno);
        }
        len = DirTrailer::offset(len);
    }
    let area = block.get(..len).unwrap_or_default();
    let is_used_well = |entry: &dir::DirEntry<'_>| {
        !entry.is_used() || volume.geometry().is_valid_block(entry.header.inode)
    };
    match dir::entries(area).next() {
        Some(Ok(first)) if is_used_well(&first) => {
            let of = first.header.inode;
            let is_others = first.name == b"." && of != inode.blkno;
            !is_others || !others.has(volume, of, blkno)
        }
        // Valid entries may follow a damaged one: some are used, and all up to the end are sound.
        _ => dir::sound_from(area).any(|at| {
            let mut rest = dir::entries(area.get(at..).unwrap_or_default()).flatten();
            let mut used = 0;
            rest.all(|entry| {
                used += usize::from(entry.is_used());
                is_used_well(&entry)
            }) && used > 0
        }),
    }
}
