//! Our reader on volumes that the Linux kernel wrote, compared with the kernel's manifests of them.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ocfs2_device::{self, Device, DeviceOptions, OverlayDevice};
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::hash::{CharSign, dx_hash};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_testing::fixture;
use ocfs2_tests::{assert_as_manifest, sha256, walk};
use ocfs2_volume::allocator::Allocator;
use ocfs2_volume::usage::{Heartbeat, Region};
use ocfs2_volume::{Correction, SystemFile, Volume, VolumeOptions};

fn open(name: &str) -> Volume {
    let device = ocfs2_device::open(&fixture(name), &DeviceOptions::default()).unwrap();
    Volume::open(device, &VolumeOptions::default()).unwrap()
}

fn compare_with_manifest(name: &str) {
    let compared = assert_as_manifest(&open(name), name);
    if name != "clean-1m-global" {
        assert!(compared.iter().all(|count| *count > 0), "{name}: {compared:?}");
    }
}

#[test]
fn clean_1k_local_reads_as_the_kernel_reads_it() {
    compare_with_manifest("clean-1k-local");
}

#[test]
fn clean_512_local_reads_as_the_kernel_reads_it() {
    compare_with_manifest("clean-512-local");
}

#[test]
fn clean_2k_local_reads_as_the_kernel_reads_it() {
    compare_with_manifest("clean-2k-local");
}

#[test]
fn clean_4k_o2cb_reads_as_the_kernel_reads_it() {
    compare_with_manifest("clean-4k-o2cb");
}

#[test]
fn clean_1m_global_reads_as_the_kernel_reads_it() {
    compare_with_manifest("clean-1m-global");
}

#[test]
fn clean_1k_linux7_local_reads_as_the_kernel_reads_it() {
    compare_with_manifest("clean-1k-linux7-local");
}

/// Reads everything that can be read. Returns the number of inodes and of bytes.
fn read_everything(volume: &Volume) -> (usize, u64) {
    let (mut inodes, mut bytes) = (0, 0);
    for start in [volume.root(), volume.system_dir()] {
        for entry in volume.walk(&start.unwrap()).unwrap() {
            let inode = entry.unwrap_or_else(|err| panic!("{err}")).inode;
            inodes += 1;
            for xattr in volume.xattrs(&inode) {
                bytes += volume.xattr_value(&xattr.unwrap()).unwrap().len() as u64;
            }
            if inode.kind() == Some(FileKind::Symlink) {
                bytes += volume.symlink_target(&inode).unwrap().len() as u64;
            }
            let Ok(file) = volume.file(&inode) else { continue };
            let mut at = 0;
            let mut buf = vec![0; 1 << 20];
            while let Some(range) = file.next_data(at).unwrap() {
                let count = buf.len().min((range.end - range.start) as usize);
                at = range.start + file.read_at(&mut buf[..count], range.start).unwrap() as u64;
                bytes += count as u64;
            }
        }
    }
    (inodes, bytes)
}

#[test]
fn crashed_volumes_can_be_read_as_far_as_there_is_no_replay() {
    // The manifests describe the recovered volumes, so nothing is compared here.
    for (name, dirty_slots) in [
        ("crashed-4k-o2cb", vec![0, 1]),
        ("crashed-512-local", vec![0]),
        ("crashed-4k-linux7-local", vec![0]),
    ] {
        let volume = open(name);
        let dirty = |slot: &u16| volume.journal(*slot).unwrap().is_dirty();
        let slots: Vec<_> = (0..volume.max_slots()).filter(dirty).collect();
        assert_eq!(slots, dirty_slots, "{name}");
        let (inodes, bytes) = read_everything(&volume);
        eprintln!("{name}: {inodes} inodes, {bytes} bytes");
        assert!(inodes > 100 && bytes > 100_000, "{name}");
    }
}

#[test]
fn slots_and_journals_say_who_did_not_unmount() {
    let region = Region { offset_bytes: 1_118_208, size_bytes: 1 << 20 };
    let rows = [
        ("clean-1k-local", vec![], vec![false; 2], Heartbeat::Local),
        ("clean-512-local", vec![], vec![false], Heartbeat::Local),
        ("clean-1m-global", vec![], vec![false; 4], Heartbeat::Global),
        ("clean-4k-o2cb", vec![], vec![false; 4], Heartbeat::OnVolume(region)),
        (
            "crashed-4k-o2cb",
            vec![(0, 0), (1, 1)],
            vec![true, true, false, false],
            Heartbeat::OnVolume(region),
        ),
        ("crashed-512-local", vec![(0, 0)], vec![true], Heartbeat::Local),
        ("clean-1k-linux7-local", vec![], vec![false; 2], Heartbeat::Local),
        ("crashed-4k-linux7-local", vec![(0, 0)], vec![true], Heartbeat::Local),
    ];
    for (name, taken, dirty, heartbeat) in rows {
        let volume = open(name);
        let places = volume.places().unwrap();
        let slots: Vec<_> = places.taken.iter().map(|taken| (taken.slot, taken.node)).collect();
        assert_eq!(slots, taken, "{name}");
        assert_eq!(places.heartbeat, heartbeat, "{name}");
        let slots = 0..volume.max_slots();
        let journals: Vec<_> = slots.map(|slot| volume.journal(slot).unwrap()).collect();
        assert_eq!(journals.iter().map(|j| j.is_dirty()).collect::<Vec<_>>(), dirty, "{name}");
        assert!(journals.iter().all(|j| j.superblock.s_maxlen > 0), "{name}");
    }
}

/// Demands that the sums of an allocator agree with each other. Returns the number of its
/// discontiguous groups.
fn check_sums(volume: &Volume, name: &str, allocator: &Allocator) -> usize {
    let (mut free, mut total, mut in_pieces) = (BTreeMap::new(), BTreeMap::new(), 0);
    for group in volume.groups(allocator) {
        let group = group.unwrap_or_else(|err| panic!("{name}: {err}"));
        assert_eq!(group.free_bits(), u32::from(group.desc.bg_free_bits_count), "{name}");
        *free.entry(group.chain).or_insert(0) += group.free_bits();
        *total.entry(group.chain).or_insert(0) += u32::from(group.desc.bg_bits);
        in_pieces += usize::from(group.is_discontiguous());
        for bit in 0..u32::from(group.desc.bg_bits) {
            if let Some(blkno) = group.block_of_bit(bit) {
                assert_eq!(group.bit_of_block(blkno), Some(bit), "{name}");
            }
        }
    }
    for (index, chain) in (0..).zip(&allocator.chains) {
        // Since Linux 7 a chain may have lost its only group.
        let sum = |of: &BTreeMap<_, _>| of.get(&index).copied().unwrap_or(0);
        assert_eq!(sum(&free), chain.c_free, "{name}: chain {index}");
        assert_eq!(sum(&total), chain.c_total, "{name}: chain {index}");
    }
    let (used, all) = allocator.inode.dinode.bitmap();
    assert_eq!(all, total.values().sum::<u32>(), "{name}");
    assert_eq!(used, all - free.values().sum::<u32>(), "{name}");
    in_pieces
}

#[test]
fn allocators_agree_with_themselves_and_with_the_folders() {
    for (name, in_pieces) in [
        ("clean-1k-local", 0),
        ("clean-512-local", 0),
        ("clean-4k-o2cb", 2),
        ("clean-1m-global", 0),
        ("clean-1k-linux7-local", 0),
    ] {
        let volume = open(name);
        let bitmap = volume.global_bitmap().unwrap();
        check_sums(&volume, name, &bitmap);
        assert_eq!(bitmap.inode.dinode.bitmap().1, volume.geometry().clusters, "{name}");
        let mut clusters = BTreeSet::new();
        for group in volume.groups(&bitmap) {
            let group = group.unwrap();
            let bits = 0..u32::from(group.desc.bg_bits);
            clusters.extend(bits.map(|bit| volume.cluster_of_bit(&group, bit).unwrap().0));
        }
        assert!(clusters.into_iter().eq(0..volume.geometry().clusters), "{name}");
        let mut found_in_pieces = 0;
        for slot in 0..volume.max_slots() {
            for file in [SystemFile::InodeAlloc(slot), SystemFile::ExtentAlloc(slot)] {
                let allocator = volume.allocator(volume.system_file(file).unwrap()).unwrap();
                found_in_pieces += check_sums(&volume, name, &allocator);
            }
        }
        assert_eq!(found_in_pieces > 0, in_pieces > 0, "{name}: {found_in_pieces} groups");

        // Every allocated inode has a name, and every name has an allocated inode.
        let mut named: BTreeSet<Blkno> = walk(&volume).values().map(|inode| inode.blkno).collect();
        let system = volume.system_dir().unwrap();
        named.insert(system.blkno);
        named.extend(volume.walk(&system).unwrap().map(|entry| entry.unwrap().inode.blkno));
        let handed_out: BTreeSet<Blkno> = volume
            .inodes()
            .map(|inode| inode.unwrap_or_else(|err| panic!("{err}")).blkno)
            .collect();
        assert_eq!(handed_out, named, "{name}");
        let system = volume
            .inodes()
            .filter(|inode| inode.as_ref().unwrap().dinode.flags().contains(InodeFlags::SYSTEM));
        assert!(system.count() > 10, "{name}");
    }
}

/// Returns a fixture whose changes are kept in memory.
fn changed(name: &str) -> Arc<OverlayDevice<Arc<dyn Device>>> {
    let device = ocfs2_device::open(&fixture(name), &DeviceOptions::default()).unwrap();
    Arc::new(OverlayDevice::new(device, 512))
}

fn flip(device: &dyn Device, offset: u64, bit: u8) {
    let mut byte = [0];
    device.read_at(&mut byte, offset).unwrap();
    device.write_at(&[byte[0] ^ 1 << bit], offset).unwrap();
}

#[test]
fn block_checks_correct_one_wrong_bit_and_refuse_more() {
    let sound = open("clean-1k-local");
    for (path, what) in [("sizes/bytes-100", "dinode"), ("dirs/large", "directory block")] {
        let inode = sound.resolve(path.as_bytes()).unwrap();
        let blkno = match what {
            "dinode" => inode.blkno,
            _ => sound.dir_blocks(&inode).unwrap().next().unwrap().unwrap().blkno,
        };
        let offset = blkno.offset_bytes(sound.block_size()).unwrap();
        let device = changed("clean-1k-local");
        flip(&device, offset + 0xd0, 4);
        let read = |device: &Arc<OverlayDevice<_>>| {
            let volume = Volume::open(Arc::clone(device) as _, &VolumeOptions::default()).unwrap();
            let inode = volume.inode(inode.blkno);
            let found = inode.and_then(|inode| match inode.is_dir() {
                true => volume.entries(&inode)?.map(|entry| Ok(entry?.name)).collect(),
                false => Ok(vec![sha256(&volume, &inode).into_bytes()]),
            });
            (found, volume.corrections())
        };
        let (found, (corrections, count)) = read(&device);
        let names: Vec<_> = match inode.is_dir() {
            true => sound.entries(&inode).unwrap().map(|entry| entry.unwrap().name).collect(),
            false => vec![sha256(&sound, &inode).into_bytes()],
        };
        assert_eq!(found.unwrap(), names, "{path}");
        assert_eq!(count, 1, "{path}");
        let expected = Correction { structure: corrections[0].structure, blkno, bit: 0xd0 * 8 + 4 };
        assert_eq!((corrections[0], corrections[0].structure), (expected, what));

        flip(&device, offset + 0xd8, 0);
        let (found, corrections) = read(&device);
        let err = found.unwrap_err();
        assert!(err.is_damage(), "{err}");
        assert!(err.to_string().starts_with(&format!("{what} {blkno}: checksum is 0x")), "{err}");
        assert_eq!(corrections.1, 0);
    }
}

#[test]
fn a_name_that_a_later_kernel_hashed_is_found_too() {
    let name = "grüße-日本語".as_bytes();
    let device = changed("clean-512-local");
    let volume = Volume::open(Arc::clone(&device) as _, &VolumeOptions::default()).unwrap();
    let dir = volume.resolve(b"names").unwrap();
    let entry = volume.lookup(&dir, name).unwrap().unwrap();
    let hashes = CharSign::ALL.map(|sign| dx_hash(name, volume.superblock().s_dx_seed, sign));
    let words = hashes.map(|hash| [hash.major.to_le_bytes(), hash.minor.to_le_bytes()].concat());
    let [signed, unsigned] = &words;
    assert_ne!(signed, unsigned);

    // As if a later kernel had made the entry.
    let root = dir.dinode.i_dx_root;
    let mut block = volume.read_block(root).unwrap();
    assert!(DxRoot::decode(&block).unwrap().is_inline());
    let at = block.windows(8).position(|bytes| bytes == signed).unwrap();
    block[at..at + 8].copy_from_slice(unsigned);
    DxRoot::stamp(&mut block);
    device.write_at(&block, root.offset_bytes(volume.block_size()).unwrap()).unwrap();
    assert_eq!(volume.lookup(&dir, name).unwrap(), Some(entry));
}

#[test]
fn a_chain_that_runs_in_circles_is_left() {
    let device = changed("clean-4k-o2cb");
    let volume = Volume::open(Arc::clone(&device) as _, &VolumeOptions::default()).unwrap();
    let allocator =
        volume.allocator(volume.system_file(SystemFile::InodeAlloc(1)).unwrap()).unwrap();
    let groups: Vec<_> = volume.groups(&allocator).map(Result::unwrap).collect();
    let last = groups.iter().rfind(|group| group.desc.bg_next_group.is_none()).unwrap();
    let mut block = last.block().to_vec();
    let desc = GroupDesc { bg_next_group: last.blkno, ..last.desc.clone() };
    desc.encode(&mut block).unwrap();
    GroupDesc::stamp(&mut block);
    device.write_at(&block, last.blkno.offset_bytes(volume.block_size()).unwrap()).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = volume.groups(&allocator).partition(Result::is_ok);
    assert_eq!(good.len(), groups.len());
    let told: Vec<_> = bad.into_iter().map(|bad| bad.unwrap_err().to_string()).collect();
    assert_eq!(told, [format!("group descriptor {}: reached a second time", last.blkno)]);
    // All inodes are found nevertheless.
    let (good, bad): (Vec<_>, Vec<_>) = volume.inodes().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (open("clean-4k-o2cb").inodes().count(), 1));
}

#[test]
fn a_file_of_five_gigabytes_without_a_cluster_is_zeros_to_its_end() {
    let volume = open("clean-512-local");
    let inode = volume.resolve(b"/sparse/only-a-hole").unwrap();
    let mut file = volume.file(&inode).unwrap();
    assert_eq!(file.next_data(0).unwrap(), None);
    let mut buf = [1; 1000];
    assert_eq!(file.read_at(&mut buf, 4_999_999_500).unwrap(), 500);
    assert_eq!(buf[..500], [0; 500]);
    assert_eq!(buf[500..], [1; 500]);
    assert_eq!(std::io::copy(&mut file, &mut std::io::sink()).unwrap(), 5_000_000_000);
}

#[test]
fn paths_are_followed_through_links_only_when_asked() {
    let volume = open("clean-1k-local");
    let link = volume.resolve(b"/special/to-file").unwrap();
    assert_eq!(link.kind(), Some(FileKind::Symlink));
    let file = volume.resolve_following(b"special/../special/to-file").unwrap();
    assert_eq!(file.blkno, volume.resolve(b"/names/linked").unwrap().blkno);
    assert_eq!(volume.resolve(b"/").unwrap().blkno, volume.superblock().s_root_blkno);
    let err = volume.resolve(b"/special/none").unwrap_err();
    assert_eq!(err.to_string(), "none: no such file or directory");
    let err = volume.resolve(b"/special/to-file/x").unwrap_err();
    assert_eq!(err.to_string(), format!("inode {}: is not a directory", link.blkno));
}

/// Returns the blocks that the extent allocators of a volume have allocated.
fn given_out(volume: &Volume) -> BTreeSet<Blkno> {
    let mut blocks = BTreeSet::new();
    for slot in 0..volume.max_slots() {
        let allocator =
            volume.allocator(volume.system_file(SystemFile::ExtentAlloc(slot)).unwrap()).unwrap();
        for group in volume.groups(&allocator) {
            let group = group.unwrap();
            let used =
                (1..u32::from(group.desc.bg_bits)).filter(|bit| group.bitmap().get(*bit as usize));
            blocks.extend(used.map(|bit| group.block_of_bit(bit).unwrap()));
        }
    }
    blocks
}

#[test]
fn all_metadata_is_what_the_kernel_has_allocated_for_it() {
    use ocfs2_volume::metadata::MetadataKind as Kind;
    let mut seen = BTreeSet::new();
    let names = ["1k-local", "512-local", "2k-local", "4k-o2cb", "1m-global", "1k-linux7-local"];
    for name in names.map(|name| format!("clean-{name}")) {
        let volume = open(&name);
        let runs: Vec<_> = volume.metadata().map(Result::unwrap).collect();
        let of = |kinds: &[Kind]| -> BTreeSet<Blkno> {
            runs.iter().filter(|run| kinds.contains(&run.kind)).map(|run| run.blkno).collect()
        };
        let blocks = [Kind::ExtentBlock, Kind::DxRoot, Kind::XattrBlock, Kind::RefcountBlock];
        assert_eq!(of(&blocks), given_out(&volume), "{name}");
        let inodes = volume.inodes().map(|inode| inode.unwrap().blkno).collect();
        assert_eq!(of(&[Kind::Dinode]), inodes, "{name}");
        // Metadata that no allocator covers has a valid check, and belongs to nothing else.
        let mut taken = BTreeSet::new();
        for run in &runs {
            let mut bytes = volume.read_blocks(run.blkno, run.blocks as u32).unwrap();
            if let Some(offset) = run.check_offset.filter(|_| run.kind != Kind::Quota) {
                volume.verify_check("metadata", run.blkno, &mut bytes, offset).unwrap();
            }
            let new = (0..run.blocks).all(|n| taken.insert(run.blkno.0 + n));
            assert!(new, "{name}: {run:?} is there twice");
            seen.insert(run.kind);
        }
    }
    let missing = [Kind::Quota, Kind::XattrBucket, Kind::DxLeaf, Kind::Journal, Kind::SystemFile];
    assert!(missing.iter().all(|kind| seen.contains(kind)), "{seen:?}");
}

#[test]
fn a_directory_is_read_on_from_any_entry() {
    let mut read_on = 0;
    for name in ["clean-1k-local", "clean-4k-o2cb", "clean-512-local"] {
        let volume = open(name);
        let root = volume.root().unwrap();
        let all = volume.walk(&root).unwrap().map(|entry| entry.unwrap().inode);
        for dir in all.chain([root.clone()]).filter(|inode| inode.is_dir()) {
            let mut entries = volume.entries(&dir).unwrap();
            let mut positions = vec![entries.position()];
            let mut names = Vec::new();
            while let Some(entry) = entries.next() {
                names.push(entry.unwrap().name);
                positions.push(entries.position());
            }
            assert!(positions.is_sorted() && positions[0] == 0, "{name}: {positions:?}");
            for (given, position) in positions.iter().enumerate().step_by(1 + names.len() / 100) {
                let rest = volume.entries_from(&dir, *position).unwrap();
                let rest: Vec<_> = rest.map(|entry| entry.unwrap().name).collect();
                assert_eq!(rest, names[given..], "{name}: {} at {position}", dir.blkno);
                read_on += 1;
            }
            assert_eq!(volume.entries_from(&dir, u64::MAX).unwrap().count(), 0);
        }
    }
    assert!(read_on > 300, "{read_on}");
}

#[test]
fn a_file_is_read_by_several_at_once() {
    let volume = open("clean-1k-local");
    let inode = volume.resolve(b"/extents/tree").unwrap();
    let file = volume.file(&inode).unwrap();
    let piece = |offset: u64| {
        let mut bytes = vec![0; 64 << 10];
        let count = file.read_at(&mut bytes, offset).unwrap();
        bytes.truncate(count);
        bytes
    };
    let offsets: Vec<u64> = (0..inode.size()).step_by(64 << 10).collect();
    let one = offsets.iter().flat_map(|offset| piece(*offset)).collect::<Vec<_>>();
    assert_eq!(one.len() as u64, inode.size());
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| {
            let offsets = offsets.iter().skip(first).step_by(2);
            scope.spawn(move || offsets.map(|offset| piece(*offset)).collect::<Vec<_>>())
        });
        let [even, odd] = halves.map(|half| half.join().unwrap());
        let other = (0..offsets.len()).flat_map(|index| match index % 2 {
            0 => even[index / 2].clone(),
            _ => odd[index / 2].clone(),
        });
        assert!(other.eq(one.iter().copied()));
    });
}

#[test]
fn room_is_what_the_groups_of_the_bitmap_have() {
    for name in ["clean-1k-local", "clean-4k-o2cb", "clean-512-local", "clean-1m-global"] {
        let volume = open(name);
        let bitmap = volume.global_bitmap().unwrap();
        let free: u32 = volume.groups(&bitmap).map(|group| group.unwrap().free_bits()).sum();
        let room = volume.statfs().unwrap();
        assert_eq!(room.clusters, volume.geometry().clusters, "{name}");
        assert_eq!(room.free_clusters, free, "{name}");
        assert_eq!(room.cluster_size, volume.geometry().cluster_size, "{name}");
    }
}
