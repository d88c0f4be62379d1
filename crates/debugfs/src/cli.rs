//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser};

/// Look into an OCFS2 volume, structure by structure, and change it by hand
///
/// Without -R and -f a shell is started: `help` lists its commands. Where standard input is no
/// terminal commands are read from it, one a line.
///
/// Without -w the volume is only read. No lock is taken: of one that is mounted is shown what is on
/// the disk, which may be after what the nodes see. After a crash the journals may hold something
/// newer than what is shown, which is said. Block checks that do not hold are shown, and keep nothing
/// from being shown.
///
/// With -w no other node may use the volume: the cluster's lock is taken, and heartbeat, slot map
/// and journals are looked at, again before each write. A command that changes something is one
/// transaction through a journal of the volume: interrupted, it is made as a whole or not at all.
/// What is refused changes nothing. --undo-file saves what is overwritten. Of a volume that was not
/// unmounted nothing is changed before the command jr has replayed its journals, or fsck.ocfs2.
///
/// In the shell Tab completes commands, paths, fields and structures, the arrows are a history, and
/// Ctrl-C ends a command, not the shell. The history is kept in ocfs2/debugfs_history below
/// $XDG_STATE_HOME or ~/.local/state, where only you can read it.
///
/// A file is named by its path, by //NAME if it is in the system directory, or by the number of its
/// inode between < and >. Names with blanks stand in quotes.
///
/// The exit status is 0; 1 if a command failed or the volume cannot be opened; 130 if a signal
/// ended it.
#[derive(Clone, Debug, Parser)]
#[command(name = "debugfs.ocfs2", version, args_override_self = true)]
pub struct Cli {
    /// Do one command
    #[arg(short = 'R', long, value_name = "COMMAND", conflicts_with = "file")]
    pub request: Option<OsString>,

    /// Do the commands of a file, or of standard input (-), one a line; lines that begin with # are passed over
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Print one document of JSON for each command instead of text, as docs/debugfs.schema.json has it
    #[arg(long)]
    pub json: bool,

    /// Do not show the prompt, nor commands of a file before what they say
    #[arg(short, long)]
    pub noprompt: bool,

    /// Open the volume by this backup of its superblock
    #[arg(
        short,
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(1..=6)
    )]
    pub superblock: Option<u8>,

    /// Open this partition of a disk or a disk image
    #[arg(long, value_name = "NUMBER", requires = "device")]
    pub partition: Option<u32>,

    /// Say what names of locks mean, without a volume; what is not a name is an error
    #[arg(
        short,
        long,
        value_name = "LOCK",
        num_args = 1..,
        conflicts_with_all = ["request", "file", "device", "encode"]
    )]
    pub decode: Vec<OsString>,

    /// Print the name of a lock, without a volume: its letter, the block, and the generation or,
    /// of a dentry, the directory
    #[arg(
        short,
        long,
        value_names = ["TYPE", "BLOCK", "GENERATION"],
        num_args = 3,
        conflicts_with_all = ["request", "file", "device"]
    )]
    pub encode: Vec<OsString>,

    /// Open the volume to change it, if no node uses it and all have unmounted it
    #[arg(short, long, requires = "device", conflicts_with_all = ["superblock", "image"])]
    pub write: bool,

    /// With -w: also if what says who uses the volume is damaged, and no other host can use it. Then
    /// only what --direct does is possible, and crc -r
    #[arg(short, long, requires = "write")]
    pub catastrophic: bool,

    /// Save what is overwritten to FILE, which must not exist: fsck.ocfs2 --undo=FILE puts it back
    #[arg(short = 'z', long, value_name = "FILE", requires = "write")]
    pub undo_file: Option<PathBuf>,

    /// The device is an image that o2image made of the metadata of a volume
    #[arg(short, long, requires = "device")]
    pub image: bool,

    /// As -h
    #[arg(short = '?', action = ArgAction::Help, hide = true)]
    pub question: Option<bool>,

    /// A block device or an image file, or LABEL=... or UUID=...
    pub device: Option<PathBuf>,
}

/// The command line, for manual pages and completions: with all commands of the shell.
pub fn command() -> clap::Command {
    Cli::command().after_long_help(crate::commands::reference())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn options_may_stand_behind_the_device() {
        let cli = Cli::parse_from(["x", "disk", "-n", "-R", "stat -t /"]);
        assert_eq!(cli.request.as_deref(), Some("stat -t /".as_ref()));
        assert!(cli.noprompt && cli.device.is_some());
        assert_eq!(Cli::parse_from(["x", "-e", "M", "5", "0"]).encode.len(), 3);
        assert!(Cli::try_parse_from(["x", "-s", "7", "disk"]).is_err());
    }
}
