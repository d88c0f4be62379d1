//! `cargo xtask soak`: damage by chance, for as long as one likes.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::cargo::{self, Profile};

/// How long, and where to start.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u64,
    /// The first seed; by default another one each time
    #[arg(long, value_name = "SEED")]
    start: Option<u64>,
}

/// Runs case after case. One that fails is printed with its seed, by which it can be run again:
/// `OCFS2_SEED=SEED cargo test -p ocfs2-tests --test fsck_random`.
pub fn run(options: &Options) -> Result<()> {
    let bin_dir = cargo::build_programs(Profile::Dev)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    // Runs that begin a second apart have no case in common.
    let start = options.start.unwrap_or(now << 20);
    let soak = ["test", "-p", "ocfs2-tests", "--test", "fsck_random", "--"];
    let only = ["--exact", "soak", "--ignored", "--nocapture"];
    let mut cargo = cargo::cargo(soak.iter().chain(&only));
    cargo.env("OCFS2_BIN_DIR", bin_dir);
    cargo.env("OCFS2_SOAK_SECONDS", options.seconds.to_string());
    cargo.env("OCFS2_SOAK_START", start.to_string());
    cargo::run(&mut cargo)
}
