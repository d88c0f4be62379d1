//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use ocfs2_format::hash::CharSign;

/// Mount an OCFS2 volume without the kernel's driver.
///
/// The volume is a block device, an image file, a partition of one, or, with -o ro, an image that
/// o2image has made with -a. An ordinary user can mount an image of theirs; that takes fusermount3, of
/// the package fuse3. It is unmounted by umount(8) or fusermount3 -u, or by SIGTERM to this program.
///
/// As with other file systems it is mounted to be written unless -o ro is given, and nobody else may
/// use it meanwhile. The device is opened exclusively, an image is locked. A volume of a cluster on a
/// device is written only while this program holds the cluster's lock, which makes mounts by other
/// nodes wait; where the lock is not to be had, the volume is refused. What crashed nodes have left is
/// recovered first.
///
/// Changes reach the device within 5 seconds, or when a program syncs a file; each sync makes
/// everything before it permanent. The journal of slot 0 is used: after a crash or a kill of this
/// program, the next mount, by any node or this program, or fsck.ocfs2 replays it. Contents of files
/// are not journaled. umount(8) returns before everything is written: the volume is free when this
/// program has ended.
///
/// With -o ro nothing on the device is changed. What crashed nodes have left in journals is replayed
/// in memory. The volume is refused while a node uses it, or may use it: its slot map, its heartbeat
/// and the use of the device on this host are looked at. What such a node has not written yet
/// would be missing, and what it writes would appear in pieces.
///
/// A file that cannot be read because of damage gives an input/output error, and the reason is
/// logged; everything else stays readable. A directory with damage lists what can be read, and then
/// gives that error. Permissions are checked by the kernel, access control lists included. Files
/// have the numbers that OCFS2 gives them, except the root directory, which has 1. Times of access
/// are not updated. Limits of quota are kept. A file that is copied as a whole by copy_file_range(2),
/// as cp(1) does, shares its contents with the copy.
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

    /// Options, separated by commas: ro or rw; allow_other (other users may enter it; by default only for
    /// root); dev, suid, noexec; partition=NUMBER; unsafe_snapshot. Options for fstab, as _netdev
    /// and nofail, are ignored
    #[arg(short, value_name = "OPTIONS")]
    pub options: Vec<String>,

    /// Number of the partition on a disk or whole-disk image
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,

    /// Mount it although a node uses it, or may use it
    ///
    /// It is mounted read-only. What is shown may be old, and pieces of different times. Nothing is
    /// kept in the page cache.
    #[arg(long)]
    pub unsafe_snapshot: bool,

    /// Stay in the foreground, and report there what cannot be read
    #[arg(short, long)]
    pub foreground: bool,

    /// Number of threads that answer
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// How bytes from 0x80 on are hashed in indexes of directories: signed, for Linux before 6.2 on
    /// x86, or unsigned, for all others
    ///
    /// Linux from 6.12.117 and 7.3.4 on finds both. Without this option it is as in the other
    /// directories of the volume; if none shows it, as the kernel of this host does it.
    #[arg(long, value_name = "SIGN")]
    pub name_hash: Option<CharSign>,

    /// Ignore options that are not known
    #[arg(short, long)]
    pub sloppy: bool,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}
