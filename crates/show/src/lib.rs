//! Structures as text, where several commands print them: line by line that of the C tool 1.8.
#![deny(missing_docs)]

mod superblock;
pub mod time;

pub use superblock::superblock;
