//! `cargo xtask ci`: everything that must pass before a change is merged.

use anyhow::Result;
use xtask::cargo::{cargo, run};

use crate::{test, workshop};

/// Runs everything, the quick checks first.
pub fn run_all() -> Result<()> {
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run(&mut cargo(clippy))?;
    let doc = ["doc", "--quiet", "--workspace", "--no-deps"];
    run(cargo(doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    let bin_dir = test::run(&test::Options::default())?;
    workshop::run_built(&bin_dir, ["static", "--quickly"])
}
