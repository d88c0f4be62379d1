//! `tunefs.ocfs2`: changes a volume that is there.
//!
//! Of what the C tool can do this has the cluster a volume belongs to, and the query.
#![deny(missing_docs)]

mod cli;
mod program;
mod query;
mod stamp;

pub use cli::{Cli, command, not_done};
pub use program::run;
pub use query::{QueryError, query};
pub use stamp::{StampError, stamp, stamped};
