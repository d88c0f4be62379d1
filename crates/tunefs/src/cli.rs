//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{CommandFactory, Parser, ValueEnum};
use ocfs2_cli::parse_size;
use ocfs2_format::feature::FeatureRequest;
use ocfs2_format::hash::CharSign;
use uuid::Uuid;

/// Change an OCFS2 volume, or show the contents of its superblock.
///
/// Several changes can be requested in one call. All are prepared and checked before the first byte
/// is written, and they reach the volume as one journal transaction, superblock and backups last.
/// If this is interrupted, the volume is unchanged, or the next fsck.ocfs2 makes it consistent.
/// Another size (-S) comes first, as a separate step. The order of the others is: label, UUID,
/// cluster, intervals, node slots and journals, features: first those that go off, then those that
/// go on.
///
/// A smaller size (-S) moves what is in the part that goes: contents of files, directories,
/// attributes, inodes, journals. It takes several transactions, after each of which the volume is
/// sound and has its old size; the last one takes the end off. If it is interrupted, the same
/// command goes on. Inodes that are in the part that goes get other numbers, so that NFS clients
/// lose the files that they have open; --keep-inode-numbers refuses in that case. --dry-run says
/// what would move. An image file is truncated if the answer to a question is yes. Fewer node slots
/// (-N) take several transactions in the same way; inodes keep their numbers. If the program was killed
/// (kill -9) or the power failed, fsck.ocfs2 has to replay a journal before the same command goes on.
///
/// Some features change what every file looks like: indexed-dirs, metaecc, usrquota, grpquota,
/// sparse, noinline-data, nounwritten, norefcount, noxattr, nodiscontig-bg. The whole work is
/// rehearsed in memory first, which finds damage and a lack of room. Then it is done in as many
/// transactions as it takes, after each of which the volume is sound. If it is interrupted, the
/// same command goes on. Nothing of this goes past the journals: if so many blocks have to change at
/// once that the largest journal has no room for them, as for the inodes of a full allocator group
/// and journals of 4 MiB, the change is refused; -J size=SIZE makes the journals larger. nounwritten and nosparse fill with zeros and free what is allocated after the ends
/// of files; norefcount copies what files share; noxattr asks first, since access control lists and
/// security labels are lost; nodiscontig-bg is refused if a group is made of several pieces.
/// Switched off, usrquota and grpquota lose their limits.
///
/// Nothing is changed while a node uses the volume: its slot map, its heartbeat, its journals and
/// the use of the device on this host are checked. A volume that was not unmounted by all nodes has
/// to be recovered by fsck.ocfs2 first. Only --cloned-volume alone does not require that, since a
/// copy of a mounted volume looks like one that was not unmounted. Before clusters are allocated,
/// all groups of the global bitmap are checked; before growth alone, its chains and its last group.
/// If another size is requested with other changes, all of them are tried in memory first.
///
/// A volume that is mounted on this host is extended by its kernel (-S alone): in a cluster on any
/// node that has it mounted, while all of them go on working. One program at a time does so: it
/// holds a lock on the mount point, and under o2cb the lock of tunefs.ocfs2 of ocfs2-tools. Every
/// node has to see the new size of the device before.
///
/// Differences from that program: -n answers no to all questions, even to those asked only with -i,
/// so that nothing is changed; a label given to --cloned-volume is used; %B is supported;
/// --list-sparse and -Q only read; a feature that cannot be changed is an error; block64 and a
/// journal size can be requested together; free space is checked before anything is written.
///
/// The exit status is 0 if everything was done, there was nothing to do, or the answer was no; 1 if
/// the command line was not valid or a change was refused; 2 if it failed and the volume is
/// unchanged; 3 if it failed after it had changed something: fsck.ocfs2 has to check the volume; 130 if
/// a signal ended it before anything was changed. It is also 1 if something cannot be printed.
#[derive(Clone, Debug, Parser)]
#[command(name = "tunefs.ocfs2", version, arg_required_else_help = true)]
pub struct Cli {
    /// Change the label, at most 63 bytes
    #[arg(short = 'L', long, value_name = "LABEL")]
    pub label: Option<OsString>,

    /// Change the number of node slots, at most 255
    #[arg(short = 'N', long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=255))]
    pub node_slots: Option<u16>,

    /// Extend the volume to the end of the device, or give it the size NEW_SIZE, larger or smaller.
    /// The unit of NEW_SIZE may be appended to -S; without it the unit is blocks
    #[arg(
        short = 'S',
        long,
        value_name = "UNIT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "blocks"
    )]
    pub volume_size: Option<Unit>,

    /// Do not make the volume smaller if inodes would get other numbers
    #[arg(long, requires = "volume_size")]
    pub keep_inode_numbers: bool,

    /// Give the volume another UUID: a random one, or the one appended to -U
    ///
    /// A heartbeat region is identified by the UUID of its volume. If the volume contains a region
    /// of a global heartbeat, the configuration of the cluster has to be changed, too.
    #[arg(short = 'U', long, value_name = "UUID", num_args = 0..=1, require_equals = true)]
    #[allow(clippy::option_option, reason = "given, and with a value")]
    pub uuid_reset: Option<Option<Uuid>>,

    /// Set the size of all journals, or the width of their block numbers to 32 or 64 bits:
    /// size=SIZE, block32, block64, separated by commas
    #[arg(short = 'J', long, value_name = "OPTIONS")]
    pub journal_options: Option<JournalOptions>,

    /// Print the fields that FORMAT asks for
    ///
    /// %B block size, %T cluster size, %N node slots, %R block of the root directory, %Y of the
    /// system directory, %P of the first cluster group, %V label, %U UUID, %M compat, %H incompat
    /// and %O read-only compat features, %C the cluster as stack,name,heartbeat (`default` if the
    /// volume does not state it, `local` for a local volume). A width may precede the letter, with
    /// - to align text on the left. \a \b \f \n \r \t \v and \\ are supported.
    #[arg(short = 'Q', long, value_name = "FORMAT")]
    pub query: Option<String>,

    /// Print the superblock
    #[arg(short = 'l', long)]
    pub list: bool,

    /// List files with holes, and the number of clusters in these holes
    #[arg(long)]
    pub list_sparse: bool,

    /// Let a cluster or only a single host mount the volume: cluster or local
    #[arg(short = 'M', long = "mount", value_name = "TYPE")]
    pub mount: Option<MountType>,

    /// Keep backups of the superblock, like --fs-features=backup-super
    #[arg(long)]
    pub backup_super: bool,

    /// Features to switch on, or with the prefix `no` off, separated by commas
    #[arg(long, value_name = "FEATURES", value_parser = FeatureRequest::parse)]
    pub fs_features: Option<FeatureRequest>,

    /// Give the volume to the cluster that is online on this host
    #[arg(long)]
    pub update_cluster_stack: bool,

    /// Turn a copy of a volume into another volume, with a random UUID and LABEL, or its present
    /// label with `-cloned` appended
    #[arg(long, value_name = "LABEL", num_args = 0..=1, require_equals = true)]
    #[allow(clippy::option_option, reason = "given, and with a value")]
    pub cloned_volume: Option<Option<OsString>>,

    /// Milliseconds between two syncs of user quotas
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(100..))]
    pub usrquota_sync_interval: Option<u32>,

    /// Milliseconds between two syncs of group quotas
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(100..))]
    pub grpquota_sync_interval: Option<u32>,

    /// How bytes from 0x80 on are hashed in indexes that are built: signed, for Linux before 6.2 on
    /// x86, or unsigned, for all others
    ///
    /// Linux from 6.12.117 and 7.3.4 on finds both. Without this option an index follows the one it
    /// replaces, or else the first one of the volume that shows it; if none does, the kernel of this host.
    #[arg(long, value_name = "SIGN")]
    pub name_hash: Option<CharSign>,

    /// Ask before each change
    #[arg(short, long)]
    pub interactive: bool,

    /// Answer yes to all questions
    #[arg(short, long, conflicts_with = "no")]
    pub yes: bool,

    /// Answer no to all questions: only report what would be changed
    #[arg(short, long, visible_alias = "dry-run")]
    pub no: bool,

    /// Report what is done
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Print nothing but errors
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub quiet: u8,

    /// Report which part of the work is in progress; with FD, to that file descriptor for programs
    ///
    /// A line of JSON is written to the descriptor when a task begins, at most eight times in a second
    /// while it goes on, and when it ends: {"task":"Moving contents of files","done":12,"total":40}. A
    /// total of 0 is not known. The descriptor has to be open when the program starts: a pipe, a file
    /// or a terminal.
    #[arg(short, long, value_name = "FD", num_args = 0..=1, require_equals = true)]
    #[allow(clippy::option_option, reason = "given, and with a value")]
    pub progress: Option<Option<u32>>,

    /// Print what was done, and the volume afterwards, as JSON; with -l or alone, only the volume
    #[arg(long, conflicts_with_all = ["query", "list_sparse"])]
    pub json: bool,

    /// Save what is overwritten in the new file FILE; fsck.ocfs2 --undo restores it
    #[arg(long, value_name = "FILE")]
    pub undo_file: Option<PathBuf>,

    /// Number of the partition on a disk or whole-disk image
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,

    /// Block device or image file, or LABEL=... or UUID=... of the volume
    pub device: PathBuf,

    /// Size of the volume for -S: a number, optionally with k, m, g, t or p, in the unit of -S; or
    /// min, the smallest size that the volume can have
    #[arg(requires = "volume_size")]
    pub new_size: Option<NewSize>,
}

impl Cli {
    /// Whether any change is requested.
    pub(crate) fn changes(&self) -> bool {
        self.changes_structures() || self.changes_superblock()
    }

    /// Whether a change beyond the superblock is requested.
    pub(crate) fn changes_structures(&self) -> bool {
        self.node_slots.is_some()
            || self.volume_size.is_some()
            || self.journal_options.is_some()
            || self.mount.is_some()
            || self.backup_super
            || self.fs_features.is_some()
            || self.usrquota_sync_interval.is_some()
            || self.grpquota_sync_interval.is_some()
    }

    /// Whether a change other than that of the size is requested.
    pub(crate) fn changes_more_than_size(&self) -> bool {
        Self { volume_size: None, ..self.clone() }.changes()
    }

    fn changes_superblock(&self) -> bool {
        self.label.is_some()
            || self.uuid_reset.is_some()
            || self.cloned_volume.is_some()
            || self.update_cluster_stack
    }
}

/// A new size.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NewSize {
    /// That many of the unit.
    Number(u64),
    /// The smallest possible.
    Least,
}

impl FromStr for NewSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "min" => Ok(Self::Least),
            _ => parse_size(text).map(Self::Number).map_err(|err| err.to_string()),
        }
    }
}

/// The unit of a new size.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Blocks of the volume.
    Blocks,
    /// Clusters of the volume.
    Clusters,
}

/// Who can mount a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum MountType {
    /// One host at a time.
    Local,
    /// The nodes of a cluster.
    Cluster,
}

/// The requested form of journals.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct JournalOptions {
    /// Size of each in bytes.
    pub size: Option<u64>,
    /// Whether their block numbers have 64 bits.
    pub block64: Option<bool>,
}

impl FromStr for JournalOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "block64" | "noblock32" => options.set_block64(true)?,
                "block32" | "noblock64" => options.set_block64(false)?,
                _ => {
                    let size = word.strip_prefix("size=");
                    let size = size.ok_or_else(|| {
                        format!("`{word}` is none of size=SIZE, block32 and block64")
                    })?;
                    options.size = Some(parse_size(size).map_err(|err| err.to_string())?);
                }
            }
        }
        Ok(options)
    }
}

impl JournalOptions {
    fn set_block64(&mut self, block64: bool) -> Result<(), String> {
        match self.block64.replace(block64) {
            Some(other) if other != block64 => Err("block32 and block64 exclude each other".into()),
            _ => Ok(()),
        }
    }
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = line.split(' ').map(OsString::from).collect();
        Cli::try_parse_from(crate::glued(words))
    }

    #[test]
    fn options_are_those_of_the_c_tool() {
        command().debug_assert();
        let cli = parse("x -qvvi -L new -N 4 -Sclusters -J size=8M,block64 disk 5G").unwrap();
        assert_eq!((cli.quiet, cli.verbose, cli.interactive), (1, 2, true));
        assert_eq!(cli.volume_size, Some(Unit::Clusters));
        assert_eq!(cli.new_size, Some(NewSize::Number(5 << 30)));
        assert_eq!(parse("x -S disk min").unwrap().new_size, Some(NewSize::Least));
        let journals = JournalOptions { size: Some(8 << 20), block64: Some(true) };
        assert_eq!(cli.journal_options, Some(journals));
        assert_eq!(parse("x -S disk").unwrap().volume_size, Some(Unit::Blocks));
        let digits = "0123456789abcdef0123456789abcdef";
        let uuid = Some(Some(Uuid::parse_str(digits).unwrap()));
        assert_eq!(parse(&format!("x -yU{digits} disk")).unwrap().uuid_reset, uuid);
        assert_eq!(parse(&format!("x --uuid-reset={digits} disk")).unwrap().uuid_reset, uuid);
        assert_eq!(parse("x -U disk").unwrap().uuid_reset, Some(None));
        assert_eq!(parse("x --cloned-volume disk").unwrap().cloned_volume, Some(None));
        let named = parse("x --cloned-volume=b disk").unwrap().cloned_volume;
        assert_eq!(named, Some(Some("b".into())));
        assert_eq!(parse("x -M local disk").unwrap().mount, Some(MountType::Local));
        assert!(!parse("x disk").unwrap().changes());
        let progress = |line: &str| parse(line).unwrap().progress;
        assert_eq!(progress("x -pv disk"), Some(None));
        assert_eq!(progress("x --progress=3 disk"), Some(Some(3)));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for line in [
            "x",
            "x -L",
            "x -L a -L b disk",
            "x -N 0 disk",
            "x -N 256 disk",
            "x disk 5G",
            "x -S disk least",
            "x --keep-inode-numbers disk",
            "x -Sfoo disk 5G",
            "x -Unope disk",
            "x -M both disk",
            "x -J size=no disk",
            "x -J block32,block64 disk",
            "x -J fast disk",
            "x --fs-features=nope disk",
            "x --usrquota-sync-interval 99 disk",
            "x -y -n disk",
            "x --progress=no disk",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
