//! What is remembered of a volume.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::heartbeat::MAX_NODES;
use ocfs2_format::slot_map::TakenSlot;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE, Stack, SuperBlock};
use ocfs2_format::{Blkno, Structure};
use uuid::Uuid;

use super::{Changed, on_fresh};
use crate::Volume;
use crate::open::FoundSuperblock;
use crate::usage::{Reading, Region, Sample};
use ocfs2_device::Device;

/// Some bytes of the device, and what they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Piece {
    what: String,
    offset: u64,
    bytes: Vec<u8>,
    is_superblock: bool,
}

impl Piece {
    fn read(&self, device: &dyn Device) -> io::Result<Self> {
        let mut bytes = vec![0; self.bytes.len()];
        device.read_fresh_at(&mut bytes, self.offset)?;
        Ok(Self { bytes, ..self.clone() })
    }

    /// The error for how it differs.
    fn changed(&self, now: &Self) -> Changed {
        let contents = || Changed::Contents { what: self.what.clone() };
        if !self.is_superblock {
            return contents();
        }
        if !now.bytes.starts_with(&SUPERBLOCK_SIGNATURE) {
            return Changed::NoVolume;
        }
        let decode = |bytes: &[u8]| {
            let superblock = SuperBlock::decode(bytes.get(Dinode::ID2_OFFSET..)?).ok()?;
            Some((Uuid::from_bytes(superblock.s_uuid), Dinode::decode(bytes).ok()?.i_fs_generation))
        };
        match (decode(&self.bytes), decode(&now.bytes)) {
            (Some((expected, _)), Some((found, _))) if expected != found => {
                Changed::OtherVolume { found, expected }
            }
            (Some((_, expected)), Some((_, found))) if expected != found => {
                Changed::Generation { found, expected }
            }
            _ => contents(),
        }
    }
}

/// All that is remembered.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pieces: Vec<Piece>,
    /// The superblock as it was at the first look.
    first: Vec<u8>,
    /// The slots that are taken; `None` if that cannot be read.
    taken: Option<Vec<TakenSlot>>,
    beats: Option<(Region, Sample)>,
}

impl Seen {
    /// Takes the state of a volume whose device is read past all caches.
    pub fn of_volume(volume: &Volume) -> io::Result<Self> {
        let mut seen = Self::default();
        let found = volume.found_superblock().blkno;
        for blkno in BTreeSet::from([SUPERBLOCK_BLKNO, found]) {
            seen.add_superblock(volume, blkno)?;
        }
        seen.first = seen.superblock().to_vec();
        seen.taken = volume.taken_slots().ok();
        let has_beats = volume.superblock().stack() != Stack::Local;
        let region = volume.heartbeat_region().ok().filter(|_| has_beats);
        seen.beats = region.and_then(|region| {
            let sample = region.sample(volume.device()).ok()?;
            Some((region, sample))
        });
        Ok(seen)
    }

    fn add_superblock(&mut self, volume: &Volume, blkno: Blkno) -> io::Result<()> {
        let block_size = volume.block_size();
        let piece = Piece {
            what: format!("the superblock in block {blkno}"),
            offset: blkno.offset_bytes(block_size).unwrap_or(u64::MAX),
            bytes: vec![0; block_size.size()],
            is_superblock: blkno == SUPERBLOCK_BLKNO,
        };
        // One that cannot be read is not the one the volume was opened by.
        match piece.read(volume.device()) {
            Ok(piece) => self.pieces.push(piece),
            Err(err) if blkno == volume.found_superblock().blkno => return Err(err),
            Err(_) => {}
        }
        Ok(())
    }

    /// The bytes of the superblock, or none.
    fn superblock(&self) -> &[u8] {
        let piece = self.pieces.iter().find(|piece| piece.is_superblock);
        piece.map_or(&[], |piece| &piece.bytes)
    }

    /// The volume as its superblock states it now, where that was changed since the first look: the
    /// slot map may have got another format.
    fn as_stated(&self, volume: &Volume) -> Option<Volume> {
        let block = self.superblock();
        let changed = Some(block).filter(|block| *block != self.first.as_slice())?;
        let superblock = SuperBlock::decode(changed.get(Dinode::ID2_OFFSET..)?).ok()?;
        let is_it = block.starts_with(&SUPERBLOCK_SIGNATURE)
            && superblock.s_uuid == volume.superblock().s_uuid
            && Dinode::decode(block).ok()?.i_fs_generation == volume.generation();
        is_it.then(|| {
            let found = volume.found_superblock().clone();
            volume.with_superblock(FoundSuperblock { superblock, ..found })
        })
    }

    /// Adds some bytes of the device.
    pub fn add(&mut self, device: &dyn Device, what: &str, range: Range<u64>) -> io::Result<()> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let piece = Piece {
            what: what.to_owned(),
            offset: range.start,
            bytes: vec![0; len],
            is_superblock: false,
        };
        self.pieces.push(piece.read(device)?);
        Ok(())
    }

    /// Compares no heartbeats from now on.
    pub fn ignore_beats(&mut self) {
        self.beats = None;
    }

    /// Reads the same from `device`: as it is now, or as it will be.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn on(&self, device: &Arc<dyn Device>, volume: Option<&Volume>) -> io::Result<Self> {
        let pieces = self.pieces.iter().map(|piece| piece.read(device));
        let pieces = pieces.collect::<io::Result<_>>()?;
        let mut now = Self { pieces, first: self.first.clone(), taken: None, beats: None };
        now.taken = volume.and_then(|volume| {
            let stated = now.as_stated(volume);
            on_fresh(stated.as_ref().unwrap_or(volume), device).taken_slots().ok()
        });
        now.beats = match &self.beats {
            Some((region, _)) => Some((*region, region.sample(device)?)),
            None => None,
        };
        Ok(now)
    }

    /// Checks that `now` is as it was, or as it was to become: `next`. Nodes in `known` may do
    /// anything.
    pub fn compare(&self, next: &Self, now: &Self, known: &BTreeSet<u32>) -> Result<(), Changed> {
        for ((piece, next), now) in self.pieces.iter().zip(&next.pieces).zip(&now.pieces) {
            if now != piece && now != next {
                return Err(piece.changed(now));
            }
        }
        let slots = (self.taken.as_ref(), next.taken.as_ref());
        compare_slots(slots, now.taken.as_ref(), known)?;
        let (Some((_, before)), Some((_, now))) = (&self.beats, &now.beats) else {
            return Ok(());
        };
        let next = next.beats.as_ref().map_or(before, |(_, next)| next);
        match first_beat(before, next, now, known) {
            Some(node) => Err(Changed::Beat { node }),
            None => Ok(()),
        }
    }
}

/// The first node outside `known` whose heartbeat is neither as it was nor as it was to become.
///
/// Only beats count with the other sizes of a sector: what a known node writes is garbage there.
fn first_beat(before: &Sample, next: &Sample, now: &Sample, known: &BTreeSet<u32>) -> Option<u32> {
    let differs = |before: &[Reading], next: &[Reading], now: &[Reading], node: usize| {
        ![before.get(node), next.get(node)].contains(&now.get(node))
    };
    let has_beat = |now: &[Reading], node: usize| {
        now.get(node).copied().flatten().is_some_and(|beat| beat.is_any())
    };
    (0..u32::from(MAX_NODES)).filter(|node| !known.contains(node)).find(|node| {
        let node = *node as usize;
        let mut sizes = before.by_size.iter().zip(&next.by_size).zip(&now.by_size);
        differs(&before.nodes, &next.nodes, &now.nodes, node)
            || sizes.any(|((before, next), now)| {
                has_beat(now, node) && differs(before, next, now, node)
            })
    })
}

/// The slots that are taken, before and after; `None` if they cannot be read.
type Slots<'a> = (Option<&'a Vec<TakenSlot>>, Option<&'a Vec<TakenSlot>>);

fn compare_slots(
    (before, next): Slots<'_>,
    now: Option<&Vec<TakenSlot>>,
    known: &BTreeSet<u32>,
) -> Result<(), Changed> {
    let Some(now) = now else {
        return if before.is_none() || next.is_none() { Ok(()) } else { Err(Changed::SlotMap) };
    };
    if before.is_none() && next.is_none() {
        return Err(Changed::SlotMap);
    }
    let nobody = Vec::new();
    let (before, next) = (before.unwrap_or(&nobody), next.unwrap_or(&nobody));
    let is_new = |taken: &&TakenSlot| {
        !known.contains(&taken.node) && !before.contains(taken) && !next.contains(taken)
    };
    if let Some(&TakenSlot { slot, node }) = now.iter().find(is_new) {
        return Err(Changed::SlotTaken { slot, node });
    }
    let is_gone = |taken: &&TakenSlot| {
        !known.contains(&taken.node) && next.contains(taken) && !now.contains(taken)
    };
    match before.iter().find(is_gone) {
        Some(&TakenSlot { slot, node }) => Err(Changed::SlotFreed { slot, node }),
        None => Ok(()),
    }
}
