//! The power fails at any write of a running log: after a replay the volume is in the state after
//! one of its transactions, and sound.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ocfs2_device::{AfterWrites, Device, DeviceOptions, FailingDevice, OverlayDevice, open};
use ocfs2_format::Blkno;
use ocfs2_testing::{Random, Run, Scratch, program};
use ocfs2_volume::edit::{EditOptions, Session};
use ocfs2_volume::{Volume, VolumeOptions};

use crate::bench::{Bench, found_by_c};
use crate::files::contents;

fn volume(device: Arc<dyn Device>) -> Volume {
    Volume::open(device, &VolumeOptions::default()).unwrap()
}

/// Replays the journal, as a mount after a crash does.
fn recover(device: &Arc<dyn Device>) {
    let volume = volume(device.clone());
    if volume.journal_is_dirty(0).unwrap() {
        let replay = volume.replay(0).unwrap();
        replay.apply(&volume, device).unwrap();
        replay.finish(&volume, device).unwrap();
        replay.mark_clean(&volume, device).unwrap();
    }
}

/// Returns the contents of the file after each transaction.
fn states(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(77);
    (0..=count)
        .map(|index| {
            let len = if index == 0 { 0 } else { random.below(40_000) };
            random.bytes(len)
        })
        .collect()
}

/// Makes transactions until the device fails. Returns the number of committed ones.
fn work(disk: &Arc<dyn Device>, device: Arc<dyn Device>, file: Blkno, states: &[Vec<u8>]) -> usize {
    let options = EditOptions::default();
    let Ok(mut session) = Session::open(&volume(disk.clone()), device, options) else { return 0 };
    for (index, state) in states.iter().enumerate().skip(1) {
        let mut edit = session.edit();
        edit.truncate(file, 0).unwrap();
        edit.write_file(file, 0, state).unwrap();
        if session.commit(edit).is_err() {
            return index - 1;
        }
        assert!(contents(session.volume(), file) == *state, "transaction {index}");
        // Some transactions are in the log together, others are not.
        if index % 3 == 0 && session.checkpoint().is_err() {
            return index;
        }
    }
    let _ = session.close();
    states.len() - 1
}

fn judge(disk: &Arc<dyn Device>, scratch: &Path, what: &str) {
    let path = scratch.join("after.img");
    let mut bytes = vec![0; disk.size_bytes() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let outcome = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&path).output();
    assert_eq!(outcome.status, 0, "{what}: {outcome:?}");
    assert_eq!(found_by_c(&path), BTreeSet::new(), "{what}");
}

#[test]
fn power_that_fails_at_any_write_leaves_what_one_of_the_transactions_left() {
    let bench = Bench::new("-M local -N 1 -b 1K -C 4K -J size=4M --fs-features=metaecc", "16M");
    let file = bench.empty_file(0);
    let base: Arc<dyn Device> = open(bench.path(), &DeviceOptions::default()).unwrap();
    let states = states(8);
    let scratch = Scratch::new();
    let mut seen = vec![0; states.len()];
    for then in [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear] {
        for writes in 0.. {
            let disk: Arc<dyn Device> = Arc::new(OverlayDevice::new(base.clone(), 1024));
            let failing = Arc::new(FailingDevice::new(disk.clone(), writes, then));
            let committed = work(&disk, failing.clone(), file, &states);
            let is_done = failing.writes() <= writes;
            recover(&disk);
            let found = contents(&volume(disk.clone()), file);
            let which = states.iter().position(|state| *state == found);
            let what = format!("{then:?} after {writes} writes, {committed} committed");
            let Some(which) = which else { panic!("{what}: {} bytes", found.len()) };
            match then {
                // Without an error the work goes on although the writes are lost.
                AfterWrites::Drop => assert!(which <= committed, "{what}: {which}"),
                _ => assert!((committed..=committed + 1).contains(&which), "{what}: {which}"),
            }
            seen[which] += 1;
            if writes % 16 == 0 || is_done {
                judge(&disk, scratch.path(), &what);
            }
            if is_done {
                assert_eq!(which, states.len() - 1);
                break;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 3), "{seen:?}");
}
