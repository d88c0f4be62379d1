//! What the C fsck.ocfs2 reports about a volume.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Base;
use crate::{Outcome, c_fsck_run, c_fsck_within, c_tool};

const LITTLE_KIB: u64 = 80_000;

/// Output of the C fsck.ocfs2.
#[derive(Clone, Debug)]
pub struct CReport {
    /// Its questions, in order: each is a line that starts with a code.
    pub questions: Vec<String>,
    /// Its exit status; 128 + N if signal N ended it, 124 or 137 if it ran out of time.
    pub status: i32,
    /// Whether it completed all passes.
    pub finished: bool,
    /// Everything it printed.
    pub output: String,
}

impl CReport {
    /// Returns the codes of the questions that were not asked about the `sound` volume, sorted.
    pub fn codes_beyond(&self, sound: &CReport) -> Vec<String> {
        let mut known: Vec<_> = sound.questions.iter().map(|question| subject(question)).collect();
        let mut codes: Vec<String> = self
            .questions
            .iter()
            .filter(|question| {
                let at = known.iter().position(|known| *known == subject(question));
                at.map(|at| known.swap_remove(at)).is_none()
            })
            .filter_map(|question| code(question))
            .collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// Returns what a question is about: for a wrong size only the inode, because the size may differ.
fn subject(question: &str) -> &str {
    match question.split_once(" has a size of ") {
        Some((subject, _)) if question.starts_with("[INODE_SPARSE_SIZE]") => subject,
        _ => question,
    }
}

fn code(line: &str) -> Option<String> {
    Some(line.trim().strip_prefix('[')?.split_once(']')?.0.to_owned())
}

/// Runs the C fsck.ocfs2 with `-fn` or other options, for at most 100 seconds.
///
/// # Panics
/// If it is not installed.
pub fn c_fsck(image: &Path, options: &str) -> CReport {
    report(c_fsck_run(&installed(), options, image))
}

/// Like [`c_fsck`], but in half the time: with so little memory that it may complain about that.
///
/// # Panics
/// Like [`c_fsck`].
pub fn c_fsck_in_little_memory(image: &Path, options: &str) -> CReport {
    report(c_fsck_within(LITTLE_KIB, &installed(), options, image))
}

fn installed() -> PathBuf {
    c_tool("fsck.ocfs2").expect("the C fsck.ocfs2 is installed")
}

fn report(outcome: Outcome) -> CReport {
    let output = outcome.stdout + &outcome.stderr;
    CReport {
        questions: output.lines().filter(|line| code(line).is_some()).map(str::to_owned).collect(),
        status: outcome.status,
        finished: output.contains("All passes succeeded"),
        output,
    }
}

/// Reports about sound volumes, by volume and options.
type Known = HashMap<(Base, &'static str), Arc<CReport>>;

/// Returns what the C fsck.ocfs2 wrongly reports about a sound volume with these options. It is run
/// only once.
///
/// # Panics
/// Like [`c_fsck`].
pub fn complaints(base: Base, options: &'static str) -> Arc<CReport> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    let report = known
        .entry((base, options))
        .or_insert_with(|| Arc::new(c_fsck(base.image().path(), options)));
    Arc::clone(report)
}
