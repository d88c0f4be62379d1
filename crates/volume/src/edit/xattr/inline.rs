//! The area of attributes at the end of a dinode.

use ocfs2_format::dinode::{Arm, Dinode, DynFeatures};
use ocfs2_format::extent::{ExtentListHeader, ExtentRec};
use ocfs2_format::xattr::XattrHeader;
use ocfs2_format::{Blkno, BlockSize, Structure};

use super::area::{Area, Item};
use crate::edit::{Edit, EditError};
use crate::{InBlock, Inode, Volume};

impl Edit {
    /// Puts an attribute into the area of an inode, which gets an area if its contents leave room
    /// for one. Returns whether the attribute fits.
    pub(super) fn put_inline(&mut self, inode: &Inode, item: &Item) -> Result<bool, EditError> {
        if self.volume().block_size() == BlockSize::MIN {
            // Linux has no area in inodes so small.
            return Ok(false);
        }
        let area = match inode.inline_xattrs()? {
            Some(bytes) => Some(Area::plain(bytes.len()).read(inode.blkno, bytes)?),
            None => self.volume().new_inline_area(inode).map(Area::plain),
        };
        let Some(mut area) = area else { return Ok(false) };
        let fits = area.insert(item.clone());
        if fits {
            self.store_inline(inode.blkno, area)?;
        }
        Ok(fits)
    }

    /// Writes the area of an inode. A new area is taken from the room for contents.
    pub(super) fn store_inline(&mut self, blkno: Blkno, mut area: Area) -> Result<(), EditError> {
        let bytes = area.encode(0).in_block(blkno)?;
        let mut shrunk = Ok(());
        self.update_dinode(blkno, |dinode, id2| {
            let features = dinode.dyn_features();
            if !features.contains(DynFeatures::INLINE_XATTR) {
                shrunk = shrink(dinode, id2, bytes.len());
                let features = features | DynFeatures::INLINE_XATTR | DynFeatures::HAS_XATTR;
                dinode.i_dyn_features = features.bits();
                dinode.i_xattr_inline_size = bytes.len() as u16;
            }
            let start = id2.len().saturating_sub(bytes.len());
            if let Some(room) = id2.get_mut(start..) {
                room.copy_from_slice(&bytes);
            }
        })?;
        Ok(shrunk.in_block(blkno)?)
    }
}

impl Volume {
    /// Bytes of the area that an inode can get; `None` if its contents need them.
    fn new_inline_area(&self, inode: &Inode) -> Option<usize> {
        let size = usize::from(self.superblock().s_xattr_inline_size);
        let id2 = inode.id2();
        if !(XattrHeader::SIZE..=id2.len()).contains(&size) {
            return None;
        }
        let length = usize::try_from(inode.size()).ok()?;
        let free = match inode.dinode.arm() {
            // An inline directory fills its room: its last entry reaches to the end.
            Arm::InlineData => inline_count(id2)?.checked_sub(length)?,
            // With the NUL at its end.
            Arm::Symlink => id2.len().checked_sub(length + 1)?,
            Arm::ExtentList => {
                let header = ExtentListHeader::decode(id2).ok()?;
                let free = header.l_count.checked_sub(header.l_next_free_rec)?;
                usize::from(free) * ExtentRec::SIZE
            }
            _ => return None,
        };
        (free >= size).then_some(size)
    }
}

/// `id_count` of contents that are in their inode.
fn inline_count(id2: &[u8]) -> Option<usize> {
    Some(u16::from_le_bytes([*id2.first()?, *id2.get(1)?]).into())
}

/// Makes the room for contents `bytes` bytes smaller.
fn shrink(dinode: &Dinode, id2: &mut [u8], bytes: usize) -> Result<(), ocfs2_format::Truncated> {
    match dinode.arm() {
        Arm::InlineData => {
            let count = inline_count(id2).unwrap_or(0).saturating_sub(bytes) as u16;
            if let Some(field) = id2.get_mut(..2) {
                field.copy_from_slice(&count.to_le_bytes());
            }
        }
        Arm::ExtentList => {
            let mut header = ExtentListHeader::decode(id2)?;
            let records = bytes.div_ceil(ExtentRec::SIZE);
            header.l_count = usize::from(header.l_count).saturating_sub(records) as u16;
            header.encode(id2)?;
        }
        _ => {}
    }
    Ok(())
}
