//! An open OCFS2 volume: devices, blocks, inodes, trees, directories, allocators.
#![deny(missing_docs)]

pub mod device;
pub mod partition;
pub mod usage;

pub use device::Device;
