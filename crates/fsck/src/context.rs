//! What every pass is given: the volume, how to read it, and what was asked for.

use ocfs2_cli::Interrupt;
use ocfs2_device::AlignedBuffer;
use ocfs2_format::check::{self, Checked};
use ocfs2_format::feature::Incompat;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::hash::CharSign;
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::{Error, Volume};

use crate::codes::{Code, general};
use crate::memory::Shares;
use crate::repair::bad_block;
use crate::{Finding, Place};

/// Reads that keep a device busy, whatever the number of cores.
const IN_FLIGHT: usize = 16;

/// Bytes that are read at once where blocks lie in a row.
const PIECE_BYTES: u64 = 1 << 20;

/// Blocks of which those that are wanted are read at once.
const PIECE: u64 = 256;

/// Blocks that are rather read in vain than skipped by another read.
const GAP: u64 = 16;

/// How to check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Threads that read and decode, at least 1, each with one read at a time. The result does
    /// not depend on it.
    pub threads: usize,
    /// Whether inodes of another generation may belong to this volume (`-G`).
    pub foreign_generations: bool,
    /// Whether lost system files are searched for on the whole volume (`--salvage`).
    pub salvage: bool,
    /// Whether the seed of the directory indexes is not the one these were made with.
    pub is_new_seed: bool,
    /// Whether a plan packs directories when all else is done (`-D`).
    pub pack_directories: bool,
    /// Which hash names with bytes from 0x80 on get, in indexes that are built and, with
    /// [`Options::pack_directories`], in all (`--name-hash`); otherwise what the volume shows.
    pub name_hash: Option<CharSign>,
    /// Findings that a plan keeps with their answers, at least 1. What is found beyond them waits
    /// for another run.
    pub most_findings: usize,
    /// Claims on clusters of others that are compared at a time, at least 2. Clusters beyond them
    /// wait for another round, or another run.
    pub most_claims: usize,
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
        }
    }
}

/// The volume and what was asked for. Shared by all threads.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The volume, read through whatever was changed so far.
    pub volume: &'a Volume,
    /// How to check.
    pub options: &'a Options,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
}

/// A block that was read, as far as it could be.
#[derive(Clone, Debug)]
pub struct ReadBlock {
    /// Where it is.
    pub blkno: Blkno,
    /// The contents; a single wrong bit is corrected in them.
    pub bytes: Vec<u8>,
    /// Why the checksum does not hold, in words, where it does not.
    pub bad_check: Option<String>,
}

/// The check ended before it was through.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Stop {
    /// A signal said so.
    #[error("interrupted")]
    Interrupted,
}

impl<'a> Context<'a> {
    /// Ends the check if a signal came.
    ///
    /// # Errors
    /// [`Stop::Interrupted`].
    pub fn check_interrupt(&self) -> Result<(), Stop> {
        if self.interrupt.requested() { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Whether the device has a block. Of one that it has not, [`DEVICE_SHORT`] says so for all.
    ///
    /// [`DEVICE_SHORT`]: crate::codes::start::DEVICE_SHORT
    pub fn is_on_device(&self, blkno: Blkno) -> bool {
        let end = blkno.0.saturating_add(1).checked_mul(self.volume.block_size().bytes().into());
        end.is_some_and(|end| end <= self.volume.device().size_bytes())
    }

    /// Its sizes.
    pub fn geometry(&self) -> &'a Geometry {
        self.volume.geometry()
    }

    /// Reads a block of metadata whose block check is at `check_offset`. What is wrong with the
    /// checksum is part of the answer: the contents are looked at all the same.
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

    /// Reads `count` blocks in a row, in large pieces where that can be done, and gives `each`
    /// one after the other, or the finding that it cannot be read.
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

    /// Reads blocks that lie apart, those close to each other by one read if they ascend; nothing
    /// for those that cannot be read.
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

    /// Looks at the block check of `bytes`, which may be several blocks, where the volume has
    /// them. Corrects a single wrong bit. Says what is wrong.
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
    /// The finding about its checksum, if that does not hold.
    pub fn ecc_finding(&self, structure: &str, code: &'static Code) -> Option<Finding> {
        let bad = self.bad_check.as_ref()?;
        let text = format!("{structure} {}: {bad}", self.blkno);
        Some(Finding::new(code, Place::block(self.blkno), text))
    }
}

/// The finding that a block cannot be read.
pub fn io_error(structure: &str, blkno: Blkno, err: &Error) -> Finding {
    // With its number, as in "Input/output error (os error 5)".
    let cause = match err {
        Error::Read { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let text = format!("{structure} {blkno} cannot be read: {cause}");
    Finding::new(general::IO_ERROR, Place::block(blkno), text)
        .repaired_by(bad_block::rewrite(blkno))
}
