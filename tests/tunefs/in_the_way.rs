//! What lies in the part of a volume that goes and cannot be treated as others are: bad clusters, the
//! heartbeat region, the rest of a disk.

use std::fs;
use std::path::Path;

use ocfs2_device::DeviceOptions;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::{Cluster, Cpos};
use ocfs2_testing::{Outcome, Run, Scratch, oracle, program};
use ocfs2_tests::listed;
use ocfs2_volume::edit::{Edit, NewInode};
use ocfs2_volume::tree::Extent;
use ocfs2_volume::{SystemFile, Volume};

use crate::bench::{Bench, all_codes, volume_at};
use crate::rich::{change, rich};

fn shrink(path: &Path, options: &str, size: &str) -> Outcome {
    let tunefs =
        Run::new(program("tunefs.ocfs2")).args(["-y", "-q"]).args(options.split_whitespace());
    tunefs.arg("-Sclusters").arg(path).arg(size).output()
}

/// The first cluster of a system file, and the number of its clusters.
fn place(volume: &Volume, file: SystemFile) -> Option<(u32, u32)> {
    let inode = volume.system_file(file).unwrap();
    let first = volume.tree(&inode).unwrap().map(Cpos(0)).unwrap()?;
    Some((volume.geometry().cluster_of(first.blkno).unwrap().0, inode.dinode.i_clusters))
}

/// Notes clusters as bad.
fn note_as_bad(edit: &mut Edit, cluster: u32) {
    assert!(edit.take_cluster(cluster).unwrap());
    let file = edit.system_file(SystemFile::BadBlocks).unwrap();
    let (blkno, flags) = (edit.geometry().block_of(Cluster(cluster)), ExtentFlags::empty());
    let cpos = Cpos(file.dinode.i_clusters);
    edit.insert_extent(file.blkno, Extent { cpos, clusters: 1, blkno, flags }).unwrap();
    let size = u64::from(cpos.0 + 1) * u64::from(edit.geometry().cluster_size.bytes());
    edit.update_dinode(file.blkno, |dinode, _| dinode.i_size = size).unwrap();
}

#[test]
fn bad_clusters_are_forgotten_where_they_go_and_kept_where_they_stay() {
    let scratch = Scratch::in_memory();
    let path = rich(&scratch, "-b 4K -C 4K", "64M", 50);
    let last = volume_at(&path).geometry().clusters - 1;
    // The first of the two is the last one that stays.
    let new = last - 2000;
    change(&path, |edit| [new - 1, last - 1000].iter().for_each(|bad| note_as_bad(edit, *bad)));
    let (known, before) = (all_codes(&path), listed(&volume_at(&path), true));
    assert_eq!(place(&volume_at(&path), SystemFile::BadBlocks), Some((new - 1, 2)));
    assert_eq!(shrink(&path, "", &new.to_string()).status, 0);
    assert_eq!(place(&volume_at(&path), SystemFile::BadBlocks), Some((new - 1, 1)));
    let found = all_codes(&path);
    assert!(found.is_subset(&known), "{found:?}");
    assert!(listed(&volume_at(&path), true) == before);
    assert_eq!(shrink(&path, "", "min").status, 0);
    assert_eq!(place(&volume_at(&path), SystemFile::BadBlocks), None);
    assert!(all_codes(&path).is_subset(&known));
}

/// A volume whose heartbeat region is in its second half.
fn with_region_at_the_end(scratch: &Scratch) -> std::path::PathBuf {
    let path = rich(scratch, "-b 4K -C 4K", "64M", 50);
    change(&path, |edit| {
        let top = edit.superblock().s_root_blkno;
        let large = NewInode::of(FileKind::Regular, 0o600);
        let large = edit.create(top, b"large", &large).unwrap();
        let half = edit.geometry().size_bytes() / 2;
        edit.allocate(large, 0..half, false).unwrap();
    });
    change(&path, |edit| {
        let region = edit.system_file(SystemFile::Heartbeat).unwrap().blkno;
        edit.move_contents(region, &edit.beyond(1).unwrap(), 0).unwrap();
        let top = edit.superblock().s_root_blkno;
        edit.unlink(top, b"large").unwrap();
    });
    let volume = volume_at(&path);
    let (first, _) = place(&volume, SystemFile::Heartbeat).unwrap();
    assert!(first > volume.geometry().clusters / 2);
    path
}

#[test]
fn a_heartbeat_region_moves_in_one_piece() {
    let scratch = Scratch::in_memory();
    let path = with_region_at_the_end(&scratch);
    let (known, before) = (all_codes(&path), listed(&volume_at(&path), true));
    let half = volume_at(&path).geometry().clusters / 2;
    assert_eq!(shrink(&path, "", &half.to_string()).status, 0);
    let volume = volume_at(&path);
    let (first, count) = place(&volume, SystemFile::Heartbeat).unwrap();
    assert!(first + count <= half);
    let region = volume.system_file(SystemFile::Heartbeat).unwrap();
    assert_eq!(volume.tree(&region).unwrap().extents().count(), 1);
    assert!(volume.heartbeat_region().is_ok());
    assert!(all_codes(&path).is_subset(&known));
    assert!(listed(&volume, true) == before);
}

#[test]
fn the_region_of_a_global_heartbeat_stays_where_its_cluster_knows_it() {
    let scratch = Scratch::in_memory();
    let path = with_region_at_the_end(&scratch);
    change(&path, |edit| {
        edit.update_superblock(|superblock| {
            use ocfs2_format::feature::Incompat;
            use ocfs2_format::superblock::{STACK_O2CB, STACKFLAG_GLOBAL_HEARTBEAT};
            let mut features = superblock.features();
            features.incompat -= Incompat::LOCAL_MOUNT;
            features.incompat |= Incompat::CLUSTERINFO;
            superblock.set_features(features);
            superblock.s_cluster_info.ci_stack = STACK_O2CB;
            superblock.s_cluster_info.ci_cluster[..4].copy_from_slice(b"ovms");
            superblock.s_cluster_info.ci_stackflags = STACKFLAG_GLOBAL_HEARTBEAT;
        })
        .unwrap();
    });
    let (before, volume) = (fs::read(&path).unwrap(), volume_at(&path));
    let half = volume.geometry().clusters / 2;
    let refused = shrink(&path, "", &half.to_string());
    assert_eq!(refused.status, 1, "{refused}");
    let text = "the heartbeat region of the cluster is in the part that goes";
    assert!(refused.stderr.contains(text), "{refused}");
    assert!(before == fs::read(&path).unwrap());
    // A size with which it stays.
    let (first, count) = place(&volume, SystemFile::Heartbeat).unwrap();
    assert_eq!(shrink(&path, "", &(first + count).to_string()).status, 0);
    assert_eq!(place(&volume_at(&path), SystemFile::Heartbeat), Some((first, count)));
}

#[test]
fn in_a_partition_nothing_but_the_volume_becomes_smaller() {
    let Some(sfdisk) = oracle("sfdisk") else { return };
    let scratch = Scratch::in_memory();
    let (disk, alone) = (scratch.image("disk.img", 160 << 20), Bench::new("-b 4K -C 4K", "64M"));
    let script = "label: gpt\n,16M,L\n,64M,L\n,32M,L\n";
    Run::new(sfdisk).arg("-q").arg(&disk).stdin(script).success();
    let device = ocfs2_device::open(&disk, &DeviceOptions::default()).unwrap();
    let table = ocfs2_device::partition::read_table(&*device).unwrap().unwrap();
    let part = table.partition(2).unwrap().clone();
    let mut bytes = fs::read(&disk).unwrap();
    // The volume, and something after it that is not its own.
    let (start, end) = (part.start_bytes as usize, (part.start_bytes + part.size_bytes) as usize);
    bytes[start..end].copy_from_slice(&fs::read(&alone.path).unwrap());
    bytes[end..end + 4096].fill(0x5a);
    fs::write(&disk, &bytes).unwrap();
    let done = shrink(&disk, "--partition 2", "min");
    assert_eq!((done.status, done.stdout.as_str()), (0, ""), "{done}");
    let after = fs::read(&disk).unwrap();
    assert!(after[..start] == bytes[..start] && after[end..] == bytes[end..]);
    fs::write(&alone.path, &after[start..end]).unwrap();
    alone.judge("the partition");
    let clusters = alone.volume().geometry().clusters;
    assert_eq!(shrink(&alone.path, "", "min").status, 0);
    assert_eq!(alone.volume().geometry().clusters, clusters);
}
