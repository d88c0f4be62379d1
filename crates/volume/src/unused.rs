//! Blocks that nobody uses, according to the allocators.

use std::collections::{BTreeSet, HashSet};

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure};

use crate::{SystemFile, Volume};

impl Volume {
    /// Returns those of `blocks` that are in a free cluster, or free in a group of a suballocator.
    /// Blocks for which that is not known count as used, and so do superblocks.
    pub(crate) fn unused(&self, blocks: &BTreeSet<Blkno>) -> HashSet<Blkno> {
        let mut unused = HashSet::new();
        let mut known: Option<(u32, Option<Vec<u8>>)> = None;
        for blkno in blocks {
            let Some(cluster) = self.geometry().cluster_of(*blkno) else { continue };
            let (number, bit) = self.geometry().group_of(cluster);
            if known.as_ref().is_none_or(|(group, _)| *group != number) {
                known = Some((number, self.cluster_group(number)));
            }
            let Some((_, Some(group))) = &known else { continue };
            let bits = self.geometry().group_clusters(number) as usize;
            let map = group.get(GroupDesc::BITMAP_OFFSET..).unwrap_or_default();
            if !Bitmap::new(map, bits).get(bit as usize) {
                unused.insert(*blkno);
            }
        }
        let slots = 0..self.max_slots();
        let of_slot = |slot| [SystemFile::InodeAlloc(slot), SystemFile::ExtentAlloc(slot)];
        let files = slots.flat_map(of_slot).chain([SystemFile::GlobalInodeAlloc]);
        let files = files.filter_map(|file| self.system_file(file).ok());
        for allocator in files.filter_map(|inode| self.allocator(inode).ok()) {
            for group in self.groups(&allocator).filter_map(Result::ok) {
                for run in &group.runs {
                    let end = Blkno(run.blkno.0.saturating_add(run.bits.into()));
                    let free = |blkno: &&Blkno| {
                        let bit = group.bit_of_block(**blkno);
                        bit.is_some_and(|bit| !group.bitmap().get(bit as usize))
                    };
                    unused.extend(blocks.range(run.blkno..end).filter(free));
                }
            }
        }
        unused.retain(|blkno| !self.is_superblock(*blkno));
        unused
    }

    /// The block of the descriptor of group `number` of the global bitmap; `None` if it is not
    /// valid.
    fn cluster_group(&self, number: u32) -> Option<Vec<u8>> {
        let blkno = self.geometry().group_blkno(number);
        let block = self.read_block(blkno).ok()?;
        let desc = GroupDesc::decode(&block).ok()?;
        let is_it = desc.bg_signature == GroupDesc::SIGNATURE
            && desc.bg_blkno == blkno
            && desc.bg_generation == self.generation();
        is_it.then_some(block)
    }
}
