//! `fsck.ocfs2`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ocfs2_cli::{Failure, Interrupt, Status};
use ocfs2_fsck::{Context, Found, Observer, Options, Pass, check};
use ocfs2_volume::device::{DeviceOptions, open};
use ocfs2_volume::{Volume, VolumeOptions};

/// Check an OCFS2 volume
#[derive(Debug, Parser)]
#[command(name = "fsck.ocfs2", version)]
struct Cli {
    /// The device or image
    device: PathBuf,
    /// Threads that read and decode
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

struct Printer;

impl Observer for Printer {
    fn pass(&mut self, pass: Pass, _total: u64) {
        if let Some(title) = pass.title() {
            println!("{title}");
        }
    }

    fn found(&mut self, found: Found<'_>) {
        println!(
            "[{}] {}. {}",
            found.finding.code,
            found.finding.text,
            found.finding.code.question()
        );
    }
}

fn main() -> ExitCode {
    let failure = Failure { usage: Status(16), error: Status(8) };
    ocfs2_cli::run(failure, |cli: Cli| {
        let device = open(&cli.device, &DeviceOptions::default())?;
        let volume = Volume::open(device, &VolumeOptions::default())?;
        let mut options = Options::default();
        options.threads = cli.threads.unwrap_or(options.threads);
        let interrupt = Interrupt::install()?;
        let context = Context { volume: &volume, options: &options, interrupt: &interrupt };
        let outcome = check(&context, &mut Printer)?;
        println!("{outcome:?}");
        Ok(if outcome.findings > 0 { Status(4) } else { Status::SUCCESS })
    })
}
