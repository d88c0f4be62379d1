//! A volume as a POSIX file system that one program reads and writes: what a server of FUSE needs.
//!
//! Operations are changes of one running [`Edit`], which is committed when it is large enough, after
//! [`BETWEEN_COMMITS`], and when somebody asks for it ([`FileSystem::sync`]). What was synced survives
//! everything; of what was done since, a crash leaves the state after one of the commits. Contents
//! of files are not journaled, but are in their places before the transaction that makes them
//! visible.
//!
//! An operation happens as a whole or not at all, and one at a time; reads wait for it. Memory is
//! bounded: by the size of a transaction, and by the number of open files.
//!
//! What has no name any more but is open is an orphan of the slot whose journal is used, so that
//! after a crash whoever recovers the slot deletes it.

mod acl;
mod attributes;
mod contents;
mod error;
mod names;
mod xattrs;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use ocfs2_format::dinode::InodeFlags;
use ocfs2_format::{Blkno, Cpos};
use rustix::io::Errno;

pub use attributes::{Change, Time};
pub use contents::Space;
pub use error::Failure;
pub use names::New;

use crate::edit::Session;
use crate::gate::Lasting;
use crate::{Edit, EditOptions, Inode, Timestamp, Volume};

/// Time after which changes are committed that nobody has synced.
pub const BETWEEN_COMMITS: Duration = Duration::from_secs(5);

/// Most bytes of blocks that a transaction has before it is committed.
const MOST_BYTES: u64 = 32 << 20;

/// Bytes of clusters that were given back after which a transaction is committed before contents
/// are written: they would go through the journal.
const MOST_FREED: u64 = 1 << 20;

/// Who asks for an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Caller {
    fn is_root(self) -> bool {
        self.uid == 0
    }
}

/// A volume that is read and written. See the [module](self).
pub struct FileSystem {
    state: RwLock<State>,
    opened: Mutex<HashMap<Blkno, Opened>>,
    device: Arc<Lasting>,
    /// Most blocks of a transaction at which it is committed.
    most_blocks: usize,
}

impl fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSystem").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Opened {
    count: u64,
    is_orphan: bool,
}

struct State {
    session: Session,
    /// `None` after an error that leaves it unknown what is on the device: nothing is changed then.
    edit: Option<Edit>,
    committed: Instant,
    /// Whether contents were written that no flush has followed.
    is_unflushed: bool,
}

impl State {
    fn volume(&self) -> &Volume {
        self.edit.as_ref().map_or(self.session.volume(), Edit::volume)
    }
}

impl FileSystem {
    /// Starts to change `volume` through `device`, with the journal of the slot of `options`, which
    /// has to be empty. Nothing is written yet.
    ///
    /// # Errors
    /// The journal cannot be used.
    pub fn new(
        volume: &Volume,
        device: Lasting,
        mut options: EditOptions,
    ) -> Result<Self, crate::commit::CommitError> {
        let device = Arc::new(device);
        let log = crate::journal::Log::open(volume, options.slot)?.most_blocks();
        // What was gathered and one more step fit into the log.
        options.most_blocks = log * 2 / 3;
        let most_bytes = MOST_BYTES >> volume.block_size().bits();
        let most_blocks = usize::try_from(most_bytes.min(log / 4)).unwrap_or(usize::MAX);
        let mut session = Session::open(volume, device.clone(), options)?;
        let edit = Some(session.edit_apart());
        let (committed, is_unflushed) = (Instant::now(), false);
        let state = RwLock::new(State { session, edit, committed, is_unflushed });
        Ok(Self { state, opened: Mutex::default(), device, most_blocks })
    }

    fn reading(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<Blkno, Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` with the volume as it is now.
    pub fn read<T>(&self, read: impl FnOnce(&Volume) -> T) -> T {
        read(self.reading().volume())
    }

    /// Makes a change, which is one step: as a whole or not at all.
    fn change<T>(
        &self,
        caller: Option<Caller>,
        step: impl Fn(&mut Edit) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut state = self.writing();
        self.change_in(&mut state, caller, step)
    }

    fn change_in<T>(
        &self,
        state: &mut State,
        caller: Option<Caller>,
        step: impl Fn(&mut Edit) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let edit = state.edit.as_mut().ok_or(Errno::ROFS)?;
        edit.set_time(Timestamp::now());
        edit.keep_limits(caller.is_some_and(|caller| !caller.is_root()));
        let done = step(edit);
        let is_full = edit.changed_blocks() >= self.most_blocks;
        if is_full {
            self.commit(state)?;
        }
        done
    }

    /// Commits what was changed. After an error nothing is changed any more.
    fn commit(&self, state: &mut State) -> Result<(), Failure> {
        state.committed = Instant::now();
        let Some(edit) = state.edit.take() else { return Err(Errno::ROFS.into()) };
        if let Err(changed) = self.device.still() {
            let report = format!("nothing is written any more: {changed}");
            return Err(Failure { report: Some(report), ..Errno::IO.into() });
        }
        if edit.changed_blocks() == 0 {
            state.edit = Some(edit);
            return self.flush(state);
        }
        state.edit = Some(state.session.go_on(edit)?);
        state.is_unflushed = false;
        Ok(())
    }

    fn flush(&self, state: &mut State) -> Result<(), Failure> {
        use ocfs2_device::Device;
        if std::mem::take(&mut state.is_unflushed) {
            self.device.flush().map_err(|err| Failure {
                report: Some(format!("the device cannot be written: {err}")),
                ..Errno::IO.into()
            })?;
        }
        Ok(())
    }

    /// Makes everything that was done permanent.
    ///
    /// # Errors
    /// The device cannot be written.
    pub fn sync(&self) -> Result<(), Failure> {
        self.commit(&mut self.writing())
    }

    /// Commits what has been waiting for long enough: to be called from time to time.
    ///
    /// # Errors
    /// As [`FileSystem::sync`].
    pub fn tick(&self) -> Result<(), Failure> {
        let is_due = {
            let state = self.reading();
            let is_any = state.is_unflushed
                || state.edit.as_ref().is_some_and(|edit| edit.changed_blocks() > 0);
            is_any && state.committed.elapsed() >= BETWEEN_COMMITS
        };
        if is_due { self.sync() } else { Ok(()) }
    }

    /// Whether an error has ended all changes.
    pub fn has_failed(&self) -> bool {
        self.reading().edit.is_none()
    }

    /// Commits everything, deletes what is still open without a name, and leaves a clean journal.
    ///
    /// # Errors
    /// As [`FileSystem::sync`]: the journal is left to be replayed.
    pub fn close(self) -> Result<(), Failure> {
        let open: Vec<_> = self.opened().drain().collect();
        for (blkno, _) in open.into_iter().filter(|(_, opened)| opened.is_orphan) {
            self.delete_orphan(blkno)?;
        }
        self.sync()?;
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(state.edit);
        Ok(state.session.close()?)
    }

    /// Opens an inode, which stays until it is released as often as it was opened.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(&self, blkno: Blkno) -> Result<Inode, Failure> {
        let state = self.reading();
        let inode = state.volume().inode(blkno)?;
        self.opened().entry(blkno).or_default().count += 1;
        Ok(inode)
    }

    /// Undoes one [`FileSystem::open`]. The last one deletes what has no name any more.
    ///
    /// # Errors
    /// It cannot be deleted: it stays an orphan, which the next recovery deletes.
    pub fn release(&self, blkno: Blkno) -> Result<(), Failure> {
        {
            let mut all = self.opened();
            let Some(opened) = all.get_mut(&blkno) else { return Ok(()) };
            opened.count = opened.count.saturating_sub(1);
            if opened.count > 0 || !all.remove(&blkno).is_some_and(|opened| opened.is_orphan) {
                return Ok(());
            }
        }
        self.delete_orphan(blkno)
    }

    fn is_open(&self, blkno: Blkno) -> bool {
        self.opened().contains_key(&blkno)
    }

    /// Notes that an inode has lost its last name if it has: it is deleted when it is closed.
    fn note_orphan(&self, volume: &Volume, blkno: Blkno) {
        let flags = volume.inode(blkno).map(|inode| inode.dinode.flags());
        if flags.is_ok_and(|flags| flags.contains(InodeFlags::ORPHANED))
            && let Some(opened) = self.opened().get_mut(&blkno)
        {
            opened.is_orphan = true;
        }
    }

    fn delete_orphan(&self, blkno: Blkno) -> Result<(), Failure> {
        match self.change(None, |edit| Ok(edit.delete_orphan(blkno)?)) {
            Err(err) if err.is_large => {}
            done => return done,
        }
        self.cut_away(blkno)?;
        self.change(None, |edit| Ok(edit.delete_orphan(blkno)?))
    }

    /// Frees the contents of an orphan in as many transactions as it takes.
    fn cut_away(&self, blkno: Blkno) -> Result<(), Failure> {
        loop {
            let left = self.change(None, |edit| {
                edit.attempt(|edit| {
                    let inode = edit.inode(blkno)?;
                    let left = edit.cut_contents(&inode, Cpos(0), self.most_blocks / 2)?;
                    let size = u64::from(left.0) << edit.geometry().cluster_size.bits();
                    edit.update_dinode(blkno, |dinode, _| dinode.i_size = dinode.i_size.min(size))?;
                    Ok(left)
                })
            })?;
            self.sync()?;
            if left == Cpos(0) {
                return Ok(());
            }
        }
    }
}

/// Fails for an inode that must not be changed: one of the volume itself, or one with the attribute
/// `i` of chattr(1).
fn changeable(inode: &Inode) -> Result<(), Failure> {
    let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
    let is_root = inode.is_dir() && inode.dinode.i_suballoc_slot == u16::MAX;
    match is_system && !is_root || inode.dinode.i_attr & IMMUTABLE != 0 {
        true => Err(Errno::PERM.into()),
        false => Ok(()),
    }
}

/// `FS_IMMUTABLE_FL`
const IMMUTABLE: u32 = 0x10;
/// `FS_APPEND_FL`
const APPEND: u32 = 0x20;
