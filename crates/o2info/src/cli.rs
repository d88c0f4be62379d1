//! The command line.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

/// A question about a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// The features of the volume.
    FsFeatures,
    /// Label, UUID, sizes, slots and features.
    VolInfo,
    /// Options with which mkfs would make such a volume.
    Mkfs,
    /// Room for inodes in each slot.
    FreeInode,
    /// The free extents; unless 0, also chunks of this many KiB.
    FreeFrag(u64),
    /// The space that a file occupies.
    SpaceUsage,
    /// The status of a file, as in stat(1).
    FileStat,
}

impl Request {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::FsFeatures => "fs_features",
            Self::VolInfo => "volinfo",
            Self::Mkfs => "mkfs",
            Self::FreeInode => "freeinode",
            Self::FreeFrag(_) => "freefrag",
            Self::SpaceUsage => "space_usage",
            Self::FileStat => "filestat",
        }
    }
}

/// Show features, sizes and free room of an OCFS2 volume
///
/// Several requests are answered in the order in which they are given. For a path on a mounted
/// volume the kernel is asked. Otherwise the volume is read from its device or image: no lock is
/// taken then, and for a mounted volume the result is what is on the disk, which may lag behind
/// what the nodes see.
///
/// The exit status is 0, or 1 if a request could not be answered; 130 after Ctrl-C.
#[derive(Clone, Debug, Parser)]
#[command(name = "o2info", version, group = clap::ArgGroup::new("requests").multiple(true).required(true),
    group = clap::ArgGroup::new("of_files").multiple(true))]
struct Raw {
    /// Let the kernel take cluster locks to include changes of other nodes, for --freeinode and
    /// --freefrag of a path. Without effect on a device, which is read as it is
    #[arg(short = 'C', long)]
    cluster_coherent: bool,

    /// Show the features of the volume
    #[arg(long, group = "requests")]
    fs_features: bool,

    /// Show label, UUID, sizes, slots and features
    #[arg(long, group = "requests")]
    volinfo: bool,

    /// Show the options with which mkfs.ocfs2 makes such a volume, quoted for a shell
    #[arg(long, group = "requests")]
    mkfs: bool,

    /// Show how many inodes each slot has room for, and how many of them are free
    #[arg(long, group = "requests")]
    freeinode: bool,

    /// Show the fragmentation of free space, and how many chunks of KIB kibibytes are entirely
    /// free; 0 omits the chunks
    #[arg(long, value_name = "KIB", group = "requests", value_parser = chunk)]
    freefrag: Option<u64>,

    /// Show the space of a file: blocks of 512 bytes; shared, unwritten and missing clusters
    #[arg(long, groups = ["requests", "of_files"])]
    space_usage: bool,

    /// Show the status of a file like stat(1), and its fragmentation
    #[arg(long, groups = ["requests", "of_files"])]
    filestat: bool,

    /// The file on a device or an image that --space-usage and --filestat are about, by its path
    /// from the root of the volume; of a mounted volume its path there is enough
    #[arg(long, value_name = "PATH", requires = "of_files")]
    path: Option<PathBuf>,

    /// Print one document of JSON instead of text, as docs/o2info.schema.json has it: sizes in bytes,
    /// times in seconds
    #[arg(long)]
    json: bool,

    /// Read this partition of a disk or a disk image
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u32>,

    /// Open the volume by this backup of its superblock
    #[arg(
        short,
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(1..=6)
    )]
    superblock: Option<u8>,

    /// A block device or an image file, also a packed one of o2image, LABEL=... or UUID=..., or a
    /// path on a mounted volume
    device: PathBuf,
}

fn chunk(text: &str) -> Result<u64, String> {
    let kib: u64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if kib != 0 && !kib.is_power_of_two() {
        return Err("it is not a power of 2".to_owned());
    }
    kib.checked_mul(1024).map(|_| kib).ok_or_else(|| "it is too large".to_owned())
}

/// The command line.
#[derive(Clone, Debug)]
pub struct Cli {
    /// The requests, in order.
    pub requests: Vec<Request>,
    /// The device or image, or a path on a mounted volume.
    pub device: PathBuf,
    /// Whether the kernel takes cluster locks.
    pub is_coherent: bool,
    /// The number of a partition on the device or image.
    pub partition: Option<u32>,
    /// The number of a backup superblock to open the volume by.
    pub superblock: Option<u8>,
    /// A file on the device or image.
    pub path: Option<PathBuf>,
    /// Whether the answers are one document of JSON.
    pub json: bool,
}

impl Cli {
    fn new(raw: Raw, matches: &ArgMatches) -> Self {
        let all = [
            ("fs_features", Request::FsFeatures),
            ("volinfo", Request::VolInfo),
            ("mkfs", Request::Mkfs),
            ("freeinode", Request::FreeInode),
            ("freefrag", Request::FreeFrag(raw.freefrag.unwrap_or(0))),
            ("space_usage", Request::SpaceUsage),
            ("filestat", Request::FileStat),
        ];
        let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let given = all.into_iter().filter(|(id, _)| is_given(id));
        let mut placed: Vec<_> =
            given.map(|(id, request)| (matches.index_of(id).unwrap_or(0), request)).collect();
        placed.sort_by_key(|(place, _)| *place);
        let requests = placed.into_iter().map(|(_, request)| request).collect();
        let Raw {
            device, partition, path, superblock, json, cluster_coherent: is_coherent, ..
        } = raw;
        Self { requests, device, is_coherent, partition, path, superblock, json }
    }
}

impl FromArgMatches for Cli {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::new(Raw::from_arg_matches(matches)?, matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl CommandFactory for Cli {
    fn command() -> clap::Command {
        Raw::command()
    }

    fn command_for_update() -> clap::Command {
        Raw::command_for_update()
    }
}

impl Parser for Cli {}

/// The command line with samples, for manual pages and completions.
pub fn command() -> clap::Command {
    let samples = concat!(
        "Examples, on a volume that Linux made; ... stands for what was left out.\n\n",
        include_str!("samples.txt")
    );
    Raw::command().after_long_help(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn requests_come_in_the_order_they_are_given() {
        let cli = Cli::parse_from(["x", "--mkfs", "--freefrag=64", "disk", "--volinfo", "-C"]);
        assert_eq!(cli.requests, [Request::Mkfs, Request::FreeFrag(64), Request::VolInfo]);
        for args in [
            &["x", "disk"][..],
            &["x", "--mkfs"],
            &["x", "--mkfs", "--mkfs", "disk"],
            &["x", "--freefrag", "3", "disk"],
            &["x", "--freefrag", "18014398509481984", "disk"],
            &["x", "--mkfs", "disk", "other"],
            &["x", "--mkfs", "--path", "/file", "disk"],
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }
}
