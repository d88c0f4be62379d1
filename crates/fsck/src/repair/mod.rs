//! Repairs: what a yes to a finding changes, worked out in memory and never on the device.
//!
//! A [`Repair`] is part of the finding it mends and knows nothing of the others: it looks at the
//! volume when its turn comes, and leaves alone what another repair has already changed. Each one
//! is made as a whole or not at all. [`plan`](crate::plan::plan) asks, makes the repairs in an
//! overlay and checks the result, until a whole check finds nothing; [`commit`] then writes the
//! overlay.

use std::fmt;
use std::sync::Arc;

use ocfs2_cli::Interrupt;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::edit::{Edit, EditError as NotEdited, EditOptions, How};
use ocfs2_volume::{Error, Volume};

pub mod bad_block;
mod bits;
pub mod bucket_tree;
pub mod commit;
mod contested;
pub mod directory;
pub(crate) mod dx;
mod editor;
mod layout;
pub mod lost_directory;
pub mod lost_found;
pub mod quota;
pub mod refcount;
pub mod root;
pub mod salvage;
pub mod share;
mod space;
pub mod system;
mod system_dir;
pub mod tree;
pub mod xattrs;

pub use editor::{Editor, edit_list};

use crate::name_hashes::Hashing;
pub(crate) use contested::Contested;

/// What repairs can rely on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// Whether the allocators are sound, so that clusters and blocks may be taken.
    pub may_take: bool,
    /// How names are hashed.
    pub hashing: Hashing,
}

impl Terms {
    /// The options of a repair's edit.
    fn options(self) -> EditOptions {
        EditOptions { memory_bytes: DRAFT_BYTES, ..EditOptions::default() }
    }
}

/// Bytes of one repair's changes that are kept in memory; the rest goes to a file.
const DRAFT_BYTES: u64 = 32 << 20;

/// When a repair can be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// Before all others, which are worked out again afterwards: without it most of the volume
    /// cannot be seen.
    First,
    /// At once.
    Now,
    /// Once a check has found nothing to repair at once: it takes clusters or blocks, and relies on
    /// sound allocators and directories.
    Sound,
}

/// The kind of structure that a repair mends as a whole, and which one of them.
pub(crate) type Key = (&'static str, u64);

type Change = dyn Fn(&mut Editor<'_>) -> Result<(), EditError> + Send + Sync;

/// A change that mends one thing.
#[derive(Clone)]
pub struct Repair(Arc<Inner>);

struct Inner {
    when: When,
    /// At most one repair per key is made in a round.
    key: Option<Key>,
    /// Whether it may lose something, although others of its kind lose nothing.
    may_lose: bool,
    /// Inodes whose contents may be wrong in spite of it.
    doubtful: Vec<Blkno>,
    change: Box<Change>,
}

/// What several repairs leave to a single one that is made for all of them.
#[derive(Debug, Default)]
pub(crate) struct Together {
    /// Inodes for `lost+found`.
    pub lost: Vec<lost_found::Lost>,
    /// Entries to be removed from directories.
    pub removed: Vec<directory::Removed>,
    /// Whether to stop: long repairs ask it.
    pub interrupt: Interrupt,
    /// What no repair may change.
    contested: Contested,
}

impl Together {
    /// Starts empty, for repairs that end early on an `interrupt`.
    pub(crate) fn new(interrupt: &Interrupt) -> Self {
        Self { interrupt: interrupt.clone(), ..Self::default() }
    }

    /// The same, for a volume of which `contested` must not be changed.
    pub(crate) fn with_contested(interrupt: &Interrupt, contested: Contested) -> Self {
        Self { contested, ..Self::new(interrupt) }
    }
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repair").field("when", &self.when()).finish_non_exhaustive()
    }
}

/// A repair could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Something cannot be read or written, or is not as it has to be.
    #[error(transparent)]
    Volume(#[from] Error),
    /// Not enough is free.
    #[error("there is no room left for {0}")]
    NoRoom(&'static str),
    /// It takes clusters or blocks, and the allocators are not yet known to be sound: it is tried
    /// again once they are.
    #[error("it takes room, and allocators are not sound")]
    NotYet,
    /// Changes beyond the memory limit cannot be written to their file or read back.
    #[error(transparent)]
    Changes(#[from] std::io::Error),
    /// It would write to a block of several owners: it is tried again once each has its own.
    #[error("block {0} has several owners, which have to be told apart first")]
    Contested(Blkno),
    /// A signal came.
    #[error("it was interrupted")]
    Interrupted,
    /// Something else stands in the way.
    #[error("{0}")]
    Impossible(String),
}

impl From<NotEdited> for EditError {
    fn from(err: NotEdited) -> Self {
        match err {
            NotEdited::Volume(err) => Self::Volume(err),
            NotEdited::NoRoom(what) => Self::NoRoom(what),
            NotEdited::Changes(err) => Self::Changes(err),
            err => Self::Impossible(err.to_string()),
        }
    }
}

impl Repair {
    fn of(when: When, key: Option<Key>, change: Box<Change>) -> Self {
        Self(Arc::new(Inner { when, key, may_lose: false, doubtful: Vec::new(), change }))
    }

    /// A repair of structures where they are. It takes no clusters or blocks, and does not depend
    /// on what else is wrong.
    pub fn new(
        change: impl Fn(&mut Editor<'_>) -> Result<(), EditError> + Send + Sync + 'static,
    ) -> Self {
        Self::of(When::Now, None, Box::new(change))
    }

    /// A repair of what the check needs in order to see the volume at all: no other is made before
    /// it. One that takes clusters or blocks is made once the allocators are sound.
    pub fn first(
        change: impl Fn(&mut Editor<'_>) -> Result<(), EditError> + Send + Sync + 'static,
    ) -> Self {
        Self::of(When::First, None, Box::new(change))
    }

    /// The same for structure number `number` of its kind, made at most once per round.
    pub fn first_once(
        structure: &'static str,
        number: u64,
        change: impl Fn(&mut Editor<'_>) -> Result<(), EditError> + Send + Sync + 'static,
    ) -> Self {
        Self::of(When::First, Some((structure, number)), Box::new(change))
    }

    /// A repair that mends structure number `number` of its kind as a whole, whatever is wrong with
    /// it: at most one per structure and round.
    pub fn once(
        structure: &'static str,
        number: u64,
        change: impl Fn(&mut Editor<'_>) -> Result<(), EditError> + Send + Sync + 'static,
    ) -> Self {
        Self::of(When::Now, Some((structure, number)), Box::new(change))
    }

    /// The same, made after all others: see [`Repair::when_sound`].
    pub fn once_when_sound(
        structure: &'static str,
        number: u64,
        change: impl Fn(&mut Editor<'_>) -> Result<(), EditError> + Send + Sync + 'static,
    ) -> Self {
        Self::of(When::Sound, Some((structure, number)), Box::new(change))
    }

    /// A repair that takes clusters, blocks or inodes, or that would lose something which another
    /// repair may still make reachable: made after all others.
    pub fn when_sound(
        change: impl Fn(&mut Editor<'_>) -> Result<(), EditError> + Send + Sync + 'static,
    ) -> Self {
        Self::of(When::Sound, None, Box::new(change))
    }

    /// Changes the bytes of a block whose block check is at `check_offset`, if it has one.
    pub fn block(
        blkno: Blkno,
        check_offset: Option<usize>,
        change: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |editor| editor.block(blkno, check_offset, &change))
    }

    /// Changes the structure a block begins with, and the bytes that follow it.
    pub fn header<T: Block>(
        blkno: Blkno,
        change: impl Fn(&mut T, &mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |editor| editor.header(blkno, &change))
    }

    /// Changes a dinode, and its block from [`Dinode::ID2_OFFSET`] on.
    pub fn dinode(
        blkno: Blkno,
        change: impl Fn(&mut Dinode, &mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self::header(blkno, change)
    }

    /// Changes an extent block, and the bytes of its extent list's records.
    pub fn extent_block(
        blkno: Blkno,
        change: impl Fn(&mut ExtentBlock, &mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self::header(blkno, change)
    }

    /// Writes a block again as it is read, with a correct block check.
    pub fn block_check<T: Block>(blkno: Blkno) -> Self {
        Self::block(blkno, Some(T::CHECK_OFFSET), |_| {})
    }

    /// The same repair, marked as one that may lose something here.
    #[must_use]
    pub(crate) fn losing(self) -> Self {
        let when = self.0.when;
        self.with(when, true)
    }

    /// The same repair, marked as one in spite of which the contents of some inodes may be wrong.
    #[must_use]
    pub(crate) fn doubting(self, doubtful: Vec<Blkno>) -> Self {
        let Inner { when, key, may_lose, .. } = *self.0;
        let change: Box<Change> = Box::new(move |editor| (self.0.change)(editor));
        Self(Arc::new(Inner { when, key, may_lose, doubtful, change }))
    }

    /// A placeholder that always fails, with the reason `why`, until another repair has been made.
    pub(crate) fn waiting(why: &'static str) -> Self {
        Self::when_sound(move |_| Err(EditError::Impossible(why.to_owned())))
    }

    fn with(self, when: When, may_lose: bool) -> Self {
        let (key, doubtful) = (self.0.key, self.0.doubtful.clone());
        let change: Box<Change> = Box::new(move |editor| (self.0.change)(editor));
        Self(Arc::new(Inner { when, key, may_lose, doubtful, change }))
    }

    pub(crate) fn doubtful(&self) -> &[Blkno] {
        &self.0.doubtful
    }

    pub(crate) fn may_lose(&self) -> bool {
        self.0.may_lose
    }

    pub(crate) fn when(&self) -> When {
        self.0.when
    }

    /// At most one repair per key is made in a round.
    pub(crate) fn key(&self) -> Option<Key> {
        self.0.key
    }

    /// Makes the repair on the overlay below `volume`; if it fails, nothing is changed. Adds what
    /// is left to a common repair to `together`. Returns whether anything was changed.
    ///
    /// # Errors
    /// [`EditError`].
    pub(crate) fn make(
        &self,
        volume: &Volume,
        terms: Terms,
        together: &mut Together,
    ) -> Result<bool, EditError> {
        let mut edit = Edit::new(volume, terms.options());
        let on = volume.on(Arc::clone(edit.volume().device()));
        let mut editor = Editor::new(&on, &mut edit, terms, &together.interrupt);
        (self.0.change)(&mut editor)?;
        let (mut lost, mut removed) = (editor.lost, editor.removed);
        edit.finish()?;
        together.contested.refuse(volume, edit.changes())?;
        together.lost.append(&mut lost);
        together.removed.append(&mut removed);
        let written = edit.commit(How::Unguarded, &**volume.device());
        Ok(written.map_err(std::io::Error::other)? > 0)
    }
}
