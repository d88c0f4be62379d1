//! A cluster of corosync, as under Pacemaker: the lock of the lockspace, and what its members know.

use anyhow::Result;
use ocfs2_cluster::RunningCluster;
use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::feature::Incompat;
use ocfs2_testing::vm::{Fencing, Lab, Machines};
use ocfs2_testing::{Scratch, fixture_copy, program, skip};
use ocfs2_volume::{Volume, VolumeOptions};
use std::path::Path;

use crate::lab::{lab, labs};
use crate::volume::{
    NEW_JOURNAL, assert_fsck_is_content, assert_fsck_is_content_after_a_crash, mkfs,
};

const PCMK: [&str; 2] = ["--cluster-stack=pcmk", "--cluster-name=ovscluster"];
const PROGRAMS: [&str; 7] = [
    "fsck.ocfs2",
    "mkfs.ocfs2",
    "mount.ocfs2",
    "mounted.ocfs2",
    "tunefs.ocfs2",
    "debugfs.ocfs2",
    "o2cb",
];

/// Returns machines with all programs. `None`, with a message that the calling test is skipped, if
/// the services of the cluster are not there.
fn machines<'lab>(made: Result<Machines<'lab>>) -> Option<Machines<'lab>> {
    let machines = made.map_err(|err| skip(&format!("{err:#}"))).ok()?;
    // What the kernel and its lock manager say of a mount that was refused, and of a recovery.
    let allowed =
        ["status = -17", "status = -71", "status = -107", "a ocfs2-tools program is running"];
    Some(machines.programs(PROGRAMS.map(program)).allow(NEW_JOURNAL).allows(allowed))
}

/// Runs a program until it has joined the lockspace of the volume, and stops it there: its output goes
/// into a full pipe.
const STOPPED: &str = r#"
    uuid=$(mounted.ocfs2 -d /dev/vda | sed -n 's/.* \([0-9A-F]\{32\}\) .*/\1/p')
    mkfifo /tmp/out; exec 5<>/tmp/out
    stopped() {
        head -c $((65536 - 700)) /dev/zero >&5
        "$@" >&5 2>/tmp/errors & pid=$!
        for i in $(seq 100); do [ -d /sys/kernel/dlm/$uuid ] && break; usleep 100000; done
        [ -d /sys/kernel/dlm/$uuid ] || { cat /tmp/errors; exit 1; }
        sleep 1
        kill -STOP $pid || exit 2
    }
    ended() {
        tr -d '\0' <&5 >/tmp/said & reader=$!
        kill -CONT $pid
        wait $pid; status=$?
        usleep 300000; kill $reader
        cat /tmp/said /tmp/errors
        echo "ended: status $status"
    }
    gone() {
        for i in $(seq 100); do [ -d /sys/kernel/dlm/$uuid ] || return 0; usleep 100000; done
        echo 'still in the lockspace'
        exit 3
    }
"#;

const FIRST: &str = r#"
    barrier stopped 120
    mount.ocfs2 /dev/vda /mnt 2>&1; echo "mount during fsck: status $?"
    barrier refused
    barrier ended 120
    mount.ocfs2 /dev/vda /mnt || exit 1
    mkdir /mnt/dir && for n in $(seq 50); do echo $n >/mnt/dir/$n; done
    sync
    barrier mounted
    barrier both 120
    peer-dead
    # The file system waits here until the journal of the other node is replayed.
    echo after >/mnt/after || exit 2
    until dmesg | grep -q 'End replay journal'; do usleep 200000; done
    cat /mnt/second || exit 3
    mounted.ocfs2 -f
    umount /mnt
    fsck.ocfs2 -fy /dev/vda; echo "after all: status $?"
"#;

const SECOND: &str = r#"
    stopped fsck.ocfs2 -fy /dev/vda
    barrier stopped
    barrier refused 120
    ended
    gone
    barrier ended
    barrier mounted 120
    mounted.ocfs2 -fv 2>&1
    o2cb status; echo "o2cb: status $?"
    fsck.ocfs2 -fy /dev/vda 2>&1; echo "fsck: status $?"
    # As the agent Filesystem calls it with run_fsck=force.
    fsck.ocfs2 -p /dev/vda 2>&1; echo "fsck -p: status $?"
    tunefs.ocfs2 -L other /dev/vda </dev/null 2>&1; echo "tunefs: status $?"
    mkfs.ocfs2 -F /dev/vda </dev/null 2>&1; echo "mkfs: status $?"
    mount.ocfs2 /dev/vda /mnt || exit 1
    mounted.ocfs2 -f
    echo second >/mnt/second || exit 2
    sync
    barrier both 120
    crash
"#;

#[test]
fn a_volume_that_is_used_elsewhere_is_left_alone_and_a_crashed_node_is_recovered() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let options = [&["-N", "4", "-J", "size=8M"], &PCMK[..]].concat();
    let disk = mkfs(&scratch, "corosync.img", 300 << 20, &options);
    let Some(machines) = machines(lab.corosync(&disk, Fencing::No)) else { return Ok(()) };
    let run = machines.node(0, FIRST).node(1, format!("{STOPPED}{SECOND}")).run()?;
    run.assert_ok();
    let (first, second) = (&run.node(0).output, &run.node(1).output);
    for expected in [
        "slot 0, node ovs001: live: the cluster says that it uses the volume",
        "Checking cluster \"ovscluster\" of corosync: Online",
        "  Node 1: ovs001\n  Node 2: ovs002 (this host)\n",
        "o2cb: status 0",
        "in use by node 1 (ovs001) in slot 0",
        "ended: status 0",
        "fsck: status 8",
        "in use by ovs001, not checked",
        "fsck -p: status 0",
        "is in use by node 1 (ovs001); unmount it everywhere first",
        "tunefs: status 1",
        "mkfs: status 1",
        "/dev/vda  pcmk   ovscluster     ovs001, ovs002\n",
    ] {
        assert!(second.contains(expected), "{expected}:\n{run}");
    }
    assert!(first.contains("/dev/vda  pcmk   ovscluster     ovs001\n"), "{run}");
    assert!(first.contains("is at work on it on another node"), "{run}");
    assert!(first.contains("mount during fsck: status 32"), "{run}");
    assert!(first.contains("after all: status 0"), "{run}");
    assert_fsck_is_content_after_a_crash(&disk);
    Ok(())
}

const ALONE: &str = r#"
    mounted.ocfs2 -f
    stopped fsck.ocfs2 -y /dev/vda
    ended
    gone
    # Killed, it leaves nothing behind.
    stopped fsck.ocfs2 -fy /dev/vda
    kill -KILL $pid
    gone
    # Something else that was killed: the next program takes it away.
    dlm_tool join $uuid >/dev/null
    mount.ocfs2 /dev/vda /mnt 2>&1; echo "mount after a kill: status $?"
    tunefs.ocfs2 -L renamed /dev/vda </dev/null; echo "tunefs: status $?"
    gone
    mount.ocfs2 /dev/vda /mnt || exit 4
    echo text >/mnt/file || exit 5
    umount /mnt
    debugfs.ocfs2 -w -R 'rm /file' /dev/vda || exit 6
    fsck.ocfs2 -fy /dev/vda >/dev/null; echo "fsck: status $?"
    mkfs.ocfs2 -F -N 2 -J size=8M /dev/vda </dev/null 2>&1; echo "mkfs: status $?"
    gone
    tunefs.ocfs2 -Q '%C\n' /dev/vda
    # As mount(8) calls it for the agent Filesystem.
    mount.ocfs2 /dev/vda /mnt -o rw,acl,noatime,localflocks || exit 7
    umount /mnt
    fsck.ocfs2 -p /dev/vda; echo "fsck -p: status $?"
    mkfs.ocfs2 -q -F -x --cluster-stack=pcmk --cluster-name=other -N 2 -J size=8M /dev/vda || exit 8
    mount.ocfs2 /dev/vda /mnt 2>&1; echo "of another cluster: status $?"
    tunefs.ocfs2 --update-cluster-stack -y /dev/vda 2>&1
    mount.ocfs2 /dev/vda /mnt || exit 9
    umount /mnt
    o2cb online 2>&1; echo "online: status $?"
    killall dlm_controld; sleep 1
    mount.ocfs2 /dev/vda /mnt 2>&1; echo "no member: status $?"
"#;

#[test]
fn crashed_nodes_are_recovered_under_the_lock_which_keeps_mounts_away() -> Result<()> {
    // The newest kernel, where there is one: the other test has this distribution's.
    let Some(lab) = labs().pop() else { return Ok(()) };
    let scratch = Scratch::new();
    // Two nodes crashed on it: node 0, of which this cluster knows nothing, and node 1.
    let disk = fixture_copy("crashed-4k-o2cb", &scratch);
    give_to_pcmk(&disk)?;
    let Some(machines) = machines(alone(&lab, &disk)) else { return Ok(()) };
    let run = machines.script(format!("{STOPPED}{ALONE}")).run()?;
    run.assert_ok();
    let said = run.output();
    for expected in [
        "is at work on it on this host, or one was killed",
        "Slot 0's journal replayed successfully.",
        "Slot 1's journal replayed successfully.",
        "ended: status 1",
        "mount after a kill: status 32",
        "tunefs: status 0",
        "fsck: status 0",
        "cluster `ovscluster` of stack pcmk runs on this host",
        "mkfs: status 0",
        "pcmk,ovscluster",
        "fsck -p: status 0",
        "belongs to cluster `other`, and cluster `ovscluster` is online",
        "of another cluster: status 32",
        "from pcmk,other to pcmk,ovscluster",
        "corosync and dlm_controld run the cluster here",
        "online: status 1",
        "this host is not a member of a running cluster (dlm_controld does not run)",
        "no member: status 32",
    ] {
        assert!(said.contains(expected), "{expected}:\n{run}");
    }
    assert_fsck_is_content(&disk, &[]);
    Ok(())
}

fn alone<'lab>(lab: &'lab Lab, disk: &Path) -> Result<Machines<'lab>> {
    Ok(lab.vm().corosync(Fencing::No)?.disk(disk))
}

/// Gives a volume of o2cb to the machines' cluster, crashed as it is.
fn give_to_pcmk(image: &Path) -> Result<()> {
    let device = open(image, &DeviceOptions { write: true, ..DeviceOptions::default() })?;
    let volume = Volume::open(device, &VolumeOptions::default())?;
    let name = "ovscluster".to_owned();
    let cluster = RunningCluster { stack: *b"pcmk", name, global_heartbeat: false };
    let mut superblock = ocfs2_tunefs::stamped(volume.superblock(), &cluster)?;
    superblock.s_feature_incompat &= !Incompat::CLUSTERINFO.bits();
    superblock.s_feature_incompat |= Incompat::USERSPACE_STACK.bits();
    ocfs2_tunefs::stamp(&volume, &superblock, volume.device())?;
    Ok(())
}

const CRASHES: &str = r#"
    mount.ocfs2 /dev/vda /mnt && echo text >/mnt/file && sync || exit 1
    barrier mounted
    crash
"#;

const WAITS: &str = r#"
    barrier mounted
    peer-dead
    until dlm_tool status -v | grep -q need_fencing=1; do usleep 500000; done
    mounted.ocfs2 -fv 2>&1
    o2cb status; echo "o2cb: status $?"
    mount.ocfs2 /dev/vda /mnt 2>/tmp/mount & mount=$!
    fsck.ocfs2 -y /dev/vda >/tmp/fsck 2>&1 & fsck=$!
    sleep 5
    # It can be killed; in the kernel it could not.
    kill $mount; wait $mount; echo "mount: status $?"
    cat /tmp/mount
    [ -d /proc/$fsck ] || { cat /tmp/fsck; exit 2; }
    dlm_tool fence_ack 2
    wait $fsck; echo "fsck: status $?"
    cat /tmp/fsck
    mounted.ocfs2 -f
    mount.ocfs2 /dev/vda /mnt || exit 3
    cat /mnt/file
    umount /mnt
"#;

#[test]
#[ignore = "slow: run by cargo xtask kernel --all"]
fn a_node_that_failed_is_waited_for_until_it_is_fenced() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let options = [&["-N", "4", "-J", "size=8M"], &PCMK[..]].concat();
    let disk = mkfs(&scratch, "fencing.img", 300 << 20, &options);
    let made = lab.corosync(&disk, Fencing::Acknowledged);
    let Some(machines) = machines(made) else { return Ok(()) };
    let run = machines.node(0, WAITS).node(1, CRASHES).run()?;
    run.assert_ok();
    let said = &run.node(0).output;
    for expected in [
        "ovs002 (to be fenced)",
        "o2cb: status 1",
        "mount.ocfs2: /dev/vda: waiting until the cluster has fenced node 2 (ovs002)",
        "mount: status 143",
        "fsck.ocfs2: waiting until the cluster has fenced node 2 (ovs002)",
        "fsck: status 1",
        "ovscluster     Not mounted",
        "text",
    ] {
        assert!(said.contains(expected), "{expected}:\n{run}");
    }
    assert_fsck_is_content(&disk, &[]);
    Ok(())
}
