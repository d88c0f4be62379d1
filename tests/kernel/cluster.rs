//! Two nodes on one disk: each sees what the other does, and our programs see both.

use std::fs;

use anyhow::Result;
use ocfs2_testing::{Scratch, program};

use crate::lab::lab;
use crate::volume::{NEW_JOURNAL, O2CB, assert_fsck_is_content, mkfs};

/// Each node fills a folder, describes both folders, and appends to a file in turns with the other.
/// There are few files: a node that reads a file written by the other waits 0.2 s.
const STORY: &str = "
    set -e
    # One after the other: who mounts first gets the first slot.
    [ $NODE = 1 ] || mount-volume -o usrquota,grpquota /dev/vda /mnt
    barrier first-has-mounted
    [ $NODE = 0 ] || mount-volume -o usrquota,grpquota /dev/vda /mnt
    barrier mounted
    volume-contents fill /mnt/of-$NODE 4096 xattrs many=40 sizes special sparse reflinks
    [ $NODE = 1 ] || : >/mnt/shared
    barrier filled
    volume-contents describe /mnt/of-0 >/share/of-0.seen-by-$NODE
    volume-contents describe /mnt/of-1 >/share/of-1.seen-by-$NODE
    stat -c %i /mnt/of-$NODE/sparse/beyond-eof >/share/preallocated-$NODE
    barrier described
    # In turns: the kernel takes the end of the file before it has asked the other node for it,
    # so that of two nodes that append at the same moment one may overwrite the other.
    for turn in $(seq 5); do
        [ $NODE = 1 ] || echo \"turn $turn of node $NODE\" >>/mnt/shared
        barrier turn-$turn-of-0
        [ $NODE = 0 ] || echo \"turn $turn of node $NODE\" >>/mnt/shared
        barrier turn-$turn-of-1
    done
    # Each changes what the other one made.
    other=$((1 - NODE))
    mv /mnt/of-$other/many/number-4 /mnt/taken-by-$NODE
    rm -r /mnt/of-$other/special
    echo changed >/mnt/of-$other/sizes/bytes-100
    barrier changed
    sort /mnt/shared >/share/shared.seen-by-$NODE
    volume-contents describe /mnt >/share/all.seen-by-$NODE
    mounted.ocfs2 -f /dev/vda >/share/mounted-f.$NODE 2>&1
    mounted.ocfs2 -d /dev/vda >/share/mounted-d.$NODE 2>&1
    blkid.ocfs2 /dev/vda >/share/blkid.$NODE 2>&1
    barrier looked
    # One after the other: at the same time each would try to hand its locks to the other.
    [ $NODE = 0 ] || umount /mnt
    barrier one-is-unmounted
    [ $NODE = 1 ] || umount /mnt
    barrier both-are-unmounted
    mounted.ocfs2 -f /dev/vda >/share/after-f.$NODE 2>&1
";

#[test]
fn two_nodes_see_what_the_other_writes_and_our_programs_see_both() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let features = "--fs-feature-level=max-features";
    let options = [&["-N", "4", "-L", "story", "-J", "size=8M", features], &O2CB[..]].concat();
    let disk = mkfs(&scratch, "story.img", 500 << 20, &options);
    let share = scratch.join("share");
    fs::create_dir(&share)?;
    let programs = ["volume-contents", "mounted.ocfs2", "blkid.ocfs2"].map(program);
    let run = lab.cluster(&disk).programs(programs).share(&share).script(STORY).allow(NEW_JOURNAL);
    run.run()?.assert_ok();

    let read = |name: &str| fs::read_to_string(share.join(name));
    for what in ["of-0", "of-1", "shared", "all"] {
        let (by_0, by_1) =
            (read(&format!("{what}.seen-by-0"))?, read(&format!("{what}.seen-by-1"))?);
        assert!(by_0 == by_1, "{what} differs:\n{}", difference(&by_0, &by_1));
    }
    assert!(read("of-1.seen-by-0")?.lines().count() > 200);
    assert_eq!(read("shared.seen-by-0")?.lines().count(), 10);

    for node in 0..2 {
        let found = read(&format!("mounted-f.{node}"))?;
        let line = found.lines().find(|line| line.contains("/dev/vda"));
        assert!(line.is_some_and(|line| line.trim().ends_with("ovs001, ovs002")), "{found}");
        let found = read(&format!("after-f.{node}"))?;
        assert!(found.contains("Not mounted"), "{found}");
        let found = read(&format!("mounted-d.{node}"))?;
        assert!(found.contains("ovscluster") && found.contains("story"), "{found}");
        assert!(read(&format!("blkid.{node}"))?.contains("TYPE=\"ocfs2\""));
    }
    assert_eq!(read("blkid.0")?, read("blkid.1")?);

    let preallocated = [0, 1].map(|node| read(&format!("preallocated-{node}")));
    let preallocated: Vec<_> =
        preallocated.into_iter().map(|line| line.unwrap().trim().parse().unwrap()).collect();
    assert_fsck_is_content(&disk, &preallocated);
    Ok(())
}

/// Returns the lines that only one of two texts has.
fn difference(left: &str, right: &str) -> String {
    let without = |these: &str, those: &str| -> Vec<String> {
        let those: std::collections::HashSet<_> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).map(str::to_owned).collect()
    };
    format!("{:#?}\n{:#?}", without(left, right), without(right, left))
}
