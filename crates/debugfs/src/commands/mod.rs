//! The commands, by name.

mod bits;
mod blocks;
mod change;
mod dirs;
mod dump;
mod extents;
mod files;
mod freefrag;
mod hashes;
mod help;
mod hex;
mod icheck;
mod indexes;
mod live;
mod logs;
mod names;
mod owners;
mod print;
mod quota;
mod session;
mod table;
mod volumes;

pub use help::reference;
pub use table::COMMANDS;

use crate::error::Failure;
use crate::screen::Screen;
use crate::shell::Shell;

/// Does a command with the words after its name.
type Run = fn(&mut Shell, &[Vec<u8>], &mut Screen) -> Result<(), Failure>;

/// A command.
pub struct Command {
    /// Its name, and other names for it.
    pub names: &'static [&'static str],
    /// What it takes.
    pub arguments: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// Does it.
    pub run: Run,
}

const fn command(
    names: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    run: Run,
) -> Command {
    Command { names, arguments, help, run }
}

/// Whether what a line says asks for more lines.
pub fn asks(line: &[u8]) -> bool {
    const ASKING: [&[u8]; 4] = [b"mi", b"modify_inode", b"eo", b"extent_open"];
    crate::words::words(line).first().is_some_and(|name| ASKING.contains(&name.as_slice()))
}

/// The command of a name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.names.contains(&name))
}

/// The one word there has to be; of more the others are passed over, as the C tool does.
fn only(words: &[Vec<u8>]) -> Result<&[u8], Failure> {
    words.first().map(Vec::as_slice).ok_or(Failure::Usage)
}

/// Whether the first word is `option`, and the words after it.
fn option<'w>(words: &'w [Vec<u8>], option: &str) -> (bool, &'w [Vec<u8>]) {
    match words.split_first() {
        Some((first, rest)) if first == option.as_bytes() => (true, rest),
        _ => (false, words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_of_one_command() {
        let names: Vec<_> = COMMANDS.iter().flat_map(|command| command.names).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| other == &name).count(), 1, "{name}");
        }
        assert!(find("?").is_some() && find("remove").is_none());
    }
}
