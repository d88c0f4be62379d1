//! `mounted.ocfs2`: which OCFS2 volumes there are, and which nodes have them mounted.
//!
//! [`list()`] finds out, [`table`] and [`json`] show it, [`run`] is the program.
#![deny(missing_docs)]

mod cli;
pub mod json;
mod list;
mod notes;
mod program;
pub mod table;

pub use cli::{Cli, command};
pub use list::{Detail, Failure, FailureCause, Listing, NodeUse, Options, Users, Volume, list};
pub use program::run;
