//! One file: looked at, moved, looked at again.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_cli::{Interrupt, Interrupted};
use ocfs2_ioctl::{Goal, Mounted};

use crate::Layout;

/// Bytes that the kernel moves in one call, during which other nodes wait for the file.
const STEP: u64 = 64 << 20;

/// The longest rest between two moves.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// What to do with files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Whether they are only looked at.
    pub only_looks: bool,
    pub threshold: u64,
    pub shared: bool,
    pub low_io: bool,
}

/// What became of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Number of its pieces before.
    pub before: usize,
    /// Number of its pieces afterwards.
    pub after: usize,
    /// Bytes in short pieces next to each other, before.
    pub short_bytes: u64,
    /// Bytes that were moved.
    pub moved: u64,
    /// Why it was left out, although nothing is wrong with it.
    pub skipped: Option<&'static str>,
    /// Why it, or some of it, could not be moved.
    pub problem: Option<String>,
}

impl Outcome {
    fn skipped(why: &'static str) -> Self {
        Self { skipped: Some(why), ..Self::default() }
    }

    fn failed(err: &io::Error) -> Self {
        Self { problem: Some(err.to_string()), ..Self::default() }
    }
}

/// Moves what of a file lies in short pieces.
///
/// # Errors
/// A signal came. What was moved until then stays.
pub(crate) fn handle(
    path: &Path,
    settings: Settings,
    interrupt: &Interrupt,
) -> Result<Outcome, Interrupted> {
    interrupt.check()?;
    let file = match Mounted::open_file(path, !settings.only_looks) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Outcome::skipped("it is no file of an OCFS2 volume any more")),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            return Ok(Outcome::skipped("it was removed"));
        }
        Err(err) if err.kind() == io::ErrorKind::ExecutableFileBusy => {
            return Ok(Outcome::skipped("it is a program that runs"));
        }
        Err(err) => return Ok(Outcome::failed(&err)),
    };
    let look = || {
        let (extents, cluster) = (file.extents()?, u64::from(file.cluster_size()?).max(1));
        let end = file.size_bytes()? / cluster * cluster;
        Ok(Layout::of(&extents, settings.threshold, settings.shared, end))
    };
    let before = match look() {
        Ok(layout) => layout,
        Err(err) => return Ok(Outcome::failed(&err)),
    };
    let mut outcome = Outcome {
        before: before.pieces,
        after: before.pieces,
        short_bytes: before.short_bytes(),
        ..Outcome::default()
    };
    if settings.only_looks || before.short.is_empty() {
        return Ok(outcome);
    }
    match gather(&file, &before, settings, interrupt, &mut outcome.moved)? {
        Ok(()) => {}
        Err(err) => {
            outcome.problem = Some(match err.kind() {
                io::ErrorKind::StorageFull => {
                    format!("there are no {} bytes free in a row", settings.threshold)
                }
                _ => err.to_string(),
            });
        }
    }
    match look() {
        Ok(layout) => outcome.after = layout.pieces,
        Err(err) => outcome.problem = Some(err.to_string()),
    }
    Ok(outcome)
}

/// Has the kernel move the short pieces of a file together.
fn gather(
    file: &Mounted,
    layout: &Layout,
    settings: Settings,
    interrupt: &Interrupt,
    moved: &mut u64,
) -> Result<io::Result<()>, Interrupted> {
    let goal = Goal::Together { bytes: settings.threshold };
    let step = (STEP / settings.threshold).max(1) * settings.threshold;
    for range in &layout.short {
        let mut at = range.start;
        while at < range.end {
            interrupt.check()?;
            let (part, began) = (step.min(range.end - at), Instant::now());
            match file.move_extents(at, part, goal, false) {
                Ok(done) => *moved += done.bytes,
                Err(err) => return Ok(Err(err)),
            }
            at += part;
            if settings.low_io {
                thread::sleep(began.elapsed().min(LONGEST_REST));
            }
        }
    }
    Ok(Ok(()))
}
