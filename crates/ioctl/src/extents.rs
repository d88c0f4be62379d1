//! `FS_IOC_FIEMAP`: where the contents of a file are.

use std::io;

use crate::Mounted;
use crate::raw::{EXTENTS, map};

/// Asked for: what is in memory is written first, so that all of it has a place.
const SYNC: u32 = 1;

/// What an extent is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExtentFlags(u32);

impl ExtentFlags {
    /// Whether it is the last one.
    pub fn is_last(self) -> bool {
        self.0 & 0x1 != 0
    }

    /// Whether it is in the inode.
    pub fn is_inline(self) -> bool {
        self.0 & 0x200 != 0
    }

    /// Whether it was allocated, but never written.
    pub fn is_unwritten(self) -> bool {
        self.0 & 0x800 != 0
    }

    /// Whether other files may have it, too.
    pub fn is_shared(self) -> bool {
        self.0 & 0x2000 != 0
    }
}

/// An extent of a file, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extent {
    /// Where in the file it begins.
    pub logical: u64,
    /// Where on the volume it begins.
    pub physical: u64,
    /// How long it is.
    pub length: u64,
    /// What it is.
    pub flags: ExtentFlags,
}

impl Mounted {
    /// All extents of this file, in order.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn extents(&self) -> io::Result<Vec<Extent>> {
        let (mut all, mut start): (Vec<Extent>, u64) = (Vec::new(), 0);
        loop {
            let found = map(self, start, SYNC)?;
            let is_end = found.len() < EXTENTS;
            for it in found {
                let flags = ExtentFlags(it.flags);
                let end = it.logical.saturating_add(it.length);
                // A file that is changed meanwhile may give some again; no loop without an end.
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
