//! The summary of a new volume.

use std::fmt;

use ocfs2_cli::encode::{json_path, json_path_escaped, json_text};
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::STACKFLAG_GLOBAL_HEARTBEAT;
use serde::Serialize;

use crate::cli::Cli;
use crate::{Plan, Purpose, Settings};

/// A summary of a volume: printed as text before it is made, as JSON afterwards. The names of the
/// fields are those of the JSON.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Summary {
    /// Device or image.
    pub device: String,
    /// If the path has bytes that are not UTF-8: the path with these bytes as `\xff` and
    /// backslashes doubled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_escaped: Option<String>,
    /// Number of the partition, if one was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Purpose of the volume, as the argument of `-T`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<&'static str>,
    /// Label; bytes that are not UTF-8 are replaced.
    pub label: String,
    /// UUID, 36 characters.
    pub uuid: String,
    /// Names of the features that the superblock states.
    pub features: Vec<&'static str>,
    /// Block size in bytes.
    pub block_size: u32,
    /// Cluster size in bytes.
    pub cluster_size: u32,
    /// Size of the volume in bytes.
    pub size: u64,
    /// Number of clusters.
    pub clusters: u32,
    /// Number of blocks.
    pub blocks: u64,
    /// Number of clusters in use from the start.
    pub used_clusters: u32,
    /// Number of files, directories and other inodes from `-d`; `None` without `-d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Number of groups of the global bitmap.
    pub cluster_groups: u32,
    /// Number of clusters in the last group.
    pub tail_clusters: u32,
    /// Number of clusters in every other group.
    pub group_clusters: u32,
    /// Initial number of groups of each extent allocator.
    pub extent_allocator_groups: u32,
    /// Initial size of each extent allocator in bytes.
    pub extent_allocator_size: u64,
    /// Size of each journal in bytes; `None` on a heartbeat device.
    pub journal_size: Option<u64>,
    /// Whether journals use 64-bit block numbers.
    pub journal_block64: bool,
    /// Number of node slots.
    pub node_slots: u16,
    /// Number of backups of the superblock.
    pub backup_superblocks: usize,
    /// Whether only a single node mounts it.
    pub local: bool,
    /// Cluster stack named in the superblock.
    pub cluster_stack: Option<String>,
    /// Cluster named in the superblock.
    pub cluster_name: Option<String>,
    /// Whether that cluster has one heartbeat for all volumes.
    pub global_heartbeat: bool,
    /// Time of format in seconds since 1970.
    pub time: u64,
}

impl Summary {
    pub(crate) fn new(cli: &Cli, settings: &Settings, plan: &Plan) -> Self {
        let geometry = settings.geometry;
        let info = Some(&settings.cluster_info).filter(|info| info.ci_stack != [0; 4]);
        let group_bytes = u64::from(crate::resolve::group_bytes(geometry.block_size));
        Self {
            device: json_path(&cli.device),
            device_escaped: json_path_escaped(&cli.device),
            partition: cli.partition,
            dry_run: cli.dry_run,
            purpose: cli.purpose.map(Purpose::name),
            label: json_text(&settings.label),
            uuid: settings.uuid.to_string(),
            features: settings.features.names(),
            block_size: geometry.block_size.bytes(),
            cluster_size: geometry.cluster_size.bytes(),
            size: geometry.size_bytes(),
            clusters: geometry.clusters,
            blocks: geometry.blocks(),
            used_clusters: plan.used_clusters(),
            files: None,
            cluster_groups: geometry.groups(),
            tail_clusters: geometry.tail_clusters(),
            group_clusters: geometry.clusters_per_group().min(geometry.clusters),
            extent_allocator_groups: settings.extent_groups,
            extent_allocator_size: group_bytes * u64::from(settings.extent_groups),
            journal_size: settings.journal_bytes,
            journal_block64: settings.journal_block64,
            node_slots: settings.slots,
            backup_superblocks: plan.backup_count(),
            local: settings.features.incompat.contains(Incompat::LOCAL_MOUNT),
            cluster_stack: info.map(|info| info.stack()),
            cluster_name: info.map(|info| info.cluster()),
            global_heartbeat: info
                .is_some_and(|info| info.ci_stackflags & STACKFLAG_GLOBAL_HEARTBEAT != 0),
            time: settings.time,
        }
    }

    /// Adds `files` files, for which the plan has changed.
    pub(crate) fn count_files(&mut self, files: u64, plan: &Plan) {
        self.files = Some(files);
        self.used_clusters = plan.used_clusters();
    }

    /// Whether directories have an index from the start.
    pub(crate) fn has_indexes(&self) -> bool {
        self.features.contains(&"indexed-dirs") && !self.features.contains(&"inline-data")
    }

    /// Further lines for `-v`.
    pub(crate) fn details(&self) -> String {
        let width = if self.journal_block64 { 64 } else { 32 };
        let used = u64::from(self.used_clusters) * u64::from(self.cluster_size);
        format!(
            "UUID: {}\nIn use from the start: {used} ({} clusters)\nJournal block numbers: \
             {width} bits\nBackup superblocks: {}\nTime of format: {}\n",
            self.uuid, self.used_clusters, self.backup_superblocks, self.time,
        )
    }

    /// The lines about the cluster, which mkfs.ocfs2 prints first.
    pub(crate) fn cluster_lines(&self) -> String {
        match (&self.cluster_stack, &self.cluster_name) {
            _ if self.local => String::new(),
            (Some(stack), Some(name)) => format!(
                "Cluster stack: {stack}\nCluster name: {}\nStack Flags: {:#x}\n",
                ocfs2_cli::terminal(name),
                u8::from(self.global_heartbeat),
            ),
            _ => "Cluster stack: classic o2cb\n".to_owned(),
        }
    }
}

/// The lines of mkfs.ocfs2. All features of the volume are listed, while mkfs.ocfs2 omits `local`
/// and those required by a cluster.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u32::trailing_zeros;
        if let Some(purpose) = self.purpose {
            writeln!(f, "Filesystem Type of {purpose}")?;
        }
        writeln!(f, "Label: {}", ocfs2_cli::terminal(&self.label))?;
        writeln!(f, "Features: {}", self.features.join(" "))?;
        writeln!(f, "Block size: {} ({} bits)", self.block_size, bits(self.block_size))?;
        writeln!(f, "Cluster size: {} ({} bits)", self.cluster_size, bits(self.cluster_size))?;
        let Self { size, clusters, blocks, .. } = self;
        writeln!(f, "Volume size: {size} ({clusters} clusters) ({blocks} blocks)")?;
        let (tail, rest) = (self.tail_clusters, self.group_clusters);
        let groups = self.cluster_groups;
        writeln!(
            f,
            "Cluster groups: {groups} (tail covers {tail} clusters, rest cover {rest} clusters)"
        )?;
        let (size, groups) = (self.extent_allocator_size, self.extent_allocator_groups);
        writeln!(f, "Extent allocator size: {size} ({groups} groups)")?;
        match self.journal_size {
            Some(size) => writeln!(f, "Journal size: {size}")?,
            None => writeln!(f, "Heartbeat device")?,
        }
        writeln!(f, "Node slots: {}", self.node_slots)
    }
}
