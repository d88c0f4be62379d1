//! Blocks of attributes without an owner, and the inodes that may have pointed to them: one without
//! the attributes that its flags promise, or two that share one block.
//!
//! A block of attributes does not state its owner. Which of the two inodes it belongs to is decided
//! by the names, as an inode cannot have one twice, or else by the order in which inodes and blocks
//! are allocated.

use std::collections::{BTreeMap, HashSet};

use ocfs2_format::Blkno;
use ocfs2_format::bitmap::Bitmap;

use crate::codes::xattrs as codes;
use crate::repair::Repair;
use crate::tables::collected::{BlockClaim, BlockUse};
use crate::tables::suballocs::{Suballoc, Suballocs};
use crate::xattrs;
use crate::{Context, Finding, Place};

/// Blocks that are read. More of them are not the result of one wrong number.
const LOOKED_AT: usize = 256;

/// Returns what is wrong with two inodes that share a block of attributes, if there is exactly one
/// such block without an owner. `used` has the bits in use by group; `claims` are in the order of
/// blocks.
pub(super) fn findings(
    context: &Context<'_>,
    suballocs: &Suballocs,
    claims: &[BlockClaim],
    used: &BTreeMap<u32, Vec<u8>>,
) -> Vec<Finding> {
    let Some((first, second, shared)) = sharers(claims) else { return Vec::new() };
    let Some(other) = unowned(context, suballocs, used) else { return Vec::new() };
    let (low, high) = (shared.min(other), shared.max(other));
    let fits = |one, next| fits(context, first, one) && fits(context, second, next);
    let first_has = match (fits(low, high), fits(high, low)) {
        (true, _) => low,
        (false, true) => high,
        (false, false) => return Vec::new(),
    };
    let led = if first_has == shared { second } else { first };
    let of = |inode: Blkno, with: Blkno| {
        let text = format!(
            "inode {inode}: has xattr block {shared}, as inode {with}, and xattr block {other} is \
             nobody's; it is taken for that of inode {led}"
        );
        let repair = Repair::first_once("i_xattr_loc", led.0, move |editor| {
            editor.dinode(led, |dinode, _| dinode.i_xattr_loc = other)
        });
        let finding = Finding::new(codes::XATTR_LOC_SHARED, Place::inode(inode), text);
        finding.repaired_by(repair)
    };
    vec![of(first, second), of(second, first)]
}

/// Returns the finding that the only inode without the attributes that its flags promise has those
/// in the only such block without an owner.
pub(super) fn lost(
    context: &Context<'_>,
    suballocs: &Suballocs,
    inode: Blkno,
    used: &BTreeMap<u32, Vec<u8>>,
) -> Option<Finding> {
    let block = unowned(context, suballocs, used).filter(|block| fits(context, inode, *block))?;
    let text = format!(
        "inode {inode}: has attributes by its flags, and points to none; xattr block {block} is \
         nobody's, and is taken for its own"
    );
    let repair = Repair::first_once("i_xattr_loc", inode.0, move |editor| {
        editor.dinode(inode, |dinode, _| dinode.i_xattr_loc = block)
    });
    let finding = Finding::new(codes::XATTR_LOC_MISSING, Place::inode(inode), text);
    Some(finding.repaired_by(repair))
}

/// Returns the only two inodes that share a block of attributes, and that block.
fn sharers(claims: &[BlockClaim]) -> Option<(Blkno, Blkno, Blkno)> {
    let shared = claims.chunk_by(|one, next| one.blkno == next.blkno).filter(|it| it.len() > 1);
    let mut shared = shared.filter(|it| it.iter().any(|it| it.used_as == BlockUse::XattrBlock));
    let (Some([one, next]), None) = (shared.next(), shared.next()) else { return None };
    let is_two = one.used_as == next.used_as && one.owner != next.owner;
    let (first, second) = (one.owner.min(next.owner), one.owner.max(next.owner));
    is_two.then_some((first, second, one.blkno))
}

/// Returns the only block of attributes that is allocated and has no owner.
fn unowned(
    context: &Context<'_>,
    suballocs: &Suballocs,
    used: &BTreeMap<u32, Vec<u8>>,
) -> Option<Blkno> {
    let mut blocks = Vec::new();
    for (index, group) in (0..).zip(suballocs.groups()) {
        if !matches!(group.suballoc, Suballoc::Extents(_)) {
            continue;
        }
        let bits = group.bits as usize;
        let used = used.get(&index).map(|bytes| Bitmap::new(bytes, bits));
        let set = group.bitmap().runs(true).flatten().filter(|bit| *bit > 0);
        let free = set.filter(|bit| !used.as_ref().is_some_and(|used| used.get(*bit)));
        let left = (LOOKED_AT + 1).saturating_sub(blocks.len());
        let found = free.filter_map(|bit| group.block_of_bit(u32::try_from(bit).ok()?));
        blocks.extend(found.take(left));
    }
    if blocks.len() > LOOKED_AT {
        return None;
    }
    let mut sound = blocks.into_iter().filter(|blkno| xattrs::is_sound(context, *blkno));
    sound.next().filter(|_| sound.next().is_none())
}

/// Returns whether an inode can have that block of attributes: it then has no name twice.
fn fits(context: &Context<'_>, inode: Blkno, loc: Blkno) -> bool {
    let Ok(mut inode) = context.volume.inode(inode) else { return false };
    inode.dinode.i_xattr_loc = loc;
    let mut names = HashSet::new();
    context.volume.xattrs(&inode).all(|it| it.is_ok_and(|it| names.insert(it.name)))
}
