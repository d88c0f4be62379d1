//! The nodes of a cluster and a volume: keeping them from it while it is changed.
//!
//! `ocfs2-volume` knows what is on the disk, `ocfs2-cluster` what runs on this host; what
//! takes both is here.
#![deny(missing_docs)]

pub mod lock;
