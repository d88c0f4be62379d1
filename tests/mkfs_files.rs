//! `mkfs.ocfs2 -d`: what it refuses, what is left then, and that the same files give the same
//! bytes. `kernel/filled.rs` tests that the kernel reads what was written.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_testing::{Outcome, Run, Scratch, c_fsck_run, find_program, oracle, program};
use ocfs2_volume::{Inode, Volume, VolumeOptions};

struct Files(Scratch);

impl Files {
    fn new() -> Self {
        let files = Self(Scratch::new());
        fs::create_dir(files.folder()).unwrap();
        files
    }

    fn folder(&self) -> PathBuf {
        self.0.join("folder")
    }

    fn image(&self) -> PathBuf {
        self.0.join("disk.img")
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.folder().join(name), contents).unwrap();
    }

    fn run(&self, options: &str) -> Run {
        let run = Run::new(program("mkfs.ocfs2")).current_dir(self.0.path());
        run.args(["-q", "-F", "-M", "local"]).args(options.split_whitespace())
    }

    /// Makes a volume from the folder. Demands that neither fsck finds anything.
    fn make(&self, options: &str) -> Volume {
        let _ = fs::remove_file(self.image());
        self.run(&format!("{options} -d folder disk.img 256M")).success();
        self.check()
    }

    fn check(&self) -> Volume {
        let ours = Run::new(program("fsck.ocfs2")).arg("-fn").arg(self.image()).output();
        assert_eq!(ours.status, 0, "{ours}");
        if let Some(fsck) = oracle("fsck.ocfs2") {
            let theirs = c_fsck_run(&fsck, "-fn", &self.image()).expect_status(0);
            let known = |line: &str| line.starts_with("[DX_TREE_MISSING]");
            let mut findings = theirs.stdout.lines().filter(|line| line.starts_with('['));
            assert!(findings.all(known), "{theirs}");
        }
        let device = open(&self.image(), &DeviceOptions::default()).unwrap();
        Volume::open(device, &VolumeOptions::default()).unwrap()
    }

    /// Demands that no volume is made, and that the message is `message`.
    #[track_caller]
    fn refuses(&self, options: &str, message: &str) -> Outcome {
        let _ = fs::remove_file(self.image());
        let outcome = self.run(options).output().expect_status(1);
        assert!(outcome.stderr.contains(message), "expected {message:?} of {outcome}");
        assert!(!self.image().exists(), "{outcome}");
        outcome
    }
}

fn find(volume: &Volume, path: &str) -> Inode {
    let mut inode = volume.root().unwrap();
    for name in path.split('/') {
        let entry = volume.lookup(&inode, name.as_bytes()).unwrap();
        let entry = entry.unwrap_or_else(|| panic!("{path}: no {name}"));
        inode = volume.inode(entry.inode).unwrap();
    }
    inode
}

fn contents(volume: &Volume, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    volume.file(&find(volume, path)).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_volume_has_the_files_of_the_folder() {
    let files = Files::new();
    files.put("small", "small\n");
    files.put("large", vec![7; 3_000_001]);
    fs::hard_link(files.folder().join("small"), files.folder().join("again")).unwrap();
    fs::set_permissions(files.folder().join("large"), fs::Permissions::from_mode(0o2751)).unwrap();
    symlink("small", files.folder().join("link")).unwrap();
    fs::create_dir(files.folder().join("lost+found")).unwrap();
    files.put("lost+found/kept", "kept");
    fs::set_permissions(files.folder(), fs::Permissions::from_mode(0o710)).unwrap();
    let volume = files.make("");
    assert_eq!(contents(&volume, "small"), b"small\n");
    assert!(contents(&volume, "large") == vec![7; 3_000_001]);
    assert_eq!(contents(&volume, "lost+found/kept"), b"kept");
    assert_eq!(find(&volume, "small").blkno, find(&volume, "again").blkno);
    assert_eq!(volume.links_count(&find(&volume, "small")), 2);
    assert_eq!(volume.symlink_target(&find(&volume, "link")).unwrap(), b"small");
    assert_eq!(find(&volume, "large").dinode.i_mode, 0o102_751);
    assert_eq!(volume.root().unwrap().dinode.i_mode, 0o040_710);
    let metadata = files.folder().join("large").metadata().unwrap();
    let mtime = find(&volume, "large").mtime();
    assert_eq!(
        (mtime.seconds, i64::from(mtime.nanoseconds)),
        (metadata.mtime(), metadata.mtime_nsec())
    );
}

#[test]
fn holes_stay_holes() {
    let files = Files::new();
    let file = File::create(files.folder().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    for index in 0..2000 {
        file.write_all_at(b"data", index * (1 << 20)).unwrap();
    }
    let volume = files.make("");
    let inode = find(&volume, "sparse");
    assert_eq!((inode.size(), inode.dinode.i_clusters), (1 << 40, 2000));
    let extents = volume.tree(&inode).unwrap().extents();
    let places: Vec<_> = extents.map(|extent| extent.unwrap().cpos.0).collect();
    assert_eq!(places, (0..2000).map(|index| index * 256).collect::<Vec<_>>());
    let mut bytes = [1; 8];
    volume.file(&inode).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"data\0\0\0\0");
    // A volume that does not support holes has no room for the file.
    let message = "the volume is too small for the files";
    files.refuses("--fs-features=nosparse,norefcount -d folder disk.img 64M", message);
}

#[test]
fn a_directory_of_many_names_has_an_index_of_several_levels() {
    let files = Files::new();
    for number in 0..20_000 {
        files.put(&format!("a rather long name of a file, number {number}"), "");
    }
    for options in ["-b 512", "-b 4K -C 32K", "-b 1K --fs-feature-level=max-features"] {
        let volume = files.make(options);
        for number in (0..20_000).step_by(999) {
            find(&volume, &format!("a rather long name of a file, number {number}"));
        }
        let root = volume.root().unwrap();
        assert!(volume.is_indexed(&root) && volume.lookup(&root, b"other").unwrap().is_none());
        assert_eq!(volume.entries(&root).unwrap().count(), 20_003);
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let files = Files::new();
    for number in 0..300 {
        files.put(&format!("file {number}"), vec![b'x'; number * 30]);
    }
    let make = || {
        let _ = fs::remove_file(files.image());
        let run = files.run("--seed 1 -d folder disk.img 64M");
        run.env("SOURCE_DATE_EPOCH", "1000000000").success();
        fs::read(files.image()).unwrap()
    };
    let first = make();
    // Reading changes the time of the last access.
    fs::read(files.folder().join("file 7")).unwrap();
    assert!(first == make());
}

#[test]
fn what_can_not_be_stored_is_named_and_nothing_is_left() {
    let files = Files::new();
    files.put("file", vec![1; 40 << 20]);
    let full = "nothing was written: the volume is too small for the files";
    files.refuses("-d folder disk.img 32M", full);
    files.refuses("-d none disk.img 32M", "none: No such file or directory");
    files.refuses("-d /dev/null disk.img 32M", "is neither a folder nor a tar archive");
    files.refuses("-H -d folder disk.img 32M", "a heartbeat device has no files");
    files.refuses("-d folder/file disk.img 64M", "is not a tar archive");
    let none = files.run("-n -d folder disk.img 32M").output().expect_status(1);
    assert!(none.stderr.contains("the volume is too small for the files"), "{none}");
    files.run("-n -d folder disk.img 128M").success();

    // What is there stays, unless the files come through a pipe.
    let fsck = |status| {
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(files.image());
        fsck.output().expect_status(status)
    };
    files.run("disk.img 32M").success();
    for (source, message) in [
        ("folder", "nothing was written: the volume is too small"),
        ("folder/file", "nothing was written: folder/file: cannot be read: is not a tar archive"),
    ] {
        let outcome = files.run(&format!("-F -d {source} disk.img")).output().expect_status(1);
        assert!(outcome.stderr.contains(message), "{outcome}");
        fsck(0);
    }
    let outcome = files.run("-F -d - disk.img").stdin("no archive".repeat(99)).output();
    let message = "no volume was made, and what was there is gone: standard input: cannot be read";
    assert!(outcome.status == 1 && outcome.stderr.contains(message), "{outcome}");
    fsck(8);

    fs::remove_file(files.folder().join("file")).unwrap();
    symlink("../disk.img", files.folder().join("to the image")).unwrap();
    files.make("");
    fs::remove_file(files.image()).unwrap();
    File::create(files.folder().join("disk.img")).unwrap().set_len(64 << 20).unwrap();
    let inside = files.run("-d folder folder/disk.img").output().expect_status(1);
    assert!(inside.stderr.contains("is the image that is being made"), "{inside}");
}

/// Name, type, target and contents.
type Member<'a> = (&'a str, tar::EntryType, &'a str, &'a [u8]);

fn header(kind: tar::EntryType, size: u64, uid: u64, gid: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o640);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(9);
    header
}

fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, target, contents) in members {
        let mut header = header(*kind, contents.len() as u64, 70_000, 5);
        // The crate refuses to write a name that leads out of the archive.
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        builder.append(&header, *contents).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn an_archive_may_come_through_a_pipe_and_in_any_order() {
    use tar::EntryType::{Directory, Fifo, Link, Regular, Symlink};
    let files = Files::new();
    let bytes = archive(&[
        ("deep/below/file", Regular, "", b"contents"),
        ("./deep/below/again", Link, "./deep/below/file", b""),
        ("/deep/", Directory, "", b""),
        ("pipe", Fifo, "", b""),
        ("link", Symlink, "deep/below", b""),
        ("./", Directory, "", b""),
        ("deep", Directory, "", b""),
    ]);
    files.run("-d - disk.img 64M").stdin(bytes.clone()).success();
    let volume = files.check();
    assert_eq!(contents(&volume, "deep/below/again"), b"contents");
    let inode = find(&volume, "deep/below/file");
    assert_eq!(
        (inode.dinode.i_uid, inode.dinode.i_gid, inode.dinode.i_mode),
        (70_000, 5, 0o100_640)
    );
    assert_eq!((inode.mtime().seconds, volume.links_count(&inode)), (9, 2));
    assert_eq!(find(&volume, "deep").dinode.i_mode, 0o040_640);
    assert_eq!(find(&volume, "deep/below").dinode.i_mode, 0o040_755);
    assert_eq!(volume.root().unwrap().dinode.i_uid, 70_000);

    fs::remove_file(files.image()).unwrap();
    for cut in [700, bytes.len() / 2 / 512 * 512 + 100] {
        let run = files.run("-d - disk.img 64M").stdin(&bytes[..cut]);
        let outcome = run.output().expect_status(1);
        assert!(outcome.stderr.contains("the archive is cut off"), "{outcome}");
    }
    assert!(!files.image().exists());
}

#[test]
fn a_path_of_thousands_of_names_takes_no_more_than_its_directories() {
    const DEPTH: usize = 30_000;
    let files = Files::new();
    let path = format!("{}file", "d/".repeat(DEPTH));
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = header(tar::EntryType::Regular, 3, 0, 0);
    builder.append_data(&mut header, &path, &b"abc"[..]).unwrap();
    // With a path for each directory on the way it would take 900 MB.
    let limited = "ulimit -v 500000; exec \"$0\" -q -F -M local -b 1024 -C 4096 -d - \"$1\" 256M";
    let run = Run::new("sh").args(["-c", limited]).arg(program("mkfs.ocfs2")).arg(files.image());
    run.stdin(builder.into_inner().unwrap()).success();
    let device = open(&files.image(), &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    assert_eq!(find(&volume, &path).dinode.i_size, 3);
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(files.image()).success();
}

#[test]
fn archives_that_make_no_sense_are_refused() {
    use tar::EntryType::{Char, Link, Regular};
    let files = Files::new();
    let rows: [(&[Member<'_>], &str); 6] = [
        (
            &[("link", tar::EntryType::Symlink, "", b"")],
            "the target of the symbolic link is 0 bytes",
        ),
        (&[("../up", Regular, "", b"")], "../up: leads out of the archive"),
        (&[("a", Link, "b", b"")], "a: is a hard link to b, which does not come before it"),
        (&[("a", Regular, "", b""), ("a", Regular, "", b"")], "a: occurs twice"),
        (&[("a", Regular, "", b""), ("a/b", Regular, "", b"")], "a/b: occurs twice"),
        (&[("a", tar::EntryType::new(b'V'), "", b"")], "a: is of a kind that is not known: `V`"),
    ];
    for (members, message) in rows {
        fs::write(files.0.join("files.tar"), archive(members)).unwrap();
        files.refuses("-d files.tar disk.img 64M", message);
    }
    let mut device = archive(&[("a", Char, "", b"")]);
    device[10] = b'x';
    fs::write(files.0.join("files.tar"), device).unwrap();
    files.refuses("-d files.tar disk.img 64M", "the checksum of a header is wrong");
}

#[test]
fn what_ends_before_its_end_is_refused_and_long_paths_are_cut_in_messages() {
    let files = Files::new();
    let refuses = |kind, records: &[(&str, &[u8])], message: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions(records.iter().copied()).unwrap();
        let mut header = header(kind, 0, 0, 0);
        header.set_path("file").unwrap();
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
        fs::write(files.0.join("files.tar"), builder.into_inner().unwrap()).unwrap();
        files.refuses("-d files.tar disk.img 64M", message)
    };
    let target = refuses(tar::EntryType::Symlink, &[("linkpath", b"a\0b")], "has a NUL in it");
    assert!(target.stderr.contains("file: the target"), "{target}");
    let name = "SCHILY.xattr.user.a\0b";
    refuses(tar::EntryType::Regular, &[(name, b"v")], "its name has a NUL in it");
    let path = [&b"n/".repeat(3000)[..], &[b'n'; 300]].concat();
    let long = refuses(tar::EntryType::Regular, &[("path", &path)], "...: the name is 300 bytes");
    assert!(long.stderr.len() < 5000, "{}", long.stderr.len());
}

#[test]
fn access_lists_of_an_archive_are_stored_as_the_kernel_has_them() {
    let files = Files::new();
    let mut builder = tar::Builder::new(Vec::new());
    let list = b"user::rw-\nuser:1000:r--\ngroup::r--\nmask::rw-\nother::---\n";
    builder.append_pax_extensions([("SCHILY.acl.access", &list[..])]).unwrap();
    let mut header = header(tar::EntryType::Regular, 0, 0, 0);
    header.set_path("file").unwrap();
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    fs::write(files.0.join("files.tar"), builder.into_inner().unwrap()).unwrap();
    files.run("-d files.tar disk.img 64M").success();
    let volume = files.check();
    let attributes = volume.sorted_xattrs(&find(&volume, "file")).unwrap();
    assert_eq!(attributes.len(), 1);
    // Owner, user 1000, group, mask, others: a tag, permissions and an id each.
    let of = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let nobody = u32::MAX;
    let all =
        [of(1, 6, nobody), of(2, 4, 1000), of(4, 4, nobody), of(16, 6, nobody), of(32, 0, nobody)];
    let expected = all.concat();
    let value = volume.xattr_value(&attributes[0]).unwrap();
    assert!(value.ends_with(&expected), "{value:?}");
}

#[test]
fn sparse_files_of_every_form_of_archive_keep_their_holes() {
    let Some(tar) = find_program("tar") else { return ocfs2_testing::skip("there is no tar") };
    let files = Files::new();
    let file = File::create(files.folder().join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    for index in 0..50 {
        file.write_all_at(format!("part {index}").as_bytes(), index << 24).unwrap();
    }
    let forms: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for form in forms {
        let archive = files.0.join("files.tar");
        let run = Run::new(&tar).args(["-S", "-c", "-f"]).arg(&archive).args(form);
        run.arg("-C").arg(files.folder()).arg(".").success();
        let _ = fs::remove_file(files.image());
        files.run("-d files.tar disk.img 64M").success();
        let volume = files.check();
        let inode = find(&volume, "sparse");
        assert_eq!((inode.size(), inode.dinode.i_clusters), (1 << 30, 50), "{form:?}");
        let mut found = volume.file(&inode).unwrap();
        let mut bytes = vec![0; (49 << 24) + 8];
        found.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes[49 << 24..][..7], b"part 49", "{form:?}");
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 50 * 7 - 10, "{form:?}");
    }
}

#[test]
fn owners_are_counted_where_the_volume_has_quotas() {
    use tar::EntryType::Regular;
    let files = Files::new();
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..500_u64 {
        let gid = u64::from(u32::MAX) - number;
        let mut header = header(Regular, 5000, number * 7919, gid);
        builder.append_data(&mut header, format!("{number}"), &[1; 5000][..]).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    for block in ["512", "1K", "2K", "4K"] {
        let _ = fs::remove_file(files.image());
        let options = format!("-b {block} --fs-feature-level=max-features -d - disk.img 128M");
        files.run(&options).stdin(bytes.clone()).success();
        files.check();
    }
}

#[test]
fn an_interrupted_run_leaves_no_volume() {
    let files = Files::new();
    let mut mkfs = Command::new(program("mkfs.ocfs2"))
        .args(["-q", "-M", "local", "-d", "-", "disk.img", "4G"])
        .current_dir(files.0.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A file that does not end.
    let mut header = header(tar::EntryType::Regular, 3 << 30, 0, 0);
    header.set_path("endless").unwrap();
    header.set_cksum();
    let mut stdin = mkfs.stdin.take().unwrap();
    stdin.write_all(header.as_bytes()).unwrap();
    let mut interrupt = Some(mkfs.id());
    for round in 0.. {
        if stdin.write_all(&[1; 1 << 20]).is_err() {
            break;
        }
        assert!(round < 3000, "it was never interrupted");
        std::thread::sleep(Duration::from_millis(1));
        if round == 20 {
            let id = interrupt.take().unwrap().to_string();
            Run::new("kill").args(["-INT", &id]).success();
        }
    }
    drop(stdin);
    let outcome = mkfs.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(130), "{said}");
    assert!(said.contains("the image was removed: interrupted"), "{said}");
    assert!(!Path::new(&files.image()).exists());
}
