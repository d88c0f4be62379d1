//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

/// Mount an OCFS2 volume without the kernel's driver, read-only.
///
/// The volume is a block device, an image file, a partition of one, or an image that o2image has
/// made with -a. An ordinary user can mount an image of theirs; that takes fusermount3, of the
/// package fuse3. It is unmounted by umount(8) or fusermount3 -u, or by SIGTERM to this program.
///
/// Nothing on the device is changed. What crashed nodes have left in journals is replayed in
/// memory. The volume is refused while a node uses it, or may use it: its slot map, its heartbeat
/// and the use of the device on this host are looked at. What such a node has not written yet
/// would be missing, and what it writes would appear in pieces.
///
/// A file that cannot be read because of damage gives an input/output error, and the reason is
/// logged; everything else stays readable. A directory with damage lists what can be read, and then
/// gives that error. Permissions are checked by the kernel, access control lists included. Files
/// have the numbers that OCFS2 gives them, except the root directory, which has 1.
///
/// As mount.fuse.ocfs2 it is called by mount(8) for `mount -t fuse.ocfs2`, and from fstab.
///
/// The exit status is 0, 1 for an invalid call, and 32 if the volume could not be mounted.
#[derive(Clone, Debug, Parser)]
#[command(name = "ocfs2-fuse", version, arg_required_else_help = true)]
pub struct Cli {
    /// Block device or image file, or LABEL=... or UUID=... of the volume
    #[arg(value_name = "DEVICE")]
    pub device: PathBuf,

    /// The directory to mount it on
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,

    /// Options, separated by commas: ro; allow_other (other users may enter it; by default only for
    /// root); dev, suid, noexec; partition=NUMBER; unsafe_snapshot. Options for fstab, as _netdev
    /// and nofail, are ignored
    #[arg(short, value_name = "OPTIONS")]
    pub options: Vec<String>,

    /// Number of the partition on a disk or whole-disk image
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,

    /// Mount it although a node uses it, or may use it
    ///
    /// What is shown may be old, and pieces of different times. Nothing is kept in the page cache.
    #[arg(long)]
    pub unsafe_snapshot: bool,

    /// Stay in the foreground, and report there what cannot be read
    #[arg(short, long)]
    pub foreground: bool,

    /// Number of threads that answer
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Ignore options that are not known
    #[arg(short, long)]
    pub sloppy: bool,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}
