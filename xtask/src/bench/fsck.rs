//! fsck.ocfs2 on volumes without a fault.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use ocfs2_testing::Scratch;
use ocfs2_testing::populate::populate;
use rustix::fs::{Advice, fadvise};

use super::{Options, programs, table};

/// A volume to be checked.
struct Work {
    title: &'static str,
    size_bytes: u64,
    files: u32,
}

const WORKS: [Work; 2] = [
    Work { title: "an almost empty volume of 4 GiB", size_bytes: 4 << 30, files: 0 },
    Work {
        title: "a volume of 20 GiB with 1,000,000 files",
        size_bytes: 20 << 30,
        files: 1_000_000,
    },
];

/// Measures and adds its tables.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    for work in &WORKS {
        let scratch = Scratch::new();
        let image = scratch.join("disk.img");
        let file = File::create_new(&image)?;
        file.set_len(work.size_bytes)?;
        let mkfs = Command::new(folder.join("mkfs-ocfs2"))
            .args(["-q", "-N", "2", "--fs-features=noindexed-dirs"])
            .arg(&image)
            .status()?;
        ensure!(mkfs.success(), "mkfs.ocfs2: {mkfs}");
        if work.files > 0 {
            populate(&image, work.files);
        }
        file.sync_all()?;
        for cold in [true, false] {
            let state = if cold { "cold" } else { "warm" };
            eprintln!("fsck.ocfs2 -fn of {}, {state}, {} x", work.title, options.runs);
            let mut rows = programs(folder, "fsck.ocfs2")?;
            for _ in 0..options.runs.max(1) {
                for row in &mut rows {
                    if cold {
                        fadvise(&file, 0, None, Advice::DontNeed)?;
                    } else {
                        // The C tool reads past the cache.
                        std::io::copy(&mut File::open(&image)?, &mut std::io::sink())?;
                    }
                    row.run(|command| command.arg("-fn").arg(&image))?;
                }
            }
            let _ = write!(text, "\n## fsck.ocfs2 -fn, {}, {state} cache\n\n", work.title);
            text.push_str(&table(&rows));
        }
    }
    Ok(())
}
