//! An open OCFS2 volume: devices, blocks, inodes, trees, directories, allocators.
//!
//! ```no_run
//! use std::path::Path;
//! use ocfs2_device::{DeviceOptions, open};
//! use ocfs2_volume::{Volume, VolumeOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = open(Path::new("disk.img"), &DeviceOptions::default())?;
//! let volume = Volume::open(device, &VolumeOptions::default())?;
//! for entry in volume.walk(&volume.root()?)? {
//!     let entry = entry?;
//!     println!("{}", entry.path.escape_ascii());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Reading survives any contents: whatever is wrong is an [`Error`], loops and cross-links
//! are found, and memory does not depend on what a field claims.
#![deny(missing_docs)]

pub mod allocator;
pub mod commit;

pub mod dir;
pub mod edit;
mod error;
pub mod file;
pub mod find;
pub mod gate;
mod inode;
pub mod journal;
pub mod open;

pub mod recovery;
pub mod replay;
mod runs;
#[cfg(test)]
mod sample;

mod system;
pub mod tree;
pub mod undo;
mod unused;
pub mod usage;
mod volume;
mod write;
pub mod xattr;

pub use edit::{Edit, EditError, EditOptions};
pub use error::Error;
pub use inode::{Inode, Timestamp};
pub use open::{OpenVolumeError, SuperblockAt, VolumeOptions};
pub use system::Journal;
pub use volume::{Correction, Volume};
