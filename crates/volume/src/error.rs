//! What can go wrong when an open volume is read or written.

use std::io;

use ocfs2_format::dir::BadEntry;
use ocfs2_format::xattr::BadXattr;
use ocfs2_format::{Blkno, Invalid, Truncated};

/// Why something of an open volume could not be read or written.
///
/// The three cases a caller tells apart are [`Error::Read`] (the device), the several ways
/// in which contents are wrong ([`Error::is_damage`]), and what simply is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device could not read it.
    #[error("block {blkno}: could not be read: {source}")]
    Read {
        /// The first block of what was read.
        blkno: Blkno,
        /// The error of the device.
        source: io::Error,
    },
    /// The device could not write it.
    #[error("block {blkno}: could not be written: {source}")]
    Write {
        /// The block.
        blkno: Blkno,
        /// The error of the device.
        source: io::Error,
    },
    /// Something points outside the volume.
    #[error("{structure}: block {blkno} is outside the volume of {blocks} blocks")]
    OutsideVolume {
        /// What should have been there.
        structure: &'static str,
        /// Where it should have been.
        blkno: Blkno,
        /// Blocks the volume has.
        blocks: u64,
    },
    /// The block check (metaecc) does not hold, and not for a single bit.
    #[error("{structure} {blkno}: checksum is {stored:#010x}, expected {computed:#010x}")]
    Checksum {
        /// What should have been there.
        structure: &'static str,
        /// The block, or the first of several.
        blkno: Blkno,
        /// CRC-32 that is stored.
        stored: u32,
        /// CRC-32 the contents have.
        computed: u32,
    },
    /// A field is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A structure is cut short.
    #[error("block {blkno}: {source}")]
    Truncated {
        /// The block it is in.
        blkno: Blkno,
        /// Which structure, how short.
        source: Truncated,
    },
    /// The same block was reached twice: a loop or a cross-link.
    #[error("{structure} {blkno}: reached a second time")]
    Repeated {
        /// What it was taken for.
        structure: &'static str,
        /// The block.
        blkno: Blkno,
    },
    /// A directory block cannot be followed any further.
    #[error("directory {dir}: block {blkno}: {source}")]
    DirEntry {
        /// The directory's dinode.
        dir: Blkno,
        /// The block, which is the dinode where the directory is inline.
        blkno: Blkno,
        /// Where, and what it says.
        source: BadEntry,
    },
    /// An attribute cannot be read.
    #[error("block {blkno}: {source}")]
    XattrEntry {
        /// The block, or the first one of a bucket.
        blkno: Blkno,
        /// Which entry, and what it says.
        source: BadXattr,
    },
    /// There is no such name.
    #[error("{}: no such file or directory", .name.escape_ascii())]
    NotFound {
        /// The name, or the path as far as it was followed.
        name: Vec<u8>,
    },
    /// Something else than was asked for.
    #[error("inode {blkno}: is not {expected}")]
    WrongKind {
        /// The dinode.
        blkno: Blkno,
        /// What it should have been, with its article.
        expected: &'static str,
    },
    /// More symbolic links than are followed for one path.
    #[error("{}: too many symbolic links", .path.escape_ascii())]
    TooManyLinks {
        /// The path that was to be resolved.
        path: Vec<u8>,
    },
}

impl Error {
    /// Whether the contents of the volume are wrong, so that fsck is needed.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Read { .. }
            | Self::Write { .. }
            | Self::NotFound { .. }
            | Self::TooManyLinks { .. } => false,
            Self::OutsideVolume { .. }
            | Self::Checksum { .. }
            | Self::Invalid(_)
            | Self::Truncated { .. }
            | Self::Repeated { .. }
            | Self::DirEntry { .. }
            | Self::XattrEntry { .. }
            | Self::WrongKind { .. } => true,
        }
    }
}

/// For errors about something too short to hold a structure.
pub(crate) trait InBlock<T> {
    /// Adds to the error the block that it is in.
    fn in_block(self, blkno: Blkno) -> Result<T, Error>;
}

impl<T> InBlock<T> for Result<T, Truncated> {
    fn in_block(self, blkno: Blkno) -> Result<T, Error> {
        self.map_err(|source| Error::Truncated { blkno, source })
    }
}
