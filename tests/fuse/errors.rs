//! What POSIX says of operations that fail.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use ocfs2_testing::{Run, Scratch, program};
use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with};
use rustix::io::Errno;

use crate::mount::{Written, is_possible, judge, volume};
use crate::random::errno;

fn fails<T>(done: std::io::Result<T>, expected: Errno) {
    let err = done.err().unwrap_or_else(|| panic!("it was done, not {expected}"));
    assert_eq!(errno(&err), expected);
}

/// Runs a program as a user. Returns whether it succeeded.
fn as_user(uid: u32, words: &[&OsStr]) -> bool {
    let ids = [format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()];
    Run::new("setpriv").args(ids).args(words).output().status == 0
}

#[test]
fn names_are_made_moved_and_removed_as_posix_says() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    let image = volume(&scratch, "-b 4K -C 4K -J size=4M", "64M");
    let mounted = Written::new(&image, &scratch.join("mnt"));
    let at = |name: &str| mounted.join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::create_dir(at("dir/sub")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("file"), "contents").unwrap();
    symlink("file", at("link")).unwrap();

    fails(fs::create_dir(at("dir")), Errno::EXIST);
    fails(File::create_new(at("file")), Errno::EXIST);
    fails(symlink("x", at("link")), Errno::EXIST);
    fails(fs::create_dir(at("none/dir")), Errno::NOENT);
    fails(fs::create_dir(at("file/dir")), Errno::NOTDIR);
    fails(fs::remove_dir(at("dir")), Errno::NOTEMPTY);
    fails(fs::remove_dir(at("file")), Errno::NOTDIR);
    fails(fs::remove_file(at("dir")), Errno::ISDIR);
    fails(fs::remove_file(at("none")), Errno::NOENT);
    fails(OpenOptions::new().write(true).open(at("dir")), Errno::ISDIR);
    fails(fs::hard_link(at("dir"), at("hard")), Errno::PERM);
    fails(fs::hard_link(at("file"), at("dir")), Errno::EXIST);
    fails(fs::rename(at("file"), at("dir")), Errno::ISDIR);
    fails(fs::rename(at("dir"), at("file")), Errno::NOTDIR);
    fails(fs::rename(at("empty"), at("dir")), Errno::NOTEMPTY);
    fails(fs::rename(at("dir"), at("dir/sub/in")), Errno::INVAL);
    fails(fs::rename(at("none"), at("other")), Errno::NOENT);
    fails(fs::rename(at("file"), scratch.join("outside")), Errno::XDEV);
    fails(symlink("t".repeat(4096), at("long")), Errno::NAMETOOLONG);
    let longest = "n".repeat(255);
    fs::write(at(&longest), "").unwrap();
    fails(fs::write(at(&"n".repeat(256)), ""), Errno::NAMETOOLONG);
    fails(fs::rename(at("file"), at(&"n".repeat(256))), Errno::NAMETOOLONG);
    let exclusive = renameat_with(CWD, at("file"), CWD, at("link"), RenameFlags::NOREPLACE);
    assert_eq!(exclusive, Err(Errno::EXIST));
    let missing = renameat_with(CWD, at("file"), CWD, at("none"), RenameFlags::EXCHANGE);
    assert_eq!(missing, Err(Errno::NOENT));
    // A directory and a file change places, and the number of links goes along.
    fs::create_dir(at("empty/child")).unwrap();
    renameat_with(CWD, at("empty/child"), CWD, at("file"), RenameFlags::EXCHANGE).unwrap();
    assert!(at("file").metadata().unwrap().is_dir());
    assert_eq!(fs::read_to_string(at("empty/child")).unwrap(), "contents");
    assert_eq!(at("empty").metadata().unwrap().nlink(), 2);
    renameat_with(CWD, at("empty/child"), CWD, at("file"), RenameFlags::EXCHANGE).unwrap();
    assert_eq!(at("empty").metadata().unwrap().nlink(), 3);

    // Two names of one file stay where one is renamed to the other.
    fs::hard_link(at("file"), at("hard")).unwrap();
    assert_eq!(at("file").metadata().unwrap().nlink(), 2);
    fs::rename(at("file"), at("hard")).unwrap();
    assert!(at("file").exists() && at("hard").exists());
    fs::remove_file(at("hard")).unwrap();
    assert_eq!(at("file").metadata().unwrap().nlink(), 1);
    mounted.unmount();
    judge(&image);
}

#[test]
fn what_is_open_stays_until_it_is_closed() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    let image = volume(&scratch, "-b 4K -C 4K -J size=4M", "64M");
    let mounted = Written::new(&image, &scratch.join("mnt"));
    let free = || rustix::fs::statvfs(&mounted.folder).unwrap().f_bfree;
    let before = free();
    let path = mounted.join("open");
    let mut file = File::create_new(&path).unwrap();
    file.write_all(&vec![1; 1 << 20]).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.write_all(&vec![2; 1 << 20]).unwrap();
    // Its name can be used again.
    fs::write(&path, "other").unwrap();
    fs::remove_file(&path).unwrap();
    let mut contents = vec![0; 2 << 20];
    file.read_exact_at(&mut contents, 0).unwrap();
    assert!(contents[..1 << 20].iter().all(|byte| *byte == 1));
    assert!(contents[1 << 20..].iter().all(|byte| *byte == 2));
    // What is replaced while it is open stays, too.
    let (old, new) = (mounted.join("old"), mounted.join("new"));
    fs::write(&old, "old contents").unwrap();
    fs::write(&new, "new").unwrap();
    let mut kept = File::open(&old).unwrap();
    fs::rename(&new, &old).unwrap();
    let mut text = String::new();
    kept.seek(SeekFrom::Start(0)).unwrap();
    kept.read_to_string(&mut text).unwrap();
    assert_eq!(
        (text.as_str(), fs::read_to_string(&old).unwrap().as_str()),
        ("old contents", "new")
    );
    drop((kept, file));
    fs::remove_file(&old).unwrap();
    // It is deleted by a message that nobody waits for.
    let start = std::time::Instant::now();
    while free() < before - 600 {
        assert!(start.elapsed().as_secs() < 10, "{} of {before} free", free());
    }
    // At the end there is one that is still open.
    let last = File::create_new(&path).unwrap();
    last.write_at(&[3; 5000], 0).unwrap();
    fs::remove_file(&path).unwrap();
    drop(last);
    mounted.unmount();
    judge(&image);
}

#[test]
fn rights_are_those_of_posix() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let image = volume(&scratch, "-b 4K -C 4K -J size=4M", "64M");
    let mounted = Written::new(&image, &scratch.join("mnt"));
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    let set = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let touch = |uid: u32, path: &Path| as_user(uid, &["touch".as_ref(), path.as_os_str()]);
    let remove =
        |uid: u32, path: &Path| as_user(uid, &["rm".as_ref(), "-f".as_ref(), path.as_os_str()]);

    // In a sticky directory only the owner removes a file.
    let sticky = mounted.join("sticky");
    fs::create_dir(&sticky).unwrap();
    set(&sticky, 0o1777);
    let file = sticky.join("of 1000");
    assert!(touch(1000, &file));
    let owner = file.metadata().unwrap();
    assert_eq!((owner.uid(), owner.gid()), (1000, 1000));
    assert!(!remove(1001, &file));
    assert!(!as_user(1001, &["mv".as_ref(), file.as_os_str(), sticky.join("x").as_os_str()]));
    assert!(remove(1000, &file));

    // A directory with setgid gives its group, and a new directory the bit.
    let shared = mounted.join("shared");
    fs::create_dir(&shared).unwrap();
    chown(&shared, None, Some(77)).unwrap();
    set(&shared, 0o2777);
    assert!(as_user(1000, &["mkdir".as_ref(), shared.join("dir").as_os_str()]));
    assert!(touch(1000, &shared.join("file")));
    assert_eq!(shared.join("file").metadata().unwrap().gid(), 77);
    assert_eq!(shared.join("dir").metadata().unwrap().gid(), 77);
    assert_ne!(mode(&shared.join("dir")) & 0o2000, 0);

    // A write by somebody else takes the set-id bits, and so does a new owner.
    let suid = mounted.join("suid");
    fs::write(&suid, "x").unwrap();
    set(&suid, 0o6777);
    let append = format!("echo y >>{}", suid.display());
    assert!(as_user(1000, &["sh".as_ref(), "-c".as_ref(), append.as_ref()]));
    assert_eq!(mode(&suid), 0o777);
    set(&suid, 0o6777);
    chown(&suid, Some(5), Some(5)).unwrap();
    assert_eq!(mode(&suid), 0o777);

    // A default list is inherited, without the umask; chmod changes the mask of a list.
    let listed = mounted.join("listed");
    fs::create_dir(&listed).unwrap();
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let no = u32::MAX;
    let list = [
        2_u32.to_le_bytes().to_vec(),
        entry(1, 7, no),
        entry(2, 7, 1000),
        entry(4, 7, no),
        entry(0x10, 7, no),
        entry(0x20, 0, no),
    ]
    .concat();
    let (access, default) = ("system.posix_acl_access", "system.posix_acl_default");
    rustix::fs::setxattr(&listed, default, &list, XattrFlags::empty()).unwrap();
    let inherited = listed.join("file");
    fs::write(&inherited, "x").unwrap();
    assert_eq!(mode(&inherited), 0o660);
    let mut value = vec![0; 200];
    let len = rustix::fs::getxattr(&inherited, access, &mut value).unwrap();
    assert_eq!(len, list.len());
    set(&listed, 0o755);
    let write = format!("echo z >>{}", inherited.display());
    assert!(as_user(1000, &["sh".as_ref(), "-c".as_ref(), write.as_ref()]));
    set(&inherited, 0o600);
    assert!(!as_user(1000, &["sh".as_ref(), "-c".as_ref(), write.as_ref()]));
    fs::create_dir(listed.join("dir")).unwrap();
    let len = rustix::fs::getxattr(listed.join("dir"), default, &mut value).unwrap();
    assert_eq!(value[..len], list);
    // A list that says no more than the mode is not stored.
    let short = [list[..12].to_vec(), entry(4, 4, no), entry(0x20, 4, no)].concat();
    rustix::fs::setxattr(&inherited, access, &short, XattrFlags::empty()).unwrap();
    assert_eq!(mode(&inherited), 0o744);
    assert_eq!(rustix::fs::getxattr(&inherited, access, &mut value), Err(Errno::NODATA));

    let exclusive = rustix::fs::setxattr(&suid, "user.a", b"1", XattrFlags::REPLACE);
    assert_eq!(exclusive, Err(Errno::NODATA));
    rustix::fs::setxattr(&suid, "user.a", b"1", XattrFlags::CREATE).unwrap();
    let exclusive = rustix::fs::setxattr(&suid, "user.a", b"2", XattrFlags::CREATE);
    assert_eq!(exclusive, Err(Errno::EXIST));
    assert_eq!(rustix::fs::removexattr(&suid, "user.b"), Err(Errno::NODATA));
    mounted.unmount();
    judge(&image);
}

#[test]
fn a_lack_of_room_or_quota_is_said_where_it_occurs() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let options = "-b 4K -C 4K -J size=4M --fs-features=usrquota,grpquota";
    let image = volume(&scratch, options, "48M");
    let folder = scratch.join("mnt");
    let mounted = Written::new(&image, &folder);
    let path: PathBuf = mounted.join("all");
    let mut file = File::create_new(&path).unwrap();
    let mut written = 0;
    let err = loop {
        match file.write(&vec![5; 300_000]) {
            Ok(count) => written += count as u64,
            Err(err) => break err,
        }
    };
    assert_eq!(errno(&err), Errno::NOSPC);
    assert_eq!(path.metadata().unwrap().len(), written);
    assert!(rustix::fs::statvfs(&folder).unwrap().f_bfree < 8);
    drop(file);
    fs::remove_file(&path).unwrap();
    fs::create_dir(mounted.join("user")).unwrap();
    chown(mounted.join("user"), Some(1000), Some(1000)).unwrap();
    mounted.unmount();
    judge(&image);
    let set = Run::new(program("debugfs.ocfs2")).args(["-w", "-R"]);
    set.arg("set_quota user 1000 bhardlimit 64K").arg(&image).success();
    let set = Run::new(program("debugfs.ocfs2")).args(["-w", "-R"]);
    set.arg("set_quota user 1000 ihardlimit 5").arg(&image).success();
    let mounted = Written::new(&image, &folder);
    let fill = |name: &str, kib: u32| {
        let path = folder.join("user").join(name);
        let line = format!("head -c {kib}K /dev/zero >{}", path.display());
        as_user(1000, &["sh".as_ref(), "-c".as_ref(), line.as_ref()])
    };
    assert!(fill("small", 40));
    assert!(!fill("large", 40));
    let large = folder.join("user/large").metadata().unwrap().len();
    assert!(large <= 24 << 10, "{large}");
    // The folder and two files are there: two more may come.
    let touch =
        |name: &str| as_user(1000, &["touch".as_ref(), folder.join("user").join(name).as_os_str()]);
    assert_eq!(["a", "b", "c"].map(touch), [true, true, false]);
    // Root has no limits.
    fs::write(folder.join("user/root"), vec![1; 200_000]).unwrap();
    chown(folder.join("user/root"), Some(1000), Some(1000)).unwrap();
    mounted.unmount();
    judge(&image);
}
