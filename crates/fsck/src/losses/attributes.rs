//! Lost attributes.

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

/// The most inodes that are named as possible owners of a freed xattr block.
const MOST_WITHOUT: usize = 64;

/// The attributes that an inode has lost.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GoneAttributes {
    /// Their names, with prefix.
    pub names: Vec<Vec<u8>>,
    /// Whether there were others with unknown names.
    pub others: bool,
}

/// The attributes of an inode, each with a hash of its value, and whether there may be more.
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
    // Its attributes may have been those of another inode.
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
        // An attribute with a corrected size has its value as before.
        Some(now) => value.is_some() && value != now && !is_mended,
    };
    let gone = was.values.iter().filter(|it| is_gone((it.0, it.1)));
    let mut names: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    let lost_block = !before.dinode.i_xattr_loc.is_none()
        && after.dinode.i_xattr_loc.is_none()
        && before.dinode.dyn_features().contains(DynFeatures::HAS_XATTR)
        && was.is_incomplete;
    // It had attributes somewhere, but nothing shows where.
    let had = |inode: &Inode| inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR);
    let is_without = before.dinode.i_xattr_loc.is_none()
        && !before.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR)
        && had(before)
        && !had(after)
        && *touched.frees_attributes.get_or_init(|| frees_attributes(sides));
    // As many as before, although some could not be read: they were mended.
    let is_explained = !touched.unexplained.contains(&before.blkno);
    let others = lost_block
        || is_without
        || touched.without_attributes.contains(&before.blkno)
        || was.is_incomplete && is.values.len() <= was.values.len() && !is_explained;
    (!names.is_empty() || others).then_some(GoneAttributes { names, others })
}

/// The inode without the number of an xattr block, if it never had one.
fn without_number(sides: &Sides<'_>, touched: &Touched, before: &Inode) -> Option<Inode> {
    let loc = before.dinode.i_xattr_loc;
    let is_garbage = !loc.is_none() && !sides.before.geometry().is_valid_block(loc);
    // Determined once for all inodes, since it reads the allocators.
    let is_any_freed = || *touched.frees_attributes.get_or_init(|| frees_attributes(sides));
    let is_none = is_garbage && !is_any_freed() || is_accidental(sides, before);
    is_none.then(|| {
        let mut inode = before.clone();
        inode.dinode.i_xattr_loc = Blkno(0);
        inode
    })
}

/// Whether the number is a single wrong bit: the flag stands for attributes in the inode, and no
/// xattr block was lost at any place that it may have meant.
fn is_accidental(sides: &Sides<'_>, before: &Inode) -> bool {
    let loc = before.dinode.i_xattr_loc;
    let is_bit = loc.0.is_power_of_two();
    if !is_bit || !before.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) {
        return false;
    }
    // A number of two bits, one of which is gone, is possible as well.
    let others = (0..u64::BITS).map(|bit| Blkno(loc.0 | 1 << bit));
    let is_lost =
        |blkno: Blkno| is_allocated(sides.before, blkno) && !is_allocated(sides.after, blkno);
    let mut all = std::iter::once(loc).chain(others.filter(|blkno| is_xattr_block(sides, *blkno)));
    !is_xattr_block(sides, loc) && !all.any(is_lost)
}

/// Whether a block has the signature of an xattr block.
fn is_xattr_block(sides: &Sides<'_>, blkno: Blkno) -> bool {
    let volume = sides.before;
    volume.geometry().is_valid_block(blkno)
        && volume.read_block(blkno).is_ok_and(|block| block.starts_with(&XattrBlock::SIGNATURE))
}

/// The groups of the `extent_alloc` of a slot, as far as they can be read.
fn groups(volume: &Volume, slot: u16) -> Vec<Group> {
    let inode = volume.system_file(SystemFile::ExtentAlloc(slot));
    let allocator = inode.and_then(|inode| volume.allocator(inode));
    allocator.map_or(Vec::new(), |it| volume.groups(&it).filter_map(Result::ok).collect())
}

/// Whether the `extent_alloc` of any slot marks a block as used.
fn is_allocated(volume: &Volume, blkno: Blkno) -> bool {
    let has = |slot| groups(volume, slot).iter().any(|group| is_used(group, blkno));
    (0..volume.max_slots()).any(has)
}

/// Whether any xattr block in use was freed. If not, an invalid number cannot have meant one.
fn frees_attributes(sides: &Sides<'_>) -> bool {
    !freed(sides, 1).is_empty()
}

/// At most `most` xattr blocks that were in use and no longer are.
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

/// Inodes that may have owned an xattr block which was freed since nothing pointed to it: they
/// state that they have attributes, and point to no block. Empty if there are more than
/// [`MOST_WITHOUT`], which is no longer informative.
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

/// Whether a group covers a block and marks it as used.
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
        // The hash shows that this is not the name; what it was is not known.
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
