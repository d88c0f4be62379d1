//! Structures as text: that of the C tool's 1.8, line by line.

mod check;
pub mod dir;
pub mod dx;
pub mod extents;
pub mod fields;
pub mod group;
pub mod inode;
pub mod journal;
pub mod parts;
pub mod refcount;
pub mod superblock;
pub mod time;
pub mod xattr;

use std::io;

pub use check::{block_check, check_at};

use crate::screen::Screen;

/// Where text and records go to.
pub type Out<'a> = &'a mut Screen;

/// The names of the bits that are set, each with a blank after it.
pub(crate) fn bits(bits: u64, names: &[(u64, &str)]) -> String {
    let set = names.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, name)| format!("{name} ")).collect()
}

/// Something that can be shown, for callers that hold what it needs.
pub(crate) type Shown = io::Result<()>;
