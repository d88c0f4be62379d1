//! The locks of the running kernel, from files in its debugfs.

pub mod dlm_locks;
pub mod fs_locks;
pub mod net_stats;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::error::{Failure, of_file};

/// The `f_type` of a debugfs.
const MAGIC: u64 = 0x6462_6720;
/// The greatest length of a line in bytes.
const MOST: u64 = 1 << 20;

/// The mount point of the kernel's debugfs.
fn mounted() -> Option<&'static Path> {
    let places = ["/sys/kernel/debug", "/debug"].map(Path::new);
    places.into_iter().find(|path| statfs(*path).is_ok_and(|it| it.f_type as u64 == MAGIC))
}

/// Opens `given`, or otherwise a file of the kernel.
pub fn open(given: Option<&Path>, kernel: impl FnOnce() -> PathBuf) -> Result<File, Failure> {
    if let Some(path) = given {
        return File::open(path).map_err(|err| of_file(&err, path));
    }
    let missing = "Could not locate debugfs file system. Perhaps it is not mounted?";
    let path = mounted().ok_or_else(|| Failure::Failed(missing.to_owned()))?.join(kernel());
    File::open(&path).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => Failure::Failed(format!(
            "The kernel has no {}: the volume is not mounted here, or has no such locks",
            ocfs2_cli::shown(&path)
        )),
        _ => of_file(&err, &path),
    })
}

/// The lines of such a file, as text.
pub fn lines(file: impl Read) -> impl Iterator<Item = io::Result<String>> {
    let mut file = BufReader::new(file);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match (&mut file).take(MOST).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok(ocfs2_cli::encode::json_text(line.trim_ascii_end()))),
            Err(err) => Some(Err(err)),
        }
    })
}

/// Parses a number of the kernel: decimal, or hexadecimal after `0x`.
pub fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|number| number as i64),
        None => text.parse().ok(),
    }
}

/// A lock value in hexadecimal, sixteen bytes per line.
pub fn raw(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
    let lines: Vec<_> = bytes.chunks(16).map(line).collect();
    format!("Raw LVB:\t{}\n", lines.join("\n\t\t"))
}
