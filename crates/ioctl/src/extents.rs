//! `FS_IOC_FIEMAP`: the places of a file's contents.

use std::io;

use crate::Mounted;
use crate::raw::{EXTENTS, map};

/// Request flag: write what is in memory first, so that all of the file has a place.
const SYNC: u32 = 1;

/// The properties of an extent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExtentFlags(u32);

impl ExtentFlags {
    /// The flags as the kernel states them, `FIEMAP_EXTENT_...`.
    pub fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// Whether it is the last extent of the file.
    pub fn is_last(self) -> bool {
        self.0 & 0x1 != 0
    }

    /// Whether the contents are in the inode.
    pub fn is_inline(self) -> bool {
        self.0 & 0x200 != 0
    }

    /// Whether it is allocated but was never written.
    pub fn is_unwritten(self) -> bool {
        self.0 & 0x800 != 0
    }

    /// Whether other files may share it.
    pub fn is_shared(self) -> bool {
        self.0 & 0x2000 != 0
    }
}

/// An extent of a file, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extent {
    /// Offset in the file.
    pub logical: u64,
    /// Offset on the volume.
    pub physical: u64,
    /// Length.
    pub length: u64,
    /// Its properties.
    pub flags: ExtentFlags,
}

impl Mounted {
    /// Returns all extents of this file, in order.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn extents(&self) -> io::Result<Vec<Extent>> {
        let (mut all, mut start): (Vec<Extent>, u64) = (Vec::new(), 0);
        loop {
            let found = map(self, start, SYNC)?;
            let is_end = found.len() < EXTENTS;
            for it in found {
                let flags = ExtentFlags(it.flags);
                let end = it.logical.saturating_add(it.length);
                // If the file changes meanwhile, extents may be repeated. This must not become an
                // endless loop.
                if end <= start {
                    return Ok(all);
                }
                start = end;
                let (logical, physical, length) = (it.logical, it.physical, it.length);
                all.push(Extent { logical, physical, length, flags });
                if flags.is_last() {
                    return Ok(all);
                }
            }
            if is_end {
                return Ok(all);
            }
        }
    }
}
