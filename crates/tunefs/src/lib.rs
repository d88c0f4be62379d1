//! `tunefs.ocfs2`: changes an existing volume. `o2cluster`: shows and changes its cluster stack.
#![deny(missing_docs)]

mod change;
mod cli;
mod features;
mod glued;
mod journals;
pub mod o2cluster;
mod online;
mod program;
mod query;
mod report;
mod shrink;
mod size;
mod slots;
mod sparse;
mod stamp;
mod steps;
mod target;
mod walk;

pub use cli::{Cli, JournalOptions, MountType, NewSize, Unit, command};
pub use glued::{glued, uuid_apart};
pub use program::{change_volume, run};
pub use query::{QueryError, query};
pub use stamp::{StampError, stamp, stamped};
pub use target::{Target, TargetError};

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    let failure = ocfs2_cli::Failure::default();
    if let Some(hint) = uuid_apart(&ocfs2_cli::arguments()) {
        ocfs2_cli::print_note(hint);
        return failure.usage.into();
    }
    ocfs2_cli::run_rewriting(glued, failure, |cli: Cli| run(&cli))
}
