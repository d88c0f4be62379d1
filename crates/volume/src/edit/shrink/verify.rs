//! Reading everything again before the end of a volume is taken off.

use std::collections::BTreeSet;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::Arm;

use super::{Beyond, is_shared};
use crate::metadata::MetadataKind;
use crate::tree::{Extent, Tree};
use crate::{Error, Inode, Volume};

impl Volume {
    /// Fails if a structure, a cluster of a file or an inode is in the part that goes, or if
    /// anything cannot be read. Descriptors of the global bitmap are not looked at.
    ///
    /// # Errors
    /// [`Error::OutsideVolume`] for what is found there; something is damaged.
    pub fn verify_nothing_beyond(&self, beyond: &Beyond) -> Result<(), Error> {
        let bitmap = self.global_bitmap()?.inode.blkno;
        let check = |structure, blkno: Blkno, blocks: u64| {
            let end = blkno.0.saturating_add(blocks);
            match end > beyond.first || beyond.has(blkno) {
                true => Err(Error::OutsideVolume { structure, blkno, blocks: beyond.first }),
                false => Ok(()),
            }
        };
        for run in self.metadata() {
            let run = run?;
            if run.kind != MetadataKind::Group || run.owner != bitmap {
                check("metadata", run.blkno, run.blocks)?;
            }
        }
        let bits = self.geometry().bpc_bits();
        let mut trees = BTreeSet::new();
        for inode in self.inodes() {
            let inode = inode?;
            self.for_each_extent(&inode, |extent| {
                check("extent", extent.blkno, u64::from(extent.clusters) << bits)
            })?;
            if let Some(root) = inode.refcounts()
                && trees.insert(root)
                && self.has_shared_beyond(root, beyond)?
            {
                let blocks = beyond.first;
                return Err(Error::OutsideVolume { structure: "refcount", blkno: root, blocks });
            }
        }
        Ok(())
    }

    /// Calls `each` with all extents of an inode's contents and of the values of its attributes.
    fn for_each_extent(
        &self,
        inode: &Inode,
        mut each: impl FnMut(&Extent) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut all = |tree: Tree<'_>| tree.extents().try_for_each(|extent| each(&extent?));
        if inode.dinode.arm() == Arm::ExtentList {
            all(self.tree(inode)?)?;
        }
        for xattr in self.xattrs(inode) {
            if let Some(tree) = xattr?.tree(self)? {
                all(tree)?;
            }
        }
        Ok(())
    }

    /// Number of clusters of an inode, contents and values, that go and are not shared.
    ///
    /// # Errors
    /// It is damaged.
    pub fn clusters_beyond(&self, inode: &Inode, beyond: &Beyond) -> Result<u64, Error> {
        let mut count = 0;
        self.for_each_extent(inode, |extent| {
            let part = beyond.part(self, extent);
            count += if is_shared(extent) { 0 } else { part.end - part.start };
            Ok(())
        })?;
        Ok(count)
    }
}
