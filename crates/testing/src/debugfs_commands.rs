//! Random commands for `debugfs.ocfs2 -w`.

use std::path::Path;

use crate::Random;

/// Number of commands in a sequence.
pub const IN_A_SEQUENCE: usize = 12;

/// Options for `mkfs.ocfs2` of volumes to change.
pub const SHAPES: [&str; 5] = [
    "-b 4096 -C 4096",
    "-b 1024 -C 4096 --fs-features=metaecc,usrquota,grpquota",
    "-b 512 -C 32768 --fs-features=noinline-data",
    "-b 2048 -C 4096 --fs-features=noindexed-dirs,metaecc",
    "-b 4096 -C 16384 --fs-features=usrquota,nodiscontig-bg",
];

/// Generates commands, most of which can succeed.
#[derive(Debug)]
pub struct Commands {
    /// Where the choices come from.
    pub random: Random,
    local: String,
    /// Paths that commands have made, unless they failed or others removed them.
    made: Vec<String>,
}

impl Commands {
    /// Returns those that follow from `random`. `local` is the file that is written to the volume.
    pub fn new(random: Random, local: &Path) -> Self {
        Self { random, local: local.display().to_string(), made: Vec::new() }
    }

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

    /// Returns the next command, which is of several lines if it asks.
    pub fn next_line(&mut self) -> String {
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
