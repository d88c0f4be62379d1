//! The power fails while `tunefs.ocfs2` changes a volume: the kernel mounts it as it is, and finds every
//! file.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use ocfs2_device::{AfterWrites, Device, DeviceOptions, open};
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Run, Scratch, fixture_copy, manifest_at, program};
use ocfs2_tests::tunefs_until;

use crate::lab::shared_out;
use crate::switched::{assert_reads_as, found};
use crate::volume::NEW_JOURNAL;

/// A fixture, what it is prepared with, and the change that is interrupted.
const WORKS: [(&str, &str, &str); 6] = [
    ("clean-4k-o2cb", "--fs-features=local", "-N 1 x"),
    ("clean-1k-local", "--fs-features=nometaecc", "-N 1 x"),
    ("clean-1k-local", "--fs-features=nometaecc", "--fs-features=metaecc x"),
    ("clean-512-local", "", "--fs-features=noindexed-dirs x"),
    ("clean-2k-local", "", "-S x"),
    ("clean-1k-local", "", "-Sclusters x 15000"),
];

/// After so many tenths of the writes, and how.
type Point = (u64, AfterWrites);

fn judge(lab: &Lab, works: &[(&'static str, &str, &str)], points: &[Point]) -> Result<()> {
    let scratch = Scratch::new();
    let (mut images, mut script) = (Vec::new(), String::from("set -e\n"));
    let mut letters = 'a'..='z';
    for (index, (name, before, line)) in works.iter().enumerate() {
        let image = fixture_copy(name, &scratch);
        // Linux 6.1 puts more into a bucket of attributes than later kernels take.
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(&image).output();
        assert!(fsck.status <= 1, "{fsck}");
        if !before.is_empty() {
            Run::new(program("tunefs.ocfs2")).args(["-q", before]).arg(&image).success();
        }
        let mut known = found(&image);
        if line.contains("noindexed-dirs") {
            // Linux reads a directory without an index, and our fsck would give it one again.
            known.insert("[DX_TREE_MISSING".to_owned());
        }
        if line.starts_with("-S x") {
            File::options().write(true).open(&image)?.set_len(600 << 20)?;
        }
        let base: Arc<dyn Device> = open(&image, &DeviceOptions::default())?;
        let line = format!("-y -q {line}");
        let first = scratch.join("all.img");
        let all = tunefs_until(&base, &line, u64::MAX, AfterWrites::Fail, &first);
        for (tenths, then) in points.iter().cycle().skip(index).take(points.len().min(3)) {
            let letter = letters.next().expect("there are more disks than letters");
            let (writes, cut) = (all * tenths / 10, scratch.join(format!("{letter}.img")));
            tunefs_until(&base, &line, writes, *then, &cut);
            let what = format!("{name} {line}: {then:?} after {writes} of {all} writes");
            eprintln!("{letter}: {what}");
            script += &format!(
                "mount-volume /dev/vd{letter} /mnt
                volume-contents manifest /mnt /share/{letter}
                mkdir /mnt/new; for name in 1 2 3 4 5 6 7 8 9; do echo $name >/mnt/new/$name; done
                umount /mnt\n"
            );
            images.push((letter, cut, *name, what, known.clone()));
        }
        std::fs::remove_file(image)?;
        std::fs::remove_file(first)?;
    }
    let share = Scratch::new();
    let run = lab.vm().disks(images.iter().map(|(_, image, ..)| image)).share(share.path());
    let run = run.program(program("volume-contents")).script(script).allow(NEW_JOURNAL);
    let run = run.timeout(Duration::from_secs(900)).run()?;
    run.assert_ok();
    for (letter, image, name, what, known) in images {
        assert_reads_as(name, manifest_at(share.path(), &letter.to_string()), &what);
        assert!(found(&image).is_subset(&known), "{what}: {:?}", found(&image));
    }
    Ok(())
}

#[test]
fn linux_finds_every_file_after_a_change_that_was_interrupted() -> Result<()> {
    const POINTS: [Point; 1] = [(7, AfterWrites::Tear)];
    // All of them at more points with --all.
    let works: Vec<_> = WORKS.into_iter().step_by(2).collect();
    shared_out(&works, |lab, works| judge(lab, &works, &POINTS))
}

#[test]
#[ignore = "slow: run by cargo xtask kernel --all"]
fn linux_finds_every_file_after_changes_that_were_interrupted_at_more_points() -> Result<()> {
    const POINTS: [Point; 4] = [
        (2, AfterWrites::Drop),
        (5, AfterWrites::Fail),
        (8, AfterWrites::Drop),
        (9, AfterWrites::Tear),
    ];
    shared_out(&WORKS, |lab, works| judge(lab, &works, &POINTS))
}
