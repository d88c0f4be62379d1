//! `o2info`, compared with the C tool on a loop device.

use std::path::Path;

use ocfs2_testing::{
    LoopDevice, Run, Scratch, c_tool, find_program, fixture, is_c_tool, program, skip,
};

/// Returns the C tool, which has the same name as ours.
fn oracle() -> Option<std::path::PathBuf> {
    let found = c_tool("o2info").or_else(|| find_program("o2info").filter(|it| is_c_tool(it)));
    if found.is_none() {
        skip("there is no o2info on this machine");
    }
    found
}

fn ours(image: &Path, arguments: &[&str]) -> ocfs2_testing::Outcome {
    Run::new(program("o2info")).args(arguments).arg(image).output()
}

/// Returns whether the C tool miscounts in a line: it counts a chunk too many if they divide the
/// volume evenly, and counts free extents twice if a chain has several groups.
fn is_miscounted(line: &str, has_long_chains: bool) -> bool {
    line.starts_with("Total chunks:")
        || line.starts_with("Free chunks:")
        || has_long_chains && (line.contains("-  :") || line.starts_with("Avg."))
}

#[test]
fn every_request_is_answered_as_by_the_c_tool() {
    let Some(c) = oracle() else { return };
    for name in [
        "clean-512-local",
        "clean-1k-local",
        "clean-2k-local",
        "clean-4k-o2cb",
        "clean-1m-global",
        "crashed-1k-o2cb",
        "crashed-4k-linux7-local",
    ] {
        let image = fixture(name);
        let Some(device) = LoopDevice::attach(&image, &["--read-only"]) else { return };
        let has_long_chains = name.contains("512");
        for request in [
            &["--fs-features"][..],
            &["--volinfo"],
            &["--mkfs"],
            &["--freeinode"],
            &["--freefrag", "0"],
            &["--freefrag", "4096"],
            &["-C", "--freeinode", "--fs-features", "--volinfo"],
        ] {
            let theirs = Run::new(&c).args(request).arg(device.path()).output();
            for place in [&image, device.path()] {
                let ours = ours(place, request).expect_status(0);
                let lines = |text: &str| -> Vec<String> {
                    let exact = text.lines().filter(|it| !is_miscounted(it, has_long_chains));
                    exact.map(str::to_owned).collect()
                };
                assert_eq!(lines(&ours.stdout), lines(&theirs.stdout), "{name} {request:?}");
            }
        }
    }
}

#[test]
fn free_extents_add_up_to_what_is_free() {
    let text = ours(&fixture("clean-512-local"), &["--freefrag", "64"]).expect_status(0).stdout;
    let number = |line: &str, column: usize| -> u64 {
        line.split_whitespace().nth(column).unwrap().parse().unwrap()
    };
    let free = text.lines().find(|line| line.starts_with("Free clusters:")).unwrap();
    let rows = text.lines().filter(|line| line.contains("-  :"));
    let sum: u64 = rows.map(|line| number(line, 4)).sum();
    assert_eq!((sum, 71_664), (number(free, 2), sum));
    let chunks = text.lines().find(|line| line.starts_with("Total chunks:")).unwrap();
    assert_eq!(number(chunks, 2), 76_800 / 16);
}

#[test]
fn what_cannot_be_answered_is_seen_in_the_status() {
    let (image, scratch) = (fixture("clean-1m-global"), Scratch::new());
    for (place, arguments, said) in [
        (image.as_path(), &["--freefrag", "64"][..], "freefrag: a chunk is smaller than a cluster"),
        (&image, &["--filestat"], "filestat: a file of a mounted volume is needed"),
        (&image, &["--space-usage"], "space_usage: a file of a mounted volume is needed"),
        (&image, &["--freefrag", "3"], "it is not a power of 2"),
        (&image, &[], "required arguments"),
        (
            scratch.path(),
            &["--volinfo"],
            "is a folder on another file system; o2info reads a device",
        ),
        (Path::new("/nonexistent"), &["--volinfo"], "/nonexistent"),
    ] {
        let outcome = ours(place, arguments).expect_status(1);
        assert!(outcome.stderr.contains(said), "{outcome}");
    }
    let both = ours(&image, &["--freefrag", "64", "--mkfs"]).expect_status(1);
    assert!(both.stdout.starts_with("-N 4 -J size=16777216 "), "{both}");
}
