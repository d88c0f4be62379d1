//! From the command line to the exit status.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{Interrupted, Output, OutputClosed, arguments, terminal};

/// The exit status of a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status(pub u8);

impl Status {
    /// The work was done.
    pub const SUCCESS: Self = Self(0);
    /// The work failed or was refused.
    pub const FAILURE: Self = Self(1);
    /// A signal ended the work, as shells report it for SIGINT.
    pub const INTERRUPTED: Self = Self(130);
    /// Standard output was closed early. Shells report this status for a program killed by SIGPIPE.
    pub const OUTPUT_CLOSED: Self = Self(141);
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.0)
    }
}

/// The exit statuses for failures. By default both are 1, and an interrupt is
/// [`Status::INTERRUPTED`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The command line is invalid. Never clap's 2, which means something else to callers of file
    /// system tools.
    pub usage: Status,
    /// The program failed with an error.
    pub error: Status,
}

impl Default for Failure {
    fn default() -> Self {
        Self { usage: Status::FAILURE, error: Status::FAILURE }
    }
}

/// A complete `main`: parses the command line, calls `program`, prints its error in the form
/// `mkfs.ocfs2: disk.img: cause` and returns the exit status.
///
/// If the reader of standard output has exited ([`crate::Output`]), the error is not printed and
/// the status is [`Status::OUTPUT_CLOSED`].
pub fn run<P: clap::Parser>(
    failure: Failure,
    program: impl FnOnce(P) -> anyhow::Result<Status>,
) -> ExitCode {
    run_explaining(|_| None, failure, program)
}

/// Like [`run`], but `explain` can provide the message for an unknown option.
pub fn run_explaining<P: clap::Parser>(
    explain: impl FnOnce(&str) -> Option<String>,
    failure: Failure,
    program: impl FnOnce(P) -> anyhow::Result<Status>,
) -> ExitCode {
    run_on(arguments(), explain, failure, program)
}

/// Like [`run`], but parses the arguments that `rewrite` returns, for syntax that clap does not
/// support. The first argument is the name of the program.
pub fn run_rewriting<P: clap::Parser>(
    rewrite: impl FnOnce(Vec<OsString>) -> Vec<OsString>,
    failure: Failure,
    program: impl FnOnce(P) -> anyhow::Result<Status>,
) -> ExitCode {
    run_on(rewrite(arguments()), |_| None, failure, program)
}

fn run_on<P: clap::Parser>(
    args: Vec<OsString>,
    explain: impl FnOnce(&str) -> Option<String>,
    failure: Failure,
    program: impl FnOnce(P) -> anyhow::Result<Status>,
) -> ExitCode {
    let status = parse_args(args, explain, failure).and_then(|cli| {
        program(cli).map_err(|err| {
            if is_output_closed(&err) {
                return Status::OUTPUT_CLOSED;
            }
            print_error(&err);
            let is_default = failure.error == Status::FAILURE;
            if is_default && is_interrupted(&err) { Status::INTERRUPTED } else { failure.error }
        })
    });
    status.unwrap_or_else(|status| status).into()
}

/// Whether the cause of an error is that the reader of standard output has exited.
pub fn is_output_closed(err: &anyhow::Error) -> bool {
    err.chain().any(|cause| cause.is::<OutputClosed>() || wraps_output_closed(cause))
}

/// Whether the cause of an error is a signal.
pub fn is_interrupted(err: &anyhow::Error) -> bool {
    err.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause.is::<Interrupted>() || io.is_some_and(|inner| inner.is::<Interrupted>())
    })
}

/// Parses the command line. Prints the messages of clap and returns them as a status, which is
/// success for `--help` and `--version`.
///
/// # Errors
/// The status to exit with.
pub fn parse<P: clap::Parser>(failure: Failure) -> Result<P, Status> {
    parse_args(arguments(), |_| None, failure)
}

fn parse_args<P: clap::Parser>(
    args: Vec<OsString>,
    explain: impl FnOnce(&str) -> Option<String>,
    failure: Failure,
) -> Result<P, Status> {
    P::try_parse_from(&args).map_err(|err| {
        let err = printable::<P>(err, args);
        if !err.use_stderr() {
            let _ = err.print();
            return Status::SUCCESS;
        }
        if err.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            // This is the help alone, without a message.
            let _ = err.print();
            return failure.usage;
        }
        if let Some(explained) = unknown_option(&err).and_then(|option| explain(&option)) {
            print_note(explained);
            return failure.usage;
        }
        let text = without_escape_tip(&err.render().to_string());
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let _ = write!(Output::stderr(), "{}: {text}", program_name());
        failure.usage
    })
}

/// The unknown option that `err` reports, as it was given.
fn unknown_option(err: &clap::Error) -> Option<String> {
    match err.get(ContextKind::InvalidArg).filter(|_| err.kind() == ErrorKind::UnknownArgument)? {
        ContextValue::String(option) => Some(option.clone()),
        _ => None,
    }
}

/// Removes clap's tip on how to pass a value that looks like an option: a mistyped option is not
/// meant as a value.
fn without_escape_tip(text: &str) -> String {
    let Some(at) = text.find("  tip: to pass ") else { return text.to_owned() };
    let (before, tip) = text.split_at(at);
    let after = tip.split_once('\n').map_or("", |(_, after)| after);
    before.trim_end_matches('\n').to_owned() + "\n" + after
}

/// Recreates the error from encoded arguments, so that text it quotes cannot start a line.
fn printable<P: clap::Parser>(err: clap::Error, args: Vec<OsString>) -> clap::Error {
    let encoded = |arg: OsString| OsString::from(terminal(arg.as_bytes()));
    let is_unsafe = |arg: &OsStr| terminal(arg.as_bytes()).as_bytes() != arg.as_bytes();
    if !args.iter().any(|arg| is_unsafe(arg)) {
        return err;
    }
    P::try_parse_from(args.into_iter().map(encoded)).err().unwrap_or(err)
}

/// The text of an error followed by its causes, without those that the text already ends with,
/// without a subject that the next cause names again, and without the numbers of system errors.
pub fn causes(err: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for cause in err.chain().map(ToString::to_string) {
        if text.ends_with(&cause) {
            continue;
        }
        let is_same = !last.is_empty() && cause.starts_with(&format!("{last}: "));
        if is_same && text.ends_with(&last) {
            text.truncate(text.len() - last.len());
        } else if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
        last = cause;
    }
    without_error_numbers(&text)
}

/// A text without the numbers that Rust appends to the errors of the system, ` (os error 2)`.
pub fn without_error_numbers(text: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut parts = text.split(NUMBER);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        match rest.strip_prefix(')').filter(|_| rest.len() < part.len()) {
            Some(rest) => plain.push_str(rest),
            None => plain.extend([NUMBER, part]),
        }
    }
    plain
}

/// The name by which the program was called, without folders.
pub fn program_name() -> String {
    let called = arguments().into_iter().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or(&called);
    terminal(name.as_bytes())
}

/// Prints an error with its causes to standard error, in one line after the program's name.
pub fn print_error(err: &anyhow::Error) {
    print_note(causes(err));
}

/// Prints a warning to standard error, in one line after the program's name.
pub fn print_warning(warning: impl std::fmt::Display) {
    print_note(format_args!("warning: {warning}"));
}

/// Prints a text to standard error, in one line after the program's name.
pub fn print_note(note: impl std::fmt::Display) {
    let line = terminal(without_error_numbers(&note.to_string()));
    // If standard error is closed, there is nobody to tell.
    let _ = writeln!(Output::stderr(), "{}: {line}", program_name());
}

fn wraps_output_closed(cause: &(dyn std::error::Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<OutputClosed>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_named_without_a_tip_about_values() {
        let command = || clap::Command::new("x").arg(clap::Arg::new("device"));
        let told = |args: &[&str]| {
            let err = command().try_get_matches_from(args).unwrap_err();
            (unknown_option(&err), without_escape_tip(&err.render().to_string()))
        };
        let (option, text) = told(&["x", "-L", "new", "disk"]);
        assert_eq!(option.as_deref(), Some("-L"));
        assert!(text.starts_with("error: unexpected argument '-L' found\n\nUsage:"), "{text}");
        assert_eq!(told(&["x", "--label=new"]).0.as_deref(), Some("--label"));
        assert_eq!(told(&["x", "-Lnew"]).0.as_deref(), Some("-L"));
    }

    #[test]
    fn a_cause_that_an_error_names_itself_is_not_named_twice() {
        let full = anyhow::anyhow!("no space").context("not written: no space").context("disk.img");
        assert_eq!(causes(&full), "disk.img: not written: no space");
        assert_eq!(causes(&anyhow::anyhow!("one").context("other")), "other: one");
        let twice = anyhow::anyhow!("disk.img: permission denied").context("disk.img");
        assert_eq!(causes(&twice), "disk.img: permission denied");
        let other = anyhow::anyhow!("a.img: no").context("img").context("not written");
        assert_eq!(causes(&other), "not written: img: a.img: no");
    }

    #[test]
    fn the_number_of_a_system_error_is_for_nobody() {
        for (text, plain) in [
            ("No such file or directory (os error 2)", "No such file or directory"),
            ("a (os error 2); b (os error 13): c", "a; b: c"),
            ("a (os error x), (os error )", "a (os error x), (os error )"),
            ("", ""),
        ] {
            assert_eq!(without_error_numbers(text), plain);
        }
    }
}
