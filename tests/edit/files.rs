//! Contents of files that are written, truncated, punched, allocated and shared at random.

use ocfs2_format::Blkno;
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_testing::Random;
use ocfs2_volume::Volume;
use ocfs2_volume::edit::{Edit, EditError};

use crate::bench::{Bench, EMPTY_FILES};

/// Largest size of a file, in bytes.
const MOST: usize = 400_000;

/// Number of changes in a batch.
const CHANGES: usize = 40;

struct File {
    blkno: Blkno,
    bytes: Vec<u8>,
}

pub fn contents(volume: &Volume, blkno: Blkno) -> Vec<u8> {
    let inode = volume.inode(blkno).unwrap();
    let mut bytes = vec![0; inode.size() as usize];
    volume.file(&inode).unwrap().read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Returns a length: mostly short, sometimes long.
fn length(random: &mut Random, most: usize) -> usize {
    let most = if random.below(4) == 0 { most } else { most.min(6000) };
    random.below(most + 1)
}

/// Returns whether the change was made; there may be no room.
fn is_made(result: Result<(), EditError>) -> bool {
    match result {
        Ok(()) => true,
        Err(err) if err.is_no_room() => false,
        Err(err) => panic!("{err}"),
    }
}

fn write(edit: &mut Edit, random: &mut Random, file: &mut File) {
    let offset = random.below(MOST);
    let len = length(random, MOST - offset);
    let bytes = random.bytes(len);
    if is_made(edit.write_file(file.blkno, offset as u64, &bytes)) && len > 0 {
        file.bytes.resize(file.bytes.len().max(offset + len), 0);
        file.bytes[offset..offset + len].copy_from_slice(&bytes);
    }
}

fn change(edit: &mut Edit, random: &mut Random, files: &mut [File]) {
    let which = random.below(files.len());
    let file = &mut files[which];
    let allocates = edit.features().ro_compat.contains(RoCompat::UNWRITTEN);
    match random.below(11) {
        10 => {
            let (uid, gid) = (random.below(9) as u32, random.below(3) as u32);
            edit.set_owner(file.blkno, uid, gid).unwrap();
        }
        0 => {
            let size = length(random, MOST);
            if is_made(edit.truncate(file.blkno, size as u64)) {
                file.bytes.resize(size, 0);
            }
        }
        1 | 2 => {
            let start = random.below(file.bytes.len() + 1);
            let end = (start + length(random, MOST)).min(file.bytes.len());
            if is_made(edit.punch(file.blkno, start as u64..end as u64)) {
                file.bytes[start..end].fill(0);
            }
        }
        3 if allocates => {
            let start = random.below(MOST);
            let end = start + length(random, MOST - start);
            let grow = random.below(2) == 0;
            if is_made(edit.allocate(file.blkno, start as u64..end as u64, grow))
                && grow
                && end > start
            {
                file.bytes.resize(file.bytes.len().max(end), 0);
            }
        }
        4 if edit.has(Incompat::REFCOUNT_TREE) => {
            let other = random.below(files.len());
            if other == which || !is_made(edit.truncate(files[other].blkno, 0)) {
                return;
            }
            files[other].bytes.clear();
            let blkno = files[other].blkno;
            if is_made(edit.reflink(files[which].blkno, blkno)) {
                files[other].bytes = files[which].bytes.clone();
            }
        }
        _ => write(edit, random, file),
    }
}

/// Changes files. Returns the number of changes.
pub fn at_random(options: &str, size: &str, seed: u64, batches: usize) -> usize {
    let bench = Bench::new(options, size);
    let mut random = Random(seed);
    let mut files: Vec<_> = (0..EMPTY_FILES)
        .map(|index| File { blkno: bench.empty_file(index), bytes: Vec::new() })
        .collect();
    for batch in 0..batches {
        let mut edit = bench.edit();
        for _ in 0..CHANGES {
            change(&mut edit, &mut random, &mut files);
        }
        bench.commit(&edit);
        let volume = bench.volume();
        for file in &files {
            let is_same = contents(&volume, file.blkno) == file.bytes;
            assert!(is_same, "{options}, seed {seed}, batch {batch}: inode {}", file.blkno);
        }
        bench.judge();
    }
    batches * CHANGES
}

#[test]
fn files_written_and_cut_at_random_read_as_they_were_written() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M", "64M", 11, 8);
    at_random("-M local -N 1 -b 4K -C 4K -J size=4M --fs-features=metaecc", "64M", 12, 8);
    at_random("-M local -N 1 -b 1K -C 32K -J size=4M", "64M", 13, 6);
    let plain = "-M local -N 1 -b 2K -C 4K -J size=4M --fs-features=norefcount,noinline-data";
    at_random(plain, "64M", 14, 4);
    let dense =
        "-M local -N 1 -b 1K -C 8K -J size=4M --fs-features=nosparse,nounwritten,norefcount";
    at_random(dense, "64M", 15, 4);
}

#[test]
fn files_changed_at_random_are_counted_for_their_owners() {
    let quota = "--fs-features=usrquota,grpquota";
    at_random(&format!("-M local -N 1 -b 512 -C 4K -J size=4M {quota}"), "64M", 16, 6);
    at_random(&format!("-M local -N 1 -b 4K -C 4K -J size=4M {quota},metaecc"), "64M", 17, 6);
}

/// A change that is tried.
type Step<'a> = &'a dyn Fn(&mut Edit) -> Result<(), EditError>;

/// The references to the pieces are in many leaves.
#[test]
fn a_file_of_thousands_of_shared_pieces_is_cut_and_deleted() {
    let options = "-M local -N 1 -b 512 -C 4K -J size=4M --fs-features=metaecc,usrquota";
    let bench = Bench::new(options, "64M");
    let [one, two, other] = [0, 1, 2].map(|index| bench.empty_file(index));
    let free = |bench: &Bench| bench.edit().free_clusters().unwrap();
    let mut edit = bench.edit();
    for piece in 0..3000 {
        // Clusters of another file lie between those of the file, so that no two are consecutive.
        edit.write_file(one, piece * 8192, &[1; 100]).unwrap();
        edit.write_file(other, piece * 8192, &[2; 100]).unwrap();
    }
    bench.commit(&edit);
    let before = free(&bench);
    let steps: [Step<'_>; 4] = [
        &|edit| edit.reflink(one, two),
        &|edit| edit.punch(one, 1000 * 8192..2000 * 8192),
        &|edit| edit.write_file(two, 500 * 8192, &[3; 2000 * 8192]),
        &|edit| edit.truncate(two, 300 * 8192),
    ];
    for step in steps {
        let mut edit = bench.edit();
        step(&mut edit).unwrap();
        bench.commit(&edit);
        bench.judge();
    }
    let mut edit = bench.edit();
    let root = edit.root().unwrap().blkno;
    edit.unlink(root, b"empty0").unwrap();
    edit.unlink(root, b"empty1").unwrap();
    bench.commit(&edit);
    bench.judge();
    assert!(free(&bench) >= before + 3000 - 100, "{} of {before}", free(&bench));
}

#[test]
fn a_full_volume_stays_sound() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M", "7M", 21, 6);
}
