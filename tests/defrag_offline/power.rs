//! The power fails at any write: a replay gives a sound volume with every file, and the next run goes
//! on.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ocfs2_device::{AfterWrites, Device, DeviceOptions, FailingDevice, OverlayDevice, open};
use ocfs2_testing::{Run, Scratch, c_fsck_run, oracle, program};
use ocfs2_tests::listed;
use ocfs2_volume::{Volume, VolumeOptions};

use crate::bench::{all_codes, volume_at};
use crate::scattered::{lying, scattered};
use crate::{assert_same, defragfs, judge};

/// Forms of volumes, and how often files are written in turn.
const FORMS: [(&str, u64); 3] = [
    ("-b 512 -C 4K --fs-feature-level=max-features", 60),
    ("-b 1K -C 4K --fs-features=metaecc", 50),
    ("-b 4K -C 4K --fs-feature-level=max-features", 60),
];

/// Puts the files of a copy of `base` together until its power fails, and saves the copy. Returns the
/// number of writes.
fn until(base: &Arc<dyn Device>, writes: u64, then: AfterWrites, to: &Path) -> u64 {
    let disk: Arc<dyn Device> = Arc::new(OverlayDevice::new(base.clone(), 512));
    let volume = Volume::open(disk.clone(), &VolumeOptions::default()).unwrap();
    let failing = FailingDevice::new(disk.clone(), writes, then);
    let made = ocfs2_defragfs::arrange_volume(&volume, &failing, true);
    assert!(made.is_ok() || failing.writes() > writes, "{made:?}");
    let mut bytes = vec![0; disk.size_bytes() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    fs::write(to, bytes).unwrap();
    failing.writes()
}

#[test]
fn an_interruption_at_any_write_leaves_a_sound_volume_with_every_file() {
    interrupts(&FORMS[1..], 6);
}

#[test]
#[ignore = "more forms and points: cargo xtask test --all runs it"]
fn an_interruption_at_more_writes_does() {
    interrupts(&FORMS, 40);
}

/// Interrupts the work at about so many writes.
fn interrupts(forms: &[(&str, u64)], points: u64) {
    for (form, turns) in forms.iter().copied() {
        let scratch = Scratch::in_memory();
        let path = scattered(&scratch, form, turns);
        let (known, names) = (all_codes(&path), listed(&volume_at(&path), true));
        let before = lying(&path);
        let base: Arc<dyn Device> = open(&path, &DeviceOptions::default()).unwrap();
        let (after, copy) = (scratch.join("after.img"), scratch.join("by C.img"));
        // The C fsck repairs things that are none.
        let repaired_by_c = |image: &Path| {
            oracle("fsck.ocfs2").map(|fsck| {
                fs::copy(image, &copy).unwrap();
                let said = c_fsck_run(&fsck, "-fy", &copy);
                (listed(&volume_at(&copy), true), said)
            })
        };
        let names_by_c = repaired_by_c(&path);
        let all = until(&base, u64::MAX, AfterWrites::Fail, &after);
        judge(&after, &known, form);
        assert_same(&after, &before, form);
        let modes = [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear];
        let at = (0..all).step_by(all.div_ceil(points).max(1) as usize);
        let mut replayed = 0;
        for (writes, then) in at.zip(modes.into_iter().cycle()) {
            until(&base, writes, then, &after);
            let what = format!("{form}: {then:?} after {writes} of {all} writes");
            // The C fsck replays it as well.
            if let (Some((found, said)), Some((repaired, _))) = (repaired_by_c(&after), &names_by_c)
            {
                // What comes after a replay it does not do without a cluster.
                let is_replayed = said.stdout.contains("journal replayed successfully");
                let is_dirty = said.stdout.contains("Replaying slot 0's journal");
                assert_eq!(is_replayed, is_dirty, "{what}: {said}");
                let gives_up = said.stdout.contains("will not continue");
                assert!(found == *(if gives_up { &names } else { repaired }), "{what}: {said}");
            }
            let fsck = Run::new(program("fsck.ocfs2")).arg("-y").arg(&after).output();
            assert!(fsck.status <= 1, "{what}: {fsck}");
            replayed += usize::from(fsck.status == 1);
            judge(&after, &known, &what);
            assert_same(&after, &before, &what);
            assert!(listed(&volume_at(&after), true) == names, "{what}");
            let done = defragfs("--pack", &after, &[]);
            assert_eq!(done.status, 0, "{what}: {done}");
            judge(&after, &known, &what);
            assert_same(&after, &before, &what);
            let left = lying(&after);
            assert!(left.values().all(|it| it.pieces <= 1 || !it.shared.is_empty()), "{what}");
        }
        assert!(replayed > 0, "{form}: no point at which anything was to be replayed");
    }
}
