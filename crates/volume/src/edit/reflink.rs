//! Files that share their contents.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Arm, DynFeatures, FileKind};
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::feature::Incompat;

use super::{Edit, EditError};
use crate::Inode;
use crate::inode::Touch;
use crate::tree::Extent;

impl Edit {
    /// Gives an empty file the contents of another one. Both share the clusters: a write to one of
    /// the files copies them. Attributes and times are not copied.
    ///
    /// # Errors
    /// [`EditError::Refused`] on a volume without refcount trees, and where the file is not empty;
    /// [`EditError::NoRoom`]; one of the files is damaged.
    pub fn reflink(&mut self, from: Blkno, to: Blkno) -> Result<(), EditError> {
        if !self.has(Incompat::REFCOUNT_TREE) {
            return Err(EditError::Refused("the volume has no refcount trees".to_owned()));
        }
        self.attempt(|edit| {
            let (source, target) = (edit.inode(from)?, edit.inode(to)?);
            source.expect(FileKind::Regular, "a regular file")?;
            target.expect(FileKind::Regular, "a regular file")?;
            if target.size() > 0 || target.dinode.i_clusters > 0 || from == to {
                return Err(EditError::Refused(format!("inode {to} is not an empty file")));
            }
            if source.dinode.arm() == Arm::InlineData {
                let mut data = vec![0; source.size() as usize];
                edit.volume().file(&source)?.read_at(&mut data, 0)?;
                return edit.write_file(to, 0, &data);
            }
            let counts = edit.shared(&source)?;
            let (target, mut root) = edit.with_extents(target)?;
            edit.join(&target, counts)?;
            let source = edit.inode(from)?;
            let extents: Vec<Extent> =
                edit.volume().tree(&source)?.extents().collect::<Result<_, _>>()?;
            let runs: Vec<_> = extents.iter().map(|extent| edit.run_of(extent)).collect();
            edit.add_references(counts, runs)?;
            for extent in extents {
                edit.tree_insert(&mut root, extent)?;
            }
            edit.store_inode_root(&root)?;
            let (size, time) = (source.size(), edit.time());
            edit.update_dinode(to, |dinode, _| {
                dinode.i_size = size;
                dinode.touch(time);
            })
        })
    }

    /// Makes all extents of a file counted ones. Returns the root of the refcount tree.
    fn shared(&mut self, inode: &Inode) -> Result<Blkno, EditError> {
        let counts = match inode.refcounts() {
            Some(counts) => counts,
            None => {
                let counts = self.create_refcounts()?;
                self.use_refcounts(inode.blkno, counts)?;
                counts
            }
        };
        let mut root = self.inode_root(inode)?;
        let mut newly = Vec::new();
        self.tree_change(&mut root, 0..1 << 32, &mut |extent| {
            if !extent.flags.contains(ExtentFlags::REFCOUNTED) {
                newly.push(extent);
            }
            Some(Extent { flags: extent.flags | ExtentFlags::REFCOUNTED, ..extent })
        })?;
        let runs: Vec<_> = newly.iter().map(|extent| self.run_of(extent)).collect();
        self.add_references(counts, runs)?;
        self.store_inode_root(&root)?;
        Ok(counts)
    }

    /// Makes a file without extents use a refcount tree, in place of another one it has used.
    fn join(&mut self, inode: &Inode, counts: Blkno) -> Result<(), EditError> {
        let before = inode.refcounts();
        if before == Some(counts) {
            return Ok(());
        }
        self.change_refcount_users(counts, 1)?;
        self.use_refcounts(inode.blkno, counts)?;
        before.map_or(Ok(()), |before| self.change_refcount_users(before, -1))
    }

    fn use_refcounts(&mut self, blkno: Blkno, counts: Blkno) -> Result<(), EditError> {
        self.update_dinode(blkno, |dinode, _| {
            let features = dinode.dyn_features() | DynFeatures::HAS_REFCOUNT;
            dinode.i_dyn_features = features.bits();
            dinode.i_refcount_loc = counts;
        })
    }
}
