//! Moving shared clusters, and the blocks of the trees that count them.
//!
//! All files that share a cluster change in the transaction that moves it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter::once;
use std::ops::Range;

use ocfs2_format::refcount::{RefcountBlock, RefcountRec};
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};

use super::{Beyond, MOST_EXTENTS, is_shared, trees::Unit};
use crate::allocator::{Suballocated, Want};
use crate::edit::file::Copied;
use crate::edit::refcount::refcount_root;
use crate::edit::{Contents, Edit, EditError, Root};
use crate::tree::Extent;
use crate::{Error, InBlock, Volume};

/// Shared clusters that move.
struct Moved {
    old: Range<u32>,
    /// Where they move to.
    new: u32,
    count: u32,
}

impl Volume {
    /// The blocks of a refcount tree that hold records, in order.
    fn refcount_leaves(&self, root: Blkno) -> Result<Vec<Extent>, Error> {
        let (header, block) = self.refcount_block(root, Blkno(0))?;
        if !header.is_tree() {
            return Ok(vec![Extent::new(Cpos(0), 1, root)]);
        }
        self.tree_of(&refcount_root(&header, &block), Unit::Blocks)?.extents().collect()
    }

    /// Calls `each` with the records of a refcount tree, until it returns false.
    fn for_each_refcount(
        &self,
        root: Blkno,
        mut each: impl FnMut(RefcountRec) -> bool,
    ) -> Result<(), Error> {
        for leaf in self.refcount_leaves(root)? {
            let parent = if leaf.blkno == root { Blkno(0) } else { root };
            let (_, block) = self.refcount_block(leaf.blkno, parent)?;
            let list = RefcountBlock::records(&block).in_block(leaf.blkno)?;
            list.verify(leaf.blkno)?;
            if !list.records().all(&mut each) {
                break;
            }
        }
        Ok(())
    }

    /// The inodes that use each of the refcount trees of which a block goes, or that count clusters
    /// that go.
    ///
    /// # Errors
    /// An inode or a tree is damaged.
    pub fn refcount_users_beyond(
        &self,
        beyond: &Beyond,
    ) -> Result<BTreeMap<Blkno, Vec<Blkno>>, Error> {
        let mut users: BTreeMap<Blkno, Option<Vec<Blkno>>> = BTreeMap::new();
        for inode in self.inodes() {
            let inode = inode?;
            let Some(root) = inode.refcounts() else { continue };
            let known = match users.entry(root) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let goes = self.has_refcounts_beyond(root, beyond)?
                        || self.has_shared_beyond(root, beyond)?;
                    entry.insert(goes.then(Vec::new))
                }
            };
            if let Some(inodes) = known {
                inodes.push(inode.blkno);
            }
        }
        Ok(users.into_iter().filter_map(|(root, inodes)| Some((root, inodes?))).collect())
    }

    /// Whether a refcount tree counts clusters that go.
    ///
    /// # Errors
    /// The tree is damaged.
    pub fn has_shared_beyond(&self, root: Blkno, beyond: &Beyond) -> Result<bool, Error> {
        let mut found = false;
        self.for_each_refcount(root, |rec| {
            found |= rec.r_cpos.saturating_add(rec.r_clusters.into()) > beyond.limit.into();
            !found
        })?;
        Ok(found)
    }

    /// Whether a block of a refcount tree goes.
    ///
    /// # Errors
    /// The tree is damaged.
    pub fn has_refcounts_beyond(&self, root: Blkno, beyond: &Beyond) -> Result<bool, Error> {
        let (header, block) = self.refcount_block(root, Blkno(0))?;
        let leaves = self.refcount_leaves(root)?;
        if beyond.has(root) || leaves.iter().any(|leaf| beyond.has(leaf.blkno)) {
            return Ok(true);
        }
        if !header.is_tree() {
            return Ok(false);
        }
        self.has_tree_beyond(&refcount_root(&header, &block), beyond, Unit::Blocks)
    }
}

impl Edit {
    /// Moves the blocks of a refcount tree that go. `users` are all inodes that use the tree.
    /// Returns its root, which may have moved.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the tree is damaged.
    pub fn move_refcounts(
        &mut self,
        root: Blkno,
        users: &[Blkno],
        beyond: &Beyond,
    ) -> Result<Blkno, EditError> {
        self.attempt(|edit| {
            let (header, block) = edit.volume.refcount_block(root, Blkno(0))?;
            let leaves = edit.volume.refcount_leaves(root)?;
            if header.is_tree() {
                let mut tree = refcount_root(&header, &block);
                edit.rebuild_tree(&mut tree, beyond, Unit::Blocks)?;
                for leaf in &leaves {
                    if beyond.has(leaf.blkno) {
                        let blkno = edit.move_refcount_block(leaf.blkno, root)?;
                        let at = u64::from(leaf.cpos.0);
                        edit.tree_change(&mut tree, at..at + 1, &mut |extent| {
                            Some(Extent { blkno, ..extent })
                        })?;
                    }
                }
                edit.store_tree(header, block, &tree)?;
            }
            if !beyond.has(root) {
                return Ok(root);
            }
            let new = edit.move_refcount_block(root, Blkno(0))?;
            if header.is_tree() {
                for leaf in edit.volume.refcount_leaves(new)? {
                    edit.update::<RefcountBlock>(leaf.blkno, |it, _| it.rf_parent = new)?;
                }
            }
            for user in users {
                edit.update_dinode(*user, |dinode, _| dinode.i_refcount_loc = new)?;
            }
            Ok(new)
        })
    }

    /// Writes a block of a refcount tree to another place. Returns the new place.
    fn move_refcount_block(&mut self, blkno: Blkno, parent: Blkno) -> Result<Blkno, EditError> {
        let (mut header, block) = self.volume.refcount_block(blkno, parent)?;
        let old = Suballocated::from(&header);
        let taken = self.take_other(RefcountBlock::NAME, old.slot)?;
        header.rf_blkno = taken.blkno;
        (header.rf_suballoc_slot, header.rf_suballoc_bit) = (taken.slot, taken.bit);
        header.rf_suballoc_loc = taken.loc;
        self.volume.write(taken.blkno, &header, block)?;
        self.give_block(old)?;
        Ok(taken.blkno)
    }

    /// Moves some of the clusters that go and that a refcount tree counts. `users` are all inodes
    /// that use the tree. Returns whether there may be more, and what has to be copied before the
    /// transaction.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the tree is damaged.
    pub fn move_shared(
        &mut self,
        root: Blkno,
        users: &[Blkno],
        beyond: &Beyond,
    ) -> Result<(bool, Vec<Contents>), EditError> {
        self.attempt(|edit| {
            let moved = edit.new_places(root, beyond)?;
            for user in users {
                edit.follow(*user, &moved)?;
            }
            let mut contents = Vec::with_capacity(moved.len());
            for Moved { old, new, count } in &moved {
                let (count, length) = (i64::from(*count), old.end - old.start);
                let unused = edit.count_references(root, once(old.clone()), -count)?;
                unused.into_iter().try_for_each(|run| edit.give_clusters(run))?;
                edit.count_references(root, once(*new..*new + length), count)?;
                let block_of = |cluster| edit.geometry().block_of(Cluster(cluster));
                let (from, to) = (block_of(old.start), block_of(*new));
                contents.push(Contents::of(Copied { from, to, clusters: length }));
            }
            Ok((!moved.is_empty(), contents))
        })
    }

    /// Takes places for some of the clusters that go.
    fn new_places(&mut self, root: Blkno, beyond: &Beyond) -> Result<Vec<Moved>, EditError> {
        let (limit, mut runs) = (u64::from(beyond.limit), Vec::new());
        self.volume.for_each_refcount(root, |rec| {
            let end = rec.r_cpos.saturating_add(rec.r_clusters.into());
            let start = rec.r_cpos.max(limit);
            if start < end {
                runs.push((start as u32..end as u32, rec.r_refcount));
            }
            runs.len() < MOST_EXTENTS
        })?;
        let mut moved = Vec::new();
        for (mut old, count) in runs {
            while !old.is_empty() && moved.len() < MOST_EXTENTS {
                let run = self.take_clusters(Want::up_to(old.end - old.start))?;
                let end = old.start + (run.end - run.start);
                moved.push(Moved { old: old.start..end, new: run.start, count });
                old.start = end;
            }
        }
        Ok(moved)
    }

    /// Makes the contents of an inode, and the values of its attributes, point to new places.
    fn follow(&mut self, user: Blkno, moved: &[Moved]) -> Result<(), EditError> {
        let inode = self.inode(user)?;
        if inode.extent_list().is_ok() {
            let mut root = self.inode_root(&inode)?;
            if self.follow_in(&mut root, moved)? {
                self.store_inode_root(&root)?;
            }
        }
        let mut values = Vec::new();
        for xattr in self.volume.xattrs(&inode) {
            let xattr = xattr?;
            if !xattr.entry.is_local() {
                values.push(xattr);
            }
        }
        for xattr in values {
            let mut root = Root::of_value(xattr.blkno, &xattr.stored)?;
            if self.follow_in(&mut root, moved)? {
                self.store_value(user, &xattr, &root)?;
            }
        }
        Ok(())
    }

    fn follow_in(&mut self, root: &mut Root, moved: &[Moved]) -> Result<bool, EditError> {
        let mut is_changed = false;
        for extent in root.extents(&self.volume)?.into_iter().filter(is_shared) {
            let own = self.run_of(&extent);
            for Moved { old, new, .. } in moved {
                let part = own.start.max(old.start)..own.end.min(old.end);
                if part.is_empty() {
                    continue;
                }
                let at = |cluster: u32| u64::from(extent.cpos.0) + u64::from(cluster - own.start);
                let blkno = self.geometry().block_of(Cluster(new + (part.start - old.start)));
                self.tree_change(root, at(part.start)..at(part.end), &mut |extent| {
                    Some(Extent { blkno, ..extent })
                })?;
                is_changed = true;
            }
        }
        Ok(is_changed)
    }
}
