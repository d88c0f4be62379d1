//! `cargo xtask bench`: our programs beside the C ocfs2-tools, in the same run.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ocfs2_cli::human_size;
use ocfs2_testing::{Scratch, allocated_bytes, c_tool};

use crate::cargo::{self, Profile};
use crate::measure::{self, Cost};

/// What to measure, and where to put it.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Runs of each work, of which the median is shown; of the largest there is a single one
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Also write the result to docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

/// A file system to be made on a sparse image of this size.
struct Work {
    title: &'static str,
    size_bytes: u64,
    /// Whether the C tool takes minutes for it.
    once: bool,
}

const WORKS: [Work; 2] = [
    Work { title: "4293562368 bytes", size_bytes: 4_293_562_368, once: false },
    // As large as a file on ext4 can be.
    Work { title: "16 TiB - 4 KiB", size_bytes: (16 << 40) - 4096, once: true },
];

const ARGS: [&str; 5] = ["-q", "-N", "4", "-L", "/OVS"];

/// Measures, prints a table, writes it.
pub fn run(options: &Options) -> Result<()> {
    let ours = cargo::build_programs(Profile::Release)?.join("mkfs-ocfs2");
    let theirs = c_tool("mkfs.ocfs2").context("there is no C mkfs.ocfs2 to compare with")?;

    let mut text = heading(options)?;
    for work in &WORKS {
        let runs = if work.once { 1 } else { options.runs.max(1) };
        eprintln!("mkfs.ocfs2 of {}, {runs} x", work.title);
        let mut rows = vec![Row::new("ours", &ours), Row::new("C 1.8", &theirs)];
        // By turns, so that what else the machine does hits both.
        for _ in 0..runs {
            rows.iter_mut().try_for_each(|row| row.run(work.size_bytes))?;
        }
        let _ = write!(text, "\n## mkfs.ocfs2 {}, {}\n\n", ARGS.join(" "), work.title);
        text.push_str(if runs == 1 { "One run.\n\n" } else { "" });
        text.push_str(&table(&rows));
    }
    print!("{text}");
    if options.write {
        fs::write(cargo::root().join("docs/benchmarks.md"), text)?;
    }
    Ok(())
}

/// One program and what its runs cost.
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

    fn run(&mut self, size_bytes: u64) -> Result<()> {
        let scratch = Scratch::new();
        let image = scratch.join("disk.img");
        File::create_new(&image)?.set_len(size_bytes).context("a sparse image of this size")?;
        self.costs.push(measure::measure(Command::new(&self.program).args(ARGS).arg(&image))?);
        self.allocated_bytes = allocated_bytes(&image);
        Ok(())
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | wall | CPU | peak memory | reads | read | writes | written | image allocates |\n\
         |-|-:|-:|-:|-:|-:|-:|-:|-:|\n",
    );
    for row in rows {
        let Cost { wall, cpu, peak_rss_bytes, reads, read_bytes, writes, written_bytes } =
            measure::median(&row.costs);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {reads} | {} | {writes} | {} | {} |",
            row.name,
            seconds(wall),
            seconds(cpu),
            human_size(peak_rss_bytes),
            human_size(read_bytes),
            human_size(written_bytes),
            human_size(row.allocated_bytes),
        );
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
        "# Benchmarks\n\
         \n\
         Written by `cargo xtask bench --write --runs {runs}`: medians of {runs} runs by turns, each \
         on a\nnew sparse image, both programs in the same run. Linux {kernel}, {cores} cores ({cpu}),\n\
         {memory} of memory, load {load} before the start.\n\
         \n\
         CPU is user and system time. Reads and writes are system calls and the bytes they\n\
         moved (`/proc/PID/io`), loading the program included; zeros made by `fallocate` are\n\
         not among them. Peak memory is the kernel's count (`wait4`), which shows {floor} for a\n\
         program that needs next to none.\n"
    ))
}

/// What stands behind `name` and a colon.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}
