//! The answers as JSON.

use anyhow::{Context, Result};
use ocfs2_cli::causes;
use ocfs2_cli::encode::{json_escaped, json_path, json_path_escaped, json_text};
use serde::Serialize;

use crate::answer::{mkfs, names};
use crate::file::FileFacts;
use crate::freefrag::FreeFragFacts;
use crate::program::note_age;
use crate::source::{Source, Traits};
use crate::{Cli, Request};

/// All answers. One that was not asked for, or that failed, is not there.
#[derive(Debug, Default, Serialize)]
pub struct Document {
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_escaped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fs_features: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volinfo: Option<VolInfo>,
    /// The options of mkfs.ocfs2, for a shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    mkfs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freeinode: Option<Vec<Room>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freefrag: Option<FreeFragFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space_usage: Option<FileFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filestat: Option<FileFacts>,
    /// What failed, in words.
    pub errors: Vec<String>,
    /// The exit status of the program.
    pub exit_status: u8,
}

#[derive(Debug, Serialize)]
struct VolInfo {
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label_escaped: Option<String>,
    uuid: String,
    block_size: u32,
    cluster_size: u32,
    slots: u32,
    features: Vec<&'static str>,
}

impl From<Traits> for VolInfo {
    fn from(volume: Traits) -> Self {
        Self {
            label: json_text(&volume.label),
            label_escaped: json_escaped(&volume.label),
            uuid: volume.uuid,
            block_size: volume.block_size,
            cluster_size: volume.cluster_size,
            slots: volume.slots,
            features: names(volume.features),
        }
    }
}

/// The room for inodes of a slot.
#[derive(Debug, Serialize)]
struct Room {
    slot: usize,
    total: u64,
    free: u64,
}

impl Document {
    /// Answers the requests in `cli`.
    pub fn of(cli: &Cli) -> Self {
        let mut document = Self {
            device: json_path(&cli.device),
            device_escaped: json_path_escaped(&cli.device),
            ..Self::default()
        };
        match Source::open(cli) {
            Ok(source) => {
                note_age(&source, cli);
                for request in &cli.requests {
                    let answered = document.add(&source, *request).context(request.name());
                    document.errors.extend(answered.err().map(|err| causes(&err)));
                }
            }
            Err(err) => {
                document.errors.push(causes(&err.context(ocfs2_cli::shown(&cli.device))));
            }
        }
        document.exit_status = u8::from(!document.errors.is_empty());
        document
    }

    fn add(&mut self, source: &Source, request: Request) -> Result<()> {
        match request {
            Request::FsFeatures => self.fs_features = Some(names(source.features()?)),
            Request::VolInfo => self.volinfo = Some(source.traits()?.into()),
            Request::Mkfs => {
                let cluster = source.cluster_info()?;
                let line = mkfs(&source.traits()?, source.journal_size()?, cluster.as_ref());
                self.mkfs = Some(line.trim().to_owned());
            }
            Request::FreeInode => {
                let rooms = source.inode_room()?.into_iter().enumerate();
                let rooms =
                    rooms.map(|(slot, room)| Room { slot, total: room.total, free: room.free });
                self.freeinode = Some(rooms.collect());
            }
            Request::FreeFrag(kib) => self.freefrag = Some(source.free_frag(kib)?.facts()),
            Request::SpaceUsage => self.space_usage = Some(source.file()?.facts()),
            Request::FileStat => self.filestat = Some(source.file()?.facts()),
        }
        Ok(())
    }
}
