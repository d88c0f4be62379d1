//! The command line of a program, which may be one of several in one file.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

static CALLED: OnceLock<Vec<OsString>> = OnceLock::new();

/// The arguments; the first one is the name of the program.
pub fn arguments() -> Vec<OsString> {
    CALLED.get().cloned().unwrap_or_else(|| env::args_os().collect())
}

/// Sets what [`arguments`] returns from now on, before a program is run whose name was an argument.
pub fn call_as(arguments: Vec<OsString>) {
    // Nobody sets it twice.
    let _ = CALLED.set(arguments);
}

/// A command that runs this program again under its own name.
///
/// # Errors
/// The system does not say where it is.
pub fn this_program() -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    if let Some(name) = arguments().into_iter().next() {
        command.arg0(name);
    }
    Ok(command)
}
