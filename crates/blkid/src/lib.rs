//! `blkid.ocfs2`: the contents of block devices and disk images, in the form of util-linux's blkid.
//!
//! [`survey`] examines devices, [`print`](fn@print) prints the results; [`run`] is the program.
#![deny(missing_docs)]

mod cli;
mod entry;
mod json;
mod limits;
mod print;
mod survey;

use std::io::Write;

use anyhow::{Context, bail};
use ocfs2_cli::{Output, Status, print_error};

pub use cli::{Cli, Format, command};
pub use entry::{Entry, Value};
pub use print::{PrintOptions, print};
pub use survey::{Survey, SurveyOptions, survey};

/// Nothing was found, or no device could be opened.
pub const NOT_FOUND: Status = Status(2);
/// The command line was invalid, or something failed.
pub const USAGE: Status = Status(4);
/// More than one thing is on a device, and these cannot share it.
pub const AMBIVALENT: Status = Status(8);

/// The program: prints what `cli` asks for.
///
/// # Errors
/// If options contradict each other, or standard output cannot be written.
pub fn run(cli: &Cli) -> anyhow::Result<Status> {
    let mut out = Output::stdout();
    if cli.list_filesystems {
        for name in ocfs2_probe::types() {
            writeln!(out, "{name}")?;
        }
        return Ok(Status::SUCCESS);
    }
    if cli.garbage_collect {
        // There is no cache to collect garbage from.
        return Ok(Status::SUCCESS);
    }
    check(cli)?;
    let found = survey(&cli.survey_options()?).context("/proc/partitions")?;
    let asked_for = !cli.devices.is_empty();
    for error in found.errors.iter().filter(|_| cli.verbose || asked_for) {
        print_error(error);
    }
    let options = cli.print_options();
    if options.format != Format::Udev && options.format != Format::Json && cli.is_low_level() {
        for entry in found.entries.iter().filter(|entry| entry.is_ambivalent()) {
            let kinds: Vec<_> = entry.found.iter().map(ToString::to_string).collect();
            print_error(&anyhow::anyhow!(
                "{}: ambivalent result: {} (wipefs(8) shows and erases signatures)",
                entry.name,
                kinds.join("; ")
            ));
        }
    }
    print(&mut out, &found.entries, &options)?;
    out.flush()?;
    Ok(status(cli, &found))
}

/// Rejects combinations of options that clap cannot express.
fn check(cli: &Cli) -> anyhow::Result<()> {
    if cli.is_low_level() && cli.devices.is_empty() {
        bail!("the low-level probing mode requires a device");
    }
    if cli.is_low_level() && cli.output == Format::List {
        bail!("the low-level probing mode does not support the output format 'list'");
    }
    if cli.list_one && cli.match_token.is_none() {
        bail!("-l requires what to look for with -t");
    }
    Ok(())
}

fn status(cli: &Cli, survey: &Survey) -> Status {
    let entries = &survey.entries;
    if cli.is_low_level() {
        if entries.iter().any(Entry::is_ambivalent) {
            return AMBIVALENT;
        }
        let all = survey.empty == 0 && !entries.is_empty();
        return if all { Status::SUCCESS } else { NOT_FOUND };
    }
    if entries.is_empty() { NOT_FOUND } else { Status::SUCCESS }
}

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    let failure = ocfs2_cli::Failure { usage: USAGE, error: USAGE };
    ocfs2_cli::run(failure, |cli: Cli| run(&cli))
}
