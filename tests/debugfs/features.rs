//! `feature`: shows features, and switches those that are nothing but their bit.

use ocfs2_testing::{Run, Scratch, oracle, program};

use crate::judge::Judge;
use crate::writing::{change, volume};

#[test]
fn a_feature_that_is_only_a_bit_is_switched_in_all_superblocks() {
    let scratch = Scratch::in_memory();
    let options = "--fs-features=nosparse,noinline-data,norefcount,nodiscontig-bg,metaecc";
    let image = volume(&scratch, options);
    let shown = || change(&image, "feature").expect_status(0).stdout;
    assert!(shown().contains(" metaecc ") && !shown().contains("refcount"));
    let done = change(&image, "feature refcount +inline-data discontig-bg -append-dio");
    assert!(
        done.expect_status(0)
            .stdout
            .starts_with("set: inline-data refcount discontig-bg, cleared: append-dio; ")
    );
    assert!(shown().contains(" inline-data ") && !shown().contains("append-dio"));
    let done = change(&image, "feature nometaecc ^append-dio").expect_status(0);
    assert!(done.stdout.starts_with("cleared: metaecc; "), "{done}");
    let again = change(&image, "feature nometaecc").expect_status(0).stdout;
    assert!(again.starts_with("Features: ") && !again.contains("metaecc"));
    // The volume is sound to both fsck, and C has the same features.
    Judge::new(&image).judge("feature");
    let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output();
    assert_eq!(fsck.status, 0, "{fsck}");
    if let Some(c) = oracle("debugfs.ocfs2") {
        let run = |tool| Run::new(tool).args(["-R", "stats -h"]).arg(&image).success().stdout;
        let features = |text: String| {
            let lines = text.lines().filter(|line| line.contains("Feature"));
            lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(features(run(c)), features(run(program("debugfs.ocfs2"))));
    }
    change(&image, "write LICENSE /x").expect_status(1);
    change(&image, "reflink /small /shared").expect_status(0);
    Judge::new(&image).judge("after a reflink");
}

#[test]
fn what_takes_more_is_refused_and_changes_nothing() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "--fs-features=nosparse,norefcount");
    let before = std::fs::read(&image).unwrap();
    for (command, says) in [
        (
            "feature metaecc",
            "To set metaecc takes more than its bit: use tunefs.ocfs2 \
                             --fs-features=metaecc",
        ),
        ("feature unwritten", "To set sparse takes more"),
        ("feature -xattr", "--fs-features=noxattr"),
        ("feature refcount -indexed-dirs", "--fs-features=noindexed-dirs"),
        ("feature usrquota", "--fs-features=usrquota"),
        ("feature nonsense", "nonsense"),
        ("feature refcount,norefcount", "refcount"),
        ("feature -heartbeat-device", "heartbeat-device"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
    }
    let run = Run::new(program("debugfs.ocfs2")).args(["-R", "feature refcount"]).arg(&image);
    assert!(run.output().expect_status(1).stderr.contains("only read"));
    assert!(std::fs::read(&image).unwrap() == before);
}
