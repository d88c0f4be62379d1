//! Runs on a mounted volume, inside a virtual machine: fills it with files of every kind, and
//! describes what is there. One program does both, because starting a hundred small ones is what
//! takes time on an emulated processor.

mod calls;
mod describe;
mod fill;
mod large;
mod work;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage:
  volume-contents fill FOLDER CLUSTER_SIZE KIND[=COUNT]...
  volume-contents work FOLDER
  volume-contents share ORIGIN COPY
  volume-contents orphan FOLDER
  volume-contents aged FOLDER FILES
  volume-contents disk FOLDER GIB
  volume-contents calls FOLDER CLUSTER_SIZE MORE_CLUSTERS
  volume-contents describe FOLDER
  volume-contents manifest FOLDER PREFIX";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("volume-contents: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    match args {
        ["fill", folder, cluster_size, kinds @ ..] => {
            let cluster_size = cluster_size.parse().context("CLUSTER_SIZE")?;
            fill::fill(Path::new(folder), cluster_size, kinds)
        }
        ["work", folder] => work::work(Path::new(folder)),
        ["share", origin, copy] => {
            fill::share(&std::fs::File::open(origin)?, Path::new(copy)).map(drop)
        }
        ["orphan", folder] => work::orphan(Path::new(folder)),
        ["aged", folder, files] => large::aged(Path::new(folder), files.parse().context("FILES")?),
        ["disk", folder, gib] => large::disk(Path::new(folder), gib.parse().context("GIB")?),
        ["calls", folder, cluster_size, clusters] => {
            let cluster_size = cluster_size.parse().context("CLUSTER_SIZE")?;
            calls::all(Path::new(folder), cluster_size, clusters.parse().context("MORE_CLUSTERS")?)
        }
        ["describe", folder] => describe::print(Path::new(folder)),
        ["manifest", folder, prefix] => describe::write(Path::new(folder), prefix),
        _ => bail!("{USAGE}"),
    }
}
