//! Writes the seeds of each target into a folder of its own, for libFuzzer to start from: `cargo
//! run -p ocfs2-fuzzing --example seeds -- fuzz/corpus`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/seeds/mod.rs"]
mod seeds;

use std::path::Path;
use std::{env, fs};

fn main() {
    let folder = env::args_os().nth(1).expect("the folder to write to");
    for (target, seeds) in seeds::all() {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder).unwrap();
        for (index, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{index:03}")), seed).unwrap();
        }
    }
}
