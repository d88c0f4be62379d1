//! `mounted.ocfs2` with nodes that live and crash.

use std::collections::BTreeSet;

use anyhow::Result;
use ocfs2_testing::vm::End;
use ocfs2_testing::{Run, Scratch, fixture_copy, oracle, program};

use crate::lab::lab;

/// Returns the nodes of the only volume in a table, as a set: which slot a node gets is a matter of
/// chance.
fn nodes(table: &str) -> BTreeSet<String> {
    let mut lines = table.lines();
    let column = lines.find_map(|line| line.find("Nodes"));
    let Some(line) = lines.next() else { panic!("no volume: {table}") };
    let Some(nodes) = column.and_then(|column| line.get(column..)) else { panic!("{table}") };
    nodes.split(", ").map(str::to_owned).collect()
}

#[test]
fn nodes_of_a_cluster_are_live_while_they_are_and_crashed_afterwards() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let run = lab
        .cluster(&image)
        .program(program("mounted.ocfs2"))
        .node(
            0,
            "mount-volume /dev/vda /mnt && barrier up || exit
             mounted.ocfs2 -f || exit
             barrier looked; peer-dead; crash",
        )
        .node(1, "mount-volume /dev/vda /mnt && barrier up && barrier looked || exit; crash")
        .run()?;
    for node in [0, 1] {
        assert_eq!(run.node(node).end, End::Crashed, "{}", run.node(node).output);
    }
    let live = ["ovs001", "ovs002"].map(str::to_owned);
    assert_eq!(nodes(&run.node(0).output), live.into());

    let outcome = Run::new(program("mounted.ocfs2")).arg("-fv").arg(&image).success();
    let crashed: Vec<_> = nodes(&outcome.stdout).into_iter().collect();
    let [first, second] = &crashed[..] else { panic!("{outcome}") };
    for (node, number) in [(first, "0"), (second, "1")] {
        assert!(node.starts_with(&format!("{number} (crashed ")), "{outcome}");
        assert!(node.ends_with(" ago)"), "{outcome}");
    }
    assert!(outcome.stderr.contains("fsck is needed"), "{outcome}");
    Ok(())
}

#[test]
fn a_volume_that_is_mounted_by_way_of_device_mapper_is_in_use() -> Result<()> {
    let (Some(lab), Some(dmsetup)) = (lab(), oracle("dmsetup")) else { return Ok(()) };
    let scratch = Scratch::new();
    let image = fixture_copy("clean-1k-local", &scratch);
    let run = lab
        .vm()
        .disk(&image)
        .programs(["mounted.ocfs2", "fsck.ocfs2"].map(program))
        .program(dmsetup)
        .script(
            "export DM_DISABLE_UDEV=1
             dmsetup create mpatha --table \"0 $(cat /sys/block/vda/size) linear /dev/vda 0\" || exit
             mount -t ocfs2 /dev/mapper/mpatha /mnt || exit
             mounted.ocfs2 -f /dev/vda; echo mounted $?
             fsck.ocfs2 -fy /dev/vda; echo fsck $?
             umount /mnt; mounted.ocfs2 -f /dev/vda",
        )
        .run()?;
    run.assert_ok();
    let output = run.output();
    let (mounted, unmounted) = output.split_once("fsck 8\n").expect("fsck.ocfs2 refuses it");
    // This machine is its only node.
    assert!(mounted.contains(" 0\nmounted 0\n"), "{output}");
    assert!(!mounted.contains("unknown") && !mounted.contains("fsck is needed"), "{output}");
    assert!(mounted.contains("/dev/vda is part of /dev/mapper/mpatha"), "{output}");
    assert!(unmounted.contains("Not mounted"), "{output}");
    Ok(())
}
