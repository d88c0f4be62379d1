//! Random commands: whatever their order, the volume is sound at the end, and `--undo-file`
//! restores what was there.

use std::fs;
use std::path::Path;

use ocfs2_testing::{Random, Run, Scratch, program};

use crate::judge::Judge;
use crate::writing::volume;

/// Number of sequences of commands, unless `OCFS2_SEQUENCES` sets another one.
const SEQUENCES: usize = 100;
/// Number of commands in a sequence.
const COMMANDS: usize = 12;
/// Number of consecutive sequences that change the same volume.
const IN_A_ROW: usize = 20;

const SHAPES: [&str; 5] = [
    "-b 4096 -C 4096",
    "-b 1024 -C 4096 --fs-features=metaecc,usrquota,grpquota",
    "-b 512 -C 32768 --fs-features=noinline-data",
    "-b 2048 -C 4096 --fs-features=noindexed-dirs,metaecc",
    "-b 4096 -C 16384 --fs-features=usrquota,nodiscontig-bg",
];

/// Generates commands, most of which can succeed.
struct Commands {
    random: Random,
    local: String,
    /// Paths that commands have made, unless they failed or others removed them.
    made: Vec<String>,
}

impl Commands {
    fn path(&mut self) -> String {
        const FOLDERS: [&str; 5] = ["", "", "/sub", "/d1", "/d1/d2"];
        const NAMES: [&str; 9] = ["a", "b", "c", "d1", "d2", "small", "large", "inner", "sub"];
        let long = if self.random.below(9) == 0 {
            "n".repeat(self.random.below(245))
        } else {
            String::new()
        };
        format!("{}/{}{long}", self.random.of(&FOLDERS), self.random.of(&NAMES))
    }

    /// A path that may be there.
    fn old(&mut self) -> String {
        match self.made.len() {
            0 => self.path(),
            _ if self.random.below(4) == 0 => self.path(),
            count => self.made[self.random.below(count)].clone(),
        }
    }

    fn next(&mut self) -> String {
        let (one, other) = (self.old(), self.path());
        let line = self.line(&one, &other);
        let name = line.split(' ').next().unwrap_or_default();
        match name {
            "mkdir" | "write" | "mknod" | "symlink" | "ln" | "rename" | "reflink" => {
                self.made.push(other);
            }
            _ => {}
        }
        // Old paths are of little use.
        if self.made.len() > 40 {
            self.made.remove(0);
        }
        line
    }

    fn line(&mut self, one: &str, other: &str) -> String {
        let number = self.random.below(100);
        let id = self.random.below(5) * 1000;
        let size = [0, 1, 300, 4096, 70_000, 1 << 20][self.random.below(6)];
        match self.random.below(34) {
            0 | 1 => format!("mkdir {other}"),
            2 | 3 => format!("write {} {other}", self.local),
            4 => format!("mknod {other} {}", self.random.of(&["p", "s", "c 1 3", "b 8 1"])),
            5 => format!("symlink {other} {}", "t".repeat(1 + 10 * number)),
            6 | 7 => format!("ln {one} {other}"),
            8 | 9 => format!("rename {one} {other}"),
            10 => format!("rm {one}"),
            11 => format!("rmdir {one}"),
            12 => format!("kill_file {one}"),
            13 => format!("truncate {one} {size}"),
            14 => format!("punch {one} {} {}", number, number + self.random.below(60)),
            15 => format!("punch {one} {number}"),
            16 => format!("fallocate {one} {} {}", number, number + self.random.below(60)),
            17 => format!("fallocate -k {one} 0 {number}"),
            18 | 19 => format!("reflink {one} {other}"),
            20 => {
                format!("ea_set {one} user.{} {}", "k".repeat(1 + number % 9), "v".repeat(number))
            }
            21 => format!("ea_set -f {} {one} trusted.{number}", self.local),
            22 => format!("ea_rm {one} user.{}", "k".repeat(1 + number % 9)),
            23 => format!("sif {one} {} {id}", self.random.of(&["uid", "gid"])),
            24 => format!("sif {one} mtime {}", 1_700_000_000 + number),
            25 => format!("ssv label label-{number}"),
            26 => format!("expand_dir {one}"),
            27 => format!("rebuild_index {one}"),
            28 => format!("set_quota user {id} bhardlimit {}", number << 20),
            // Lines after a command that asks are its answers, or fail as commands.
            29 => format!("mi {one}\n0100{}\n{id}\n{id}\n", 600 + number % 8),
            30 => format!("eo {one}\ndelete {number} 3\ngoto {number}\nset unwritten\nec"),
            31 => {
                let block = 20_000 + 64 * number;
                format!(
                    "eo {one}\ninsert {} {} <{block}> unwritten\nec",
                    number % 9,
                    1 + number % 5
                )
            }
            32 => format!("jo 0\njw -r <{}>\njw -r <{}>\njc\njr", 20_000 + number, 21_000 + number),
            _ => format!("sct {}", 1_700_000_000 + number),
        }
    }
}

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
        let mut commands = Commands { random, local: local.display().to_string(), made: vec![] };
        for sequence in 0..IN_A_ROW.min(count) {
            let len = commands.random.below(40_000);
            fs::write(&local, commands.random.bytes(len)).unwrap();
            let lines: Vec<_> = (0..COMMANDS).map(|_| commands.next()).collect();
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
