//! A volume mounted read-only is read through the kernel like any other file system.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_device::DeviceOptions;
use ocfs2_format::Blkno;
use ocfs2_testing::damage::Metadata;
use ocfs2_testing::{
    CLEAN, CRASHED, Manifest, Run, Scratch, fixture, fixture_copy, manifest, manifest_at, oracle,
    program, while_beating,
};
use ocfs2_volume::{Volume, VolumeOptions};

use crate::mount::{Mount, is_possible, mounting};

/// What the kernel shows of a mounted volume.
fn described(mount: &Mount) -> Manifest {
    let scratch = Scratch::new();
    let prefix = scratch.join("found");
    let run = Run::new(program("volume-contents")).arg("manifest").arg(&mount.folder).arg(&prefix);
    run.timeout(Duration::from_secs(300)).success();
    manifest_at(scratch.path(), "found")
}

fn compare(name: &str) {
    let (mut found, expected) = (described(&Mount::reading(&fixture(name), &[])), manifest(name));
    assert_eq!(found.files.len(), expected.files.len(), "{name}");
    for (path, listed) in &expected.files {
        assert_eq!(&found.files[path], listed, "{name}: {}", path.escape_ascii());
    }
    assert_eq!(found.links, expected.links, "{name}");
    assert!(!expected.sha256.is_empty());
    for (path, digest) in &expected.sha256 {
        assert_eq!(&found.sha256[path], digest, "{name}: {}", path.escape_ascii());
    }
    // The manifest leaves out some folders.
    found.xattrs.retain(|path, _| expected.xattrs.contains_key(path));
    assert_eq!(found.xattrs, expected.xattrs, "{name}");
}

#[test]
fn volumes_of_linux_read_as_the_kernel_reads_them() {
    if !is_possible() {
        return;
    }
    for name in CLEAN {
        compare(name);
    }
}

#[test]
fn an_ordinary_user_mounts_an_image_of_theirs() {
    const NOBODY: u32 = 65534;
    if !is_possible() {
        return;
    }
    let Some(fusermount) = oracle("fusermount3") else { return };
    let scratch = Scratch::new();
    let (image, folder) = (scratch.join("volume.img"), scratch.join("mnt"));
    fs::copy(fixture("clean-1k-local"), &image).unwrap();
    fs::create_dir(&folder).unwrap();
    // The programs may be in a folder that others cannot enter.
    let own = scratch.join("ocfs2-fuse");
    fs::copy(program("ocfs2-fuse"), &own).unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&image, Permissions::from_mode(0o600)).unwrap();
    for path in [&image, &folder] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let as_nobody = |program: &Path| {
        Run::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program)
    };
    // Distributions let everybody open it; where only root may, that is said.
    let device = Path::new("/dev/fuse");
    let before = device.metadata().unwrap().permissions();
    fs::set_permissions(device, Permissions::from_mode(0o666)).unwrap();
    let mounted = as_nobody(&own).args([&image, &folder]).output();
    fs::set_permissions(device, before).unwrap();
    mounted.expect_status(0);
    let read = as_nobody(Path::new("ls")).arg(&folder).output().expect_status(0);
    let unmounted = as_nobody(&fusermount).arg("-u").arg(&folder).output();
    assert!(read.stdout.contains("lost+found"), "{read}");
    unmounted.expect_status(0);
}

#[test]
fn crashed_volumes_read_as_after_the_recovery_and_stay_as_they_are() {
    if !is_possible() {
        return;
    }
    for name in CRASHED {
        compare(name);
    }
    // Nothing is written, also not what was replayed.
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-1k-o2cb", &scratch);
    let before = fs::read(&image).unwrap();
    drop(described(&Mount::reading(&image, &[])));
    assert!(before == fs::read(&image).unwrap());
}

#[test]
fn room_holes_and_rights_are_those_of_the_volume() {
    if !is_possible() {
        return;
    }
    let name = "clean-4k-o2cb";
    let mount = Mount::reading(&fixture(name), &[]);
    let room = rustix::fs::statvfs(&mount.folder).unwrap();
    // As Linux saw it: tests/fixtures.
    assert_eq!((room.f_bsize, room.f_blocks, room.f_files), (4096, 102_400, 102_400));
    assert_eq!((room.f_bfree, room.f_namemax), (25_154, 255));
    assert_eq!(mount.folder.metadata().unwrap().ino(), 1);

    // Holes are found where the tree has them, and nowhere else.
    let volume = Volume::open(
        ocfs2_device::open(&fixture(name), &DeviceOptions::default()).unwrap(),
        &VolumeOptions::default(),
    )
    .unwrap();
    let path = "n0/extents/tree";
    let file = File::open(mount.join(path)).unwrap();
    let inode = volume.resolve(path.as_bytes()).unwrap();
    let (reader, mut at, mut pieces) = (volume.file(&inode).unwrap(), 0, 0);
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let expected = reader.next_data(at).unwrap().unwrap();
        let mut end = expected.end;
        while let Some(more) = reader.next_data(end).unwrap().filter(|it| it.start == end) {
            end = more.end;
        }
        let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data)).unwrap();
        assert_eq!((data, hole), (expected.start, end));
        (at, pieces) = (hole, pieces + 1);
    }
    assert_eq!(reader.next_data(at).unwrap(), None);
    assert!(pieces > 3, "{pieces}");

    // By the list of who may: user 1000 may write and 1001 may read, others may not.
    let acl = mount.join("n0/xattr/acl");
    let reads = |uid: &str| {
        let run = Run::new("setpriv").args(["--clear-groups", "--reuid", uid, "--regid", uid]);
        run.arg("cat").arg(&acl).output().status == 0
    };
    assert_eq!(["0", "1000", "1001", "1002"].map(reads), [true, true, true, true]);
    let write = File::options().write(true).open(&acl).unwrap_err();
    assert_eq!(write.kind(), ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn what_is_damaged_gives_an_error_and_nothing_else_does() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let open = || {
        let device = DeviceOptions { write: true, ..Default::default() };
        Volume::open(ocfs2_device::open(&image, &device).unwrap(), &VolumeOptions::default())
            .unwrap()
    };
    let volume = open();
    let wipe = |blkno: Blkno| {
        volume.device().write_at(&[0xa5; 4096], blkno.0 * 4096).unwrap();
    };
    let inode = |path: &str| volume.resolve(path.as_bytes()).unwrap();
    // An inode, an extent block, and one of the blocks of a directory.
    wipe(inode("n0/meta/append").blkno);
    let tree = volume.tree(&inode("n0/extents/tree")).unwrap();
    let dir = inode("n0/dirs/large");
    let block = volume.dir_blocks(&dir).unwrap().nth(2).unwrap().unwrap();
    let lost: Vec<_> = block.entries().map(|it| it.unwrap().name).collect();
    let mut extents = tree.extents();
    extents.by_ref().for_each(drop);
    wipe(extents.extent_blocks().last().unwrap());
    wipe(block.blkno);
    volume.device().flush().unwrap();
    drop(volume);

    let mount = Mount::reading(&image, &["--threads=2"]);
    let names = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(mount.join(path)).unwrap();
        entries.map_while(Result::ok).map(|it| it.file_name().into_string().unwrap()).collect()
    };
    let is_io_error = |err: std::io::Error| assert_eq!(err.raw_os_error(), Some(5), "{err}");
    // It is listed, and cannot be looked at; its neighbours can.
    assert!(names("n0/meta").contains(&"append".to_owned()));
    is_io_error(mount.join("n0/meta/append").metadata().unwrap_err());
    mount.join("n0/meta/immutable").metadata().unwrap();
    is_io_error(fs::read(mount.join("n0/extents/tree")).unwrap_err());
    // What can be read of a directory is listed, and then comes the error.
    let all = fs::read_dir(mount.join("n0/dirs/large")).unwrap().collect::<Vec<_>>();
    is_io_error(all.into_iter().next_back().unwrap().unwrap_err());
    let listed = names("n0/dirs/large");
    assert!(!lost.is_empty() && listed.len() > 500, "{}", listed.len());
    assert!(lost.iter().all(|name| !listed.iter().any(|it| it.as_bytes() == name)));
    fs::read(mount.join("n0/dirs/inline/1")).unwrap();
}

#[test]
fn random_damage_neither_ends_nor_stops_it() {
    if !is_possible() {
        return;
    }
    let mut mounted = 0;
    for name in ["clean-1k-local", "clean-4k-o2cb"] {
        let sound = fixture(name);
        let options = (DeviceOptions::default(), VolumeOptions::default());
        let volume =
            Volume::open(ocfs2_device::open(&sound, &options.0).unwrap(), &options.1).unwrap();
        let (metadata, size) = (Metadata::of(&volume), volume.block_size().size());
        for seed in 0..1 {
            let scratch = Scratch::new();
            let image = fixture_copy(name, &scratch);
            let options = DeviceOptions { write: true, ..Default::default() };
            let device = ocfs2_device::open(&image, &options).unwrap();
            let mut superblock = vec![0; size];
            device.read_at(&mut superblock, 2 * size as u64).unwrap();
            for hit in 0..4 {
                metadata.damage_much(seed * 100 + hit, &*device);
            }
            // Without it there is nothing to mount.
            device.write_at(&superblock, 2 * size as u64).unwrap();
            drop(device);
            let folder = scratch.join("mnt");
            fs::create_dir(&folder).unwrap();
            // Who uses it cannot be told any more.
            let outcome = mounting(&image, &folder, &["--unsafe-snapshot"]);
            if outcome.status != 0 {
                eprintln!("{name}, seed {seed}: {outcome}");
                continue;
            }
            mounted += 1;
            let mount = Mount { folder, _scratch: scratch };
            let walk = "find . -printf '%p %s %n\\n' | wc -l; find . -type f -size -20M -print0 | \
                        xargs -0 cat 2>/dev/null | wc -c; find . -type l -exec readlink {} + | wc -l; \
                        getfattr -R -d -m- . 2>/dev/null | wc -l; df .";
            let run = Run::new("sh")
                .args(["-c", &format!("cd {} && {{ {walk}; }}", mount.folder.display())]);
            let walked = run.timeout(Duration::from_secs(120)).output();
            assert_eq!(walked.status, 0, "{name}, seed {seed}: {walked}");
            // It still answers.
            rustix::fs::statvfs(&mount.folder).unwrap();
        }
    }
    assert!(mounted >= 1, "{mounted}");
}

#[test]
fn what_must_not_be_mounted_is_refused_with_the_reason() {
    let scratch = Scratch::new();
    let folder = scratch.join("mnt");
    fs::create_dir(&folder).unwrap();
    let refused = |image: &Path, options: &[&str], status: i32, why: &str| {
        let said = mounting(image, &folder, options).expect_status(status);
        assert!(said.stderr.contains(why), "{why}: {said}");
    };
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    refused(&image, &["-o", "nonsense"], 32, "-o nonsense: no such option");
    refused(&scratch.join("none"), &[], 32, "no such file or directory");
    let other = scratch.image("other.img", 1 << 20);
    refused(&other, &[], 32, "other.img");
    let file = mounting(&image, &image, &[]).expect_status(32);
    assert!(file.stderr.contains("is not a directory"), "{file}");
    mounting(&image, &folder, &["--threads=0"]).expect_status(1);

    if !is_possible() {
        return;
    }
    // A node that uses it, until it does not.
    let device = ocfs2_device::open(&image, &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    let offset = volume.heartbeat_region().unwrap().offset_bytes;
    drop(volume);
    let crashed = fixture_copy("crashed-4k-o2cb", &scratch);
    while_beating(&crashed, offset, 0, || {
        refused(&crashed, &["-o", "ro"], 32, "is in use by node 0: unmount it everywhere first");
        let mount = Mount::reading(&crashed, &["--unsafe-snapshot"]);
        assert!(fs::read_dir(&mount.folder).unwrap().count() > 0);
    });
    // Two may read it, one cannot write meanwhile.
    let mount = Mount::reading(&image, &[]);
    let label = Run::new(program("tunefs.ocfs2")).args(["-L", "new"]).arg(&image).output();
    assert!(label.status != 0, "{label}");
    drop(mount);
}

/// Waits until it is no longer mounted.
fn ended(child: &mut Child) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it does not end");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_signal_unmounts_it_and_images_of_o2image_can_be_mounted() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    let folder = scratch.join("mnt");
    fs::create_dir(&folder).unwrap();
    let packed = scratch.join("packed");
    let image = fixture("clean-1k-local");
    Run::new(program("o2image")).args(["-q", "-a"]).args([&image, &packed]).success();
    let said = mounting(&packed, &folder, &[]).expect_status(32);
    assert!(said.stderr.contains("has no room for what would be written"), "{said}");
    let mut child = Command::new(program("ocfs2-fuse"))
        .args(["-f", "-o", "ro"])
        .args([&packed, &folder])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while fs::read_dir(&folder).unwrap().next().is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "it is not mounted");
        thread::sleep(Duration::from_millis(50));
    }
    let mount = Mount { folder: folder.clone(), _scratch: Scratch::new() };
    let (found, expected) = (described(&mount), manifest("clean-1k-local"));
    assert_eq!(found.files.len(), expected.files.len());
    assert!(expected.sha256.iter().all(|(path, digest)| found.sha256.get(path) == Some(digest)));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(ended(&mut child), 0);
    assert!(fs::read_dir(&folder).unwrap().next().is_none());
}

#[test]
fn its_end_takes_nothing_else_along() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    let image = fixture("clean-1k-local");
    let said = mounting(&image, Path::new("/"), &["-o", "ro"]).expect_status(32);
    assert!(said.stderr.contains("is the root directory of this system"), "{said}");
    // Something else is mounted at the place before the program has ended.
    let mount = Mount::reading(&image, &[]);
    Run::new("umount").arg(&mount.folder).success();
    Run::new("mount").args(["-t", "tmpfs", "none"]).arg(&mount.folder).success();
    fs::write(mount.join("file"), "mine").unwrap();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "mine");
    drop(mount);
    // Contents that an image does not have are no zeros.
    let packed = scratch.join("packed");
    Run::new(program("o2image")).arg("-q").args([&image, &packed]).success();
    let mount = Mount::reading(&packed, &[]);
    let sound = Mount::reading(&image, &[]);
    let size = sound.join("extents/tree").metadata().unwrap().len();
    assert_eq!(mount.join("extents/tree").metadata().unwrap().len(), size);
    let err = fs::read(mount.join("extents/tree")).unwrap_err();
    assert_eq!(err.raw_os_error(), Some(5), "{err}");
    let cat = Run::new(program("debugfs.ocfs2")).args(["-i", "-R", "cat /extents/tree"]);
    cat.arg(&packed).output().expect_status(1);
}
