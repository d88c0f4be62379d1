//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, CommandFactory, Parser};
use ocfs2_cli::argument;
use ocfs2_format::BlockSize;
use ocfs2_format::hash::CharSign;

const ABOUT: &str = "Checks and repairs an OCFS2 volume, and recovers it after a crash";

const LONG_ABOUT: &str = "\
Checks and repairs an OCFS2 volume on a block device or in an image file, and recovers it after a crash: \
the journals of nodes that did not unmount it are replayed, and what their slots still owe is \
done. With -n all of this happens in memory, so that the check sees the recovered volume, and \
the device is opened read-only.

What the check finds is reported under the names of fsck.ocfs2.checks(8). Repairs that are agreed \
to are worked out in memory, and the repaired volume is checked again until nothing is found. Only \
then it is written, as one transaction through a journal of the volume: interrupted anywhere, the \
volume is as it was, or one replay (by this program or a mount) away from being repaired.

A volume that was unmounted cleanly is only checked with -f, or when a check is due: after so \
many mounts, after so much time, after a run that left something, after an interrupted \
resize or change by tunefs.ocfs2, after a crash, and when something is wrong with what a mount \
reads: the superblock, the size of the device, the journals, local allocs, truncate logs and \
orphan directories.

Who uses the volume is seen on the volume itself: its slot map names the nodes, its heartbeat \
shows which of them are alive. A live node is named, and the volume left alone. A crashed one \
is what this program is for; no cluster service has to run.";

const AFTER_HELP: &str = "\
Examples:
  fsck.ocfs2 -f /dev/sdb1       recovers, checks, and asks about each repair
  fsck.ocfs2 -fy /dev/sdb1      repairs everything
  fsck.ocfs2 -fn /dev/sdb1      checks, writes nothing
  fsck.ocfs2 -fy --dry-run /dev/sdb1
  fsck.ocfs2 -fy --undo-file=/root/sdb1.undo /dev/sdb1
  fsck.ocfs2 --undo=/root/sdb1.undo /dev/sdb1
  fsck.ocfs2 --rescue-to=/mnt/saved /dev/sdb1
  fsck.ocfs2 -fn --json disk.img | jq .summary

Exit status, the sum of what applies:
    0   nothing is wrong, or nothing was checked: no check is due, or with -p a live node
        uses the volume (\"in use by ..., not checked\")
    1   something was wrong and is corrected
    4   something is wrong and was left
    8   it could not be done, or was refused
   16   the command line is wrong
   32   cancelled, by Ctrl-C or a signal";

/// Everything `fsck.ocfs2` can be told.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "fsck.ocfs2",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    args_override_self = true,
    group = ArgGroup::new("whole_device").args(["rescue_to", "salvage"]).multiple(true),
    group = ArgGroup::new("answer").args(["no", "yes", "preen"])
)]
pub struct Cli {
    /// Block device or image file, LABEL=... or UUID=...
    pub device: PathBuf,

    /// Partition of a whole disk or disk image to check.
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,

    /// Write nothing; the device is opened read-only.
    ///
    /// All answers are no. Journals are replayed in memory. On a volume that is mounted or in
    /// use by other nodes this gives a warning, and what is found may be wrong.
    #[arg(short = 'n', help_heading = "Answers")]
    pub no: bool,

    /// Answer yes to all questions.
    ///
    /// Except whether to go on although a live node uses the volume; see -F.
    #[arg(short = 'y', help_heading = "Answers")]
    pub yes: bool,

    /// Do without a question what is safe: recover after a crash, and repair what can lose
    /// nothing.
    ///
    /// Where anything else is found nothing is repaired, it is named, and the exit status is 4, or
    /// 5 if a slot was recovered. The superblock is marked, so that the next run checks again.
    #[arg(short = 'p', visible_short_alias = 'a', help_heading = "Answers")]
    pub preen: bool,

    /// Work out all repairs and prove them, but write nothing.
    ///
    /// The device is opened read-only. What is reported and the exit status are those of the
    /// same run without this option: 1 is what would be corrected, 8 what would be refused.
    #[arg(long, conflicts_with = "no", help_heading = "Answers")]
    pub dry_run: bool,

    /// Check a volume that is clean, too.
    #[arg(short = 'f', help_heading = "What to do")]
    pub force: bool,

    /// Save everything that is overwritten to a new file, which only its owner can read.
    ///
    /// A run that changes nothing but the time of the check leaves no file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no", "dry_run"])]
    #[arg(help_heading = "What to do")]
    pub undo_file: Option<PathBuf>,

    /// Write the old paths of all that is lost to a new or empty file, one a line.
    ///
    /// Paths as they were before, from the root directory of the volume on and byte by byte, for
    /// getting the files back from a backup; what has no old path is not in it. Where only the last
    /// name of a file is known, its directory is where it is now. Of a damaged name with a NUL, which no file has, it is what is in front of that. With
    /// --dry-run of what would be lost.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no", "undo"], help_heading = "Output")]
    pub lost: Option<PathBuf>,

    /// End the paths of --lost with a NUL instead of a line feed.
    ///
    /// For names that have line feeds.
    #[arg(short = '0', requires = "lost", conflicts_with = "no", help_heading = "Output")]
    pub nul: bool,

    /// Put back what a run with --undo-file=FILE has overwritten, and do nothing else.
    ///
    /// Refused if the volume was changed since, other than by checks that found nothing, or if the
    /// file is not whole.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["undo_file", "answer", "dry_run"])]
    #[arg(help_heading = "What to do")]
    pub undo: Option<PathBuf>,

    /// With --undo: put back what there is of a file that was cut.
    ///
    /// It is then not known whether that is all that was overwritten: check the volume afterwards.
    #[arg(long = "force", requires = "undo", conflicts_with = "answer")]
    #[arg(help_heading = "What to do")]
    pub undo_cut: bool,

    /// Go on, after a question, although other nodes may use the volume.
    ///
    /// Dangerous: writing to a volume that another node has mounted destroys it. Where it can
    /// not be told whether a node is alive, -y answers the question; where one is seen to be
    /// alive, it has to be answered on a terminal. A volume that is mounted on this machine is
    /// never written to.
    #[arg(short = 'F', help_heading = "What to do")]
    pub ignore_nodes: bool,

    /// Look also at inodes of another generation, which are otherwise taken for free.
    #[arg(short = 'G', help_heading = "What to do")]
    pub foreign_generations: bool,

    /// Search the whole volume for what is lost at its head, and cut it to its device.
    ///
    /// Where there is neither a superblock nor a backup of it, also because another file system was
    /// made over the volume, a new one is made from what is found on the whole device. Copy out
    /// first what can be copied: --rescue-to. A volume that is longer than its device is cut to it.
    ///
    /// Where the system directory, or entries of it, are lost, system files are recognised by
    /// their inodes. Without this only the blocks around the system directory are searched, which
    /// is where they are but for those of slots that were added later.
    #[arg(long, help_heading = "What to do")]
    pub salvage: bool,

    /// Whether one node mounts the volume, or a cluster, where its superblock is made again.
    ///
    /// Nothing but the superblock says so. Without this option it is a volume of a cluster, unless
    /// it has a single slot that no node of a cluster ever had. Where only slot 0 was ever used and
    /// no node ever beat, there is a question on a terminal.
    #[arg(long, value_name = "local|cluster", requires = "salvage", help_heading = "What to do")]
    pub mount: Option<MountedBy>,

    /// Copy every file that can be found into a folder, or as a tar archive to standard output (-),
    /// and do nothing else: the device is opened read-only.
    ///
    /// For a volume that is to be saved before it is repaired, or that no repair is wanted for. The
    /// whole device is read, also one without superblock, system directory or root, or with read
    /// errors, and an image of o2image -a. Journals are replayed in memory. Files have their paths
    /// where directories still have their names, else they are in lost+found, named after their
    /// inodes. What is missing is listed. The folder is made if it does not exist, and has to be
    /// empty.
    #[arg(long, value_name = "DIR|-", help_heading = "What to do")]
    #[arg(conflicts_with_all = ["answer", "dry_run", "undo", "undo_file", "lost", "pack_directories"])]
    pub rescue_to: Option<PathBuf>,

    /// With --rescue-to or --salvage: the generation of the volume.
    ///
    /// Where mkfs.ocfs2 was run over a volume, several are on the device; --rescue-to lists them.
    /// With --salvage the older volume is made again, and the newer one is lost.
    #[arg(long, value_name = "NUMBER", help_heading = "What to do")]
    #[arg(requires = "whole_device", value_parser = parse_generation)]
    pub generation: Option<u32>,

    /// Pack directories, and rebuild their indexes.
    ///
    /// When everything else is repaired: the entries of each directory go into as few blocks as
    /// they take, and what is left over is free again. On a volume that is not checked as it is
    /// clean this does nothing without -f.
    #[arg(short = 'D', conflicts_with = "no", help_heading = "What to do")]
    pub pack_directories: bool,

    /// Hash all names with bytes from 0x80 on, such as those of é in UTF-8, alike.
    ///
    /// With -D: in the indexes of directories and of attributes. signed: for Linux before 6.2 on
    /// x86, and the C tools. unsigned: for all others; from 6.12.117 and 7.3.4 on Linux finds
    /// both. A name under the hash that a kernel does not look for is listed, but cannot be
    /// opened. Without this option names keep the hash they have, and an index that is built
    /// follows the one it replaces or, failing that, the other ones of the volume.
    #[arg(
        long,
        value_name = "SIGN",
        requires = "pack_directories",
        conflicts_with = "no",
        help_heading = "What to do"
    )]
    pub name_hash: Option<CharSign>,

    /// Use backup superblock N, 1 to 6.
    ///
    /// They are at 1 GiB, 4 GiB, 16 GiB, 64 GiB, 256 GiB and 1 TiB, of volumes that are larger than
    /// that. Where the superblock is bad and this is not given, the first good backup is looked
    /// for; where there is none, what the rest of the volume says is used.
    #[arg(short = 'r', value_name = "N", help_heading = "Superblock")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=6), conflicts_with = "superblock")]
    pub backup: Option<u8>,

    /// Use the superblock in this block.
    #[arg(short = 'b', value_name = "BLOCK", help_heading = "Superblock")]
    pub superblock: Option<u64>,

    /// Block size: 512, 1024, 2048 or 4096; 0, the default, to find it out.
    #[arg(short = 'B', value_name = "SIZE", help_heading = "Superblock")]
    #[arg(value_parser = parse_block_size)]
    pub block_size: Option<MaybeBlockSize>,

    /// Threads that read and decode; by default one for each processor, and at least 16.
    ///
    /// Each waits for one read at a time, so that this is also how many are in flight. What is
    /// found does not depend on it.
    #[arg(long, value_name = "N", help_heading = "Running")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// At most so much memory for reads in flight, findings, claims and changes, such as 64M.
    ///
    /// Half of it is for reads, 2 MiB each, as long as --threads does not say less; a quarter is for
    /// what was found, 1 KiB each, of which more than that, and more than 1,000, waits for another
    /// run; a quarter is for comparing who claims clusters that have several owners, 64 bytes each,
    /// of which more than that, and more than 65,536, wait for another round. Then the rest is for
    /// what is known of the volume, some bytes for each file and each block of metadata, and for the
    /// blocks that repairs change. More of those are kept in a temporary file without a name in the
    /// folder TMPDIR names, or /var/tmp; without this option, those beyond a quarter of the machine's
    /// memory. What is known of the volume is never left out, whatever the limit.
    #[arg(long, value_name = "SIZE", help_heading = "Running")]
    #[arg(value_parser = ocfs2_cli::parse_size)]
    pub memory_limit: Option<u64>,

    /// Read through the page cache. Without it only what is in it is read from there.
    #[arg(short = 'u', help_heading = "Running")]
    pub buffered: bool,

    /// Print JSON instead of text: one document.
    #[arg(long, conflicts_with = "json_lines", help_heading = "Output")]
    pub json: bool,

    /// Print JSON instead of text: an object a line, each as soon as it is known.
    #[arg(long, help_heading = "Output")]
    pub json_lines: bool,

    /// Show progress on standard error where that is not a terminal, too.
    #[arg(short = 'P', help_heading = "Output")]
    pub progress: bool,

    /// Write progress to this file descriptor, for fsck(8): pass, done, total, device.
    #[arg(short = 'C', value_name = "FD", allow_hyphen_values = true, help_heading = "Output")]
    pub progress_fd: Option<i32>,

    /// Show statistics at the end; twice: of every pass.
    #[arg(short = 't', action = ArgAction::Count, help_heading = "Output")]
    pub statistics: u8,

    /// Print more.
    #[arg(short = 'v', help_heading = "Output")]
    pub verbose: bool,
}

/// The block size, or that it has to be found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaybeBlockSize(pub Option<BlockSize>);

fn parse_block_size(text: &str) -> Result<MaybeBlockSize, String> {
    if text == "0" {
        return Ok(MaybeBlockSize(None));
    }
    let bytes = ocfs2_cli::parse_size(text).map_err(|err| err.to_string())?;
    let size = BlockSize::from_bytes(bytes);
    let size =
        size.ok_or_else(|| format!("{bytes} is not a block size: 512, 1024, 2048 or 4096"))?;
    Ok(MaybeBlockSize(Some(size)))
}

fn parse_generation(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("{text} is not a generation, such as 0x5a3b2c1d"))
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Who mounts a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum MountedBy {
    /// One node.
    Local,
    /// A cluster.
    Cluster,
}

/// What becomes of the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// `-n`.
    ReadOnly,
    /// `-p`.
    Preen,
    /// `-y`.
    Yes,
    /// None of them.
    Interactive,
}

impl Mode {
    /// Whether it repairs anything.
    pub fn repairs(self) -> bool {
        self != Self::ReadOnly
    }
}

impl Cli {
    /// Whether the device is written to.
    pub fn writes(&self) -> bool {
        self.mode().repairs() && !self.dry_run
    }

    /// Whether standard output is to have an archive.
    pub(crate) fn rescues_to_output(&self) -> bool {
        self.rescue_to.as_deref().is_some_and(|to| to.as_os_str() == "-")
    }

    /// The command that checks the same volume with `options`, for a message.
    pub(crate) fn rerun(&self, options: &str) -> String {
        let partition = self.partition.map_or(String::new(), |it| format!("--partition {it} "));
        format!("fsck.ocfs2 {options} {partition}{}", argument(&self.device))
    }

    /// What becomes of the device.
    pub fn mode(&self) -> Mode {
        match self {
            Self { no: true, .. } | Self { rescue_to: Some(_), .. } => Mode::ReadOnly,
            Self { preen: true, .. } => Mode::Preen,
            Self { yes: true, .. } => Mode::Yes,
            _ => Mode::Interactive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn options_of_the_c_tool_are_taken_as_getopt_took_them() {
        let cli = parse("fsck.ocfs2 -fyFGttuvP -b 2 -B 4096 /dev/sdb1").unwrap();
        assert_eq!(cli.mode(), Mode::Yes);
        assert!(cli.force && cli.ignore_nodes && cli.foreign_generations && cli.verbose);
        assert_eq!((cli.statistics, cli.superblock), (2, Some(2)));
        assert_eq!(cli.block_size.unwrap().0.map(BlockSize::bytes), Some(4096));
        assert_eq!(parse("fsck.ocfs2 -a x").unwrap().mode(), Mode::Preen);
        assert_eq!(parse("fsck.ocfs2 -ap x").unwrap().mode(), Mode::Preen);
        assert_eq!(parse("fsck.ocfs2 -n -n x").unwrap().mode(), Mode::ReadOnly);
        assert_eq!(parse("fsck.ocfs2 x -B 0").unwrap().block_size, Some(MaybeBlockSize(None)));
        assert_eq!(parse("fsck.ocfs2 -C -1 x").unwrap().progress_fd, Some(-1));
        assert_eq!(parse("fsck.ocfs2 -C3 x").unwrap().progress_fd, Some(3));
        assert_eq!(parse("fsck.ocfs2 -r2 x").unwrap().backup, Some(2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, message) in [
            ("fsck.ocfs2", "<DEVICE>"),
            ("fsck.ocfs2 -n -y x", "cannot be used with"),
            ("fsck.ocfs2 -r 7 x", "7 is not in 1..=6"),
            ("fsck.ocfs2 -r 1 -b 2 x", "cannot be used with"),
            ("fsck.ocfs2 -B 8192 x", "8192 is not a block size"),
            ("fsck.ocfs2 --threads 0 x", "0 is not in 1..=1024"),
            ("fsck.ocfs2 --json --json-lines x", "cannot be used with"),
        ] {
            let err = parse(line).unwrap_err().to_string();
            assert!(err.contains(message), "{line}\n{err}");
        }
    }
}
