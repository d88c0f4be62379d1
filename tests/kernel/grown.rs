//! Volumes that are extended while they are mounted.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use ocfs2_testing::{Run, Scratch, oracle, program};

use crate::lab::{lab, labs};
use crate::volume::{LOCAL, NEW_JOURNAL, O2CB, assert_fsck_is_content, mkfs};

/// Files are written all the time; the size changes several times in a row, within a group and by
/// whole groups, past the first backup of the superblock.
const LOCAL_SCRIPT: &str = r#"
    set -e
    mount-volume /dev/vda /mnt
    (while [ ! -e /tmp/stop ]; do
        i=$((i + 1)); mkdir -p /mnt/d$((i % 7))
        dd if=/dev/urandom of=/mnt/d$((i % 7))/f$i bs=7000 count=$((i % 90)) 2>/dev/null || exit
        [ $((i % 5)) != 0 ] || rm /mnt/d*/f$((i - 3))
    done) & writer=$!
    blocks() { stat -f -c %b /mnt; }
    for size in 70M 133M 134M 500M; do
        tunefs.ocfs2 -v -Sbytes /dev/vda $size 2>&1
        echo "grown to $size: $(blocks)"
    done
    set +e
    tunefs.ocfs2 -Sbytes /dev/vda 600M >/tmp/one 2>&1 & one=$!
    tunefs.ocfs2 -Sbytes /dev/vda 600M >/tmp/two 2>&1; two=$?
    wait $one; echo "two at once: $? $two $(blocks)"; cat /tmp/one /tmp/two
    tunefs.ocfs2 -Sbytes /dev/vda 550M 2>&1; echo "smaller: $?"
    tunefs.ocfs2 -Sbytes /dev/vda 9T 2>&1; echo "larger than the device: $?"
    tunefs.ocfs2 -L other /dev/vda 2>&1; echo "label: $?"
    tunefs.ocfs2 -L other -S /dev/vda 2>&1; echo "label and size: $?"
    tunefs.ocfs2 -n -S /dev/vda 2>&1; echo "preview: $? $(blocks)"
    touch /tmp/stop; wait $writer
    mount -o remount,ro /mnt; tunefs.ocfs2 -S /dev/vda 2>&1; echo "read-only: $?"
    mount -o remount,rw /mnt
    tunefs.ocfs2 -p -S /dev/vda; echo "to the end: $? $(blocks)"
    tunefs.ocfs2 -v -S /dev/vda 2>&1; echo "again: $? $(blocks)"
    find /mnt -type f | sort | xargs md5sum >/tmp/before
    # What is new is used.
    fallocate -l 1000M /mnt/large; echo "large: $?"
    umount /mnt; mount-volume /dev/vda /mnt
    md5sum -c /tmp/before >/dev/null && echo "$(wc -l </tmp/before) files are equal"
    umount /mnt
"#;

#[test]
fn a_mounted_volume_grows_while_files_are_written() -> Result<()> {
    let features = ["--fs-features=metaecc", "--fs-features=nometaecc,nobackup-super"];
    for (lab, features) in labs().into_iter().zip(features) {
        let scratch = Scratch::new();
        let options = ["-b", "1K", "-C", "4K", "-J", "size=8M", "-N", "2", features];
        let disk = mkfs(&scratch, "grown.img", 64 << 20, &[&options, &LOCAL[..]].concat());
        extend(&disk, 1200);
        let run = lab.vm().disk(&disk).program(program("tunefs.ocfs2")).script(LOCAL_SCRIPT);
        let run = run.allow(NEW_JOURNAL).run()?;
        run.assert_ok();
        let output = run.output();
        let said = |text: &str| assert!(output.contains(text), "{text}: {output}");
        for (size, mib) in [("70M", 70), ("133M", 133), ("134M", 134), ("500M", 500)] {
            said(&format!("grown to {size}: {}\n", mib * 1024));
        }
        let one = "another program resizes the volume, on this node or another one";
        let both = ["0 2", "2 0", "0 0", "1 0", "0 1"];
        let both = both.map(|it| format!("two at once: {it} {}\n", 600 * 1024));
        assert!(both.iter().any(|it| output.contains(it)), "{output}");
        if !output.contains("two at once: 0 0") {
            said(one);
        }
        said("smaller: 1\n");
        said("larger than the device: 1\n");
        said("label: 1\n");
        said("only its size can be changed there");
        said("label and size: 1\n");
        said("from 153600 to 307200 clusters? n\n");
        said(&format!("preview: 0 {}\n", 600 * 1024));
        said("is mounted read-only on /mnt");
        said("read-only: 1\n");
        said("% > Growing the filesystem]\n");
        said(&format!("to the end: 0 {}\n", 1200 * 1024));
        said("is already 307200 clusters; nothing to do\n");
        said("large: 0\n");
        said(" files are equal\n");
        judge(&disk, 1200);
        // The C tool goes on where ours ended.
        if let Some(theirs) = oracle("tunefs.ocfs2") {
            extend(&disk, 1250);
            Run::new(theirs).args(["-y", "-q", "-S"]).arg(&disk).success();
            judge(&disk, 1250);
        }
    }
    Ok(())
}

fn extend(path: &Path, mib: u64) {
    File::options().write(true).open(path).unwrap().set_len(mib << 20).unwrap();
}

/// Both fscks find nothing, and the size is right.
fn judge(disk: &Path, mib: u64) {
    assert_fsck_is_content(disk, &[]);
    let blocks = Run::new(program("debugfs.ocfs2")).args(["-R", "stat //global_bitmap"]).arg(disk);
    let size = format!("Size: {}\n", mib << 20);
    let said = blocks.success().stdout;
    assert!(said.contains(&size), "{size}: {said}");
}

/// Both nodes write; each of them extends the volume in its turn, then the C tool does, and one is
/// refused while the other one is at it.
const CLUSTER_SCRIPT: &str = r#"
    set -e
    ln -sf /proc/mounts /etc/mtab
    mount-volume /dev/vda /mnt
    barrier mounted
    (while [ ! -e /tmp/stop ]; do
        i=$((i + 1)); dd if=/dev/urandom of=/mnt/of-$NODE.$((i % 50)) bs=5000 count=$((i % 60)) 2>/dev/null || exit
    done) & writer=$!
    blocks() { stat -f -c %b /mnt; }
    [ $NODE = 1 ] || tunefs.ocfs2 -v -Sbytes /dev/vda 420M 2>&1
    barrier first
    echo "first: $(blocks)"
    [ $NODE = 0 ] || tunefs.ocfs2 -v -Sbytes /dev/vda 700M 2>&1
    barrier second
    echo "second: $(blocks)"
    # It does its work, and then fails to stop the heartbeat, which the mount needs.
    [ $NODE = 1 ] || c-tunefs -y -Sbytes /dev/vda 800M 2>&1 || true
    barrier third
    echo "third: $(blocks)"
    set +e
    tunefs.ocfs2 -Sbytes /dev/vda 1500M 2>&1; echo "at once: $?"
    barrier fourth
    echo "fourth: $(blocks)"
    touch /tmp/stop; wait $writer
    sync
    barrier written
    md5sum /mnt/of-* >/tmp/sums; md5sum </tmp/sums
    # One after the other: at the same time each would try to hand its locks to the other.
    [ $NODE = 0 ] || umount /mnt
    barrier unmounted
    [ $NODE = 1 ] || tunefs.ocfs2 -v -S /dev/vda 2>&1
    [ $NODE = 1 ] || umount /mnt
"#;

#[test]
fn either_node_of_a_cluster_extends_the_volume_one_at_a_time() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let Some(theirs) = oracle("tunefs.ocfs2") else { return Ok(()) };
    let scratch = Scratch::new();
    let options = [&["-b", "2K", "-C", "8K", "-N", "2", "-J", "size=8M"], &O2CB[..]].concat();
    let disk = mkfs(&scratch, "grown.img", 200 << 20, &options);
    extend(&disk, 2000);
    let copy = scratch.join("c-tunefs");
    fs::copy(theirs, &copy)?;
    let run = lab.cluster(&disk).programs([program("tunefs.ocfs2"), copy]);
    let run = run.script(CLUSTER_SCRIPT).allow(NEW_JOURNAL).run()?;
    run.assert_ok();
    let outputs = [0, 1].map(|node| run.node(node).output.as_str());
    for output in outputs {
        for (turn, mib) in [("first", 420), ("second", 700), ("third", 800), ("fourth", 1500)] {
            let size = format!("{turn}: {}\n", mib * 512);
            assert!(output.contains(&size), "{size}: {output}");
        }
    }
    let statuses = outputs.map(|output| output.contains("at once: 0\n"));
    assert!(statuses.contains(&true), "{outputs:?}");
    judge(&disk, 2000);
    Ok(())
}
