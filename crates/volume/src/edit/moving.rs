//! Moving what trees of files and directories point to: to the part of a volume that stays, and to
//! clusters in a row.
//!
//! Contents of files are copied outside of transactions, to places that nothing points to yet. The
//! blocks of directories are part of the transaction.

use std::ops::Range;

use ocfs2_format::dinode::{Arm, FileKind, InodeFlags};
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::{Blkno, Cluster, Cpos};

use super::file::{Copied, part_of};
use super::{Contents, Edit, EditError, Root};
use crate::tree::Extent;
use crate::{Error, InBlock, Inode, Volume};

/// Extents that are moved in one step.
const MOST_EXTENTS: usize = 256;

/// Clusters of a file that have got another place.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Number of clusters.
    pub clusters: u32,
    /// The position in the file to go on from.
    pub next: u64,
    /// What has to be copied before the transaction.
    pub contents: Vec<Contents>,
    /// The clusters that were left. They are still taken: whoever commits the transaction gives them
    /// back as its last step, so that nothing is copied over them before it.
    pub left: Vec<Range<u32>>,
}

/// What has to be copied, with its position in the file.
pub(super) type Copies = Vec<(Cpos, Copied)>;

/// Whether other files may use an extent, too.
pub(super) fn is_shared(extent: &Extent) -> bool {
    extent.flags.contains(ExtentFlags::REFCOUNTED)
}

impl Volume {
    /// Whether [`Edit::gather`] moves the clusters of an inode: files and directories that are not
    /// of the system.
    pub fn is_movable(&self, inode: &Inode) -> bool {
        let is_kind = inode.is_dir() || inode.kind() == Some(FileKind::Regular);
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        is_kind && !is_system && inode.dinode.arm() == Arm::ExtentList
    }
}

impl Edit {
    /// Gives the clusters that a file or directory has from position `range.start` on, and before
    /// `range.end`, the places from the start of `run` on, in the order of their positions. `run` has
    /// to be within a group of the global bitmap. Of a file, about `most` clusters are moved in one
    /// step; of a directory all. Times stay. Unwritten clusters stay unwritten.
    ///
    /// Returns `None`, with nothing changed, if one of the places is not free.
    ///
    /// # Errors
    /// [`EditError::Refused`] if the run is too short, or one of the clusters may be used by other
    /// files, too; [`EditError::NoRoom`]; it is damaged.
    pub fn gather(
        &mut self,
        blkno: Blkno,
        range: Range<u64>,
        run: Range<u32>,
        most: u32,
    ) -> Result<Option<Moved>, EditError> {
        self.attempt(|edit| {
            let inode = edit.inode(blkno)?;
            if !edit.is_movable(&inode) {
                return Err(EditError::Refused(format!("inode {blkno} is not moved")));
            }
            let mut moved = Moved::default();
            if inode.is_dir() {
                let is_moved = edit.move_dir(&inode, |edit, root| {
                    let parts = edit.parts_of(root, range, u32::MAX, usize::MAX)?;
                    edit.put_parts(root, parts, run, &mut moved)
                })?;
                return Ok(is_moved.then_some(moved));
            }
            let mut root = edit.inode_root(&inode)?;
            let parts = edit.parts_of(&root, range, most, MOST_EXTENTS)?;
            let Some(copied) = edit.put_parts(&mut root, parts, run, &mut moved)? else {
                return Ok(None);
            };
            edit.store_inode_root(&root)?;
            moved.contents = copied.into_iter().map(|(_, copied)| Contents::of(copied)).collect();
            Ok(Some(moved))
        })
    }

    /// The extents within a range of positions, at most so many of them and about so many clusters.
    fn parts_of(
        &self,
        root: &Root,
        range: Range<u64>,
        most: u32,
        extents: usize,
    ) -> Result<Vec<Extent>, EditError> {
        let (mut parts, mut left, mut at) = (Vec::new(), u64::from(most.max(1)), range.start);
        while at < range.end && left > 0 && parts.len() < extents {
            let segment = self.segment(root, at)?;
            let end = segment.range.end.min(range.end);
            let Some(extent) = segment.extent else {
                at = end;
                continue;
            };
            let end = end.min(at + left);
            if is_shared(&extent) {
                let text = format!("cluster {at} of inode {} may be shared", root.at());
                return Err(EditError::Refused(text));
            }
            parts.push(part_of(self, &extent, at..end));
            left -= end - at;
            at = end;
        }
        Ok(parts)
    }

    /// Gives parts of a tree the places of a run. Returns what has to be copied; `None` if the places
    /// are not free.
    fn put_parts(
        &mut self,
        root: &mut Root,
        parts: Vec<Extent>,
        run: Range<u32>,
        moved: &mut Moved,
    ) -> Result<Option<Copies>, EditError> {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            moved.next = u64::MAX;
            return Ok(Some(Vec::new()));
        };
        let range = u64::from(first.cpos.0)..last.end();
        let clusters: u32 = parts.iter().map(|part| u32::from(part.clusters)).sum();
        if run.end.saturating_sub(run.start) < clusters {
            let text = format!("{clusters} clusters do not fit into {run:?}");
            return Err(EditError::Refused(text));
        }
        let run = run.start..run.start + clusters;
        if !self.pools.take_exactly(&self.volume, run.clone())? {
            return Ok(None);
        }
        self.tree_change(root, range.clone(), &mut |_| None)?;
        let (mut at, mut copied, mut joined) = (run.start, Copies::new(), Vec::<Extent>::new());
        for part in &parts {
            let (to, clusters) = (self.geometry().block_of(Cluster(at)), part.clusters);
            at += u32::from(clusters);
            moved.left.push(self.run_of(part));
            if !part.is_unwritten() {
                copied
                    .push((part.cpos, Copied { from: part.blkno, to, clusters: clusters.into() }));
            }
            match joined.last_mut() {
                Some(last)
                    if last.end() == u64::from(part.cpos.0)
                        && last.flags == part.flags
                        && last.clusters.checked_add(clusters).is_some() =>
                {
                    last.clusters += clusters;
                }
                _ => joined.push(Extent { blkno: to, ..*part }),
            }
        }
        for extent in joined {
            self.tree_insert(root, extent)?;
        }
        (moved.clusters, moved.next) = (clusters, range.end);
        Ok(Some(copied))
    }

    /// Moves clusters of a directory as `change` does, which returns what is to be copied, or `None`
    /// for nothing at all. Returns whether anything was moved. Its index is built anew: it names
    /// blocks by their numbers.
    pub(super) fn move_dir(
        &mut self,
        dir: &Inode,
        change: impl FnOnce(&mut Self, &mut Root) -> Result<Option<Copies>, EditError>,
    ) -> Result<bool, EditError> {
        let is_indexed = self.is_indexed(dir);
        let hashes = if is_indexed { self.name_hashes(dir)? } else { Vec::new() };
        let mut root = self.inode_root(dir)?;
        let Some(copied) = change(self, &mut root)? else { return Ok(false) };
        for (cpos, copied) in copied {
            self.copy_dir_blocks(dir, cpos.0.into(), copied)?;
        }
        self.store_inode_root(&root)?;
        if is_indexed {
            self.free_index(dir)?;
            self.put_index(&self.inode(dir.blkno)?, hashes)?;
        }
        Ok(true)
    }

    /// Copies clusters of a directory, from position `cpos` of it on. Trailers state where they
    /// are.
    fn copy_dir_blocks(&mut self, dir: &Inode, cpos: u64, copied: Copied) -> Result<(), EditError> {
        let (bits, size) = (self.geometry().bpc_bits(), self.block_size());
        let end = dir.size().div_ceil(size.bytes().into());
        for index in 0..u64::from(copied.clusters) << bits {
            let (from, to) = (Blkno(copied.from.0 + index), Blkno(copied.to.0 + index));
            let mut block = self.read_block(from)?;
            if !self.has_dir_trailers(dir) || (cpos << bits) + index >= end {
                self.volume.write_raw(to, &block)?;
                continue;
            }
            let mut trailer = DirTrailer::of_block(&block).in_block(from)?;
            trailer.verify(from, dir.blkno).map_err(Error::from)?;
            trailer.db_blkno = to;
            trailer.write(&mut block).in_block(to)?;
            self.volume.write_metadata(to, &block, DirTrailer::check_offset(size.size()))?;
        }
        Ok(())
    }
}
