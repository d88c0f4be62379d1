//! If a volume cannot be mounted, the message states what to do, and doing that helps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ocfs2_device::{DeviceOptions, open};
use ocfs2_testing::{Scratch, fixture_copy, program};
use ocfs2_volume::{Volume, VolumeOptions};

use crate::lab::lab;
use crate::volume::{
    LOCAL as LOCAL_MOUNT, NEW_JOURNAL, assert_fsck_is_content_after_a_crash, mkfs,
};

/// `says STATUS TEXT COMMAND...` ends the script unless the command ends with that status and
/// prints that text.
const SHELL: &str = r#"
    exec 2>&1
    rm -f /sbin/mount-volume /sbin/cluster-up /sbin/heartbeat-start /sbin/cluster-conf
    says() {
        expected=$1 text=$2
        shift 2
        "$@" >/tmp/said 2>&1 </dev/null
        status=$?
        echo "% $*"
        cat /tmp/said
        [ $status = $expected ] && { [ -z "$text" ] || grep -qF -- "$text" /tmp/said; } && return
        echo "FAILED: status $status, expected $expected and: $text"
        exit 1
    }
    # `silent COMMAND...`: the command succeeds and prints nothing.
    silent() {
        says 0 "" "$@"
        [ ! -s /tmp/said ] && return
        echo "FAILED: it should print nothing"
        exit 1
    }
    regions() { ls -d /sys/kernel/config/cluster/ovscluster/heartbeat/*/ 2>/dev/null | wc -l; }
"#;

const LOCAL: &str = r#"
    # o2cb is offline.
    says 32 "Unable to access cluster service while trying initialize cluster" mount.ocfs2 /dev/vda /mnt
    says 32 "bring it online first: o2cb online ovscluster" mount.ocfs2 /dev/vda /mnt
    says 32 "the kernel module ocfs2_stack_user is not loaded" mount.ocfs2 /dev/vdc /mnt
    # Volumes of no cluster need none, others can be mounted without only where the kernel lets them.
    silent mount.ocfs2 /dev/vdf /mnt
    says 0 "heartbeat=none" grep /mnt /proc/mounts
    says 0 "" umount /mnt
    says 32 "not every kernel knows the option nocluster" mount.ocfs2 -o nocluster /dev/vda /mnt
    says 1 "no cluster is online" tunefs.ocfs2 --update-cluster-stack -y /dev/vdb
    says 1 "describes no cluster: o2cb add-cluster NAME" o2cb online
    says 1 "no cluster is online" ocfs2_hb_ctl -I -d /dev/vda

    # This host is not in cluster.conf.
    says 0 "" o2cb add-cluster ovscluster
    says 0 "" o2cb add-node ovscluster ovs009 --ip 10.0.0.9 --number 9
    says 1 "has no node of that name (ovs009): add it on all nodes with \`o2cb add-node ovscluster ovs001" o2cb online
    says 1 "offline" o2cb cluster-status
    mkdir /sys/kernel/config/cluster/ovscluster
    says 32 "this host, \`ovs001\`, is none of its nodes" mount.ocfs2 /dev/vda /mnt
    says 0 "" o2cb unregister-cluster ovscluster
    says 1 "IPv4 only" o2cb add-node ovscluster ovs001 --ip fd00::1
    says 0 "" o2cb add-node ovscluster ovs001 --ip 10.0.0.1 --number 0
    says 1 "cluster ovscluster: it is offline: o2cb online ovscluster" o2cb check
    says 0 "Cluster ovscluster: Online" o2cb online
    # No other node is up.
    says 1 "7777: nobody listens there: bring the cluster online on that node" o2cb check
    says 1 "cluster ovscluster: OK" o2cb check
    says 1 "configuration of ovs002: ssh: " o2cb check --peer ovs002
    says 0 "Cluster 'ovscluster' is online" o2cb cluster-status ovscluster
    says 1 "Cluster 'web' is offline" o2cb cluster-status web
    says 0 "" o2cb start-heartbeat ovscluster

    # What was changed since is said, and reaches the kernel.
    configfs=/sys/kernel/config/cluster/ovscluster
    sed -i 's/10.0.0.9/10.0.0.77/' /etc/ocfs2/cluster.conf
    says 0 "number 9 at 10.0.0.9:7777, the configuration number 9 at 10.0.0.77:7777" o2cb status
    says 0 "changed in the kernel" o2cb register-cluster ovscluster
    says 0 "10.0.0.77" cat $configfs/node/ovs009/ipv4_address
    mkdir -p /etc/sysconfig /etc/default
    printf 'O2CB_HEARTBEAT_THRESHOLD=7\nO2CB_IDLE_TIMEOUT_MS=5000\n' >/etc/default/o2cb
    says 0 "heartbeat dead threshold: the kernel has 31, the configuration 7: changed" o2cb online
    says 0 "7" cat $configfs/heartbeat/dead_threshold
    says 0 "5000" cat $configfs/idle_timeout_ms
    says 1 "the answers end before the last question" o2cb configure
    grep -q 'ENABLED' /etc/default/o2cb && { echo "configure wrote"; exit 1; }

    # Volumes of others.
    says 32 "belongs to cluster \`web\`, and cluster \`ovscluster\` is online" mount.ocfs2 /dev/vdb /mnt
    says 32 "belongs to stack pcmk (cluster \`hac\`), and stack o2cb runs" mount.ocfs2 /dev/vdc /mnt
    says 32 "wants global heartbeat, and cluster \`ovscluster\` has local heartbeat" mount.ocfs2 /dev/vdd /mnt
    [ $(regions) = 0 ] || { echo "a region is left"; exit 1; }

    # Another volume lies there when the question is answered.
    at=$(($(tunefs.ocfs2 -Q %B /dev/vdb) * 2 + 336))
    put() { dd of=/dev/vdb bs=1 seek=$at conv=notrunc,fsync 2>/dev/null; }
    dd if=/dev/vdb bs=1 skip=$at count=1 of=/tmp/byte 2>/dev/null
    [ "$(cat /tmp/byte)" = X ] && other=Y || other=X
    rm -f /tmp/said
    {
        for i in $(seq 60); do grep -q y/N /tmp/said 2>/dev/null && break; sleep 1; done
        printf $other | put
        echo y
    } | tunefs.ocfs2 --update-cluster-stack /dev/vdb >/tmp/said 2>&1
    grep -q "another volume is on the device now" /tmp/said || { cat /tmp/said; exit 1; }
    put </tmp/byte
    says 0 "o2cb,web,local" tunefs.ocfs2 -Q %C /dev/vdb

    # What was told to do helps.
    says 0 "from o2cb,web,local to o2cb,ovscluster,local" tunefs.ocfs2 --update-cluster-stack -y /dev/vdb
    silent mount.ocfs2 -o noatime /dev/vdb /mnt
    says 0 "noatime" grep /mnt /proc/mounts
    says 0 ": 1 refs" ocfs2_hb_ctl -I -d /dev/vdb
    says 1 "is in use: /dev/vdb is mounted on /mnt" tunefs.ocfs2 --update-cluster-stack -y /dev/vdb
    says 32 "mounted there already" mount.ocfs2 /dev/vdb /mnt
    sed -i 's/10.0.0.77/10.0.0.78/' /etc/ocfs2/cluster.conf
    says 0 "the kernel keeps what it has while the cluster is in use" o2cb online
    says 0 "10.0.0.77" cat $configfs/node/ovs009/ipv4_address
    # A second place, and nothing to say of it.
    mkdir -p /mnt2
    says 0 "on /mnt2 type ocfs2" mount.ocfs2 -v -o uhelper=udisks2,nosymfollow,users,quota /dev/vdb /mnt2
    grep -q "not unmounted cleanly" /tmp/said && { echo "a false alarm"; exit 1; }
    says 0 "nosuid,nodev,noexec" grep /mnt2 /proc/mounts
    says 0 "" umount /mnt2
    says 0 "" mount.ocfs2 -o remount,ro /dev/vdb /mnt
    says 0 "" umount /mnt
    [ $(regions) = 0 ] || { echo "the heartbeat goes on"; exit 1; }

    # A volume both nodes crashed on; who does not ask is not told.
    says 0 "was not unmounted cleanly by this node" mount.ocfs2 -v /dev/vde /mnt
    says 0 "" ls /mnt
    says 0 "" umount /mnt
    silent mount.ocfs2 /dev/vdh /mnt
    says 0 "" umount /mnt

    # One whose root directory is not an inode any more.
    says 32 "the volume is damaged: fsck.ocfs2 -f /dev/vdg checks and repairs it" mount.ocfs2 /dev/vdg /mnt
"#;

const GLOBAL: &str = r#"
    region=$(tunefs.ocfs2 -Q %U /dev/vdd)
    says 0 "Cluster ovscluster: Offline" o2cb offline
    says 0 "" o2cb heartbeat-mode ovscluster global
    says 0 "" o2cb add-heartbeat ovscluster 0123456789ABCDEF0123456789ABCDEF
    says 1 "no block device of this machine has a volume of that UUID" o2cb online
    says 1 "offline" o2cb cluster-status
    says 0 "" o2cb remove-heartbeat ovscluster 0123456789ABCDEF0123456789ABCDEF
    says 0 "" o2cb add-heartbeat ovscluster /dev/vdd
    says 0 "" o2cb register-cluster ovscluster
    says 32 "has no region on this host: o2cb start-heartbeat ovscluster" mount.ocfs2 /dev/vdd /mnt
    # By its UUID, and by what the error said.
    says 0 "Global heartbeat started" o2cb start-heartbeat ovscluster --heartbeat-device=/dev/vdd
    says 0 "$region" o2cb status
    says 0 "" mount.ocfs2 /dev/vdd /mnt
    says 0 "heartbeat=global" grep /mnt /proc/mounts
    says 1 "is in use (a volume is mounted)" o2cb stop-heartbeat ovscluster
    says 0 "" umount /mnt
    says 0 "Global heartbeat stopped" o2cb stop-heartbeat ovscluster
    says 0 "Global heartbeat started" o2cb start-heartbeat ovscluster
    [ $(regions) = 1 ] || { echo "the global heartbeat stopped at unmount"; exit 1; }
    says 0 "" o2cb offline
    says 0 "No cluster is online" o2cb offline
"#;

/// What the kernel prints about the damaged volume.
const DAMAGE: [&str; 4] = [
    "OCFS2: ERROR (device vdg)",
    "On-disk corruption discovered",
    "File system is now read-only",
    "ERROR: status = -30",
];

/// Puts a wrong bit into the signature of a volume's root directory.
fn damaged(image: &Path) -> Result<PathBuf> {
    let device = open(image, &DeviceOptions { write: true, ..Default::default() })?;
    let volume = Volume::open(Arc::clone(&device), &VolumeOptions::default())?;
    let root = volume.superblock().s_root_blkno;
    let offset = root.offset_bytes(volume.block_size()).context("the root directory")?;
    device.write_at(b"J", offset)?;
    Ok(image.to_owned())
}

#[test]
fn what_keeps_a_volume_from_being_mounted_is_said_with_what_to_do_about_it() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let volume = |name: &str, stack: &str, cluster: &str, more: &[&str]| {
        let stack = format!("--cluster-stack={stack}");
        let cluster = format!("--cluster-name={cluster}");
        let options = [&["-N", "2", "-J", "size=4M", &stack, &cluster], more].concat();
        mkfs(&scratch, name, 200 << 20, &options)
    };
    let disks = [
        volume("own.img", "o2cb", "ovscluster", &[]),
        volume("web.img", "o2cb", "web", &[]),
        volume("pcmk.img", "pcmk", "hac", &[]),
        volume("global.img", "o2cb", "ovscluster", &["--global-heartbeat"]),
        fixture_copy("crashed-4k-o2cb", &scratch),
        mkfs(&scratch, "local.img", 200 << 20, &LOCAL_MOUNT),
        damaged(&mkfs(&scratch, "damaged.img", 200 << 20, &LOCAL_MOUNT))?,
        fixture_copy("crashed-512-local", &scratch),
    ];
    let programs = ["o2cb", "ocfs2_hb_ctl", "mount.ocfs2", "tunefs.ocfs2"].map(program);
    let run = lab.vm().disks(&disks).programs(programs).script([SHELL, LOCAL, GLOBAL].concat());
    // Kernel 6.1 does not know the option.
    let run =
        run.allow(NEW_JOURNAL).allow("nocluster").allow("status = -22").allows(DAMAGE).run()?;
    run.assert_ok();
    for disk in &disks[1..6] {
        assert_fsck_is_content_after_a_crash(disk);
    }
    Ok(())
}
