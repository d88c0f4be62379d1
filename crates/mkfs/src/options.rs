//! What a user may wish of a new volume.

use std::str::FromStr;

use ocfs2_format::feature::{FeatureRequest, Features};
use ocfs2_format::hash::CharSign;
use ocfs2_format::{BlockSize, ClusterSize};
use uuid::Uuid;

/// What a user wishes. What is left open is decided by the size of the device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// Bytes of a block.
    pub block_size: Option<BlockSize>,
    /// Bytes of a cluster.
    pub cluster_size: Option<ClusterSize>,
    /// Node slots, 1 to 255.
    pub slots: Option<u16>,
    /// Label; empty for none.
    pub label: Vec<u8>,
    /// UUID; random if not given.
    pub uuid: Option<Uuid>,
    /// Who mounts it.
    pub mount: Option<MountType>,
    /// What for.
    pub purpose: Option<Purpose>,
    /// The features to start from.
    pub level: Level,
    /// Features asked for and against.
    pub features: FeatureRequest,
    /// The journals.
    pub journal: JournalOptions,
    /// The cluster it belongs to.
    pub cluster: Option<ClusterId>,
    /// Nothing but a heartbeat region.
    pub heartbeat_device: bool,
    /// How names with bytes from 0x80 on are hashed.
    pub name_hash: CharSign,
    /// How much of the device to use.
    pub extent: Extent,
    /// Accept a cluster that is not the one that runs here, or the one the device is in.
    pub force: bool,
}

/// How much of a device a volume takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Extent {
    /// All of it.
    #[default]
    Whole,
    /// So many blocks of the volume's block size.
    Blocks(u64),
    /// So many bytes.
    Bytes(u64),
}

/// `-M`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MountType {
    /// A single node, without a cluster.
    Local,
    /// The nodes of a cluster.
    Cluster,
}

/// `-T`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Many small files.
    Mail,
    /// Few large files.
    Datafiles,
    /// Images of virtual machines.
    VmStore,
}

/// `--fs-feature-level`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Level {
    /// What the oldest drivers mount.
    MaxCompat,
    /// What drivers have mounted for years.
    #[default]
    Default,
    /// Everything.
    MaxFeatures,
}

/// `-J`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct JournalOptions {
    /// Bytes of each journal.
    pub size: Option<u64>,
    /// Whether block numbers have 64 bits; if not given, where they need it.
    pub block64: Option<bool>,
}

/// A cluster stack, and a cluster of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterId {
    /// Label of the stack, e.g. `o2cb`.
    pub stack: [u8; 4],
    /// Name of the cluster, 1 to 16 bytes.
    pub cluster: String,
    /// o2cb: one heartbeat for all volumes.
    pub global_heartbeat: bool,
}

/// A word or number on the command line that is none of those there are.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OptionError {
    /// Not among the words.
    #[error("expected {expected}")]
    NotOneOf {
        /// The words.
        expected: &'static str,
    },
    /// A size that is not a power of two, or too small or large.
    #[error("{found} is not a {what} size: expected a power of two from {min} to {max}")]
    Size {
        /// `block` or `cluster`.
        what: &'static str,
        /// Bytes asked for.
        found: u64,
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
    /// No size at all.
    #[error(transparent)]
    NoSize(#[from] ocfs2_cli::SizeError),
    /// No number of blocks.
    #[error("expected a number of blocks, or a size with a unit such as 4G")]
    NoBlocks,
    /// A journal option that there is not.
    #[error("unknown journal option `{0}`: expected size=SIZE, block32 or block64")]
    Journal(String),
}

/// The largest power of two that is not larger: mkfs.ocfs2 takes sizes so.
fn power_of_two(bytes: u64) -> u64 {
    bytes.checked_ilog2().map_or(0, |bits| 1 << bits)
}

/// Parses the argument of `-b`.
///
/// # Errors
/// Not 512 to 4096 bytes once rounded down to a power of two.
pub fn parse_block_size(text: &str) -> Result<BlockSize, OptionError> {
    let found = ocfs2_cli::parse_size(text)?;
    let (min, max) = (BlockSize::MIN.bytes(), BlockSize::MAX.bytes());
    BlockSize::from_bytes(power_of_two(found)).ok_or(OptionError::Size {
        what: "block",
        found,
        min,
        max,
    })
}

/// Parses the argument of `-C`.
///
/// # Errors
/// Not 4 KiB to 1 MiB once rounded down to a power of two.
pub fn parse_cluster_size(text: &str) -> Result<ClusterSize, OptionError> {
    let found = ocfs2_cli::parse_size(text)?;
    let (min, max) = (ClusterSize::MIN.bytes(), ClusterSize::MAX.bytes());
    ClusterSize::from_bytes(power_of_two(found)).ok_or(OptionError::Size {
        what: "cluster",
        found,
        min,
        max,
    })
}

impl FromStr for MountType {
    type Err = OptionError;

    /// Any case, and any abbreviation.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "" => Err(OptionError::NotOneOf { expected: "local or cluster" }),
            _ if "local".starts_with(&text) => Ok(Self::Local),
            _ if "cluster".starts_with(&text) => Ok(Self::Cluster),
            _ => Err(OptionError::NotOneOf { expected: "local or cluster" }),
        }
    }
}

impl FromStr for Purpose {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "mail" => Ok(Self::Mail),
            "datafiles" => Ok(Self::Datafiles),
            "vmstore" => Ok(Self::VmStore),
            _ => Err(OptionError::NotOneOf { expected: "mail, datafiles or vmstore" }),
        }
    }
}

impl Purpose {
    /// As `-T` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Datafiles => "datafiles",
            Self::VmStore => "vmstore",
        }
    }
}

impl FromStr for Level {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "max-compat" => Ok(Self::MaxCompat),
            "default" => Ok(Self::Default),
            "max-features" => Ok(Self::MaxFeatures),
            _ => Err(OptionError::NotOneOf { expected: "max-compat, default or max-features" }),
        }
    }
}

impl Level {
    /// Its features.
    pub fn features(self) -> Features {
        match self {
            Self::MaxCompat => Features::MAX_COMPAT,
            Self::Default => Features::DEFAULT,
            Self::MaxFeatures => Features::MAX_FEATURES,
        }
    }
}

impl FromStr for JournalOptions {
    type Err = OptionError;

    /// A comma separated list; of options that exclude each other the last one counts.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "block32" | "noblock64" => options.block64 = Some(false),
                "block64" | "noblock32" => options.block64 = Some(true),
                _ => match word.strip_prefix("size=") {
                    Some(size) => options.size = Some(ocfs2_cli::parse_size(size)?),
                    None => return Err(OptionError::Journal(word.to_owned())),
                },
            }
        }
        Ok(options)
    }
}

impl JournalOptions {
    /// This, and what `later` says instead.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self { size: later.size.or(self.size), block64: later.block64.or(self.block64) }
    }
}

impl FromStr for Extent {
    type Err = OptionError;

    /// A bare number is blocks, as mkfs.ocfs2 has it; with a unit it is a size.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Blocks).map_err(|_| OptionError::NoBlocks);
        }
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(OptionError::NoBlocks);
        }
        Ok(Self::Bytes(ocfs2_cli::parse_size(text)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_and_cluster_sizes_are_rounded_down_to_powers_of_two() {
        let block = |text| parse_block_size(text).map(BlockSize::bytes);
        for (text, bytes) in [("512", 512), ("4k", 4096), ("4K", 4096), ("1023b", 512)] {
            assert_eq!(block(text), Ok(bytes), "{text}");
        }
        let cluster = |text| parse_cluster_size(text).map(ClusterSize::bytes);
        assert_eq!((cluster("1M"), cluster("5K")), (Ok(1 << 20), Ok(4096)));
        for text in ["0", "511", "8k"] {
            let message = block(text).unwrap_err().to_string();
            assert!(message.ends_with("expected a power of two from 512 to 4096"), "{message}");
        }
        let message = cluster("2M").unwrap_err().to_string();
        assert!(message.starts_with("2097152 is not a cluster size"), "{message}");
        assert!(matches!(block("four"), Err(OptionError::NoSize(_))));
    }

    #[test]
    fn mount_types_may_be_abbreviated_in_any_case() {
        for (text, mount) in [
            ("local", MountType::Local),
            ("L", MountType::Local),
            ("Cluster", MountType::Cluster),
            ("clus", MountType::Cluster),
        ] {
            assert_eq!(text.parse(), Ok(mount), "{text}");
        }
        for text in ["", "locally", "x"] {
            assert!(text.parse::<MountType>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_of_contrary_journal_options_counts() {
        let parse = |text: &str| text.parse::<JournalOptions>();
        let both = JournalOptions { size: Some(64 << 20), block64: Some(true) };
        assert_eq!(parse("size=64M,block64"), Ok(both));
        assert_eq!(parse("block32,noblock32").unwrap().block64, Some(true));
        assert_eq!(parse("noblock64").unwrap().block64, Some(false));
        assert_eq!(parse("size=1M").unwrap().then(both), both);
        assert_eq!(both.then(JournalOptions::default()), both);
        assert_eq!(parse("speed"), Err(OptionError::Journal("speed".to_owned())));
        assert!(matches!(parse("size=big"), Err(OptionError::NoSize(_))));
    }

    #[test]
    fn a_bare_number_is_blocks_and_one_with_a_unit_a_size() {
        assert_eq!("1000".parse(), Ok(Extent::Blocks(1000)));
        assert_eq!("4G".parse(), Ok(Extent::Bytes(4 << 30)));
        assert_eq!("4096b".parse(), Ok(Extent::Bytes(4096)));
        for text in ["", "x", "-1", "99999999999999999999"] {
            assert_eq!(text.parse::<Extent>(), Err(OptionError::NoBlocks), "{text}");
        }
    }
}
