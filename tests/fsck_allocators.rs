//! Randomly damaged allocators: group descriptors and chain lists of all of them. One run of
//! fsck.ocfs2 -fy repairs them, in the judgement of ours and of the C fsck, and no file is lost:
//! what was allocated from a group states where the group was.
//!
//! A case that fails is printed with its seed; `OCFS2_SEED=N` runs only that one, and
//! `OCFS2_CASES=N` sets the number of cases.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, thread};

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_testing::damage::{Base, Files, Image, c_fsck, complaints};
use ocfs2_testing::{Outcome, Random, Run, oracle, program};

const BASES: [Base; 4] = [
    Base::Fixture("clean-512-local"),
    Base::Fixture("clean-1k-local"),
    Base::Fixture("clean-2k-local"),
    Base::Fixture("clean-4k-o2cb"),
];
const CASES: u64 = 60;

/// An allocator: its inode and the descriptors of its groups.
struct Allocator {
    name: String,
    inode: Blkno,
    groups: Vec<Blkno>,
}

fn allocators(image: &Image) -> Vec<Allocator> {
    let slots = 0..image.volume().max_slots();
    let of_slots = |name: &'static str| slots.clone().map(move |slot| format!("{name}:{slot:04}"));
    let once = ["global_bitmap", "global_inode_alloc"].map(str::to_owned);
    let names = once.into_iter().chain(of_slots("inode_alloc")).chain(of_slots("extent_alloc"));
    let allocator = |name: String| Allocator {
        inode: image.system(&name).blkno,
        groups: image.groups(&name).iter().map(|group| group.blkno).collect(),
        name,
    };
    names.map(allocator).collect()
}

/// Returns a value for a field.
fn value(random: &mut Random, old: u64, blocks: u64, groups: &[Blkno]) -> u64 {
    let (any, within) = (random.next(), random.next() % blocks);
    let other = groups.get(random.below(groups.len())).map_or(0, |group| group.0);
    let (next, before) = (old.wrapping_add(1), old.wrapping_sub(1));
    *random.of(&[0, 1, u64::MAX, next, before, any, within, other, other])
}

/// Changes some fields between `start` and `end`, at multiples of their width from `start`. Returns
/// a description.
fn fields(
    random: &mut Random,
    block: &mut [u8],
    (start, end): (usize, usize),
    blocks: u64,
    groups: &[Blkno],
) -> String {
    let mut changed = Vec::new();
    for _ in 0..=random.below(3) {
        let width = *random.of(&[2, 4, 8]);
        let at = start + random.below((end - start) / width) * width;
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&block[at..at + width]);
        let old = u64::from_le_bytes(bytes);
        let new = value(random, old, blocks, groups);
        block[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
        changed.push(format!("{width} bytes at {at:#x} from {old:#x} to {new:#x}"));
    }
    changed.join(", ")
}

/// Damages a group descriptor. Returns a description.
fn damage_group(image: &Image, random: &mut Random, groups: &[Blkno], blkno: Blkno) -> String {
    let blocks = image.volume().geometry().blocks();
    let (seed, kind) = (random.next(), random.below(8));
    let mut random = Random(seed);
    let mut done = String::new();
    let stamped = |change: &mut dyn FnMut(&mut [u8])| {
        image.edit_block(blkno, GroupDesc::CHECK_OFFSET, change);
    };
    match kind {
        0 | 1 => {
            image.edit_raw(blkno, |block| block.fill(0));
            done.push_str("zeroed");
        }
        2 => {
            image.edit_raw(blkno, |block| block.copy_from_slice(&random.bytes(block.len())));
            done.push_str("overwritten with garbage");
        }
        3 => {
            let other = *random.of(groups);
            image.write(blkno, &image.read(other));
            done = format!("overwritten with group {other}");
        }
        4 => {
            let next = value(&mut random, blkno.0, blocks, groups);
            stamped(&mut |block| {
                let mut desc = GroupDesc::decode(block).unwrap();
                desc.bg_next_group = Blkno(next);
                desc.encode(block).unwrap();
            });
            done = format!("next group is {next}");
        }
        5 => {
            stamped(&mut |block| {
                let map = &mut block[GroupDesc::BITMAP_OFFSET..];
                let len = map.len();
                map.copy_from_slice(&random.bytes(len));
            });
            done.push_str("garbage from the bitmap on");
        }
        _ => stamped(&mut |block| {
            done = fields(&mut random, block, (0, GroupDesc::SIZE), blocks, groups);
        }),
    }
    format!("group {blkno}: {done}")
}

/// Damages the chain list of an allocator. Returns a description.
fn damage_chains(
    image: &Image,
    random: &mut Random,
    groups: &[Blkno],
    Allocator { inode, .. }: &Allocator,
) -> String {
    let blocks = image.volume().geometry().blocks();
    let (seed, kind) = (random.next(), random.below(4));
    let mut random = Random(seed);
    let mut done = String::new();
    let start = Dinode::ID2_OFFSET;
    image.edit_block(*inode, Dinode::CHECK_OFFSET, |block| match kind {
        0 => {
            block[start..].fill(0);
            done.push_str("chain list zeroed");
        }
        1 => {
            let len = block.len() - start;
            block[start..].copy_from_slice(&random.bytes(len));
            done.push_str("chain list garbage");
        }
        2 => {
            let end = start + ChainListHeader::SIZE + 2 * ChainRec::SIZE;
            done = fields(&mut random, block, (start, end), blocks, groups);
        }
        _ => {
            let list = &mut block[start..];
            let header = ChainListHeader::decode(list).unwrap();
            let chain = random.below(header.cl_next_free_rec.into());
            let at = ChainListHeader::SIZE + chain * ChainRec::SIZE;
            let mut record = ChainRec::decode(&list[at..]).unwrap();
            record.c_blkno = Blkno(value(&mut random, record.c_blkno.0, blocks, groups));
            record.encode(&mut list[at..]).unwrap();
            done = format!("chain {chain} begins at {}", record.c_blkno);
        }
    });
    format!("inode {inode}: {done}")
}

/// Makes up to three kinds of damage. Returns a description.
fn damage(image: &Image, seed: u64) -> String {
    let mut random = Random(seed);
    let allocators = allocators(image);
    let all: Vec<_> = allocators.iter().flat_map(|it| it.groups.iter().copied()).collect();
    let mut steps = Vec::new();
    for _ in 0..=random.below(3) {
        let allocator = random.of(&allocators);
        // Mostly groups of the same allocator are mixed up.
        let groups = if random.below(3) == 0 { &all } else { &allocator.groups };
        let done = match allocator.groups.len() {
            count if count > 0 && random.below(3) > 0 => {
                let blkno = allocator.groups[random.below(count)];
                damage_group(image, &mut random, groups, blkno)
            }
            _ => damage_chains(image, &mut random, groups, allocator),
        };
        steps.push(format!("{}: {done}", allocator.name));
    }
    steps.join("; ")
}

fn fsck(options: &str, image: &Path) -> Outcome {
    let limited = "ulimit -v 4000000; exec timeout -k 1 120 \"$0\" \"$1\" -F \"$2\"";
    Run::new("sh").args(["-c", limited]).arg(program("fsck.ocfs2")).arg(options).arg(image).output()
}

fn lines(outcome: &Outcome) -> String {
    let lines = outcome.stdout.lines().filter(|it| it.starts_with('[') || it.contains("is left"));
    lines.take(12).collect::<Vec<_>>().join("\n    ")
}

fn is_repaired(base: Base, sound: &Files, seed: u64) -> Result<(), String> {
    let image = base.image();
    let damage = damage(&image, seed);
    let fail = |what: String| Err(format!("OCFS2_SEED={seed} on {base:?}: {damage}: {what}"));
    let repaired = fsck("-fy", image.path());
    if !matches!(repaired.status, 0 | 1) {
        let (status, stderr) = (repaired.status, &repaired.stderr);
        return fail(format!("-fy gives {status}\n    {}\n    {stderr}", lines(&repaired)));
    }
    let again = fsck("-fn", image.path());
    if again.status != 0 {
        return fail(format!("-fn gives {} afterwards\n    {}", again.status, lines(&again)));
    }
    let lost = sound.lost(&Files::of(image.path()));
    if !lost.is_empty() {
        let (count, first) = (lost.len(), &lost[0]);
        return fail(format!("{count} files are lost, as {first}\n    {}", lines(&repaired)));
    }
    if oracle("fsck.ocfs2").is_some() {
        let theirs = c_fsck(image.path(), "-fn");
        let known = complaints(base, "-fn");
        let new = theirs.codes_beyond(&known);
        if !new.is_empty() || theirs.finished != known.finished {
            let asked = theirs.questions.iter().take(6).cloned().collect::<Vec<_>>();
            return fail(format!("the C fsck finds {new:?}\n    {}", asked.join("\n    ")));
        }
    }
    Ok(())
}

#[test]
fn damaged_allocators_are_put_in_order_in_one_run_and_no_file_is_lost() {
    let number = |name: &str| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seeds = match number("OCFS2_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OCFS2_CASES").unwrap_or(CASES),
    };
    let files = BASES.map(|base| Files::of(base.image().path()));
    let next = AtomicU64::new(seeds.start);
    let wrong = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(4, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let index = (seed % BASES.len() as u64) as usize;
                    if let Err(why) = is_repaired(BASES[index], &files[index], seed) {
                        wrong.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, why);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<_> = wrong.values().map(String::as_str).collect();
    let of = seeds.end - seeds.start;
    assert!(wrong.is_empty(), "{} of {of} failed:\n{}", wrong.len(), lines.join("\n"));
}
