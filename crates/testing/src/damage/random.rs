//! Random damage: the same for the same seed.

use std::collections::BTreeMap;

use ocfs2_device::Device;
use ocfs2_format::feature::Incompat;
use ocfs2_format::xattr::BUCKET_SIZE;
use ocfs2_format::{Blkno, check};
use ocfs2_volume::Volume;
use ocfs2_volume::metadata::{MetadataKind as Kind, MetadataRun};

use crate::Random;

/// Largest number of damaged blocks of a journal, and of another system file, if it has so many.
const MOST: (usize, usize) = (4, 16);

/// Returns whether the structure states its block number, so that it is noticed in another place.
fn states_place(kind: Kind) -> bool {
    !matches!(kind, Kind::XattrBucket | Kind::Quota | Kind::SystemFile)
}

/// A block of metadata, or a bucket of several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Piece {
    kind: Kind,
    blkno: Blkno,
    len: usize,
    check_offset: Option<usize>,
}

/// All metadata in use on a volume.
#[derive(Clone, Debug)]
pub struct Metadata {
    pieces: BTreeMap<Kind, Vec<Piece>>,
    block_size: usize,
    blocks: u64,
    has_checks: bool,
    size: u64,
    /// Whether the device may be cut short.
    may_be_cut: bool,
}

/// What was done to a volume.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    /// The steps in words, in order.
    pub steps: Vec<String>,
    /// Whether a check has to notice it: a block check no longer matches, or a block is in the
    /// place of another one.
    pub must_be_found: bool,
    /// New size of the device in bytes; `None` if it is unchanged.
    pub size: Option<u64>,
}

impl Metadata {
    /// Returns the first block of each structure, kind by kind.
    pub fn places(&self) -> Vec<Vec<Blkno>> {
        let places = |pieces: &Vec<Piece>| pieces.iter().map(|piece| piece.blkno).collect();
        self.pieces.values().map(places).collect()
    }

    /// Returns only the blocks and buckets of attributes, and the refcount trees; the device is not
    /// cut short.
    pub fn attributes_and_refcounts(&self) -> Self {
        let mut only = Self { may_be_cut: false, ..self.clone() };
        let wanted = [Kind::XattrBlock, Kind::XattrBucket, Kind::RefcountBlock];
        only.pieces.retain(|kind, _| wanted.contains(kind));
        only
    }

    /// Returns the metadata of a sound volume.
    ///
    /// # Panics
    /// If it is not sound.
    pub fn of(volume: &Volume) -> Self {
        let mut metadata = Self {
            pieces: BTreeMap::new(),
            block_size: volume.block_size().size(),
            blocks: volume.geometry().blocks(),
            has_checks: volume.has(Incompat::META_ECC),
            size: volume.device().size_bytes(),
            may_be_cut: true,
        };
        for run in volume.metadata() {
            let run = run.unwrap();
            // Changes to the target of a link cannot be noticed.
            if run.kind != Kind::Symlink {
                metadata.add(run);
            }
        }
        metadata
    }

    fn add(&mut self, run: MetadataRun) {
        let MetadataRun { kind, blkno, blocks, check_offset, .. } = run;
        if kind == Kind::XattrBucket {
            self.pieces.entry(kind).or_default().push(Piece {
                kind,
                blkno,
                len: BUCKET_SIZE,
                check_offset,
            });
            return;
        }
        let (kind, most) = match kind {
            Kind::Journal => (Kind::SystemFile, MOST.0),
            Kind::SystemFile => (kind, MOST.1),
            _ => (kind, usize::MAX),
        };
        let len = self.block_size;
        let pieces =
            (0..blocks).map(|n| Piece { kind, blkno: Blkno(blkno.0 + n), len, check_offset });
        self.pieces.entry(kind).or_default().extend(pieces.take(most));
    }

    /// Damages the volume on `device`, which is the sound one, in a way that depends on `seed`.
    ///
    /// # Panics
    /// If the device cannot be read or written.
    pub fn damage(&self, seed: u64, device: &dyn Device) -> Damage {
        let mut random = Random(seed);
        let hits = 1 + random.below(4);
        self.hit(&mut random, hits, false, device)
    }

    /// Like [`Self::damage`], with up to 48 hits; for half of the seeds, all changed blocks get
    /// correct block checks, so that no checksum reveals what is wrong.
    ///
    /// # Panics
    /// If the device cannot be read or written.
    pub fn damage_much(&self, seed: u64, device: &dyn Device) -> Damage {
        let mut random = Random(seed);
        let most = *random.of(&[1, 4, 16, 48]);
        let hits = 1 + random.below(most);
        let with_checks = random.below(2) == 0;
        self.hit(&mut random, hits, with_checks, device)
    }

    fn hit(
        &self,
        random: &mut Random,
        hits: usize,
        with_checks: bool,
        device: &dyn Device,
    ) -> Damage {
        let mut work = Work { metadata: self, device, with_checks, touched: BTreeMap::new() };
        let mut damage = Damage::default();
        for _ in 0..hits {
            let (step, misplaced) = work.step(random);
            damage.steps.push(step);
            damage.must_be_found |= misplaced;
        }
        if self.may_be_cut && random.below(32) == 0 {
            let size = random.next() % self.size;
            damage.steps.push(format!("cut after {size} bytes"));
            damage.size = Some(size);
        }
        damage.must_be_found |= damage.size.is_some() || work.has_bad_check();
        damage
    }

    fn any(&self, random: &mut Random) -> Piece {
        let kinds: Vec<&Vec<Piece>> = self.pieces.values().collect();
        let kind = random.of(&kinds);
        *random.of(kind)
    }

    fn offset(&self, piece: Piece) -> u64 {
        piece.blkno.0 * self.block_size as u64
    }
}

struct Work<'a> {
    metadata: &'a Metadata,
    device: &'a dyn Device,
    /// Whether everything that is written gets a correct block check.
    with_checks: bool,
    /// What was last changed without a new block check, with its former bytes.
    touched: BTreeMap<Blkno, (Piece, Vec<u8>)>,
}

impl Work<'_> {
    fn read(&self, piece: Piece) -> Vec<u8> {
        let mut bytes = vec![0; piece.len];
        self.device.read_at(&mut bytes, self.metadata.offset(piece)).unwrap();
        bytes
    }

    fn write(&mut self, piece: Piece, bytes: &[u8], with_check: bool) {
        let before = self.read(piece);
        let mut bytes = bytes.to_vec();
        let with_check = (with_check || self.with_checks) && self.metadata.has_checks;
        match piece.check_offset.filter(|_| with_check) {
            Some(check_offset) => {
                check::stamp(&mut bytes, check_offset);
                self.touched.remove(&piece.blkno);
            }
            None => {
                self.touched.entry(piece.blkno).or_insert((piece, before));
            }
        }
        self.device.write_at(&bytes, self.metadata.offset(piece)).unwrap();
    }

    /// Returns whether there is a block whose check does not match.
    fn has_bad_check(&self) -> bool {
        let mut touched = self.touched.values();
        self.metadata.has_checks
            && touched.any(|(piece, before)| {
                let now = self.read(*piece);
                let is_bad =
                    |offset| matches!(check::validate(&now, offset), check::Checked::Bad { .. });
                now != *before && piece.check_offset.is_some_and(is_bad)
            })
    }

    /// Does one change; returns its description, and whether a block is in the place of another
    /// one.
    fn step(&mut self, random: &mut Random) -> (String, bool) {
        let piece = self.metadata.any(random);
        let mut bytes = self.read(piece);
        let Piece { kind, blkno, len, .. } = piece;
        let with_check = random.below(2) == 0;
        let check = if with_check { ", with a new check" } else { "" };
        match random.below(8) {
            0 | 1 => {
                let bits: Vec<_> = (0..=random.below(8)).map(|_| random.below(len * 8)).collect();
                bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
                self.write(piece, &bytes, with_check);
                (format!("{kind:?} {blkno}: bits {bits:?} flipped{check}"), false)
            }
            2 => {
                bytes.fill(0);
                self.write(piece, &bytes, false);
                (format!("{kind:?} {blkno}: zeroed"), false)
            }
            3 => {
                let from = *random.of(&[0, 0x40, 0xc0, len / 2]);
                let garbage = random.bytes(len - from);
                bytes[from..].copy_from_slice(&garbage);
                self.write(piece, &bytes, with_check);
                (format!("{kind:?} {blkno}: garbage from byte {from} on{check}"), false)
            }
            4 => {
                let other = self.metadata.any(random);
                if other.len != len || other.blkno == blkno {
                    return (format!("{kind:?} {blkno}: left alone"), false);
                }
                let others = self.read(other);
                let one_way = random.below(2) == 0;
                self.write(piece, &others, false);
                if !one_way {
                    self.write(other, &bytes, false);
                }
                let how = if one_way { "overwritten with" } else { "swapped with" };
                let misplaced = states_place(kind) && others != bytes;
                (format!("{kind:?} {blkno}: {how} {:?} {}", other.kind, other.blkno), misplaced)
            }
            _ => {
                let mut fields = Vec::new();
                for _ in 0..=random.below(3) {
                    fields.push(self.change_field(&mut bytes, random));
                }
                self.write(piece, &bytes, true);
                (format!("{kind:?} {blkno}: {}", fields.join(", ")), false)
            }
        }
    }

    /// Gives a field a value that is likely to matter.
    fn change_field(&self, bytes: &mut [u8], random: &mut Random) -> String {
        let width = *random.of(&[2, 4, 8]);
        // Headers are more interesting than what follows them.
        let room = if random.below(3) == 0 { bytes.len() } else { 0x140.min(bytes.len()) };
        let at = random.below(room / width) * width;
        let field = &mut bytes[at..at + width];
        let mut old = [0; 8];
        old[..width].copy_from_slice(field);
        let old = u64::from_le_bytes(old);
        let other = self.metadata.any(random).blkno.0;
        let blocks = self.metadata.blocks;
        let (any, within) = (random.next(), random.next() % blocks);
        let value = *random.of(&[
            0,
            1,
            u64::MAX,
            u64::MAX >> 1,
            old.wrapping_add(1),
            old.wrapping_sub(1),
            old << 8,
            any,
            within,
            other,
            other,
            blocks,
            blocks - 1,
        ]);
        field.copy_from_slice(&value.to_le_bytes()[..width]);
        format!("{width} bytes at {at:#x} from {old:#x} to {value:#x}")
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::{DeviceOptions, OverlayDevice, open};
    use ocfs2_volume::VolumeOptions;

    use super::*;
    use crate::fixture;

    #[test]
    fn the_same_seed_does_the_same_damage() {
        let device = open(&fixture("clean-512-local"), &DeviceOptions::default()).unwrap();
        let volume = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
        let metadata = Metadata::of(&volume);
        assert_eq!(metadata.pieces.len(), 12, "{:?}", metadata.pieces.keys());
        let once = |seed| {
            let overlay = OverlayDevice::new(device.clone(), 512);
            let damage = metadata.damage(seed, &overlay);
            let mut changes = Vec::new();
            let visited: std::io::Result<()> = overlay.for_each_change(|offset, bytes| {
                changes.push((offset, bytes.to_vec()));
                Ok(())
            });
            visited.unwrap();
            (damage.steps, changes)
        };
        assert_eq!(once(7), once(7));
        assert_ne!(once(7).1, once(8).1);
    }
}
