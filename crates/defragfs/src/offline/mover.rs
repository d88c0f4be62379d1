//! Moving pieces to places that are planned here, by transactions.

use std::ops::Range;

use anyhow::Result;
use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;
use ocfs2_users::work::{Piece as Contents, Work};
use ocfs2_volume::Volume;
use ocfs2_volume::allocator::FreeMap;
use ocfs2_volume::edit::EditError;

use super::pieces::{Piece, pieces_of};

/// Bytes that are copied for one transaction: about a second, after which an interrupt is seen.
const COPIED: u64 = 128 << 20;

/// Times that a place is planned again after what was free was read again.
const MOST_RETRIES: u32 = 2;

/// How a move went.
enum Fate {
    Moved,
    /// Something else has taken the place.
    Taken,
    /// This file cannot be moved.
    Failed(String),
}

/// A plan of free clusters, and the work that moves something there.
pub(crate) struct Mover<'w, 'a> {
    work: &'w mut Work<'a>,
    interrupt: &'w Interrupt,
    /// What is free, and was free before the transaction.
    pub map: FreeMap,
    /// Clusters that are copied for one transaction.
    most: u32,
    /// Clusters that have moved in this transaction, and in all.
    copied: u64,
    pub moved: u64,
    /// Most clusters that can be in a row.
    pub longest: u32,
    /// Whether something could be moved if free clusters were in a row.
    pub lacks: bool,
}

impl<'w, 'a> Mover<'w, 'a> {
    /// # Errors
    /// The global bitmap is damaged.
    pub fn new(work: &'w mut Work<'a>, interrupt: &'w Interrupt) -> Result<Self> {
        let volume = work.edit.volume();
        let geometry = volume.geometry();
        let most = (COPIED >> geometry.cluster_size.bits()).clamp(1, u64::from(u32::MAX)) as u32;
        // Each group begins with its descriptor.
        let longest = geometry.clusters_per_group().saturating_sub(1);
        let map = FreeMap::of(volume)?;
        Ok(Self { work, interrupt, map, most, copied: 0, moved: 0, longest, lacks: false })
    }

    pub fn volume(&self) -> &Volume {
        self.work.edit.volume()
    }

    pub fn begin(&mut self, task: &str, total: usize) {
        self.work.begin(task, total);
    }

    pub fn advance(&mut self) {
        self.work.advance(1);
    }

    /// Commits what was moved. What it has left is free from then on.
    ///
    /// # Errors
    /// It cannot be committed; interrupts.
    pub fn flush(&mut self) -> Result<()> {
        let left = self.work.left.clone();
        self.work.flush()?;
        left.into_iter().for_each(|run| self.map.give(run));
        self.copied = 0;
        Ok(())
    }

    /// Moves what an inode has at some positions to a run, which is as long as that takes.
    fn put(&mut self, blkno: Blkno, positions: Range<u64>, mut run: Range<u32>) -> Result<Fate> {
        if !self.map.take(&run) {
            return Ok(Fate::Taken);
        }
        let mut at = positions.start;
        while at < positions.end {
            self.interrupt.check()?;
            let most = self.most;
            let moved = self.work.edit.gather(blkno, at..positions.end, run.clone(), most);
            let moved = match moved {
                Ok(Some(moved)) => moved,
                Ok(None) => {
                    self.flush()?;
                    self.map = FreeMap::of(self.volume())?;
                    return Ok(Fate::Taken);
                }
                Err(err @ (EditError::Volume(_) | EditError::Changes(_))) => return Err(err.into()),
                Err(err) => {
                    self.map.give(run);
                    return Ok(Fate::Failed(err.to_string()));
                }
            };
            at = moved.next;
            run.start += moved.clusters;
            self.moved += u64::from(moved.clusters);
            self.copied += u64::from(moved.clusters);
            self.work.before.extend(moved.contents.into_iter().map(Contents::from));
            self.work.left.extend(moved.left);
            if self.work.is_large() || self.copied >= u64::from(self.most) {
                self.flush()?;
            }
        }
        Ok(Fate::Moved)
    }

    /// Puts the pieces of an inode together. Returns why that failed, if it did.
    ///
    /// # Errors
    /// The volume is damaged; it cannot be written; interrupts.
    pub fn gather(&mut self, blkno: Blkno) -> Result<Option<String>> {
        let inode = self.work.edit.inode(blkno)?;
        let pieces = pieces_of(self.volume(), &inode)?;
        for stretch in pieces.split(|piece| piece.is_fixed) {
            if let Some(problem) = self.gather_stretch(blkno, stretch, inode.is_dir())? {
                return Ok(Some(problem));
            }
        }
        Ok(None)
    }

    /// Puts pieces together that follow each other; with `whole`, all of them or none.
    fn gather_stretch(
        &mut self,
        blkno: Blkno,
        pieces: &[Piece],
        whole: bool,
    ) -> Result<Option<String>> {
        // The clusters before each piece, and of all.
        let mut sums = vec![0_u64];
        for piece in pieces {
            sums.push(sums.last().unwrap_or(&0) + u64::from(piece.clusters));
        }
        let sum = |range: Range<usize>| {
            let at = |index: usize| sums.get(index).copied().unwrap_or_default();
            at(range.end).saturating_sub(at(range.start))
        };
        // The end of the pieces from one on that fit into a run together.
        let fitting = |from: usize, longest: u32| {
            let most = sum(0..from) + u64::from(longest);
            sums.partition_point(|sum| *sum <= most).saturating_sub(1)
        };
        let (mut from, mut retries) = (0, 0);
        while pieces.len() - from > 1 {
            let Some(first) = pieces.get(from) else { break };
            let rest = sum(from + 1..pieces.len());
            let after =
                self.map.at(first.end()).filter(|run| u64::from(run.end - run.start) >= rest);
            let (start, end, run) = match after {
                Some(run) => (from + 1, pieces.len(), Some(run.start..run.start + rest as u32)),
                None => {
                    let end = fitting(from, self.map.longest());
                    let count = u32::try_from(sum(from..end)).unwrap_or(u32::MAX);
                    (from, end, self.map.shortest(count))
                }
            };
            let is_gain = end > start && (start > from || end - start > 1);
            let is_enough = !whole || (from == 0 && end == pieces.len());
            let Some(run) = run.filter(|_| is_gain && is_enough) else {
                self.lacks |= fitting(from, self.longest) > from + 1;
                if whole {
                    break;
                }
                from += 1;
                continue;
            };
            let range = pieces.get(start..end).unwrap_or_default();
            let (Some(first), Some(last)) = (range.first(), range.last()) else { break };
            match self.put(blkno, first.positions.start..last.positions.end, run)? {
                Fate::Moved => from = end,
                Fate::Failed(problem) => return Ok(Some(problem)),
                Fate::Taken if retries < MOST_RETRIES => retries += 1,
                Fate::Taken => break,
            }
        }
        Ok(None)
    }

    /// Moves a piece of an inode to a place before its own, if there is room for all of it.
    ///
    /// # Errors
    /// As [`Mover::gather`].
    pub fn move_down(&mut self, blkno: Blkno, piece: &Piece) -> Result<Option<String>> {
        for _ in 0..=MOST_RETRIES {
            let place = self.map.shortest_before(piece.clusters, piece.place);
            let Some(run) = place else { return Ok(None) };
            match self.put(blkno, piece.positions.clone(), run)? {
                Fate::Moved => return Ok(None),
                Fate::Failed(problem) => return Ok(Some(problem)),
                Fate::Taken => {}
            }
        }
        Ok(None)
    }
}
