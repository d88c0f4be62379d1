//! How a mount ends, and what it leaves.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use ocfs2_testing::{Run, Scratch, fixture_copy, manifest, program};

use crate::mount::{Mount, Written, is_possible, judge, mounting, volume};

#[test]
fn a_signal_leaves_a_clean_volume() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    let image = volume(&scratch, "-b 4K -C 4K -J size=4M", "64M");
    let mut mounted = Written::new(&image, &scratch.join("mnt"));
    fs::write(mounted.join("file"), "contents").unwrap();
    // Nobody else changes it meanwhile, and nobody reads it.
    for options in [&[][..], &["-o", "ro"]] {
        let other = scratch.join("other");
        let _ = fs::create_dir(&other);
        let said = mounting(&image, &other, options).expect_status(32);
        assert!(said.stderr.contains("in use"), "{said}");
    }
    let label = Run::new(program("tunefs.ocfs2")).args(["-L", "new"]).arg(&image).output();
    assert!(label.status != 0, "{label}");
    rustix::process::kill_process(mounted.pid(), rustix::process::Signal::TERM).unwrap();
    mounted.wait();
    judge(&image);
    let mount = Mount::reading(&image, &[]);
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "contents");
}

#[test]
fn a_crashed_volume_is_recovered_first_and_nothing_of_it_is_lost() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-1k-o2cb", &scratch);
    let expected = manifest("crashed-1k-o2cb");
    let mounted = Written::new(&image, &scratch.join("mnt"));
    let names = Command::new("find").arg(&mounted.folder).output().unwrap().stdout;
    let count = names.iter().filter(|byte| **byte == b'\n').count();
    assert!(count + 5 > expected.files.len(), "{count} of {}", expected.files.len());
    fs::write(mounted.join("written"), vec![9; 100_000]).unwrap();
    mounted.unmount();
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output().expect_status(0);
    let mount = Mount::reading(&image, &[]);
    assert_eq!(fs::read(mount.join("written")).unwrap(), vec![9; 100_000]);
}

#[test]
fn a_whole_file_is_copied_by_sharing_it() {
    if !is_possible() {
        return;
    }
    let scratch = Scratch::new();
    let image = volume(&scratch, "-b 4K -C 4K -J size=4M", "64M");
    let mounted = Written::new(&image, &scratch.join("mnt"));
    let (one, other) = (mounted.join("one"), mounted.join("other"));
    let contents: Vec<u8> = (0..20_000_000_u32).map(|index| (index / 977) as u8).collect();
    fs::write(&one, &contents).unwrap();
    let free = || rustix::fs::statvfs(&mounted.folder).unwrap().f_bfree;
    let before = free();
    let (from, to) = (File::open(&one).unwrap(), File::create_new(&other).unwrap());
    let count = rustix::fs::copy_file_range(&from, None, &to, None, contents.len()).unwrap();
    assert_eq!(count, contents.len());
    // A group of blocks for the refcount tree takes 1024 clusters, the contents would take 4883.
    assert!(before - free() < 1200, "it took {} clusters", before - free());
    // A write to one of them does not change the other.
    to.write_at(b"changed", 4_000_000).unwrap();
    assert!(fs::read(&one).unwrap() == contents);
    let mut expected = contents.clone();
    expected[4_000_000..4_000_007].copy_from_slice(b"changed");
    assert!(fs::read(&other).unwrap() == expected);
    assert_eq!(one.metadata().unwrap().len(), other.metadata().unwrap().len());
    drop((from, to));
    mounted.unmount();
    judge(&image);
}
