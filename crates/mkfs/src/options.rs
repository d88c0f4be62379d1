//! The user's wishes for a new volume.

use std::str::FromStr;

use ocfs2_format::feature::{FeatureRequest, Features};
use ocfs2_format::hash::CharSign;
use ocfs2_format::{BlockSize, ClusterSize};
use uuid::Uuid;

/// The user's wishes. What they leave open depends on the size of the device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// Block size.
    pub block_size: Option<BlockSize>,
    /// Cluster size.
    pub cluster_size: Option<ClusterSize>,
    /// Node slots, 1 to 255.
    pub slots: Option<u16>,
    /// Label; empty for none.
    pub label: Vec<u8>,
    /// UUID; random if not given.
    pub uuid: Option<Uuid>,
    /// Who mounts it: one node or a cluster.
    pub mount: Option<MountType>,
    /// The purpose of the volume.
    pub purpose: Option<Purpose>,
    /// The features to start from.
    pub level: Level,
    /// Features to switch on and off.
    pub features: FeatureRequest,
    /// Size and block numbers of the journals.
    pub journal: JournalOptions,
    /// The cluster it belongs to.
    pub cluster: Option<ClusterId>,
    /// Make only a heartbeat region.
    pub heartbeat_device: bool,
    /// Hash of names with bytes from 0x80 on.
    pub name_hash: CharSign,
    /// The part of the device to use.
    pub extent: Extent,
    /// Accept a cluster that contradicts the one that runs here or the one on the device.
    pub force: bool,
}

/// The size of a volume on its device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Extent {
    /// All of the device.
    #[default]
    Whole,
    /// This many blocks of the volume.
    Blocks(u64),
    /// This many bytes.
    Bytes(u64),
}

/// Argument of `-M`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MountType {
    /// A single node, without a cluster.
    Local,
    /// The nodes of a cluster.
    Cluster,
}

/// Argument of `-T`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Many small files.
    Mail,
    /// Few large files.
    Datafiles,
    /// Images of virtual machines.
    VmStore,
}

/// Argument of `--fs-feature-level`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Level {
    /// Only features that the oldest drivers support.
    MaxCompat,
    /// Features that drivers have supported for years.
    #[default]
    Default,
    /// All features.
    MaxFeatures,
}

/// Arguments of `-J`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct JournalOptions {
    /// Size of each journal in bytes.
    pub size: Option<u64>,
    /// Whether block numbers have 64 bits; `None` for only if needed.
    pub block64: Option<bool>,
}

/// A cluster and its stack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterId {
    /// Label of the stack, e.g. `o2cb`.
    pub stack: [u8; 4],
    /// Name of the cluster, 1 to 16 bytes.
    pub cluster: String,
    /// Whether one heartbeat serves all volumes; o2cb only.
    pub global_heartbeat: bool,
}

/// An invalid argument on the command line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OptionError {
    /// A word that is not one of the expected ones.
    #[error("expected {expected}")]
    NotOneOf {
        /// The expected words.
        expected: &'static str,
    },
    /// A size that is too small or too large.
    #[error("{found} is not a {what} size: expected a power of two from {min} to {max}")]
    Size {
        /// `block` or `cluster`.
        what: &'static str,
        /// The size in bytes.
        found: u64,
        /// Smallest valid size in bytes.
        min: u32,
        /// Largest valid size in bytes.
        max: u32,
    },
    /// Not a size.
    #[error(transparent)]
    NoSize(#[from] ocfs2_cli::SizeError),
    /// Not a number of blocks.
    #[error("expected a number of blocks, or a size with a unit such as 4G")]
    NoBlocks,
    /// An unknown journal option.
    #[error("unknown journal option `{0}`: expected size=SIZE, block32 or block64")]
    Journal(String),
}

/// Rounds down to a power of two, as mkfs.ocfs2 does.
fn power_of_two(bytes: u64) -> u64 {
    bytes.checked_ilog2().map_or(0, |bits| 1 << bits)
}

/// Parses the argument of `-b`.
///
/// # Errors
/// If the size is not 512 to 4096 bytes after rounding down to a power of two.
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
/// If the size is not 4 KiB to 1 MiB after rounding down to a power of two.
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

    /// Accepts upper and lower case, and any abbreviation.
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
    /// The argument of `-T`.
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
    /// The features of the level.
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

    /// Parses a comma-separated list. Of options that exclude each other the last one counts.
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
    /// These options, overridden by those in `later`.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self { size: later.size.or(self.size), block64: later.block64.or(self.block64) }
    }
}

impl FromStr for Extent {
    type Err = OptionError;

    /// As in mkfs.ocfs2, a bare number means blocks; with a unit it is a size.
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
