//! A node mounts a volume while fsck.ocfs2 works out repairs on a machine that is in no cluster:
//! nothing is written.

use anyhow::Result;
use ocfs2_testing::{Scratch, program};

use crate::lab::lab;
use crate::volume::{NEW_JOURNAL, O2CB, assert_fsck_is_content, mkfs};

/// It is stopped between its passes, where it waits because nobody reads its output.
const CHECKS: &str = "
    barrier ready
    mkfifo /tmp/said
    exec 4<>/tmp/said
    head -c 64836 /dev/zero >&4
    fsck.ocfs2 -fyv /dev/vda >/tmp/said 2>/tmp/error 4>&- &
    fsck=$!
    until grep -q pipe_write /proc/$fsck/wchan; do usleep 100000; done
    kill -STOP $fsck
    barrier stopped
    barrier written
    kill -CONT $fsck
    cat <&4 >/dev/null &
    wait $fsck
    echo status $?
    kill %2 %3 2>/dev/null
    cat /tmp/error
    barrier looked
";

const MOUNTS: &str = "
    barrier ready
    barrier stopped
    export HEARTBEAT=local DEAD_THRESHOLD=7
    cluster-up || exit 1
    mount-volume /dev/vda /mnt || exit 1
    mkdir /mnt/folder
    for number in $(seq 50); do echo $number >/mnt/folder/$number; done
    rm /mnt/folder/1?
    sync
    barrier written
    barrier looked
    # It is still the volume this node has mounted.
    for number in $(seq 51 80); do echo $number >/mnt/folder/$number || exit 1; done
    umount /mnt
";

#[test]
fn a_node_that_mounts_while_fsck_is_stopped_keeps_its_volume() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let options = [&["-N", "4", "-J", "size=8M"], &O2CB[..]].concat();
    let disk = mkfs(&scratch, "disk.img", 300 << 20, &options);
    let run = lab
        .pair(&disk)
        .program(program("fsck.ocfs2"))
        .node(0, CHECKS)
        .node(1, MOUNTS)
        .allow(NEW_JOURNAL)
        .run()?;
    run.assert_ok();
    let said = run.output();
    assert!(said.contains("status 8"), "{run}");
    assert!(said.contains("nothing was written"), "{run}");
    assert_fsck_is_content(&disk, &[]);
    Ok(())
}
