#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod allocator;
pub mod commit;

pub mod dir;
pub mod edit;
mod error;
pub mod file;
pub mod find;
pub mod gate;
pub mod image;
mod inode;
pub mod journal;
pub mod metadata;
pub mod open;
pub mod posix;

pub mod recovery;
pub mod replay;
mod runs;
#[cfg(test)]
mod sample;
mod statfs;
pub mod survey;

mod system;
mod system_file;
mod tops;
pub mod tree;
pub mod undo;
mod unused;
pub mod usage;
mod volume;
mod write;
pub mod xattr;

pub use edit::{Edit, EditError, EditOptions};
pub use error::Error;
pub(crate) use error::InBlock;
pub use inode::{Inode, Timestamp};
pub use open::{OpenVolumeError, SuperblockAt, VolumeOptions};
pub use statfs::{MAX_NAME_BYTES, Statfs};
pub use system::Journal;
pub use system_file::SystemFile;
pub use volume::{Correction, Volume};
