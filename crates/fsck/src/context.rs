//! The context of every pass: the volume, how to read it, and the options.

use std::sync::Arc;

use ocfs2_cli::Interrupt;
use ocfs2_device::AlignedBuffer;
use ocfs2_format::check::{self, Checked};
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::hash::CharSign;
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::{Error, Volume};

use crate::codes::{Code, general};
use crate::last_names::LastNames;
use crate::memory::Shares;
use crate::repair::bad_block;
use crate::{Finding, Place};

/// Reads in flight that keep a device busy, whatever the number of cores.
const IN_FLIGHT: usize = 16;

/// Bytes per read of consecutive blocks.
const PIECE_BYTES: u64 = 1 << 20;

/// Scattered blocks within so many blocks of the first one may share one read.
const PIECE: u64 = 256;

/// The largest distance between two wanted blocks of one read: to read the blocks between them in
/// vain is cheaper than a second read.
const GAP: u64 = 16;

/// How to check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Threads that read and decode, at least 1, each with one read at a time. The result does not
    /// depend on the number.
    pub threads: usize,
    /// Whether inodes of another generation may belong to this volume, and are asked about (`-G`).
    pub foreign_generations: bool,
    /// Whether the whole volume is searched for lost system files (`--salvage`).
    pub salvage: bool,
    /// Whether the seed of the directory indexes differs from the one that these were made with.
    pub is_new_seed: bool,
    /// Whether a plan packs directories once everything else is done (`-D`).
    pub pack_directories: bool,
    /// The hash of names with bytes from 0x80 on in rebuilt indexes and, with
    /// [`Options::pack_directories`], in all indexes (`--name-hash`). `None`: the one that the
    /// volume shows.
    pub name_hash: Option<CharSign>,
    /// Findings that a plan keeps with their answers, at least 1. Further ones wait for another
    /// run.
    pub most_findings: usize,
    /// Claims on clusters of others that are compared at a time, at least 2. Further clusters wait
    /// for another round, or another run.
    pub most_claims: usize,
    /// Clusters in which a survey of the device has found groups or blocks of directories: looked at
    /// also where they are free, as long as nothing else has them.
    pub suspects: Arc<Vec<u32>>,
    /// The last known names of what comes into `lost+found`.
    pub last_names: LastNames,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: cores.max(IN_FLIGHT),
            foreign_generations: false,
            salvage: false,
            is_new_seed: false,
            pack_directories: false,
            name_hash: None,
            most_findings: Shares::MOST_FINDINGS,
            most_claims: Shares::MOST_CLAIMS,
            suspects: Arc::default(),
            last_names: LastNames::default(),
        }
    }
}

/// The volume and the options. Shared by all threads.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The volume, including all changes made so far.
    pub volume: &'a Volume,
    /// How to check.
    pub options: &'a Options,
    /// Whether a signal asked to stop.
    pub interrupt: &'a Interrupt,
}

/// A block that was read, with the result of its block check.
#[derive(Clone, Debug)]
pub struct ReadBlock {
    /// Its block number.
    pub blkno: Blkno,
    /// The contents, with a single wrong bit corrected.
    pub bytes: Vec<u8>,
    /// Why the checksum does not hold, in words. `None` if it holds, or the volume has none.
    pub bad_check: Option<String>,
}

/// The check ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Stop {
    /// A signal ended it.
    #[error("interrupted")]
    Interrupted,
}

impl<'a> Context<'a> {
    /// Whether extents may be allocated and not written.
    pub fn has_unwritten(&self) -> bool {
        self.volume.features().ro_compat.contains(RoCompat::UNWRITTEN)
    }

    /// Returns an error, which ends the check, if a signal came.
    ///
    /// # Errors
    /// [`Stop::Interrupted`].
    pub fn check_interrupt(&self) -> Result<(), Stop> {
        if self.interrupt.requested() { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Returns whether a block is on the device. [`DEVICE_SHORT`] covers all that are not.
    ///
    /// [`DEVICE_SHORT`]: crate::codes::start::DEVICE_SHORT
    pub fn is_on_device(&self, blkno: Blkno) -> bool {
        let end = blkno.0.saturating_add(1).checked_mul(self.volume.block_size().bytes().into());
        end.is_some_and(|end| end <= self.volume.device().size_bytes())
    }

    /// Returns the geometry of the volume.
    pub fn geometry(&self) -> &'a Geometry {
        self.volume.geometry()
    }

    /// Reads a block of metadata whose block check is at byte `check_offset`. A wrong checksum is
    /// part of the result, not an error: the contents are checked all the same.
    ///
    /// # Errors
    /// The finding that it cannot be read: [`general::IO_ERROR`]. The block has to be within
    /// the volume.
    pub fn read(
        &self,
        structure: &'static str,
        blkno: Blkno,
        check_offset: usize,
    ) -> Result<ReadBlock, Finding> {
        let mut bytes = vec![0; self.volume.block_size().size()];
        self.volume
            .read_into(structure, blkno, &mut bytes)
            .map_err(|err| io_error(structure, blkno, &err))?;
        let bad_check = self.check(&mut bytes, check_offset);
        Ok(ReadBlock { blkno, bytes, bad_check })
    }

    /// [`Context::read`] for what should be a `T`.
    ///
    /// # Errors
    /// As [`Context::read`].
    pub fn read_block<T: Block>(&self, blkno: Blkno) -> Result<ReadBlock, Finding> {
        self.read(T::NAME, blkno, T::CHECK_OFFSET)
    }

    /// Reads `count` consecutive blocks, in large pieces where possible. Calls `each` with every
    /// block in turn, or with the finding that it cannot be read.
    pub fn read_each(
        &self,
        structure: &'static str,
        start: Blkno,
        count: u64,
        mut each: impl FnMut(Blkno, Result<&mut [u8], Finding>),
    ) {
        let size = self.volume.block_size().size();
        let end = start.0.saturating_add(count);
        let mut at = start.0;
        let most = PIECE_BYTES >> self.volume.block_size().bits();
        while at < end && !self.interrupt.requested() {
            let piece = most.min(end - at);
            let blknos = (at..at + piece).map(Blkno);
            at += piece;
            match self.volume.read_blocks(Blkno(at - piece), piece as u32) {
                Ok(mut blocks) => {
                    blknos
                        .zip(blocks.chunks_exact_mut(size))
                        .for_each(|(blkno, block)| each(blkno, Ok(block)));
                }
                // One bad block must not hide the others.
                Err(_) => blknos.for_each(|blkno| match self.volume.read_block(blkno) {
                    Ok(mut block) => each(blkno, Ok(&mut block)),
                    Err(err) => each(blkno, Err(io_error(structure, blkno, &err))),
                }),
            }
        }
    }

    /// Reads scattered blocks. Those close to each other share a read if they ascend. `None` for a
    /// block that cannot be read.
    pub fn read_scattered(
        &self,
        structure: &'static str,
        blknos: &[Blkno],
    ) -> Vec<Option<Vec<u8>>> {
        let size = self.volume.block_size().size();
        let mut all = Vec::with_capacity(blknos.len());
        let mut buffer = AlignedBuffer::default();
        let mut rest = blknos;
        while let Some(first) = rest.first() {
            let mut last = 0;
            let distance = |blkno: &Blkno| {
                let distance = blkno.0.checked_sub(first.0).filter(|it| *it < PIECE)?;
                let gap = distance.checked_sub(last)?;
                last = distance;
                (gap <= GAP).then_some(distance)
            };
            let near = rest.iter().map_while(distance).collect::<Vec<_>>();
            let blocks = near.last().map_or(1, |last| *last as usize + 1);
            let bytes = buffer.get(blocks * size);
            let read = self.volume.read_into(structure, *first, bytes).is_ok();
            let block = |distance: &u64| bytes.get(*distance as usize * size..)?.get(..size);
            match read {
                true => all.extend(near.iter().map(|it| block(it).map(<[u8]>::to_vec))),
                // One bad block must not hide the others.
                false => {
                    let near = rest.iter().take(near.len());
                    all.extend(near.map(|blkno| self.volume.read_block(*blkno).ok()));
                }
            }
            rest = rest.get(near.len()..).unwrap_or_default();
        }
        all
    }

    /// Verifies the block check of `bytes`, which may be several blocks, and corrects a single
    /// wrong bit. Returns what is wrong; `None` also where the volume has no block checks.
    pub fn check(&self, bytes: &mut [u8], check_offset: usize) -> Option<String> {
        if !self.volume.has(Incompat::META_ECC) {
            return None;
        }
        match check::correct(bytes, check_offset) {
            Checked::Good => None,
            Checked::OneBit(bit) => Some(format!("bit {} of byte {} is wrong", bit & 7, bit >> 3)),
            Checked::Bad { stored, computed } => {
                Some(format!("the checksum is {stored:#010x}, expected {computed:#010x}"))
            }
        }
    }
}

impl ReadBlock {
    /// Returns the finding about its checksum, if that does not hold.
    pub fn ecc_finding(&self, structure: &str, code: &'static Code) -> Option<Finding> {
        let bad = self.bad_check.as_ref()?;
        let text = format!("{structure} {}: {bad}", self.blkno);
        Some(Finding::new(code, Place::block(self.blkno), text))
    }
}

/// Returns the finding that a block cannot be read.
pub fn io_error(structure: &str, blkno: Blkno, err: &Error) -> Finding {
    // With the error number, as in "Input/output error (os error 5)".
    let cause = match err {
        Error::Read { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let text = format!("{structure} {blkno} cannot be read: {cause}");
    Finding::new(general::IO_ERROR, Place::block(blkno), text)
        .repaired_by(bad_block::rewrite(blkno))
}
