//! Removing all attributes of an inode, and the room for them.

use ocfs2_format::dinode::{Arm, Dinode, DynFeatures};
use ocfs2_format::extent::{ExtentListHeader, ExtentRec};
use ocfs2_format::{Blkno, Structure};

use crate::edit::{Edit, EditError};

impl Edit {
    /// Removes all attributes of an inode: the block, the buckets and the values, and the area in
    /// the inode, whose bytes its contents get back. Times stay.
    ///
    /// # Errors
    /// The attributes are damaged.
    pub fn drop_xattrs(&mut self, inode: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let owner = edit.inode(inode)?;
            edit.free_xattrs(&owner)?;
            edit.update_dinode(inode, |dinode, id2| {
                let features = dinode.dyn_features();
                if features.contains(DynFeatures::INLINE_XATTR) {
                    give_back(dinode, id2);
                }
                let gone = DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
                dinode.i_dyn_features = (features - gone).bits();
                (dinode.i_xattr_loc, dinode.i_xattr_inline_size) = (Blkno(0), 0);
            })
        })
    }
}

/// Clears the area of an inode and makes its bytes room for contents.
fn give_back(dinode: &Dinode, id2: &mut [u8]) {
    let bytes = usize::from(dinode.i_xattr_inline_size).min(id2.len());
    let start = id2.len() - bytes;
    id2.get_mut(start..).unwrap_or_default().fill(0);
    match dinode.arm() {
        Arm::InlineData => {
            if let Some([low, high, ..]) = id2.get_mut(..2) {
                let count = u16::from_le_bytes([*low, *high]).saturating_add(bytes as u16);
                [*low, *high] = count.to_le_bytes();
            }
        }
        Arm::ExtentList => {
            if let Ok(mut header) = ExtentListHeader::decode(id2) {
                let most = id2.len().saturating_sub(ExtentListHeader::SIZE) / ExtentRec::SIZE;
                let count = usize::from(header.l_count) + bytes.div_ceil(ExtentRec::SIZE);
                header.l_count = count.min(most) as u16;
                // There is room: it was read from there.
                let _ = header.encode(id2);
            }
        }
        _ => {}
    }
}
