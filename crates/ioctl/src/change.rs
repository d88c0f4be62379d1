//! Calls that change a mounted volume: copies that share contents, more clusters, moved extents.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::Mounted;
use crate::raw::{self, AddedGroup, MovedExtents};

/// Request flag: the kernel chooses the place.
const AUTO: u64 = 1;
/// Request flag: moving less than asked for is no failure.
const PARTIAL: u64 = 2;
/// Answer flag: the walk reached the end of the range.
const COMPLETE: u64 = 4;

/// A group of clusters behind the end of a volume. Its descriptor has to be on the device already,
/// past the page cache.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NewGroup {
    /// The block of its descriptor.
    pub block: u64,
    /// Number of its clusters.
    pub clusters: u32,
    /// Number of these that are free.
    pub free: u32,
    /// The chain that it becomes a part of.
    pub chain: u16,
}

/// Where extents are moved to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Goal {
    /// Wherever there is room: neighbours are collected until `bytes` are together. Extents that
    /// are as long already stay. 0 is 1 MiB.
    Together {
        /// The length from which on an extent is left alone, in bytes.
        bytes: u64,
    },
    /// At this block or behind it, in the same group. Given up after `bytes`.
    At {
        /// The first block of a cluster.
        block: u64,
        /// How far from there room is looked for, in bytes.
        bytes: u64,
    },
}

/// What was moved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moved {
    /// Number of bytes.
    pub bytes: u64,
    /// Where on the volume the last piece is now, in bytes.
    pub place: u64,
    /// Whether it reached the end of what was asked for.
    pub is_complete: bool,
}

fn path_of(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl Mounted {
    /// Makes `new` a file that shares all contents of `old`, with its attributes; both are on the
    /// volume of this file. With `preserve` it also gets the owner, the mode and the security
    /// attributes, which takes the owner or root.
    ///
    /// # Errors
    /// Those of the kernel: `new` exists, the volume has no refcount trees, they are on different
    /// volumes.
    pub fn reflink(&self, old: &Path, new: &Path, preserve: bool) -> io::Result<()> {
        raw::reflink(self, &path_of(old)?, &path_of(new)?, preserve)
    }

    /// Adds clusters to the last group of the volume. Takes root.
    ///
    /// # Errors
    /// Those of the kernel: the group has no room for so many. Whether the device has them is up to
    /// the caller. A group never has more than 65535; numbers near 2^31, which would overflow in
    /// the kernel and damage the volume, cannot be given.
    pub fn extend_last_group(&self, clusters: u16) -> io::Result<()> {
        raw::extend_group(self, clusters.into())
    }

    /// Adds a group behind the last one, which has to be full. Takes root.
    ///
    /// # Errors
    /// Those of the kernel: the descriptor on the device is not that of this group.
    pub fn add_group(&self, group: &NewGroup) -> io::Result<()> {
        let NewGroup { block, clusters, free, chain } = *group;
        raw::add_group(self, AddedGroup { block, clusters, free, chain, ..AddedGroup::default() })
    }

    /// Moves extents of this file, which was opened by [`Mounted::open_to_change`], from byte
    /// `start` on for `len` bytes, in whole clusters. With `is_partial`, moving less for lack of
    /// room is no failure. Shared clusters become the file's own. Other nodes wait meanwhile.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn move_extents(
        &self,
        start: u64,
        len: u64,
        goal: Goal,
        is_partial: bool,
    ) -> io::Result<Moved> {
        let partial = if is_partial { PARTIAL } else { 0 };
        let (goal, threshold, flags) = match goal {
            Goal::Together { bytes } => (0, bytes, AUTO | partial),
            Goal::At { block, bytes } => (block, bytes, partial),
        };
        let mut call =
            MovedExtents { start, len, goal, threshold, flags, ..MovedExtents::default() };
        raw::move_extents(self, &mut call)?;
        let is_complete = call.flags & COMPLETE != 0;
        Ok(Moved { bytes: call.moved, place: call.new_offset, is_complete })
    }
}
