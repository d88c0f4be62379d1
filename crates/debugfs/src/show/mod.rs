//! Structures as text, line by line that of the C tool 1.8.

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
pub mod xattr;

use std::io;

pub use check::{block_check, check_at};

use crate::screen::Screen;

/// The target of text and records.
pub type Out<'a> = &'a mut Screen;

/// The names of the set bits, each followed by a blank.
pub(crate) fn bits(bits: u64, names: &[(u64, &str)]) -> String {
    let set = names.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, name)| format!("{name} ")).collect()
}

/// The result of showing something.
pub(crate) type Shown = io::Result<()>;
