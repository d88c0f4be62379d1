//! The bytes of an OCFS2 volume.
//!
//! Structures, feature flags, geometry and checksums; no I/O, no printing. Names and
//! signatures are those of the on-disk format.
//!
//! Fixed headers are [`binrw`] structures that implement [`Structure`]. What follows a
//! header (extent records, directory entries, bitmaps, journal tags) stays in the block
//! as bytes behind an iterator. Decoding is total: any bytes of sufficient length give a
//! value, and `verify` says what is wrong with it. A header is written back over the
//! bytes it came from, so that whatever follows it is kept.
#![deny(missing_docs)]

pub mod bitmap;
pub mod chain;
pub mod check;
pub mod dinode;
pub mod dir;
pub mod dx;
mod error;
pub mod extent;
pub mod feature;
pub mod field;
pub mod geometry;
pub mod group;
pub mod hash;
pub mod heartbeat;
pub mod inline;
pub mod journal;
pub mod local_alloc;
pub mod ocfs1;
pub mod quota;
pub mod refcount;
pub mod slot_map;
mod structure;
pub mod superblock;
pub mod truncate_log;
mod units;
pub mod xattr;

pub use check::BlockCheck;
pub use error::{Invalid, Truncated};
pub use field::{Field, FieldKind};
pub use structure::Structure;
pub use units::{Blkno, BlockSize, Cluster, ClusterSize, Cpos};
