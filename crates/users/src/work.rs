//! The changes of a run, and how they reach the volume.
//!
//! Most are one transaction. What has to visit every file takes as many as it needs, each of which
//! leaves a volume that can be mounted: it calls [`Work::settle`] after each file or part of one.
//! [`crate::Steps`] commits them.

use std::ops::Range;

use anyhow::Result;
use ocfs2_cli::{NoProgress, Progress};
use ocfs2_device::Device;
use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::Volume;
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Contents, Edit, How};

/// Contents that are not part of the transaction.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Clusters to be zeroed.
    Zero(Range<u32>),
    /// Contents of blocks, from this one on.
    Blocks(Blkno, Vec<u8>),
    /// A copy of clusters.
    Copy {
        /// The first block to be copied.
        from: Blkno,
        /// The first block of the copy.
        to: Blkno,
        /// Number of clusters.
        clusters: u32,
    },
}

impl Piece {
    /// The first block that it writes.
    fn start(&self, volume: &Volume) -> Blkno {
        match self {
            Self::Zero(run) => volume.geometry().block_of(Cluster(run.start)),
            Self::Blocks(blkno, _) => *blkno,
            Self::Copy { to, .. } => *to,
        }
    }
}

impl From<Contents> for Piece {
    fn from(contents: Contents) -> Self {
        match contents {
            Contents::Zeros(run) => Self::Zero(run),
            Contents::Copy { from, to, clusters } => Self::Copy { from, to, clusters },
        }
    }
}

/// Bytes of changed blocks after which a transaction is committed, if the largest journal has room
/// for several times as many.
const MOST_BYTES: u64 = 8 << 20;

/// The part of a journal that a transaction takes before its last step.
const BEFORE_STEP: u64 = 8;

/// Blocks of quota files and allocators that a step may change when it is complete.
const AFTER_STEP: u64 = 16;

/// Pieces after which a transaction is committed.
const MOST_PIECES: usize = 1024;

/// Bytes that are copied at once.
const COPIED_AT_ONCE: u64 = 1 << 20;

/// What is done between two transactions: the first is committed and the work goes on with another
/// edit, or, in a rehearsal, with the same one.
pub type Step<'a> = dyn Fn(&mut Work<'_>) -> Result<()> + 'a;

/// A transaction, and what is written before and after it.
pub struct Work<'a> {
    /// The transaction.
    pub edit: Edit,
    /// Written and flushed before the transaction: to places that are unreachable without it, or
    /// where the contents are correct with and without it.
    pub before: Vec<Piece>,
    /// Written after the transaction: contents that would be wrong without it.
    pub after: Vec<Piece>,
    /// Whether to write in place instead of through a journal. Needed if a journal already
    /// describes itself as it will be: a check before the replay would "correct" that.
    pub is_in_place: bool,
    /// A slot whose journal this is not written through.
    pub not_through: Option<u16>,
    /// Changed blocks after which the transaction is committed.
    enough: usize,
    step: &'a Step<'a>,
    /// Clusters that something has left in this transaction. They stay taken until its end, so that
    /// nothing is copied to them before it is committed.
    pub left: Vec<Range<u32>>,
    /// Whether nothing of it is ever written.
    is_rehearsal: bool,
    /// Whether no other change comes after the present one.
    pub is_last: bool,
    progress: &'a dyn Progress,
    /// How much of the present task is done.
    done: u64,
}

/// How many blocks of a volume a transaction may change before its last step, and how many that
/// step.
fn room(volume: &Volume) -> (u64, u64) {
    let most = volume.most_blocks();
    let enough = (most / BEFORE_STEP).clamp(1, MOST_BYTES >> volume.block_size().bits());
    (enough, most.saturating_sub(enough + AFTER_STEP))
}

/// Most blocks that a step may change so that it goes through a journal; 0, which is any number, if
/// no journal can be used.
pub fn most_blocks(volume: &Volume) -> u64 {
    room(volume).1
}

impl<'a> Work<'a> {
    /// A transaction that `step` ends.
    pub fn new(edit: Edit, step: &'a Step<'a>, progress: &'a dyn Progress) -> Self {
        Self {
            enough: room(edit.volume()).0 as usize,
            edit,
            before: Vec::new(),
            after: Vec::new(),
            is_in_place: false,
            not_through: None,
            left: Vec::new(),
            step,
            is_rehearsal: false,
            is_last: false,
            progress,
            done: 0,
        }
    }

    /// A rehearsal: all of it is one transaction that is never committed.
    pub fn rehearsal(edit: Edit, step: &'a Step<'a>) -> Self {
        Self { is_rehearsal: true, ..Self::new(edit, step, &NoProgress) }
    }

    /// Whether nothing of it is ever written.
    pub fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    /// Whether this is a rehearsal in which nothing reads what the present change writes.
    pub fn is_read_by_nobody(&self) -> bool {
        self.is_rehearsal && self.is_last
    }

    /// Reports that a task begins which consists of `total` parts.
    pub fn begin(&mut self, task: &str, total: usize) {
        self.done = 0;
        self.progress.start(task, total as u64);
    }

    /// Reports that so many more parts of the task are done.
    pub fn advance(&mut self, parts: u64) {
        self.done += parts;
        self.progress.update(self.done);
    }

    /// Goes on with another transaction over `volume`, to which this one was committed. Allocators
    /// go on where they were, so that everything gets the places it got in a rehearsal.
    pub fn go_on(&mut self, volume: &Volume) {
        self.edit.restart(volume);
        self.before.clear();
        self.after.clear();
        self.left.clear();
        (self.is_in_place, self.not_through) = (false, None);
    }

    /// Ends the transaction if it has become large.
    ///
    /// # Errors
    /// It cannot be committed.
    pub fn settle(&mut self) -> Result<()> {
        if self.is_large() { self.flush() } else { Ok(()) }
    }

    /// Whether the transaction has become large.
    pub fn is_large(&self) -> bool {
        // What was left changes a group for each, at worst.
        let changed = self.edit.changed_blocks() + self.left.len().min(self.groups());
        changed >= self.enough || self.before.len() >= MOST_PIECES
    }

    /// Number of groups of the global bitmap.
    fn groups(&self) -> usize {
        self.edit.geometry().groups() as usize
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// It cannot be committed.
    pub fn flush(&mut self) -> Result<()> {
        for run in std::mem::take(&mut self.left) {
            self.edit.give_clusters(run)?;
        }
        self.edit.finish()?;
        let step = self.step;
        step(self)
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.edit.changed_blocks() == 0 && self.before.is_empty() && self.after.is_empty()
    }

    /// Writes everything to `device`, through the first journal that is large enough.
    pub fn commit(&self, slots: u16, device: &dyn Device) -> Result<(), CommitError> {
        self.write(&self.before, device)?;
        // What comes before a transaction is flushed before it, also if that is a later one.
        if self.edit.changed_blocks() == 0 && self.after.is_empty() {
            return Ok(());
        }
        self.flush_device(device)?;
        match self.commit_edit(slots, device) {
            // The transaction was not written, but what comes before it was.
            Err(err) if err.is_before_writes() && !self.before.is_empty() => {
                return Err(CommitError::Changes(std::io::Error::other(err)));
            }
            done => done?,
        }
        self.write(&self.after, device)?;
        self.flush_device(device)
    }

    fn flush_device(&self, device: &dyn Device) -> Result<(), CommitError> {
        let pieces = self.before.iter().chain(&self.after);
        let blkno = pieces.last().map_or(Blkno(0), |piece| piece.start(self.edit.volume()));
        device.flush().map_err(|source| CommitError::Write { blkno, source })
    }

    fn commit_edit(&self, slots: u16, device: &dyn Device) -> Result<(), CommitError> {
        let (mut too_large, is_other) = (None, |slot: &u16| self.not_through != Some(*slot));
        for slot in (0..slots).filter(is_other).filter(|_| !self.is_in_place) {
            match self.edit.commit(How::InParts(slot), device) {
                Err(err @ CommitError::NoRoom { .. }) => return Err(err),
                Err(err @ CommitError::TooLarge { .. }) => too_large = Some(err),
                Err(err) if err.is_before_writes() => {}
                done => return done.map(|_| ()),
            }
        }
        match too_large {
            Some(err) => Err(err),
            None => self.edit.commit(How::InPlace, device).map(|_| ()),
        }
    }

    fn write(&self, pieces: &[Piece], device: &dyn Device) -> Result<(), CommitError> {
        let geometry = self.edit.geometry();
        let offset = |blkno: Blkno| blkno.offset_bytes(geometry.block_size).unwrap_or(u64::MAX);
        for piece in pieces {
            let (blkno, written) = match piece {
                Piece::Zero(run) => {
                    let blkno = geometry.block_of(Cluster(run.start));
                    let bytes = u64::from(run.end - run.start) << geometry.cluster_size.bits();
                    (blkno, device.zero(offset(blkno), bytes))
                }
                Piece::Blocks(blkno, bytes) => (*blkno, device.write_at(bytes, offset(*blkno))),
                Piece::Copy { from, to, clusters } => {
                    let bytes = u64::from(*clusters) << geometry.cluster_size.bits();
                    (*to, self.copy(offset(*from), offset(*to), bytes, device))
                }
            };
            written.map_err(|source| CommitError::Write { blkno, source })?;
        }
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, bytes: u64, device: &dyn Device) -> std::io::Result<()> {
        let mut buffer = vec![0; bytes.min(COPIED_AT_ONCE) as usize];
        let mut done = 0;
        while done < bytes {
            let part = buffer.get_mut(..(bytes - done).min(COPIED_AT_ONCE) as usize);
            let part = part.unwrap_or_default();
            self.edit.volume().device().read_at(part, from + done)?;
            device.write_at(part, to + done)?;
            done += part.len() as u64;
        }
        Ok(())
    }
}
