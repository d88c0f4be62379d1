//! Changing the contents of a file: writing, truncating, punching holes, allocating.
//!
//! Contents go into the transaction like everything else, so that a crash leaves all of a write or
//! nothing. Shared clusters are copied before they are written to.

use std::iter::once;
use std::ops::Range;

use ocfs2_format::dinode::{Arm, DynFeatures, FileKind};
use ocfs2_format::extent::{ExtentFlags, ExtentList, write_extent_list};
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};

use super::{Edit, EditError, Root};
use crate::allocator::Want;
use crate::inode::Touch;
use crate::tree::{Extent, Segment, Tree};
use crate::{Error, InBlock, Inode};

/// Bytes that are copied at once.
const COPIED_AT_ONCE: usize = 1 << 20;

const TOO_LARGE: EditError = EditError::TooLarge("the file would be larger than a file can be");

/// Clusters whose contents have to be copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    pub from: Blkno,
    pub to: Blkno,
    pub clusters: u32,
}

impl Edit {
    /// Writes bytes into a file at an offset; the file grows if it ends before their end. A gap
    /// between its old end and the offset is a hole, or zeros on a volume without sparse files.
    ///
    /// # Errors
    /// [`EditError::NoRoom`], [`EditError::TooLarge`]; it is not a regular file, or it is damaged.
    pub fn write_file(&mut self, blkno: Blkno, offset: u64, bytes: &[u8]) -> Result<(), EditError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let root = self.attempt(|edit| {
            let end = edit.end_of_write(offset, bytes.len() as u64)?;
            let inode = edit.regular(blkno)?;
            if edit.write_inline(&inode, offset, bytes)? {
                return Ok(None);
            }
            let (inode, mut root) = edit.with_extents(inode)?;
            let size = inode.size();
            edit.clear_tail(&root, size, offset)?;
            if !edit.has(Incompat::SPARSE_ALLOC) && size < offset {
                edit.prepare(&inode, &mut root, size..offset, size..size)?;
            }
            edit.prepare(&inode, &mut root, offset..end, offset..end)?;
            if !edit.writes_apart() {
                edit.put(&root, offset, bytes)?;
            }
            edit.store_file(&root, size.max(end))?;
            Ok::<_, EditError>(Some(root).filter(|_| edit.writes_apart()))
        })?;
        // What lies apart is not undone if the step fails: it is written when it was made.
        match root {
            Some(root) => self.put(&root, offset, bytes),
            None => Ok(()),
        }
    }

    /// Sets the size of a file in bytes: what is beyond it is freed, what is new reads as zeros.
    ///
    /// # Errors
    /// As [`Edit::write_file`].
    pub fn truncate(&mut self, blkno: Blkno, size: u64) -> Result<(), EditError> {
        self.attempt(|edit| {
            edit.end_of_write(size, 0)?;
            let inode = edit.regular(blkno)?;
            let before = inode.size();
            if inode.is_inline() && edit.resize_inline(&inode, size)? {
                return Ok(());
            }
            let (inode, mut root) = edit.with_extents(inode)?;
            // Clusters allocated beyond the end are freed even if the size stays.
            if size <= before {
                let bits = edit.geometry().cluster_size.bits();
                let keep = size.div_ceil(1 << bits);
                edit.drop_range(&inode, &mut root, keep..1 << 32)?;
                edit.zero_stored(&inode, &mut root, size..keep << bits)?;
            } else {
                edit.clear_tail(&root, before, size)?;
                if !edit.has(Incompat::SPARSE_ALLOC) {
                    edit.prepare(&inode, &mut root, before..size, before..before)?;
                }
            }
            edit.store_file(&root, size)
        })
    }

    /// Makes a range of a file read as zeros and frees the whole clusters in it, where the volume
    /// has sparse files. The size stays.
    ///
    /// # Errors
    /// As [`Edit::write_file`].
    pub fn punch(&mut self, blkno: Blkno, range: Range<u64>) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.regular(blkno)?;
            let range = range.start.min(inode.size())..range.end.min(inode.size());
            if range.is_empty() {
                return Ok(());
            }
            if inode.is_inline() {
                let zeros = vec![0; (range.end - range.start) as usize];
                edit.write_inline(&inode, range.start, &zeros)?;
                return Ok(());
            }
            let bits = edit.geometry().cluster_size.bits();
            let mut root = edit.inode_root(&inode)?;
            let mut whole = range.start.div_ceil(1 << bits)..range.end >> bits;
            if range.end == inode.size() {
                whole.end = range.end.div_ceil(1 << bits);
            }
            if !edit.has(Incompat::SPARSE_ALLOC) || whole.is_empty() {
                edit.zero_stored(&inode, &mut root, range)?;
            } else {
                edit.drop_range(&inode, &mut root, whole.clone())?;
                edit.zero_stored(&inode, &mut root, range.start..whole.start << bits)?;
                let rest = (whole.end << bits).min(range.end)..range.end;
                edit.zero_stored(&inode, &mut root, rest)?;
            }
            edit.store_file(&root, inode.size())
        })
    }

    /// Allocates a range of a file without writing it: it reads as zeros. The size grows to include
    /// it if `grow`.
    ///
    /// # Errors
    /// As [`Edit::write_file`]; [`EditError::Refused`] on a volume without unwritten extents.
    pub fn allocate(
        &mut self,
        blkno: Blkno,
        range: Range<u64>,
        grow: bool,
    ) -> Result<(), EditError> {
        if range.is_empty() {
            return Ok(());
        }
        if !self.features().ro_compat.contains(RoCompat::UNWRITTEN) {
            let text = "the volume has no unwritten extents, which it takes to allocate ahead";
            return Err(EditError::Refused(text.to_owned()));
        }
        self.attempt(|edit| {
            edit.end_of_write(range.end, 0)?;
            let (inode, mut root) = edit.with_extents(edit.regular(blkno)?)?;
            let size = inode.size();
            let bits = edit.geometry().cluster_size.bits();
            edit.clear_tail(&root, size, range.end)?;
            let mut at = range.start >> bits;
            let end = range.end.div_ceil(1 << bits);
            while at < end {
                let segment = edit.segment(&root, at)?;
                if segment.extent.is_none() {
                    let most = segment.range.end.min(end) - at;
                    let flags = ExtentFlags::UNWRITTEN;
                    at += u64::from(edit.fill_hole(&mut root, at, most, flags)?.clusters);
                } else {
                    at = segment.range.end;
                }
            }
            edit.store_file(&root, if grow { size.max(range.end) } else { size })
        })
    }

    /// Where a write ends; an error if a file cannot be so long.
    fn end_of_write(&self, offset: u64, len: u64) -> Result<u64, EditError> {
        let end = offset.checked_add(len).ok_or(TOO_LARGE)?;
        if end > self.geometry().most_file_bytes() { Err(TOO_LARGE) } else { Ok(end) }
    }

    fn regular(&self, blkno: Blkno) -> Result<Inode, Error> {
        let inode = self.inode(blkno)?;
        inode.expect(FileKind::Regular, "a regular file")?;
        Ok(inode)
    }

    /// Writes into inline data, if there is room. Returns whether there was.
    fn write_inline(
        &mut self,
        inode: &Inode,
        offset: u64,
        bytes: &[u8],
    ) -> Result<bool, EditError> {
        let end = offset.saturating_add(bytes.len() as u64);
        let room = inode.id2().len().saturating_sub(InlineData::SIZE) as u64;
        let becomes_inline = self.writes_apart() && self.may_become_inline(inode);
        if inode.dinode.arm() != Arm::InlineData && !becomes_inline || end > room {
            return Ok(false);
        }
        let time = self.time();
        self.update_dinode(inode.blkno, |dinode, id2| {
            if becomes_inline {
                let features = dinode.dyn_features() | DynFeatures::INLINE_DATA;
                dinode.i_dyn_features = features.bits();
                let id_count = u16::try_from(room).unwrap_or(u16::MAX);
                let count = room as usize + InlineData::SIZE;
                id2.get_mut(..count).unwrap_or_default().fill(0);
                // There is room: it was counted.
                let _ = InlineData { id_count, ..Default::default() }.encode(id2);
            }
            let data = id2.get_mut(InlineData::SIZE..).unwrap_or_default();
            // Bytes beyond the end need not be zeros.
            let gap = data.get_mut(dinode.i_size as usize..offset as usize);
            gap.unwrap_or_default().fill(0);
            if let Some(place) = data.get_mut(offset as usize..end as usize) {
                place.copy_from_slice(bytes);
            }
            dinode.i_size = dinode.i_size.max(end);
            dinode.touch(time);
        })?;
        Ok(true)
    }

    /// Whether a file has no contents yet, so that they can be in the inode, as Linux puts them.
    fn may_become_inline(&self, inode: &Inode) -> bool {
        self.has(Incompat::INLINE_DATA)
            && inode.dinode.arm() == Arm::ExtentList
            && inode.size() == 0
            && inode.dinode.i_clusters == 0
            && inode.dinode.i_last_eb_blk.is_none()
            && inode.refcounts().is_none()
    }

    /// Changes the size of inline data, if there is room. Returns whether there was.
    fn resize_inline(&mut self, inode: &Inode, size: u64) -> Result<bool, EditError> {
        let room = inode.id2().len().saturating_sub(InlineData::SIZE);
        if size > room as u64 {
            return Ok(false);
        }
        let time = self.time();
        self.update_dinode(inode.blkno, |dinode, id2| {
            let from = InlineData::SIZE + size.min(dinode.i_size) as usize;
            id2.get_mut(from..InlineData::SIZE + room).unwrap_or_default().fill(0);
            dinode.i_size = size;
            dinode.touch(time);
        })?;
        Ok(true)
    }

    /// Returns the inode with its contents in extents; inline data is moved to clusters.
    pub(super) fn with_extents(&mut self, inode: Inode) -> Result<(Inode, Root), EditError> {
        if inode.dinode.arm() != Arm::InlineData {
            let root = self.inode_root(&inode)?;
            return Ok((inode, root));
        }
        let size = inode.size();
        let mut data = vec![0; size as usize];
        self.volume().file(&inode)?.read_at(&mut data, 0)?;
        let blkno = inode.blkno;
        self.update_dinode(blkno, |dinode, id2| {
            let features = dinode.dyn_features() - DynFeatures::INLINE_DATA;
            dinode.i_dyn_features = features.bits();
            let room = inode.id2().len().min(id2.len());
            let list = &mut id2[..room];
            list.fill(0);
            // There is room for a list: inline data takes more.
            let _ = write_extent_list(list, 0, &[]);
        })?;
        let inode = self.inode(blkno)?;
        let mut root = self.inode_root(&inode)?;
        if size > 0 {
            self.prepare(&inode, &mut root, 0..size, 0..size)?;
            self.put(&root, 0, &data)?;
            self.store_inode_root(&root)?;
        }
        Ok((inode, root))
    }

    fn store_file(&mut self, root: &Root, size: u64) -> Result<(), EditError> {
        self.store_inode_root(root)?;
        let time = self.time();
        self.update_dinode(root.at(), |dinode, _| {
            dinode.i_size = size;
            dinode.touch(time);
        })
    }

    /// The segment that a cluster of a file is part of.
    pub(super) fn segment(&self, root: &Root, cpos: u64) -> Result<Segment, EditError> {
        let cpos = u32::try_from(cpos).map_err(|_| TOO_LARGE)?;
        let list = ExtentList::new(root.list()).in_block(root.at())?;
        Ok(Tree::new(self.volume(), root.at(), &list)?.segment(Cpos(cpos))?)
    }

    /// Puts at most `most` clusters into a hole, close to the extent before it. Returns the new
    /// extent.
    pub(super) fn fill_hole(
        &mut self,
        root: &mut Root,
        cpos: u64,
        most: u64,
        flags: ExtentFlags,
    ) -> Result<Extent, EditError> {
        let before = cpos.checked_sub(1).map(|before| self.segment(root, before)).transpose()?;
        let before = before.and_then(|segment| segment.extent);
        let mut want = Want::up_to(most.min(u16::MAX.into()) as u32);
        if let Some(before) = before {
            want = want.near(Cluster(self.run_of(&before).end));
        }
        let run = self.take_clusters(want)?;
        let blkno = self.geometry().block_of(Cluster(run.start));
        let clusters = (run.end - run.start) as u16;
        let extent = Extent { cpos: Cpos(cpos as u32), clusters, blkno, flags };
        self.tree_insert(root, extent)?;
        Ok(extent)
    }

    /// Makes all clusters of a range of bytes writable: allocated, written, not shared. New ones
    /// are zeroed except for the bytes in `written`, which the caller writes.
    fn prepare(
        &mut self,
        inode: &Inode,
        root: &mut Root,
        bytes: Range<u64>,
        written: Range<u64>,
    ) -> Result<(), EditError> {
        let bits = self.geometry().cluster_size.bits();
        let mut at = bytes.start >> bits;
        let end = bytes.end.div_ceil(1 << bits);
        while at < end {
            let segment = self.segment(root, at)?;
            let to = segment.range.end.min(end);
            let Some(extent) = segment.extent else {
                let extent = self.fill_hole(root, at, to - at, ExtentFlags::empty())?;
                self.zero_around(&extent, &written)?;
                at = extent.end();
                continue;
            };
            if extent.flags.contains(ExtentFlags::REFCOUNTED) {
                let part = part_of(self, &extent, at..to);
                if let Some(copy) = self.unshare(inode, root, &part)? {
                    self.copy(copy.from, copy.to, copy.clusters)?;
                }
                continue;
            }
            if extent.is_unwritten() {
                let part = part_of(self, &extent, at..to);
                self.zero_around(&part, &written)?;
                self.tree_change(root, at..to, &mut |extent| {
                    Some(Extent { flags: extent.flags - ExtentFlags::UNWRITTEN, ..extent })
                })?;
            }
            at = to;
        }
        Ok(())
    }

    /// Gives a file its own clusters in place of shared ones: for as much of `part` as one run of
    /// clusters can replace. Returns what has to be copied there.
    pub(super) fn unshare(
        &mut self,
        inode: &Inode,
        root: &mut Root,
        part: &Extent,
    ) -> Result<Option<Copied>, EditError> {
        let counts = inode.expect_refcounts()?;
        let first = self.run_of(part).start;
        let (count, same) = self.references(counts, first)?;
        let most = (same.end - first).min(part.clusters.into());
        let plain = part.flags - ExtentFlags::REFCOUNTED;
        let from = u64::from(part.cpos.0);
        if count == 1 {
            self.drop_references(counts, once(first..first + most))?;
            let range = from..from + u64::from(most);
            self.tree_change(root, range, &mut |extent| Some(Extent { flags: plain, ..extent }))?;
            return Ok(None);
        }
        let run = self.take_clusters(Want::up_to(most).near(Cluster(first)))?;
        let clusters = run.end - run.start;
        let blkno = self.geometry().block_of(Cluster(run.start));
        let unused = self.drop_references(counts, once(first..first + clusters))?;
        unused.into_iter().try_for_each(|run| self.give_clusters(run))?;
        let range = from..from + u64::from(clusters);
        self.tree_change(root, range, &mut |extent| {
            Some(Extent { blkno, flags: plain, ..extent })
        })?;
        let copied = Copied { from: part.blkno, to: blkno, clusters };
        Ok((!part.is_unwritten()).then_some(copied))
    }

    pub(super) fn copy(&mut self, from: Blkno, to: Blkno, clusters: u32) -> Result<(), EditError> {
        let size = self.block_size();
        let mut left = u64::from(clusters) << self.geometry().cluster_size.bits();
        let mut bytes = vec![0; left.min(COPIED_AT_ONCE as u64) as usize];
        let mut done = 0;
        while left > 0 {
            let piece = &mut bytes[..left.min(COPIED_AT_ONCE as u64) as usize];
            let blocks = done >> size.bits();
            self.volume().read_into("file", Blkno(from.0 + blocks), piece)?;
            let place = Blkno(to.0 + blocks).offset_bytes(size).unwrap_or(u64::MAX);
            self.write_contents(to, place, piece)?;
            (done, left) = (done + piece.len() as u64, left - piece.len() as u64);
        }
        Ok(())
    }

    /// Zeroes an extent except for a range of bytes of the file.
    fn zero_around(&mut self, extent: &Extent, but: &Range<u64>) -> Result<(), EditError> {
        let bits = self.geometry().cluster_size.bits();
        let own = u64::from(extent.cpos.0) << bits..extent.end() << bits;
        let first = own.start..own.end.min(but.start.max(own.start));
        let rest = own.start.max(but.end.min(own.end))..own.end;
        if but.is_empty() || first.end >= own.end || rest.start <= own.start {
            return self.zero_new(extent, own.clone(), own.start);
        }
        self.zero_new(extent, first, own.start)?;
        self.zero_new(extent, rest, own.start)
    }

    /// Zeroes a range of bytes of the file within an extent that begins at byte `start`.
    fn zero_in(&mut self, extent: &Extent, range: Range<u64>, start: u64) -> Result<(), EditError> {
        if range.is_empty() {
            return Ok(());
        }
        let place = extent.blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
        let zeroed =
            self.device().zero(place.saturating_add(range.start - start), range.end - range.start);
        let blkno = extent.blkno;
        Ok(zeroed.map_err(|source| Error::Write { blkno, source })?)
    }

    /// The same of clusters that did not belong to what can be read of the file before.
    fn zero_new(
        &mut self,
        extent: &Extent,
        range: Range<u64>,
        start: u64,
    ) -> Result<(), EditError> {
        if range.is_empty() {
            return Ok(());
        }
        let place = extent.blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
        let from = place.saturating_add(range.start - start);
        self.zero_contents(extent.blkno, from, range.end - range.start)
    }

    /// Zeroes a range of bytes of a file where it is stored; holes and unwritten extents read as
    /// zeros anyway.
    pub(super) fn zero_stored(
        &mut self,
        inode: &Inode,
        root: &mut Root,
        range: Range<u64>,
    ) -> Result<(), EditError> {
        let bits = self.geometry().cluster_size.bits();
        let mut at = range.start;
        while at < range.end {
            let segment = self.segment(root, at >> bits)?;
            let to = (segment.range.end << bits).min(range.end);
            if let Some(extent) = segment.extent.filter(|extent| !extent.is_unwritten()) {
                if extent.flags.contains(ExtentFlags::REFCOUNTED) {
                    self.prepare(inode, root, at..to, at..to)?;
                    continue;
                }
                self.zero_in(&extent, at..to, u64::from(extent.cpos.0) << bits)?;
            }
            at = to;
        }
        Ok(())
    }

    /// Zeroes what is stored after the end of a file, up to `to`, as it is about to become part of
    /// the file.
    fn clear_tail(&mut self, root: &Root, size: u64, to: u64) -> Result<(), EditError> {
        let bits = self.geometry().cluster_size.bits();
        let end = size.div_ceil(1 << bits) << bits;
        let range = size..to.min(end);
        if range.is_empty() {
            return Ok(());
        }
        match self.segment(root, size >> bits)?.extent {
            // What is shared is past the end of each file that shares it, or zeros.
            Some(extent) if extent.flags.is_empty() => {
                self.zero_in(&extent, range, u64::from(extent.cpos.0) << bits)
            }
            _ => Ok(()),
        }
    }

    /// Writes into clusters that [`Edit::prepare`] has made writable.
    fn put(&mut self, root: &Root, offset: u64, bytes: &[u8]) -> Result<(), EditError> {
        let bits = self.geometry().cluster_size.bits();
        let (mut at, end) = (offset, offset + bytes.len() as u64);
        while at < end {
            let segment = self.segment(root, at >> bits)?;
            let to = (segment.range.end << bits).min(end);
            let Some(extent) = segment.extent else {
                return Err(EditError::Refused("a write into a hole".to_owned()));
            };
            let place = extent.blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
            let place = place.saturating_add(at - (u64::from(extent.cpos.0) << bits));
            let piece = bytes.get((at - offset) as usize..(to - offset) as usize);
            self.write_contents(extent.blkno, place, piece.unwrap_or_default())?;
            at = to;
        }
        Ok(())
    }
}

/// The part of an extent that is within a range of clusters of the file.
pub(super) fn part_of(edit: &Edit, extent: &Extent, range: Range<u64>) -> Extent {
    let per_cluster = u64::from(edit.geometry().blocks_per_cluster());
    let (from, to) = (range.start.max(extent.cpos.0.into()), range.end.min(extent.end()));
    let blkno = Blkno(extent.blkno.0 + (from - u64::from(extent.cpos.0)) * per_cluster);
    let clusters = to.saturating_sub(from) as u16;
    Extent { cpos: Cpos(from as u32), clusters, blkno, ..*extent }
}
