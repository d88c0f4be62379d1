//! Our reader on volumes that the Linux kernel wrote.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ocfs2_testing::fixture;
use ocfs2_volume::device::{self, DeviceOptions};
use ocfs2_volume::usage::{Heartbeat, Region};
use ocfs2_volume::{Volume, VolumeOptions};

fn open(name: &str) -> Volume {
    let device = device::open(&fixture(name), &DeviceOptions::default()).unwrap();
    Volume::open(Arc::clone(&device), &VolumeOptions::default()).unwrap()
}

#[test]
fn slots_and_journals_say_who_did_not_unmount() {
    let region = Region { offset_bytes: 1_118_208, size_bytes: 1 << 20 };
    let rows = [
        ("clean-1k-local", vec![], vec![false; 2], Heartbeat::Local),
        ("clean-512-local", vec![], vec![false], Heartbeat::Local),
        ("clean-1m-global", vec![], vec![false; 4], Heartbeat::Global),
        ("clean-4k-o2cb", vec![], vec![false; 4], Heartbeat::OnVolume(region)),
        (
            "crashed-4k-o2cb",
            vec![(0, 0), (1, 1)],
            vec![true, true, false, false],
            Heartbeat::OnVolume(region),
        ),
        ("crashed-512-local", vec![(0, 0)], vec![true], Heartbeat::Local),
    ];
    for (name, taken, dirty, heartbeat) in rows {
        let volume = open(name);
        let places = volume.places().unwrap();
        let slots: Vec<_> = places.taken.iter().map(|taken| (taken.slot, taken.node)).collect();
        assert_eq!(slots, taken, "{name}");
        assert_eq!(places.heartbeat, heartbeat, "{name}");
        let slots = 0..volume.max_slots();
        let journals: Vec<_> = slots.map(|slot| volume.journal(slot).unwrap()).collect();
        assert_eq!(journals.iter().map(|j| j.is_dirty()).collect::<Vec<_>>(), dirty, "{name}");
        assert!(journals.iter().all(|j| j.superblock.s_maxlen > 0), "{name}");
    }
}
