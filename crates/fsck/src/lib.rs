//! `fsck.ocfs2`: finds everything that is wrong with a volume, and repairs it.
//!
//! Find, plan, prove, commit: the passes only read, through an overlay that holds what journal
//! replay and accepted repairs changed. They print nothing: a [`Finding`] is data. The order:
//! 1. start: superblock, system files, slots, journals;
//! 2. pass 0: the chains of all allocators, which show where inodes are;
//! 3. pass 1: inodes, by several threads; what they claim is compared with the bitmaps;
//! 4. pass 2 to 4: directories, connectivity, orphans, link counts;
//! 5. pass 5: quota.
#![deny(missing_docs)]

mod bitmaps;
mod chains;
mod check;
mod cli;
pub mod clusters;
pub mod codes;
mod connectivity;
mod context;
mod directories;
mod due;
mod extents;
mod finding;
mod inodes;
mod last_names;
mod links;
mod losses;
mod memory;
mod misplaced;
mod mount_reads;
mod name_hashes;
mod others;
mod parallel;
mod pass;
pub mod plan;
pub mod program;
mod quota;
mod read;
mod recover;
mod refcounts;
pub mod repair;
mod report;
mod rescue;
mod shared_clusters;
mod signatures;
pub mod start;
mod state;
mod system_files;
mod tables;
mod target;
mod users;
mod xattrs;

pub use check::{Outcome, check};
pub use cli::{Cli, command};
pub use context::{Context, Options, Stop};
pub use finding::{Clusters, Finding, Found, Place};
pub use name_hashes::{NameHashes, Signs};
pub use pass::Pass;
pub use state::Observer;
pub use tables::collected::Totals;

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    let failure = ocfs2_cli::Failure { usage: program::USAGE, error: program::FAILED };
    ocfs2_cli::run(failure, |cli: Cli| program::run(&cli))
}
