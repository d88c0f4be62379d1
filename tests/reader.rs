//! Our reader on volumes that the Linux kernel wrote: everything the kernel's manifest says
//! of them.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Read;
use std::sync::Arc;

use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::hash::{CharSign, dx_hash};
use ocfs2_format::inline::InlineData;
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_format::{Blkno, Structure, check};
use ocfs2_testing::{ListedExtent, VolumePath, fixture, manifest};
use ocfs2_volume::allocator::Allocator;
use ocfs2_volume::device::{self, DeviceOptions, OverlayDevice};
use ocfs2_volume::usage::{Heartbeat, Region};
use ocfs2_volume::{Correction, Device, Inode, Timestamp, Volume, VolumeOptions};
use sha2::{Digest, Sha256};

fn open(name: &str) -> Volume {
    let device = device::open(&fixture(name), &DeviceOptions::default()).unwrap();
    Volume::open(device, &VolumeOptions::default()).unwrap()
}

/// Every path of a volume, the root as the empty one.
fn walk(volume: &Volume) -> BTreeMap<VolumePath, Inode> {
    let root = volume.root().unwrap();
    let found = volume.walk(&root).unwrap().map(|entry| {
        let entry = entry.unwrap_or_else(|err| panic!("{err}"));
        (entry.path, entry.inode)
    });
    let mut all: BTreeMap<_, _> = found.collect();
    all.insert(Vec::new(), root);
    all
}

/// As `stat` prints it.
fn kind(inode: &Inode) -> &'static str {
    match inode.kind().unwrap() {
        FileKind::Fifo => "fifo",
        FileKind::CharDevice => "character special file",
        FileKind::Directory => "directory",
        FileKind::BlockDevice => "block special file",
        FileKind::Regular if inode.size() == 0 => "regular empty file",
        FileKind::Regular => "regular file",
        FileKind::Symlink => "symbolic link",
        FileKind::Socket => "socket",
    }
}

/// As `stat` prints it: the nanoseconds of a time before 1970 count towards zero.
fn decimal(time: Timestamp) -> String {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (nanos.abs() / 1_000_000_000, nanos.abs() % 1_000_000_000);
    format!("{sign}{seconds}.{nanos:09}")
}

fn sha256(volume: &Volume, inode: &Inode) -> String {
    let mut file = volume.file(inode).unwrap();
    let mut hasher = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        match file.read(&mut buf).unwrap() {
            0 => break,
            count => hasher.update(&buf[..count]),
        }
    }
    hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// As the kernel gives them to programs: access control lists with the version in front.
fn xattrs(volume: &Volume, inode: &Inode) -> BTreeMap<String, Vec<u8>> {
    let xattrs = volume.sorted_xattrs(inode).unwrap();
    let value = |xattr| volume.xattr_value(xattr).unwrap();
    let as_given = xattrs.iter().map(|xattr| {
        let name = String::from_utf8(xattr.name.clone()).unwrap();
        match xattr.prefix {
            XattrPrefix::PosixAclAccess | XattrPrefix::PosixAclDefault => {
                (name, [vec![2, 0, 0, 0], value(xattr)].concat())
            }
            _ => (name, value(xattr)),
        }
    });
    as_given.collect()
}

/// As `filefrag` prints them.
fn extents(volume: &Volume, inode: &Inode) -> Vec<ListedExtent> {
    if inode.is_inline() {
        let block = inode.blkno.offset_bytes(volume.block_size()).unwrap();
        // One made by reflink states less room than there is.
        let data = InlineData::data(inode.id2()).unwrap().len() as u64;
        return vec![ListedExtent {
            logical: 0,
            physical: block + 0xc8,
            length: data,
            unwritten: false,
            shared: false,
            inline: true,
        }];
    }
    let bits = volume.geometry().bpc_bits();
    let listed = volume.tree(inode).unwrap().extents().map(|extent| {
        let extent = extent.unwrap();
        ListedExtent {
            logical: u64::from(extent.cpos.0) << bits,
            physical: extent.blkno.0,
            length: u64::from(extent.clusters) << bits,
            unwritten: extent.is_unwritten(),
            shared: extent.flags.contains(ExtentFlags::REFCOUNTED),
            inline: false,
        }
    });
    listed.collect()
}

/// The keys, for comparing what is there before what it is.
fn paths<T>(map: &BTreeMap<VolumePath, T>) -> BTreeSet<String> {
    map.keys().map(|path| path.escape_ascii().to_string()).collect()
}

fn compare_with_manifest(name: &str) {
    let volume = open(name);
    let manifest = manifest(name);
    let found = walk(&volume);
    assert_eq!(paths(&found), paths(&manifest.files), "{name}");

    let (mut xattr_count, mut value_bytes, mut hashed) = (0, 0, 0);
    let (mut lookups, mut indexed) = (0, 0);
    for (path, listed) in &manifest.files {
        let inode = &found[path];
        let at = format!("{name}: {}", path.escape_ascii());
        assert_eq!(kind(inode), listed.kind, "{at}");
        assert_eq!(inode.dinode.i_mode & 0o7777, listed.mode, "{at}");
        assert_eq!(inode.dinode.i_uid, listed.uid, "{at}");
        assert_eq!(inode.dinode.i_gid, listed.gid, "{at}");
        assert_eq!(volume.links_count(inode), listed.links, "{at}");
        assert_eq!(decimal(inode.mtime()), listed.mtime, "{at}");
        if let Some(size) = listed.size {
            assert_eq!(inode.size(), size, "{at}");
        }
        let device = match inode.kind() {
            Some(FileKind::CharDevice | FileKind::BlockDevice) => inode.dinode.rdev(),
            _ => (0, 0),
        };
        assert_eq!(device, listed.device, "{at}");

        // Through the index, where the folder has one.
        if path.is_empty() {
            continue;
        }
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (dir, file) = (&path[..slash.unwrap_or(0)], &path[slash.map_or(0, |at| at + 1)..]);
        let entry = volume.lookup(&found[dir], file).unwrap().unwrap();
        assert_eq!(entry.inode, inode.blkno, "{at}");
        assert_eq!(entry.file_type.unwrap().kind(), inode.kind(), "{at}");
        assert!(volume.lookup(&found[dir], &[file, b"~"].concat()).unwrap().is_none(), "{at}");
        lookups += 1;
        indexed += usize::from(volume.is_indexed(&found[dir]));
    }
    assert_eq!(
        found.iter().filter(|(_, inode)| inode.kind() == Some(FileKind::Symlink)).count(),
        manifest.links.len(),
        "{name}"
    );
    for (path, target) in &manifest.links {
        let found = volume.symlink_target(&found[path]).unwrap();
        assert_eq!(found.escape_ascii().to_string(), target.escape_ascii().to_string());
    }
    for (path, digest) in &manifest.sha256 {
        assert_eq!(sha256(&volume, &found[path]), *digest, "{name}: {}", path.escape_ascii());
        hashed += 1;
    }
    for (path, expected) in &manifest.xattrs {
        let found = xattrs(&volume, &found[path]);
        let names: Vec<_> = found.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{}", path.escape_ascii());
        for (xattr, value) in expected {
            assert!(found[xattr] == *value, "{name}: {}: {xattr}", path.escape_ascii());
            value_bytes += value.len();
        }
        xattr_count += expected.len();
    }
    for (path, inode) in &found {
        let left_out = !manifest.xattrs.contains_key(path);
        assert!(!left_out || xattrs(&volume, inode).is_empty(), "{}", path.escape_ascii());
    }
    let mut extent_count = 0;
    for (path, expected) in &manifest.extents {
        assert_eq!(extents(&volume, &found[path]), *expected, "{name}: {}", path.escape_ascii());
        extent_count += expected.len();
    }
    let mut flag_count = 0;
    for (path, letters) in &manifest.flags {
        let attr = found[path].dinode.i_attr;
        let expected = [('i', 0x10), ('a', 0x20), ('A', 0x80)];
        for (letter, bit) in expected {
            assert_eq!(attr & bit != 0, letters.contains(letter), "{}", path.escape_ascii());
        }
        flag_count += 1;
    }
    assert_eq!(volume.corrections(), (vec![], 0), "{name}");
    eprintln!(
        "{name}: {} paths, {lookups} of them looked up, {indexed} by an index, {} links, {hashed} hashes, \
         {xattr_count} xattrs with {value_bytes} bytes, {extent_count} extents of {} files, \
         flags of {flag_count} files",
        found.len(),
        manifest.links.len(),
        manifest.extents.len(),
    );
    assert!(hashed > 0 && lookups > 0 && extent_count > 0, "{name}: nothing was compared");
    if name != "clean-1m-global" {
        let all = [indexed, manifest.links.len(), xattr_count, value_bytes, flag_count];
        assert!(all.iter().all(|count| *count > 0), "{name}: {all:?}");
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

/// What can be had of everything, without a panic; how much that was.
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
            let Ok(mut file) = volume.file(&inode) else { continue };
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
    // The manifests are of what the kernel made of them, so nothing is compared here.
    for (name, dirty_slots) in [("crashed-4k-o2cb", vec![0, 1]), ("crashed-512-local", vec![0])] {
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

/// The sums of an allocator agree with each other; returns its groups that are in pieces.
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
        assert_eq!(free.get(&index), Some(&chain.c_free), "{name}: chain {index}");
        assert_eq!(total.get(&index), Some(&chain.c_total), "{name}: chain {index}");
    }
    let (used, all) = allocator.inode.dinode.bitmap();
    assert_eq!(all, total.values().sum(), "{name}");
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
            for file in ["inode_alloc", "extent_alloc"] {
                let allocator = volume.allocator(volume.slot_file(file, slot).unwrap()).unwrap();
                found_in_pieces += check_sums(&volume, name, &allocator);
            }
        }
        assert_eq!(found_in_pieces > 0, in_pieces > 0, "{name}: {found_in_pieces} groups");

        // Every inode handed out has a name, and the other way round.
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

/// A fixture with changes that are kept in memory.
fn changed(name: &str) -> Arc<OverlayDevice<Arc<dyn Device>>> {
    let device = device::open(&fixture(name), &DeviceOptions::default()).unwrap();
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

    // As if the entry had been made by such a kernel.
    let root = dir.dinode.i_dx_root;
    let mut block = volume.read_block(root).unwrap();
    assert!(DxRoot::decode(&block).unwrap().is_inline());
    let at = block.windows(8).position(|bytes| bytes == signed).unwrap();
    block[at..at + 8].copy_from_slice(unsigned);
    check::stamp(&mut block, DxRoot::CHECK_OFFSET);
    device.write_at(&block, root.offset_bytes(volume.block_size()).unwrap()).unwrap();
    assert_eq!(volume.lookup(&dir, name).unwrap(), Some(entry));
}

#[test]
fn a_chain_that_runs_in_circles_is_left() {
    let device = changed("clean-4k-o2cb");
    let volume = Volume::open(Arc::clone(&device) as _, &VolumeOptions::default()).unwrap();
    let allocator = volume.allocator(volume.slot_file("inode_alloc", 1).unwrap()).unwrap();
    let groups: Vec<_> = volume.groups(&allocator).map(Result::unwrap).collect();
    let last = groups.iter().rfind(|group| group.desc.bg_next_group.is_none()).unwrap();
    let mut block = last.block().to_vec();
    let desc = GroupDesc { bg_next_group: last.blkno, ..last.desc.clone() };
    desc.encode(&mut block).unwrap();
    check::stamp(&mut block, GroupDesc::CHECK_OFFSET);
    device.write_at(&block, last.blkno.offset_bytes(volume.block_size()).unwrap()).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = volume.groups(&allocator).partition(Result::is_ok);
    assert_eq!(good.len(), groups.len());
    let told: Vec<_> = bad.into_iter().map(|bad| bad.unwrap_err().to_string()).collect();
    assert_eq!(told, [format!("group descriptor {}: reached a second time", last.blkno)]);
    // The inodes are found all the same.
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
