//! Opening real block devices: loop devices over images.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_device::{Caching, DeviceOptions, OpenCause};
use ocfs2_testing::{LoopDevice, Run, Scratch, allocated_bytes, find_program, program, skip};

fn exclusive() -> DeviceOptions {
    DeviceOptions { write: true, exclusive: true, ..Default::default() }
}

fn holders(path: &Path) -> String {
    match ocfs2_device::open(path, &exclusive()) {
        Err(err) if matches!(err.cause, OpenCause::InUse { .. }) => err.to_string(),
        Err(err) => panic!("{err}"),
        Ok(_) => panic!("{} is in use and opened", path.display()),
    }
}

#[test]
fn a_block_device_is_read_written_zeroed_and_discarded() {
    let scratch = Scratch::new();
    let image = scratch.image("disk.img", 64 << 20);
    for (caching, sector_size) in [
        (Caching::Cached, 512),
        (Caching::ReadOnce, 4096),
        (Caching::Direct, 512),
        (Caching::Direct, 4096),
    ] {
        let arguments = ["--sector-size".to_owned(), sector_size.to_string()];
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let Some(disk) = LoopDevice::attach(&image, &arguments) else { return };
        let options = DeviceOptions { caching, ..exclusive() };
        let device = ocfs2_device::open(disk.path(), &options).unwrap();
        assert_eq!(device.size_bytes(), 64 << 20);
        assert_eq!(device.sector_size(), sector_size);

        device.write_at(&vec![7; 9 << 20], 1000).unwrap();
        device.zero(5000, (8 << 20) - 1).unwrap();
        device.flush().unwrap();
        let mut bytes = vec![0; 10 << 20];
        for fresh in [false, true] {
            if fresh {
                device.read_fresh_at(&mut bytes, 0).unwrap();
            } else {
                device.read_at(&mut bytes, 0).unwrap();
            }
            let expected = |at: usize| {
                u8::from((1000..5000).contains(&at) || (8_393_607..9_438_184).contains(&at)) * 7
            };
            let wrong = (0..bytes.len()).find(|at| bytes[*at] != expected(*at));
            assert_eq!(wrong, None, "{caching:?}, fresh {fresh}, sectors of {sector_size}");
        }
        assert!(allocated_bytes(&image) < 2 << 20, "zeroing did not free the space");
        device.discard(0, 64 << 20).unwrap();
        assert_eq!(allocated_bytes(&image), 0);
    }
}

#[test]
fn a_block_device_in_use_is_not_opened_and_its_mount_point_is_named() {
    let scratch = Scratch::new();
    let image = scratch.image("disk.img", 64 << 20);
    let Some(disk) = LoopDevice::attach(&image, &[]) else { return };

    let first = ocfs2_device::open(disk.path(), &exclusive()).unwrap();
    assert!(holders(disk.path()).contains("another process has it"));
    ocfs2_device::open(disk.path(), &DeviceOptions::default()).unwrap();
    drop(first);

    let Some(mkfs) = find_program("mkfs.ext4") else { return skip("there is no mkfs.ext4") };
    Run::new(mkfs).arg("-q").arg(disk.path()).success();
    let mount_point = scratch.join("a folder");
    fs::create_dir(&mount_point).unwrap();
    let mount = Run::new("mount").arg(disk.path()).arg(&mount_point).output();
    if mount.status != 0 {
        return skip(&format!("nothing can be mounted here: {}", mount.stderr.trim()));
    }
    let expected = format!("{} is mounted on {}", disk.path().display(), mount_point.display());
    let (of_device, of_image) = (holders(disk.path()), holders(&image));
    Run::new("umount").arg(&mount_point).success();
    assert!(of_device.ends_with(&format!("is in use: {expected}")), "{of_device}");
    assert!(of_image.ends_with(&format!("is in use: {expected}")), "{of_image}");
    ocfs2_device::open(disk.path(), &exclusive()).unwrap();
}

#[test]
fn an_image_and_its_loop_devices_are_one_thing() {
    let scratch = Scratch::new();
    let image = scratch.image("disk.img", 64 << 20);
    let Some(disk) = LoopDevice::attach(&image, &[]) else { return };
    let Some(twin) = LoopDevice::attach(&image, &[]) else { return };
    let by_another_name = scratch.join("link.img");
    fs::hard_link(&image, &by_another_name).unwrap();
    let all = [image.as_path(), disk.path(), twin.path(), by_another_name.as_path()];
    for first in all {
        let device = ocfs2_device::open(first, &exclusive()).unwrap();
        for other in all {
            let text = holders(other);
            assert!(text.contains("another process has"), "{}: {text}", first.display());
            ocfs2_device::open(other, &DeviceOptions::default()).unwrap();
        }
        drop(device);
    }
    // The lock is held by this process, not by the program that is run.
    let _device = ocfs2_device::open(&image, &exclusive()).unwrap();
    let mkfs =
        Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local"]).arg(disk.path()).output();
    assert!(mkfs.status != 0 && mkfs.stderr.contains("another process has"), "{mkfs}");
    // -F alone does not override it; the message names -F -x.
    for path in [disk.path(), &image, &by_another_name] {
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local"]);
        let refused = mkfs.arg(path).output().expect_status(1);
        assert!(refused.stderr.contains("-F -x overwrites it"), "{refused}");
        assert!(fs::read(&image).unwrap().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_device_that_cannot_be_written_is_noticed_when_it_is_opened() {
    let scratch = Scratch::new();
    let image = scratch.image("disk.img", 64 << 20);
    Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local"]).arg(&image).success();
    let Some(disk) = LoopDevice::attach(&image, &["--read-only"]) else { return };
    for (tool, options, status) in [
        ("fsck.ocfs2", &["-fy"][..], 8),
        ("mkfs.ocfs2", &["-F", "-x"], 1),
        ("mkfs.ocfs2", &["-n", "-F", "-x"], 1),
        // A check with -n writes nothing.
        ("fsck.ocfs2", &["-fn"], 0),
    ] {
        let outcome = Run::new(program(tool)).args(options).arg(disk.path()).output();
        let outcome = outcome.expect_status(status);
        assert_eq!(outcome.stderr.contains("is read-only"), status != 0, "{outcome}");
        assert!(status == 0 || !outcome.stdout.contains("Label"), "{outcome}");
    }
}

#[test]
fn what_is_there_in_the_place_of_a_volume_is_told_by_all_programs() {
    let scratch = Scratch::new();
    let of = |name: &str, bytes: &[(u64, &[u8])]| {
        let path = scratch.image(name, 64 << 20);
        let file = fs::File::options().write(true).open(&path).unwrap();
        bytes.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        path
    };
    let entry = b"\x83\0\0\0\x08\0\0\0\x08\0\0\0";
    let disk = of("disk.img", &[(450, entry), (510, b"\x55\xaa")]);
    let other = of("ext2.img", &[(1080, b"\x53\xef")]);
    let label = Path::new("LABEL=of nobody");
    for (path, told) in [
        (disk.as_path(), "--partition N"),
        (&other, "ext2"),
        (label, "no block device of this machine has an OCFS2 volume with label `of nobody`"),
    ] {
        for (tool, options, status) in [
            ("fsck.ocfs2", &["-n"][..], 8),
            ("fsck.ocfs2", &["-fy"], 8),
            ("mounted.ocfs2", &["-d"], 1),
            ("tunefs.ocfs2", &["-Q", "%V"], 1),
            ("mkfs.ocfs2", &["-n"], 1),
        ] {
            let outcome = Run::new(program(tool)).args(options).arg(path).output();
            assert!(outcome.expect_status(status).stderr.contains(told), "{told}");
        }
    }
}
