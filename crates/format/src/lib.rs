#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod acl;
pub mod bitmap;
pub mod block;
pub mod chain;
pub mod check;
pub mod dinode;
pub mod dir;
pub mod dx;
pub mod dx_leaves;
mod error;
pub mod extent;
pub mod feature;
pub mod field;
pub mod geometry;
pub mod group;
pub mod hash;
pub mod heartbeat;
pub mod image;
pub mod inline;
pub mod journal;
pub mod list;
pub mod local_alloc;
pub mod ocfs1;
pub mod quota;
pub mod quota_tree;
pub mod refcount;
pub mod slot_map;
mod structure;
pub mod superblock;
pub mod truncate_log;
mod units;
pub mod xattr;

pub use block::Block;
pub use check::BlockCheck;
pub use error::{Invalid, Truncated};
pub use field::{Field, FieldKind};
pub use structure::Structure;
pub use units::{Blkno, BlockSize, Cluster, ClusterSize, Cpos};
