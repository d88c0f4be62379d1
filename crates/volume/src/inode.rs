//! Inodes: a dinode with the block it is in.

use std::time::{SystemTime, UNIX_EPOCH};

use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, FileKind};
use ocfs2_format::extent::ExtentList;
use ocfs2_format::feature::Incompat;
use ocfs2_format::{Blkno, Invalid, Structure};

use crate::tree::Tree;
use crate::{Error, InBlock, Volume};

/// A dinode and the block it is in.
#[derive(Clone, Debug)]
pub struct Inode {
    /// The block: the inode's number.
    pub blkno: Blkno,
    /// The part every dinode has.
    pub dinode: Dinode,
    block: Box<[u8]>,
}

/// A time as inodes keep it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp {
    /// Seconds since 1970 UTC, negative before.
    pub seconds: i64,
    /// Nanoseconds after that, as stored.
    pub nanoseconds: u32,
}

impl Timestamp {
    fn new(seconds: u64, nanoseconds: u32) -> Self {
        Self { seconds: seconds as i64, nanoseconds }
    }

    /// The time of day of this machine; 1970 for a clock that is before it.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::new(since.as_secs(), since.subsec_nanos())
    }
}

impl Inode {
    /// Decodes the dinode of `block`, read from `blkno`, whatever it holds.
    ///
    /// # Errors
    /// [`Error::Truncated`] if `block` is too short for a dinode.
    pub fn decode(blkno: Blkno, block: impl Into<Box<[u8]>>) -> Result<Self, Error> {
        let block = block.into();
        let dinode = Dinode::decode(&block).in_block(blkno)?;
        Ok(Self { blkno, dinode, block })
    }

    /// An inode that is on no volume and has no contents.
    pub fn without_block(dinode: Dinode) -> Self {
        Self { blkno: Blkno(0), dinode, block: Box::default() }
    }

    /// The whole block.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// The part of the block that belongs to [`Dinode::arm`].
    pub fn id2(&self) -> &[u8] {
        self.dinode.id2(&self.block)
    }

    /// The kind of file; `None` if `i_mode` states none.
    pub fn kind(&self) -> Option<FileKind> {
        self.dinode.kind()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == Some(FileKind::Directory)
    }

    /// Bytes of contents.
    pub fn size(&self) -> u64 {
        self.dinode.i_size
    }

    /// Whether the contents are in the dinode.
    pub fn is_inline(&self) -> bool {
        self.dinode.dyn_features().contains(DynFeatures::INLINE_DATA)
    }

    /// Time of the last access.
    pub fn atime(&self) -> Timestamp {
        Timestamp::new(self.dinode.i_atime, self.dinode.i_atime_nsec)
    }

    /// Time of the last change of the inode.
    pub fn ctime(&self) -> Timestamp {
        Timestamp::new(self.dinode.i_ctime, self.dinode.i_ctime_nsec)
    }

    /// Time of the last change of the contents.
    pub fn mtime(&self) -> Timestamp {
        Timestamp::new(self.dinode.i_mtime, self.dinode.i_mtime_nsec)
    }

    /// The extent list, where the inode has one.
    ///
    /// # Errors
    /// [`Error::WrongKind`] where it has something else, [`Error::Truncated`].
    pub fn extent_list(&self) -> Result<ExtentList<'_>, Error> {
        if self.dinode.arm() != Arm::ExtentList {
            return Err(Error::WrongKind { blkno: self.blkno, expected: "a file with extents" });
        }
        ExtentList::new(self.id2()).in_block(self.blkno)
    }

    /// Fails unless it is a `kind`; `expected` names that in the error, with its article.
    pub fn expect(&self, kind: FileKind, expected: &'static str) -> Result<(), Error> {
        if self.kind() == Some(kind) {
            return Ok(());
        }
        Err(Error::WrongKind { blkno: self.blkno, expected })
    }

    /// An error about one of its fields.
    pub(crate) fn invalid(
        &self,
        field: &'static str,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Error {
        Invalid::new(Dinode::NAME, self.blkno, field, found, expected).into()
    }
}

/// Sets the times of a dinode that is changed.
pub(crate) trait Touch {
    /// Records that contents and inode were changed at this time.
    fn touch(&mut self, time: Timestamp);
    /// Records that only the inode was changed.
    fn touch_inode(&mut self, time: Timestamp);
}

impl Touch for Dinode {
    fn touch(&mut self, time: Timestamp) {
        (self.i_mtime, self.i_mtime_nsec) = (time.seconds as u64, time.nanoseconds);
        self.touch_inode(time);
    }

    fn touch_inode(&mut self, time: Timestamp) {
        (self.i_ctime, self.i_ctime_nsec) = (time.seconds as u64, time.nanoseconds);
    }
}

impl Volume {
    /// Reads an inode that is in use.
    ///
    /// # Errors
    /// Any of reading the block; [`Error::Invalid`] if it is not a dinode of this volume,
    /// or is not in use.
    pub fn inode(&self, blkno: Blkno) -> Result<Inode, Error> {
        let (dinode, block) = self.read(blkno)?;
        Ok(Inode { blkno, dinode, block: block.into() })
    }

    /// The link count of an inode; only with indexed-dirs is it more than 16 bits.
    pub fn links_count(&self, inode: &Inode) -> u32 {
        inode.dinode.links_count(self.has(Incompat::INDEXED_DIRS))
    }

    /// The extent tree of an inode's contents.
    ///
    /// # Errors
    /// [`Error::WrongKind`] where it has none; [`Error::Invalid`] if its root is wrong.
    pub fn tree(&self, inode: &Inode) -> Result<Tree<'_>, Error> {
        Tree::new(self, inode.blkno, &inode.extent_list()?)
    }
}
