//! `ocfs2-fuse`: an OCFS2 volume mounted without the kernel's driver.
//!
//! Everything about OCFS2 is in `ocfs2-volume`; here are the answers to the requests of FUSE.
#![deny(missing_docs)]

mod answers;
mod attributes;
mod cli;
mod handles;
mod log;
mod program;
mod source;
mod space;

pub use cli::{Cli, command};
pub use program::run;
