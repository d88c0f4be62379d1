//! `--progress`: lines of JSON to a descriptor.

use std::collections::BTreeMap;
use std::fs;

use ocfs2_testing::{Run, program};

use crate::bench::{Bench, extend};

/// Runs ours with descriptor 7 open for a file; returns the task, parts done and total of each line.
fn lines(bench: &Bench, options: &str) -> Vec<(String, u64, u64)> {
    let file = bench.scratch.join("progress");
    let line = format!("exec \"$0\" --progress=7 {options} \"$1\" 7>\"$2\"");
    let sh = Run::new("/bin/sh").args(["-c", &line]).arg(program("tunefs.ocfs2"));
    let done = sh.arg(&bench.path).arg(&file).success();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""), "{options}");
    let text = fs::read_to_string(file).unwrap();
    let parsed = text.lines().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| value[name].as_u64().unwrap();
        (value["task"].as_str().unwrap().to_owned(), number("done"), number("total"))
    });
    parsed.collect()
}

#[test]
fn a_program_can_follow_each_task_from_its_beginning_to_its_end() {
    let bench = Bench::new("-b 1K -C 4K --fs-features=nometaecc,noindexed-dirs", "64M");
    extend(&bench.path, 96);
    for (options, tasks) in [
        ("-L new", vec!["Writing the changes"]),
        ("-S", vec!["Growing the filesystem"]),
        ("-N 4", vec!["Writing the changes"]),
        ("-N 1", vec!["Removing node slots"]),
        ("--fs-features=indexed-dirs", vec!["Building indexed trees"]),
        // Directories without trailers are found while blocks are written.
        (
            "--fs-features=metaecc",
            vec!["Writing blocks", "Installing dir trailers", "Writing blocks"],
        ),
    ] {
        let lines = lines(&bench, options);
        let (mut found, mut last) = (Vec::new(), BTreeMap::new());
        for (task, done, total) in lines {
            if found.last() != Some(&task) {
                assert_eq!(done, 0, "{options}: {task}");
                found.push(task.clone());
            }
            last.insert(task, (done, total));
        }
        assert_eq!(found, tasks, "{options}");
        for (task, (done, total)) in last {
            assert!(done == total || total == 0, "{options}: {task}: {done} of {total}");
        }
    }
    bench.judge("with progress");
}

#[test]
fn a_descriptor_that_is_not_open_is_refused_before_anything_is_done() {
    let bench = Bench::new("-b 4K -C 4K", "32M");
    let before = fs::read(&bench.path).unwrap();
    // The first ones that the program opens itself are among these.
    for number in 3..9 {
        let refused = bench.tunefs(&format!("--progress={number} -L new")).expect_status(1);
        assert!(refused.stderr.contains(&format!("descriptor {number}")), "{refused}");
    }
    let both = bench.tunefs("--json --progress -L new").expect_status(1);
    assert!(both.stderr.contains("needs a descriptor"), "{both}");
    assert!(before == fs::read(&bench.path).unwrap());
    let shown = bench.tunefs("-p -L new").expect_status(0).stdout;
    assert!(shown.contains("   0% > Writing the changes]\n"), "{shown}");
    assert!(shown.contains(" 100% > Writing the changes]\n"), "{shown}");
}
