//! Attributes set, replaced and removed at random.

use std::collections::BTreeMap;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_testing::{Random, Run, Scratch, program};
use ocfs2_volume::edit::{Edit, EditError};
use ocfs2_volume::{Error, Volume};

use crate::bench::Bench;

/// The attributes of an inode, by prefix and the rest of the name.
type Model = BTreeMap<(XattrPrefix, Vec<u8>), Vec<u8>>;

/// Inodes of all kinds that differ in where attributes can be.
const PATHS: [&[u8]; 6] = [b"/file", b"/small", b"/empty", b"/dir", b"/link", b"/long"];

fn bench(options: &str, size: &str) -> Bench {
    let scratch = Scratch::new();
    let (path, folder) = (scratch.join("edit.img"), scratch.join("source"));
    std::fs::create_dir_all(folder.join("dir/inner")).unwrap();
    std::fs::write(folder.join("file"), vec![7; 100_000]).unwrap();
    std::fs::write(folder.join("small"), [5; 40]).unwrap();
    std::fs::write(folder.join("empty"), []).unwrap();
    std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
    // In its inode only where that is large, and then without room for attributes.
    std::os::unix::fs::symlink("x".repeat(700), folder.join("long")).unwrap();
    let mkfs = Run::new(program("mkfs.ocfs2")).arg("-q").args(options.split_whitespace());
    mkfs.arg("-d").arg(&folder).arg(&path).arg(size).success();
    Bench::open(path, scratch)
}

/// A name that another one with the same hash is likely to be there for.
fn name(random: &mut Random, number: usize) -> (XattrPrefix, Vec<u8>) {
    let prefixes = [XattrPrefix::User, XattrPrefix::Trusted, XattrPrefix::Security];
    if random.below(500) == 0 {
        return (XattrPrefix::PosixAclAccess, Vec::new());
    }
    let mut name = format!("n{}", number / 16).into_bytes();
    if number.is_multiple_of(97) {
        name.extend(vec![b'x'; 240]);
    }
    if number.is_multiple_of(5) {
        name.push(0xe4);
    }
    // Both pairs hash alike.
    for bit in 0..2 {
        name.extend(if number >> bit & 1 == 0 { b"pA" } else { b"qa" });
    }
    (prefixes[number / 4 % 3], name)
}

fn value(random: &mut Random) -> Vec<u8> {
    let size = match random.below(40) {
        0 => *random.of(&[65_536, 65_535, 40_000]),
        1..=3 => 81 + random.below(9000),
        4 => *random.of(&[79, 80, 81, 82]),
        5..=12 => random.below(81),
        _ => random.below(24),
    };
    random.bytes(size)
}

/// One change of the attributes of an inode.
fn step(edit: &mut Edit, blkno: Blkno, random: &mut Random, model: &mut Model, grows: bool) {
    let is_old = !model.is_empty() && random.below(10) < if grows { 2 } else { 9 };
    let key = match is_old {
        true => {
            let index = random.below(model.len());
            model.keys().nth(index).unwrap().clone()
        }
        false => {
            let number = random.below(4000);
            name(random, number)
        }
    };
    let (prefix, name) = &key;
    if random.below(10) < if grows { 9 } else { 2 } {
        let value = value(random);
        edit.set_xattr(blkno, *prefix, name, &value).unwrap();
        model.insert(key, value);
        return;
    }
    let removed = edit.remove_xattr(blkno, *prefix, name);
    match model.remove(&key) {
        Some(_) => removed.unwrap(),
        None => assert!(matches!(removed, Err(EditError::Volume(Error::NotFound { .. })))),
    }
}

fn assert_reads_as(volume: &Volume, blkno: Blkno, model: &Model) {
    let inode = volume.inode(blkno).unwrap();
    let mut read = Model::new();
    for xattr in volume.sorted_xattrs(&inode).unwrap() {
        let name = xattr.name[xattr.prefix.as_str().len()..].to_vec();
        let key = (xattr.prefix, name);
        let found = volume.xattr(&inode, key.0, &key.1).unwrap().unwrap();
        assert_eq!(found.name, xattr.name);
        let value = volume.xattr_value(&found).unwrap();
        assert!(read.insert(key, value).is_none(), "twice");
    }
    assert!(read == *model, "inode {blkno}: {} of {}", read.len(), model.len());
    assert!(volume.xattr(&inode, XattrPrefix::User, b"missing").unwrap().is_none());
}

/// Batches of changes; each ends with a look at the volume.
fn at_random(options: &str, seed: u64, most: usize) {
    let bench = bench(options, "256M");
    let mut random = Random(seed);
    let blknos = PATHS.map(|path| bench.volume().resolve(path).unwrap().blkno);
    let mut models = vec![Model::new(); blknos.len()];
    // How many attributes each inode may get to: a few, up to a block, and many.
    let limits = [most, 30, 4, 12, 60, most / 10];
    for batch in 0..6 {
        let mut edit = bench.edit();
        let grows = batch % 4 < 2;
        for (index, blkno) in blknos.iter().enumerate() {
            let model = &mut models[index];
            let target = if grows { limits[index] * (batch % 4 + 1) / 2 } else { 0 };
            for _ in 0..limits[index] * 2 {
                if model.len() == target && batch != 2 {
                    break;
                }
                step(&mut edit, *blkno, &mut random, model, grows);
                if batch == 2 && model.len() * 2 < limits[index] {
                    break;
                }
            }
            if batch == 3 {
                for (prefix, name) in std::mem::take(model).into_keys() {
                    edit.remove_xattr(*blkno, prefix, &name).unwrap();
                }
            }
            assert_reads_as(&edit, *blkno, model);
        }
        bench.commit(&edit);
        let volume = bench.volume();
        for (blkno, model) in blknos.iter().zip(&models) {
            assert_reads_as(&volume, *blkno, model);
            let dinode = volume.inode(*blkno).unwrap().dinode;
            let has_some = dinode.dyn_features().contains(DynFeatures::INLINE_XATTR)
                || !dinode.i_xattr_loc.is_none();
            assert_eq!(dinode.dyn_features().contains(DynFeatures::HAS_XATTR), has_some);
            assert!(!model.is_empty() || dinode.i_xattr_loc.is_none());
        }
        bench.judge();
    }
}

#[test]
fn attributes_set_and_removed_at_random_on_blocks_of_512() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M", 1, 600);
    at_random("-M local -N 1 -b 512 -C 8K -J size=4M --fs-features=metaecc,noinline-data", 2, 300);
}

#[test]
fn attributes_set_and_removed_at_random_on_blocks_of_1024() {
    at_random("-M local -N 1 -b 1K -C 4K -J size=4M --fs-features=metaecc", 3, 500);
    at_random("-M local -N 1 -b 1K -C 32K -J size=4M --fs-features=noinline-data", 4, 800);
}

#[test]
fn attributes_set_and_removed_at_random_on_blocks_of_4096() {
    at_random("-M local -N 1 -b 4K -C 4K -J size=4M --fs-features=metaecc", 5, 2000);
    at_random("-M local -N 1 -b 4K -C 8K -J size=4M --fs-features=noinline-data", 6, 400);
    at_random("-M local -N 1 -b 4K -C 32K -J size=4M --fs-features=inline-data", 7, 1000);
}
