//! Values of attributes: beside their names, or in clusters of their own.

use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::xattr::{MAX_LOCAL_VALUE, XattrEntry, XattrValueRoot};
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};

use super::Key;
use super::area::Item;
use crate::edit::{Edit, EditError, Holds, Root};
use crate::tree::Extent;
use crate::{Error, InBlock, Inode};

impl Root {
    /// The root of the tree of a value, as it is stored beside its name in block `at`.
    pub(in crate::edit) fn of_value(at: Blkno, stored: &[u8]) -> Result<Self, Error> {
        let header = XattrValueRoot::decode(stored).in_block(at)?;
        let list = stored.get(XattrValueRoot::LIST_OFFSET..).unwrap_or_default().to_vec();
        Ok(Self::new(at, Holds::Data, list, header.xr_last_eb_blk, header.xr_clusters))
    }

    /// The bytes that are stored beside the name of a value.
    pub(super) fn to_value(&self) -> Result<Vec<u8>, Error> {
        let header = XattrValueRoot {
            xr_clusters: self.clusters(),
            xr_last_eb_blk: self.last_leaf(),
            ..Default::default()
        };
        let mut stored = vec![0; XattrValueRoot::FULL_SIZE];
        header.encode(&mut stored).in_block(self.at())?;
        let list = stored.get_mut(XattrValueRoot::LIST_OFFSET..).unwrap_or_default();
        list.iter_mut().zip(self.list()).for_each(|(byte, from)| *byte = *from);
        Ok(stored)
    }
}

impl Edit {
    /// Returns a new attribute. A value that is too long to be stored beside the name is written to
    /// clusters. `at` is the inode.
    pub(super) fn new_item(
        &mut self,
        at: Blkno,
        key: &Key<'_>,
        hash: u32,
        value: &[u8],
    ) -> Result<Item, EditError> {
        let is_local = value.len() as u64 <= MAX_LOCAL_VALUE;
        let stored = if is_local { value.to_vec() } else { self.write_value(at, value)? };
        let entry = XattrEntry {
            xe_name_hash: hash,
            xe_name_offset: 0,
            xe_name_len: key.name.len() as u8,
            xe_type: key.prefix.code() | if is_local { XattrEntry::LOCAL } else { 0 },
            xe_value_size: value.len() as u64,
        };
        Ok(Item { entry, name: key.name.to_vec(), stored })
    }

    /// Writes a value to clusters of its own. Returns the root of its tree.
    fn write_value(&mut self, at: Blkno, value: &[u8]) -> Result<Vec<u8>, EditError> {
        let list = XattrValueRoot::FULL_SIZE - XattrValueRoot::LIST_OFFSET;
        let mut root = Root::empty(at, Holds::Data, list).in_block(at)?;
        let geometry = *self.volume().geometry();
        let bytes = geometry.cluster_size.bytes() as usize;
        let count = value.len().div_ceil(bytes) as u32;
        let mut rest = value.chunks(bytes);
        let mut cpos = 0;
        for run in self.take_runs(count)? {
            for cluster in run {
                let Some(part) = rest.next() else { break };
                let blkno = geometry.block_of(Cluster(cluster));
                // Only the blocks that the value needs: what comes after its end is never read.
                let mut blocks = part.to_vec();
                blocks.resize(part.len().next_multiple_of(geometry.block_size.size()), 0);
                self.volume().write_raw(blkno, &blocks)?;
                let extent =
                    Extent { cpos: Cpos(cpos), clusters: 1, blkno, flags: ExtentFlags::empty() };
                self.tree_insert(&mut root, extent)?;
                cpos += 1;
            }
        }
        Ok(root.to_value()?)
    }

    /// Gives the clusters of a value back, if it has any.
    pub(super) fn free_value(&mut self, owner: &Inode, item: &Item) -> Result<(), EditError> {
        if item.entry.is_local() {
            return Ok(());
        }
        let mut root = Root::of_value(owner.blkno, &item.stored)?;
        let extents = root.extents(self.volume())?;
        if extents.iter().any(|extent| extent.flags.contains(ExtentFlags::REFCOUNTED)) {
            let text =
                format!("inode {}: clusters of an attribute's value are shared", owner.blkno);
            return Err(EditError::Refused(text));
        }
        self.drop_range(owner, &mut root, 0..1 << 32)
    }

    /// Gives the clusters of an extent back.
    pub(super) fn give_extent(&mut self, extent: &Extent) -> Result<(), EditError> {
        let Some(Cluster(first)) = self.volume().geometry().cluster_of(extent.blkno) else {
            return Ok(());
        };
        self.give_clusters(first..first + u32::from(extent.clusters))
    }
}
