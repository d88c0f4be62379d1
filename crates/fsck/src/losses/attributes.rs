//! Attributes that are not there any more.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use ocfs2_cli::Interrupt;
use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::{XattrBlock, XattrPrefix};
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::allocator::Group;
use ocfs2_volume::{Inode, SystemFile, Volume};

use super::Touched;
use super::contents::Sides;
use crate::Stop;

/// Inodes of which it is told that one of them may have had a block of attributes.
const MOST_WITHOUT: usize = 64;

/// Which attributes of an inode are gone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GoneAttributes {
    /// Their names, with prefix.
    pub names: Vec<Vec<u8>>,
    /// Whether there were others whose names are not known.
    pub others: bool,
}

/// The attributes there are, each with a number that stands for its value, and whether there may
/// be more.
struct Known {
    values: HashMap<Vec<u8>, Option<u64>>,
    is_incomplete: bool,
}

/// Compares the attributes of an inode.
pub(super) fn compare(
    sides: &Sides<'_>,
    touched: &Touched,
    before: &Inode,
    after: &Inode,
) -> Option<GoneAttributes> {
    let flags = DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
    if !before.dinode.dyn_features().intersects(flags) && before.dinode.i_xattr_loc.is_none() {
        return None;
    }
    // What it had was not known to be its own.
    if touched.with_others.contains(&before.blkno) {
        return None;
    }
    let state = RandomState::new();
    let accidental = without_number(sides, touched, before);
    let before = accidental.as_ref().unwrap_or(before);
    let was = known(sides.before, before, &state);
    let is = known(sides.after, after, &state);
    let is_mended = touched.mended.contains(&before.blkno);
    let is_gone = |(name, value): (&Vec<u8>, &Option<u64>)| match is.values.get(name) {
        None => true,
        // One that had another size is as it was.
        Some(now) => value.is_some() && value != now && !is_mended,
    };
    let gone = was.values.iter().filter(|it| is_gone((it.0, it.1)));
    let mut names: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    let lost_block = !before.dinode.i_xattr_loc.is_none()
        && after.dinode.i_xattr_loc.is_none()
        && before.dinode.dyn_features().contains(DynFeatures::HAS_XATTR)
        && was.is_incomplete;
    // Where its attributes were nothing tells, but some were somewhere.
    let had = |inode: &Inode| inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR);
    let is_without = before.dinode.i_xattr_loc.is_none()
        && !before.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR)
        && had(before)
        && !had(after)
        && *touched.frees_attributes.get_or_init(|| frees_attributes(sides));
    // As many as before, though not all of these could be read: they were mended.
    let is_explained = !touched.unexplained.contains(&before.blkno);
    let others = lost_block
        || is_without
        || touched.without_attributes.contains(&before.blkno)
        || was.is_incomplete && is.values.len() <= was.values.len() && !is_explained;
    (!names.is_empty() || others).then_some(GoneAttributes { names, others })
}

/// The inode without the number of a block of attributes, if that never was one.
fn without_number(sides: &Sides<'_>, touched: &Touched, before: &Inode) -> Option<Inode> {
    let loc = before.dinode.i_xattr_loc;
    let is_garbage = !loc.is_none() && !sides.before.geometry().is_valid_block(loc);
    // Asked once for all inodes: it reads the allocators.
    let is_any_freed = || *touched.frees_attributes.get_or_init(|| frees_attributes(sides));
    let is_none = is_garbage && !is_any_freed() || is_accidental(sides, before);
    is_none.then(|| {
        let mut inode = before.clone();
        inode.dinode.i_xattr_loc = Blkno(0);
        inode
    })
}

/// Whether a single bit is all there is of the number, the flag is there for attributes in the inode,
/// and nothing of attributes was where it points to.
fn is_accidental(sides: &Sides<'_>, before: &Inode) -> bool {
    let loc = before.dinode.i_xattr_loc;
    let is_bit = loc.0.is_power_of_two();
    if !is_bit || !before.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) {
        return false;
    }
    // The block may have been one whose number has two bits, of which one is gone.
    let others = (0..u64::BITS).map(|bit| Blkno(loc.0 | 1 << bit));
    let is_lost =
        |blkno: Blkno| is_allocated(sides.before, blkno) && !is_allocated(sides.after, blkno);
    let mut all = std::iter::once(loc).chain(others.filter(|blkno| is_xattr_block(sides, *blkno)));
    !is_xattr_block(sides, loc) && !all.any(is_lost)
}

/// Whether a block says that it is one of attributes.
fn is_xattr_block(sides: &Sides<'_>, blkno: Blkno) -> bool {
    let volume = sides.before;
    volume.geometry().is_valid_block(blkno)
        && volume.read_block(blkno).is_ok_and(|block| block.starts_with(&XattrBlock::SIGNATURE))
}

/// The groups of the allocator of extent blocks of a slot, as far as they can be read.
fn groups(volume: &Volume, slot: u16) -> Vec<Group> {
    let inode = volume.system_file(SystemFile::ExtentAlloc(slot));
    let allocator = inode.and_then(|inode| volume.allocator(inode));
    allocator.map_or(Vec::new(), |it| volume.groups(&it).filter_map(Result::ok).collect())
}

/// Whether an allocator of extent blocks says that a block is in use.
fn is_allocated(volume: &Volume, blkno: Blkno) -> bool {
    let has = |slot| groups(volume, slot).iter().any(|group| is_used(group, blkno));
    (0..volume.max_slots()).any(has)
}

/// Whether a block of attributes that was in use is not any more: else a number that is garbage was
/// none of such a block.
fn frees_attributes(sides: &Sides<'_>) -> bool {
    !freed(sides, 1).is_empty()
}

/// Blocks of attributes that were in use and are not any more, so many at most.
fn freed(sides: &Sides<'_>, most: usize) -> Vec<Blkno> {
    let mut freed = Vec::new();
    for slot in 0..sides.before.max_slots() {
        if freed.len() >= most {
            break;
        }
        let after = groups(sides.after, slot);
        let is_freed = |blkno: &Blkno| !after.iter().any(|group| is_used(group, *blkno));
        for group in groups(sides.before, slot) {
            let used = (1..u32::from(group.desc.bg_bits)).filter_map(|bit| group.block_of_bit(bit));
            let used = used.filter(|blkno| is_used(&group, *blkno));
            let gone = used.filter(is_freed).filter(|blkno| is_xattr_block(sides, *blkno));
            freed.extend(gone.take(most.saturating_sub(freed.len())));
        }
    }
    freed
}

/// Inodes that may have had blocks of attributes that nobody pointed to and that were freed: they say
/// that they have attributes, and point to no block. Of more than so many nothing is known.
pub(super) fn without_block(sides: &Sides<'_>, interrupt: &Interrupt) -> Result<Vec<Inode>, Stop> {
    let volume = sides.before;
    let freed = freed(sides, MOST_WITHOUT);
    let mut unowned: HashSet<_> = freed.into_iter().collect();
    let mut without = Vec::new();
    for inode in volume.inodes().filter_map(Result::ok) {
        if interrupt.requested() {
            return Err(Stop::Interrupted);
        }
        let loc = inode.dinode.i_xattr_loc;
        unowned.remove(&loc);
        let has_some = inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR);
        if has_some && loc.is_none() && without.len() <= MOST_WITHOUT {
            without.push(inode);
        }
    }
    let is_known = !unowned.is_empty() && without.len() <= MOST_WITHOUT;
    Ok(if is_known { without } else { Vec::new() })
}

/// Whether a group covers a block and says that it is in use.
fn is_used(group: &Group, blkno: Blkno) -> bool {
    let bit = group.bit_of_block(blkno).and_then(|bit| usize::try_from(bit).ok());
    bit.is_some_and(|bit| group.bitmap().get(bit))
}

fn known(volume: &Volume, inode: &Inode, state: &RandomState) -> Known {
    let mut known = Known { values: HashMap::new(), is_incomplete: false };
    let seed = volume.superblock().s_uuid_hash;
    for xattr in volume.xattrs(inode) {
        let Ok(xattr) = xattr else {
            known.is_incomplete = true;
            continue;
        };
        // What is not a name is known to be none, and what it was is not.
        let prefix = xattr.prefix.as_str().len();
        let name = xattr.name.get(prefix..).unwrap_or_default();
        let is_list =
            matches!(xattr.prefix, XattrPrefix::PosixAclAccess | XattrPrefix::PosixAclDefault);
        let is_it = |sign: CharSign| xattr_hash(name, seed, sign) == xattr.entry.xe_name_hash;
        if !CharSign::ALL.into_iter().any(is_it) || is_list && !name.is_empty() {
            known.is_incomplete = true;
            continue;
        }
        let value = volume.xattr_value(&xattr).ok().map(|value| state.hash_one(value));
        known.values.insert(xattr.name, value);
    }
    known
}
