//! The xattr block of an inode, with attributes in it or with the tree of their buckets.

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block, Structure};

use super::area::{Area, Item};
use crate::allocator::Suballocated;
use crate::edit::{Edit, EditError};
use crate::{InBlock, Inode};

impl Edit {
    /// Puts an attribute into the xattr block of an inode or its buckets; an inode without a block
    /// gets one.
    pub(super) fn put_in_block(&mut self, inode: &Inode, item: Item) -> Result<(), EditError> {
        let blkno = inode.dinode.i_xattr_loc;
        if blkno.is_none() {
            return self.new_xattr_block(inode.blkno, item);
        }
        let (header, block) = self.volume().read::<XattrBlock>(blkno)?;
        if header.is_indexed() {
            return self.put_in_tree(blkno, item);
        }
        let area = block.get(XattrBlock::AREA_OFFSET..).unwrap_or_default();
        let mut area = Area::plain(area.len()).read(blkno, area)?;
        if area.insert(item.clone()) {
            return self.store_in_block(blkno, area);
        }
        self.make_tree(blkno, area)?;
        self.put_in_tree(blkno, item)
    }

    /// Gives an inode a block with one attribute.
    fn new_xattr_block(&mut self, inode: Blkno, item: Item) -> Result<(), EditError> {
        let taken = self.take_block(XattrBlock::NAME)?;
        let header = XattrBlock {
            xb_signature: XattrBlock::SIGNATURE,
            xb_suballoc_slot: taken.slot,
            xb_suballoc_bit: taken.bit,
            xb_fs_generation: self.volume().generation(),
            xb_blkno: taken.blkno,
            xb_suballoc_loc: taken.loc,
            ..Default::default()
        };
        let mut area = Area::plain(self.volume().block_size().size() - XattrBlock::AREA_OFFSET);
        if !area.insert(item) {
            return Err(EditError::TooLarge("the name is too long for a block"));
        }
        let bytes = area.encode(0).in_block(taken.blkno)?;
        self.create_block(taken.blkno, &header, |rest| {
            rest.copy_from_slice(&bytes);
            Ok(())
        })?;
        self.update_dinode(inode, |dinode, _| {
            dinode.i_dyn_features = (dinode.dyn_features() | DynFeatures::HAS_XATTR).bits();
            dinode.i_xattr_loc = taken.blkno;
        })
    }

    /// Writes the attributes of a block.
    pub(super) fn store_in_block(&mut self, blkno: Blkno, mut area: Area) -> Result<(), EditError> {
        let bytes = area.encode(0).in_block(blkno)?;
        self.update::<XattrBlock>(blkno, |_, rest| {
            if let Some(rest) = rest.get_mut(..bytes.len()) {
                rest.copy_from_slice(&bytes);
            }
        })
    }

    /// Gives back the xattr block of an inode, which has no attributes left.
    pub(super) fn drop_xattr_block(&mut self, inode: &Inode) -> Result<(), EditError> {
        let (header, _) = self.volume().read::<XattrBlock>(inode.dinode.i_xattr_loc)?;
        self.give_block(Suballocated::from(&header))?;
        self.update_dinode(inode.blkno, |dinode, _| {
            let mut features = dinode.dyn_features();
            // An area in the inode stays, as Linux does not give it back either.
            let has_area = features.contains(DynFeatures::INLINE_XATTR);
            features.set(DynFeatures::HAS_XATTR, has_area);
            dinode.i_dyn_features = features.bits();
            dinode.i_xattr_loc = Blkno(0);
        })
    }
}
