//! Many transactions in succession, through a running log.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::{Edit, EditOptions};
use crate::Volume;
use crate::allocator::pools::Pools;
use crate::commit::CommitError;
use crate::journal::Log;
use ocfs2_device::Device;

/// A volume that is changed by many transactions. When [`Session::commit`] returns, the transaction
/// is permanent: whatever happens, a replay restores it. If the session is dropped without
/// [`Session::close`], the log is left to be replayed.
pub struct Session {
    /// The device, or a pass through its gate.
    device: Arc<dyn Device>,
    log: Log,
    volume: Volume,
    options: EditOptions,
    pools: Pools,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens a session that changes `volume`, which is on `device`, through the journal of the slot
    /// of `options`. Nothing is written before the first commit.
    ///
    /// # Errors
    /// [`CommitError`]: the journal cannot be used, or has to be replayed.
    pub fn open(
        volume: &Volume,
        device: Arc<dyn Device>,
        options: EditOptions,
    ) -> Result<Self, CommitError> {
        let log = Log::open(volume, options.slot)?;
        let volume = volume.on(log.view());
        Ok(Self { device, log, volume, options, pools: Pools::default() })
    }

    /// The volume with all that was committed.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Starts a transaction. Only one may be open at a time: of two, the one that is committed
    /// second does not know of the first.
    pub fn edit(&mut self) -> Edit {
        Edit { pools: std::mem::take(&mut self.pools), ..Edit::new(&self.volume, self.options) }
    }

    /// Starts a transaction in which the contents of files are not part of it, but are written to
    /// their places before it: where nothing points to yet, or over what they replace. What the
    /// log may still write to is written through it.
    pub fn edit_apart(&mut self) -> Edit {
        let mut edit = Edit::over(&self.volume, self.options, false);
        edit.pools = std::mem::take(&mut self.pools);
        edit.write_apart(Arc::clone(&self.device), Arc::clone(self.log.pending()));
        edit
    }

    /// Commits a transaction of [`Session::edit_apart`] and starts the next one, which goes on with
    /// its settings and with what it knows.
    ///
    /// # Errors
    /// As [`Session::commit`].
    pub fn go_on(&mut self, mut edit: Edit) -> Result<Edit, CommitError> {
        let generation = edit.next_generation;
        let signs = std::mem::take(&mut edit.sign_elsewhere);
        let (time, keeps_limits) = (edit.time(), edit.keeps_limits);
        self.commit(edit)?;
        let mut next = self.edit_apart();
        (next.next_generation, next.sign_elsewhere) = (generation, signs);
        (next.options.time, next.keeps_limits) = (time, keeps_limits);
        Ok(next)
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Commits a transaction. Returns how many blocks it changes.
    ///
    /// # Errors
    /// [`CommitError`]; if [`CommitError::is_before_writes`], the volume is as before.
    pub fn commit(&mut self, mut edit: Edit) -> Result<usize, CommitError> {
        edit.finish().map_err(|err| CommitError::Changes(std::io::Error::other(err)))?;
        let (transaction, superblocks) =
            self.volume.transaction_of(&edit.changes, &HashSet::new())?;
        let blocks = transaction.blocks.len() + superblocks.len();
        self.log.append(&*self.device, transaction)?;
        self.volume.write_superblocks(&superblocks, &*self.device)?;
        self.volume = edit.volume.on(self.log.view());
        self.pools = edit.pools;
        Ok(blocks)
    }

    /// Writes everything that was committed to its place.
    ///
    /// # Errors
    /// The device cannot be written; the log still has it.
    pub fn checkpoint(&mut self) -> Result<(), CommitError> {
        self.log.checkpoint(&*self.device)
    }

    /// Writes everything to its place and leaves a clean journal.
    ///
    /// # Errors
    /// The device cannot be written; the log still has what was committed.
    pub fn close(self) -> Result<(), CommitError> {
        self.log.close(&*self.device)
    }
}
