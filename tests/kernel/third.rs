//! A kernel between the oldest and the newest that judge: a short story.

use std::time::Duration;

use anyhow::Result;
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Run, Scratch, fixture_copy, manifest_at, program, skip};

use crate::lab::lab;
use crate::switched::{assert_reads_as, found};
use crate::volume::{LOCAL, NEW_JOURNAL, assert_fsck_is_content, mkfs};

/// Volumes that each of the other kernels has made.
const OLD: &str = "clean-2k-local";
const NEW: &str = "clean-1k-linux7-local";

/// Our volume is filled, defragmented and extended; those of the other kernels are read file by file.
const STORY: &str = "set -e
    mount-volume /dev/vda /mnt
    mkdir /mnt/many; for name in $(seq 200); do echo $name >/mnt/many/$name; done
    for at in 1 3 5 7 0 2 4 6; do
        yes $at | dd of=/mnt/file bs=64K count=1 seek=$at conv=notrunc iflag=fullblock 2>/dev/null; sync
    done
    md5sum /mnt/file >/tmp/sum
    defragfs.ocfs2 -v /mnt
    md5sum -c /tmp/sum
    ln /mnt/file /mnt/link; rm -r /mnt/many
    umount /mnt
    for disk in b c; do
        mount-volume /dev/vd$disk /mnt
        volume-contents manifest /mnt /share/$disk
        umount /mnt
    done
    uname -r";

#[test]
fn a_third_kernel_reads_what_the_others_made_and_fills_what_we_made() -> Result<()> {
    if lab().is_none() {
        return Ok(());
    }
    let lab = match Lab::between() {
        Ok(Some(lab)) => lab,
        Ok(None) => return Ok(()),
        Err(err) => {
            skip(&format!("{err:#}"));
            return Ok(());
        }
    };
    let scratch = Scratch::new();
    let options: Vec<_> = ["-b", "4K", "-C", "4K", "-N", "2", "-J", "size=8M"].into();
    let image = mkfs(&scratch, "ours.img", 300 << 20, &[&options[..], &LOCAL].concat());
    let others = [OLD, NEW].map(|name| fixture_copy(name, &scratch));
    for other in &others {
        // What this kernel finds wrong and the others do not.
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(other).output();
        assert!(fsck.status <= 1, "{fsck}");
    }
    let before = others.each_ref().map(|image| found(image));
    let share = Scratch::new();
    let machine = lab.vm().disks([&image].into_iter().chain(&others)).share(share.path());
    let machine = machine.program(program("volume-contents")).program(program("defragfs.ocfs2"));
    let machine = machine.script(STORY).allow(NEW_JOURNAL).timeout(Duration::from_secs(600));
    let run = machine.run()?;
    run.assert_ok();
    let output = run.output();
    assert!(output.contains("file: OK") && output.contains(lab.kernel_release()), "{output}");
    eprintln!("judged by Linux {}", lab.kernel_release());
    assert_fsck_is_content(&image, &[]);
    for ((name, disk), (image, before)) in
        [(OLD, "b"), (NEW, "c")].into_iter().zip(others.iter().zip(&before))
    {
        assert_reads_as(name, manifest_at(share.path(), disk), name);
        assert!(found(image).is_subset(before), "{name}: {:?}", found(image));
    }
    Ok(())
}
