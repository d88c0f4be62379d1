//! mkfs.ocfs2: creates an OCFS2 volume.
//!
//! [`Settings`] determine a volume; [`Plan::new`] decides in memory where everything goes, and
//! refuses a volume that does not fit; [`Plan::write`] writes it.

mod cli;
mod cluster_map;
mod contents;
mod directory;
mod file;
mod files;
mod journal_size;
mod messages;
mod options;
mod plan;
mod program;
mod quota;
mod random;
mod resolve;
mod settings;
mod source;
mod stack;
mod suballocator;
mod summary;
mod system_file;
mod target;
mod write;

pub use cli::{Cli, command, of_front_end};
pub use files::{Attributes, Bytes, Contents, DirectoryId, FileId, Files, FillError};
pub use options::{
    ClusterId, Extent, JournalOptions, Level, MountType, OptionError, Options, Purpose,
    parse_block_size, parse_cluster_size,
};
pub use plan::{Plan, PlanError};
pub use program::run;
pub use random::Random;
pub use resolve::{Facts, LABEL_BYTES, ResolveError, resolve};
pub use settings::Settings;
pub use source::Source;
pub use stack::{CLUSTER_NAME_BYTES, ClusterError, STACKS};
pub use summary::Summary;
pub use target::TargetError;
pub use write::{Progress, Stage, WriteOptions};

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run_explaining(of_front_end, ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}
