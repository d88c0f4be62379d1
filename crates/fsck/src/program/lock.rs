//! The cluster's lock, held from before the slot map is read until after the last write.

use anyhow::{Context as _, Result};
use ocfs2_users::lock::{ClusterLock, Host, Protection, Reason, take};
use ocfs2_volume::Volume;

use super::Run;

impl Run<'_> {
    /// Keeps all nodes from the volume, where its cluster runs on this host; otherwise says why
    /// other nodes are only watched.
    pub(super) fn lock(&mut self, volume: &Volume) -> Result<Option<ClusterLock>> {
        if !self.writes() || self.cli.ignore_nodes {
            return Ok(None);
        }
        let protection = match self.cli.partition {
            Some(_) => Protection::None(Reason::Partition),
            None => take(volume, &self.cli.device, Host::default())
                .context("-n checks it without writing, -F takes no lock")?,
        };
        match protection {
            Protection::Locked(lock) => Ok(Some(*lock)),
            Protection::None(Reason::NotShared) => Ok(None),
            Protection::None(why) => {
                self.report.note(&format!(
                    "Other nodes are not locked out ({why}): their heartbeat is watched instead."
                ));
                Ok(None)
            }
        }
    }
}
