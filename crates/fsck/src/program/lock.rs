//! The cluster's lock, held from before the slot map is read until after the last write.

use anyhow::{Context as _, Result};
use ocfs2_cli::Interrupt;
use ocfs2_users::lock::{ClusterLock, Host, LockError, Protection, Reason, instead, take};
use ocfs2_volume::Volume;

use super::Run;
use crate::users::Users;

impl Run<'_> {
    /// Locks all other nodes out, if the cluster of the volume runs on this host, and then
    /// determines who uses it.
    pub(super) fn users_and_lock(
        &mut self,
        volume: &Volume,
        interrupt: &Interrupt,
    ) -> Result<(Users, Option<ClusterLock>)> {
        let (lock, refused) = match self.lock(volume, interrupt) {
            Ok(lock) => (lock, None),
            // The heartbeat, or the cluster, shows which node that is.
            Err(err) if err.is_in_use() => (None, Some(err)),
            Err(LockError::Interrupted(err)) => return Err(err.into()),
            Err(err) => return Err(err).context("-n checks without writing, -F takes no lock"),
        };
        let this_node = refused.as_ref().and_then(LockError::this_node);
        let users = self.users(volume, (lock.is_some(), this_node), interrupt)?;
        match refused {
            Some(err) if users.live.is_empty() => Err(err.into()),
            _ => Ok((users, lock)),
        }
    }

    /// Takes the lock. `None` if there is nothing to lock, or if other nodes can only be watched,
    /// which is noted with the reason.
    fn lock(
        &mut self,
        volume: &Volume,
        interrupt: &Interrupt,
    ) -> Result<Option<ClusterLock>, LockError> {
        if !self.writes() || self.cli.ignore_nodes {
            return Ok(None);
        }
        match take(volume, &self.cli.device, self.cli.partition, Host::default(), interrupt)? {
            Protection::Locked(lock) => Ok(Some(*lock)),
            Protection::None(Reason::NotShared) => Ok(None),
            Protection::None(why) => {
                let instead = instead(&volume.superblock().stack(), true);
                self.report.note(&format!("Other nodes are not locked out ({why}): {instead}."));
                Ok(None)
            }
        }
    }
}
