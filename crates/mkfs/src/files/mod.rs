//! Files of the new volume, which are written after its layout and before its superblock.
//!
//! [`Files`] allocates clusters, inodes and metadata blocks from the plan's allocators in memory,
//! and writes contents and inodes immediately, in large sequential pieces. A directory is written
//! when all of its entries are known; until then it is a sorted list of names. The allocators
//! themselves are written by the plan at the end.

mod attributes;
mod contents;
mod directory;
mod error;
mod index;
mod inodes;

use std::collections::{BTreeMap, HashMap};
use std::io;

use ocfs2_device::Device;
use ocfs2_format::dinode::{Dinode, FileKind};
use ocfs2_format::dir::FileType;
use ocfs2_format::feature::Incompat;
use ocfs2_format::{Blkno, Cluster, Structure};
use ocfs2_volume::Timestamp;

use crate::plan::{DirectoryData, Plan};
use crate::suballocator::Suballocated;
use crate::system_file::SystemInode;
use crate::write::Writer;
use crate::{Progress, Stage};

pub use contents::{Bytes, Contents};
pub use error::FillError;
use inodes::GroupWriter;

/// Most links per inode without indexed-dirs.
const MOST_LINKS: u32 = 32_000;
/// Most links per inode with indexed-dirs, which uses the high half of the count.
const MOST_LINKS_INDEXED: u32 = i32::MAX as u32;
/// Longest name of a file, in bytes.
const MOST_NAME: usize = 255;

/// The attributes of every file, whatever its kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attributes {
    /// Permissions, set-id bits and the sticky bit: `0o7777`.
    pub permissions: u16,
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Modification time, which is also used as the access time. The inode change time is the time
    /// of format.
    pub mtime: Timestamp,
    /// Extended attributes with their full names, as returned by `getxattr`.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A directory that is being filled.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DirectoryId(usize);

/// A file, to which further links can be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileId {
    blkno: Blkno,
    kind: FileKind,
}

#[derive(Debug)]
struct Directory {
    place: Suballocated,
    parent: Blkno,
    attributes: Attributes,
    /// By name, which is the order in which they will be stored.
    entries: BTreeMap<Box<[u8]>, (Blkno, FileType)>,
    folders: u32,
    /// The place that the plan has reserved for it.
    data: DirectoryData,
}

/// The files of a volume that is being made. See [`Plan::write_with`].
pub struct Files<'p> {
    plan: &'p mut Plan,
    device: &'p dyn Device,
    report: &'p mut dyn FnMut(Progress) -> io::Result<()>,
    /// For contents, directory blocks, leaves of indexes and values of attributes.
    data: Writer<'p>,
    inodes: GroupWriter<'p>,
    blocks: GroupWriter<'p>,
    /// The cluster after the last one that was taken.
    at: Cluster,
    /// Directories by [`DirectoryId`]; `None` once written.
    directories: Vec<Option<Directory>>,
    /// Number of links of files with more than one.
    links: HashMap<Blkno, u32>,
    lost_found: Option<DirectoryId>,
    buffer: Vec<u8>,
    /// Number of inodes written so far.
    count: u64,
}

impl<'p> Files<'p> {
    /// Starts with only the root and `lost+found`.
    pub(crate) fn new(
        plan: &'p mut Plan,
        device: &'p dyn Device,
        report: &'p mut dyn FnMut(Progress) -> io::Result<()>,
    ) -> Result<Self, FillError> {
        let mut files = Self {
            data: Writer::new(device),
            inodes: GroupWriter::new(device, plan.layout.block_size()),
            blocks: GroupWriter::new(device, plan.layout.block_size()),
            device,
            report,
            at: Cluster(0),
            directories: Vec::new(),
            links: HashMap::new(),
            lost_found: None,
            buffer: Vec::new(),
            count: 0,
            plan,
        };
        let root = files.plan.inode(SystemInode::RootDir);
        let (Some(root), Some((lost_found, data))) = (root, files.plan.lost_found.take()) else {
            return Err(FillError::HeartbeatDevice);
        };
        files.plan.is_filled = true;
        let data_of_root = std::mem::take(&mut files.plan.root);
        let attributes = files.default_attributes();
        files.open(root, root.blkno, attributes.clone(), data_of_root);
        let place = files.open(lost_found, root.blkno, attributes, data);
        files.lost_found = Some(place);
        files.enter(Self::ROOT, crate::plan::LOST_FOUND, lost_found.blkno, FileType::Directory)?;
        Ok(files)
    }

    /// The root directory.
    pub const ROOT: DirectoryId = DirectoryId(0);

    /// The attributes of a directory for which nothing is specified.
    pub fn default_attributes(&self) -> Attributes {
        let seconds = self.plan.layout.time as i64;
        Attributes {
            permissions: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp { seconds, nanoseconds: 0 },
            xattrs: Vec::new(),
        }
    }

    /// Number of inodes so far, without the root and `lost+found`.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Creates a directory. For `lost+found` in the root, which already exists, sets the
    /// attributes.
    ///
    /// # Errors
    /// [`FillError`].
    pub fn directory(
        &mut self,
        parent: DirectoryId,
        name: &[u8],
        attributes: Attributes,
    ) -> Result<DirectoryId, FillError> {
        if let Some(lost_found) = self.lost_found
            && parent == Self::ROOT
            && name == crate::plan::LOST_FOUND
        {
            self.set_attributes(lost_found, attributes)?;
            return Ok(lost_found);
        }
        let parent_blkno = self.open_directory(parent)?.place.blkno;
        let place = self.new_inode()?;
        self.enter(parent, name, place.blkno, FileType::Directory)?;
        Ok(self.open(place, parent_blkno, attributes, DirectoryData::default()))
    }

    /// Sets the attributes of a directory that is not finished.
    ///
    /// # Errors
    /// [`FillError::Finished`].
    pub fn set_attributes(
        &mut self,
        directory: DirectoryId,
        attributes: Attributes,
    ) -> Result<(), FillError> {
        self.open_directory(directory)?.attributes = attributes;
        Ok(())
    }

    /// Creates a regular file and writes its contents.
    ///
    /// # Errors
    /// [`FillError`].
    pub fn regular(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        attributes: &Attributes,
        contents: &mut dyn Contents,
    ) -> Result<FileId, FillError> {
        let place = self.new_inode()?;
        self.enter(directory, name, place.blkno, FileType::Regular)?;
        self.write_regular(place, attributes, contents)?;
        Ok(FileId { blkno: place.blkno, kind: FileKind::Regular })
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// [`FillError`].
    pub fn symlink(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        attributes: &Attributes,
        target: &[u8],
    ) -> Result<FileId, FillError> {
        let place = self.new_inode()?;
        self.enter(directory, name, place.blkno, FileType::Symlink)?;
        self.write_symlink(place, attributes, target)?;
        Ok(FileId { blkno: place.blkno, kind: FileKind::Symlink })
    }

    /// Creates a device node, a pipe or a socket. The numbers are used for devices only.
    ///
    /// # Errors
    /// [`FillError`].
    pub fn special(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        attributes: &Attributes,
        kind: FileKind,
        (major, minor): (u32, u32),
    ) -> Result<FileId, FillError> {
        let place = self.new_inode()?;
        self.enter(directory, name, place.blkno, kind.into())?;
        self.write_special(place, attributes, kind, (major, minor))?;
        Ok(FileId { blkno: place.blkno, kind })
    }

    /// Adds another name for a file.
    ///
    /// # Errors
    /// [`FillError`].
    pub fn link(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        file: FileId,
    ) -> Result<(), FillError> {
        self.enter(directory, name, file.blkno, file.kind.into())?;
        let most = self.most_links();
        let links = self.links.entry(file.blkno).or_insert(1);
        *links += 1;
        if *links > most {
            return Err(FillError::TooManyLinks { most });
        }
        Ok(())
    }

    /// Leaves an inode and `clusters` clusters free, as if a file had been deleted.
    ///
    /// # Errors
    /// [`FillError::Full`].
    pub fn leave_free(&mut self, clusters: u32) -> Result<(), FillError> {
        let Plan { inode_alloc, layout, map, .. } = &mut *self.plan;
        inode_alloc.skip(layout, map).ok_or(FillError::Full)?;
        self.at = Cluster(self.at.0.saturating_add(clusters));
        Ok(())
    }

    /// Writes a directory to which nothing will be added. Directories that are not finished are
    /// written at the end.
    ///
    /// # Errors
    /// [`FillError`].
    pub fn finish(&mut self, directory: DirectoryId) -> Result<(), FillError> {
        if Some(directory) == self.lost_found || directory == Self::ROOT {
            // These two may still grow. They are written last.
            return Ok(());
        }
        self.write_open_directory(directory.0)
    }

    /// Writes the rest: open directories, buffers, link counts.
    pub(crate) fn end(mut self) -> Result<u64, FillError> {
        for index in (0..self.directories.len()).rev() {
            self.write_open_directory(index)?;
        }
        self.data.finish()?;
        self.inodes.finish()?;
        self.blocks.finish()?;
        self.write_links()?;
        self.plan.place_usage().map_err(|_| FillError::Full)?;
        Ok(self.count)
    }

    fn write_open_directory(&mut self, index: usize) -> Result<(), FillError> {
        match self.directories.get_mut(index).and_then(Option::take) {
            Some(directory) => self.write_directory(directory),
            None => Ok(()),
        }
    }

    fn write_links(&mut self) -> Result<(), FillError> {
        let mut links: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        links.sort_unstable();
        let layout = &self.plan.layout;
        let mut block = vec![0; layout.block_size()];
        for (blkno, links) in links {
            let offset = blkno.0 * layout.block_size() as u64;
            self.device.read_at(&mut block, offset)?;
            let mut dinode = Dinode::decode(&block)?;
            dinode.set_links_count(links, layout.has(Incompat::INDEXED_DIRS));
            dinode.encode(&mut block)?;
            self.plan.stamp::<Dinode>(&mut block);
            self.device.write_at(&block, offset)?;
        }
        Ok(())
    }

    fn open(
        &mut self,
        place: Suballocated,
        parent: Blkno,
        attributes: Attributes,
        data: DirectoryData,
    ) -> DirectoryId {
        let entries = BTreeMap::new();
        let directory = Directory { place, parent, attributes, entries, folders: 0, data };
        self.directories.push(Some(directory));
        DirectoryId(self.directories.len() - 1)
    }

    fn open_directory(&mut self, directory: DirectoryId) -> Result<&mut Directory, FillError> {
        self.directories.get_mut(directory.0).and_then(Option::as_mut).ok_or(FillError::Finished)
    }

    fn enter(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        inode: Blkno,
        file_type: FileType,
    ) -> Result<(), FillError> {
        let is_bad = |byte: &u8| *byte == 0 || *byte == b'/';
        if name.is_empty() || name == b"." || name == b".." || name.iter().any(is_bad) {
            return Err(FillError::BadName);
        }
        if name.len() > MOST_NAME {
            return Err(FillError::LongName { bytes: name.len() });
        }
        let most = self.most_links();
        let directory = self.open_directory(directory)?;
        if directory.entries.insert(name.into(), (inode, file_type)).is_some() {
            return Err(FillError::Twice);
        }
        if file_type == FileType::Directory {
            directory.folders += 1;
            if directory.folders > most - 2 {
                return Err(FillError::TooManyLinks { most });
            }
        }
        Ok(())
    }

    fn most_links(&self) -> u32 {
        match self.plan.layout.has(Incompat::INDEXED_DIRS) {
            true => MOST_LINKS_INDEXED,
            false => MOST_LINKS,
        }
    }

    /// Allocates an inode, and reports the progress.
    fn new_inode(&mut self) -> Result<Suballocated, FillError> {
        self.tell()?;
        self.count += 1;
        let Plan { inode_alloc, layout, map, .. } = &mut *self.plan;
        inode_alloc.allocate(layout, map).ok_or(FillError::Full)
    }

    fn new_block(&mut self) -> Result<Suballocated, FillError> {
        self.plan.new_metadata_block().ok_or(FillError::Full)
    }

    fn new_clusters(&mut self, wanted: u32) -> Result<(Cluster, u32), FillError> {
        let found = self.plan.map.allocate_behind(self.at, 1, wanted).ok_or(FillError::Full)?;
        self.at = Cluster(found.0.0 + found.1);
        Ok(found)
    }

    fn tell(&mut self) -> Result<(), FillError> {
        let cluster_size = self.plan.layout.cluster_size();
        let done = u64::from(self.plan.map.used()) * cluster_size;
        let total = self.plan.layout.geometry.size_bytes();
        (self.report)(Progress { stage: Stage::Files, done, total })?;
        Ok(())
    }

    fn offset_of(&self, cluster: Cluster) -> u64 {
        u64::from(cluster.0) << self.plan.layout.geometry.cluster_size.bits()
    }
}
