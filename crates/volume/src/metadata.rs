//! Every block of metadata of a volume: what it is, and what it belongs to.

use std::collections::{BTreeSet, HashSet, VecDeque};

use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::dx::{DxLeaf, DxRoot};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_format::xattr::{BUCKET_SIZE, XattrBlock, XattrHeader, XattrTreeRoot};
use ocfs2_format::{Blkno, Block, BlockCheck, BlockSize, Structure, check, quota};

use crate::allocator::{Groups, Inodes};
use crate::tree::{Extent, Tree};
use crate::{Error, InBlock, Inode, SystemFile, Volume};

/// What a block of metadata is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum MetadataKind {
    /// The superblock; its backups are in clusters that nothing else has.
    Superblock,
    /// A dinode.
    Dinode,
    /// A group descriptor.
    Group,
    /// An extent block, of any tree.
    ExtentBlock,
    /// A block of a directory.
    DirBlock,
    /// The root of a directory's index.
    DxRoot,
    /// A leaf of one.
    DxLeaf,
    /// A block of attributes, or the root of their tree.
    XattrBlock,
    /// A bucket of attributes.
    XattrBucket,
    /// The root or a leaf of a refcount tree.
    RefcountBlock,
    /// The contents of a quota file.
    Quota,
    /// The contents of a journal.
    Journal,
    /// The contents of another system file: slot map, heartbeat, truncate log.
    SystemFile,
    /// The target of a symbolic link that does not fit into its inode.
    Symlink,
}

/// Consecutive blocks of metadata. See [`Volume::metadata`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MetadataRun {
    /// What they are.
    pub kind: MetadataKind,
    /// The first one.
    pub blkno: Blkno,
    /// How many: those of a bucket, the length of an extent of a system file, else 1.
    pub blocks: u64,
    /// The inode they belong to; for a group, that of its allocator; for a refcount tree, which
    /// many inodes share, its root; for the superblock, itself.
    pub owner: Blkno,
    /// Where the block check is, in bytes from the start of the bucket or of each block; `None` if
    /// there is none even on a volume with the feature.
    pub check_offset: Option<usize>,
}

impl MetadataRun {
    /// Whether it has block checks on a volume with the feature, once its directory has trailers.
    /// The superblock gets its own together with its copies.
    pub fn has_check(&self) -> bool {
        match self.kind {
            MetadataKind::DirBlock => true,
            MetadataKind::Superblock => false,
            _ => self.check_offset.is_some(),
        }
    }

    /// Computes the block checks of `bytes`, the contents of the run; those of blocks of directories
    /// if they have trailers or not. What has no check stays as it is. Returns whether any changed.
    pub fn stamp(&self, bytes: &mut [u8], block_size: BlockSize) -> bool {
        if !self.has_check() {
            return false;
        }
        let size = block_size.size();
        let (each, offset) = match self.kind {
            MetadataKind::DirBlock => (size, Some(DirTrailer::check_offset(size))),
            // The blocks of a bucket have one check.
            MetadataKind::XattrBucket => (BUCKET_SIZE.max(size), self.check_offset),
            _ => (size, self.check_offset),
        };
        let Some(offset) = offset else { return false };
        let mut is_changed = false;
        for block in bytes.chunks_exact_mut(each) {
            let before = block.get(offset..offset + BlockCheck::SIZE).map(<[u8]>::to_vec);
            check::stamp(block, offset);
            is_changed |= before.as_deref() != block.get(offset..offset + BlockCheck::SIZE);
        }
        is_changed
    }

    /// The same in pieces of at most `most` blocks, which is no less than a bucket has.
    pub fn pieces(self, most: u64) -> impl Iterator<Item = Self> {
        let end = self.blkno.0 + self.blocks;
        let starts = (self.blkno.0..end).step_by(most.max(1) as usize);
        starts.map(move |at| Self { blkno: Blkno(at), blocks: most.min(end - at), ..self })
    }
}

/// The metadata of a volume. See [`Volume::metadata`].
#[derive(Debug)]
pub struct Metadata<'v> {
    volume: &'v Volume,
    /// What comes next.
    found: VecDeque<Result<MetadataRun, Error>>,
    /// Allocators whose groups are still to come.
    allocators: VecDeque<SystemFile>,
    /// The inode and the groups of the current one.
    groups: Option<(Blkno, Groups<'v>)>,
    inodes: Inodes<'v>,
    /// Refcount trees that were visited: many inodes share one.
    shared: HashSet<Blkno>,
}

impl Volume {
    /// All blocks of metadata that are in use: the superblock, the groups of all allocators, then
    /// inode by inode what belongs to it, except the data of users' files.
    ///
    /// What cannot be read, or is wrong, is returned as an error, and what only it points to is
    /// left out; the rest follows. Memory depends on the largest inode, not on the volume.
    pub fn metadata(&self) -> Metadata<'_> {
        let slots = || 0..self.max_slots();
        let allocators = [SystemFile::GlobalBitmap, SystemFile::GlobalInodeAlloc].into_iter();
        let allocators = allocators.chain(slots().map(SystemFile::InodeAlloc));
        let allocators = allocators.chain(slots().map(SystemFile::ExtentAlloc));
        let superblock = MetadataRun {
            kind: MetadataKind::Superblock,
            blkno: SUPERBLOCK_BLKNO,
            blocks: 1,
            owner: SUPERBLOCK_BLKNO,
            check_offset: Some(Dinode::CHECK_OFFSET),
        };
        Metadata {
            volume: self,
            found: VecDeque::from([Ok(superblock)]),
            allocators: allocators.collect(),
            groups: None,
            inodes: self.inodes(),
            shared: HashSet::new(),
        }
    }
}

impl Iterator for Metadata<'_> {
    type Item = Result<MetadataRun, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Some(found);
            }
            if let Some((owner, groups)) = &mut self.groups {
                let Some(group) = groups.next() else {
                    self.groups = None;
                    continue;
                };
                let (kind, check) = (MetadataKind::Group, GroupDesc::CHECK_OFFSET);
                return Some(group.map(|group| one(kind, group.blkno, *owner, Some(check))));
            }
            if let Some(file) = self.allocators.pop_front() {
                if let Err(err) = self.open_allocator(file) {
                    return Some(Err(err));
                }
                continue;
            }
            match self.inodes.next()? {
                Ok(inode) => self.push_inode(&inode),
                Err(err) => return Some(Err(err)),
            }
        }
    }
}

/// A single block.
fn one(kind: MetadataKind, blkno: Blkno, owner: Blkno, check_offset: Option<usize>) -> MetadataRun {
    MetadataRun { kind, blkno, blocks: 1, owner, check_offset }
}

impl Metadata<'_> {
    fn open_allocator(&mut self, file: SystemFile) -> Result<(), Error> {
        let volume = self.volume;
        let allocator = match file {
            SystemFile::GlobalBitmap => volume.global_bitmap()?,
            _ => volume.allocator(volume.system_file(file)?)?,
        };
        self.groups = Some((allocator.inode.blkno, volume.groups(&allocator)));
        Ok(())
    }

    fn push<T: Block>(&mut self, kind: MetadataKind, blkno: Blkno, owner: Blkno) {
        self.found.push_back(Ok(one(kind, blkno, owner, Some(T::CHECK_OFFSET))));
    }

    fn push_inode(&mut self, inode: &Inode) {
        self.push::<Dinode>(MetadataKind::Dinode, inode.blkno, inode.blkno);
        let parts =
            [Self::push_contents, Self::push_index, Self::push_xattrs, Self::push_refcounts];
        for part in parts {
            if let Err(err) = part(self, inode) {
                self.found.push_back(Err(err));
            }
        }
    }

    /// Pushes the extent blocks of a tree. Returns its extents.
    fn push_tree(&mut self, tree: &Tree<'_>, owner: Blkno) -> Vec<Extent> {
        let mut extents = tree.extents();
        let mut found = Vec::new();
        for extent in extents.by_ref() {
            match extent {
                Ok(extent) => found.push(extent),
                Err(err) => self.found.push_back(Err(err)),
            }
        }
        // Sorted, so that the order is the same each time.
        for blkno in extents.extent_blocks().collect::<BTreeSet<_>>() {
            self.push::<ExtentBlock>(MetadataKind::ExtentBlock, blkno, owner);
        }
        found
    }

    fn push_contents(&mut self, inode: &Inode) -> Result<(), Error> {
        if inode.dinode.arm() != Arm::ExtentList {
            return Ok(());
        }
        let volume = self.volume;
        let extents = self.push_tree(&volume.tree(inode)?, inode.blkno);
        if inode.is_dir() {
            return self.push_dir_blocks(inode);
        }
        let flags = inode.dinode.flags();
        let (kind, check_offset) = if flags.contains(InodeFlags::QUOTA) {
            (MetadataKind::Quota, Some(quota::check_offset(volume.block_size())))
        } else if flags.contains(InodeFlags::JOURNAL) {
            (MetadataKind::Journal, None)
        } else if flags.contains(InodeFlags::SYSTEM) {
            (MetadataKind::SystemFile, None)
        } else if inode.dinode.kind() == Some(FileKind::Symlink) {
            (MetadataKind::Symlink, None)
        } else {
            return Ok(());
        };
        let (size, bits) =
            (volume.geometry().blocks_for(inode.size()), volume.geometry().bpc_bits());
        for extent in extents {
            let left = size.saturating_sub(u64::from(extent.cpos.0) << bits);
            let blocks = left.min(u64::from(extent.clusters) << bits);
            let (blkno, owner) = (extent.blkno, inode.blkno);
            if blocks > 0 {
                self.found.push_back(Ok(MetadataRun { kind, blkno, blocks, owner, check_offset }));
            }
        }
        Ok(())
    }

    fn push_dir_blocks(&mut self, inode: &Inode) -> Result<(), Error> {
        let volume = self.volume;
        let offset = DirTrailer::check_offset(volume.block_size().size());
        let check_offset = volume.has_dir_trailers(inode).then_some(offset);
        for block in volume.dir_blocks(inode)? {
            self.found.push_back(
                block.map(|block| {
                    one(MetadataKind::DirBlock, block.blkno, inode.blkno, check_offset)
                }),
            );
        }
        Ok(())
    }

    fn push_index(&mut self, inode: &Inode) -> Result<(), Error> {
        if !inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR) {
            return Ok(());
        }
        let (volume, root, owner) = (self.volume, inode.dinode.i_dx_root, inode.blkno);
        let (header, block) = volume.dx_root(inode)?;
        self.push::<DxRoot>(MetadataKind::DxRoot, root, owner);
        if header.is_inline() {
            return Ok(());
        }
        let list = DxRoot::extents(&block).in_block(root)?;
        for extent in self.push_tree(&Tree::new(volume, root, &list)?, owner) {
            for n in 0..u64::from(extent.clusters) << volume.geometry().bpc_bits() {
                let blkno = Blkno(extent.blkno.0 + n);
                self.push::<DxLeaf>(MetadataKind::DxLeaf, blkno, owner);
            }
        }
        Ok(())
    }

    fn push_xattrs(&mut self, inode: &Inode) -> Result<(), Error> {
        let (volume, at, owner) = (self.volume, inode.dinode.i_xattr_loc, inode.blkno);
        if !at.is_none() {
            let (header, block) = volume.read::<XattrBlock>(at)?;
            self.push::<XattrBlock>(MetadataKind::XattrBlock, at, owner);
            if header.is_indexed() {
                let list = XattrTreeRoot::list(&block).in_block(at)?;
                self.push_buckets(&Tree::new(volume, at, &list)?, owner);
            }
        }
        for xattr in volume.xattrs(inode) {
            if let Some(tree) = xattr?.tree(volume)? {
                self.push_tree(&tree, owner);
            }
        }
        Ok(())
    }

    fn push_buckets(&mut self, tree: &Tree<'_>, owner: Blkno) {
        let volume = self.volume;
        let blocks = BUCKET_SIZE as u64 >> volume.block_size().bits();
        let (kind, check_offset) = (MetadataKind::XattrBucket, Some(XattrHeader::CHECK_OFFSET));
        for extent in self.push_tree(tree, owner) {
            let count = match volume.count_buckets(&extent) {
                Ok(count) => count,
                Err(err) => {
                    self.found.push_back(Err(err));
                    continue;
                }
            };
            self.found.extend((0..count).map(|n| {
                let blkno = Blkno(extent.blkno.0 + n * blocks);
                Ok(MetadataRun { kind, blkno, blocks, owner, check_offset })
            }));
        }
    }

    fn push_refcounts(&mut self, inode: &Inode) -> Result<(), Error> {
        let (volume, root) = (self.volume, inode.dinode.i_refcount_loc);
        if root.is_none() || !self.shared.insert(root) {
            return Ok(());
        }
        let (header, block) = volume.refcount_block(root, Blkno(0))?;
        let kind = MetadataKind::RefcountBlock;
        self.push::<RefcountBlock>(kind, root, root);
        if header.is_tree() {
            let list = RefcountBlock::extents(&block).in_block(root)?;
            for leaf in self.push_tree(&Tree::of_blocks(volume, root, &list)?, root) {
                self.push::<RefcountBlock>(kind, leaf.blkno, root);
            }
        }
        Ok(())
    }
}
