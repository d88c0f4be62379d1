//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser};
use ocfs2_format::feature::{FeatureError, FeatureRequest, Features};
use ocfs2_format::hash::CharSign;
use ocfs2_format::{BlockSize, ClusterSize};
use uuid::Uuid;

use crate::options::{
    ClusterId, Extent, JournalOptions, Level, MountType, Options, Purpose, parse_block_size,
    parse_cluster_size,
};
use crate::stack::ClusterError;

const ABOUT: &str = "Makes an OCFS2 volume on a block device or in an image file";

const LONG_ABOUT: &str = "\
Makes an OCFS2 volume, which several computers can mount at the same time, on a block device \
or in an image file. What is not given is chosen by the size of the device. All checks come \
before the first write, also with --dry-run; an interrupted run leaves nothing that looks like \
a volume.

What is on the device is looked at first. Another file system, a partition table, RAID, LVM or \
encrypted data are only overwritten with -F. Before an OCFS2 volume is overwritten there is a \
question, which standard input answers, be it a terminal or not; where that has ended, the run ends \
with an error that names the option that answers. A volume that a live node uses, and a device that \
is in use here, need -F and a yes to the question, which -x gives beforehand.";

const AFTER_HELP: &str = "\
Examples:
  mkfs.ocfs2 -N 4 -L /OVS /dev/sdb1        four nodes, all of the partition
  mkfs.ocfs2 -N 4 -L /OVS disk.img 4G      creates the image
  mkfs.ocfs2 -M local -b 4K disk.img       for this computer alone
  mkfs.ocfs2 -d tree -L root disk.img 4G   with the files of the folder tree
  mkfs.ocfs2 -n /dev/sdb1                  only shows what it would make

Exit status: 0 if the volume was made (or with --dry-run could be, perhaps after a yes to the
question), 1 if not, 130 if interrupted.";

/// The output of --json: the fields of `Summary`, in its order.
const JSON: &str = "\
JSON:
  An object, with --dry-run as well:
    device           the device or image; bytes that are no UTF-8 are replaced by U+FFFD
    device_escaped   where that was so: the path with such bytes as \\xff, a backslash as \\\\
    partition        number of the partition, with --partition
    dry_run          true if nothing was written
    purpose          as -T takes it, with -T
    label, uuid      texts; bytes of the label that are no UTF-8 are replaced
    features         an array of the names of all features
    block_size, cluster_size, size
                     of the volume, in bytes
    clusters, blocks, used_clusters
                     how many there are; how many are used from the start
    files            inodes that were put into it, with -d
    cluster_groups, tail_clusters, group_clusters
                     groups of the global bitmap; clusters in the last, in every other one
    extent_allocator_groups, extent_allocator_size
                     what each extent allocator gets: groups, bytes
    journal_size     bytes of each journal; null on a heartbeat device
    journal_block64  whether journals have 64-bit block numbers
    node_slots, backup_superblocks
                     how many there are
    local            whether it is for this computer alone
    cluster_stack, cluster_name
                     what the superblock names; null if nothing
    global_heartbeat whether it says that
    time             of format, in seconds since 1970";

/// The command line of `mkfs.ocfs2`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "mkfs.ocfs2",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    after_long_help = format!("{AFTER_HELP}\n\n{JSON}"),
    args_override_self = true,
    infer_long_args = true
)]
pub struct Cli {
    /// Block device or image file, or LABEL=... or UUID=... of the volume on it.
    ///
    /// An image that does not exist is created if a SIZE is given, and removed again if the
    /// volume cannot be finished.
    pub device: PathBuf,

    /// Blocks to use (a bare number), or the size of the volume (with a unit, such as 4G).
    ///
    /// A bare number counts blocks of the volume (see -b). A size with a unit (b, k, m, g, t, p:
    /// powers of 1024) also creates a missing image file, and extends a shorter one to that size. A
    /// longer file or device keeps its size, and the volume takes the first part of it. [default:
    /// all of the device]
    #[arg(value_name = "BLOCKS|SIZE")]
    pub size: Option<Extent>,

    /// Partition of a disk or of a whole-disk image for the volume.
    ///
    /// The number in the partition table (MBR or GPT) of DEVICE. Only that partition is written to.
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,

    /// Fill the volume with the files of a folder, or of a tar archive (- is standard input).
    ///
    /// Names, contents, holes, permissions, owners, times, hard links, device nodes, attributes and
    /// access control lists are copied; the root gets those of the folder, or of the `./` in the
    /// archive. The access time is set to the modification time, and the inode change time to the
    /// time of format, so that the same files give the same bytes. Before anything is
    /// overwritten, everything is read, to check whether it fits; a pipe cannot be read twice. With
    /// --dry-run that is all.
    #[arg(short = 'd', long, value_name = "DIR|TAR", help_heading = "The volume")]
    pub files: Option<PathBuf>,

    /// Hash of names with bytes from 0x80 on, such as those of é in UTF-8: signed or unsigned.
    ///
    /// For -d. A kernel that expects the other hash lists such a name, but cannot open it if the
    /// directory is large enough for an index. signed: for Linux before 6.2 on x86, and the C
    /// tools. unsigned: for all others; Linux from 6.12.117 and 7.3.4 on finds both. ASCII names
    /// have the same hash either way.
    #[arg(long, value_name = "SIGN", default_value = "unsigned", help_heading = "The volume")]
    pub name_hash: CharSign,

    /// Label, up to 63 bytes.
    #[arg(short = 'L', long, value_name = "LABEL", help_heading = "The volume")]
    pub label: Option<OsString>,

    /// Number of nodes that can mount the volume at the same time, 1 to 255.
    ///
    /// [default: local 1; below 2 GiB 2, below 10 GiB 4, below 1 TiB 8, else 16]
    #[arg(short = 'N', long, value_name = "COUNT", help_heading = "The volume")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=255))]
    pub node_slots: Option<u16>,

    /// Who mounts the volume: local (this computer, without a cluster) or cluster.
    ///
    /// May be abbreviated. [default: cluster]
    #[arg(short = 'M', long, value_name = "TYPE", help_heading = "The volume")]
    pub mount: Option<MountType>,

    /// Purpose of the volume: mail, datafiles or vmstore.
    ///
    /// mail: many small files; large journals. datafiles: few very large files; clusters of 128 KiB
    /// (256 KiB from 64 GiB, 512 KiB from 96 GiB, 1 MiB from 128 GiB on) and small journals.
    /// vmstore: images of virtual machines; the same clusters, medium journals. The last two need
    /// at least 2 GiB.
    #[arg(short = 'T', value_name = "TYPE", help_heading = "The volume")]
    pub purpose: Option<Purpose>,

    /// UUID, 32 hexadecimal digits, optionally with dashes.
    ///
    /// Two volumes with the same UUID must never be visible to the same computer. [default: random]
    #[arg(short = 'U', value_name = "UUID", help_heading = "The volume")]
    #[arg(value_parser = parse_uuid)]
    pub uuid: Option<Uuid>,

    /// Block size: 512, 1K, 2K or 4K.
    ///
    /// [default: 4K from 1 GiB on, 2K from 512 MiB, 1K from 3 MiB, else 512; never below the
    /// sector size of the device]
    #[arg(short = 'b', long, value_name = "SIZE", help_heading = "The volume")]
    #[arg(value_parser = parse_block_size)]
    pub block_size: Option<BlockSize>,

    /// Cluster size: 4K to 1M.
    ///
    /// The unit in which space is allocated to files. [default: 4K; larger from 16 TiB on, or with
    /// -T]
    #[arg(short = 'C', long, value_name = "SIZE", help_heading = "The volume")]
    #[arg(value_parser = parse_cluster_size)]
    pub cluster_size: Option<ClusterSize>,

    /// Journals: size=SIZE, block32, block64.
    ///
    /// size: the size of each node's journal, at least 4M. [default: 4 MiB to 256 MiB, depending on
    /// the size of the volume and -T] block64: 64-bit block numbers. [default: from 2^32 blocks on]
    #[arg(short = 'J', long, value_name = "OPTIONS", help_heading = "The volume")]
    #[arg(action = ArgAction::Append)]
    pub journal_options: Vec<JournalOptions>,

    /// Features to switch on or, with the prefix `no`, off.
    ///
    /// A comma-separated list of local, sparse, backup-super, unwritten, extended-slotmap,
    /// inline-data, metaecc, xattr, indexed-dirs, usrquota, grpquota, refcount, discontig-bg,
    /// clusterinfo, append-dio.
    #[arg(long, value_name = "[no]NAME,...", help_heading = "Features")]
    #[arg(value_parser = parse_features)]
    pub fs_features: Option<FeatureRequest>,

    /// Features to start from: max-compat, default or max-features.
    ///
    /// max-compat: backup-super only. default: all but metaecc, quotas, local and
    /// clusterinfo. max-features: default, metaecc and quotas.
    #[arg(long, value_name = "LEVEL", default_value = "default", help_heading = "Features")]
    #[arg(hide_default_value = true)]
    pub fs_feature_level: Level,

    /// Same as --fs-features=nobackup-super.
    #[arg(long, help_heading = "Features")]
    pub no_backup_super: bool,

    /// Cluster stack: o2cb, pcmk or cman.
    ///
    /// Needs --cluster-name. [default: the one that runs, else that of the volume that is
    /// overwritten, else classic o2cb, which names no cluster; if o2cb runs with local heartbeat,
    /// it is named only if the overwritten volume names it]
    #[arg(long, value_name = "STACK", help_heading = "Cluster")]
    pub cluster_stack: Option<String>,

    /// Name of the cluster, up to 16 bytes; with o2cb letters and digits only.
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub cluster_name: Option<String>,

    /// State that the o2cb cluster has one heartbeat for all volumes.
    #[arg(long, help_heading = "Cluster")]
    pub global_heartbeat: bool,

    /// Make a heartbeat device: no files, no journals, a few MiB.
    #[arg(short = 'H', long, help_heading = "Cluster")]
    pub heartbeat_device: bool,

    /// Only show what would be made.
    ///
    /// Nothing is written and no file is created. What a real run would refuse is refused with the
    /// same message and status 1, and its questions are reported. Other nodes are not locked out;
    /// their heartbeat is watched instead.
    #[arg(short = 'n', long, help_heading = "Running")]
    pub dry_run: bool,

    /// Overwrite existing contents, and accept a different cluster.
    ///
    /// For a device that is in use here or by a live node there is still a question; see -x.
    #[arg(short = 'F', long, help_heading = "Running")]
    pub force: bool,

    /// Never ask, and assume the answer yes.
    ///
    /// Overwrites an OCFS2 volume that nobody uses; with -F also one that is in use.
    #[arg(short = 'x', help_heading = "Running")]
    pub never_ask: bool,

    /// Tell the device that its old contents are no longer needed; this is the default.
    #[arg(long, overrides_with = "nodiscard", help_heading = "Running")]
    pub discard: bool,

    /// Do not discard old contents.
    #[arg(long, help_heading = "Running")]
    pub nodiscard: bool,

    /// Save what is overwritten in the new file FILE.
    ///
    /// `fsck.ocfs2 --undo=FILE DEVICE` restores it, as long as nothing else has written to the
    /// device, also after an interruption. Old contents are not discarded. The file becomes as
    /// large as what is overwritten: on a disk in use mostly the size of all journals.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["discard", "dry_run"])]
    #[arg(help_heading = "Running")]
    pub undo_file: Option<PathBuf>,

    /// Seed for everything that is random.
    ///
    /// The same seed gives the same UUID (unless -U sets it), generation and hash seed. If the
    /// environment variable SOURCE_DATE_EPOCH sets the time of format in seconds since 1970, two
    /// runs write the same bytes.
    #[arg(long, value_name = "NUMBER", help_heading = "Running")]
    pub seed: Option<u64>,

    /// Print nothing but errors.
    #[arg(short = 'q', long, help_heading = "Output")]
    pub quiet: bool,

    /// Print more details.
    #[arg(short = 'v', long, help_heading = "Output")]
    pub verbose: bool,

    /// Print a summary as JSON instead of text.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Returns a hint on an option that belongs to mkfs(8), which calls this program.
pub fn of_front_end(option: &str) -> Option<String> {
    matches!(option, "-t" | "--type").then(|| {
        format!(
            "{option} is an option of mkfs, which calls this program: `mkfs -t ocfs2 DEVICE`, or \
             `mkfs.ocfs2 DEVICE`"
        )
    })
}

fn parse_uuid(text: &str) -> Result<Uuid, String> {
    // The uuid crate also takes braces and a URN; blkid and the C tools do not.
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let uuid = Uuid::try_parse(text).ok().filter(|_| plain);
    uuid.ok_or_else(|| {
        let expected = "expected 32 hexadecimal digits, or 36 characters with dashes as in \
                        2a4d1c58-1faa-42a1-a41d-26efc90c1315";
        format!("no UUID: {expected}")
    })
}

fn parse_features(list: &str) -> Result<FeatureRequest, FeatureError> {
    FeatureRequest::parse(list)
}

impl Cli {
    /// The wishes for the volume.
    ///
    /// # Errors
    /// If the options about the cluster are incomplete or invalid.
    pub fn options(&self) -> Result<Options, ClusterError> {
        let mut features = self.fs_features.unwrap_or_default();
        if self.no_backup_super {
            features.clear = features.clear.union(backup_super());
        }
        let (stack, name) = (self.cluster_stack.as_deref(), self.cluster_name.as_deref());
        let journals = self.journal_options.iter().copied();
        Ok(Options {
            block_size: self.block_size,
            cluster_size: self.cluster_size,
            slots: self.node_slots,
            label: self.label.clone().unwrap_or_default().into_vec(),
            uuid: self.uuid,
            mount: self.mount,
            purpose: self.purpose,
            level: self.fs_feature_level,
            features,
            journal: journals.fold(JournalOptions::default(), JournalOptions::then),
            cluster: ClusterId::from_options(stack, name, self.global_heartbeat)?,
            heartbeat_device: self.heartbeat_device,
            name_hash: self.name_hash,
            extent: self.size.unwrap_or_default(),
            force: self.force,
        })
    }
}

fn backup_super() -> Features {
    Features { compat: ocfs2_format::feature::Compat::BACKUP_SB, ..Features::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::LABEL_BYTES;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
        assert_eq!(LABEL_BYTES, 63, "the help says 63");
    }

    #[test]
    fn options_are_taken_in_every_form_getopt_took_them() {
        for line in [
            "mkfs.ocfs2 -b 4K -C 8K -N 4 -L x -FnqvH -J size=8M,block64 -M local disk",
            "mkfs.ocfs2 disk -b4K -C8K -N4 -Lx -F -n -q -v -H -Jsize=8M -J block64 -Mlocal",
            "mkfs.ocfs2 --block-size=4k --cluster-size=8k --node-slots=4 --label=x --force \
             --dry-run --quiet --verbose --heartbeat-device --journal-options=size=8M,block64 \
             --mount=l disk",
            "mkfs.ocfs2 --block-size 4k --cluster-size 8k --node-slots 4 --label x --force \
             --dry --quiet --verb --heartbeat --journal-options size=8M,noblock32 --mou LOCAL disk",
            "mkfs.ocfs2 -b 1k -b 4k -C 8k -N 9 -N 4 -L y -L x -FF -nn -q -v -H -J size=9M \
             -J size=8M,block64 -M cluster -M local disk",
        ] {
            let cli = parse(line).unwrap_or_else(|err| panic!("{line}\n{err}"));
            let options = cli.options().unwrap();
            assert_eq!(options.block_size.map(BlockSize::bytes), Some(4096), "{line}");
            assert_eq!(options.cluster_size.map(ClusterSize::bytes), Some(8192));
            assert_eq!((options.slots, options.label), (Some(4), b"x".to_vec()));
            let journal = JournalOptions { size: Some(8 << 20), block64: Some(true) };
            assert_eq!((options.journal, options.mount), (journal, Some(MountType::Local)));
            assert!(options.heartbeat_device && options.force && cli.dry_run && cli.quiet);
            assert_eq!(cli.device, PathBuf::from("disk"));
        }
    }

    #[test]
    fn an_option_of_the_front_end_is_explained() {
        assert!(of_front_end("-t").unwrap().contains("`mkfs -t ocfs2 DEVICE`"));
        assert_eq!(of_front_end("-z"), None);
        assert!(!command().get_arguments().any(|arg| arg.get_short() == Some('t')));
    }

    #[test]
    fn the_last_of_discard_and_nodiscard_counts() {
        let nodiscard = |line| parse(line).unwrap().nodiscard;
        assert!(!nodiscard("mkfs.ocfs2 disk"));
        assert!(nodiscard("mkfs.ocfs2 --discard --nodiscard disk"));
        assert!(!nodiscard("mkfs.ocfs2 --nodiscard --discard disk"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, message) in [
            ("mkfs.ocfs2", "<DEVICE>"),
            ("mkfs.ocfs2 -b 8k disk", "8192 is not a block size"),
            ("mkfs.ocfs2 -N 300 disk", "300 is not in 1..=255"),
            ("mkfs.ocfs2 -M nfs disk", "expected local or cluster"),
            ("mkfs.ocfs2 -T files disk", "expected mail, datafiles or vmstore"),
            ("mkfs.ocfs2 -U zz disk", "no UUID: expected 32 hexadecimal digits"),
            ("mkfs.ocfs2 -U {2a4d1c58-1faa-42a1-a41d-26efc90c1315} disk", "no UUID"),
            ("mkfs.ocfs2 -J fast disk", "unknown journal option `fast`"),
            ("mkfs.ocfs2 --fs-features=foo disk", "unknown feature `foo`"),
            ("mkfs.ocfs2 --fs-features=xattr,noxattr disk", "both asked for and asked against"),
            ("mkfs.ocfs2 --fs-feature-level=high disk", "expected max-compat, default or"),
            ("mkfs.ocfs2 disk many", "expected a number of blocks, or a size"),
            ("mkfs.ocfs2 --bogus disk", "--bogus"),
        ] {
            let err = parse(line).unwrap_err().to_string();
            assert!(err.contains(message), "{line}\n{err}");
        }
    }

    #[test]
    fn no_backup_super_is_a_feature_that_is_asked_against() {
        let features = |line: &str| parse(line).unwrap().options().unwrap().features;
        let old = features("mkfs.ocfs2 --no-backup-super disk");
        assert_eq!(old, features("mkfs.ocfs2 --fs-features=nobackup-super disk"));
    }
}
