//! Random commands: whatever their order, the volume is sound at the end, and `--undo-file`
//! restores what was there.

use std::fs;
use std::path::Path;

use ocfs2_testing::debugfs_commands::{Commands, IN_A_SEQUENCE, SHAPES};
use ocfs2_testing::{Random, Run, Scratch, program};

use crate::judge::Judge;
use crate::writing::volume;

/// Number of sequences of commands, unless `OCFS2_SEQUENCES` sets another one.
const SEQUENCES: usize = 60;
/// Number of consecutive sequences that change the same volume.
const IN_A_ROW: usize = 20;

fn debugfs(image: &Path, undo: &Path, lines: &str) -> i32 {
    let run = Run::new(program("debugfs.ocfs2")).args(["-w", "--undo-file"]).arg(undo);
    let done = run.arg(image).stdin(lines).output();
    // Some commands are meant to fail.
    assert!(matches!(done.status, 0 | 1), "{done}");
    assert!(done.stdout.contains("changed\n") || done.stderr.contains(": "), "{done}");
    done.stdout.matches("changed\n").count() as i32
}

#[test]
fn whatever_commands_are_given_the_volume_is_sound() {
    let count = std::env::var("OCFS2_SEQUENCES").ok().and_then(|count| count.parse().ok());
    let first = std::env::var("OCFS2_FIRST").ok().and_then(|first| first.parse().ok());
    let (first, count) = (first.unwrap_or(0), count.unwrap_or(SEQUENCES));
    let mut done = 0;
    for row in first..first + count.div_ceil(IN_A_ROW) {
        let scratch = Scratch::in_memory();
        let image = volume(&scratch, SHAPES[row % SHAPES.len()]);
        let (local, undo) = (scratch.join("local"), scratch.join("undo"));
        let judge = Judge::new(&image);
        let random = Random(0x6f63_6673 + row as u64);
        let mut commands = Commands::new(random, &local);
        for sequence in 0..IN_A_ROW.min(count) {
            let len = commands.random.below(40_000);
            fs::write(&local, commands.random.bytes(len)).unwrap();
            let lines: Vec<_> = (0..IN_A_SEQUENCE).map(|_| commands.next_line()).collect();
            let lines = lines.join("\n") + "\n";
            let is_undone = commands.random.below(4) == 0;
            let before = is_undone.then(|| fs::read(&image).unwrap());
            done += debugfs(&image, &undo, &lines);
            judge.judge(&format!("row {row}, sequence {sequence}:\n{lines}"));
            if let Some(before) = before.filter(|_| undo.exists()) {
                let put_back = format!("--undo={}", undo.display());
                let run = Run::new(program("fsck.ocfs2")).arg(put_back).arg(&image);
                run.output().expect_status(0);
                assert!(fs::read(&image).unwrap() == before, "row {row}, {sequence}:\n{lines}");
            }
            let _ = fs::remove_file(&undo);
        }
        // Shown with --nocapture: progress of a long run.
        eprintln!("row {row}: {done} changes so far");
    }
    // Otherwise hardly anything was tested.
    assert!(done as usize > 2 * count, "{done} of {count}");
}
