//! The lock of the cluster: nodes wait for fsck, and neither fsck nor mkfs starts while a node has
//! the volume mounted.

use anyhow::Result;
use ocfs2_testing::{Scratch, program};

use crate::lab::lab;
use crate::volume::{NEW_JOURNAL, O2CB, assert_fsck_is_content, mkfs};

/// Node 1 checks and writes, and is stopped in the middle: its output goes into a full pipe. Node 0
/// mounts meanwhile and has to wait until fsck is done.
const FSCK: &str = r#"
    mkfifo /tmp/out; exec 5<>/tmp/out
    head -c $((65536 - 700)) /dev/zero >&5
    fsck.ocfs2 -fy /dev/vda >&5 2>/tmp/errors & fsck=$!
    # It beats on the volume, and then it has the lock.
    for i in $(seq 60); do ls /dlm/*/S* >/dev/null 2>&1 && break; sleep 1; done
    ls /dlm/*/S* || { cat /tmp/errors; exit 1; }
    sleep 3
    kill -STOP $fsck || exit 1
    barrier stopped
    barrier waited
    cat <&5 | tr -d '\0' >/tmp/said & cat=$!
    kill -CONT $fsck
    wait $fsck; status=$?
    sleep 1; kill $cat
    cat /tmp/said /tmp/errors
    echo "status $status"
    [ $status = 0 ] || exit 1
    # Nothing of it is left: no lock, no domain, no heartbeat.
    left() { ls /dlm; ls -d /sys/kernel/config/cluster/ovscluster/heartbeat/*/ 2>/dev/null; }
    gone() {
        for i in $(seq 20); do [ -n "$(left)" ] || return 0; sleep 1; done
        left
        return 1
    }
    gone || exit 2
    barrier mounted 120
    # The other way round: while a node has it mounted nothing is begun.
    fsck.ocfs2 -fy /dev/vda 2>&1; echo "while mounted: status $?"
    mkfs.ocfs2 -F /dev/vda </dev/null 2>&1; echo "over it: status $?"
    barrier end
    barrier unmounted 120
    # A new volume: the heartbeat that goes with the lock on the old one is not in its way.
    mkfs.ocfs2 -F -N 2 -J size=8M -L again /dev/vda 2>&1; echo "over nobody: status $?"
    gone || exit 3
    barrier made
"#;

const MOUNT: &str = r#"
    barrier stopped 120 || exit
    mount-volume /dev/vda /mnt & mount=$!
    sleep 20
    if grep -q ' ocfs2 ' /proc/mounts; then echo 'MOUNTED TOO EARLY'; exit 1; fi
    [ -d /proc/$mount ] || { echo 'does not wait'; exit 1; }
    barrier waited
    wait $mount || exit 2
    echo written >/mnt/file || exit 3
    barrier mounted
    barrier end 120
    umount /mnt
    barrier unmounted
    barrier made 120
    mount-volume /dev/vda /mnt || exit 4
    ls /mnt; echo written >/mnt/file || exit 5
    umount /mnt
"#;

#[test]
fn a_mount_waits_for_fsck_and_fsck_refuses_what_is_mounted() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let options = [&["-N", "2", "-J", "size=8M"], &O2CB[..]].concat();
    let disk = mkfs(&scratch, "lock.img", 200 << 20, &options);
    let run = lab
        .cluster(&disk)
        .program(program("fsck.ocfs2"))
        .program(program("mkfs.ocfs2"))
        .node(0, MOUNT)
        .node(1, FSCK)
        .allow(NEW_JOURNAL)
        .run()?;
    run.assert_ok();
    let said = &run.node(1).output;
    assert!(said.contains("All passes succeeded"), "{said}");
    assert!(said.contains("in use by node 0 (ovs001) in slot 0"), "{said}");
    assert!(said.contains("while mounted: status 8"), "{said}");
    assert!(said.contains("over it: status 1"), "{said}");
    assert!(said.contains("over nobody: status 0"), "{said}");
    assert_fsck_is_content(&disk, &[]);
    Ok(())
}
