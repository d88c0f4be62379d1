//! Volumes with files of every kind, and what is in them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_testing::{Run, Scratch, program};
use ocfs2_volume::edit::{Edit, EditOptions, How, NewInode};

use crate::bench::volume_at;

/// Makes a local volume with files of every kind that its features allow, and `names` names in its
/// largest directory.
pub fn rich(scratch: &Scratch, options: &str, size: &str, names: usize) -> PathBuf {
    let folder = scratch.join("source");
    fs::create_dir(&folder).unwrap();
    for dir in ["none", "few", "many", "deep/er"] {
        fs::create_dir_all(folder.join(dir)).unwrap();
    }
    fs::write(folder.join("few/inline"), "a little").unwrap();
    fs::write(folder.join("few/large"), vec![7; 300_000]).unwrap();
    fs::write(folder.join("few/empty"), "").unwrap();
    fs::hard_link(folder.join("few/large"), folder.join("deep/other name")).unwrap();
    symlink("short", folder.join("few/short link")).unwrap();
    symlink("l".repeat(3000), folder.join("few/long link")).unwrap();
    let sparse = File::create(folder.join("few/sparse")).unwrap();
    for at in [70_000, 200_000, 900_000] {
        sparse.write_all_at(b"not zeros", at).unwrap();
    }
    sparse.set_len(1_000_001).unwrap();
    for index in 0..names {
        // Lengths that differ, so that entries end anywhere in their blocks.
        let name = format!("many/{index}-{}", "x".repeat(index * 7 % 90));
        fs::write(folder.join(name), "").unwrap();
    }
    let path = scratch.join("rich.img");
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-J", "size=4M"]);
    let mkfs = mkfs.args(["-N", "2"]).args(options.split_whitespace());
    mkfs.arg("-d").arg(&folder).arg(&path).arg(size).success();
    let volume = volume_at(&path);
    let features = volume.features();
    let file = |name: &str| volume.resolve(name.as_bytes()).unwrap().blkno;
    change(&path, |edit| {
        edit.set_owner(file("/few/large"), 1000, 100).unwrap();
        if features.incompat.contains(Incompat::XATTR) {
            let large = vec![b'v'; 20_000];
            for name in ["/few/inline", "/few", "/few/short link", "/few/sparse"] {
                let blkno = file(name);
                edit.set_xattr(blkno, XattrPrefix::User, b"small", b"value").unwrap();
                edit.set_xattr(blkno, XattrPrefix::User, b"large", &large).unwrap();
            }
            for index in 0..150 {
                let (name, value) = (format!("n{index}"), vec![b'w'; index]);
                edit.set_xattr(file("/few/large"), XattrPrefix::User, name.as_bytes(), &value)
                    .unwrap();
            }
        }
        if features.ro_compat.contains(RoCompat::UNWRITTEN) {
            for (name, range) in [("/few/empty", 0..100_000), ("/few/sparse", 300_000..600_000)] {
                edit.allocate(file(name), range, true).unwrap();
            }
            edit.allocate(file("/few/large"), 300_000..500_000, false).unwrap();
        }
        if features.incompat.contains(Incompat::REFCOUNT_TREE) {
            for name in ["large", "sparse", "empty"] {
                let from = file(&format!("/few/{name}"));
                for copy in ["copy", "second copy"] {
                    let new = edit.create(file("/deep"), format!("{copy} {name}").as_bytes(), &{
                        ocfs2_volume::edit::NewInode::of(
                            ocfs2_format::dinode::FileKind::Regular,
                            0o600,
                        )
                    });
                    edit.reflink(from, new.unwrap()).unwrap();
                }
            }
            edit.write_file(file("/few/large"), 100_000, b"of its own").unwrap();
        }
    });
    path
}

/// Changes a volume.
pub fn change(path: &Path, step: impl FnOnce(&mut Edit)) {
    change_in(path, 0, step);
}

/// Changes a volume, with the allocators of a slot.
pub fn change_in(path: &Path, slot: u16, step: impl FnOnce(&mut Edit)) {
    let options = DeviceOptions { write: true, ..Default::default() };
    let device = open(path, &options).unwrap();
    let mut edit = Edit::new(&volume_at(path), EditOptions { slot, ..Default::default() });
    step(&mut edit);
    edit.finish().unwrap();
    edit.commit(How::InPlace, &device).unwrap();
}

/// Adds a folder with something of everything that the volume's features allow.
pub fn more(edit: &mut Edit, slot: u16) {
    let (features, top) = (edit.features(), edit.superblock().s_root_blkno);
    let make = |edit: &mut Edit, dir: Blkno, name: &str, kind| {
        edit.create(dir, name.as_bytes(), &NewInode::of(kind, 0o700)).unwrap()
    };
    let dir = make(edit, top, &format!("more {slot}"), FileKind::Directory);
    let deep = make(edit, dir, "deep", FileKind::Directory);
    for index in 0..40 {
        let below = make(edit, deep, &format!("below {index}"), FileKind::Directory);
        for name in 0..index {
            make(edit, below, &format!("{name} {}", "n".repeat(60)), FileKind::Regular);
        }
    }
    let large = make(edit, dir, "large", FileKind::Regular);
    for at in 0..120_u64 {
        edit.write_file(large, at * 300_000 % 9_000_000, format!("piece {at}").as_bytes()).unwrap();
    }
    edit.hard_link(deep, b"another name", large).unwrap();
    let long = NewInode { target: &[b'l'; 2000], ..NewInode::of(FileKind::Symlink, 0o777) };
    edit.create(deep, b"link", &long).unwrap();
    if features.incompat.contains(Incompat::XATTR) {
        for name in ["one", "two"] {
            let file = make(edit, dir, name, FileKind::Regular);
            for index in 0..90 {
                let (name, size) =
                    (format!("name {index}"), if index % 9 == 0 { 5000 } else { 60 });
                let value = vec![b'a' + slot as u8; size];
                edit.set_xattr(file, XattrPrefix::User, name.as_bytes(), &value).unwrap();
            }
        }
    }
    if features.incompat.contains(Incompat::REFCOUNT_TREE) {
        for copy in ["copy", "third"] {
            let copy = make(edit, dir, copy, FileKind::Regular);
            edit.reflink(large, copy).unwrap();
        }
        edit.write_file(large, 600_000, b"of its own").unwrap();
    }
    if features.ro_compat.contains(RoCompat::UNWRITTEN) {
        let unwritten = make(edit, dir, "unwritten", FileKind::Regular);
        edit.allocate(unwritten, 0..3_000_000, true).unwrap();
    }
}
