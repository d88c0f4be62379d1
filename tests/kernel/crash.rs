//! Nodes that crash, and what the remaining ones do.

use std::fs;

use anyhow::Result;
use ocfs2_testing::vm::{End, Heartbeat};
use ocfs2_testing::{Run, Scratch, program};

use crate::lab::{lab, labs};
use crate::volume::{LOCAL, NEW_JOURNAL, O2CB, assert_fsck_is_content_after_a_crash, mkfs};

/// Printed by a node that was asking the crashed one for a lock, or answering it: the host is down
/// (112), or the socket is not connected (107).
const TO_A_NODE_THAT_IS_GONE: [&str; 6] = [
    "ERROR: Error -112 when sending message",
    "ERROR: Error -107 when sending message",
    "error -112 send AST to node 1",
    "error -107 send AST to node 1",
    "ERROR: status = -112",
    "ERROR: status = -107",
];

/// Mounts, works, and continues when the journal contains everything.
const WORK: &str = "
    set -e
    mount-volume -o usrquota,grpquota /dev/vda /mnt
    barrier mounted
    volume-contents work /mnt/of-$NODE >/tmp/log 2>&1 &
    until grep -q written /tmp/log; do usleep 50000; done
    barrier worked
";

fn new_disk(scratch: &Scratch, block_size: &str) -> std::path::PathBuf {
    let features = "--fs-feature-level=max-features";
    let options = ["-b", block_size, "-C", "4096", "-N", "4", "-J", "size=8M", features];
    mkfs(scratch, "disk.img", 400 << 20, &[&options, &O2CB[..]].concat())
}

/// Demands that the work of a node whose journal was replayed is there.
fn assert_work_is_there(description: &str, node: u32) {
    let count = |what: &str| {
        let folder = format!("/of-{node}/{what}");
        let listed = |line: &&str| line.starts_with("regular") && line.contains(&folder);
        description.lines().filter(listed).count()
    };
    // new-1 was renamed; half of the old files were removed.
    assert_eq!((count("bulk/new-"), count("bulk/old-")), (299, 200), "{description}");
    assert_eq!((count("moved"), count("dropped"), count("synced")), (2, 0, 1), "{description}");
    assert_eq!(count("folders/"), 20, "{description}");
    assert!(description.contains("|20000|"), "{description}");
}

#[test]
fn the_node_that_stays_recovers_the_one_that_crashes() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let disk = new_disk(&scratch, "4096");
    let share = scratch.join("share");
    fs::create_dir(&share)?;
    let stays = "
        peer-dead
        # Blocks until the other one's journal has been replayed.
        volume-contents describe /mnt >/share/after
        echo more >/mnt/of-1/by-node-0
        mounted.ocfs2 -f /dev/vda >/share/mounted 2>&1
        kill %1
        wait
        umount /mnt
    ";
    let run = lab
        .cluster(&disk)
        .programs(["volume-contents", "mounted.ocfs2"].map(program))
        .share(&share)
        .node(0, format!("{WORK}{stays}"))
        .node(1, format!("{WORK}crash"))
        .allow(NEW_JOURNAL)
        .allows(TO_A_NODE_THAT_IS_GONE)
        .run()?;
    run.assert_ok();
    assert_eq!((&run.node(0).end, &run.node(1).end), (&End::Exit(0), &End::Crashed));
    assert!(run.node(0).dmesg.contains("Begin replay journal (node 1"), "{run}");

    let after = fs::read_to_string(share.join("after"))?;
    assert_work_is_there(&after, 0);
    assert_work_is_there(&after, 1);
    let mounted = fs::read_to_string(share.join("mounted"))?;
    let line = mounted.lines().find(|line| line.contains("/dev/vda")).unwrap_or_default();
    assert!(line.ends_with("ovs001"), "{mounted}");
    assert_fsck_is_content_after_a_crash(&disk);
    Ok(())
}

/// A single machine crashes; our fsck recovers the volume, and the kernel that wrote it finds its
/// work there.
#[test]
fn what_a_kernel_had_in_its_journal_is_there_after_fsck() -> Result<()> {
    for lab in labs() {
        let scratch = Scratch::new();
        let features = "--fs-feature-level=max-features";
        let options = ["-b", "1024", "-C", "4096", "-N", "2", "-J", "size=8M", features];
        let disk = mkfs(&scratch, "disk.img", 300 << 20, &[&options, &LOCAL[..]].concat());
        let share = scratch.join("share");
        fs::create_dir(&share)?;
        let alone = WORK.replace("barrier", ": ");
        let run = lab
            .vm()
            .disk(&disk)
            .program(program("volume-contents"))
            .script(format!("{alone} crash"))
            .allow(NEW_JOURNAL)
            .run()?;
        assert_eq!(run.node(0).end, End::Crashed, "{run}");
        let fsck = |options: &str| Run::new(program("fsck.ocfs2")).arg(options).arg(&disk).output();
        let recovered = fsck("-fy").expect_status(1);
        assert!(recovered.stdout.contains("Slot 0's journal replayed"), "{recovered}");
        fsck("-fn").expect_status(0);
        let run = lab
            .vm()
            .disk(&disk)
            .program(program("volume-contents"))
            .share(&share)
            .script(
                "set -e
                mount-volume -o usrquota,grpquota /dev/vda /mnt
                volume-contents describe /mnt >/share/after
                umount /mnt",
            )
            .run()?;
        run.assert_ok();
        assert_work_is_there(&fs::read_to_string(share.join("after"))?, 0);
        fsck("-fn").expect_status(0);
    }
    Ok(())
}

#[test]
fn what_both_crashed_nodes_had_in_their_journals_is_recovered_later() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let disk = new_disk(&scratch, "1024");
    let share = scratch.join("share");
    fs::create_dir(&share)?;
    let mut cluster = lab
        .cluster(&disk)
        .program(program("volume-contents"))
        .script(format!("{WORK} echo worked; sleep 1000"))
        .allow(NEW_JOURNAL)
        .start()?;
    cluster.wait_for(0, "worked")?;
    cluster.wait_for(1, "worked")?;
    cluster.crash(0)?;
    cluster.crash(1)?;
    let run = cluster.wait()?;
    assert_eq!([0, 1].map(|node| run.node(node).end.clone()), [End::Crashed, End::Crashed]);

    // This host does not know the names of the nodes.
    let mounted = Run::new(program("mounted.ocfs2")).arg("-fv").arg(&disk).success();
    let line = mounted.stdout.lines().last().unwrap_or_default();
    assert!(line.contains("0 (crashed ") && line.contains("1 (crashed "), "{mounted}");

    let run = lab
        .vm()
        .o2cb(Heartbeat::Local)
        .disk(&disk)
        .program(program("volume-contents"))
        .share(&share)
        .script(
            "set -e
            mount-volume -o usrquota,grpquota /dev/vda /mnt
            volume-contents describe /mnt >/share/after
            umount /mnt",
        )
        .run()?;
    run.assert_ok();
    assert!(run.node(0).dmesg.contains("was not unmounted cleanly"), "{run}");
    assert!(run.node(0).dmesg.contains("End replay journal (node 1"), "{run}");
    let after = fs::read_to_string(share.join("after"))?;
    assert_work_is_there(&after, 0);
    assert_work_is_there(&after, 1);
    let mounted = Run::new(program("mounted.ocfs2")).arg("-fv").arg(&disk).success();
    assert!(mounted.stdout.contains("Not mounted"), "{mounted}");
    assert_fsck_is_content_after_a_crash(&disk);
    Ok(())
}
