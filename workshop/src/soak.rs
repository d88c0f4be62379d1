//! `cargo xtask soak`: damage or changes by chance, for as long as one likes.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use xtask::cargo::{self, Profile};

/// What is soaked.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum What {
    /// Damaged volumes are repaired by fsck.ocfs2
    #[default]
    Fsck,
    /// Volumes are changed beside a model in memory, and both fsck have nothing to say
    Edit,
}

/// How long, and where to start.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// What is done by chance
    #[arg(value_enum, default_value_t)]
    what: What,
    /// How long
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u64,
    /// How many cases at most
    #[arg(long, value_name = "N")]
    cases: Option<u64>,
    /// The first seed; by default another one each time
    #[arg(long, value_name = "SEED")]
    start: Option<u64>,
    /// Only these: a file with seeds, such as those a run named
    #[arg(long, value_name = "FILE")]
    seeds: Option<PathBuf>,
    /// Cases at a time; by default as many as there are processors
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Optimised, as it is installed: takes longer to build
    #[arg(long)]
    release: bool,
}

/// Runs case after case, and prints, of damage, how many ended after one run of fsck.ocfs2, after more, and
/// never, with what was left, why, and some seeds of each kind. A case that fails is printed with
/// its seed, by which it can be run again. Of changes the first case that fails ends it.
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
    // Runs that begin a second apart have no case in common.
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
