//! Refcount trees, rewritten from the extents that share clusters.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::refcount::{RefcountBlock, RefcountFlags, RefcountRec, write_refcounts};
use ocfs2_format::{Blkno, Block, Cpos, Structure};
use ocfs2_volume::allocator::Suballocated;

use super::tree::{self, Gathered};
use super::{EditError, Editor, Repair};
use crate::read::holds::Holds;

/// Consecutive clusters that the same number of extents share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    /// The clusters.
    pub clusters: Range<u32>,
    /// The number of extents.
    pub count: u32,
}

/// Rebuilds the tree at `root`, which counts these clusters for these inodes.
pub fn rebuild(root: Blkno, users: Arc<[Blkno]>, runs: Arc<[Run]>) -> Repair {
    Repair::once("refcount tree", root.0, move |editor| write(editor, root, &users, &runs))
}

fn write(
    editor: &mut Editor<'_>,
    root: Blkno,
    users: &[Blkno],
    runs: &[Run],
) -> Result<(), EditError> {
    let volume = editor.volume();
    let (mut header, gathered) = match existing(editor, root)? {
        Some(found) => found,
        None => {
            let slot = match users.first() {
                Some(user) => editor.inode(*user)?.dinode.i_suballoc_slot,
                None => 0,
            };
            let taken = editor.take_block(RefcountBlock::NAME, slot)?;
            for user in users {
                editor.dinode(*user, |dinode, _| dinode.i_refcount_loc = taken.blkno)?;
            }
            (new_block(editor, &taken), Gathered::default())
        }
    };
    let root = header.rf_blkno;
    let slot = header.rf_suballoc_slot;
    header.rf_parent = Blkno(0);
    header.rf_count = u32::try_from(users.len()).unwrap_or(u32::MAX);
    (header.rf_clusters, header.rf_last_eb_blk, header.rf_cpos) = (0, Blkno(0), 0);
    let size = volume.block_size().size();
    let capacity = usize::from(RefcountBlock::record_capacity(volume.block_size()));
    let records: Vec<_> = runs
        .iter()
        .map(|run| RefcountRec {
            r_cpos: run.clusters.start.into(),
            r_clusters: run.clusters.end - run.clusters.start,
            r_refcount: run.count,
        })
        .collect();
    let mut area = vec![0; size - RefcountBlock::LIST_OFFSET];
    if records.len() <= capacity {
        header.rf_flags = 0;
        list(&mut area, &records);
    } else {
        header.rf_flags = RefcountFlags::TREE.bits();
        let homes = gathered.extents.iter().flat_map(|rec| {
            let count = u64::from(rec.e_leaf_clusters());
            (rec.e_blkno.0..rec.e_blkno.0 + count).map(Blkno)
        });
        let mut homes: Vec<_> = homes.filter_map(|at| leaf_at(editor, at)).collect();
        // A damaged tree may contain a block several times.
        let mut seen = HashSet::from([root]);
        homes.retain(|leaf| seen.insert(leaf.rf_blkno));
        let chunks: Vec<_> = records.chunks(capacity).collect();
        let missing = chunks.len().saturating_sub(homes.len());
        for taken in editor.take_blocks(RefcountBlock::NAME, slot, missing)? {
            homes.push(new_block(editor, &taken));
        }
        let mut extents = Vec::with_capacity(chunks.len());
        for (index, (records, leaf)) in chunks.iter().zip(&homes).enumerate() {
            // The first leaf also covers all clusters before its first record.
            let first = records.first().filter(|_| index > 0).map_or(0, |rec| rec.r_cpos as u32);
            let leaf = RefcountBlock {
                rf_parent: root,
                rf_flags: RefcountFlags::LEAF.bits(),
                rf_cpos: first,
                rf_generation: header.rf_generation,
                rf_fs_generation: editor.volume().generation(),
                rf_count: 0,
                rf_clusters: 0,
                rf_last_eb_blk: Blkno(0),
                ..*leaf
            };
            let blkno = leaf.rf_blkno;
            editor.create(blkno, &leaf, |bytes| list(bytes, records))?;
            extents.push(ExtentRec::leaf(Cpos(first), 1, ExtentFlags::empty(), blkno));
        }
        let count = extents.len();
        let room = tree::list_room(area.len());
        let built = gathered.with(editor, extents, room, slot)?.build(editor, &mut area)?;
        header.rf_clusters = count as u32;
        header.rf_last_eb_blk = built.last_leaf;
    }
    header.rf_fs_generation = editor.volume().generation();
    editor.create(root, &header, |bytes| bytes.copy_from_slice(&area))
}

/// Moves the blocks `olds` of the tree at `root`, which these inodes have, to new blocks: they are
/// not its own, or are where no block may be. All at once, since the blocks refer to each other.
pub fn move_blocks(root: Blkno, users: Arc<[Blkno]>, olds: Arc<[Blkno]>) -> Repair {
    let number = olds.first().map_or(root.0, |old| old.0);
    Repair::once_when_sound("refcount block", number, move |editor| {
        let gone = || EditError::Impossible("it is not a block of the tree any more".to_owned());
        let (mut header, gathered) = existing(editor, root)?.ok_or_else(gone)?;
        let slot = header.rf_suballoc_slot;
        let taken = editor.take_blocks(RefcountBlock::NAME, slot, olds.len())?;
        let mut homes: HashMap<_, _> = olds.iter().copied().zip(taken).collect();
        let of_root = homes.remove(&root);
        let home = of_root.as_ref().map_or(root, |taken| taken.blkno);
        let mut extents = gathered.extents.clone();
        // If a tree contains a block twice, the first place is the right one.
        for rec in extents.iter_mut().rev().filter(|rec| rec.e_leaf_clusters() == 1) {
            let mut leaf = rec.e_blkno;
            if let Some(taken) = homes.remove(&leaf) {
                let bytes = editor.volume().read_block(leaf)?;
                leaf = taken.blkno;
                editor.block(leaf, None, |block| block.copy_from_slice(&bytes))?;
                editor.header(leaf, |block: &mut RefcountBlock, _| settle(block, &taken))?;
                rec.e_blkno = leaf;
            }
            if home != root {
                editor.header(leaf, |block: &mut RefcountBlock, _| block.rf_parent = home)?;
            }
        }
        if !homes.is_empty() {
            return Err(gone());
        }
        let bytes = editor.volume().read_block(root)?;
        let mut area = bytes.get(RefcountBlock::LIST_OFFSET..).unwrap_or_default().to_vec();
        if extents != gathered.extents {
            let room = tree::list_room(area.len());
            let built = gathered.with(editor, extents, room, slot)?.build(editor, &mut area)?;
            header.rf_last_eb_blk = built.last_leaf;
        }
        if let Some(taken) = &of_root {
            settle(&mut header, taken);
        }
        editor.create(home, &header, |bytes| bytes.copy_from_slice(&area))?;
        if home == root { Ok(()) } else { lead_to(editor, &users, root, home) }
    })
}

/// Writes into a block where it was allocated.
fn settle(block: &mut RefcountBlock, taken: &Suballocated) {
    (block.rf_suballoc_slot, block.rf_suballoc_bit) = (taken.slot, taken.bit);
    (block.rf_suballoc_loc, block.rf_blkno) = (taken.loc, taken.blkno);
}

/// Points those of the inodes that have the tree at `old` to `new`.
fn lead_to(
    editor: &mut Editor<'_>,
    users: &[Blkno],
    old: Blkno,
    new: Blkno,
) -> Result<(), EditError> {
    for user in users {
        editor.check_interrupt()?;
        editor.dinode(*user, |dinode, _| {
            if dinode.i_refcount_loc == old {
                dinode.i_refcount_loc = new;
            }
        })?;
    }
    Ok(())
}

/// Writes a list; the caller gives at most as many records as fit.
fn list(bytes: &mut [u8], records: &[RefcountRec]) {
    let _ = write_refcounts(bytes, records);
}

fn new_block(editor: &Editor<'_>, taken: &Suballocated) -> RefcountBlock {
    RefcountBlock {
        rf_signature: RefcountBlock::SIGNATURE,
        rf_suballoc_slot: taken.slot,
        rf_suballoc_bit: taken.bit,
        rf_suballoc_loc: taken.loc,
        rf_fs_generation: editor.volume().generation(),
        rf_blkno: taken.blkno,
        ..RefcountBlock::default()
    }
}

fn block_at(editor: &Editor<'_>, blkno: Blkno) -> Option<(RefcountBlock, Vec<u8>)> {
    let volume = editor.volume();
    if !volume.geometry().is_valid_block(blkno) {
        return None;
    }
    let block = volume.read_block(blkno).ok()?;
    let header = RefcountBlock::decode(&block).ok()?;
    let is_one = header.rf_signature == RefcountBlock::SIGNATURE;
    is_one.then_some((RefcountBlock { rf_blkno: blkno, ..header }, block))
}

fn leaf_at(editor: &Editor<'_>, blkno: Blkno) -> Option<RefcountBlock> {
    block_at(editor, blkno).map(|(header, _)| header)
}

/// The existing root with its leaves; `None` if the block is not a root.
fn existing(
    editor: &Editor<'_>,
    root: Blkno,
) -> Result<Option<(RefcountBlock, Gathered)>, EditError> {
    let Some((header, block)) = block_at(editor, root) else { return Ok(None) };
    let is_leaf = header.flags().contains(RefcountFlags::LEAF) && !header.is_tree();
    if is_leaf && !header.rf_parent.is_none() {
        return Ok(None);
    }
    let list = block.get(RefcountBlock::LIST_OFFSET..).unwrap_or_default();
    let gathered = match header.is_tree() {
        true => tree::gather(editor.volume(), root, list, Holds::RefcountLeaves, false)?,
        false => Gathered::default(),
    };
    Ok(Some((header, gathered)))
}

/// Makes an empty tree for these inodes; returns its root.
pub(super) fn make(editor: &mut Editor<'_>, users: &[Blkno]) -> Result<Blkno, EditError> {
    let slot = match users.first() {
        Some(user) => editor.inode(*user)?.dinode.i_suballoc_slot,
        None => 0,
    };
    let taken = editor.take_block(RefcountBlock::NAME, slot)?;
    let header = RefcountBlock {
        rf_count: u32::try_from(users.len()).unwrap_or(u32::MAX),
        rf_generation: 1,
        ..new_block(editor, &taken)
    };
    editor.create(taken.blkno, &header, |bytes| list(bytes, &[]))?;
    Ok(taken.blkno)
}
