//! The search of a device for what is left of volumes, compared with a read of the device.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use ocfs2_cli::human_size;

use super::fsck::prepare;
use super::{Options, Row, table};
use crate::measure;
use xtask::cargo;

/// Bytes of the device.
const BYTES: u64 = 4 << 30;
/// How much longer than a read of the device the search may take.
const MOST: f64 = 1.2;
/// How much more memory than a program that needs next to none it may take, in bytes.
const MOST_MEMORY: u64 = 64 << 20;

/// Measures and adds the table. Fails if the search takes too long.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let image = image()?;
    let to = tempfile::tempdir()?;
    let rescue = format!("--rescue-to={}", to.path().join("saved").display());
    let mut ours = Row::new("ours, --rescue-to", &folder.join("fsck-ocfs2"));
    let mut raw = Row::new("raw read", &std::env::current_exe()?);
    let runs = options.runs.max(1);
    eprintln!("fsck.ocfs2 --rescue-to, {runs} x");
    for _ in 0..runs {
        prepare(&image, true)?;
        raw.run_to(&[0], &[OsStr::new("raw-read"), image.as_os_str(), image.as_os_str()])?;
        prepare(&image, true)?;
        // There is no volume on it: the search is all that is done.
        ours.run_to(&[8], &[OsStr::new(&rescue), image.as_os_str()])?;
    }
    let [search, read] = [&ours, &raw].map(|row| measure::median(&row.costs));
    let ratio = search.wall.as_secs_f64() / read.wall.as_secs_f64();
    let _ = write!(
        text,
        "\n## {} without a volume, cold cache\n\nThe search takes {ratio:.2} times as long as the raw \
         read; at most {MOST} is allowed.\n\n{}",
        human_size(BYTES),
        table(&[ours, raw])
    );
    ensure!(ratio <= MOST, "the search takes {ratio:.2} times as long as a read, not {MOST}");
    let memory = search.peak_rss_bytes.saturating_sub(measure::floor()?);
    ensure!(memory <= MOST_MEMORY, "the search takes {}", human_size(memory));
    Ok(())
}

/// A device full of what is no metadata.
fn image() -> Result<PathBuf> {
    let path = cargo::root().join("target/bench/survey.img");
    if path.metadata().is_ok_and(|file| file.len() == BYTES) {
        return Ok(path);
    }
    fs::create_dir_all(cargo::root().join("target/bench"))?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let mut state = 1_u64;
    for _ in 0..BYTES / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    file.into_inner()?.sync_all()?;
    Ok(path)
}
