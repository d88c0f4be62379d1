//! `ocfs2`: all programs in one file, for initramfs and rescue systems.
//!
//! It is the program by whose name it is called, or that its first argument names.
#![deny(missing_docs)]

mod table;

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use ocfs2_cli::{Failure, Status, arguments, call_as, print_error, shown};

pub use table::{LINKS, PROGRAMS, Program};

/// All programs for OCFS2 volumes in one file.
///
/// A link to it under the name of a program is that program; `ocfs2 fsck -n DEVICE` is
/// `fsck.ocfs2 -n DEVICE`. `ocfs2 PROGRAM --help` describes each.
#[derive(Debug, Parser)]
#[command(name = "ocfs2", version, arg_required_else_help = true)]
#[command(
    override_usage = "ocfs2 PROGRAM [ARGUMENT...]\n       ocfs2 --list\n       ocfs2 --link DIR"
)]
pub struct Cli {
    /// List the programs
    #[arg(long, conflicts_with = "link")]
    list: bool,
    /// Make a link to this file in DIR for each program; what is there already stays
    #[arg(long, value_name = "DIR")]
    link: Option<PathBuf>,
    /// The program and its arguments
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        hide = true
    )]
    program: Vec<OsString>,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The program: from its command line to its exit status.
pub fn main() -> ExitCode {
    let args = arguments();
    let name = args.first().and_then(|path| Path::new(path).file_name());
    if let Some(program) = name.and_then(called) {
        return (program.main)();
    }
    if let Some(program) = args.get(1).and_then(|word| named(word)) {
        let name = OsString::from(program.name);
        call_as([name].into_iter().chain(args.into_iter().skip(2)).collect());
        return (program.main)();
    }
    ocfs2_cli::run(Failure::default(), |cli: Cli| run(&cli))
}

/// The program with this name or link.
fn called(name: &OsStr) -> Option<&'static Program> {
    let link = LINKS.iter().find(|(link, _)| name == *link).map(|(_, program)| OsStr::new(program));
    let name = link.unwrap_or(name);
    PROGRAMS.iter().find(|program| name == program.name)
}

/// The program that an argument names, also without `.ocfs2` or `ocfs2-`.
fn named(word: &OsStr) -> Option<&'static Program> {
    called(word).or_else(|| PROGRAMS.iter().find(|program| word == program.short()))
}

fn run(cli: &Cli) -> anyhow::Result<Status> {
    use std::io::Write;
    if let Some(folder) = &cli.link {
        return link_all(folder);
    }
    if let Some(word) = cli.program.first() {
        anyhow::bail!("{}: there is no such program; --list shows all", shown(Path::new(word)));
    }
    let mut out = ocfs2_cli::Output::stdout();
    for program in PROGRAMS {
        writeln!(out, "{}", program.name)?;
    }
    Ok(Status::SUCCESS)
}

/// Makes the links. One that exists already and is another file is reported.
fn link_all(folder: &Path) -> anyhow::Result<Status> {
    let own = std::env::current_exe()?;
    // Within one folder, links stay right if it is moved.
    let is_within = own.parent().zip(folder.canonicalize().ok()).is_some_and(|(a, b)| a == b);
    let target = own.file_name().filter(|_| is_within).map_or(own.as_path(), Path::new);
    let mut status = Status::SUCCESS;
    let names = PROGRAMS.iter().map(|program| program.name);
    for name in names.chain(LINKS.iter().map(|(link, _)| *link)) {
        let path = folder.join(name);
        if path.read_link().is_ok_and(|there| there == target) {
            continue;
        }
        if let Err(err) = symlink(target, &path) {
            print_error(&anyhow::Error::new(err).context(shown(&path)));
            status = Status::FAILURE;
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_link_and_short_name() {
        let name = |word: &str| named(OsStr::new(word)).map(|program| program.name);
        assert_eq!(name("fsck"), Some("fsck.ocfs2"));
        assert_eq!(name("fsck.ocfs2"), Some("fsck.ocfs2"));
        assert_eq!(name("fuse"), Some("ocfs2-fuse"));
        assert_eq!(name("mount.fuse.ocfs2"), Some("ocfs2-fuse"));
        assert_eq!(name("o2cb"), Some("o2cb"));
        assert_eq!(name("hb_ctl"), Some("ocfs2_hb_ctl"));
        assert_eq!(name("ocfs2"), None);
        assert!(called(OsStr::new("fsck")).is_none(), "that is the program of util-linux");
    }

    #[test]
    fn no_two_programs_have_the_same_short_name() {
        let mut names: Vec<_> = PROGRAMS.iter().map(Program::short).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROGRAMS.len());
    }
}
