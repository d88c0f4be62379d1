//! `o2info`: features, sizes and free room of an OCFS2 volume.
//!
//! [`answer`] gives the text of a request as the C tool's 1.8 has it, [`run`] is the program.
#![deny(missing_docs)]

mod answer;
mod cli;
mod file;
mod freefrag;
mod program;
mod source;

pub use answer::answer;
pub use cli::{Cli, Request, command};
pub use freefrag::FreeFrag;
pub use program::run;
pub use source::{Source, Traits};
