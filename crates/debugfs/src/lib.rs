//! `debugfs.ocfs2`: look into an OCFS2 volume, structure by structure, and change it by hand.
//!
//! [`Shell`] does commands, structures are shown as the text of the C tool's 1.8 or as JSON, [`run`]
//! is the program. Block checks are shown and keep nothing from being shown. What changes a volume
//! is one transaction a command.
#![deny(missing_docs)]

mod cli;
mod commands;
mod complete;
mod error;
mod line;
mod live;
mod lock;
mod owned;
mod past;
mod paths;
mod program;
mod record;
mod screen;
mod shell;
mod show;
mod volume;
mod words;
mod writer;

pub use cli::{Cli, command};
pub use error::{Failure, Problem};
pub use lock::Lock;
pub use program::run;
pub use screen::Screen;
pub use shell::{Done, OpenOptions, Shell};
