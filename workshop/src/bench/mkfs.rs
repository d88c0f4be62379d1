//! mkfs.ocfs2 on new sparse images.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use ocfs2_testing::{Scratch, allocated_bytes};

use super::volumes::program;
use super::{Options, Row, programs, table};

/// A file system to make on a sparse image of this size.
struct Work {
    title: &'static str,
    size_bytes: u64,
    /// Whether both programs run only once because the C tool takes minutes.
    once: bool,
}

const WORKS: [Work; 2] = [
    Work { title: "4293562368 bytes", size_bytes: 4_293_562_368, once: false },
    // The largest file that ext4 supports.
    Work { title: "16 TiB - 4 KiB", size_bytes: (16 << 40) - 4096, once: true },
];

const ARGS: [&str; 5] = ["-q", "-N", "4", "-L", "/OVS"];

/// Measures and adds the tables.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    for work in &WORKS {
        let runs = if work.once { 1 } else { options.runs.max(1) };
        eprintln!("mkfs.ocfs2 of {}, {runs} x", work.title);
        let mut rows = programs(folder, "mkfs.ocfs2")?;
        // In turns, so that other load on the machine affects both.
        for _ in 0..runs {
            for row in &mut rows {
                let scratch = Scratch::new();
                let image = scratch.join("disk.img");
                let file = File::create_new(&image)?;
                file.set_len(work.size_bytes).context("a sparse image of this size")?;
                row.run(|command| command.args(ARGS).arg(&image))?;
                row.allocated_bytes = allocated_bytes(&image);
            }
        }
        let _ = write!(text, "\n## mkfs.ocfs2 {}, {}\n\n", ARGS.join(" "), work.title);
        text.push_str(if runs == 1 { "One run.\n\n" } else { "" });
        text.push_str(&table(&rows));
    }
    populate(options, folder, text)
}

/// Measures a volume that is filled from a folder. Of the C tools, only mke2fs can do that.
fn populate(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    const FILES: u32 = 100_000;
    let scratch = Scratch::new();
    let tree = scratch.join("tree");
    let contents = [b'x'; 4000];
    for number in 0..FILES {
        let path = tree.join(format!("folder-{:03}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&path)?;
        }
        let length = number as usize * 37 % contents.len();
        fs::write(path.join(format!("file-{number:06}")), &contents[..length])?;
    }
    let [ours, _] = programs(folder, "mkfs.ocfs2")?;
    let mut rows = [(ours, &["-q", "-d"][..]), {
        let mke2fs = Row::new("mke2fs, ext4", &program("mke2fs")?);
        (mke2fs, &["-q", "-F", "-t", "ext4", "-N", "120000", "-d"][..])
    }];
    eprintln!("mkfs.ocfs2 -d, {FILES} files, {} x", options.runs);
    for _ in 0..options.runs.max(1) {
        for (row, args) in &mut rows {
            let image = scratch.join("disk.img");
            File::create(&image)?.set_len(4 << 30)?;
            row.run(|command| command.args(*args).args([&tree, &image]))?;
            row.allocated_bytes = allocated_bytes(&image);
        }
    }
    let _ = write!(text, "\n## mkfs.ocfs2 -d, a folder of 100,000 files of up to 4,000 bytes\n\n");
    text.push_str(&table(&rows.map(|(row, _)| row)));
    Ok(())
}
