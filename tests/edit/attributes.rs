//! Attributes set, replaced and removed at random.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ocfs2_device::CountingDevice;
use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::{XattrArea, XattrBlock, XattrHeader, XattrItem, XattrPrefix};
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};
use ocfs2_testing::{Random, Run, Scratch, fixture_copy, program};
use ocfs2_volume::allocator::Want;
use ocfs2_volume::edit::{Contents, Edit, EditError, EditOptions};
use ocfs2_volume::tree::Extent;
use ocfs2_volume::{Error, Volume, VolumeOptions};

use crate::bench::Bench;

/// The attributes of an inode, by prefix and the rest of the name.
type Model = BTreeMap<(XattrPrefix, Vec<u8>), Vec<u8>>;

const UUID: &str = "5D2A07C1E0B94F3A8C6D11F2A3B4C5D6";

/// Inodes of all kinds that differ in where their attributes can be.
const PATHS: [&[u8]; 6] = [b"/file", b"/small", b"/empty", b"/dir", b"/link", b"/long"];

fn bench(options: &str, size: &str) -> Bench {
    let scratch = Scratch::new();
    let (path, folder) = (scratch.join("edit.img"), scratch.join("source"));
    std::fs::create_dir_all(folder.join("dir/inner")).unwrap();
    std::fs::write(folder.join("file"), vec![7; 100_000]).unwrap();
    std::fs::write(folder.join("small"), [5; 40]).unwrap();
    std::fs::write(folder.join("empty"), []).unwrap();
    std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
    // Stored in its inode only if the inode is large, and then without room for attributes.
    std::os::unix::fs::symlink("x".repeat(700), folder.join("long")).unwrap();
    // The hashes of names depend on the UUID.
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-U", UUID]);
    mkfs.args(options.split_whitespace()).arg("-d").arg(&folder).arg(&path).arg(size).success();
    Bench::open(path, scratch)
}

/// Returns a name; others with the same hash are likely.
fn name(random: &mut Random, number: usize) -> (XattrPrefix, Vec<u8>) {
    let prefixes = [XattrPrefix::User, XattrPrefix::Trusted, XattrPrefix::Security];
    if random.below(100) == 0 {
        return (XattrPrefix::PosixAclAccess, Vec::new());
    }
    let mut name = format!("n{}", number / 16).into_bytes();
    if number.is_multiple_of(97) {
        name.extend(vec![b'x'; 240]);
    }
    if number.is_multiple_of(5) {
        name.push(0xe4);
    }
    // Both pairs have the same hash.
    for bit in 0..2 {
        name.extend(if number >> bit & 1 == 0 { b"pA" } else { b"qa" });
    }
    (prefixes[number / 4 % 3], name)
}

/// Returns a value. It is at most 65,535 bytes long: of 65,536 the C fsck uses only the lower 16
/// bits when it adds up the contents of a bucket.
fn value(random: &mut Random) -> Vec<u8> {
    let size = match random.below(40) {
        0 => *random.of(&[65_535, 65_534, 40_000]),
        1..=3 => 81 + random.below(9000),
        4 => *random.of(&[79, 80, 81, 82]),
        5..=12 => random.below(81),
        _ => random.below(24),
    };
    random.bytes(size)
}

/// Makes one change of the attributes of an inode. It may be refused if values are shared.
fn step(
    edit: &mut Edit,
    blkno: Blkno,
    random: &mut Random,
    model: &mut Model,
    grows: bool,
) -> Result<(), EditError> {
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
        edit.set_xattr(blkno, *prefix, name, &value)?;
        model.insert(key, value);
        return Ok(());
    }
    let removed = edit.remove_xattr(blkno, *prefix, name);
    if model.contains_key(&key) {
        removed?;
        model.remove(&key);
    } else {
        assert!(matches!(removed, Err(EditError::Volume(Error::NotFound { .. }))));
    }
    Ok(())
}

fn model_of(volume: &Volume, blkno: Blkno) -> Model {
    let inode = volume.inode(blkno).unwrap();
    let mut model = Model::new();
    for xattr in volume.sorted_xattrs(&inode).unwrap() {
        let name = xattr.name[xattr.prefix.as_str().len()..].to_vec();
        let found = volume.xattr(&inode, xattr.prefix, &name).unwrap().unwrap();
        assert_eq!(found.name, xattr.name);
        let value = volume.xattr_value(&found).unwrap();
        assert!(model.insert((xattr.prefix, name), value).is_none(), "twice");
    }
    assert!(volume.xattr(&inode, XattrPrefix::User, b"missing").unwrap().is_none());
    model
}

fn assert_reads_as(volume: &Volume, blkno: Blkno, model: &Model) {
    let read = model_of(volume, blkno);
    assert!(read == *model, "inode {blkno}: {} of {}", read.len(), model.len());
}

/// Leaves only single clusters free: the file gets those between them.
fn fragment(bench: &Bench) {
    let (blkno, mut edit) = (bench.file(), bench.edit());
    let (mut free, mut cpos) = (Vec::new(), 100);
    while edit.free_clusters().unwrap() > 40 {
        let run = edit.take_clusters(Want::exactly(1)).unwrap();
        if cpos % 2 == 0 {
            let start = edit.geometry().block_of(Cluster(run.start));
            let flags = ExtentFlags::empty();
            let extent = Extent { cpos: Cpos(cpos * 2), clusters: 1, blkno: start, flags };
            edit.insert_extent(blkno, extent).unwrap();
        } else {
            free.push(run);
        }
        cpos += 1;
    }
    free.into_iter().for_each(|run| edit.give_clusters(run).unwrap());
    edit.update_dinode(blkno, |dinode, _| dinode.i_size = u64::from(cpos) << 13).unwrap();
    edit.finish().unwrap();
    bench.commit(&edit);
}

pub fn at_random(options: &str, seed: u64, most: usize) -> usize {
    rounds(&bench(options, "256M"), seed, most)
}

/// Makes batches of changes and checks the volume after each. Returns the number of changes.
fn rounds(bench: &Bench, seed: u64, most: usize) -> usize {
    let mut changes = 0;
    let mut random = Random(seed);
    let blknos = PATHS.map(|path| bench.volume().resolve(path).unwrap().blkno);
    let mut models = vec![Model::new(); blknos.len()];
    // Largest number of attributes of each inode: a few, up to a block, and many.
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
                step(&mut edit, *blkno, &mut random, model, grows).unwrap();
                changes += 1;
                if batch == 2 && model.len() * 2 < limits[index] {
                    break;
                }
            }
            if batch == 3 {
                for (prefix, name) in std::mem::take(model).into_keys() {
                    edit.remove_xattr(*blkno, prefix, &name).unwrap();
                    changes += 1;
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
    changes
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

#[test]
fn attributes_set_and_removed_at_random_where_only_single_clusters_are_free() {
    let bench = bench("-M local -N 1 -b 512 -C 4K -J size=4M --fs-features=metaecc", "64M");
    fragment(&bench);
    let mut edit = bench.edit();
    // `fragment` leaves few consecutive clusters.
    let user = XattrPrefix::User;
    edit.set_xattr(bench.file(), user, b"first", &[1; 65_536]).unwrap();
    let inode = edit.inode(bench.file()).unwrap();
    let found = edit.xattr(&inode, user, b"first").unwrap().unwrap();
    assert_eq!(edit.xattr_value(&found).unwrap(), [1; 65_536]);
    edit.remove_xattr(bench.file(), user, b"first").unwrap();
    rounds(&bench, 8, 80);
}

/// Changes all inodes with attributes of a volume made by Linux, at random.
fn of_linux(fixture: &str, seed: u64) {
    let scratch = Scratch::new();
    let bench = Bench::open(fixture_copy(fixture, &scratch), scratch);
    let mut random = Random(seed);
    let volume = bench.volume();
    let mut blknos = BTreeSet::new();
    for entry in volume.walk(&volume.root().unwrap()).unwrap() {
        let inode = volume.inode(entry.unwrap().entry.inode).unwrap();
        if inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            blknos.insert(inode.blkno);
        }
    }
    let (mut edit, mut models, mut refused) = (bench.edit(), Vec::new(), 0);
    for blkno in blknos {
        let mut model = model_of(&edit, blkno);
        let steps = if model.len() > 30 { 300 } else { 10 };
        for round in 0..2 {
            for _ in 0..steps {
                match step(&mut edit, blkno, &mut random, &mut model, round == 0) {
                    Ok(()) => {}
                    Err(EditError::Refused(_)) => refused += 1,
                    Err(err) => panic!("{fixture}, inode {blkno}: {err}"),
                }
            }
        }
        assert_reads_as(&edit, blkno, &model);
        models.push((blkno, model));
    }
    assert!(!models.is_empty(), "{fixture}: {}", models.len());
    assert_eq!(refused, 0, "{fixture}: nothing is shared");
    bench.commit(&edit);
    let volume = bench.volume();
    models.iter().for_each(|(blkno, model)| assert_reads_as(&volume, *blkno, model));
    bench.judge();
}

#[test]
fn attributes_that_linux_stored_are_changed_at_random() {
    of_linux("clean-1k-local", 1);
    of_linux("clean-2k-local", 3);
    of_linux("clean-4k-o2cb", 4);
}

#[test]
fn a_name_is_hashed_as_the_others_of_its_inode() {
    let bench = bench("-M local -N 1 -b 1K -C 4K -J size=4M", "64M");
    let (blkno, user) = (bench.file(), XattrPrefix::User);
    let (mut edit, seed) = (bench.edit(), bench.volume().superblock().s_uuid_hash);
    let hash_of = |edit: &Edit, name: &[u8]| {
        let found = edit.xattr(&edit.inode(blkno).unwrap(), user, name).unwrap().unwrap();
        found.entry.xe_name_hash
    };
    edit.set_xattr(blkno, user, b"\xe4", b"value").unwrap();
    assert_eq!(hash_of(&edit, b"\xe4"), xattr_hash(b"\xe4", seed, CharSign::Unsigned));
    let signed = xattr_hash(b"\xe4", seed, CharSign::Signed);
    edit.update_dinode(blkno, |_, id2| {
        let at = id2.len() - 256 + XattrHeader::SIZE;
        id2[at..at + 4].copy_from_slice(&signed.to_le_bytes());
    })
    .unwrap();
    // As Linux before 6.2 on x86 stores it: it is found, also in buckets, and new names get the
    // same kind of hash.
    for number in 0..200 {
        edit.set_xattr(blkno, user, format!("{number}\u{e4}").as_bytes(), b"value").unwrap();
    }
    edit.set_xattr(blkno, user, b"\xe4", &[1; 80]).unwrap();
    assert_eq!(hash_of(&edit, b"\xe4"), signed);
    let name = "150\u{e4}".as_bytes();
    assert_eq!(hash_of(&edit, name), xattr_hash(name, seed, CharSign::Signed));
    bench.commit(&edit);
    bench.judge();
}

#[test]
fn one_attribute_of_a_thousand_writes_a_few_blocks() {
    for block in ["512", "1K", "4K"] {
        let options = format!("-M local -N 1 -b {block} -C 4K -J size=4M --fs-features=metaecc");
        let bench = bench(&options, "64M");
        let mut edit = bench.edit();
        let set = |edit: &mut Edit, number: usize, value: &[u8]| {
            let name = format!("number-{number}");
            edit.set_xattr(bench.file(), XattrPrefix::User, name.as_bytes(), value).unwrap();
        };
        (0..1000).for_each(|number| set(&mut edit, number, b"a value"));
        bench.commit(&edit);
        let mut changed = Vec::new();
        for number in 1000..1100 {
            let counting = Arc::new(CountingDevice::new(bench.device()));
            let volume = Volume::open(counting.clone(), &VolumeOptions::default()).unwrap();
            let opened = counting.counts().reads;
            let mut edit = Edit::new(&volume, EditOptions::default());
            set(&mut edit, number, b"another value");
            changed.push(edit.changed_blocks());
            let reads = counting.counts().reads - opened;
            assert!(reads < 60, "{reads} reads on blocks of {block}");
            bench.commit(&edit);
        }
        let most = changed.into_iter().max().unwrap();
        assert!(most <= 12, "{most} blocks of {block} are changed");
        bench.judge();
    }
}

#[test]
fn what_cannot_be_stored_changes_nothing() {
    let bench = bench("-M local -N 1 -b 1K -C 4K -J size=4M", "64M");
    let (blkno, user) = (bench.file(), XattrPrefix::User);
    let mut edit = bench.edit();
    let refused = |result| assert!(matches!(result, Err(EditError::Refused(_))), "{result:?}");
    let too_large = |result| assert!(matches!(result, Err(EditError::TooLarge(_))), "{result:?}");
    too_large(edit.set_xattr(blkno, user, &[b'n'; 256], b""));
    too_large(edit.set_xattr(blkno, user, b"n", &[0; 65_537]));
    refused(edit.set_xattr(blkno, user, b"", b""));
    refused(edit.set_xattr(blkno, user, b"a\0b", b""));
    refused(edit.set_xattr(blkno, XattrPrefix::PosixAclAccess, b"name", b""));
    assert_eq!(edit.changed_blocks(), 0);

    // A bucket holds 63 names, and names with the same hash have to be in the same bucket.
    let mut model = Model::new();
    for number in 0..128 {
        let name: Vec<u8> = (0..7).flat_map(|bit| [*b"pA", *b"qa"][number >> bit & 1]).collect();
        let result = edit.set_xattr(blkno, user, &name, b"v");
        match number < 63 {
            true => assert!(result.is_ok() && model.insert((user, name), vec![b'v']).is_none()),
            // Some of the others fit into the inode.
            false if result.is_ok() => assert!(model.insert((user, name), vec![b'v']).is_none()),
            false => too_large(result),
        }
    }
    assert!(model.len() < 80);
    assert_reads_as(&edit, blkno, &model);
    bench.commit(&edit);
    bench.judge();

    // There is not enough room for a value, nor for one more bucket.
    let mut edit = bench.edit();
    while edit.free_clusters().unwrap() > 7 {
        let most = (edit.free_clusters().unwrap() - 7).min(1000) as u32;
        edit.take_clusters(Want::up_to(most)).unwrap();
    }
    edit.finish().unwrap();
    let changed = edit.changed_blocks();
    let result = edit.set_xattr(blkno, user, b"large", &[1; 65_536]);
    assert!(result.is_err_and(|err| err.is_no_room()));
    assert_eq!(edit.changed_blocks(), changed);
    assert_eq!(edit.free_clusters().unwrap(), 7);
    assert_reads_as(&edit, blkno, &model);
}

#[test]
fn a_value_whose_clusters_are_shared_stays() {
    let bench = bench("-M local -N 1 -b 1K -C 4K -J size=4M", "64M");
    let (blkno, user) = (bench.file(), XattrPrefix::User);
    let mut edit = bench.edit();
    edit.set_xattr(blkno, user, b"name", &[1; 100]).unwrap();
    edit.update_dinode(blkno, |dinode, id2| {
        // The flags of the only record, at the end of the value's root, which is at the end of the
        // area.
        assert_eq!(dinode.i_xattr_inline_size, 256);
        let at = id2.len() - ExtentRec::SIZE + 7;
        id2[at] |= ExtentFlags::REFCOUNTED.bits();
    })
    .unwrap();
    let model = model_of(&edit, blkno);
    let before = edit.free_clusters().unwrap();
    let refused = |result| assert!(matches!(result, Err(EditError::Refused(_))), "{result:?}");
    refused(edit.set_xattr(blkno, user, b"name", b"short"));
    refused(edit.remove_xattr(blkno, user, b"name"));
    assert_reads_as(&edit, blkno, &model);
    assert_eq!(edit.free_clusters().unwrap(), before);
    edit.set_xattr(blkno, user, b"other", &[2; 100]).unwrap();
}

/// The areas of attributes of an inode: their blocks, and where they are in these.
fn areas(volume: &Volume, blkno: Blkno) -> Vec<(Blkno, std::ops::Range<usize>)> {
    let dinode = volume.inode(blkno).unwrap().dinode;
    let size = volume.block_size().size();
    let inline = size - usize::from(dinode.i_xattr_inline_size)..size;
    vec![(blkno, inline), (dinode.i_xattr_loc, XattrBlock::AREA_OFFSET..size)]
}

/// The records of the values in an area that are not next to their names: where each is, and its
/// clusters. Each value has only one.
fn records(edit: &Edit, area: &[u8]) -> Vec<(usize, std::ops::Range<u32>)> {
    let items = XattrArea::new(area).unwrap().items().map(Result::unwrap);
    let items: Vec<_> = items.filter(|item| !item.entry.is_local()).collect();
    let record = |item: &XattrItem<'_>| {
        let end = item.stored.as_ptr_range().end as usize - area.as_ptr() as usize;
        let at = end - ExtentRec::SIZE;
        let record = ExtentRec::decode(&area[at..end]).unwrap();
        let Cluster(first) = edit.geometry().cluster_of(record.e_blkno).unwrap();
        (at, first..first + u32::from(record.e_leaf_clusters()))
    };
    items.iter().map(record).collect()
}

/// Makes two files with the same attributes share the clusters of these, as Linux does when it
/// makes a copy of a file.
fn share_values(edit: &mut Edit, counts: Blkno, from: Blkno, to: Blkno) -> usize {
    let mut shared = 0;
    for (old, new) in areas(edit, from).into_iter().zip(areas(edit, to)) {
        let (source, mut target) = (edit.read_block(old.0), edit.read_block(new.0).unwrap());
        let mut area = source.as_ref().unwrap()[old.1.clone()].to_vec();
        for (_, run) in records(edit, &target[new.1.clone()]) {
            edit.give_clusters(run).unwrap();
        }
        let found = records(edit, &area);
        found.iter().for_each(|(at, _)| area[at + 7] |= ExtentFlags::REFCOUNTED.bits());
        shared += found.len();
        // Once for each of the two.
        for _ in [from, to] {
            edit.add_references(counts, found.iter().map(|(_, run)| run.clone())).unwrap();
        }
        let mut source = source.unwrap();
        source[old.1].copy_from_slice(&area);
        target[new.1].copy_from_slice(&area);
        edit.put_blocks(old.0, &source).unwrap();
        edit.put_blocks(new.0, &target).unwrap();
    }
    shared
}

/// Gives an inode values of its own. Returns how many steps that took, and the clusters copied.
fn unshare(edit: &mut Edit, blkno: Blkno) -> (usize, u32) {
    let (mut steps, mut copied) = (0, 0);
    loop {
        let (more, contents) = edit.unshare_xattrs(blkno).unwrap();
        steps += 1;
        for piece in contents {
            let Contents::Copy { from, to, clusters } = piece else { panic!("{piece:?}") };
            let blocks = clusters * edit.geometry().blocks_per_cluster();
            let bytes = edit.read_blocks(from, blocks).unwrap();
            edit.put_blocks(to, &bytes).unwrap();
            copied += clusters;
        }
        if !more {
            return (steps, copied);
        }
    }
}

#[test]
fn values_that_a_copy_shares_become_its_own() {
    for block in ["1K", "4K"] {
        let options = format!("-M local -N 1 -b {block} -C 4K -J size=4M");
        let bench = bench(&options, "64M");
        let user = XattrPrefix::User;
        let (first, second) = (bench.file(), bench.volume().resolve(b"/empty").unwrap().blkno);
        let mut edit = bench.edit();
        edit.reflink(first, second).unwrap();
        // More than are changed in one step, where a block has room for as many.
        let count = if block == "4K" { 20 } else { 6 };
        for blkno in [first, second] {
            for number in 0..count {
                let (name, byte) = (format!("name {number}"), number as u8);
                edit.set_xattr(blkno, user, name.as_bytes(), &vec![byte; 9000]).unwrap();
            }
            edit.set_xattr(blkno, user, b"local", b"a little").unwrap();
        }
        let counts = edit.inode(first).unwrap().dinode.i_refcount_loc;
        assert_eq!(share_values(&mut edit, counts, first, second), count, "{block}");
        bench.commit(&edit);
        bench.judge();
        let model = model_of(&bench.volume(), first);
        assert_reads_as(&bench.volume(), second, &model);

        let mut edit = bench.edit();
        let free = edit.free_clusters().unwrap();
        let (steps, copied) = unshare(&mut edit, second);
        assert_eq!((steps, copied), (count / 16 + 1, count as u32 * 3), "{block}");
        assert_eq!(edit.free_clusters().unwrap(), free - u64::from(copied));
        bench.commit(&edit);
        bench.judge();
        assert_reads_as(&bench.volume(), second, &model);
        assert_reads_as(&bench.volume(), first, &model);
        // They can be changed now; those of the other file, which is the last to use its clusters,
        // stay where they are.
        let mut edit = bench.edit();
        edit.set_xattr(second, user, b"name 0", b"short").unwrap();
        assert!(edit.set_xattr(first, user, b"name 0", b"short").is_err());
        assert_eq!(unshare(&mut edit, first), (count / 16 + 1, 0), "{block}");
        assert_eq!(edit.unshare_xattrs(first).unwrap(), (false, Vec::new()));
        assert_reads_as(&edit, first, &model);
        edit.remove_xattr(first, user, b"name 1").unwrap();
        bench.commit(&edit);
        bench.judge();
        assert_eq!(bench.volume().inode(first).unwrap().dinode.i_refcount_loc, counts);
    }
}

#[test]
fn values_stay_shared_where_there_is_no_room_for_copies() {
    let bench = bench("-M local -N 1 -b 4K -C 4K -J size=4M", "64M");
    let (first, second) = (bench.file(), bench.volume().resolve(b"/empty").unwrap().blkno);
    let mut edit = bench.edit();
    edit.reflink(first, second).unwrap();
    for blkno in [first, second] {
        for number in 0..8 {
            let name = format!("name {number}");
            edit.set_xattr(blkno, XattrPrefix::User, name.as_bytes(), &[3; 9000]).unwrap();
        }
    }
    let counts = edit.inode(first).unwrap().dinode.i_refcount_loc;
    share_values(&mut edit, counts, first, second);
    let model = model_of(&edit, first);
    while edit.free_clusters().unwrap() > 7 {
        let most = (edit.free_clusters().unwrap() - 7).min(1000) as u32;
        edit.take_clusters(Want::up_to(most)).unwrap();
    }
    edit.finish().unwrap();
    let changed = edit.changed_blocks();
    assert!(edit.unshare_xattrs(second).is_err_and(|err| err.is_no_room()));
    assert_eq!((edit.changed_blocks(), edit.free_clusters().unwrap()), (changed, 7));
    assert_reads_as(&edit, second, &model);
}
