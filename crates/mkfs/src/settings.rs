//! All settings of a new volume, which determine every byte of it.

use ocfs2_format::feature::Features;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::hash::CharSign;
use ocfs2_format::superblock::ClusterInfo;
use uuid::Uuid;

/// The settings of a new volume. Two runs with the same settings write the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Block size, cluster size, number of clusters.
    pub geometry: Geometry,
    /// Node slots, 1 to 255; 0 on a heartbeat device.
    pub slots: u16,
    /// Label, at most 63 bytes without NUL.
    pub label: Vec<u8>,
    /// UUID of the volume.
    pub uuid: Uuid,
    /// Features as the superblock will state them.
    pub features: Features,
    /// The contents of `s_cluster_info`; zero without a stack.
    pub cluster_info: ClusterInfo,
    /// Size of each journal in bytes, a multiple of the cluster size; `None` on a heartbeat
    /// device.
    pub journal_bytes: Option<u64>,
    /// Whether journals use 64-bit block numbers.
    pub journal_block64: bool,
    /// Initial number of groups of each slot's extent allocator.
    pub extent_groups: u32,
    /// Generation of the volume.
    pub generation: u32,
    /// Seed of the directory hash; used with indexed-dirs.
    pub dx_seed: [u32; 3],
    /// Hash of names with bytes from 0x80 on, in directory indexes and for attributes.
    pub name_hash: CharSign,
    /// Time of format in seconds since 1970.
    pub time: u64,
}

impl Settings {
    /// Whether the volume will consist only of a heartbeat region.
    pub fn is_heartbeat_device(&self) -> bool {
        self.journal_bytes.is_none()
    }
}
