//! A group of inodes in several pieces that becomes empty: Linux 7 frees clusters of other files then.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ocfs2_testing::{Run, Scratch, c_fsck_run, fixture_copy, oracle, program};

use crate::lab::labs;
use crate::volume::NEW_JOURNAL;

/// What the program says of a volume.
fn shown(image: &Path, command: &str) -> String {
    Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(image).success().stdout
}

/// Runs of clusters that are in use and clear in the global bitmap.
fn lost(image: &Path) -> usize {
    let found = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image).output();
    let is_lost = |line: &&str| {
        line.starts_with("[CLUSTER_ALLOC_BIT]")
            && line.contains("in use and clear in the global bitmap")
    };
    found.stdout.lines().filter(is_lost).count()
}

#[test]
fn what_linux_7_frees_with_an_emptied_group_belongs_to_its_files_again() -> Result<()> {
    let Some(lab) = labs().pop() else { return Ok(()) };
    let major = lab.kernel_release().split('.').next().unwrap_or_default();
    let major: u32 = major.parse().context("a release begins with a number")?;
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    Run::new(program("fsck.ocfs2")).arg("-fyF").arg(&image).output();
    Run::new(program("tunefs.ocfs2")).args(["-q", "--fs-features=local"]).arg(&image).success();
    // All that is not removed below; the file that fills the gaps between the pieces of the group.
    let others = ["/n0/ballast", "/n1"];
    let before = others.map(|path| shown(&image, &format!("blocks {path}")));
    assert!(before[0].len() > 1000, "the file has few clusters: {}", before[0]);
    let script = "set -e
        mount-volume /dev/vda /mnt
        rm -rf /mnt/n0/discontig
        umount /mnt";
    let run = lab.vm().disk(&image).allow(NEW_JOURNAL).timeout(Duration::from_secs(300));
    run.script(script).run()?.assert_ok();
    // Otherwise the note in docs/mkfs.md would no longer be so.
    let lost_before = lost(&image);
    assert_eq!(lost_before > 0, major >= 7, "{}: {lost_before}", lab.kernel_release());
    let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(&image).output();
    assert!(fsck.status <= 1, "{fsck}");
    assert_eq!(lost(&image), 0);
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output().expect_status(0);
    if let Some(fsck) = oracle("fsck.ocfs2") {
        let said = c_fsck_run(&fsck, "-fn", &image);
        assert!(!said.stdout.contains("CLUSTER_ALLOC_BIT"), "{said}");
    }
    assert!(others.map(|path| shown(&image, &format!("blocks {path}"))) == before);
    Ok(())
}
