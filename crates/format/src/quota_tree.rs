//! A global quota file as a whole: entries packed into leaves, and the tree that points to them.

use crate::quota::{
    GlobalInfo, LeafHeader, QuotaEntry, QuotaHeader, QuotaKind, references, set_reference,
    tree_depth, tree_index, usable_size,
};
use crate::{BlockSize, Structure};

/// The root of the tree.
const ROOT: u32 = 1;

/// Returns the blocks of a global file with `entries`, which are sorted by id: the header with
/// `info`, the root of the tree, then the other tree blocks and the leaves in the order in which
/// the tree needs them. No block is free.
pub fn pack_global(
    block_size: BlockSize,
    kind: QuotaKind,
    info: GlobalInfo,
    entries: &[QuotaEntry],
) -> Vec<Vec<u8>> {
    let per_leaf = usable_size(block_size).saturating_sub(LeafHeader::SIZE) / QuotaEntry::SIZE;
    let mut tree = Tree { block_size, blocks: vec![vec![0; block_size.size()]; 2] };
    let mut with_room = 0;
    for entries in entries.chunks(per_leaf.max(1)) {
        let place = entries.iter().fold(None, |leaf, entry| Some(tree.lead_to(entry.dqb_id, leaf)));
        let place = place.unwrap_or_default();
        write_leaf(tree.block(place), entries);
        if entries.len() < per_leaf {
            // Only the last leaf can have room.
            with_room = place;
        }
    }
    let dqi_blocks = tree.blocks.len() as u32;
    let info = GlobalInfo { dqi_blocks, dqi_free_blk: 0, dqi_free_entry: with_room, ..info };
    let head = tree.block(0);
    // Cannot fail: a block has room for both.
    let _ = QuotaHeader { dqh_magic: kind.global_magic(), dqh_version: 0 }.encode(head);
    let _ = info.encode(head.get_mut(QuotaHeader::SIZE..).unwrap_or_default());
    tree.blocks
}

/// Adds free blocks to a global file that has none, until it has `count` blocks.
pub fn add_free_blocks(blocks: &mut Vec<Vec<u8>>, count: u32) {
    let first = blocks.len() as u32;
    let Some(size) = blocks.first().map(Vec::len).filter(|_| first < count) else { return };
    for index in first..count {
        let next = if index + 1 < count { index + 1 } else { 0 };
        let mut block = vec![0; size];
        let _ = LeafHeader { dqdh_next_free: next, ..LeafHeader::default() }.encode(&mut block);
        blocks.push(block);
    }
    let head = blocks.first_mut().and_then(|head| head.get_mut(QuotaHeader::SIZE..));
    let head = head.unwrap_or_default();
    if let Ok(info) = GlobalInfo::decode(head) {
        let _ = GlobalInfo { dqi_blocks: count, dqi_free_blk: first, ..info }.encode(head);
    }
}

struct Tree {
    block_size: BlockSize,
    blocks: Vec<Vec<u8>>,
}

impl Tree {
    fn block(&mut self, index: u32) -> &mut [u8] {
        self.blocks.get_mut(index as usize).map(|block| &mut block[..]).unwrap_or_default()
    }

    /// Makes the tree point from its root to the leaf with the entry of an id: `leaf`, or a new
    /// one. Returns the leaf.
    fn lead_to(&mut self, id: u32, leaf: Option<u32>) -> u32 {
        let (mut at, depth) = (ROOT, tree_depth(self.block_size));
        for level in 0..depth {
            let digit = tree_index(self.block_size, id, level);
            let mut next = references(self.block(at)).nth(digit as usize).unwrap_or(0);
            if next == 0 {
                next = match leaf.filter(|_| level + 1 == depth) {
                    Some(leaf) => leaf,
                    None => {
                        self.blocks.push(vec![0; self.block_size.size()]);
                        self.blocks.len() as u32 - 1
                    }
                };
                set_reference(self.block(at), digit, next);
            }
            at = next;
        }
        at
    }
}

fn write_leaf(block: &mut [u8], entries: &[QuotaEntry]) {
    let header = LeafHeader { dqdh_entries: entries.len() as u16, ..LeafHeader::default() };
    let _ = header.encode(block);
    let places = block.get_mut(LeafHeader::SIZE..).unwrap_or_default();
    for (entry, place) in entries.iter().zip(places.chunks_exact_mut(QuotaEntry::SIZE)) {
        let _ = entry.encode(place);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::Blkno;
    use crate::quota::leaf_entries;

    fn find(blocks: &[Vec<u8>], block_size: BlockSize, id: u32) -> Option<QuotaEntry> {
        let way = 0..tree_depth(block_size);
        let leaf = way.fold(ROOT, |at, level| {
            let digit = tree_index(block_size, id, level) as usize;
            references(&blocks[at as usize]).nth(digit).unwrap()
        });
        leaf_entries(&blocks[leaf as usize]).find(|entry| entry.is_used() && entry.dqb_id == id)
    }

    proptest! {
        #[test]
        fn every_entry_is_where_the_tree_leads_to(
            ids in prop::collection::btree_set(prop_oneof![any::<u32>(), 0..200_u32], 0..80),
            spare in 0..5_u32,
            index in 0..4_usize,
        ) {
            let ids: BTreeSet<u32> = ids;
            let block_size = BlockSize::ALL[index];
            let entry = |id: &u32| QuotaEntry { dqb_id: *id, dqb_itime: 1, ..Default::default() };
            let entries: Vec<_> = ids.iter().map(entry).collect();
            let info = GlobalInfo { dqi_syncms: 7, ..Default::default() };
            let mut blocks = pack_global(block_size, QuotaKind::Group, info, &entries);
            let used = blocks.len() as u32;
            add_free_blocks(&mut blocks, used + spare);
            for entry in &entries {
                prop_assert_eq!(find(&blocks, block_size, entry.dqb_id), Some(*entry));
            }
            let header = QuotaHeader::decode(&blocks[0]).unwrap();
            header.verify(Blkno(0), QuotaKind::Group.global_magic()).unwrap();
            let info = GlobalInfo::decode(&blocks[0][QuotaHeader::SIZE..]).unwrap();
            info.verify(Blkno(0), blocks.len() as u32).unwrap();
            prop_assert_eq!(info.dqi_syncms, 7);
            let mut free = Vec::new();
            let mut next = info.dqi_free_blk;
            while next != 0 {
                free.push(next);
                next = LeafHeader::decode(&blocks[next as usize]).unwrap().dqdh_next_free;
            }
            prop_assert_eq!(free, (used..used + spare).collect::<Vec<_>>());
        }
    }
}
