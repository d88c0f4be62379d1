//! What the kernel read on a volume of the folder `fixtures`: the manifest of the volume.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::{Run, Scratch};

/// A path from the root of the volume, without `./` in front; empty for the root.
pub type VolumePath = Vec<u8>;

/// The manifest of a fixture.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// All files.
    pub files: BTreeMap<VolumePath, Listed>,
    /// SHA-256 of regular files smaller than 200 MB, in hexadecimal.
    pub sha256: BTreeMap<VolumePath, String>,
    /// Targets of symbolic links.
    pub links: BTreeMap<VolumePath, Vec<u8>>,
    /// Extended attributes by name, without those of folders with many files.
    pub xattrs: BTreeMap<VolumePath, BTreeMap<String, Vec<u8>>>,
    /// Extents of some files.
    pub extents: BTreeMap<VolumePath, Vec<ListedExtent>>,
    /// Flags of some files, as the letters of `lsattr`.
    pub flags: BTreeMap<VolumePath, String>,
    /// What users and then groups use, by id, in KiB and inodes; only those who use anything.
    pub quota: [BTreeMap<u32, (u64, u64)>; 2],
}

/// A line of the list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Type as `stat` prints it, e.g. `regular empty file`.
    pub kind: String,
    /// Permissions, without the type.
    pub mode: u16,
    /// Id of the owner.
    pub uid: u32,
    /// Id of the group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u32,
    /// Size in bytes; `None` for a folder.
    pub size: Option<u64>,
    /// Time of modification: seconds since 1970 with nine decimals.
    pub mtime: String,
    /// Major and minor number; 0 except for device nodes.
    pub device: (u32, u32),
}

/// An extent as `filefrag` prints it. The units are blocks, for inline data bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedExtent {
    /// Position in the file.
    pub logical: u64,
    /// Position on the volume.
    pub physical: u64,
    /// Length.
    pub length: u64,
    /// Whether it is allocated but reads as zeros.
    pub unwritten: bool,
    /// Whether files share it.
    pub shared: bool,
    /// Whether the data is in the inode.
    pub inline: bool,
}

/// Returns the manifest of the fixture of that name.
///
/// # Panics
/// If there is none, or it cannot be parsed.
pub fn manifest(name: &str) -> Manifest {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let packed = root.join("fixtures").join(format!("{name}.manifest.tar.xz"));
    let scratch = Scratch::new();
    let arguments = ["--extract", "--xz", "--file"].map(OsStr::new);
    Run::new("tar").args(arguments).arg(packed).arg("--directory").arg(scratch.path()).success();
    manifest_at(scratch.path(), name)
}

/// Returns the manifest in the files `NAME.list` and so on of a folder; what there is no file of is
/// empty.
///
/// # Panics
/// If it cannot be parsed.
pub fn manifest_at(folder: &Path, name: &str) -> Manifest {
    let read = |kind: &str| {
        let path = folder.join(format!("{name}.{kind}"));
        if path.exists() { fs::read(path).unwrap() } else { Vec::new() }
    };
    let manifest = Manifest {
        files: lines(&read("list")).map(listed).collect(),
        sha256: lines(&read("sha256")).map(sha256).collect(),
        links: lines(&read("links")).map(link).collect(),
        xattrs: xattrs(&read("xattrs")),
        extents: extents(&read("extents")),
        flags: lines(&read("flags")).map(flags).collect(),
        quota: quota(&read("quota")),
    };
    assert!(!manifest.files.is_empty() && !manifest.sha256.is_empty(), "{name} is empty");
    manifest
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{}: no text", bytes.escape_ascii()))
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

fn volume_path(path: &[u8]) -> VolumePath {
    path.strip_prefix(b"./").unwrap_or(if path == b"." { b"" } else { path }).to_vec()
}

fn listed(line: &[u8]) -> (VolumePath, Listed) {
    let fields: Vec<&[u8]> = line.splitn(9, |byte| *byte == b'|').collect();
    let [kind, mode, uid, gid, links, size, mtime, device, path] = fields[..] else {
        panic!("{}: not a line of a list", line.escape_ascii());
    };
    let small = |bytes: &[u8]| u32::try_from(number(text(bytes))).unwrap();
    let (major, minor) = text(device).split_once(':').unwrap();
    let hex = |digits: &str| u32::from_str_radix(digits, 16).unwrap();
    let listed = Listed {
        kind: text(kind).to_owned(),
        mode: u16::from_str_radix(text(mode), 8).unwrap(),
        uid: small(uid),
        gid: small(gid),
        links: small(links),
        size: (size != b"-").then(|| number(text(size))),
        mtime: text(mtime).to_owned(),
        device: (hex(major), hex(minor)),
    };
    (volume_path(path), listed)
}

/// Parses two reports of `repquota -n`.
fn quota(report: &[u8]) -> [BTreeMap<u32, (u64, u64)>; 2] {
    let mut usage = [BTreeMap::new(), BTreeMap::new()];
    let mut of = 0;
    for line in lines(report).map(text) {
        of = if line.contains("group quotas") { 1 } else { of };
        let Some(line) = line.strip_prefix('#') else { continue };
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The grace period, after the limits, is always stated.
        let (kib, inodes) = (number(fields[2]), number(fields[6]));
        if (kib, inodes) != (0, 0) {
            usage[of].insert(u32::try_from(number(fields[0])).unwrap(), (kib, inodes));
        }
    }
    usage
}

fn sha256(line: &[u8]) -> (VolumePath, String) {
    // A backslash before the digest means that the name is quoted with backslashes.
    let (quoted, line) = line.strip_prefix(b"\\").map_or((false, line), |rest| (true, rest));
    let (digest, path) = (&line[..64], &line[66..]);
    let mut name = Vec::new();
    let mut rest = path.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' if quoted => name.push(match rest.next() {
                Some(b'n') => b'\n',
                Some(b'\\') => b'\\',
                other => panic!("unknown quoting {other:?}"),
            }),
            byte => name.push(*byte),
        }
    }
    (volume_path(&name), text(digest).to_owned())
}

fn link(line: &[u8]) -> (VolumePath, Vec<u8>) {
    let (path, target) = text(line).split_once(" -> ").unwrap();
    let unquoted = |quoted: &str| {
        let inner = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        let inner = inner.unwrap_or_else(|| panic!("{quoted} is not quoted as expected"));
        assert!(!inner.contains('\''), "{quoted}: more than one piece");
        inner.as_bytes().to_vec()
    };
    (volume_path(&unquoted(path)), unquoted(target))
}

fn xattrs(dump: &[u8]) -> BTreeMap<VolumePath, BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut path = Vec::new();
    for line in lines(dump) {
        if let Some(name) = line.strip_prefix(b"# file: ") {
            assert!(!name.contains(&b'\\'), "{}: quoted name", name.escape_ascii());
            path = volume_path(name);
            continue;
        }
        let (name, value) = text(line).split_once("=0x").unwrap_or_else(|| panic!("{line:?}"));
        let byte = |pair: &[u8]| u8::from_str_radix(text(pair), 16).unwrap();
        let value = value.as_bytes().chunks(2).map(byte).collect();
        let of_file: &mut BTreeMap<_, _> = all.entry(path.clone()).or_default();
        of_file.insert(name.to_owned(), value);
    }
    all
}

fn extents(text_of_filefrag: &[u8]) -> BTreeMap<VolumePath, Vec<ListedExtent>> {
    let mut all = BTreeMap::new();
    let mut path = Vec::new();
    for line in lines(text_of_filefrag).map(text) {
        if let Some(rest) = line.strip_prefix("File size of ") {
            let (name, _) = rest.rsplit_once(" is ").unwrap();
            path = volume_path(name.as_bytes());
            all.insert(path.clone(), Vec::new());
            continue;
        }
        let fields: Vec<&str> = line.split(':').collect();
        let [index, logical, physical, length, rest @ ..] = &fields[..] else { continue };
        if index.trim().parse::<u32>().is_err() {
            continue;
        }
        let start = |range: &str| number(range.split_once("..").unwrap().0);
        let flags = rest.last().unwrap();
        let extent = ListedExtent {
            logical: start(logical),
            physical: start(physical),
            length: number(length),
            unwritten: flags.contains("unwritten"),
            shared: flags.contains("shared"),
            inline: flags.contains("inline"),
        };
        all.get_mut(&path).unwrap().push(extent);
    }
    all
}

fn flags(line: &[u8]) -> (VolumePath, String) {
    let (letters, path) = text(line).split_once(' ').unwrap();
    (volume_path(path.as_bytes()), letters.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_understood_in_all_its_parts() {
        let manifest = manifest("clean-1k-local");
        assert_eq!(manifest.files.len(), 5165);
        assert_eq!(manifest.files[&b""[..]].links, 14);
        assert_eq!(manifest.files[&b"names/back\\slash"[..]].size, Some(2));
        assert_eq!(manifest.sha256.len(), 5122);
        assert!(manifest.sha256.contains_key(&b"names/back\\slash"[..]));
        assert_eq!(manifest.links[&b"special/fast"[..]], b"short");
        assert_eq!(manifest.extents[&b"sparse/only-a-hole"[..]], []);
        let extents = &manifest.extents[&b"sparse/beyond-eof"[..]];
        assert_eq!((extents.len(), extents[1].logical, extents[1].physical), (2, 16, 129_552));
        assert!(extents[1].unwritten && !extents[1].shared && !extents[1].inline);
        assert_eq!(manifest.flags[&b"meta/append"[..]].trim_matches('-'), "a");
        assert_eq!(manifest.xattrs.len(), 10);
    }
}
