//! The command line.

use std::path::PathBuf;

use clap::Parser;
use ocfs2_cli::parse_size;

/// Make files of an OCFS2 volume contiguous
///
/// TARGET is a file, a folder, or a device that is mounted on this host. Of a folder, all files below
/// it are meant that are on the same volume; symbolic links are not followed, and lost+found is left
/// out. A device stands for the folder where it is mounted.
///
/// The kernel moves pieces that are shorter than --threshold and lie next to each other in a file to
/// one place. The file stays in use meanwhile, but other nodes wait for it: for at most 64 MiB at a
/// time. Files without such pieces are only looked at. Contents that files share by reflink stay where
/// they are unless --shared is given, since moving them ends the sharing.
///
/// With --offline, the first TARGET is a device or an image that nobody has mounted, and the others are
/// paths of files and folders in it; without them, all are meant. This program then moves the pieces
/// itself, of files and of directories, until each is in as few as possible. What it moves is copied to
/// free clusters first; then one transaction of a journal makes the file point there. So the volume is
/// sound at any moment, and after a power loss fsck.ocfs2 replays the journal. Unwritten clusters stay
/// unwritten and holes stay holes; contents that files share stay where they are. If a file finds no
/// room although enough is free, free space is put together first. The volume has to be sound and
/// unmounted cleanly.
///
/// The exit status is 0 if every file is as contiguous as free space allows, 1 if a file could not be
/// read or moved or the command line is wrong, and 130 after an interrupt. What was moved until then
/// stays; --resume goes on from there, or with --offline the same command.
#[derive(Clone, Debug, Parser)]
#[command(name = "defragfs.ocfs2", version)]
pub struct Cli {
    /// Only show how many files have pieces to be put together, how many pieces the files have, and
    /// which files have most
    #[arg(short, long, conflicts_with = "dry_run")]
    pub count: bool,

    /// Show what would be done, and move nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Print a line per file: how many pieces it has and had
    #[arg(short, long)]
    pub verbose: bool,

    /// Rest after each move for as long as it took
    #[arg(short, long)]
    pub low_io: bool,

    /// Go on where the last run was interrupted, with its targets and options
    #[arg(short = 'g', long, conflicts_with_all = ["targets", "count", "dry_run"])]
    pub resume: bool,

    /// Pieces of at least this size stay where they are
    #[arg(short, long, value_name = "SIZE", default_value = "1M", value_parser = threshold)]
    pub threshold: u64,

    /// Also move contents that other files share, which gives the file its own copy of them
    #[arg(long)]
    pub shared: bool,

    /// Move this many files at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(Cli::MOST_THREADS)))]
    pub threads: u8,

    /// Move what lies in pieces on a device or image that is not mounted
    #[arg(long, conflicts_with_all = ["low_io", "resume", "threshold", "shared", "threads"])]
    pub offline: bool,

    /// Put free space together, too: what is at the end of the volume moves to free runs before it that
    /// have room for it
    #[arg(long, requires = "offline", conflicts_with = "count")]
    pub pack: bool,

    /// Save what is overwritten in the new file FILE; fsck.ocfs2 --undo restores it
    #[arg(long, value_name = "FILE", requires = "offline", conflicts_with_all = ["count", "dry_run"])]
    pub undo_file: Option<PathBuf>,

    /// Number of the partition on a disk or whole-disk image
    #[arg(long, value_name = "NUMBER", requires = "offline")]
    pub partition: Option<u32>,

    /// Report what is done, and how far it is, to this file descriptor, in lines of JSON
    ///
    /// They are those of tunefs.ocfs2: {"task":"Putting files together","done":12,"total":40}.
    #[arg(long, value_name = "FD", requires = "offline")]
    pub progress: Option<u32>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Files, folders and devices; with --offline, a device or image, and paths in it
    #[arg(value_name = "TARGET", required_unless_present = "resume")]
    pub targets: Vec<PathBuf>,
}

impl Cli {
    /// The smallest threshold: a cluster of the smallest size.
    pub(crate) const LEAST_THRESHOLD: u64 = 4096;
    /// The largest one: a piece that takes minutes would keep other nodes waiting.
    pub(crate) const MOST_THRESHOLD: u64 = 1 << 30;
    /// The most files at the same time.
    pub(crate) const MOST_THREADS: u8 = 64;
}

fn threshold(text: &str) -> Result<u64, String> {
    let size = parse_size(text).map_err(|err| err.to_string())?;
    let known = Cli::LEAST_THRESHOLD..=Cli::MOST_THRESHOLD;
    if known.contains(&size) { Ok(size) } else { Err("it is not 4K to 1G".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        crate::command().debug_assert();
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert_eq!(parse("x -cvl /mnt /dev/sdb1").unwrap().targets.len(), 2);
        assert!(parse("x -g").unwrap().resume);
        let offline = parse("x --offline --pack --undo-file u --progress 3 disk").unwrap();
        assert!(offline.offline && offline.pack && offline.progress == Some(3));
        for wrong in
            ["--pack", "--offline -t 4K", "--offline -g", "--offline --shared", "--partition 1"]
        {
            assert!(parse(&format!("x {wrong} disk")).is_err(), "{wrong}");
        }
        for wrong in ["x", "x -g /mnt", "x -t 1 /mnt", "x -t 2G /mnt", "x --threads 0 /mnt"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
