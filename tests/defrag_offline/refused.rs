//! Volumes that are left alone, and runs that are interrupted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use ocfs2_testing::{Run, Scratch, fixture_copy, program};
use ocfs2_tests::listed;

use crate::bench::{all_codes, volume_at};
use crate::defragfs;
use crate::scattered::scattered;

#[test]
fn unclean_and_unsound_volumes_are_not_changed() {
    let scratch = Scratch::in_memory();
    let crashed = fixture_copy("crashed-512-local", &scratch);
    let bytes = fs::read(&crashed).unwrap();
    let refused = defragfs("", &crashed, &[]);
    assert_eq!(refused.status, 1, "{refused}");
    assert!(refused.stderr.contains("run fsck.ocfs2 first"), "{refused}");
    assert!(bytes == fs::read(&crashed).unwrap());

    let path = scattered(&scratch, "-b 4K -C 4K", 20);
    let first = volume_at(&path).geometry().first_group;
    let debugfs = Run::new(program("debugfs.ocfs2")).args(["-w", "-R"]);
    debugfs.arg(format!("set_group --direct {first} bg_free_bits_count 3")).arg(&path).success();
    let bytes = fs::read(&path).unwrap();
    let refused = defragfs("", &path, &[]);
    assert_eq!(refused.status, 1, "{refused}");
    assert!(refused.stderr.contains("run fsck.ocfs2 -f first"), "{refused}");
    assert!(bytes == fs::read(&path).unwrap());

    let all = defragfs("--pack", &path, &["/few"]);
    assert!(all.status == 1 && all.stderr.contains("leave out the paths"), "{all}");
}

/// What is free in the bitmap and has an owner, and what has two, is neither moved nor overwritten.
#[test]
fn a_volume_with_clusters_of_no_owner_or_of_two_is_not_changed() {
    let damages = ["freeb --direct CLUSTER 1", "set --direct <INODE>.l_recs[0].e_blkno BLOCK"];
    for damage in damages {
        let scratch = Scratch::in_memory();
        let path = scattered(&scratch, "-b 4K -C 4K", 20);
        let volume = volume_at(&path);
        let first = |name: &[u8]| {
            let inode = volume.resolve(name).unwrap();
            volume.tree(&inode).unwrap().extents().next().unwrap().unwrap().blkno
        };
        let block = first(b"/turn 0");
        let other = volume.resolve(b"/turn 1").unwrap().blkno;
        let cluster = volume.geometry().cluster_of(block).unwrap();
        let command = damage.replace("CLUSTER", &cluster.0.to_string());
        let command =
            command.replace("BLOCK", &block.to_string()).replace("INODE", &other.to_string());
        let debugfs = Run::new(program("debugfs.ocfs2")).args(["-w", "-R"]);
        debugfs.arg(&command).arg(&path).success();
        let bytes = fs::read(&path).unwrap();
        for options in ["", "--pack", "-n"] {
            let refused = defragfs(options, &path, &[]);
            assert_eq!(refused.status, 1, "{command}: {refused}");
            assert!(refused.stderr.contains("run fsck.ocfs2 -f first"), "{refused}");
            assert!(bytes == fs::read(&path).unwrap(), "{command}");
        }
    }
}

#[test]
fn a_signal_ends_it_with_a_sound_volume() {
    let scratch = Scratch::in_memory();
    let path = scattered(&scratch, "-b 4K -C 4K --fs-feature-level=max-features", 300);
    let (known, names) = (all_codes(&path), listed(&volume_at(&path), true));
    let mut child = Command::new(program("defragfs.ocfs2"))
        .args(["--offline", "--pack", "--progress", "2"])
        .arg(&path)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("{\"task\":\"Putting directories together\""), "{first}");
    Run::new("kill").args(["-INT", &child.id().to_string()]).success();
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{rest:?}");
    assert_eq!(all_codes(&path), known);
    assert!(listed(&volume_at(&path), true) == names);
}
