//! The right mode and flags of an inode by what it holds, where one bit of them is wrong.
//!
//! A directory begins with its `.`, an extent list states how many records fit, inline data how
//! many bytes, an attribute the hash of its name: only one of two readings of an inode has that.
//! What is mended here is mended before anything else is checked, as what belongs to the inode is
//! not seen without it.

use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::extent::ExtentList;
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::{Block, Structure};
use ocfs2_volume::{Inode, Volume};

use super::dinode::PURPOSES;
use super::guess;
use crate::codes::inodes as codes;
use crate::read::one_bit;
use crate::repair::Repair;
use crate::tables::suballocs::{Group, Suballoc};
use crate::xattrs::area_size;
use crate::{Context, Finding, Place};

/// The type bits of `i_mode`.
const TYPE: u16 = 0o170_000;
/// Bytes of the longest target, with the NUL after it.
const LONGEST_TARGET: u64 = 4096;

/// Mends what is wrong with the mode and the flags of an inode, and returns what it was.
pub(super) fn mended(context: &Context<'_>, group: &Group, inode: &mut Inode) -> Vec<Finding> {
    let is_of_slot = matches!(group.suballoc, Suballoc::Inodes(_));
    if !is_of_slot && inode.dinode.flags().contains(InodeFlags::SYSTEM) {
        let is_root = inode.blkno == context.volume.superblock().s_root_blkno;
        let mut found = Vec::new();
        if inode.is_dir() {
            found.extend(without_purpose(inode));
        }
        found.extend(match is_root {
            true => attributes(context.volume, inode),
            false => of_system(context.volume, inode),
        });
        if inode.is_dir() {
            found.extend(inline_data(context.volume, inode));
        }
        return found;
    }
    if !is_of_slot || inode.dinode.flags().contains(InodeFlags::SYSTEM) {
        return Vec::new();
    }
    let mut found = Vec::new();
    found.extend(without_purpose(inode));
    found.extend(of_volume(context.volume, inode));
    found
}

/// The same for an inode of a user, as far as possible without knowing where it was allocated.
pub(crate) fn of_volume(volume: &Volume, inode: &mut Inode) -> Vec<Finding> {
    if inode.dinode.flags().contains(InodeFlags::SYSTEM) {
        return Vec::new();
    }
    [attributes, inline_data, mode].into_iter().filter_map(|mend| mend(volume, inode)).collect()
}

fn found(
    code: &'static crate::codes::Code,
    inode: &mut Inode,
    text: impl std::fmt::Display,
    change: impl Fn(&mut Dinode) + Send + Sync + 'static,
) -> Finding {
    let blkno = inode.blkno;
    change(&mut inode.dinode);
    let finding = Finding::new(code, Place::inode(blkno), format_args!("inode {blkno}: {text}"));
    finding
        .repaired_by(Repair::first(move |editor| editor.dinode(blkno, |dinode, _| change(dinode))))
}

/// Removes flags that only files of the system have, and by which the contents are read as theirs.
fn without_purpose(inode: &mut Inode) -> Option<Finding> {
    let purpose = inode.dinode.flags() & PURPOSES;
    if purpose.is_empty() || purpose.contains(InodeFlags::SUPER_BLOCK) {
        return None;
    }
    let text = format!("i_flags is {:#x}", inode.dinode.i_flags);
    Some(found(codes::INODE_FLAGS, inode, text, |dinode| {
        dinode.i_flags = dinode.flags().difference(PURPOSES).bits();
    }))
}

/// Removes features that nothing of the system has except the root: attributes and shared clusters
/// from directories, all features from files.
fn of_system(volume: &Volume, inode: &mut Inode) -> Option<Finding> {
    let own = match inode.kind()? {
        FileKind::Directory => DynFeatures::INLINE_DATA | DynFeatures::INDEXED_DIR,
        FileKind::Regular => DynFeatures::empty(),
        _ => return None,
    };
    let features = inode.dinode.dyn_features();
    // Features that the volume lacks are reported elsewhere.
    let attributes = DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
    let of_volume = [
        (Incompat::INLINE_DATA, DynFeatures::INLINE_DATA),
        (Incompat::REFCOUNT_TREE, DynFeatures::HAS_REFCOUNT),
        (Incompat::XATTR, attributes),
    ];
    let mut of_volume = of_volume.iter().filter(|(feature, _)| volume.has(*feature));
    if !of_volume.any(|(_, it)| features.difference(own).intersects(*it)) {
        return None;
    }
    let text = format!("i_dyn_features is {features:#x}, of the system none but {own:#x} can be");
    Some(found(codes::INODE_FLAGS, inode, text, move |dinode| {
        dinode.i_dyn_features = (dinode.dyn_features() & own).bits();
    }))
}

/// Sets or clears the flag of attributes in the inode, by the area at its end.
fn attributes(volume: &Volume, inode: &mut Inode) -> Option<Finding> {
    let features = inode.dinode.dyn_features();
    let size = area_size(volume);
    let is_set = features.contains(DynFeatures::INLINE_XATTR);
    let stated = inode.dinode.i_xattr_inline_size;
    // Both or neither is right, or reported elsewhere.
    if is_set == (stated == size) || !is_set && stated == 0 {
        return None;
    }
    let block = inode.block();
    let area = block.len().checked_sub(size.into()).and_then(|start| block.get(start..))?;
    let seed = volume.superblock().s_uuid_hash;
    let is_there = one_bit::is_sound(area, seed);
    match (is_set, is_there) {
        (false, true) => {
            let text = "INLINE_XATTR is clear, there are attributes in the inode";
            Some(found(codes::INODE_BIT, inode, text, |dinode| {
                let set = DynFeatures::INLINE_XATTR | DynFeatures::HAS_XATTR;
                dinode.i_dyn_features = dinode.dyn_features().union(set).bits();
            }))
        }
        (true, false) if stated == 0 && takes_all(inode, size.into()) => {
            let text = "INLINE_XATTR is set, there are no attributes in the inode";
            Some(found(codes::INODE_BIT, inode, text, |dinode| {
                let mut features = dinode.dyn_features();
                features.remove(DynFeatures::INLINE_XATTR);
                if dinode.i_xattr_loc.is_none() {
                    features.remove(DynFeatures::HAS_XATTR);
                }
                dinode.i_dyn_features = features.bits();
            }))
        }
        _ => None,
    }
}

/// Returns whether the contents of an inode take all the room up to its end, or leave the last
/// `size` bytes empty.
fn takes_all(inode: &Inode, size: usize) -> bool {
    let id2 = inode.block().get(Dinode::ID2_OFFSET..).unwrap_or_default();
    let is_list = ExtentList::new(id2).is_ok_and(|list| is_list(&list, inode));
    let is_inline = InlineData::decode(id2)
        .is_ok_and(|data| usize::from(data.id_count) + InlineData::SIZE == id2.len());
    let tail = id2.len().checked_sub(size).and_then(|start| id2.get(start..));
    is_list || is_inline || tail.is_some_and(|tail| tail.iter().all(|byte| *byte == 0))
}

fn is_list(list: &ExtentList<'_>, inode: &Inode) -> bool {
    list.verify(inode.blkno).is_ok() && usize::from(list.header.l_count) == list.capacity()
}

/// Returns whether there is an extent list.
fn has_list(inode: &Inode) -> bool {
    ExtentList::new(inode.id2()).is_ok_and(|list| is_list(&list, inode))
}

/// Returns whether there is inline data, by the room that it states.
fn has_inline(volume: &Volume, inode: &Inode) -> bool {
    let room = inode.id2().len().saturating_sub(InlineData::SIZE);
    let attributes = usize::from(volume.superblock().s_xattr_inline_size);
    let Ok(data) = InlineData::decode(inode.id2()) else { return false };
    let count = usize::from(data.id_count);
    (count == room || count + attributes == room) && inode.dinode.i_size <= room as u64
}

/// Sets or clears the flag of inline data, by what is there.
fn inline_data(volume: &Volume, inode: &mut Inode) -> Option<Finding> {
    let kind = inode.kind();
    if !volume.has(Incompat::INLINE_DATA) || kind == Some(FileKind::Symlink) {
        return None;
    }
    let is_set = inode.is_inline();
    // An extent list states its number of records where inline data has nothing.
    let (list, inline) = (has_list(inode), has_inline(volume, inode));
    match is_set {
        true if list && !inline => {
            let text = "INLINE_DATA is set, there is an extent list";
            Some(found(codes::INODE_BIT, inode, text, |dinode| {
                let features = dinode.dyn_features().difference(DynFeatures::INLINE_DATA);
                dinode.i_dyn_features = features.bits();
            }))
        }
        false if inline && !list && inode.dinode.i_clusters == 0 && inode.dinode.i_size > 0 => {
            let is_dir = kind == Some(FileKind::Directory);
            let mut other = inode.clone();
            set_inline(&mut other.dinode);
            if is_dir && !guess::is_directory(volume, &other) {
                return None;
            }
            let text = "INLINE_DATA is clear, there is inline data";
            Some(found(codes::INODE_BIT, inode, text, set_inline))
        }
        _ => None,
    }
}

fn set_inline(dinode: &mut Dinode) {
    dinode.i_dyn_features = dinode.dyn_features().union(DynFeatures::INLINE_DATA).bits();
}

/// Gives an inode the only type that differs from its own by a bit and fits its contents. Otherwise
/// makes it a file if it shares clusters, as nothing else does.
fn mode(volume: &Volume, inode: &mut Inode) -> Option<Finding> {
    let kind = inode.kind();
    let shares = kind != Some(FileKind::Regular) && has_tree(volume, inode);
    if !shares && kind.is_some_and(|kind| !contradicts(volume, inode, kind)) {
        return None;
    }
    let was = inode.dinode.i_mode;
    let mut fitting = (12..u16::BITS).map(|bit| was ^ 1 << bit).filter(|mode| {
        let other = with_type(inode, mode & TYPE);
        other.kind().is_some_and(|kind| holds(volume, &other, kind))
    });
    let by_bit = fitting.next().filter(|_| fitting.next().is_none());
    let is_file = || shares && holds(volume, &with_type(inode, guess::REGULAR), FileKind::Regular);
    let kind = by_bit.or_else(|| is_file().then_some(guess::REGULAR))? & TYPE;
    let text = format!("i_mode is {was:#o}, it holds what {kind:#o} has");
    // Where more than one bit is wrong the permissions are unknown.
    let code = if by_bit.is_none() || was == 0 { codes::INODE_MODE } else { codes::INODE_BIT };
    Some(found(code, inode, text, move |dinode| {
        dinode.i_mode = if was == 0 { guess::with_type(0, kind) } else { was & !TYPE | kind };
    }))
}

/// Returns whether an inode has a refcount tree.
fn has_tree(volume: &Volume, inode: &Inode) -> bool {
    let dinode = &inode.dinode;
    let is_tree = || {
        let block = volume.read_block(dinode.i_refcount_loc);
        block.is_ok_and(|block| block.starts_with(&RefcountBlock::SIGNATURE))
    };
    dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT)
        && volume.geometry().is_valid_block(dinode.i_refcount_loc)
        && is_tree()
}

fn with_type(inode: &Inode, kind: u16) -> Inode {
    let mut other = inode.clone();
    other.dinode.i_mode = inode.dinode.i_mode & !TYPE | kind;
    other
}

/// Returns the finding that an inode whose entry states another type than its mode has the contents
/// of that type, and not of its own. What users write into a file does not alone make it a
/// directory or a link: the entry, which they do not write, has to say so.
pub(crate) fn by_entry(volume: &Volume, inode: &Inode, stated: FileKind) -> Option<Finding> {
    let (blkno, was) = (inode.blkno, inode.dinode.i_mode);
    // A file can have everything that a directory or a link has.
    let (kind, is_more) = match stated {
        FileKind::Regular => (guess::REGULAR, false),
        FileKind::Directory => (guess::DIRECTORY, inode.kind() == Some(FileKind::Regular)),
        // With the permissions that Linux gives links.
        FileKind::Symlink => (guess::SYMLINK, was & !TYPE == 0o777),
        _ => return None,
    };
    let other = with_type(inode, kind);
    let is_own = || inode.kind().is_some_and(|kind| holds(volume, inode, kind));
    if !holds(volume, &other, stated) || !is_more && is_own() {
        return None;
    }
    let mode = other.dinode.i_mode;
    let code = if (was ^ mode).is_power_of_two() { codes::INODE_BIT } else { codes::INODE_MODE };
    let text = format!(
        "inode {blkno}: i_mode is {was:#o}, its entry says {kind:#o}, and it holds what that has"
    );
    let repair = Repair::first(move |editor| editor.dinode(blkno, |it, _| it.i_mode = mode));
    Some(Finding::new(code, Place::inode(blkno), text).repaired_by(repair))
}

/// Returns whether an inode of that type cannot have the stated contents.
fn contradicts(volume: &Volume, inode: &Inode, kind: FileKind) -> bool {
    let dinode = &inode.dinode;
    match kind {
        FileKind::Regular => {
            !inode.is_inline() && dinode.i_clusters == 0 && !has_list(inode) && is_target(inode)
        }
        FileKind::Directory => false,
        FileKind::Symlink => inode.is_inline() || is_longer_than_targets(volume, inode),
        FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => {
            inode.is_inline() || dinode.i_size > 0 || dinode.i_clusters > 0
        }
    }
}

/// Returns whether a size that no target has is right, as there are clusters for all of it.
fn is_longer_than_targets(volume: &Volume, inode: &Inode) -> bool {
    let clusters = volume.geometry().clusters_for(inode.size());
    let is_whole = clusters.is_some_and(|it| inode.dinode.i_clusters >= it);
    inode.size() >= LONGEST_TARGET && is_whole && !is_text_and_zeros(volume, inode)
}

/// Returns whether the first block of an inode has a text and zeros after it, like a target whose
/// size is wrong.
fn is_text_and_zeros(volume: &Volume, inode: &Inode) -> bool {
    let Some(Ok(extent)) = volume.tree(inode).ok().and_then(|tree| tree.extents().next()) else {
        return false;
    };
    let Ok(block) = volume.read_block(extent.blkno) else { return false };
    let end = block.iter().position(|byte| *byte == 0).unwrap_or(block.len());
    end > 0 && block.get(end..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

/// Returns whether the inode holds only the target of a symbolic link.
fn is_target(inode: &Inode) -> bool {
    let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
    let text = inode.id2().get(..size).filter(|text| !text.is_empty() && !text.contains(&0));
    text.is_some() && inode.id2().get(size) == Some(&0)
}

/// Returns whether an inode plainly holds the contents of that type.
fn holds(volume: &Volume, inode: &Inode, kind: FileKind) -> bool {
    let dinode = &inode.dinode;
    let is_list = has_list(inode);
    match kind {
        FileKind::Regular => {
            let holds =
                inode.is_inline() || is_list && (dinode.i_clusters > 0 || dinode.i_size > 0);
            holds && !guess::is_directory(volume, inode)
        }
        FileKind::Directory => (inode.is_inline() || is_list) && guess::is_directory(volume, inode),
        FileKind::Symlink if inode.is_inline() => false,
        FileKind::Symlink if dinode.i_clusters == 0 => !is_list && is_target(inode),
        FileKind::Symlink => is_list && ends_as_target(volume, inode),
        FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => false,
    }
}

/// Returns whether the blocks of an inode hold a text of the inode's size, and a NUL after it.
fn ends_as_target(volume: &Volume, inode: &Inode) -> bool {
    let size = inode.size();
    if size == 0 || size >= LONGEST_TARGET {
        return false;
    }
    end_of_text(volume, inode, size + 1) == Some(size)
}

/// Returns the length of the text at the start of the blocks of an inode, if a NUL ends it within
/// `most` bytes, rounded up to blocks.
fn end_of_text(volume: &Volume, inode: &Inode, most: u64) -> Option<u64> {
    let extent = volume.tree(inode).ok()?.extents().next()?.ok()?;
    let blocks = most.div_ceil(volume.block_size().bytes().into());
    let bytes = volume.read_blocks(extent.blkno, blocks as u32).ok()?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    (end > 0).then_some(end as u64)
}
