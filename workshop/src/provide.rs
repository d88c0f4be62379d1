//! What `cargo xtask test` runs first: installs packages and kernels for the tests.

use anyhow::Result;

use crate::{apt, kernel};

/// What may be installed.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Install nothing, only report what is skipped because a package is missing
    #[arg(long)]
    no_install: bool,
}

/// Installs packages and gets kernels if that is allowed, and reports what is skipped.
///
/// # Errors
/// Under `CI=true`, if anything is skipped.
pub fn run(options: &Options) -> Result<()> {
    if options.no_install {
        return apt::report();
    }
    apt::provide()?;
    kernel::prepare()
}
