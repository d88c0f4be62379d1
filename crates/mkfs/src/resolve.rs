//! From the wishes and a device to the settings of a volume: the defaults, and all refusals that do
//! not depend on the layout.
//!
//! The defaults are those of mkfs.ocfs2 1.8, except where these make an unusable volume. The
//! exceptions are noted below.

use ocfs2_format::feature::{Compat, Features, Incompat, RoCompat};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::superblock::{ClusterInfo, MAX_SLOTS};
use ocfs2_format::{BlockSize, ClusterSize};

use crate::Settings;
use crate::journal_size::journal_bytes;
use crate::options::{ClusterId, Extent, MountType, Options, Purpose};
use crate::random::Random;
use crate::stack::CLUSTER_NAME_BYTES;

/// Longest label in bytes; the last of 64 stays NUL.
pub const LABEL_BYTES: usize = 63;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Facts about a device and its machine that affect a new volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// Size of the device in bytes, or the intended size of an image.
    pub size_bytes: u64,
    /// Sector size of the device in bytes.
    pub sector_size: u32,
    /// The cluster that runs here.
    pub running: Option<ClusterId>,
    /// The cluster that the volume on the device belongs to.
    pub on_disk: Option<ClusterId>,
    /// Seconds since 1970.
    pub time: u64,
    /// UUID, generation and hash seed, where not specified.
    pub random: Random,
}

/// The reason why there cannot be such a volume on this device.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResolveError {
    /// The label is too long.
    #[error("the label is {length} bytes long; at most {LABEL_BYTES} fit")]
    LabelTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The number of slots is not valid.
    #[error("{0} node slots: there can be 1 to {MAX_SLOTS}")]
    Slots(u16),
    /// The block size is smaller than a sector of the device.
    #[error("a block of {block_size} bytes is smaller than a sector of the device ({sector_size})")]
    BlockBelowSector {
        /// Block size in bytes.
        block_size: u32,
        /// Sector size in bytes.
        sector_size: u32,
    },
    /// The sectors are larger than the largest block size.
    #[error("the device has sectors of {0} bytes; volumes have blocks of at most 4096")]
    SectorTooLarge(u32),
    /// The requested size is larger than the device.
    #[error(
        "{asked} bytes were asked for ({blocks} blocks of {block_size}); the device has {size}"
    )]
    LargerThanDevice {
        /// Requested size in bytes.
        asked: u64,
        /// Requested size in blocks.
        blocks: u64,
        /// Block size in bytes.
        block_size: u32,
        /// Size of the device in bytes.
        size: u64,
    },
    /// The cluster that runs here has a name that volumes cannot hold.
    #[error(
        "{0} runs on this host, and its name has more than {CLUSTER_NAME_BYTES} bytes, which is the \
         most that a volume holds: rename the cluster"
    )]
    LongClusterName(ClusterId),
    /// There are not enough blocks for any journal.
    #[error(
        "{size} bytes are too small: {blocks} blocks of {block_size}, and a volume needs at \
         least 2048"
    )]
    TooSmall {
        /// Size of the volume in bytes.
        size: u64,
        /// Size of the volume in blocks.
        blocks: u64,
        /// Block size in bytes.
        block_size: u32,
    },
    /// The volume is too small for `-T`.
    #[error("-T {purpose} needs at least 2 GiB; there are {size} bytes")]
    TooSmallFor {
        /// The argument of `-T`.
        purpose: &'static str,
        /// Size of the volume in bytes.
        size: u64,
    },
    /// There would be more clusters than 32-bit numbers can count.
    #[error(
        "{clusters} clusters of {cluster_size} bytes are too many (at most 4294967295){}",
        better.map_or(String::new(), |size| format!("; clusters of {size} bytes would do"))
    )]
    TooManyClusters {
        /// Number of clusters.
        clusters: u64,
        /// Cluster size in bytes.
        cluster_size: u32,
        /// The smallest cluster size that is large enough, if there is one.
        better: Option<u32>,
    },
    /// `-J size=` is below the minimum.
    #[error("a journal of {size} bytes is too small: it needs at least {least}")]
    JournalTooSmall {
        /// Requested size in bytes.
        size: u64,
        /// The minimum: 4 MiB, or 9 clusters.
        least: u64,
    },
    /// The journals do not leave enough space.
    #[error(
        "{slots} journals of {size} bytes need {total} bytes, and the volume has {volume}; \
         give fewer node slots (-N) or smaller journals (-J size=)"
    )]
    JournalsTooLarge {
        /// Number of journals.
        slots: u16,
        /// Size of each in bytes.
        size: u64,
        /// Size of all in bytes, plus what must be left for everything else.
        total: u64,
        /// Size of the volume in bytes.
        volume: u64,
    },
    /// A journal would have more blocks than 32-bit numbers can count.
    #[error("a journal of {size} bytes has more than 4294967295 blocks")]
    JournalBlocks {
        /// Requested size in bytes.
        size: u64,
    },
    /// 32-bit block numbers do not reach the end of the volume.
    #[error(
        "a journal with 32-bit block numbers (-J block32) cannot cover {blocks} blocks; \
         Linux would not mount the volume"
    )]
    NeedsBlock64 {
        /// Number of blocks of the volume.
        blocks: u64,
    },
    /// `-M` contradicts `--fs-features`.
    #[error("-M {0} contradicts --fs-features={1}")]
    MountAgainstFeature(&'static str, &'static str),
    /// A local volume belongs to no cluster.
    #[error("a local volume has no cluster; leave out --cluster-stack or the local mount")]
    LocalWithCluster,
    /// The feature clusterinfo was requested, but no cluster is known.
    #[error(
        "feature clusterinfo needs a cluster: give --cluster-stack and --cluster-name{}",
        if *local { ", and no local mount" } else { "" }
    )]
    ClusterinfoWithoutCluster {
        /// Whether the reason is that the volume is local.
        local: bool,
    },
    /// A feature that the cluster needs was switched off.
    #[error("{cluster} needs feature {feature}, which --fs-features asks against")]
    ClusterNeeds {
        /// The cluster.
        cluster: ClusterId,
        /// The feature.
        feature: &'static str,
    },
    /// Two sources name different clusters.
    #[error("{source_says} {chosen}, but {other_says} {other}; -F accepts this")]
    ClusterMismatch {
        /// The source of the cluster: `the options name` or `this machine runs`.
        source_says: &'static str,
        /// The cluster.
        chosen: ClusterId,
        /// The source of the other cluster.
        other_says: &'static str,
        /// The other cluster.
        other: ClusterId,
    },
}

/// Decides everything that `options` leave open.
///
/// # Errors
/// The first reason why there cannot be such a volume.
pub fn resolve(options: &Options, facts: &Facts) -> Result<Settings, ResolveError> {
    if options.label.len() > LABEL_BYTES {
        return Err(ResolveError::LabelTooLong { length: options.label.len() });
    }
    if let Some(slots) = options.slots.filter(|slots| !(1..=MAX_SLOTS).contains(slots)) {
        return Err(ResolveError::Slots(slots));
    }
    let local = is_local(options)?;
    let (features, cluster) = features(options, facts, local)?;
    let geometry = geometry(options, facts)?;
    let size = geometry.size_bytes();
    let slots = match options.slots {
        _ if options.heartbeat_device => 0,
        Some(slots) => slots,
        None if local => 1,
        None => default_slots(size),
    };
    let journal = match options.heartbeat_device {
        true => None,
        false => Some(journal_bytes(options, &geometry, slots)?),
    };
    Ok(Settings {
        geometry,
        slots,
        label: options.label.clone(),
        uuid: options.uuid.unwrap_or(facts.random.uuid),
        features,
        cluster_info: cluster.map_or_else(ClusterInfo::default, |cluster| cluster.info()),
        journal_bytes: journal,
        journal_block64: block64(options, &geometry)?,
        extent_groups: match options.heartbeat_device {
            true => 0,
            false => extent_groups(options.purpose, &geometry, slots),
        },
        generation: facts.random.generation,
        dx_seed: facts.random.dx_seed,
        name_hash: options.name_hash,
        time: facts.time,
    })
}

fn is_local(options: &Options) -> Result<bool, ResolveError> {
    let asked = |features: Features| features.incompat.contains(Incompat::LOCAL_MOUNT);
    match options.mount {
        Some(MountType::Local) if asked(options.features.clear) => {
            Err(ResolveError::MountAgainstFeature("local", "nolocal"))
        }
        Some(MountType::Cluster) if asked(options.features.set) => {
            Err(ResolveError::MountAgainstFeature("cluster", "local"))
        }
        mount => Ok(mount == Some(MountType::Local) || asked(options.features.set)),
    }
}

/// Returns the features that the superblock will state, and the cluster it will name.
///
/// mkfs.ocfs2 accepts `clusterinfo` without a cluster, and the kernel then refuses to mount the
/// volume. Here that is an error.
fn features(
    options: &Options,
    facts: &Facts,
    local: bool,
) -> Result<(Features, Option<ClusterId>), ResolveError> {
    let mut features = options.features.apply(options.level.features());
    if options.heartbeat_device {
        features = Features {
            compat: Compat::JBD2_SB,
            incompat: Incompat::HEARTBEAT_DEV,
            ro_compat: RoCompat::empty(),
        };
    }
    let set = options.features.set.incompat;
    let clear = options.features.clear.incompat;
    let clusterinfo = set.contains(Incompat::CLUSTERINFO);
    if local {
        features.incompat |= Incompat::LOCAL_MOUNT;
        return match options.cluster {
            Some(_) => Err(ResolveError::LocalWithCluster),
            None if clusterinfo => Err(ResolveError::ClusterinfoWithoutCluster { local }),
            None => Ok((features, None)),
        };
    }
    let Some(cluster) = choose_cluster(options, facts)? else {
        return match clusterinfo {
            true => Err(ResolveError::ClusterinfoWithoutCluster { local }),
            false => Ok((features, None)),
        };
    };
    features.incompat |= set & Incompat::CLUSTERINFO;
    cluster.add_features(&mut features);
    for (bit, feature) in
        [(Incompat::EXTENDED_SLOT_MAP, "extended-slotmap"), (Incompat::CLUSTERINFO, "clusterinfo")]
    {
        if features.incompat.contains(bit) && clear.contains(bit) {
            return Err(ResolveError::ClusterNeeds { cluster, feature });
        }
    }
    Ok((features, Some(cluster)))
}

/// Chooses the cluster that the volume will name: the requested one, else the one that runs here,
/// else that of the volume on the device. `None` if it will not name one.
fn choose_cluster(options: &Options, facts: &Facts) -> Result<Option<ClusterId>, ResolveError> {
    let sources = [
        ("the options name", &options.cluster),
        ("this machine runs", &facts.running),
        ("the volume there is of", &facts.on_disk),
    ];
    let known = sources.into_iter().filter_map(|(says, id)| Some((says, id.as_ref()?)));
    let mut known = known.collect::<Vec<_>>().into_iter();
    let Some((source_says, chosen)) = known.next() else { return Ok(None) };
    if let Some((other_says, other)) = known.find(|(_, other)| *other != chosen)
        && !options.force
    {
        let (chosen, other) = (chosen.clone(), other.clone());
        return Err(ResolveError::ClusterMismatch { source_says, chosen, other_says, other });
    }
    if chosen.cluster.len() > CLUSTER_NAME_BYTES {
        return Err(ResolveError::LongClusterName(chosen.clone()));
    }
    let clusterinfo = options.features.set.incompat.contains(Incompat::CLUSTERINFO);
    // A volume that named its cluster keeps the name.
    let named = facts.on_disk.as_ref() == Some(chosen);
    let stated = options.cluster.is_some() || clusterinfo || named || chosen.is_worth_stating();
    Ok(stated.then(|| chosen.clone()))
}

fn geometry(options: &Options, facts: &Facts) -> Result<Geometry, ResolveError> {
    let sector_size = facts.sector_size;
    let sector = BlockSize::from_bytes(sector_size.into())
        .ok_or(ResolveError::SectorTooLarge(sector_size))?;
    let whole = |unit: BlockSize| facts.size_bytes - facts.size_bytes % u64::from(unit.bytes());
    let size_with = |unit: BlockSize| match options.extent {
        Extent::Whole => whole(unit),
        Extent::Blocks(blocks) => blocks.saturating_mul(unit.bytes().into()),
        Extent::Bytes(bytes) => bytes - bytes % u64::from(unit.bytes()),
    };
    let block_size = match options.block_size {
        Some(block_size) => block_size,
        None if options.heartbeat_device => sector,
        None => default_block_size(size_with(BlockSize::MAX)).max(sector),
    };
    if block_size < sector {
        let block_size = block_size.bytes();
        return Err(ResolveError::BlockBelowSector { block_size, sector_size });
    }
    let mut size = size_with(block_size);
    if size > whole(block_size) {
        let (blocks, block_size) = (size / u64::from(block_size.bytes()), block_size.bytes());
        let asked = size;
        let size = facts.size_bytes;
        return Err(ResolveError::LargerThanDevice { asked, blocks, block_size, size });
    }
    if options.heartbeat_device {
        size = size.min(heartbeat_device_bytes(block_size, options.cluster_size));
    }
    let cluster_size = cluster_size(options, size)?;
    let clusters = size / u64::from(cluster_size.bytes());
    let blocks = clusters * u64::from(cluster_size.bytes() / block_size.bytes());
    let Ok(clusters) = u32::try_from(clusters) else {
        let better = smallest_cluster_size(size).map(ClusterSize::bytes);
        let cluster_size = cluster_size.bytes();
        return Err(ResolveError::TooManyClusters { clusters, cluster_size, better });
    };
    let needed = if options.heartbeat_device { 1 } else { 2048 };
    if blocks < needed {
        let block_size = block_size.bytes();
        return Err(ResolveError::TooSmall { size, blocks, block_size });
    }
    Ok(Geometry::new(block_size, cluster_size, clusters))
}

/// Returns the size in bytes to which a heartbeat device is limited.
///
/// mkfs.ocfs2 uses 269 blocks, in whole MiB. With blocks of at least 2 KiB, or clusters of at least
/// 512 KiB, this is too small for what it writes, so the actual need is considered as well.
fn heartbeat_device_bytes(block_size: BlockSize, cluster_size: Option<ClusterSize>) -> u64 {
    let block = u64::from(block_size.bytes());
    let cluster = u64::from(cluster_size.unwrap_or(ClusterSize::MIN).bytes());
    let clusters = |blocks: u64| (blocks * block).next_multiple_of(cluster);
    // Up to the superblock; then the descriptor, the inodes of the system files, the system
    // directory (which is not always inline) and the heartbeat region.
    let needed = clusters(3) + cluster + clusters(6 + 7 + 8 * 32) + cluster + clusters(256);
    needed.max((4 + 255 + 10) * block).next_multiple_of(MIB)
}

fn default_block_size(size: u64) -> BlockSize {
    let bits = match size {
        _ if size <= 3 * MIB => 9,
        _ if size >= GIB => 12,
        _ if size >= GIB / 2 => 11,
        _ => 10,
    };
    BlockSize::from_bits(bits).unwrap_or(BlockSize::MAX)
}

fn cluster_size(options: &Options, size: u64) -> Result<ClusterSize, ResolveError> {
    if let Some(cluster_size) = options.cluster_size {
        return Ok(cluster_size);
    }
    let by_purpose = match options.purpose {
        None | Some(Purpose::Mail) => smallest_cluster_size(size),
        Some(purpose) => ClusterSize::from_bits(match size / GIB {
            0..2 => return Err(ResolveError::TooSmallFor { purpose: purpose.name(), size }),
            2..64 => 17,
            64..96 => 18,
            96..128 => 19,
            _ => 20,
        }),
    };
    Ok(by_purpose.unwrap_or(ClusterSize::MAX))
}

/// Returns the smallest cluster size with which cluster numbers reach the end, with one to spare.
fn smallest_cluster_size(size: u64) -> Option<ClusterSize> {
    let enough = |size_bits: &u32| size >> *size_bits <= u64::from(u32::MAX - 1);
    (12..=20).find(enough).and_then(ClusterSize::from_bits)
}

fn default_slots(size: u64) -> u16 {
    match size / GIB {
        0..2 => 2,
        2..10 => 4,
        10..1024 => 8,
        _ => 16,
    }
}

/// Whether journals use 64-bit block numbers.
///
/// If block numbers need more than 32 bits, mkfs.ocfs2 requires an option; here it is the default.
/// Linux does not mount such a volume if its journals have 32-bit block numbers.
fn block64(options: &Options, geometry: &Geometry) -> Result<bool, ResolveError> {
    let blocks = geometry.blocks();
    let needed = !options.heartbeat_device && blocks > 1 << 32;
    match options.journal.block64 {
        Some(false) if needed => Err(ResolveError::NeedsBlock64 { blocks }),
        asked => Ok(asked.unwrap_or(needed)),
    }
}

/// Returns the initial number of groups of each slot's extent allocator: about 0.1 % of the volume
/// for all of them together, or 0.3 % for large files; 0 if one group each would exceed 5 %.
fn extent_groups(purpose: Option<Purpose>, geometry: &Geometry, slots: u16) -> u32 {
    let per_mille = match purpose {
        Some(Purpose::Datafiles | Purpose::VmStore) => 3,
        None | Some(Purpose::Mail) => 1,
    };
    let unit = u128::from(group_bytes(geometry.block_size)) * u128::from(slots.max(1));
    let size = u128::from(geometry.size_bytes());
    let groups = (size * per_mille).div_ceil(unit * 1000).max(1);
    let groups = if groups * unit * 100 > size * 5 { groups - 1 } else { groups };
    u32::try_from(groups).unwrap_or(u32::MAX)
}

/// Size in bytes of a group of an inode or extent allocator.
pub(crate) fn group_bytes(block_size: BlockSize) -> u32 {
    match block_size.bytes() {
        512 => 1 << 20,
        1024 => 2 << 20,
        _ => 4 << 20,
    }
}

#[cfg(test)]
mod tests;
