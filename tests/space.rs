//! Taking space from the allocators of volumes made by the kernel, and returning it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use ocfs2_device::{DeviceOptions, OverlayDevice, open};
use ocfs2_testing::fixture;
use ocfs2_volume::allocator::{Allocator, Want};
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::{SystemFile, Volume, VolumeOptions};

/// Opens a volume on an overlay.
fn volume() -> Volume {
    let device = open(&fixture("clean-4k-o2cb"), &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    let overlay = OverlayDevice::new(volume.device().clone(), volume.block_size().bytes());
    volume.on(Arc::new(overlay))
}

fn free(volume: &Volume, allocator: &Allocator) -> (u32, u32) {
    let bits: u32 = volume.groups(allocator).map(|group| group.unwrap().free_bits()).sum();
    let chains: u32 = allocator.chains.iter().map(|chain| chain.c_free).sum();
    let (used, total) = allocator.inode.dinode.bitmap();
    assert_eq!(chains, bits);
    assert_eq!(total - used, bits);
    (bits, total)
}

/// Commits an edit to the overlay that `volume` is on.
fn commit(mut edit: Edit, volume: &Volume) {
    edit.finish().unwrap();
    edit.commit(How::Unguarded, &**volume.device()).unwrap();
}

#[test]
fn what_is_taken_is_counted_everywhere_and_comes_back() {
    let volume = volume();
    let clusters = || free(&volume, &volume.global_bitmap().unwrap());
    let (before, _) = clusters();

    let mut edit = Edit::new(&volume, EditOptions::default());
    let first = edit.take_clusters(Want::up_to(3)).unwrap();
    let second = edit.take_clusters(Want::up_to(1)).unwrap();
    assert_eq!((first.end - first.start, second.end - second.start), (3, 1));
    assert!(first.end <= second.start || second.end <= first.start);
    commit(edit, &volume);
    assert_eq!(clusters().0, before - 4);
    let mut edit = Edit::new(&volume, EditOptions::default());
    edit.give_clusters(first).unwrap();
    edit.give_clusters(second).unwrap();
    commit(edit, &volume);
    assert_eq!(clusters().0, before);
}

#[test]
fn a_suballocator_grows_when_all_its_blocks_are_taken() {
    let volume = volume();
    let blocks = || {
        let file = volume.system_file(SystemFile::ExtentAlloc(0)).unwrap();
        free(&volume, &volume.allocator(file).unwrap())
    };
    let (before, total) = blocks();
    let mut edit = Edit::new(&volume, EditOptions::default());
    let mut taken = Vec::new();
    for _ in 0..=before {
        taken.push(edit.take_block("extent block").unwrap());
    }
    commit(edit, &volume);
    let (after, grown) = blocks();
    assert!(grown > total);
    assert_eq!(after, before + (grown - total - 1) - (before + 1));
    let mut blknos: Vec<_> = taken.iter().map(|block| block.blkno).collect();
    blknos.sort_unstable();
    blknos.dedup();
    assert_eq!(blknos.len(), taken.len());
    let mut edit = Edit::new(&volume, EditOptions::default());
    taken.into_iter().for_each(|block| edit.give_block(block).unwrap());
    commit(edit, &volume);
    assert_eq!(blocks().0, after + before + 1);
}
