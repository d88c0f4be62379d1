//! `cargo xtask bench`: our programs compared with the C ocfs2-tools, in the same run.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use ocfs2_cli::human_size;
use ocfs2_testing::c_tool;

use crate::measure::{self, Cost};
use xtask::cargo::{self, Profile};

mod by_kernel;
mod defragfs;
mod fast;
mod fsck;
mod fuse;
mod mkfs;
mod o2image;
pub mod raw;
mod repair;
mod san;
mod shown;
mod survey;
mod tunefs;
mod volumes;

/// What to measure, and where to write the result.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Number of runs, of which the median is shown; slow programs run only once on the largest
    /// volumes
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Also write the result to docs/benchmarks.md; the parts that were not measured stay
    #[arg(long)]
    write: bool,
    /// Only make the volumes that fsck.ocfs2 is measured on and keep them in target/bench
    #[arg(long)]
    prepare: bool,
    /// Measure only this program
    #[arg(value_enum)]
    only: Option<Program>,
}

/// A program or a case that can be measured.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
enum Program {
    Mkfs,
    Fsck,
    /// Repairs by fsck.ocfs2
    Repair,
    /// fsck.ocfs2 on a disk in memory
    Fast,
    /// fsck.ocfs2 where each read takes a millisecond
    San,
    /// The search of a device without a superblock, by fsck.ocfs2
    Survey,
    /// o2image
    O2image,
    /// tunefs.ocfs2
    Tunefs,
    /// defragfs.ocfs2 --offline
    Defragfs,
    /// ocfs2-fuse
    Fuse,
}

impl Program {
    /// Returns the title of its part of the file.
    fn title(self) -> &'static str {
        match self {
            Self::Mkfs => "# Benchmarks of mkfs.ocfs2\n",
            Self::Fsck => "# Benchmarks of fsck.ocfs2\n",
            Self::Repair => "# Benchmarks of repairs by fsck.ocfs2\n",
            Self::Fast => "# Benchmarks of fsck.ocfs2 on a fast disk\n",
            Self::San => "# Benchmarks of fsck.ocfs2 on a slow SAN\n",
            Self::Survey => "# Benchmarks of the search for lost volumes\n",
            Self::O2image => "# Benchmarks of o2image\n",
            Self::Tunefs => "# Benchmarks of tunefs.ocfs2\n",
            Self::Defragfs => "# Benchmarks of defragfs.ocfs2\n",
            Self::Fuse => "# Benchmarks of ocfs2-fuse\n",
        }
    }
}

/// Measures, prints tables and writes them.
pub fn run(options: &Options) -> Result<()> {
    let folder = cargo::build_programs(Profile::Release)?;
    if options.prepare {
        return fsck::prepare_all(&folder);
    }
    for program in Program::value_variants().iter().copied() {
        if options.only.is_some_and(|only| only != program) {
            continue;
        }
        let mut part = format!("{}{}", program.title(), heading(options)?);
        match program {
            Program::Mkfs => mkfs::run(options, &folder, &mut part)?,
            Program::Fsck => fsck::run(options, &folder, &mut part)?,
            Program::Repair => repair::run(options, &folder, &mut part)?,
            Program::Fast => fast::run(options, &folder, &mut part)?,
            Program::San => san::run(options, &folder, &mut part)?,
            Program::Survey => survey::run(options, &folder, &mut part)?,
            Program::O2image => o2image::run(options, &folder, &mut part)?,
            Program::Tunefs => tunefs::run(options, &folder, &mut part)?,
            Program::Defragfs => defragfs::run(options, &folder, &mut part)?,
            Program::Fuse => fuse::run(options, &folder, &mut part)?,
        }
        print!("{part}");
        if options.write {
            let file = cargo::root().join("docs/benchmarks.md");
            let old = fs::read_to_string(&file)?;
            fs::write(file, with_part(&old, program.title(), &part))?;
        }
    }
    Ok(())
}

/// Returns `text` with `part` in place of the part of that title, or after all others.
fn with_part(text: &str, title: &str, part: &str) -> String {
    let Some(start) = text.find(title) else { return format!("{text}\n{part}") };
    let rest = &text[start + title.len()..];
    match rest.find("\n# ") {
        Some(end) => format!("{}{part}{}", &text[..start], &rest[end..]),
        None => format!("{}{part}", &text[..start]),
    }
}

/// Returns ours in `folder` and the C one of that name.
fn programs(folder: &Path, name: &str) -> Result<[Row; 2]> {
    let ours = folder.join(name.replace('.', "-"));
    let theirs = c_tool(name).with_context(|| format!("there is no C {name} to compare with"))?;
    Ok([Row::new("ours", &ours), Row::new("C 1.8", &theirs)])
}

/// One program and the costs of its runs.
struct Row {
    name: &'static str,
    program: PathBuf,
    costs: Vec<Cost>,
    allocated_bytes: u64,
}

impl Row {
    fn new(name: &'static str, program: &Path) -> Self {
        Self { name, program: program.to_owned(), costs: Vec::new(), allocated_bytes: 0 }
    }

    fn run(&mut self, change: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
        self.costs.push(measure::measure(change(&mut Command::new(&self.program)))?);
        Ok(())
    }

    fn run_to(&mut self, statuses: &[i32], arguments: &[&OsStr]) -> Result<()> {
        let mut command = Command::new(&self.program);
        self.costs.push(measure::measure_of(command.args(arguments), statuses)?);
        Ok(())
    }
}

fn table(rows: &[Row]) -> String {
    // Only a program that makes an image allocates space in it.
    let makes = rows.iter().any(|row| row.allocated_bytes > 0);
    let (title, line) = if makes { (" image allocates |", "-:|") } else { ("", "") };
    let mut text = format!(
        "| | wall | CPU | peak memory | reads | read | writes | written |{title}\n\
         |-|-:|-:|-:|-:|-:|-:|-:|{line}\n",
    );
    for row in rows {
        let Cost { wall, cpu, peak_rss_bytes, reads, read_bytes, writes, written_bytes } =
            measure::median(&row.costs);
        let _ = write!(
            text,
            "| {} | {} | {} | {} | {reads} | {} | {writes} | {} |",
            row.name,
            seconds(wall),
            seconds(cpu),
            human_size(peak_rss_bytes),
            human_size(read_bytes),
            human_size(written_bytes),
        );
        if makes {
            let _ = write!(text, " {} |", human_size(row.allocated_bytes));
        }
        text.push('\n');
    }
    text
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.3} s") } else { format!("{seconds:.1} s") }
}

fn heading(options: &Options) -> Result<String> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
        .map_or_else(|| "unknown".to_owned(), |kib| human_size(kib * 1024));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let floor = human_size(measure::floor()?);
    let (kernel, runs) = (kernel.trim(), options.runs);
    Ok(format!(
        "\n\
         Written by `cargo xtask bench --write --runs {runs}`. The figures are medians of {runs} runs,\n\
         in which the programs took turns. Linux {kernel}, {cores} cores ({cpu}),\n\
         {memory} of memory, load {load} before the start.\n\
         \n\
         CPU is user and system time. Reads and writes are system calls and the bytes they\n\
         moved (`/proc/PID/io`), including those that load the program, but not zeros made by\n\
         `fallocate`. Peak memory is the kernel's count (`wait4`); a program that needs next to\n\
         none shows {floor}.\n"
    ))
}

/// Returns what follows `name` and a colon.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_the_others_stay() {
        let (mkfs, fsck) = (Program::Mkfs.title(), Program::Fsck.title());
        let text = with_part("# A\n", mkfs, &format!("{mkfs}one\n"));
        let text = with_part(&text, fsck, &format!("{fsck}two\n"));
        assert_eq!(text, format!("# A\n\n{mkfs}one\n\n{fsck}two\n"));
        let text = with_part(&text, mkfs, &format!("{mkfs}three\n"));
        assert_eq!(text, format!("# A\n\n{mkfs}three\n\n{fsck}two\n"));
    }
}
