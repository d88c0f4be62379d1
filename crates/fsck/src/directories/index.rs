//! The index of a directory: every name is in it, where a lookup finds it, and nothing else.
//!
//! Verified are the root, its tree and leaves (invariants ), and the list of blocks
//! with room, which is a hint and so only has to make sense. Needs what was read of the
//! directory's blocks. Whatever is wrong, the index can be built anew from the entries: one
//! finding of a kind is enough for a directory.

use std::collections::HashMap;

use ocfs2_format::Blkno;
use ocfs2_format::Structure;
use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::dx::{DxEntryList, DxLeaf, DxRoot};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};
use ocfs2_volume::Inode;
use ocfs2_volume::tree::Extent;

use super::{Known, Read};
use crate::codes::Code;
use crate::codes::{directories as codes, general, inodes};
use crate::collected::Collected;
use crate::extents::{self, Holds, TreeRoot};
use crate::{Context, Finding, Place};

/// What the blocks of a directory hold that its index is about.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// For each name its hashes, with signed and with unsigned characters, and its block.
    names: Vec<(NameHash, NameHash, Blkno)>,
    /// Entries that are there and count as removed.
    removed: usize,
    /// Each block with the one its trailer names as the next with room.
    blocks: Vec<(Blkno, Blkno)>,
    /// Whether a block could not be read.
    incomplete: bool,
}

impl Names {
    /// A name in a block.
    pub fn add(&mut self, context: &Context<'_>, name: &[u8], blkno: Blkno) {
        let seed = context.volume.superblock().s_dx_seed;
        let [s0, s1, s2] = [seed[0], seed[1], seed[2]];
        let hash = |sign| dx_hash(name, [s0, s1, s2], sign);
        self.names.push((hash(CharSign::Signed), hash(CharSign::Unsigned), blkno));
    }

    /// An entry that counts as removed.
    pub fn removed(&mut self) {
        self.removed += 1;
    }

    /// A block, and what follows it in the list of those with room.
    pub fn block(&mut self, blkno: Blkno, next_free: Blkno) {
        self.blocks.push((blkno, next_free));
    }

    /// A block was not read.
    pub fn lost_block(&mut self) {
        self.incomplete = true;
    }
}

/// An entry of the index.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Indexed {
    hash: NameHash,
    /// The block of the directory it leads to.
    block: Blkno,
}

/// What an index was found to hold.
#[derive(Debug, Default)]
struct Index {
    entries: Vec<Indexed>,
    /// Entries in a leaf where no lookup finds them.
    misplaced: usize,
}

pub(super) fn check(known: &Known<'_>, inode: &Inode, names: &Names, read: &mut Read) {
    let volume = known.context.volume;
    let has_flag = inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR);
    let has_entries = read.dotdot.is_some();
    let mut found = |code: &'static Code, text: String| {
        let text = format!("directory {}: {text}", inode.blkno);
        read.findings.push(Finding::new(code, Place::inode(inode.blkno), text));
    };
    if !volume.has(Incompat::INDEXED_DIRS) {
        if has_flag {
            found(codes::IV_DX_TREE, "has an index, which the volume has not".to_owned());
        }
        return;
    }
    // Neither mkfs nor the kernel give the system directory an index.
    let is_system = inode.blkno == volume.superblock().s_system_dir_blkno;
    if !has_flag {
        // Without any entry it has no block either.
        if !inode.is_inline() && !is_system && has_entries {
            found(codes::DX_TREE_MISSING, "has no index".to_owned());
        }
        return;
    }
    if inode.is_inline() {
        return;
    }
    let mut findings = Vec::new();
    match follow(known.context, inode, names, &mut findings) {
        Err(corrupt) => found(inodes::DX_TREE_CORRUPT, corrupt),
        Ok(index) => compare(index, names, found),
    }
    read.findings.append(&mut findings);
}

/// Reads an index; what makes it useless is the error.
fn follow(
    context: &Context<'_>,
    inode: &Inode,
    names: &Names,
    findings: &mut Vec<Finding>,
) -> Result<Index, String> {
    let blkno = inode.dinode.i_dx_root;
    if !context.geometry().is_valid_block(blkno) {
        return Err(format!("i_dx_root is {blkno}"));
    }
    let block = context.read(DxRoot::NAME, blkno, DxRoot::CHECK_OFFSET).map_err(|it| it.text)?;
    let root = DxRoot::decode(&block.bytes).map_err(|err| err.to_string())?;
    root.verify(blkno, context.volume.generation(), inode.blkno).map_err(|err| err.to_string())?;
    findings.extend(block.ecc_finding(DxRoot::NAME, general::BLOCK_ECC));

    let mut index = Index::default();
    if root.is_inline() {
        let list = DxRoot::entries(&block.bytes).map_err(|err| err.to_string())?;
        entries(blkno, &list, &mut index.entries)?;
    } else {
        leaves(context, inode, &root, &block.bytes, &mut index, findings)?;
    }
    let mut found = |code, text: String| {
        let place = Place::block(blkno).of(inode.blkno);
        let text = format!("directory {}: dx root {blkno}: {text}", inode.blkno);
        findings.push(Finding::new(code, place, text));
    };
    let count = index.entries.len();
    if u32::try_from(count).ok() != Some(root.dr_num_entries) {
        let text = format!("dr_num_entries is {}, expected {count}", root.dr_num_entries);
        found(codes::DX_COUNT, text);
    }
    if let Some(text) = free_list(root.dr_free_blk, names) {
        found(codes::DX_FREE_LIST, text);
    }
    Ok(index)
}

fn leaves(
    context: &Context<'_>,
    inode: &Inode,
    root: &DxRoot,
    block: &[u8],
    index: &mut Index,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let tree = TreeRoot {
        owner: inode.blkno,
        blkno: root.dr_blkno,
        list: block.get(DxRoot::LIST_OFFSET..).unwrap_or_default(),
        holds: Holds::Hashed,
        refcount_tree: None,
    };
    let mut collected = Collected::default();
    let mut extents: Vec<Extent> = Vec::new();
    let walked = extents::walk(context, &tree, &mut collected, |_, extent| extents.push(extent));
    if let Some(finding) = collected.findings.first() {
        return Err(finding.text.clone());
    }
    if extents.first().is_none_or(|first| first.cpos.0 != 0) {
        return Err("the tree of its index does not begin at 0".to_owned());
    }
    if u64::from(root.dr_clusters) != walked.clusters || root.dr_last_eb_blk != walked.last_leaf {
        let text = format!(
            "directory {}: dx root {}: dr_clusters is {} and dr_last_eb_blk {}, expected {} and {}",
            inode.blkno,
            root.dr_blkno,
            root.dr_clusters,
            root.dr_last_eb_blk,
            walked.clusters,
            walked.last_leaf
        );
        let place = Place::block(root.dr_blkno).of(inode.blkno);
        findings.push(Finding::new(codes::DX_CLUSTERS, place, text));
    }
    let bits = context.geometry().bpc_bits();
    for extent in &extents {
        for blkno in (extent.blkno.0..).take(usize::from(extent.clusters) << bits).map(Blkno) {
            let first = index.entries.len();
            leaf(context, blkno, index, findings)?;
            let is_misplaced =
                |entry: &&Indexed| place_of(context, &extents, entry.hash) != Some(blkno);
            index.misplaced += index.entries.iter().skip(first).filter(is_misplaced).count();
        }
    }
    Ok(())
}

fn leaf(
    context: &Context<'_>,
    blkno: Blkno,
    index: &mut Index,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let block = context.read(DxLeaf::NAME, blkno, DxLeaf::CHECK_OFFSET).map_err(|it| it.text)?;
    let leaf = DxLeaf::decode(&block.bytes).map_err(|err| err.to_string())?;
    leaf.verify(blkno, context.volume.generation()).map_err(|err| err.to_string())?;
    findings.extend(block.ecc_finding(DxLeaf::NAME, general::BLOCK_ECC));
    let list = DxLeaf::entries(&block.bytes).map_err(|err| err.to_string())?;
    entries(blkno, &list, &mut index.entries)
}

fn entries(blkno: Blkno, list: &DxEntryList<'_>, to: &mut Vec<Indexed>) -> Result<(), String> {
    list.verify(blkno).map_err(|err| err.to_string())?;
    let entry = |entry: ocfs2_format::dx::DxEntry| Indexed {
        hash: entry.hash(),
        block: entry.dx_dirent_blk,
    };
    to.extend(list.entries().map(entry));
    Ok(())
}

/// The leaf in which a lookup of a hash ends.
fn place_of(context: &Context<'_>, extents: &[Extent], hash: NameHash) -> Option<Blkno> {
    let next = extents.partition_point(|extent| extent.cpos.0 <= hash.major);
    let extent = extents.get(next.checked_sub(1)?)?;
    let last = u32::from(extent.clusters).checked_sub(1)?;
    let cluster = u64::from((hash.major - extent.cpos.0).min(last));
    let bits = context.geometry().bpc_bits();
    let within = u64::from(hash.minor) & ((1 << bits) - 1);
    Some(Blkno(extent.blkno.0 + (cluster << bits) + within))
}

/// What is wrong with the list of blocks with room that begins at `first`.
fn free_list(first: Blkno, names: &Names) -> Option<String> {
    if names.incomplete {
        return None;
    }
    let mut next_of: HashMap<Blkno, Blkno> = names.blocks.iter().copied().collect();
    let mut at = first;
    while !at.is_none() {
        // Taken out, so that a circle ends it.
        let Some(next) = next_of.remove(&at) else {
            let what = match names.blocks.iter().any(|(blkno, _)| *blkno == at) {
                true => "has it twice",
                false => "which is not in the directory",
            };
            return Some(format!("the list of blocks with room leads to block {at}, {what}"));
        };
        at = next;
    }
    None
}

/// Compares the index with the names there are.
fn compare(mut index: Index, names: &Names, mut found: impl FnMut(&'static Code, String)) {
    if names.incomplete {
        return;
    }
    index.entries.sort_unstable();
    let mut used = vec![false; index.entries.len()];
    let mut missing = 0_usize;
    for (signed, unsigned, block) in &names.names {
        let place = [signed, unsigned].into_iter().find_map(|hash| {
            let wanted = Indexed { hash: *hash, block: *block };
            let start = index.entries.partition_point(|entry| *entry < wanted);
            let same = index.entries.iter().skip(start).take_while(|entry| **entry == wanted);
            (start..start + same.count()).find(|place| !used[*place])
        });
        match place {
            Some(place) => used[place] = true,
            None => missing += 1,
        }
    }
    let left = used.iter().filter(|used| !**used).count();
    if missing > 0 || index.misplaced > 0 {
        let text = format!(
            "its index leads to {} of {} entries",
            names.names.len().saturating_sub(missing.max(index.misplaced)),
            names.names.len()
        );
        found(codes::DX_LOOKUP_FAILED, text);
    }
    // A name that was found wrong is in the index under another one.
    if left > names.removed + missing {
        let text = format!("its index has {} entries without a name", left - missing);
        found(codes::DX_ENTRY_LEFT, text);
    }
}
