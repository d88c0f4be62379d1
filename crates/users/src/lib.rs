//! The nodes of a cluster and a volume: finding them, and keeping them from it while it is changed.
//!
//! `ocfs2-volume` knows what is on the disk, `ocfs2-cluster` what runs on this host; what
//! takes both is here.
#![deny(missing_docs)]

mod detect;
pub mod lock;
pub mod regions;

pub use detect::detect;
