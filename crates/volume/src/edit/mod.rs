//! Changing a volume.
//!
//! An [`Edit`] is one transaction. Its changes are kept aside, and what it reads afterwards
//! includes them. [`Edit::commit`] brings them to the volume as a whole, through a journal or in
//! place. Without a commit they are dropped.
//!
//! A step of several changes is made as a whole or not at all: see [`Edit::attempt`]. Each
//! operation of this module is such a step: if it fails, because there is no room or because
//! something is damaged, everything stays as it was before.
//!
//! Reading is strict here, as everywhere in this crate: what is wrong is an error, and nothing is
//! written on top of it. Repairs, which have to overwrite what is wrong, are left to fsck.

mod block_checks;
mod blocks;
mod contents;
mod delete;
mod dir;
mod dir_growth;
mod dir_rebuild;
mod dir_trailers;
mod entry_block;
mod exchange;
mod file;
mod groups;
mod grow;
mod index;
mod index_growth;
mod inode;
mod inode_tree;
mod journal;
mod moving;
mod new_inode;
mod orphan;
mod plain;
pub(crate) mod quota;
mod quota_entries;
mod quota_files;
mod quota_limits;
mod refcount;
mod reflink;
mod session;
mod shrink;
mod slot_map;
mod slot_removal;
mod space;
mod system;
mod system_file;
mod tree;
mod xattr;

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use ocfs2_format::Blkno;
use ocfs2_format::hash::CharSign;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;

use crate::allocator::pools::Pools;
use crate::commit::CommitError;
use crate::{Error, Timestamp, Volume};
use ocfs2_device::{Device, OverlayDevice};

pub use grow::{Growth, NewGroup};
pub use moving::Moved;
pub use new_inode::NewInode;
pub use plain::{Contents, Plain};
pub use session::Session;
pub use shrink::{Beyond, Bound, JournalStep, Names, Shared};
pub use tree::{Holds, Root};

/// Why a change could not be made. Nothing of it was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Something cannot be read or written, or is damaged.
    #[error(transparent)]
    Volume(#[from] Error),
    /// There is no room for what the change needs.
    #[error("there is no room left for {0}")]
    NoRoom(&'static str),
    /// Something exists already where something new was to be put.
    #[error("{0} is there already")]
    Exists(String),
    /// The format has no way to store it: a file, tree or name that would be too large.
    #[error("{0}")]
    TooLarge(&'static str),
    /// It would contradict what is there.
    #[error("{0}")]
    Refused(String),
    /// It changes more blocks at once than [`EditOptions::most_blocks`].
    #[error(
        "{blocks} blocks would have to change at once, and the largest journal has room for {most}"
    )]
    ManyBlocks {
        /// Blocks that it changes, and that are in use before.
        blocks: u64,
        /// Most blocks that it may change.
        most: u64,
    },
    /// An owner or a group would have more than its limit.
    #[error("the quota of {} {id} is used up", if *kind == QuotaKind::User { "user" } else { "group" })]
    Quota {
        /// Whether it is a user or a group.
        kind: QuotaKind,
        /// The user or group.
        id: u32,
    },
    /// Changes that were not kept in memory cannot be read back.
    #[error(transparent)]
    Changes(#[from] std::io::Error),
}

impl EditError {
    /// Whether the only problem is a lack of room.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::NoRoom(_))
    }
}

/// The settings of an edit.
#[derive(Clone, Copy, Debug, Default)]
pub struct EditOptions {
    /// The time that new and changed inodes get.
    pub time: Timestamp,
    /// The slot whose allocators give blocks and inodes, below the volume's number of slots.
    pub slot: u16,
    /// How names are hashed in an index that does not show it by the names that it has.
    pub name_hash: CharSign,
    /// Whether the names of other directories of the volume decide before `name_hash` does.
    pub follow_names: bool,
    /// Bytes of changes that are kept in memory; the rest goes to a file. 0 is 64 MiB.
    pub memory_bytes: u64,
    /// Most blocks that are in use and that a step may change; 0 is any number. See
    /// [`Volume::most_blocks`].
    pub most_blocks: u64,
}

/// How a transaction reaches the volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// Through the journal of a slot, which has to be empty: after a crash all of it is there or
    /// nothing.
    Journal(u16),
    /// As [`How::Journal`]; if it is too small for all changes, those of blocks that nobody uses yet
    /// are written first. The allocators of the volume have to be right.
    InParts(u16),
    /// Without a journal; the superblock says that there are errors until all is written.
    InPlace,
    /// Without any protection against a crash: for an overlay.
    Unguarded,
}

/// Bytes of changes, of one draft or by default of an edit, that are kept in memory before they go
/// to a file.
const DEFAULT_MEMORY: u64 = 64 << 20;

/// One transaction over a volume. See the [module](self).
pub struct Edit {
    /// The volume without the changes.
    base: Volume,
    /// The changes of all completed steps.
    changes: Arc<OverlayDevice<Arc<dyn Device>>>,
    /// The volume as it is now: on the changes, or on the draft of a step.
    volume: Volume,
    options: EditOptions,
    pools: Pools,
    owed: quota::Owed,
    /// Number of nested steps that are being made.
    steps: u32,
    /// The generation that was given out last.
    next_generation: u32,
    /// How names are hashed in the directory that last got one for which that matters.
    sign_of: Option<(Blkno, CharSign)>,
    /// How names are hashed in other directories, or else as the options say.
    sign_elsewhere: OnceLock<CharSign>,
    /// Where contents of files go that need not be part of the transaction.
    contents: Option<contents::Apart>,
    /// Whether limits of quota are kept.
    keeps_limits: bool,
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = self.changed_blocks();
        f.debug_struct("Edit").field("volume", &self.volume).field("blocks", &blocks).finish()
    }
}

impl Deref for Edit {
    type Target = Volume;

    fn deref(&self) -> &Volume {
        &self.volume
    }
}

impl Edit {
    /// A transaction over `volume` without changes yet.
    pub fn new(volume: &Volume, options: EditOptions) -> Self {
        Self::over(volume, options, true)
    }

    /// The same. Unless `remembers`, a gate cannot compare what the changes cover.
    fn over(volume: &Volume, options: EditOptions, remembers: bool) -> Self {
        let memory = if options.memory_bytes == 0 { DEFAULT_MEMORY } else { options.memory_bytes };
        let base = volume.on(Arc::clone(volume.device()));
        let below = Arc::clone(volume.device());
        let changes = OverlayDevice::within(below, volume.block_size().bytes(), memory);
        let changes = Arc::new(if remembers { changes.remembering() } else { changes });
        let next_generation = options.time.seconds as u32 ^ options.time.nanoseconds;
        let on = volume.on(changes.clone());
        Self {
            base,
            changes,
            volume: on,
            options,
            pools: Pools::default(),
            owed: quota::Owed::default(),
            steps: 0,
            next_generation,
            sign_of: None,
            sign_elsewhere: OnceLock::new(),
            contents: None,
            keeps_limits: false,
        }
    }

    /// The volume with the changes so far.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// The time that new and changed inodes get.
    pub fn time(&self) -> Timestamp {
        self.options.time
    }

    /// Sets the time that inodes get from now on.
    pub fn set_time(&mut self, time: Timestamp) {
        self.options.time = time;
    }

    /// The first of the clusters that nothing is taken from; `None` if all are given out.
    pub fn limit(&self) -> Option<u32> {
        self.pools.limit()
    }

    /// Takes nothing from cluster `limit` on any more, and no block of a group that reaches there.
    ///
    /// # Errors
    /// Allocators cannot be written.
    pub fn set_limit(&mut self, limit: Option<u32>) -> Result<(), EditError> {
        self.pools.write(&self.volume)?;
        self.pools = Pools::within(limit);
        Ok(())
    }

    /// A generation for something new.
    pub(crate) fn new_generation(&mut self) -> u32 {
        self.next_generation = self.next_generation.wrapping_add(1);
        self.next_generation
    }

    /// The slot whose allocators are used.
    pub fn slot(&self) -> u16 {
        self.options.slot
    }

    /// The changes so far, block by block, and what was there before them: for a
    /// [`Gate`](crate::gate::Gate).
    pub fn changes(&self) -> &Arc<OverlayDevice<Arc<dyn Device>>> {
        &self.changes
    }

    /// Number of changed blocks.
    pub fn changed_blocks(&self) -> usize {
        self.changes.changed_blocks()
    }

    /// Makes `step` as a whole or not at all: if it fails, everything it has changed is as before.
    ///
    /// # Errors
    /// The error of `step`; or quota or allocators cannot be written.
    pub fn attempt<T, E: From<EditError>>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        // Cached allocators are written first: they are dropped if the step fails.
        self.finish()?;
        let outer = Arc::clone(self.volume.device());
        let block_size = self.volume.block_size().bytes();
        let draft = OverlayDevice::within(Arc::clone(&outer), block_size, DEFAULT_MEMORY);
        let draft = Arc::new(draft);
        let on_draft = self.volume.on(draft.clone());
        let before = std::mem::replace(&mut self.volume, on_draft);
        let owed = self.owed.clone();
        self.enter(&draft);
        self.steps += 1;
        let made = step(self);
        self.steps -= 1;
        let result = made.and_then(|value| {
            self.finish()?;
            self.verify_size_of(&before, &*draft)?;
            let failed = |blkno, source| EditError::from(Error::Write { blkno, source });
            self.volume.write_changes(&draft, &*outer, failed)?;
            Ok(value)
        });
        self.leave();
        match &result {
            // The superblock may be another one now.
            Ok(_) => self.volume = self.volume.on(outer),
            Err(_) => {
                self.volume = before;
                self.pools = Pools::within(self.pools.limit());
                self.owed = owed;
            }
        }
        result
    }

    /// Fails if a step that is not part of another one changes too many blocks that are in use in
    /// `before`.
    fn verify_size_of<D: Device>(
        &self,
        before: &Volume,
        draft: &OverlayDevice<D>,
    ) -> Result<(), EditError> {
        let (blocks, most) = (draft.changed_blocks() as u64, self.options.most_blocks);
        if self.steps > 0 || most == 0 || blocks <= most {
            return Ok(());
        }
        if self.contents.is_some() {
            // All of it goes through one journal.
            return Err(EditError::ManyBlocks { blocks, most });
        }
        let unused = before.unused(&before.changed_in(draft));
        let blocks = blocks.saturating_sub(unused.len() as u64);
        if blocks > most { Err(EditError::ManyBlocks { blocks, most }) } else { Ok(()) }
    }

    /// Writes cached allocators and counted quota to the changes. [`Edit::attempt`] does so at its
    /// end.
    ///
    /// # Errors
    /// It cannot be written; quota files are damaged, or there is no room for them.
    pub fn finish(&mut self) -> Result<(), EditError> {
        if self.steps == 0 {
            self.settle_quota()?;
        }
        Ok(self.pools.write(&self.volume)?)
    }

    /// Writes those changed blocks that differ from `device`. Returns how many there were.
    fn write_differences(&self, device: &dyn Device) -> Result<usize, CommitError> {
        let block_size = self.base.block_size();
        let failed = |offset: u64| {
            move |source| CommitError::Write { blkno: Blkno(offset >> block_size.bits()), source }
        };
        let mut written = 0;
        self.changes.for_each_change::<CommitError>(|offset, bytes| {
            let mut there = vec![0; bytes.len()];
            if device.read_at(&mut there, offset).is_ok() && there == bytes {
                return Ok(());
            }
            written += bytes.len() >> block_size.bits();
            device.write_at(bytes, offset).map_err(failed(offset))
        })?;
        device.flush().map_err(failed(SUPERBLOCK_BLKNO.0 << block_size.bits()))?;
        Ok(written)
    }

    fn changes_only_superblocks(&self) -> bool {
        self.base.changed_in(&*self.changes).iter().all(|blkno| self.base.is_superblock(*blkno))
    }

    /// Starts another transaction over `volume`, to which this one was committed. What is known of
    /// the allocators stays known.
    pub fn restart(&mut self, volume: &Volume) {
        let (pools, owed) = (std::mem::take(&mut self.pools), std::mem::take(&mut self.owed));
        let sign_elsewhere = std::mem::take(&mut self.sign_elsewhere);
        *self = Self { pools, owed, sign_elsewhere, ..Self::new(volume, self.options) };
    }

    /// Brings all changes to `device`, the one the volume is on or a [`Pass`](crate::gate::Pass) to
    /// it. Returns how many blocks were changed; with [`How::Unguarded`], only those that differ
    /// from before.
    ///
    /// # Errors
    /// [`CommitError`]; if [`CommitError::is_before_writes`], nothing was written.
    pub fn commit(&self, how: How, device: &dyn Device) -> Result<usize, CommitError> {
        let blocks = self.changed_blocks();
        if blocks == 0 {
            return Ok(0);
        }
        match how {
            // A single block needs no journal.
            How::Journal(_) | How::InParts(_) if self.changes_only_superblocks() => {
                let (_, superblocks) = self.base.transaction_of(&self.changes, &HashSet::new())?;
                self.base.write_superblocks(&superblocks, device)?;
            }
            How::InParts(slot) => self.base.commit_in_parts(&*self.changes, slot, device)?,
            How::Journal(slot) => self.base.plan_commit(&*self.changes, slot)?.write(device)?,
            How::InPlace => self.base.write_in_place(&*self.changes, device)?,
            How::Unguarded => return self.write_differences(device),
        }
        Ok(blocks)
    }
}

impl Volume {
    /// Writes what was changed in `overlay` to its places on `device`.
    fn write_changes<D: Device, E: From<std::io::Error>>(
        &self,
        overlay: &OverlayDevice<D>,
        device: &dyn Device,
        failed: impl Fn(Blkno, std::io::Error) -> E,
    ) -> Result<(), E> {
        let bits = self.block_size().bits();
        overlay.for_each_change(|offset, bytes| {
            device.write_at(bytes, offset).map_err(|err| failed(Blkno(offset >> bits), err))
        })
    }
}
