//! fsck.ocfs2 reports what is lost, by path: each file that is not as it was on the undamaged
//! volume, and no other.
//!
//! A case that fails is printed with its seed. `OCFS2_SEED=N` runs only that one, `OCFS2_CASES=N`
//! sets the number of cases of each kind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ocfs2_device::{Device, DeviceOptions, open};
use ocfs2_format::dinode::{Arm, InodeFlags};
use ocfs2_testing::damage::{Image, Metadata};
use ocfs2_testing::{Outcome, Random, Run, Scratch, fixture, fixture_copy, program};
use ocfs2_volume::{Volume, VolumeOptions};
use serde_json::Value;

mod judge;
mod one_field;
use judge::{Case, Contents};

/// Number of cases of each kind.
const CASES: u64 = 12;

fn seeds(start: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    match number("OCFS2_SEED") {
        Some(seed) => seed..seed + 1,
        None => start..start + number("OCFS2_CASES").unwrap_or(CASES),
    }
}

fn fsck(options: &[&str], image: &Path) -> Outcome {
    Run::new(program("fsck.ocfs2")).args(options).arg(image).output()
}

fn report(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|err| panic!("{err}: {outcome}"))
}

fn opened(image: &Path) -> (std::sync::Arc<dyn Device>, Volume) {
    let options = DeviceOptions { write: true, ..Default::default() };
    let device = open(image, &options).unwrap();
    let volume = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
    (device, volume)
}

/// Repairs a damaged volume. Returns what is wrong in the report, and the report.
fn judged(sound: &Contents, image: &Path) -> (Vec<String>, Value) {
    let damaged = Contents::of(image);
    let outcome = fsck(&["-fy", "-F", "--json"], image);
    let report = report(&outcome);
    if !matches!(outcome.status, 0 | 1) {
        return (Vec::new(), report);
    }
    let repaired = Contents::of(image);
    let case = Case { sound, damaged: &damaged, repaired: &repaired, report: &report };
    (case.faults(), report)
}

/// Makes a volume with some hundred files.
fn filled(scratch: &Scratch) -> PathBuf {
    let tree = scratch.join("tree");
    for dir in 0..12 {
        let dir = tree.join(format!("directory-{dir:02}/inner"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..25_usize {
            let byte = |at: usize| (at / 100 + file + 1) as u8 | 1;
            let size = [10, 700, 5_000, 20_000, 70_000][file % 5] + file * 13;
            let contents: Vec<u8> = (0..size).map(byte).collect();
            let dir = if file % 2 == 0 { dir.as_path() } else { dir.parent().unwrap() };
            fs::write(dir.join(format!("file \u{e4}{file}")), contents).unwrap();
        }
        std::os::unix::fs::symlink("somewhere", dir.join("link")).unwrap();
    }
    let image = scratch.join("filled.img");
    let run = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-b", "1024", "-d"]);
    run.arg(&tree).arg(&image).arg("64M").success();
    image
}

/// Writes garbage into blocks of inodes and directories. Returns a description.
fn damage(image: &Path, seed: u64) -> Vec<String> {
    let (device, volume) = opened(image);
    let mut random = Random(seed);
    let mut blocks = Vec::new();
    for inode in volume.inodes().flatten() {
        if inode.dinode.flags().contains(InodeFlags::SYSTEM)
            || inode.blkno == volume.root().unwrap().blkno
        {
            continue;
        }
        blocks.push(inode.blkno);
        if inode.is_dir() && inode.dinode.arm() == Arm::ExtentList {
            let found = volume.dir_blocks(&inode).unwrap().flatten();
            blocks.extend(found.map(|block| block.blkno));
        }
    }
    let size = volume.block_size().size();
    let mut steps = Vec::new();
    for _ in 0..blocks.len() / 6 {
        let blkno = *random.of(&blocks);
        let mut block = volume.read_block(blkno).unwrap();
        let at = random.below(size / 4) * 4;
        let kind = random.below(4);
        match kind {
            0 => block.fill(0),
            1 => {
                let garbage = random.bytes(64);
                let end = (at + 64).min(size);
                block[at..end].copy_from_slice(&garbage[..end - at]);
            }
            2 => block[at..].fill(0),
            // Everything after the header of an inode, or entries of a directory.
            _ => block[0xc0..].copy_from_slice(&random.bytes(size - 0xc0)),
        }
        steps.push(format!("{blkno}: kind {kind} at {at}"));
        device.write_at(&block, blkno.0 * size as u64).unwrap();
    }
    device.flush().unwrap();
    steps
}

#[test]
fn each_of_300_damaged_inodes_that_lost_something_is_told_by_its_path() {
    let scratch = Scratch::new();
    let image = filled(&scratch);
    let sound = Contents::of(&image);
    let mut faults = Vec::new();
    for seed in seeds(100) {
        let copy = scratch.join("copy.img");
        fs::copy(&image, &copy).unwrap();
        let steps = damage(&copy, seed);
        let (wrong, report) = judged(&sound, &copy);
        if report["exit_status"] == 1 {
            assert!(report["summary"]["lost"].as_u64().unwrap() > 0, "OCFS2_SEED={seed}");
        }
        let count = steps.len();
        faults.extend(wrong.into_iter().map(|it| format!("OCFS2_SEED={seed} ({count}): {it}")));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn whatever_chance_damages_each_loss_is_told_and_nothing_else() {
    let mut faults = Vec::new();
    for name in ["clean-512-local", "clean-1k-local", "clean-4k-o2cb"] {
        let device = open(&fixture(name), &DeviceOptions::default()).unwrap();
        let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
        let metadata = Metadata::of(&volume);
        let sound = Contents::of(&fixture(name));
        for seed in seeds(7_000_000) {
            let scratch = Scratch::new();
            let image = fixture_copy(name, &scratch);
            let damage = metadata.damage(seed, &*opened(&image).0);
            if damage.size.is_some() {
                continue;
            }
            let (wrong, _) = judged(&sound, &image);
            let steps = damage.steps.join("; ");
            faults.extend(
                wrong.into_iter().map(|it| format!("OCFS2_SEED={seed} on {name} ({steps}): {it}")),
            );
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Returns what a report states as lost, by path.
fn told(report: &Value) -> BTreeMap<String, Vec<&str>> {
    let lost = report["lost"].as_array().unwrap().iter();
    lost.filter_map(|loss| {
        let words = loss["lost"].as_array().unwrap().iter();
        let words = words.map(|it| it.as_str().unwrap()).collect();
        Some((loss["path"].as_str()?.to_owned(), words))
    })
    .collect()
}

#[test]
fn what_was_in_a_directory_that_is_gone_is_told_by_path() {
    let scratch = Scratch::new();
    let image = filled(&scratch);
    let (device, volume) = opened(&image);
    let inode = |path: &str| volume.resolve(path.as_bytes()).unwrap().blkno;
    let destroy = |path: &str, bytes: usize| {
        device.write_at(&vec![0; bytes], inode(path).0 * 1024).unwrap();
    };
    let inner = "/directory-03/inner";
    let file = |number: usize| format!("{inner}/file \u{e4}{number}");
    // Of the two nested directories, only what precedes the entries is destroyed.
    let (gone, moved): (Vec<_>, Vec<_>) = (0..25).step_by(2).partition(|file| file % 4 == 0);
    gone.iter().for_each(|number| destroy(&file(*number), 1024));
    destroy(inner, 0xa0);
    destroy("/directory-03", 0xa0);
    drop(volume);
    let list = scratch.join("lost");
    let outcome = fsck(&["-fy", "-F", "--json", "--lost", list.to_str().unwrap()], &image);
    assert_eq!(outcome.status, 1, "{outcome}");
    let report = report(&outcome);
    let told = told(&report);
    let is = |path: &str| told.get(path).cloned().unwrap_or_default();
    assert_eq!(is("/directory-03"), ["file"], "{told:?}");
    assert_eq!(is(inner), ["file"], "{told:?}");
    for number in gone {
        assert_eq!(is(&file(number)), ["file"], "{told:?}");
    }
    for number in moved {
        assert_eq!(is(&file(number)), ["name"], "{told:?}");
    }
    let list = fs::read_to_string(list).unwrap();
    assert_eq!(list.lines().filter(|path| path.starts_with(inner)).count(), 15, "{list}");
}

/// Losses below a directory whose name was wrong are reported under its restored name.
#[test]
fn what_is_gone_below_a_name_that_is_put_back_is_told_under_it() {
    let scratch = Scratch::new();
    let tree = scratch.join("tree");
    // Enough names for a directory with an index.
    for dir in 0..90 {
        fs::create_dir_all(tree.join(format!("many/directory-{dir:02}"))).unwrap();
    }
    fs::write(tree.join("many/directory-03/file"), "contents").unwrap();
    let path = scratch.join("filled.img");
    let run = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-b", "1024", "-d"]);
    run.arg(&tree).arg(&path).arg("64M").success();
    let image = Image::open(path, Scratch::new());
    let (many, file) = (image.inode("/many"), image.inode("/many/directory-03/file"));
    assert!(image.volume().is_indexed(&many));
    image.edit_raw(file.blkno, |block| block.fill(0));
    image.edit_entry(many.blkno, "directory-03", |_, name| name[0] ^= 2);
    let outcome = fsck(&["-fy", "--json"], image.path());
    assert_eq!(outcome.status, 1, "{outcome}");
    let report = report(&outcome);
    let told = told(&report);
    assert_eq!(told.keys().collect::<Vec<_>>(), ["/many/directory-03/file"]);
}

#[test]
fn a_name_that_leads_beyond_the_volume_is_told() {
    let scratch = Scratch::new();
    let image = filled(&scratch);
    let (device, volume) = opened(&image);
    let dir = volume.resolve(b"/directory-04/inner").unwrap();
    let mut block = volume.read_block(dir.blkno).unwrap();
    let at = block.windows(4).position(|it| it == b"link").unwrap() - 12;
    block[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    device.write_at(&block, dir.blkno.0 * 1024).unwrap();
    drop(volume);
    let list = scratch.join("lost");
    let outcome = fsck(&["-fy", "-F", "--json", "--lost", list.to_str().unwrap()], &image);
    assert_eq!(outcome.status, 1, "{outcome}");
    let report = report(&outcome);
    assert_eq!(told(&report).get("/directory-04/inner/link").cloned(), Some(vec!["name"]));
    let list = fs::read_to_string(list).unwrap();
    assert!(list.lines().any(|path| path == "/directory-04/inner/link"), "{list}");
    assert!(list.lines().all(|path| path != "/directory-04/inner"), "{list}");
}

/// The block of a file's inode, which is edited.
struct Edited<'a> {
    device: &'a dyn Device,
    offset: u64,
}

impl<'a> Edited<'a> {
    fn new(device: &'a dyn Device, volume: &Volume, path: &str) -> Self {
        let blkno = volume.resolve(path.as_bytes()).unwrap().blkno;
        Self { device, offset: blkno.0 * volume.block_size().size() as u64 }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.device.write_at(bytes, self.offset + at).unwrap();
    }

    fn number(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        self.device.read_at(&mut bytes, self.offset + at).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// Adds to the length of a record of the extent list.
    fn lengthen(&self, record: u64, by: u16) {
        let at = 0xc0 + 16 * (record + 1) + 4;
        let length = self.number(at) as u16 + by;
        self.write(at, &length.to_le_bytes());
    }

    fn set_size(&self, size: u64) {
        self.write(0x20, &size.to_le_bytes());
    }

    fn set_clusters(&self, clusters: u32) {
        self.write(0x14, &clusters.to_le_bytes());
    }
}

/// Makes a volume with a file of two extents, a directory of one, and files after them.
fn with_extents(scratch: &Scratch) -> PathBuf {
    let tree = scratch.join("tree");
    fs::create_dir_all(tree.join("directory")).unwrap();
    for file in 0..60 {
        fs::write(tree.join(format!("directory/the name of a file {file}")), [7; 100]).unwrap();
    }
    for file in 0..20_u8 {
        fs::write(tree.join(format!("file{file:02}")), vec![file + 1; 25_000]).unwrap();
    }
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &[3; 9_000], 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &[4; 9_000], 65_536).unwrap();
    let image = scratch.join("extents.img");
    let run =
        Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-b", "1024", "-C", "4096"]);
    run.arg("-d").arg(&tree).arg(&image).arg("64M").success();
    image
}

#[test]
fn an_extent_that_is_too_long_is_shortened_and_copies_nothing_of_others() {
    let scratch = Scratch::new();
    let image = with_extents(&scratch);
    let sound = Contents::of(&image);
    let used = |image: &Path| {
        let outcome = fsck(&["-fn", "--json"], image);
        assert_eq!(outcome.status, 0, "{outcome}");
        report(&outcome)["summary"]["space"]["clusters_in_use"].as_u64().unwrap()
    };
    let before = used(&image);
    type Kind = (&'static str, &'static str, fn(&Edited<'_>));
    let kinds: [Kind; 8] = [
        ("a wrong bit, over files and free clusters", "/file03", |it| it.lengthen(0, 0x800)),
        ("a cluster of the file after it", "/file03", |it| it.lengthen(0, 1)),
        ("free clusters", "/sparse", |it| it.lengthen(1, 0x100)),
        ("past the end of the volume", "/file19", |it| it.lengthen(0, 0xf000)),
        ("over its own extent", "/sparse", |it| it.lengthen(0, 0x40)),
        ("all of it, as the number of clusters says, too", "/file03", |it| {
            it.lengthen(0, 0x400);
            it.set_clusters(0x407);
        }),
        ("a directory", "/directory", |it| it.lengthen(0, 0x200)),
        ("a directory by one", "/directory", |it| it.lengthen(0, 1)),
    ];
    for (what, path, damage) in kinds {
        let copy = scratch.join("copy.img");
        fs::copy(&image, &copy).unwrap();
        let (device, volume) = opened(&copy);
        damage(&Edited::new(&*device, &volume, path));
        drop((device, volume));
        let outcome = fsck(&["-fy", "-F", "--json"], &copy);
        assert_eq!(outcome.status, 1, "{what}: {outcome}");
        let report = report(&outcome);
        assert_eq!(report["lost"].as_array().unwrap().len(), 0, "{what}: {outcome}");
        assert_eq!(report["findings"][0]["code"], "EXTENT_LENGTH", "{what}: {outcome}");
        assert!(Contents::of(&copy) == sound, "{what}: {outcome}");
        assert_eq!(used(&copy), before, "{what}");
    }
}

#[test]
fn what_is_gone_is_said_by_path_and_not_called_corrected() {
    let scratch = Scratch::new();
    let image = with_extents(&scratch);
    let (device, volume) = opened(&image);
    // All extents of one file, and the last one of another, point beyond the volume.
    for (path, record) in [("/file03", 0), ("/sparse", 1)] {
        let file = Edited::new(&*device, &volume, path);
        file.write(0xc0 + 16 * (record + 1) + 8, &(1_u64 << 50).to_le_bytes());
    }
    let inode = volume.resolve(b"/file03").unwrap().blkno.0;
    drop((device, volume));
    let list = scratch.join("lost");
    let outcome = fsck(&["-fy", "-F", "-0", "--lost", list.to_str().unwrap()], &image);
    assert_eq!(outcome.status, 1, "{outcome}");
    for line in [
        format!(
            "  /file03: its name is gone; all its 25000 bytes are gone; it is /lost+found/file03.#{inode} now\n"
        ),
        "  /sparse: bytes 65536 to 74535 are gone, 9000 of 74536\n".to_owned(),
    ] {
        assert!(outcome.stdout.contains(&line), "{line}{outcome}");
    }
    assert!(!outcome.stdout.contains("all corrected"), "{outcome}");
    assert_eq!(fs::read_to_string(list).unwrap(), "/file03\0/sparse\0");
    let volume = opened(&image).1;
    assert!(volume.resolve(b"/file03").is_err());
    let moved = volume.resolve(format!("/lost+found/file03.#{inode}").as_bytes()).unwrap();
    assert_eq!((moved.size(), volume.resolve(b"/sparse").unwrap().size()), (0, 74_536));
    assert_eq!(fsck(&["-fn"], &image).status, 0);
}

#[test]
fn what_is_behind_the_end_of_a_file_stays_its_own_where_no_one_else_has_it() {
    let scratch = Scratch::new();
    let image = with_extents(&scratch);
    let sound = Contents::of(&image);
    let (device, volume) = opened(&image);
    let file = Edited::new(&*device, &volume, "/file03");
    // First the number of clusters is wrong, then the size.
    file.set_clusters(5);
    file.set_size(5 * 4096);
    drop(volume);
    let outcome = fsck(&["-fy", "-F", "--json"], &image);
    assert_eq!(outcome.status, 1, "{outcome}");
    let report = report(&outcome);
    let codes: Vec<_> =
        report["findings"].as_array().unwrap().iter().map(|it| &it["code"]).collect();
    assert_eq!(codes, ["INODE_SPARSE_SIZE", "INODE_SPARSE_CLUSTERS"], "{outcome}");
    let (_, volume) = opened(&image);
    assert_eq!(volume.resolve(b"/file03").unwrap().size(), 7 * 4096);
    file.set_size(25_000);
    assert!(Contents::of(&image) == sound, "{outcome}");
}

#[test]
fn a_size_no_file_can_have_is_found_and_loses_nothing() {
    let scratch = Scratch::new();
    let image = with_extents(&scratch);
    let sound = Contents::of(&image);
    let (device, volume) = opened(&image);
    let sizes = [(1 << 63 | 25_000, 25_000), (1 << 44, 28_672), (u64::MAX, 28_672)];
    for (wrong, expected) in sizes {
        Edited::new(&*device, &volume, "/file03").set_size(wrong);
        let outcome = fsck(&["-fy", "-F", "--json"], &image);
        assert_eq!(outcome.status, 1, "{wrong}: {outcome}");
        let report = report(&outcome);
        assert_eq!(report["findings"][0]["code"], "INODE_SIZE", "{outcome}");
        assert_eq!(report["summary"]["lost"], 0, "{outcome}");
        assert_eq!(opened(&image).1.resolve(b"/file03").unwrap().size(), expected);
        assert_eq!(fsck(&["-fn"], &image).status, 0, "{wrong}");
    }
    Edited::new(&*device, &volume, "/file03").set_size(25_000);
    assert!(Contents::of(&image) == sound);
    // The largest valid size is not a finding.
    Edited::new(&*device, &volume, "/file03").set_size((1 << 44) - 4096);
    assert_eq!(fsck(&["-fn"], &image).status, 0);
}

#[test]
fn what_the_journal_of_a_crashed_node_held_is_said_to_be_lost() {
    let (_, volume) = opened(&fixture("crashed-4k-o2cb"));
    let journal = volume.journal(0).unwrap();
    for blkno in [journal.inode.blkno, journal.blkno] {
        let scratch = Scratch::new();
        let image = fixture_copy("crashed-4k-o2cb", &scratch);
        let (device, _) = opened(&image);
        device.write_at(&[0; 4096], blkno.0 * 4096).unwrap();
        let outcome = fsck(&["-fy", "--json"], &image).expect_status(1);
        let report = report(&outcome);
        let lost = report["lost"].as_array().unwrap();
        let of_journal = lost.iter().find(|loss| loss["slot"] == 0).expect("a loss");
        assert_eq!(of_journal["lost"], serde_json::json!(["journal"]));
        // Nothing of the slot is left for another run.
        fsck(&["-n"], &image).expect_status(0);
        fsck(&["-fn"], &image).expect_status(0);
    }
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-4k-o2cb", &scratch);
    let report = report(&fsck(&["-fy", "--json"], &image).expect_status(1));
    assert_eq!(report["lost"], serde_json::json!([]));
}
