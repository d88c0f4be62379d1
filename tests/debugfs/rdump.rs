//! `rdump`: a tree copied into a folder or a tar archive has all that it had before `mkfs -d`.
//! GNU tar judges the archives.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ocfs2_testing::{Run, Scratch, fixture, fixture_copy, oracle, program};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, llistxattr, lsetxattr, mknodat};

/// Whether attributes, owners and devices can be given to files of a folder.
fn is_root(folder: &Path) -> bool {
    let is_root = folder.metadata().unwrap().uid() == 0;
    if !is_root {
        eprintln!("SKIPPED: owners, devices and trusted attributes: they take root");
    }
    is_root
}

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|err| panic!("{name} of {}: {err}", path.display()));
}

/// An access control list with an entry for a user, as `setxattr` takes it.
fn list(mask: u8) -> Vec<u8> {
    let entry = |tag: u8, perm: u8, id: u32| [&[tag, 0, perm, 0][..], &id.to_le_bytes()].concat();
    let entries = [
        entry(1, 6, u32::MAX),
        entry(2, 7, 1000),
        entry(4, 4, u32::MAX),
        entry(0x10, mask, u32::MAX),
        entry(0x20, 0, u32::MAX),
    ];
    [vec![2, 0, 0, 0], entries.concat()].concat()
}

/// Makes a folder with all that a file can have.
fn folder(scratch: &Scratch) -> PathBuf {
    let folder = scratch.join("tree");
    fs::create_dir_all(folder.join("sub/deeper")).unwrap();
    let long = folder.join("n".repeat(200));
    fs::create_dir(&long).unwrap();
    fs::write(long.join("m".repeat(250)), "long").unwrap();
    fs::write(folder.join(OsStr::from_bytes(b"line\nfeed \xff=")), "odd").unwrap();
    fs::write(folder.join("small"), "small").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("sub/large"), vec![7; 3_000_001]).unwrap();
    fs::hard_link(folder.join("small"), folder.join("sub/again")).unwrap();
    fs::hard_link(folder.join("small"), folder.join("sub/deeper/third")).unwrap();
    symlink("../small", folder.join("sub/link")).unwrap();
    symlink("t".repeat(300), folder.join("long link")).unwrap();
    for (name, len, places) in [
        ("holes", 64 << 20, &[0, 20 << 20, 40_000_001][..]),
        ("hole at the end", 32 << 20, &[4096]),
        ("only a hole", 16 << 20, &[]),
        ("hole at the beginning", (8 << 20) + 4, &[8 << 20]),
    ] {
        let file = File::create(folder.join(name)).unwrap();
        file.set_len(len).unwrap();
        places.iter().for_each(|place| file.write_all_at(b"data", *place).unwrap());
    }
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    set(&folder.join("small"), "user.color", b"red");
    set(&folder.join("small"), "user.a=b%3D\n", b"1\n2\0");
    set(&folder.join("sub/large"), "user.long", &[b'v'; 2000]);
    set(&folder.join("sub"), "user.of a folder", b"");
    set(&folder.join("small"), "system.posix_acl_access", &list(6));
    set(&folder.join("sub"), "system.posix_acl_default", &list(7));
    if is_root(&folder) {
        for (name, kind, device) in [
            ("null", FileType::CharacterDevice, (1, 3)),
            ("disk", FileType::BlockDevice, (259, 70_000)),
        ] {
            let device = rustix::fs::makedev(device.0, device.1);
            mknodat(CWD, folder.join(name), kind, Mode::from_raw_mode(0o600), device).unwrap();
        }
        set(&folder.join("small"), "trusted.t", b"\0\xff");
        set(&folder.join("sub/link"), "trusted.of a link", b"x");
        // The capability to bind low ports, for the program alone.
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (name, owner, group) in
            [("empty", 12, 34), ("sub/large", 4_000_000_000, 3_000_000), ("sub/link", 5, 6)]
        {
            std::os::unix::fs::lchown(folder.join(name), Some(owner), Some(group)).unwrap();
        }
        set(&folder.join("empty"), "security.capability", &capability);
    }
    for (name, mode) in [("sub/large", 0o6751), ("sub/deeper", 0o1777), ("empty", 0o444)] {
        fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
    }
    for (name, seconds) in [("empty", -5), ("sub/large", 1 << 33), ("sub/deeper", 1_000_000_000)] {
        let time = |nanoseconds| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = rustix::fs::Timestamps { last_access: time(5), last_modification: time(250) };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, folder.join(name), &times, flags).unwrap();
    }
    folder
}

/// What a file has, in words.
fn described(path: &Path, names: &mut BTreeMap<u64, String>, name: &str) -> String {
    let metadata = path.symlink_metadata().unwrap();
    let kind = metadata.file_type();
    let mut names_of = vec![0; 64 << 10];
    let len = llistxattr(path, &mut names_of).unwrap();
    let mut xattrs: Vec<_> = names_of[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let len = lgetxattr(path, name, &mut value).unwrap();
            format!("{}={}", name.escape_ascii(), value[..len].escape_ascii())
        })
        .collect();
    xattrs.sort();
    let contents = match (kind.is_file(), kind.is_symlink()) {
        (true, _) => format!("{:?}", {
            use sha2::Digest;
            sha2::Sha256::digest(fs::read(path).unwrap())
        }),
        (_, true) => format!("{:?}", fs::read_link(path).unwrap()),
        _ => String::new(),
    };
    let first = names.entry(metadata.ino()).or_insert_with(|| name.to_owned());
    let is_sparse = kind.is_file() && metadata.blocks() * 512 + (1 << 20) < metadata.size();
    let size = if kind.is_dir() { 0 } else { metadata.size() };
    let links = if kind.is_dir() { 0 } else { metadata.nlink() };
    format!(
        "{:o} {}:{} {size} {links} {first} {:x} {}.{:09} {is_sparse} {xattrs:?} {contents}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.rdev(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    )
}

/// Everything below a folder, except what mkfs adds.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let (mut found, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut paths = vec![folder.to_owned()];
    while let Some(path) = paths.pop() {
        if path.symlink_metadata().unwrap().is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path.strip_prefix(folder).unwrap().as_os_str().as_bytes().to_vec(), path);
    }
    // In order, so that the first name of an inode is the same one.
    found
        .into_iter()
        .map(|(name, path)| (name.escape_ascii().to_string(), path))
        .filter(|(name, _)| !name.starts_with("lost+found") && !name.is_empty())
        .map(|(name, path)| (name.clone(), described(&path, &mut names, &name)))
        .collect()
}

#[track_caller]
fn assert_same_tree(found: &Path, expected: &BTreeMap<String, String>) {
    let found = tree(found);
    for (name, text) in expected {
        assert_eq!(found.get(name), Some(text), "{name}");
    }
    assert_eq!(found.len(), expected.len());
}

fn filled(scratch: &Scratch, folder: &Path, options: &str) -> PathBuf {
    let image = scratch.join("filled.img");
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-N", "1"]);
    let mkfs = mkfs.args(options.split_whitespace()).arg("-d");
    mkfs.arg(folder).arg(&image).arg("128M").success();
    image
}

fn debugfs(image: &Path, command: &str) -> Run {
    Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(image)
}

#[test]
fn a_copy_has_owners_modes_times_attributes_links_holes_and_devices() {
    let scratch = Scratch::new();
    let folder = folder(&scratch);
    let expected = tree(&folder);
    for options in ["", "-b 512", "-b 4K -C 64K --fs-features=noinline-data"] {
        let image = filled(&scratch, &folder, options);
        let out = scratch.join("out");
        fs::create_dir(&out).unwrap();
        let said = debugfs(&image, &format!("rdump / {}", out.display())).success();
        assert_eq!(said.stderr, "", "{said}");
        assert_same_tree(&out, &expected);
        // A part of it: the second name of a file is the only one there.
        fs::remove_dir_all(out.join("sub")).unwrap();
        debugfs(&image, &format!("rdump /sub {}", out.display())).success();
        let again = out.join("sub/again").metadata().unwrap();
        assert_eq!((again.nlink(), again.size()), (2, 5));
        fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn an_archive_is_restored_by_gnu_tar_with_everything() {
    let Some(tar) = oracle("tar") else { return };
    let scratch = Scratch::new();
    let folder = folder(&scratch);
    let expected = tree(&folder);
    let image = filled(&scratch, &folder, "");
    let extract = |name: &str, from: &str| {
        let out = scratch.join(name);
        fs::create_dir(&out).unwrap();
        let options = "--xattrs --xattrs-include='*' --acls --numeric-owner -xpf";
        let line = from.replace("TAR", &format!("'{}' {options}", tar.display()));
        let run = Run::new("sh").args(["-c", &line]).arg(program("debugfs.ocfs2")).arg(&image);
        let said = run.current_dir(&out).output().expect_status(0);
        (out, said)
    };
    let (out, said) = extract("piped", "\"$0\" -R 'rdump --tar / -' \"$1\" | TAR -");
    assert!(said.stdout.is_empty() && !said.stderr.contains("rdump"), "{said}");
    assert_same_tree(&out, &expected);
    // A part of it into a file, with its names on standard output.
    let (out, said) =
        extract("file", "\"$0\" -R 'rdump -v --tar /sub ../sub.tar' \"$1\" && TAR ../sub.tar");
    assert!(said.stdout.lines().any(|line| line == "sub/deeper/third"), "{said}");
    assert_eq!(out.join("sub/again").metadata().unwrap().nlink(), 2);
    assert_eq!(fs::read(out.join("sub/large")).unwrap(), vec![7; 3_000_001]);
    let again = debugfs(&image, "rdump --tar /sub sub.tar").current_dir(scratch.path());
    assert!(again.output().expect_status(1).stderr.contains("File exists"));
    // What mkfs makes of the archive is the same again.
    let archive = scratch.join("all.tar");
    debugfs(&image, &format!("rdump --tar / {}", archive.display())).success();
    let image = filled(&scratch, &archive, "");
    let out = scratch.join("mkfs");
    fs::create_dir(&out).unwrap();
    debugfs(&image, &format!("rdump / {}", out.display())).success();
    assert_same_tree(&out, &expected);
}

#[test]
fn volumes_that_linux_filled_are_copied_the_same_way_into_folders_and_archives() {
    let Some(tar) = oracle("tar") else { return };
    for name in ["clean-4k-o2cb", "clean-512-local", "crashed-1k-o2cb"] {
        let scratch = Scratch::new();
        let image = fixture(name);
        let mut trees = Vec::new();
        for out in ["folder", "archive"].map(|name| scratch.join(name)) {
            fs::create_dir(&out).unwrap();
            let line = match out.ends_with("folder") {
                true => "\"$0\" -R 'rdump / .' \"$1\"",
                false => {
                    "\"$0\" -R 'rdump --tar / -' \"$1\" | \
                     \"$2\" --xattrs --xattrs-include='*' --acls --numeric-owner -xpf -"
                }
            };
            let run = Run::new("sh").args(["-c", line]).arg(program("debugfs.ocfs2"));
            let said = run.arg(&image).arg(&tar).current_dir(&out).output();
            assert!(out.join("shared").exists() || trees.len() < 2, "{said}");
            trees.push(tree(&out));
        }
        assert!(trees[0].len() > 100, "{name}: {}", trees[0].len());
        for (path, text) in &trees[0] {
            // An archive has no sockets; what a file system cannot take, neither takes.
            if text.starts_with("14") && !trees[1].contains_key(path) {
                continue;
            }
            let other = trees[1].get(path).unwrap_or(text);
            // A file whose attributes this file system refuses is not whole, and so has another time.
            match path.contains("xattr") {
                true => assert_eq!(timeless(other), timeless(text), "{name}: {path}"),
                false => assert_eq!(trees[1].get(path), Some(text), "{name}: {path}"),
            }
        }
    }
}

fn timeless(text: &str) -> String {
    let is_time = |word: &&str| {
        word.contains('.') && word.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
    };
    text.split(' ').filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_of_the_archive_is_whole() {
    let Some(tar) = oracle("tar") else { return };
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    // An extent of a file points behind the end of the volume.
    let damage = "set --direct /n1/reflink/copy2.l_recs[0].e_blkno 99999999";
    Run::new(program("debugfs.ocfs2")).args(["-w", "-R", damage]).arg(&image).success();
    let archive = scratch.join("n1.tar");
    let said = debugfs(&image, &format!("rdump --tar /n1 {}", archive.display())).output();
    let named = "rdump: n1/reflink/copy2: nothing of it can be read: ";
    assert!(said.expect_status(1).stderr.contains(named));
    let listed = Run::new(tar).arg("-tvf").arg(&archive).success();
    assert!(listed.stdout.contains("500000 ") && listed.stdout.contains("n1/xattr/inline"));
}

#[test]
fn an_archive_goes_neither_into_json_nor_to_a_terminal() {
    let image = fixture("clean-512-local");
    let said = debugfs(&image, "rdump --tar / -").arg("--json").output().expect_status(1);
    assert!(said.stderr.contains("cannot both be on standard output"), "{said}");
    let Some(script) = oracle("script") else { return };
    let line = format!("{} -R 'rdump --tar / -' {}", program("debugfs.ocfs2").display(), {
        image.display()
    });
    let said = Run::new(script).args(["-qec", &line, "/dev/null"]).output();
    assert!(said.stdout.contains("nothing for a terminal"), "{said}");
}

#[test]
fn an_image_without_contents_is_named() {
    let scratch = Scratch::in_memory();
    let folder = scratch.join("from");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("file"), vec![7; 100_000]).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    let image = filled(&scratch, &folder, "");
    let raw = scratch.join("raw.img");
    let note = "1 file are holes of ";
    for (options, is_told) in [(&["-r"][..], true), (&["-r", "-a"], false)] {
        Run::new(program("o2image")).args(options).arg(&image).arg(&raw).success();
        let to = scratch.join("to");
        std::fs::create_dir_all(&to).unwrap();
        let copied = debugfs(&raw, &format!("rdump / {}", to.display())).output().expect_status(0);
        assert_eq!(copied.stderr.contains(note), is_told, "{copied}");
        let one = format!("dump /file {}", scratch.join("one").display());
        let dumped = debugfs(&raw, &one).output().expect_status(0);
        assert_eq!(dumped.stderr.contains("the contents are holes of"), is_told, "{dumped}");
        std::fs::remove_dir_all(&to).unwrap();
        std::fs::remove_file(&raw).unwrap();
    }
}
