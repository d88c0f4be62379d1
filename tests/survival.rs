//! Our reader on damaged volumes: it may find errors, but no damage makes it panic, run forever, or
//! allocate as much memory as a field claims.
//!
//! Every case depends only on its number. `OCFS2_SURVIVAL_CASES` sets the number of cases.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_device::{self, Device, DeviceOptions, OverlayDevice};
use ocfs2_format::BlockSize;
use ocfs2_format::dinode::FileKind;
use ocfs2_testing::{Random, fixture};
use ocfs2_volume::{Error, Inode, Volume, VolumeOptions};

/// Records what is read from the device below.
struct Recorder {
    inner: Arc<dyn Device>,
    reads: Mutex<BTreeSet<(u64, usize)>>,
}

impl Device for Recorder {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.lock().unwrap().insert((offset, buf.len()));
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

/// Results of reading.
#[derive(Default)]
struct Tally {
    good: u64,
    errors: u64,
}

impl Tally {
    fn take<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => {
                self.good += 1;
                Some(value)
            }
            Err(err) => {
                assert!(!err.to_string().is_empty());
                self.errors += 1;
                None
            }
        }
    }
}

/// No volume here has as many of anything: a longer iteration does not end.
const MANY: usize = 400_000;

fn bounded<T>(items: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    items.enumerate().map(|(index, item)| {
        assert!(index < MANY, "an iteration does not end");
        item
    })
}

/// Whether the data of a file is read besides its metadata.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Data {
    Read,
    Skip,
}

fn read_inode(volume: &Volume, inode: &Inode, data: Data, tally: &mut Tally) {
    for xattr in bounded(volume.xattrs(inode)) {
        if let Some(xattr) = tally.take(xattr) {
            tally.take(volume.xattr_value(&xattr));
        }
    }
    if inode.kind() == Some(FileKind::Symlink) {
        tally.take(volume.symlink_target(inode));
    }
    if inode.is_dir() {
        if let Some(entries) = tally.take(volume.entries(inode)) {
            let entries: Vec<_> = bounded(entries).filter_map(|entry| tally.take(entry)).collect();
            for entry in entries.iter().step_by(entries.len() / 8 + 1) {
                tally.take(volume.lookup(inode, &entry.name));
            }
        }
        tally.take(volume.lookup(inode, b"gr\xfc\xdfe"));
    }
    if let Some(tree) = tally.take(volume.tree(inode)) {
        bounded(tree.extents()).for_each(|extent| {
            tally.take(extent);
        });
    }
    let Some(file) = tally.take(volume.file(inode)) else { return };
    let mut buf = vec![0; 65_536];
    let mut at = 0;
    for piece in 0..MANY {
        let Some(Some(range)) = tally.take(file.next_data(at)) else { break };
        assert!(range.start >= at && range.end > range.start, "no way forward at {at}");
        at = range.end;
        if piece < 16 && data == Data::Read {
            let len = buf.len().min(usize::try_from(range.end - range.start).unwrap());
            tally.take(file.read_at(&mut buf[..len], range.start));
        }
        assert!(piece + 1 < MANY, "the pieces do not end");
    }
    if data == Data::Read {
        let end = file.size().saturating_sub(100);
        tally.take(file.read_at(&mut buf[..1000], end));
    }
}

fn read_path(volume: &Volume, path: &[u8], data: Data, tally: &mut Tally) {
    if let Some(inode) = tally.take(volume.resolve_following(path)) {
        read_inode(volume, &inode, data, tally);
    }
}

/// Reads everything except the contents of files.
fn read_volume(volume: &Volume, tally: &mut Tally) {
    tally.take(volume.places());
    for slot in 0..volume.max_slots() {
        tally.take(volume.journal(slot));
    }
    for start in [volume.root(), volume.system_dir()] {
        let Some(start) = tally.take(start) else { continue };
        let Some(walk) = tally.take(volume.walk(&start)) else { continue };
        for entry in bounded(walk) {
            let Some(entry) = tally.take(entry.map_err(|err| err.error)) else { continue };
            for xattr in bounded(volume.xattrs(&entry.inode)) {
                tally.take(xattr);
            }
        }
    }
    for inode in bounded(volume.inodes()) {
        tally.take(inode);
    }
    if let Some(bitmap) = tally.take(volume.global_bitmap()) {
        for group in bounded(volume.groups(&bitmap)) {
            if let Some(group) = tally.take(group) {
                group.free_bits();
                volume.cluster_of_bit(&group, u32::MAX);
            }
        }
    }
}

/// Returns a place that probably has contents.
fn used_place(random: &mut Random, bytes: &[u8]) -> usize {
    let places: Vec<usize> = (0..16).map(|_| random.below(bytes.len())).collect();
    places.iter().copied().find(|place| bytes[*place] != 0).unwrap_or(places[0])
}

/// Damages a piece of metadata in one of the typical ways.
fn damage(random: &mut Random, device: &dyn Device, volume: &Sound, at: (u64, usize)) {
    let all = &volume.metadata;
    let (offset, len) = at;
    let mut bytes = vec![0; len];
    device.read_at(&mut bytes, offset).unwrap();
    let sound = bytes.clone();
    match random.below(8) {
        // Fields of any width get an extreme or a random value.
        0..4 => {
            for _ in 0..=random.below(4) {
                let width = 1 << random.below(4);
                let place = used_place(random, &sound) / width * width;
                let value = match random.below(4) {
                    0 => 0,
                    1 => u64::MAX,
                    2 => random.next() % 4096,
                    _ => random.next(),
                };
                bytes[place..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
        }
        // One bit is flipped.
        4 => {
            let bit = random.below(8);
            bytes[used_place(random, &sound)] ^= 1 << bit;
        }
        // A pointer to other metadata: loops and cross-links.
        5 => {
            let place = used_place(random, &sound) / 8 * 8;
            let block = random.of(all).0 >> volume.block_size.bits();
            bytes[place..][..8].copy_from_slice(&block.to_le_bytes());
        }
        // Other metadata in its place, unchanged or with the original headers.
        6 => {
            let (other, other_len) = *random.of(all);
            let from = 0x100 * random.below(2);
            let len = len.min(other_len);
            device.read_at(&mut bytes[..len], other).unwrap();
            bytes[..from].copy_from_slice(&sound[..from]);
        }
        // Random bytes in a range.
        _ => {
            let from = random.below(len);
            let to = from + random.below(len - from) + 1;
            bytes[from..to].iter_mut().for_each(|byte| *byte = random.next() as u8);
        }
    }
    // An invalid inode would be rejected at once, so mostly it stays valid.
    if sound.starts_with(b"INODE01") && random.below(4) > 0 {
        for part in [0..8, 0x28..0x2a, 0x2c..0x30, 0x50..0x58, 0x60..0x64] {
            bytes[part.clone()].copy_from_slice(&sound[part]);
        }
    }
    device.write_at(&bytes, offset).unwrap();
}

/// A path, and the metadata that is read for it.
struct PathOf {
    path: Vec<u8>,
    metadata: Vec<(u64, usize)>,
    /// Number of errors from reading the sound file: every inode is read as a tree.
    errors: u64,
}

/// The sound volume that the cases are made from.
struct Sound {
    device: Arc<dyn Device>,
    block_size: BlockSize,
    /// The block of the superblock, without metaecc.
    superblock: Vec<u8>,
    /// All pieces of metadata.
    metadata: Vec<(u64, usize)>,
    /// The paths, without those of plain empty files.
    paths: Vec<PathOf>,
}

impl Sound {
    fn superblock_place(&self) -> (u64, usize) {
        (2 * u64::from(self.block_size.bytes()), self.block_size.size())
    }
}

fn sound(name: &str) -> Sound {
    let device = ocfs2_device::open(&fixture(name), &DeviceOptions::default()).unwrap();
    let recorder = Arc::new(Recorder { inner: Arc::clone(&device), reads: Mutex::default() });
    let volume = Volume::open(Arc::clone(&recorder) as _, &VolumeOptions::default()).unwrap();
    let mut tally = Tally::default();
    let root = volume.root().unwrap();
    let block_size = volume.block_size();
    // Thousands of empty files are all alike.
    let is_plain = |inode: &Inode| {
        inode.kind() == Some(FileKind::Regular) && inode.size() == 0 && inode.dinode.i_clusters == 0
    };
    let paths: Vec<_> = volume
        .walk(&root)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| !is_plain(&entry.inode))
        .map(|entry| entry.path)
        .collect();
    // Inodes are also read in larger pieces.
    let taken = || -> Vec<_> {
        let reads = std::mem::take(&mut *recorder.reads.lock().unwrap());
        reads.into_iter().filter(|(_, len)| [block_size.size(), 4096].contains(len)).collect()
    };
    read_volume(&volume, &mut tally);
    let metadata = taken();
    let paths = paths.into_iter().map(|path| {
        let mut tally = Tally::default();
        read_path(&volume, &path, Data::Skip, &mut tally);
        assert!(tally.errors < 3, "{}", path.escape_ascii());
        PathOf { path, metadata: taken(), errors: tally.errors }
    });
    let paths = paths.collect();
    assert_eq!(tally.errors, 0);
    let mut superblock = volume.found_superblock().block.clone();
    superblock[0xe1] &= !0x08;
    Sound { device, block_size, superblock, metadata, paths }
}

fn case(sound: &Sound, number: u64, tally: &mut Tally) {
    let mut random = Random(number);
    let overlay = OverlayDevice::new(Arc::clone(&sound.device), sound.block_size.bytes());
    let overlay = Arc::new(overlay);
    // With block checks most damage is found before the structure is parsed.
    if random.below(10) > 0 {
        overlay.write_at(&sound.superblock, sound.superblock_place().0).unwrap();
    }
    let PathOf { path, metadata, errors } = random.of(&sound.paths);
    let whole = random.below(20) == 0;
    let places = if whole { &sound.metadata } else { metadata };
    for _ in 0..=random.below(3) {
        let place = *random.of(places);
        damage(&mut random, &overlay, sound, place);
    }
    if random.below(20) == 0 {
        damage(&mut random, &overlay, sound, sound.superblock_place());
    }
    match Volume::open(overlay, &VolumeOptions::default()) {
        Err(err) => {
            assert!(!err.to_string().is_empty());
            tally.errors += 1;
        }
        Ok(volume) if whole => read_volume(&volume, tally),
        Ok(volume) => {
            read_path(&volume, path, Data::Read, tally);
            tally.errors = tally.errors.saturating_sub(*errors);
        }
    }
}

/// Returns the peak memory of this process, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn damage_of_any_kind_is_survived() {
    let cases = std::env::var("OCFS2_SURVIVAL_CASES").map_or(4000, |text| text.parse().unwrap());
    // Small blocks make deep trees; the other volume has discontiguous groups and refcount trees.
    for name in ["clean-512-local", "clean-4k-o2cb"] {
        run(name, cases);
    }
}

fn run(name: &str, cases: u64) {
    let sound = Arc::new(sound(name));
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let (done, results) = mpsc::channel();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..threads {
        let (sound, next, done) = (Arc::clone(&sound), Arc::clone(&next), done.clone());
        thread::spawn(move || {
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= cases {
                    break;
                }
                let begin = Instant::now();
                let mut tally = Tally::default();
                case(&sound, number, &mut tally);
                done.send((number, tally, begin.elapsed())).unwrap();
            }
        });
    }
    drop(done);
    let mut missing: BTreeSet<u64> = (0..cases).collect();
    let (mut good, mut errors, mut touched) = (0, 0, 0);
    let mut slowest = (Duration::ZERO, 0);
    while !missing.is_empty() {
        let Ok((number, tally, time)) = results.recv_timeout(Duration::from_secs(60)) else {
            let first = missing.iter().take(threads).collect::<Vec<_>>();
            panic!("a case panicked or does not end; the first of those not done: {first:?}");
        };
        missing.remove(&number);
        good += tally.good;
        errors += tally.errors;
        touched += u64::from(tally.errors > 0);
        slowest = slowest.max((time, number));
    }
    let memory = peak_memory();
    eprintln!(
        "{name}: {cases} cases in {:.1?}: {good} reads were good and {errors} found errors, in {touched} \
         cases; the slowest, {}, took {:.1?}; {} pieces of metadata, {} paths; at most {memory:?} \
         KiB of memory",
        start.elapsed(),
        slowest.1,
        slowest.0,
        sound.metadata.len(),
        sound.paths.len(),
    );
    assert!(touched > cases / 12, "damage is not noticed");
    assert!(memory.is_none_or(|kib| kib < 256 << 10), "{memory:?} KiB of memory were taken");
}
