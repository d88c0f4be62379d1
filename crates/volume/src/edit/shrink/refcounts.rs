//! Moving shared clusters, and the blocks of the trees that count them.
//!
//! The files that share a cluster follow it one by one: as many references as have moved are counted
//! at the new place, and the others still at the old one. So a transaction need not change all of
//! them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use ocfs2_format::refcount::{RefcountBlock, RefcountRec};
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};

use super::{Beyond, is_shared, trees::Unit};
use crate::allocator::{Suballocated, Want};
use crate::edit::file::Copied;
use crate::edit::refcount::refcount_root;
use crate::edit::{Contents, Edit, EditError, Root};
use crate::tree::Extent;
use crate::{Error, InBlock, Volume};

/// Runs of shared clusters that move at a time.
const MOST_RUNS: usize = 256;

/// Shared clusters on the move, and where those are now that somebody has already followed.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The clusters that move now, in order.
    runs: Vec<Range<u32>>,
    /// By first old cluster: the end of these, and the first new cluster.
    places: BTreeMap<u32, (u32, u32)>,
}

impl Shared {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The first of these clusters that are among those of the run, up to the place where it is
    /// known or not any more where they are now.
    fn first_of(&self, run: &Range<u32>) -> Option<(Range<u32>, Option<u32>)> {
        let among = self.runs.iter().find(|other| other.end > run.start)?;
        let (start, end) = (run.start.max(among.start), run.end.min(among.end));
        if start >= end {
            return None;
        }
        let before = self.places.range(..=start).next_back();
        if let Some((old, (place_end, new))) = before
            && start < *place_end
        {
            return Some((start..end.min(*place_end), Some(new + (start - old))));
        }
        let next = self.places.range(start..end).next();
        Some((start..next.map_or(end, |(next, _)| *next), None))
    }
}

/// References to clusters that have moved from an old place to a new one.
type Followed = Vec<(Range<u32>, u32)>;

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

    /// The next of the clusters that go and that a refcount tree counts, after those of `last`,
    /// which everybody has followed.
    ///
    /// # Errors
    /// [`EditError::Refused`] if the tree counts more references to one of `last` than there are;
    /// it is damaged.
    pub fn shared_beyond(
        &self,
        root: Blkno,
        beyond: &Beyond,
        last: &Shared,
    ) -> Result<Shared, EditError> {
        let (limit, mut runs) = (u64::from(beyond.limit), Vec::new());
        self.volume.for_each_refcount(root, |rec| {
            let end = rec.r_cpos.saturating_add(rec.r_clusters.into());
            let start = rec.r_cpos.max(limit);
            if start < end {
                runs.push(start as u32..end as u32);
            }
            runs.len() < MOST_RUNS
        })?;
        let end = last.runs.last().map_or(0, |last| last.end);
        match runs.first() {
            Some(first) if first.start < end => {
                let cluster = first.start;
                let text = format!(
                    "refcount tree {root} counts references to cluster {cluster} that nobody has: \
                     run fsck.ocfs2 -f first"
                );
                Err(EditError::Refused(text))
            }
            _ => Ok(Shared { runs, places: BTreeMap::new() }),
        }
    }

    /// Makes the contents of an inode, and the values of its attributes, point to the new places of
    /// shared clusters, which these get here if they have none. Returns what has to be copied before
    /// the transaction.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the tree, or an inode, is damaged.
    pub fn follow_shared(
        &mut self,
        root: Blkno,
        user: Blkno,
        shared: &mut Shared,
    ) -> Result<Vec<Contents>, EditError> {
        self.attempt(|edit| {
            let (mut followed, mut contents) = (Vec::new(), Vec::new());
            edit.follow(user, shared, &mut followed, &mut contents)?;
            let mut counts: BTreeMap<(u32, u32, u32), i64> = BTreeMap::new();
            for (old, new) in followed {
                *counts.entry((old.start, old.end, new)).or_default() += 1;
            }
            let mut runs: BTreeMap<i64, [Vec<Range<u32>>; 2]> = BTreeMap::new();
            for ((start, end, new), count) in counts {
                let [old, now] = runs.entry(count).or_default();
                old.push(start..end);
                now.push(new..new + (end - start));
            }
            for (count, [old, now]) in runs {
                let unused = edit.count_references(root, old, -count)?;
                unused.into_iter().try_for_each(|run| edit.give_clusters(run))?;
                edit.count_references(root, now, count)?;
            }
            Ok(contents)
        })
    }

    /// Makes the contents of an inode, and the values of its attributes, point to new places.
    fn follow(
        &mut self,
        user: Blkno,
        shared: &mut Shared,
        followed: &mut Followed,
        contents: &mut Vec<Contents>,
    ) -> Result<(), EditError> {
        let inode = self.inode(user)?;
        if inode.extent_list().is_ok() {
            let mut root = self.inode_root(&inode)?;
            if self.follow_in(&mut root, shared, followed, contents)? {
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
            if self.follow_in(&mut root, shared, followed, contents)? {
                self.store_value(user, &xattr, &root)?;
            }
        }
        Ok(())
    }

    fn follow_in(
        &mut self,
        root: &mut Root,
        shared: &mut Shared,
        followed: &mut Followed,
        contents: &mut Vec<Contents>,
    ) -> Result<bool, EditError> {
        let mut is_changed = false;
        for extent in root.extents(&self.volume)?.into_iter().filter(is_shared) {
            let own = self.run_of(&extent);
            let mut left = own.clone();
            while let Some((mut part, place)) = shared.first_of(&left) {
                let new = match place {
                    Some(new) => new,
                    None => {
                        let run = self.take_clusters(Want::up_to(part.end - part.start))?;
                        part.end = part.start + (run.end - run.start);
                        shared.places.insert(part.start, (part.end, run.start));
                        let block_of = |cluster| self.geometry().block_of(Cluster(cluster));
                        let (from, to) = (block_of(part.start), block_of(run.start));
                        let clusters = part.end - part.start;
                        contents.push(Contents::of(Copied { from, to, clusters }));
                        run.start
                    }
                };
                let at = |cluster: u32| u64::from(extent.cpos.0) + u64::from(cluster - own.start);
                let blkno = self.geometry().block_of(Cluster(new));
                self.tree_change(root, at(part.start)..at(part.end), &mut |extent| {
                    Some(Extent { blkno, ..extent })
                })?;
                left.start = part.end;
                followed.push((part, new));
                is_changed = true;
            }
        }
        Ok(is_changed)
    }
}
