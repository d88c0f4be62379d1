//! Damage anywhere by chance: how much of what survives is saved, beside the C tool.
//!
//! `OCFS2_CASES` is the number of cases, `OCFS2_SEED` the first one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_testing::damage::{Metadata, c_fsck};
use ocfs2_testing::{CLEAN, Random, Scratch, fixture, fixture_copy, oracle};

use ocfs2_volume::edit::{Edit, EditOptions, How, NewInode};
use ocfs2_volume::{Volume, VolumeOptions};

use crate::census::{Census, Rates};
use crate::fsck;
use crate::volumes::{differ, volume};

/// Number of cases, unless `OCFS2_CASES` sets another one.
const CASES: u64 = 200;
/// Bytes that a lost piece of a RAID has.
const STRIPE: u64 = 64 << 10;

/// One in this many cases reverts blocks to an older state.
const REVERTED: u64 = 7;

/// A sound volume that Linux made.
struct Base {
    name: &'static str,
    census: Census,
    /// The blocks of metadata, kind by kind.
    places: Vec<Vec<Blkno>>,
    block_size: u64,
    blocks: u64,
    later: Later,
}

/// The volume after further changes, and what they changed.
struct Later {
    bytes: Vec<u8>,
    census: Census,
    changed: Vec<u64>,
}

impl Later {
    /// Creates, writes, renames and removes files by chance.
    fn new(name: &str) -> Self {
        let (scratch, mut random) = (Scratch::in_memory(), Random(0x6f6c_6465));
        let path = fixture_copy(name, &scratch);
        let before = fs::read(&path).unwrap();
        {
            let options = DeviceOptions { write: true, ..Default::default() };
            let device = open(&path, &options).unwrap();
            for round in 0..8 {
                let opened = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
                let mut edit = Edit::new(&opened, EditOptions::default());
                change(&opened, &mut edit, round, &mut random);
                edit.finish().unwrap();
                edit.commit(How::InPlace, &*device).unwrap();
            }
            device.flush().unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        let after = volume(&path).unwrap();
        let size = u64::from(after.block_size().bytes());
        let blocks = |hit: Range<u64>| hit.start / size..hit.end.div_ceil(size);
        let mut changed: Vec<_> = differ(&before, &bytes).into_iter().flat_map(blocks).collect();
        changed.dedup();
        assert!(changed.len() > 300, "{name}: {}", changed.len());
        Self { bytes, census: Census::of(&after), changed }
    }
}

/// Changes a volume: what is refused is left out.
fn change(volume: &Volume, edit: &mut Edit, round: u32, random: &mut Random) {
    let root = volume.root().unwrap();
    let mut by_path = BTreeMap::from([(Vec::new(), root.blkno)]);
    let mut files = Vec::new();
    for found in volume.walk(&root).unwrap().map(Result::unwrap) {
        let slash = found.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let dir = by_path[&found.path[..slash]];
        match found.inode.is_dir() {
            true => drop(by_path.insert(found.path, found.inode.blkno)),
            false => files.push((dir, found.entry.name, found.inode)),
        }
    }
    let mut directories: Vec<_> = by_path.into_values().collect();
    for number in 0..30 {
        let name = format!("later-{round}-{number}");
        let dir = *random.of(&directories);
        let kind = if number % 8 == 0 { FileKind::Directory } else { FileKind::Regular };
        let Ok(made) = edit.create(dir, name.as_bytes(), &NewInode::of(kind, 0o640)) else {
            continue;
        };
        match kind {
            FileKind::Directory => directories.push(made),
            _ => {
                let len = *random.of(&[10, 500, 3000, 20_000]);
                let _ = edit.write_file(made, 0, &random.bytes(len));
            }
        }
    }
    for _ in 0..25 {
        let (_, _, inode) = random.of(&files);
        if inode.kind() == Some(FileKind::Regular) {
            let len = 1 + random.below(6000);
            let offset = random.next() % (inode.size() + 1);
            let _ = edit.write_file(inode.blkno, offset, &random.bytes(len));
        }
    }
    for number in 0..20 {
        let (dir, name, _) = files.swap_remove(random.below(files.len()));
        let _ = match number % 2 {
            0 => edit.unlink(dir, &name),
            _ => {
                let new = format!("moved-{round}-{number}");
                edit.rename(dir, &name, *random.of(&directories), new.as_bytes())
            }
        };
    }
}

impl Base {
    fn new(name: &'static str) -> Self {
        let volume = volume(&fixture(name)).unwrap();
        Self {
            name,
            census: Census::of(&volume),
            places: Metadata::of(&volume).places(),
            block_size: volume.block_size().bytes().into(),
            blocks: volume.geometry().blocks(),
            later: Later::new(name),
        }
    }

    /// Puts back the older contents of blocks in an image of the later state; returns the bytes
    /// that are hit.
    fn revert(&self, image: &Path, random: &mut Random) -> Vec<Range<u64>> {
        let file = File::options().read(true).write(true).open(image).unwrap();
        let mut older = vec![0; (self.blocks * self.block_size) as usize];
        file.read_exact_at(&mut older, 0).unwrap();
        file.write_all_at(&self.later.bytes, 0).unwrap();
        let most = *random.of(&[1, 2, 4, 16, 50]);
        let is_stripes = random.below(4) == 0;
        let mut hit = Vec::new();
        for _ in 0..=random.below(most) {
            let at = *random.of(&self.later.changed) * self.block_size;
            let (start, end) = match is_stripes {
                true => (at / STRIPE * STRIPE, at / STRIPE * STRIPE + STRIPE),
                false => (at, at + self.block_size),
            };
            let end = end.min(older.len() as u64);
            let bytes = &older[start as usize..end as usize];
            file.write_all_at(bytes, start).unwrap();
            let lost = differ(&self.later.bytes[start as usize..end as usize], bytes);
            hit.extend(lost.into_iter().map(|it| it.start + start..it.end + start));
        }
        hit
    }

    /// A block: mostly of metadata, of a kind by chance.
    fn any(&self, random: &mut Random) -> u64 {
        match random.below(4) {
            0 => random.next() % self.blocks,
            _ => {
                let kind = random.below(self.places.len());
                random.of(&self.places[kind]).0
            }
        }
    }

    /// Damages an image; returns the bytes that are hit.
    fn damage(&self, image: &Path, random: &mut Random) -> Vec<Range<u64>> {
        let file = File::options().read(true).write(true).open(image).unwrap();
        let size = self.block_size;
        let read = |block: u64| {
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, block * size).unwrap();
            bytes
        };
        let most = *random.of(&[1, 2, 4, 16, 50]);
        let mut hit = Vec::new();
        let kind = random.below(6);
        for _ in 0..=random.below(most) {
            let block = self.any(random);
            let at = block * size;
            let mut bytes = read(block);
            match kind {
                0 => bytes.fill(0),
                1 => bytes = random.bytes(size as usize),
                2 => {
                    for _ in 0..=random.below(8) {
                        let bit = random.below(bytes.len() * 8);
                        bytes[bit / 8] ^= 1 << (bit % 8);
                    }
                }
                // Misdirected: the block of another place.
                3 => bytes = read(self.any(random)),
                4 => {
                    let other = self.any(random);
                    let there = read(other);
                    file.write_all_at(&bytes, other * size).unwrap();
                    hit.push(other * size..(other + 1) * size);
                    bytes = there;
                }
                _ => {
                    let start = at / STRIPE * STRIPE;
                    let end = (start + STRIPE).min(self.blocks * size);
                    file.write_all_at(&vec![0; (end - start) as usize], start).unwrap();
                    hit.push(start..end);
                    continue;
                }
            }
            file.write_all_at(&bytes, at).unwrap();
            hit.push(at..at + size);
        }
        hit
    }
}

#[test]
#[ignore = "slow: hundreds of volumes"]
fn of_what_survives_damage_by_chance_nearly_all_is_saved() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let (first, count) =
        (number("OCFS2_SEED").unwrap_or(0), number("OCFS2_CASES").unwrap_or(CASES));
    let bases: Vec<_> = CLEAN.into_iter().map(Base::new).collect();
    let has_c = oracle("fsck.ocfs2").is_some();
    let (mut ours, mut theirs, mut fewer) = (Rates::default(), Rates::default(), Vec::new());
    for seed in first..first + count {
        let (scratch, mut random) = (Scratch::in_memory(), Random(0x6c6f_7373 + seed));
        let base = random.of(&bases);
        let image = fixture_copy(base.name, &scratch);
        let is_reverted = seed % REVERTED == REVERTED - 1;
        let (census, hit) = match is_reverted {
            true => (&base.later.census, base.revert(&image, &mut random)),
            false => (&base.census, base.damage(&image, &mut random)),
        };
        let copy = scratch.join("copy.img");
        if has_c {
            ocfs2_testing::Run::new("cp").arg("--sparse=always").arg(&image).arg(&copy).success();
        }
        let rates = |image: &Path| {
            let after = volume(image).map(|it| Census::of(&it)).unwrap_or_default();
            census.after_repair(&hit, &after)
        };
        let outcome = fsck(&image, &["-fyF", "--salvage"]);
        assert!(!outcome.stderr.contains("panicked"), "seed {seed}: {outcome}");
        let own = rates(&image);
        ours.add(own);
        let mut line = format!(
            "seed {seed}, {}{}, status {}: {own:?}",
            base.name,
            if is_reverted { ", reverted" } else { "" },
            outcome.status
        );
        if has_c {
            c_fsck(&copy, "-fy");
            let c = rates(&copy);
            theirs.add(c);
            line += &format!(", C saves {}, {} by name", c.saved, c.named);
            if own.saved < c.saved || own.named < c.named {
                fewer.push(line.clone());
            }
        }
        if own.saved < own.savable || own.named < own.nameable {
            println!("{line}");
        }
        let _ = fs::remove_file(&image);
    }
    println!(
        "ours: {ours:?}: {:.3} % saved, {:.3} % by name",
        ours.saved_percent(),
        ours.named_percent()
    );
    println!("C: {theirs:?}: {:.3} %, {:.3} %", theirs.saved_percent(), theirs.named_percent());
    println!("{} cases in which C saves more:\n{}", fewer.len(), fewer.join("\n"));
    // The aim for names is 99 %: a lost root is not always found again by its blocks.
    assert!(ours.saved_percent() >= 99.9 && ours.named_percent() >= 97.0, "{ours:?}");
    assert!(fewer.is_empty(), "{}", fewer.len());
}
