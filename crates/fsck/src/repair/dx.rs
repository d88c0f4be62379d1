//! The index of a directory, built from its entries.

use std::collections::{BTreeSet, HashMap, HashSet};

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::dx::{DxEntry, DxEntryList, DxFlags, DxLeaf, DxRoot, write_dx_entries};
use ocfs2_format::dx_leaves::pack_leaves;
use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Structure};
use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::{Error, Inode, Volume};

use super::tree::{self, Gathered};
use super::{EditError, Editor};
use crate::name_hashes::Signs;
use crate::read::corrected::read_corrected;
use crate::read::dx_root::foreign;
use crate::read::holds::Holds;

/// Builds the index of `dir` from the names of its entries and the blocks they are in. `free` is
/// the first block with a hole, `sign` how names are hashed.
///
/// The root block and the clusters of the old index are used again. Clusters that are left over are
/// not freed: a wrong record may point to those of others. The next check knows whose they are.
///
/// # Errors
/// There is no room; it cannot be written.
pub fn build(
    editor: &mut Editor<'_>,
    dir: Blkno,
    entries: Vec<(Vec<u8>, Blkno)>,
    free: Blkno,
    sign: CharSign,
) -> Result<(), EditError> {
    let volume = editor.volume();
    let seed = volume.superblock().s_dx_seed;
    let mut all: Vec<_> = entries
        .iter()
        .map(|(name, blkno)| {
            let hash = dx_hash(name, seed, sign);
            DxEntry { dx_major_hash: hash.major, dx_minor_hash: hash.minor, dx_dirent_blk: *blkno }
        })
        .collect();
    all.sort_by_key(|entry| (entry.dx_major_hash, entry.dx_minor_hash, entry.dx_dirent_blk));
    let (mut root, gathered) = root(editor, dir)?;
    root.dr_num_entries = u32::try_from(all.len()).unwrap_or(u32::MAX);
    root.dr_free_blk = free;
    let size = volume.block_size().size();
    let mut area = vec![0; size - DxRoot::LIST_OFFSET];
    if all.len() <= usize::from(DxRoot::entry_capacity(volume.block_size())) {
        root.dr_flags = DxFlags::INLINE.bits();
        (root.dr_clusters, root.dr_last_eb_blk) = (0, Blkno(0));
        write_dx_entries(&mut area, &all).map_err(cut(root.dr_blkno))?;
    } else {
        root.dr_flags = 0;
        let built =
            leaves(editor, &all, gathered, root.dr_suballoc_slot)?.build(editor, &mut area)?;
        (root.dr_clusters, root.dr_last_eb_blk) = (built.clusters, built.last_leaf);
    }
    let blkno = root.dr_blkno;
    editor.create(blkno, &root, |bytes| bytes.copy_from_slice(&area))?;
    editor.dinode(dir, |dinode, _| {
        let features = dinode.dyn_features().union(DynFeatures::INDEXED_DIR);
        dinode.i_dyn_features = features.bits();
        dinode.i_dx_root = blkno;
    })
}

/// Counts which hashing the index of `dir` shows, by those of its `names` whose hash depends on it.
/// Damage to the index does not matter: no other name has such a hash by chance.
pub fn signs<'n>(volume: &Volume, dir: &Inode, names: impl Iterator<Item = &'n [u8]>) -> Signs {
    let mut signs = Signs::default();
    let seed = volume.superblock().s_dx_seed;
    let with_two = names.filter(|name| !name.is_ascii());
    let hashes = with_two.flat_map(|name| CharSign::ALL.map(|it| (dx_hash(name, seed, it), it)));
    let hashes: HashMap<NameHash, CharSign> = hashes.collect();
    if !hashes.is_empty() {
        let count = |entry: &DxEntry| {
            hashes.get(&entry.hash()).into_iter().for_each(|sign| signs.add(*sign));
        };
        let _ = each_entry(volume, dir, count);
    }
    signs
}

/// Whether all entries of the index of `dir` are among `hashes`, at least one, and as many as it
/// states.
pub fn is_within(volume: &Volume, dir: &Inode, hashes: &HashSet<NameHash>) -> bool {
    let (mut number, mut all) = (0, true);
    let root = each_entry(volume, dir, |entry| {
        number += 1;
        all &= hashes.contains(&entry.hash());
    });
    root.is_some_and(|root| root.dr_num_entries == number && all && number > 0)
}

/// Calls `each` with all entries that can be read of the index of `dir`; returns its root.
fn each_entry(volume: &Volume, dir: &Inode, mut each: impl FnMut(&DxEntry)) -> Option<DxRoot> {
    let blkno = dir.dinode.i_dx_root;
    let has_one = dir.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR);
    if !has_one || !volume.geometry().is_valid_block(blkno) {
        return None;
    }
    let mut count = |list: DxEntryList<'_>| list.records().for_each(|entry| each(&entry));
    let block = volume.read_block(blkno).ok()?;
    let root = DxRoot::decode(&block).ok()?;
    if root.is_inline() {
        DxRoot::entries(&block).into_iter().for_each(count);
        return Some(root);
    }
    let list = block.get(DxRoot::LIST_OFFSET..).unwrap_or_default();
    let gathered = tree::gather(volume, blkno, list, Holds::Hashed, false).ok()?;
    let blocks = volume.geometry().blocks_per_cluster();
    for cluster in places(volume, &gathered) {
        let Ok(bytes) = volume.read_blocks(volume.geometry().block_of(Cluster(cluster)), blocks)
        else {
            continue;
        };
        for block in bytes.chunks(volume.block_size().size()) {
            DxLeaf::entries(block).into_iter().for_each(&mut count);
        }
    }
    Some(root)
}

/// The clusters of an index, each once.
fn places(volume: &Volume, gathered: &Gathered) -> BTreeSet<u32> {
    let bits = volume.geometry().bpc_bits();
    let clusters = gathered.extents.iter().flat_map(|rec| {
        let start = (rec.e_blkno.0 >> bits) as u32;
        start..start.saturating_add(rec.e_leaf_clusters().into())
    });
    clusters.collect()
}

/// Frees the whole index of `dir`, if it has one. The fields of the inode that point to it stay.
///
/// # Errors
/// It cannot be read; the allocators cannot be written.
pub fn free(editor: &mut Editor<'_>, dir: Blkno) -> Result<(), EditError> {
    let inode = editor.inode(dir)?;
    if !inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR) {
        return Ok(());
    }
    let (root, gathered) = root(editor, dir)?;
    gathered.free(editor)?;
    editor.free_block(Suballocated::from(&root))
}

fn cut(blkno: Blkno) -> impl Fn(ocfs2_format::Truncated) -> EditError {
    move |source| Error::Truncated { blkno, source }.into()
}

/// The root of the index of `dir` and its clusters, or a new root without any.
fn root(editor: &mut Editor<'_>, dir: Blkno) -> Result<(DxRoot, Gathered), EditError> {
    let volume = editor.volume();
    let inode = editor.inode(dir)?;
    let blkno = inode.dinode.i_dx_root;
    let has_one = inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR);
    if has_one && volume.geometry().is_valid_block(blkno) {
        let block = read_corrected::<DxRoot>(volume, blkno)?;
        let root = DxRoot::decode(&block).map_err(cut(blkno))?;
        if foreign(volume, (dir, blkno), &root).is_none() {
            let list = block.get(DxRoot::LIST_OFFSET..).unwrap_or_default();
            let gathered = match root.is_inline() {
                true => Gathered::default(),
                false => tree::gather(volume, blkno, list, Holds::Hashed, false)?,
            };
            let dr_signature = DxRoot::SIGNATURE;
            return Ok((DxRoot { dr_signature, dr_blkno: blkno, ..root }, gathered));
        }
    }
    let taken = editor.take_block(DxRoot::NAME, inode.dinode.i_suballoc_slot)?;
    let root = DxRoot {
        dr_signature: DxRoot::SIGNATURE,
        dr_suballoc_slot: taken.slot,
        dr_suballoc_bit: taken.bit,
        dr_suballoc_loc: taken.loc,
        dr_fs_generation: volume.generation(),
        dr_blkno: taken.blkno,
        dr_dir_blkno: dir,
        ..DxRoot::default()
    };
    Ok((root, Gathered::default()))
}

/// Writes the leaves, and returns the tree that points to them.
fn leaves(
    editor: &mut Editor<'_>,
    all: &[DxEntry],
    old: Gathered,
    slot: u16,
) -> Result<Gathered, EditError> {
    let volume = editor.volume();
    let geometry = *volume.geometry();
    let per_cluster = geometry.blocks_per_cluster();
    let clusters = pack_leaves(all, geometry.block_size, per_cluster, 0);
    let clusters = clusters.collect::<Result<Vec<_>, _>>();
    let clusters = clusters.map_err(|err| EditError::Impossible(err.to_string()))?;
    // A wrong record may point to a cluster of somebody else: only those that are full of leaves
    // are used again.
    let mut clusters_of_leaves: Vec<u32> = places(volume, &old)
        .into_iter()
        .filter(|cluster| has_leaves(volume, Cluster(*cluster)))
        .collect();
    let missing = clusters.len().saturating_sub(clusters_of_leaves.len()) as u32;
    if missing > 0 {
        clusters_of_leaves.extend(editor.take_clusters(missing)?.into_iter().flatten());
    }
    let mut extents = Vec::with_capacity(clusters.len());
    for (leaves, cluster) in clusters.iter().zip(clusters_of_leaves) {
        let start = geometry.block_of(Cluster(cluster));
        let place = (start, per_cluster);
        let blocks = leaves.blocks(place, geometry.block_size, volume.generation());
        for (block, blkno) in blocks.map_err(cut(start))?.iter().zip(start.0..) {
            editor.put_block::<DxLeaf>(Blkno(blkno), block)?;
        }
        let (cpos, flags) = (Cpos(leaves.lowest), ExtentFlags::empty());
        extents.push(ExtentRec::leaf(cpos, 1, flags, start));
    }
    let room = tree::list_room(geometry.block_size.size() - DxRoot::LIST_OFFSET);
    old.with(editor, extents, room, slot)
}

/// Whether all blocks of a cluster are leaves of an index, each at its place.
fn has_leaves(volume: &Volume, cluster: Cluster) -> bool {
    let geometry = volume.geometry();
    let start = geometry.block_of(cluster);
    let count = geometry.blocks_per_cluster();
    volume.read_blocks(start, count).is_ok_and(|bytes| {
        let blocks = bytes.chunks(geometry.block_size.size()).zip(start.0..);
        blocks.into_iter().all(|(block, blkno)| {
            DxLeaf::decode(block).is_ok_and(|leaf| {
                leaf.dl_signature == DxLeaf::SIGNATURE && leaf.dl_blkno == Blkno(blkno)
            })
        })
    })
}
