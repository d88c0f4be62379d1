//! Comparison of a volume with the manifest of what the kernel read in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Read;

use ocfs2_format::dinode::FileKind;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::inline::InlineData;
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_testing::{ListedExtent, VolumePath, manifest};
use ocfs2_volume::{Inode, Timestamp, Volume};
use sha2::{Digest, Sha256};

/// Returns every path of a volume, including the root as the empty path.
///
/// # Panics
/// If anything cannot be read.
pub fn walk(volume: &Volume) -> BTreeMap<VolumePath, Inode> {
    let root = volume.root().unwrap();
    let found = volume.walk(&root).unwrap().map(|entry| {
        let entry = entry.unwrap_or_else(|err| panic!("{err}"));
        (entry.path, entry.inode)
    });
    let mut all: BTreeMap<_, _> = found.collect();
    all.insert(Vec::new(), root);
    all
}

/// Returns the type as `stat` prints it.
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

/// Formats a time as `stat` prints it: the nanoseconds of a time before 1970 count towards zero.
fn decimal(time: Timestamp) -> String {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (nanos.abs() / 1_000_000_000, nanos.abs() % 1_000_000_000);
    format!("{sign}{seconds}.{nanos:09}")
}

/// Returns the SHA-256 of the contents of a file, in hexadecimal.
///
/// # Panics
/// If they cannot be read.
pub fn sha256(volume: &Volume, inode: &Inode) -> String {
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

/// Returns the attributes as the kernel returns them to programs: access control lists begin with
/// their version.
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

/// Returns the extents as `filefrag` prints them.
fn extents(volume: &Volume, inode: &Inode) -> Vec<ListedExtent> {
    if inode.is_inline() {
        let block = inode.blkno.offset_bytes(volume.block_size()).unwrap();
        // An inode made by reflink states less room than it has.
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

/// Returns the paths, which are compared before the files themselves.
fn paths<T>(map: &BTreeMap<VolumePath, T>) -> BTreeSet<String> {
    map.keys().map(|path| path.escape_ascii().to_string()).collect()
}

/// Joins extents that continue each other in the file, wherever they are on the volume.
fn joined(extents: &[ListedExtent]) -> Vec<ListedExtent> {
    let mut joined: Vec<ListedExtent> = Vec::new();
    for extent in extents {
        let next = ListedExtent { physical: 0, ..extent.clone() };
        match joined.last_mut() {
            Some(last)
                if last.logical + last.length == next.logical
                    && (last.unwritten, last.shared, last.inline)
                        == (next.unwritten, next.shared, next.inline) =>
            {
                last.length += next.length;
            }
            _ => joined.push(next),
        }
    }
    joined
}

/// As [`assert_as_manifest`], for a volume on which things have moved.
///
/// # Panics
/// If anything but a place differs.
pub fn assert_as_manifest_elsewhere(volume: &Volume, name: &str) {
    compare(volume, name, joined);
}

/// Demands that everything in the kernel's manifest of a fixture is true of a volume. Returns how
/// much was compared: names found by an index, symbolic links, attributes, bytes of their values,
/// files with flags.
///
/// # Panics
/// If anything differs.
pub fn assert_as_manifest(volume: &Volume, name: &str) -> [usize; 5] {
    compare(volume, name, <[ListedExtent]>::to_vec)
}

fn compare(
    volume: &Volume,
    name: &str,
    shown: fn(&[ListedExtent]) -> Vec<ListedExtent>,
) -> [usize; 5] {
    let manifest = manifest(name);
    let found = walk(volume);
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

        // By the index, if the folder has one.
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
        assert_eq!(sha256(volume, &found[path]), *digest, "{name}: {}", path.escape_ascii());
        hashed += 1;
    }
    for (path, expected) in &manifest.xattrs {
        let found = xattrs(volume, &found[path]);
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
        assert!(!left_out || xattrs(volume, inode).is_empty(), "{}", path.escape_ascii());
    }
    let mut extent_count = 0;
    for (path, expected) in &manifest.extents {
        let found = shown(&extents(volume, &found[path]));
        assert_eq!(found, shown(expected), "{name}: {}", path.escape_ascii());
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
    [indexed, manifest.links.len(), xattr_count, value_bytes, flag_count]
}
