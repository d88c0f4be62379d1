//! `--json`: what was done, and the volume afterwards.

use std::cell::RefCell;

use ocfs2_cli::encode::{json_path, json_path_escaped, json_text};
use ocfs2_format::feature::FEATURES;
use ocfs2_format::superblock::Stack;
use ocfs2_volume::Volume;
use serde::Serialize;
use uuid::Uuid;

use crate::Cli;

/// What became of a requested change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It was made.
    Done,
    /// There was nothing to do.
    Already,
    /// The answer to a question was no.
    Declined,
    /// It is possible and was not made: a dry run.
    Possible,
}

/// The outcomes of the changes so far, in the order in which they came to be known.
pub(crate) type Outcomes = RefCell<Vec<Entry>>;

/// A change and its outcome.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// The option that requests it, or the feature with `no` before it if it goes off.
    pub change: String,
    pub outcome: Outcome,
    /// The question or message that a person gets.
    pub text: String,
}

/// The document.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_escaped: Option<String>,
    partition: Option<u32>,
    dry_run: bool,
    changes: Vec<Entry>,
    /// The volume afterwards; `null` if it cannot be opened.
    volume: Option<VolumeEntry>,
    undo_file: Option<String>,
    errors: Vec<String>,
    status: u8,
}

/// A volume, in the words of `mkfs.ocfs2 --json`.
#[derive(Debug, Serialize)]
struct VolumeEntry {
    label: String,
    uuid: String,
    features: Vec<&'static str>,
    block_size: u32,
    cluster_size: u32,
    size: u64,
    clusters: u32,
    blocks: u64,
    node_slots: u16,
    local: bool,
    cluster_stack: Option<String>,
    cluster_name: Option<String>,
    global_heartbeat: bool,
}

impl Report {
    /// The document of a run with these outcomes, which ends with `status`.
    pub fn new(
        cli: &Cli,
        outcomes: Outcomes,
        volume: Option<&Volume>,
        error: Option<String>,
        status: u8,
    ) -> Self {
        let made = cli.undo_file.as_deref().filter(|path| path.exists());
        Self {
            device: json_path(&cli.device),
            device_escaped: json_path_escaped(&cli.device),
            partition: cli.partition,
            dry_run: cli.no,
            changes: outcomes.into_inner(),
            volume: volume.map(VolumeEntry::new),
            undo_file: made.map(json_path),
            errors: error.into_iter().collect(),
            status,
        }
    }
}

impl VolumeEntry {
    fn new(volume: &Volume) -> Self {
        let (superblock, geometry) = (volume.superblock(), volume.geometry());
        let known = FEATURES.iter().filter(|it| superblock.features().contains(it.bit));
        let named = |text: String| Some(text).filter(|text| !text.is_empty());
        let info = superblock.cluster_info();
        let stack = superblock.stack();
        Self {
            label: json_text(superblock.label()),
            uuid: Uuid::from_bytes(superblock.s_uuid).to_string(),
            features: known.map(|feature| feature.name).collect(),
            block_size: geometry.block_size.bytes(),
            cluster_size: geometry.cluster_size.bytes(),
            size: geometry.size_bytes(),
            clusters: geometry.clusters,
            blocks: geometry.blocks(),
            node_slots: volume.max_slots(),
            local: matches!(stack, Stack::Local),
            cluster_stack: info.and_then(|info| named(info.stack().to_string())),
            cluster_name: info.and_then(|info| named(info.cluster().to_string())),
            global_heartbeat: matches!(stack, Stack::O2cb { global_heartbeat: true }),
        }
    }
}
