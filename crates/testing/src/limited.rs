//! The C `fsck.ocfs2` with limited memory.

use std::path::Path;

use crate::{Outcome, Run};

/// The memory that it usually gets. It locks most of it, which takes most of its time.
const USUAL_KIB: u64 = 150_000;

/// Like [`c_fsck_within`], with as much memory as it needs for the volumes of the tests.
pub fn c_fsck_run(fsck: &Path, options: &str, image: &Path) -> Outcome {
    c_fsck_within(USUAL_KIB, fsck, options, image)
}

/// Runs the C fsck.ocfs2 for at most 100 seconds with about `kib` KiB of memory.
///
/// It locks a fifth of the free memory, or half of that, and so on, until it succeeds. How much the
/// limit leaves for everything else is a matter of chance; if it is too little, it is run again
/// with a higher limit.
pub fn c_fsck_within(kib: u64, fsck: &Path, options: &str, image: &Path) -> Outcome {
    let run = |kib: u64| {
        let limited = "ulimit -c 0; exec timeout -k 5 100 \"$0\" \"$1\" \"$2\"";
        let limited = format!("ulimit -v {kib}; {limited}");
        Run::new("sh").args(["-c", &limited]).arg(fsck).arg(options).arg(image).output()
    };
    let outcome = run(kib);
    match outcome.stderr.contains("Memory allocation failed") {
        true => run(kib + kib / 2),
        false => outcome,
    }
}
