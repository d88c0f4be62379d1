//! mkfs.ocfs2 on new sparse images.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use ocfs2_testing::{Scratch, allocated_bytes};

use super::{Options, programs, table};

/// A file system to be made on a sparse image of this size.
struct Work {
    title: &'static str,
    size_bytes: u64,
    /// Whether the C tool takes minutes for it.
    once: bool,
}

const WORKS: [Work; 2] = [
    Work { title: "4293562368 bytes", size_bytes: 4_293_562_368, once: false },
    // As large as a file on ext4 can be.
    Work { title: "16 TiB - 4 KiB", size_bytes: (16 << 40) - 4096, once: true },
];

const ARGS: [&str; 5] = ["-q", "-N", "4", "-L", "/OVS"];

/// Measures and adds its tables.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    for work in &WORKS {
        let runs = if work.once { 1 } else { options.runs.max(1) };
        eprintln!("mkfs.ocfs2 of {}, {runs} x", work.title);
        let mut rows = programs(folder, "mkfs.ocfs2")?;
        // By turns, so that what else the machine does hits both.
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
    Ok(())
}
