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
mod heartbeat;
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
mod rdump;
mod session;
mod table;
mod volumes;

pub use help::reference;
pub use table::COMMANDS;

use crate::error::Failure;
use crate::screen::Screen;
use crate::shell::Shell;

/// Runs a command with the words after its name.
type Run = fn(&mut Shell, &[Vec<u8>], &mut Screen) -> Result<(), Failure>;

/// A command.
pub struct Command {
    /// Its name, and its other names.
    pub names: &'static [&'static str],
    /// Its arguments, as shown in the help.
    pub arguments: &'static str,
    /// What it does, as shown in the help.
    pub help: &'static str,
    /// Runs it.
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

/// Whether the command of a line asks for more lines.
pub fn asks(line: &[u8]) -> bool {
    const ASKING: [&[u8]; 4] = [b"mi", b"modify_inode", b"eo", b"extent_open"];
    crate::words::words(line).first().is_some_and(|name| ASKING.contains(&name.as_slice()))
}

/// Names in e2fsprogs that are longer than ours, with ours.
const FROM_E2FSPROGS: [(&str, &str); 17] = [
    ("show_super_stats", "stats"),
    ("show_inode_info", "stat"),
    ("list_directory", "ls"),
    ("change_working_directory", "cd"),
    ("change_root_directory", "chroot"),
    ("print_working_directory", "pwd"),
    ("open_filesys", "open"),
    ("close_filesys", "close"),
    ("link", "ln"),
    ("clear_inode", "clri"),
    ("find_free_block", "ffb"),
    ("find_free_inode", "ffi"),
    ("list_deleted_inodes", "lsdel"),
    ("dump_inode", "dump"),
    ("show_debugfs_params", "params"),
    ("list_requests", "help"),
    ("lr", "help"),
];

/// Names of the command that leaves the shell.
pub const QUIT: [&str; 3] = ["quit", "q", "exit"];

/// Finds a command by name.
pub fn find(name: &str) -> Option<&'static Command> {
    let known = FROM_E2FSPROGS.iter().find(|(longer, _)| *longer == name);
    let name = known.map_or(name, |(_, name)| name);
    COMMANDS.iter().find(|command| command.names.contains(&name))
}

/// The name of a command that is closest to one that is not known.
pub fn closest(name: &str) -> Option<&'static str> {
    /// From 0 to 1; less is another word.
    const ALIKE: f64 = 0.8;
    let names = COMMANDS.iter().flat_map(|command| command.names).copied();
    let rated = names.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = rated.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(rate, _)| *rate > ALIKE).map(|(_, known)| known)
}

/// The first word, which is required. Further ones are ignored, as in the C tool.
fn only(words: &[Vec<u8>]) -> Result<&[u8], Failure> {
    words.first().map(Vec::as_slice).ok_or(Failure::Usage)
}

/// Whether the first word is `option`, and the words after it if so.
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
        for (longer, name) in FROM_E2FSPROGS {
            assert!(!names.contains(&&longer) && names.contains(&&name), "{longer}");
        }
        assert_eq!((closest("findpaht"), closest("xyzzy")), (Some("findpath"), None));
    }
}
