//! Runs every fuzz target for a bounded number of cases, the same ones each time.
//!
//! `OCFS2_FUZZ_CASES` sets another number of cases per target.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod seeds;

use std::path::Path;
use std::{env, fs, panic, thread};

use ocfs2_fuzzing::{TARGETS, Target};
use ocfs2_testing::Random;

/// Numbers that are likely to cause a failure.
const EDGES: [u64; 12] =
    [0, 1, 2, 7, 0x7f, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(8) {
        0 => bytes.truncate(at),
        1 => {
            let more = random.below(64);
            bytes.extend(random.bytes(more));
        }
        2 => {
            // A part of another seed.
            let other = &seeds[random.below(seeds.len())];
            let len = random.below(other.len().min(bytes.len() - at));
            let from = random.below(other.len() - len);
            bytes[at..at + len].copy_from_slice(&other[from..from + len]);
        }
        3 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        _ => {
            // Fields are aligned to their size, and most of them are in headers.
            let size = 1 << random.below(4);
            let end = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(0x100) };
            let at = random.below(end) / size * size;
            let value = match random.below(3) {
                0 => random.next(),
                1 => random.below(300) as u64,
                _ => EDGES[random.below(EDGES.len())],
            };
            if let Some(field) = bytes.get_mut(at..at + size) {
                field.copy_from_slice(&value.to_le_bytes()[..size]);
                if random.below(2) == 0 {
                    field.reverse();
                }
            }
        }
    }
}

fn case(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    if let Some(seed) = seeds.get(number as usize) {
        return seed.clone();
    }
    let mut random = Random(number);
    if random.below(16) == 0 {
        let len = random.below(1200);
        return random.bytes(len);
    }
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        mutate(&mut bytes, seeds, &mut random);
    }
    bytes
}

fn run(target: Target, seeds: &[Vec<u8>], cases: u64) {
    for number in 0..cases {
        let bytes = case(seeds, number);
        if panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
            let name = format!("{}-{number}", target.name);
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::write(&path, &bytes).unwrap();
            panic!("target {}: case {number}, kept in {}", target.name, path.display());
        }
    }
}

#[test]
fn no_bytes_make_a_parser_fail() {
    let cases = env::var("OCFS2_FUZZ_CASES").map_or(4000, |cases| cases.parse().unwrap());
    let seeds = seeds::all();
    thread::scope(|scope| {
        for targets in TARGETS.chunks(TARGETS.len().div_ceil(4)) {
            let seeds = &seeds;
            scope.spawn(move || {
                targets.iter().for_each(|target| run(*target, &seeds[target.name], cases));
            });
        }
    });
}

#[test]
fn a_target_has_a_file_of_its_name_and_no_file_is_without_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    files.sort();
    assert_eq!(files, TARGETS.map(|target| target.name));
    for name in files {
        let text = format!("../../fuzz/fuzz_targets/{name}.rs");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(text)).unwrap();
        assert!(text.contains(&format!("run(\"{name}\", ")), "{name} runs another target");
    }
}
