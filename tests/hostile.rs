//! Volumes that claim more than there is: time and memory depend on the device, not on a number
//! stored on it, and a signal ends everything soon.
//!
//! The tests count what is read, not how long it takes.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ocfs2_cli::Interrupt;
use ocfs2_device::{CountingDevice, Device, DeviceOptions, OverlayDevice, open};
use ocfs2_format::dinode::{Dinode, DynFeatures};
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::feature::Incompat;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_format::{Blkno, Cluster, Structure};
use ocfs2_fsck::{Context, Found, Observer, Options, Outcome, Pass, Stop, check};
use ocfs2_testing::damage::{Base, Image};
use ocfs2_testing::populate::{Tree, populate};
use ocfs2_testing::{Run, Scratch, program};
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::recovery::{RecoverOptions, Writes};
use ocfs2_volume::{Error, Volume, VolumeOptions};

const MIB: u64 = 1 << 20;

/// A small volume whose directories are in blocks.
const IN_BLOCKS: Base = Base::Made(
    &["-N", "1", "-b", "4096", "-C", "4096", "--fs-features=noinline-data,noindexed-dirs"],
    "64M",
);

/// The same, with more blocks than a directory without entries may have.
const IN_BLOCKS_LARGE: Base = Base::Made(
    &["-N", "1", "-b", "4096", "-C", "4096", "--fs-features=noinline-data,noindexed-dirs"],
    "256M",
);

type Counting = Arc<CountingDevice<Arc<dyn Device>>>;

/// Opens the volume of an image on a device that counts reads.
fn counted(image: &Path) -> (Volume, Counting) {
    let device = open(image, &DeviceOptions::default()).unwrap();
    let device = Arc::new(CountingDevice::new(device));
    (Volume::open(device.clone(), &VolumeOptions::default()).unwrap(), device)
}

/// The codes of the findings, and the total length of their texts.
#[derive(Default)]
struct Codes {
    found: Vec<&'static str>,
    text_bytes: usize,
}

impl Codes {
    fn count(&self, code: &str) -> usize {
        self.found.iter().filter(|found| **found == code).count()
    }
}

impl Observer for Codes {
    fn pass(&mut self, _: Pass, _: u64) {}

    fn found(&mut self, found: Found<'_>) {
        self.found.push(found.finding.code.name);
        self.text_bytes += found.finding.text.len();
    }
}

fn checked(volume: &Volume, interrupt: &Interrupt) -> (Result<Outcome, Stop>, Codes) {
    let options = Options { threads: 4, ..Options::default() };
    let mut codes = Codes::default();
    let context = Context { volume, options: &options, interrupt };
    let outcome = check(&context, &mut codes);
    (outcome, codes)
}

/// Runs fsck.ocfs2, which has to end by itself and within 256 MiB. Returns its exit status.
fn fsck(options: &str, image: &Path) -> i32 {
    told(&[options], image).0
}

/// Like [`fsck`]; also returns its report. The peak memory in it counts the pages of the program
/// itself: the count for a child that was waited for begins with the pages of this process.
fn told(options: &[&str], image: &Path) -> (i32, serde_json::Value) {
    let run = Run::new("timeout").arg("120").arg(program("fsck.ocfs2"));
    let run = run.args(["--threads", "2", "--json"]).args(options).arg(image);
    let outcome = run.timeout(Duration::from_secs(130)).output();
    assert!([0, 1, 4, 5].contains(&outcome.status), "{outcome}");
    let told: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let peak = told["summary"]["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak < 256 * MIB, "{options:?} took {peak} bytes");
    (outcome.status, told)
}

#[test]
fn a_directory_that_has_its_clusters_many_times_is_read_once() {
    let image = IN_BLOCKS.image();
    let system_dir = image.volume().superblock().s_system_dir_blkno;
    let names = image.volume().superblock().s_max_slots;
    image.alias(system_dir);
    let (volume, device) = counted(image.path());
    assert!(matches!(volume.system_file_named("none"), Err(Error::NotFound { .. })) || names > 0);
    let bytes = device.counts().read_bytes;
    assert!(bytes < 4 * MIB, "a name took {bytes} bytes");

    let entries = volume.entries(&volume.system_dir().unwrap()).unwrap();
    let repeated = entries.filter(|entry| matches!(entry, Err(Error::Repeated { .. }))).count();
    assert!(repeated > 100, "{repeated}");
    let bytes = device.counts().read_bytes - bytes;
    assert!(bytes < 2 * 64 * MIB, "all names took {bytes} bytes");

    let (volume, device) = counted(image.path());
    let (outcome, codes) = checked(&volume, &Interrupt::default());
    outcome.unwrap();
    assert!(codes.found.len() < 3000, "{}", codes.found.len());
    let bytes = device.counts().read_bytes;
    assert!(bytes < 4 * 64 * MIB, "a check took {bytes} bytes");
    assert_eq!(fsck("-fn", image.path()), 4);
    fsck("-fy", image.path());
}

#[test]
fn an_orphan_directory_that_has_its_clusters_many_times_is_recovered_once() {
    let image = IN_BLOCKS.image();
    image.alias(image.system("orphan_dir:0000").blkno);
    let journal = image.system("journal:0000").blkno;
    image.edit_dinode(journal, |dinode, _| {
        let generation = dinode.journal_recovery_generation();
        dinode.set_journal(Dinode::JOURNAL_DIRTY, generation);
    });
    let (volume, device) = counted(image.path());
    let overlay = Arc::new(OverlayDevice::new(device.clone(), 4096));
    let volume = volume.on(overlay.clone());
    let recover = |interrupted: &dyn Fn() -> bool| {
        let options = RecoverOptions { slots: &[0], writes: Writes::InPlace, time: 1, interrupted };
        volume.recover(&overlay, &options)
    };
    let recovered = recover(&|| false);
    assert!(recovered[0].error.is_some(), "{recovered:?}");
    let bytes = device.counts().read_bytes;
    assert!(bytes < 3 * 64 * MIB, "{bytes}");
    assert_eq!(fsck("-fn", image.path()), 4);
    fsck("-fy", image.path());
}

#[test]
fn a_log_that_has_its_clusters_many_times_is_not_read() {
    let image = IN_BLOCKS.image();
    image.alias(image.system("journal:0000").blkno);
    image.edit_journal(0, |superblock| {
        (superblock.s_maxlen, superblock.s_start) = (u32::MAX, 1);
    });
    let (volume, device) = counted(image.path());
    assert!(volume.replay(0).is_err());
    let bytes = device.counts().read_bytes;
    assert!(bytes < MIB, "{bytes}");
}

/// Makes a volume with `files` files of one cluster each.
fn with_files(files: u32) -> Image {
    let scratch = Scratch::new();
    let path = scratch.join("files.img");
    let image = std::fs::File::create(&path).unwrap();
    image.set_len(128 * MIB).unwrap();
    populate(&path, Tree { files, files_per_folder: files, indexed: true, aged: false });
    Image::open(path, scratch)
}

#[test]
fn extent_blocks_of_many_files_are_read_once() {
    let image = with_files(400);
    let leaves = 500;
    image.share_tree(leaves);
    let (volume, device) = counted(image.path());
    let (outcome, codes) = checked(&volume, &Interrupt::default());
    outcome.unwrap();
    // Each file except one is reported once for sharing its blocks.
    assert_eq!(codes.count("BLOCK_SHARED"), 399, "{}", codes.found.len());
    let bytes = device.counts().read_bytes;
    assert!(bytes < 64 * MIB, "{bytes}");
    assert_eq!(fsck("-fn", image.path()), 4);
    // There is no room for separate trees of all files: none is started, and other repairs come to
    // an end.
    let (status, told) = told(&["-fy"], image.path());
    assert!([4, 5].contains(&status), "{status}");
    assert!(told["summary"]["rounds"].as_u64().unwrap() < 10, "{}", told["summary"]);
}

#[test]
fn what_was_found_is_counted_by_the_memory_limit() {
    let image = with_files(2000);
    // Each file states more clusters than it has.
    image.misstate_all();
    let (status, told) = told(&["-fy", "--memory-limit=1M"], image.path());
    assert_eq!(status, 5);
    let findings = told["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1001);
    let last = findings[1000]["text"].as_str().unwrap();
    assert!(last.contains("more findings"), "{last}");
    // Further runs make progress.
    let again = (0..5).find(|_| fsck("-fy", image.path()) <= 1);
    assert!(again.is_some());
    assert_eq!(fsck("-fn", image.path()), 0);
}

#[test]
fn a_bitmap_of_which_every_second_bit_is_wrong_is_one_finding() {
    let image = IN_BLOCKS.image();
    for group in image.groups("global_bitmap") {
        image.edit_group(group.blkno, |desc, bits| {
            bits[..usize::from(desc.bg_bits) / 8].fill(0x55);
        });
    }
    let (volume, _) = counted(image.path());
    let (outcome, codes) = checked(&volume, &Interrupt::default());
    outcome.unwrap();
    assert_eq!(codes.count("CLUSTER_ALLOC_BIT"), 1);
    assert_eq!(fsck("-fy", image.path()), 1);
    assert_eq!(fsck("-fn", image.path()), 0);
}

#[test]
fn a_directory_ends_where_its_blocks_are_none_of_it() {
    let image = IN_BLOCKS_LARGE.image();
    image.alias(image.inode("/lost+found").blkno);
    let (volume, device) = counted(image.path());
    let (outcome, codes) = checked(&volume, &Interrupt::default());
    outcome.unwrap();
    assert!(codes.count("DIRENT_LENGTH") > 0, "{:?}", codes.found);
    // 64 MiB up to its end, and as much to find out that it contains clusters of others.
    let bytes = device.counts().read_bytes;
    assert!(bytes < 170 * MIB, "a check took {bytes} bytes");
    assert_eq!(fsck("-fy", image.path()), 1);
    assert_eq!(fsck("-fn", image.path()), 0);
}

#[test]
fn a_quota_file_that_has_its_clusters_many_times_is_not_made_as_long() {
    let image = Base::Fixture("clean-4k-o2cb").image();
    image.alias(image.system("aquota.user").blkno);
    image.alias(image.system("aquota.group:0000").blkno);
    fsck("-fy", image.path());
}

/// Sends SIGINT to fsck.ocfs2 after `after`. Returns its exit status, and how long it took to end.
fn interrupted(options: &str, image: &Path, after: Duration) -> (i32, Duration) {
    let mut command = Command::new(program("fsck.ocfs2"));
    command.arg(options).arg(image).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let since = Instant::now();
    let pid = child.id().to_string();
    // It may have ended already.
    let _ = Command::new("kill").args(["-INT", &pid]).stderr(Stdio::null()).status();
    let status = child.wait().unwrap();
    (status.code().unwrap_or(-1), since.elapsed())
}

/// Returns whether a block is the superblock or belongs to a journal.
fn is_mark(image: &Image, block: usize) -> bool {
    let volume = image.volume();
    let is_of_journal = (0..volume.max_slots()).any(|slot| {
        let inode = image.system(&format!("journal:{slot:04}"));
        let mut extents = volume.tree(&inode).unwrap().extents().map(Result::unwrap);
        extents.any(|extent| {
            let blocks = u64::from(extent.clusters) << volume.geometry().bpc_bits();
            inode.blkno.0 == block as u64
                || (extent.blkno.0..extent.blkno.0 + blocks).contains(&(block as u64))
        })
    });
    is_of_journal || block as u64 == SUPERBLOCK_BLKNO.0
}

#[test]
fn a_signal_ends_a_run_soon_and_nothing_is_half_written() {
    let image = with_files(400);
    image.share_tree(500);
    image.alias(image.inode("/many/folder-0000").blkno);
    let before = std::fs::read(image.path()).unwrap();
    for options in ["-fn", "-fy"] {
        for after in [40, 150, 400, 900, 2000] {
            let (status, took) = interrupted(options, image.path(), Duration::from_millis(after));
            // It should take a second; busy machines need longer.
            assert!(took < Duration::from_secs(5), "{options} after {after} ms: {took:?}");
            // Before the signal can be caught, it ends the program.
            let is_ended = status == -1 || status & 32 != 0;
            assert!(is_ended || [4, 5].contains(&status), "{options} after {after} ms: {status}");
            if is_ended {
                let now = std::fs::read(image.path()).unwrap();
                let size = image.volume().block_size().size();
                let mut pairs = now.chunks(size).zip(before.chunks(size)).enumerate();
                // A transaction marks in the superblock that the run was not completed.
                let is_same = pairs.all(|(at, (now, before))| now == before || is_mark(&image, at));
                assert!(is_same, "{options} after {after} ms has written");
            } else {
                break;
            }
        }
    }
}

/// Commits an edit to the overlay that `volume` is on.
fn commit(mut edit: Edit, volume: &Volume) {
    edit.finish().unwrap();
    edit.commit(How::Unguarded, &**volume.device()).unwrap();
}

#[test]
fn a_repair_takes_clusters_that_lie_apart_without_looking_for_each() {
    let image = with_files(10);
    let volume = image.volume();
    let device = open(image.path(), &DeviceOptions::default()).unwrap();
    let device = Arc::new(CountingDevice::new(device));
    let overlay = Arc::new(OverlayDevice::new(device.clone(), 4096));
    let volume = volume.on(overlay);
    let mut edit = Edit::new(&volume, EditOptions::default());
    let free = edit.free_clusters().unwrap();
    // Every second cluster stays in use.
    let whole = edit.take_runs(u32::try_from(free).unwrap()).unwrap();
    for cluster in whole.iter().cloned().flatten().step_by(2) {
        edit.give_clusters(cluster..cluster + 1).unwrap();
    }
    commit(edit, &volume);
    let mut edit = Edit::new(&volume, EditOptions::default());
    let free = u32::try_from(edit.free_clusters().unwrap()).unwrap();
    assert!(free > 1000, "{free}");
    assert!(edit.take_runs(free + 1).unwrap_err().is_no_room());
    let reads = device.counts().reads;
    let runs = edit.take_runs(free).unwrap();
    assert_eq!(runs.iter().map(|run| run.end - run.start).sum::<u32>(), free);
    assert!(device.counts().reads - reads < 100, "{}", device.counts().reads - reads);
    assert_eq!(edit.free_clusters().unwrap(), 0);
}

#[test]
fn what_is_said_of_files_that_have_one_cluster_follows_their_number() {
    let image = with_files(2000);
    image.share_cluster();
    let (volume, _) = counted(image.path());
    let (outcome, codes) = checked(&volume, &Interrupt::default());
    outcome.unwrap();
    let shared = codes.found.iter().filter(|code| code.starts_with("DUP_CLUSTERS")).count();
    assert_eq!(shared, 2000);
    assert!(codes.text_bytes < 2000 * 300, "{}", codes.text_bytes);
    assert_eq!(fsck("-fy", image.path()), 1);
    assert_eq!(fsck("-fn", image.path()), 0);
}

/// A device that requests an interrupt at a certain read, and counts the bytes read from then on.
struct Interrupting {
    inner: Arc<dyn Device>,
    interrupt: Interrupt,
    at: u64,
    reads: AtomicU64,
    bytes_behind: AtomicU64,
}

impl Device for Interrupting {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        if number >= self.at {
            self.interrupt.request();
            self.bytes_behind.fetch_add(buf.len() as u64, Ordering::Relaxed);
        }
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_signal_ends_a_check_wherever_it_comes() {
    let image = with_files(400);
    image.share_tree(500);
    image.alias(image.inode("/many/folder-0000").blkno);
    let inner = open(image.path(), &DeviceOptions::default()).unwrap();
    let reads = {
        let (volume, device) = counted(image.path());
        checked(&volume, &Interrupt::default()).0.unwrap();
        device.counts().reads
    };
    for part in 1..8 {
        let interrupt = Interrupt::default();
        let device = Arc::new(Interrupting {
            inner: inner.clone(),
            interrupt: interrupt.clone(),
            at: reads * part / 8,
            reads: AtomicU64::new(0),
            bytes_behind: AtomicU64::new(0),
        });
        let volume = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
        let (outcome, _) = checked(&volume, &interrupt);
        assert!(outcome.is_err(), "it goes on after read {}", device.at);
        let bytes = device.bytes_behind.load(Ordering::Relaxed);
        // Each thread finishes what it has started.
        assert!(bytes < 24 * MIB, "{bytes} bytes after read {}", device.at);
    }
}

/// Copies a block of a refcount tree to one of two unallocated clusters.
fn misplaced(image: &Image, old: Blkno, number: u32) -> Blkno {
    let cluster = Cluster(image.free_clusters(2).0 + number);
    let new = image.volume().geometry().block_of(cluster);
    image.write(new, &image.read(old));
    image.edit_refcount_block(new, |block, _| block.rf_blkno = new);
    new
}

#[test]
fn a_refcount_tree_in_no_allocator_gets_blocks_of_its_own() {
    let image = Base::Fixture("clean-1k-local").image();
    let users = |is_wanted: &dyn Fn(&RefcountBlock) -> bool| -> (Blkno, Vec<Blkno>) {
        let inodes: Vec<_> = image.volume().inodes().map(Result::unwrap).collect();
        let roots = inodes.iter().map(|inode| inode.dinode.i_refcount_loc);
        let mut roots = roots.filter(|root| !root.is_none());
        let root =
            roots.find(|root| is_wanted(&RefcountBlock::decode(&image.read(*root)).unwrap()));
        let root = root.unwrap();
        let users = inodes.iter().filter(|inode| inode.dinode.i_refcount_loc == root);
        (root, users.map(|inode| inode.blkno).collect())
    };
    // The root that several inodes have, and a leaf of a large tree.
    let (root, inodes) = users(&|block| !block.is_tree() && block.rf_count > 1);
    let new = misplaced(&image, root, 0);
    for inode in inodes {
        image.edit_dinode(inode, |dinode, _| dinode.i_refcount_loc = new);
    }
    let (tree, _) = users(&RefcountBlock::is_tree);
    let leaf = RefcountBlock::extents(&image.read(tree)).unwrap().records().next().unwrap();
    let new = misplaced(&image, leaf.e_blkno, 1);
    image.edit_refcount_block(tree, |_, list| {
        let rec = ExtentRec::leaf(leaf.e_cpos, 1, ExtentFlags::empty(), new);
        rec.encode(&mut list[ExtentListHeader::SIZE..]).unwrap();
    });
    let (volume, _) = counted(image.path());
    let (outcome, codes) = checked(&volume, &Interrupt::default());
    outcome.unwrap();
    assert_eq!(codes.count("BLOCK_UNALLOCATED"), 2, "{:?}", codes.found);
    let (status, told) = told(&["-fy"], image.path());
    assert_eq!(status, 1, "{told}");
    assert_eq!(fsck("-fn", image.path()), 0);
}

#[test]
fn a_count_of_links_does_not_wrap_around() {
    const LINKS: u32 = 70_000;
    let scratch = Scratch::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        header.set_mode(0o644);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if kind == tar::EntryType::Link {
            header.set_link_name("file").unwrap();
        }
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
    };
    add(tar::EntryType::Regular, "file");
    (1..LINKS).for_each(|number| add(tar::EntryType::Link, &format!("{number:x}")));
    std::fs::write(scratch.join("links.tar"), builder.into_inner().unwrap()).unwrap();
    let path = scratch.join("links.img");
    let run = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-b", "4096"]);
    let run =
        run.args(["--fs-features=metaecc,noinline-data", "-d"]).arg(scratch.join("links.tar"));
    run.arg(&path).arg("128M").success();
    let image = Image::open(path, scratch);
    // Without indexes the count has 16 bits.
    let volume = image.volume();
    let dirs = volume.inodes().map(Result::unwrap).filter(|inode| inode.is_dir());
    for dir in dirs {
        image.edit_dinode(dir.blkno, |dinode, _| {
            dinode.i_dyn_features &= !DynFeatures::INDEXED_DIR.bits();
            dinode.i_dx_root = Blkno(0);
        });
    }
    image.edit_superblocks(|_, superblock| {
        superblock.s_feature_incompat &= !Incompat::INDEXED_DIRS.bits();
    });
    let file = image.inode("/file").blkno;
    let (_, told) = told(&["-fy"], image.path());
    let findings = told["findings"].as_array().unwrap();
    let count = findings.iter().find(|finding| finding["code"] == "INODE_COUNT").unwrap();
    assert!(count["text"].as_str().unwrap().contains("names have to be removed"), "{count}");
    let (volume, _) = counted(image.path());
    assert_eq!(volume.inode(file).unwrap().dinode.i_links_count, u16::MAX);
    assert_eq!(fsck("-fn", image.path()), 4);
}
