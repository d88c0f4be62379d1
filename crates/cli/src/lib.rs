//! What the OCFS2 commands share, apart from knowledge of volumes.
//!
//! A tool's `main` is one call of [`run`], which parses the command line, names the program as it
//! was called, prints the error and turns the outcome into an exit status.
//!
//! ```no_run
//! use std::io::Write;
//!
//! #[derive(clap::Parser)]
//! #[command(name = "frob.ocfs2", version)]
//! struct Cli {
//!     device: std::path::PathBuf,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| {
//!         writeln!(ocfs2_cli::Output::stdout(), "{}", ocfs2_cli::shown(&cli.device))?;
//!         Ok(ocfs2_cli::Status::SUCCESS)
//!     })
//! }
//! ```
#![deny(missing_docs)]

mod arguments;
pub mod encode;
mod interrupt;
mod journals;
mod output;
mod people;
mod program;
mod progress;
mod progress_lines;
mod prompt;
mod size;
mod span;
mod state;
mod table;

pub use arguments::{arguments, call_as, this_program};
pub use encode::{argument, shown, terminal, undo_note, volume_argument};
pub use interrupt::{Interrupt, Interrupted};
pub use journals::dirty_journals;
pub use output::{Output, OutputClosed, is_shared_output, is_terminal, print_json};
pub use people::People;
pub use program::{
    Failure, Status, causes, is_interrupted, is_output_closed, parse, print_error, print_note,
    print_warning, program_name, run, run_explaining, run_rewriting, without_error_numbers,
};
pub use progress::{Bar, NoProgress, Progress, progress};
pub use progress_lines::ProgressLines;
pub use prompt::{CannotAsk, answered, confirm, read_answer};
pub use size::{SizeError, human_size, parse_size};
pub use span::human_span;
pub use state::state_file;
pub use table::table;
