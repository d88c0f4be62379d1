//! Damage anywhere by chance: how much of what survives is saved, beside the C tool.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_format::Blkno;
use ocfs2_testing::damage::{Metadata, c_fsck};
use ocfs2_testing::{CLEAN, Random, Scratch, fixture, fixture_copy, oracle};

use crate::census::{Census, Rates};
use crate::fsck;
use crate::volumes::volume;

/// Number of cases, unless `OCFS2_CASES` sets another one.
const CASES: u64 = 200;
/// Bytes that a lost piece of a RAID has.
const STRIPE: u64 = 64 << 10;

/// A sound volume that Linux made.
struct Base {
    name: &'static str,
    census: Census,
    /// The blocks of metadata, kind by kind.
    places: Vec<Vec<Blkno>>,
    block_size: u64,
    blocks: u64,
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
        }
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
        let hit = base.damage(&image, &mut random);
        let copy = scratch.join("copy.img");
        if has_c {
            ocfs2_testing::Run::new("cp").arg("--sparse=always").arg(&image).arg(&copy).success();
        }
        let rates = |image: &Path| {
            let after = volume(image).map(|it| Census::of(&it)).unwrap_or_default();
            base.census.after_repair(&hit, &after)
        };
        let outcome = fsck(&image, &["-fyF", "--salvage"]);
        let own = rates(&image);
        ours.add(own);
        let mut line = format!("seed {seed}, {}, status {}: {own:?}", base.name, outcome.status);
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
