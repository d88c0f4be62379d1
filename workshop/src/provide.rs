//! What `cargo xtask test` runs first: what the tests need of the system.

use anyhow::Result;

use crate::{apt, kernel};

/// What may be done about it.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Install nothing, only say what is left out for want of a package
    #[arg(long)]
    no_install: bool,
}

/// Installs packages and gets kernels where that may be done, and says what is left out.
///
/// # Errors
/// Under `CI=true`, if anything is left out.
pub fn run(options: &Options) -> Result<()> {
    if options.no_install {
        return apt::report();
    }
    apt::provide()?;
    kernel::prepare()
}
