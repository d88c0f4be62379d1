//! Volumes mounted by `ocfs2-fuse`, read and written through the kernel like any other file system.
#![allow(clippy::unwrap_used)]

mod errors;
mod killed;
mod model;
mod mount;
mod random;
mod reading;
mod writing;
