//! The area of attributes at the end of the dinode.

use ocfs2_format::Structure;
use ocfs2_format::dinode::{Dinode, DynFeatures};
use ocfs2_format::superblock::XATTR_INLINE_SIZE;
use ocfs2_format::xattr::XattrHeader;
use ocfs2_volume::{Inode, Volume};

use super::Owner;
use super::entry::{self, Area, Names};
use crate::codes::xattrs as codes;
use crate::repair::Repair;
use crate::tables::collected::Collected;
use crate::{Context, Finding, Place};

/// Returns the size of the area of every inode that has one, in bytes.
pub(crate) fn area_size(volume: &Volume) -> u16 {
    let room = volume.block_size().size() - Dinode::ID2_OFFSET;
    let stated = volume.superblock().s_xattr_inline_size;
    match (XattrHeader::SIZE..=room).contains(&stated.into()) {
        true => stated,
        false => XATTR_INLINE_SIZE,
    }
}

/// Returns the inode with an area of the right size, if it states another size. Everything else in
/// the dinode ends where the area begins.
pub fn mended(context: &Context<'_>, inode: &Inode, out: &mut Collected) -> Option<Inode> {
    let (dinode, size) = (&inode.dinode, area_size(context.volume));
    if !dinode.dyn_features().contains(DynFeatures::INLINE_XATTR)
        || dinode.i_xattr_inline_size == size
    {
        return None;
    }
    let blkno = inode.blkno;
    let found = dinode.i_xattr_inline_size;
    let text = format!("inode {blkno}: i_xattr_inline_size is {found}, expected {size}");
    let finding = Finding::new(codes::XATTR_INLINE_SIZE, Place::inode(blkno), text);
    let repair = Repair::dinode(blkno, move |dinode, _| dinode.i_xattr_inline_size = size);
    out.found(finding.repaired_by(repair));
    let mut inode = inode.clone();
    inode.dinode.i_xattr_inline_size = size;
    Some(inode)
}

/// Returns the area of an inode, of the size that the inode states.
pub(super) fn area(inode: &Inode) -> &[u8] {
    let block = inode.block();
    let start = block.len().checked_sub(inode.dinode.i_xattr_inline_size.into());
    start.and_then(|start| block.get(start..)).unwrap_or_default()
}

pub(super) fn check(
    context: &Context<'_>,
    owner: &Owner<'_>,
    names: &mut Names,
    out: &mut Collected,
) {
    let area = Area {
        bytes: area(owner.inode),
        blkno: owner.inode.blkno,
        name: "inline xattrs",
        unit: None,
    };
    entry::check(context, owner, &area, names, out);
}
