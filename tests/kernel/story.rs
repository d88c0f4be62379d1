//! The whole story with our programs only: from the configuration of a cluster to the recovery of a
//! crash. The machines have no other OCFS2 program.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use ocfs2_testing::vm::End;
use ocfs2_testing::{Scratch, oracle, program};

use crate::lab::lab;
use crate::volume::{NEW_JOURNAL, assert_fsck_is_content};

/// Returns the paths of our programs that the story needs.
fn programs() -> Vec<PathBuf> {
    let names = [
        "mkfs.ocfs2",
        "fsck.ocfs2",
        "mounted.ocfs2",
        "blkid.ocfs2",
        "o2cb",
        "mount.ocfs2",
        "ocfs2_hb_ctl",
    ];
    names.map(program).into()
}

/// `mount` is that of util-linux, which calls `mount.ocfs2` as a distribution does; busybox would
/// ask the kernel first.
///
/// `step COMMAND` shows a command and its output in the transcript, and ends the script if the
/// command fails; `refused COMMAND` ends it if the command does not fail.
const SHELL: &str = r##"
    exec 2>&1
    rm -f /sbin/mount-volume /sbin/cluster-up /sbin/heartbeat-start /sbin/cluster-conf
    show() {
        { echo "[root@$HOSTNAME ~]# $*"; } >>/share/transcript
        sh -c "mount() { /sbin/mount \"\$@\"; }; $*" >/tmp/said 2>&1 </dev/null
        status=$?
        cat /tmp/said >>/share/transcript
        echo "[root@$HOSTNAME ~]# $*"
        cat /tmp/said
        return $status
    }
    say() { { echo; echo "# $*"; } >>/share/transcript; }
    step() { show "$@" || { echo "FAILED with status $?: $*"; exit 1; }; }
    refused() { ! show "$@" || { echo "NOT REFUSED: $*"; exit 1; }; }
"##;

/// Two nodes form a cluster, and make a volume on a partition of the shared disk.
const STORY: &str = r#"
    # What each does in its turn: node 0 first.
    turn() { [ $NODE = 0 ] || barrier $1; }
    # Said once.
    first() { [ $NODE = 1 ] || say "$@"; }
    done_with() { [ $NODE = 1 ] || barrier $1; barrier $1.both; }

    first "The cluster is described on both servers."
    turn cluster
    step "o2cb add-cluster ovscluster"
    step "o2cb add-node ovscluster ovs001 --ip 10.0.0.1"
    step "o2cb add-node ovscluster ovs002 --ip 10.0.0.2"
    step "cat /etc/ocfs2/cluster.conf"
    step "printf 'y\n\novscluster\n8\n10000\n\n\n' | o2cb configure"
    step "o2cb online"
    step "o2cb status"
    done_with cluster

    if [ $NODE = 0 ]; then
        say "One of them makes a partition on the disk they share, and a volume for four nodes."
        step "printf 'n\np\n1\n\n\nw\n' | fdisk /dev/vda >/dev/null; grep vda /proc/partitions"
        step "mkfs.ocfs2 -N 4 -L /OVS --cluster-stack=o2cb --cluster-name=ovscluster /dev/vda1"
    fi
    barrier made
    [ $NODE = 0 ] || blockdev --rereadpt /dev/vda || exit 1
    first "Both see the same volume."
    turn blkid
    step "blkid.ocfs2 /dev/vda1"
    done_with blkid

    if [ $NODE = 0 ]; then
        say "Mounting starts the heartbeat."
        step "mkdir /ovs; mount -t ocfs2 /dev/vda1 /ovs"
        step "grep ovs /proc/mounts"
        step "mounted.ocfs2 -f"
        step "ocfs2_hb_ctl -I -d /dev/vda1"
    fi
    barrier first
    if [ $NODE = 1 ]; then
        say "The other one mounts it by its label, and each sees the files of the other."
        step "mkdir /ovs; mount -t ocfs2 LABEL=/OVS /ovs"
        step "mounted.ocfs2 -f"
        step "echo written by ovs002 >/ovs/from-ovs002"
    fi
    barrier second
    if [ $NODE = 0 ]; then
        step "cat /ovs/from-ovs002"
        step "echo written by ovs001 >/ovs/from-ovs001"
        refused "o2cb offline"
    fi
    barrier crossed
    if [ $NODE = 1 ]; then
        step "cat /ovs/from-ovs001"
    fi
    barrier read
    if [ $NODE = 0 ]; then
        say "One unmounts it, and its heartbeat stops."
        step "umount /ovs"
        step "o2cb status | tail -1"
        step "mounted.ocfs2 -f"
    fi
    barrier unmounted
    if [ $NODE = 1 ]; then
        say "The other one loses its power."
        step "echo saved by ovs002 >/ovs/saved; sync; crash"
    fi
    peer-dead
    say "What is left of it is seen, and recovered by fsck."
    step "mounted.ocfs2 -fv"
    show "fsck.ocfs2 -y /dev/vda1"; [ $? = 1 ] || exit 1
    step "mounted.ocfs2 -f"
    say "The volume is mounted again, and what was saved is there."
    step "mount -t ocfs2 /dev/vda1 /ovs"
    step "cat /ovs/saved"
    step "mounted.ocfs2 -f"
    step "umount /ovs"
    step "o2cb offline"
    refused "o2cb cluster-status"
"#;

/// Returns the lines of a transcript after a command, up to the next one.
#[track_caller]
fn after<'t>(transcript: &'t str, host: &str, command: &str, nth: usize) -> &'t str {
    let prompt = format!("[root@{host} ~]# {command}");
    let mut parts =
        transcript.match_indices(&prompt).map(|(at, _)| &transcript[at + prompt.len()..]);
    let rest = parts.nth(nth).unwrap_or_else(|| panic!("no {prompt}\n{transcript}"));
    let rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    // Up to the next command, or to the text before it.
    rest.split("\n[root@").next().unwrap_or(rest).split("\n\n#").next().unwrap_or(rest)
}

#[test]
fn a_cluster_is_made_used_and_recovered_with_our_programs_alone() -> Result<()> {
    let (Some(lab), Some(mount)) = (lab(), oracle("mount")) else { return Ok(()) };
    let scratch = Scratch::new();
    let disk = scratch.image("disk.img", 700 << 20);
    let share = scratch.join("share");
    fs::create_dir(&share)?;
    let run = lab
        .pair(&disk)
        .programs(programs())
        .program(mount)
        .share(&share)
        .script([SHELL, STORY].concat())
        .allow(NEW_JOURNAL)
        .timeout(Duration::from_secs(900))
        .run()?;
    let transcript = fs::read_to_string(share.join("transcript")).unwrap_or_default();
    eprintln!("{transcript}");
    assert_eq!(run.node(1).end, End::Crashed, "{}", run.node(1).output);
    assert_eq!(run.node(0).end, End::Exit(0), "{}", run.node(0).output);

    let both = ["ovs001", "ovs002"].map(|host| after(&transcript, host, "blkid.ocfs2", 0));
    assert!(
        both[0].contains("LABEL=\"/OVS\"") && both[0].contains("TYPE=\"ocfs2\""),
        "{transcript}"
    );
    assert_eq!(both[0], both[1]);
    let nodes = |host: &str, nth: usize| -> String {
        let table = after(&transcript, host, "mounted.ocfs2 -f", nth);
        let line = table.lines().find(|line| line.starts_with("/dev/vda1"));
        let line = line.unwrap_or_else(|| panic!("{table}\n{transcript}"));
        line.split_once("ovscluster").unwrap_or_default().1.trim().to_owned()
    };
    assert_eq!(nodes("ovs001", 0), "ovs001");
    assert_eq!(nodes("ovs002", 0), "ovs001, ovs002");
    assert_eq!(nodes("ovs001", 1), "ovs002");
    assert!(nodes("ovs001", 2).starts_with("ovs002 (crashed"), "{transcript}");
    assert_eq!(nodes("ovs001", 3), "Not mounted");
    assert_eq!(nodes("ovs001", 4), "ovs001");
    let said = |host, command| after(&transcript, host, command, 0);
    assert!(said("ovs001", "grep ovs /proc/mounts").contains("heartbeat=local"), "{transcript}");
    assert!(said("ovs001", "ocfs2_hb_ctl -I").ends_with(": 1 refs"), "{transcript}");
    assert_eq!(said("ovs001", "cat /ovs/from-ovs002"), "written by ovs002");
    assert_eq!(said("ovs002", "cat /ovs/from-ovs001"), "written by ovs001");
    assert_eq!(said("ovs001", "cat /ovs/saved"), "saved by ovs002");
    assert!(said("ovs001", "o2cb offline").contains("unmount /ovs first"), "{transcript}");
    // The kernel has run our ocfs2_hb_ctl.
    assert_eq!(said("ovs001", "o2cb status | tail"), "Checking O2CB heartbeat: Not active");
    assert_volume_is_content(&scratch, &disk)?;
    // For `cargo xtask kernel --story`.
    if let Some(path) = std::env::var_os("OCFS2_TRANSCRIPT") {
        fs::write(path, transcript)?;
    }
    Ok(())
}

/// Demands that neither fsck finds anything on the volume in the first partition of a disk.
fn assert_volume_is_content(scratch: &Scratch, disk: &Path) -> Result<()> {
    let mut disk = File::open(disk)?;
    let mut table = [0; 512];
    disk.read_exact(&mut table)?;
    let start = u64::from(u32::from_le_bytes(table[454..458].try_into()?)) * 512;
    let path = scratch.join("partition.img");
    let volume = File::create(&path)?;
    volume.set_len(disk.metadata()?.len() - start)?;
    disk.seek(SeekFrom::Start(start))?;
    let mut chunk = vec![0; 1 << 20];
    for offset in (0..).step_by(chunk.len()) {
        // Reads of a file are short only at its end.
        let len = disk.read(&mut chunk)?;
        if len == 0 {
            break;
        }
        // The copy stays as sparse as the disk.
        if chunk[..len].iter().any(|byte| *byte != 0) {
            volume.write_all_at(&chunk[..len], offset)?;
        }
    }
    assert_fsck_is_content(&path, &[]);
    Ok(())
}
