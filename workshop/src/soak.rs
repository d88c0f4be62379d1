//! `cargo xtask soak`: random damage or changes, for any length of time.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use xtask::cargo::{self, Profile};

/// What to soak.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum What {
    /// Damaged volumes are repaired by fsck.ocfs2
    #[default]
    Fsck,
    /// Volumes are changed along with a model in memory, and both fsck report nothing
    Edit,
}

/// How long to run, and where to start.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// What is done at random
    #[arg(value_enum, default_value_t)]
    what: What,
    /// How long to run, in seconds
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u64,
    /// Largest number of cases
    #[arg(long, value_name = "N")]
    cases: Option<u64>,
    /// The first seed; by default different each time
    #[arg(long, value_name = "SEED")]
    start: Option<u64>,
    /// Only the seeds in this file, such as those that a run printed
    #[arg(long, value_name = "FILE")]
    seeds: Option<PathBuf>,
    /// Number of cases at a time; by default the number of processors
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Run optimised programs, as installed: takes longer to build
    #[arg(long)]
    release: bool,
}

/// Runs case after case. For damage, prints how many cases ended after one run of fsck.ocfs2, after
/// more, and never, with what was left, why, and some seeds of each kind. A case that fails is
/// printed with its seed, by which it can be repeated. For changes, the first case that fails ends
/// the run.
pub fn run(options: &Options) -> Result<()> {
    let (program, test) = match options.what {
        What::Fsck => ("--test=fsck_random", "soak"),
        What::Edit => ("--test=edit", "soak::soak"),
    };
    let bin_dir = match options.release {
        true => cargo::build_programs(Profile::Release)?,
        false => cargo::build_with_tests(&[program])?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    // Runs that start a second apart have no case in common.
    let start = options.start.unwrap_or(now << 20);
    let soak = ["test", "--workspace", program];
    let release = options.release.then_some("--release");
    let only = ["--", "--exact", test, "--ignored", "--nocapture"];
    let mut cargo = cargo::cargo(soak.iter().chain(release.iter()).chain(&only));
    cargo.env("OCFS2_BIN_DIR", bin_dir);
    cargo.env("OCFS2_SOAK_SECONDS", options.seconds.to_string());
    cargo.env("OCFS2_SOAK_START", start.to_string());
    if let Some(cases) = options.cases {
        cargo.env("OCFS2_SOAK_CASES", cases.to_string());
    }
    if let Some(threads) = options.threads {
        cargo.env("OCFS2_SOAK_THREADS", threads.to_string());
    }
    if let Some(path) = &options.seeds {
        let seeds = fs::read_to_string(path);
        let seeds = seeds.with_context(|| format!("cannot read {}", path.display()))?;
        cargo.env("OCFS2_SOAK_SEEDS", seeds);
    }
    cargo::run(&mut cargo)
}
