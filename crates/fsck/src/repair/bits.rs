//! Bits of allocators, with the counts that belong to them.

use std::ops::Range;

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure};

use super::{EditError, Editor};

impl Editor<'_> {
    /// Sets or clears bits of a group and moves the counts in its descriptor, its chain and its
    /// allocator by as much. The counts are not computed again: a check finds wrong ones
    /// separately.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn change_bits(
        &mut self,
        group: Blkno,
        bits: &Range<u32>,
        set: bool,
    ) -> Result<(), EditError> {
        self.change_runs(group, &[(bits.clone(), set)])
    }

    /// The same for many runs of bits, each with whether to set it.
    ///
    /// # Errors
    /// As [`Editor::change_bits`].
    pub fn change_runs(
        &mut self,
        group: Blkno,
        runs: &[(Range<u32>, bool)],
    ) -> Result<(), EditError> {
        let mut changed = None;
        self.block(group, Some(GroupDesc::CHECK_OFFSET), |block| changed = change(block, runs))?;
        let Some((desc, freed)) = changed.filter(|(_, freed)| *freed != 0) else { return Ok(()) };
        if !self.volume().geometry().is_valid_block(desc.bg_parent_dinode) {
            return Ok(());
        }
        self.dinode(desc.bg_parent_dinode, |dinode, id2| {
            let (used, total) = dinode.bitmap();
            dinode.set_bitmap(moved(used, -freed), total);
            let at = ChainListHeader::SIZE + usize::from(desc.bg_chain) * ChainRec::SIZE;
            let Some(bytes) = id2.get_mut(at..) else { return };
            if let Ok(mut chain) = ChainRec::decode(bytes) {
                chain.c_free = moved(chain.c_free, freed);
                let _ = chain.encode(bytes);
            }
        })
    }
}

/// The changed descriptor, and how many more bits are clear; negative if there are fewer.
fn change(block: &mut [u8], runs: &[(Range<u32>, bool)]) -> Option<(GroupDesc, i64)> {
    let mut desc = GroupDesc::decode(block).ok()?;
    if desc.bg_signature != GroupDesc::SIGNATURE {
        return None;
    }
    let mut bitmap = desc.bitmap_mut(block).ok()?;
    let before = bitmap.as_ref().count_ones() as i64;
    for (bits, set) in runs {
        let (start, count) = (bits.start as usize, bits.end.saturating_sub(bits.start) as usize);
        match set {
            true => bitmap.set_range(start, count),
            false => bitmap.clear_range(start, count),
        }
    }
    let freed = before - bitmap.as_ref().count_ones() as i64;
    desc.bg_free_bits_count =
        moved(desc.bg_free_bits_count.into(), freed).min(desc.bg_bits.into()) as u16;
    // A hint; 0 is "not known".
    desc.bg_contig_free_bits = 0;
    desc.encode(block).ok()?;
    Some((desc, freed))
}

fn moved(count: u32, by: i64) -> u32 {
    (i64::from(count) + by).clamp(0, u32::MAX.into()) as u32
}
