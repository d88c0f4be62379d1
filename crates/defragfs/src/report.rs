//! What was found and done, over all files of a run.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ocfs2_cli::encode::{json_path, json_path_escaped};
use ocfs2_cli::{human_size, shown};
use serde::Serialize;

use crate::file::Outcome;

/// Number of files with most pieces that are shown.
const WORST: usize = 5;

/// A file in the report.
#[derive(Debug, Serialize)]
struct Named {
    path: String,
    /// The bytes of the path if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_escaped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pieces: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Named {
    fn new(path: &Path, pieces: Option<usize>, problem: Option<String>) -> Self {
        Self { path: json_path(path), path_escaped: json_path_escaped(path), pieces, problem }
    }
}

/// Sums over files.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Files that were looked at.
    files: u64,
    /// Files with short pieces next to each other.
    fragmented: u64,
    /// Files of which something was moved.
    moved: u64,
    /// Files that were left out, although nothing is wrong with them.
    skipped: u64,
    pieces_before: u64,
    pieces_after: u64,
    /// Bytes in short pieces next to each other.
    short_bytes: u64,
    moved_bytes: u64,
    /// The files with most pieces.
    worst: Vec<Named>,
    #[serde(skip)]
    most: Vec<(usize, PathBuf)>,
    failed: Vec<Named>,
}

fn pieces(count: usize) -> String {
    format!("{count} piece{}", if count == 1 { "" } else { "s" })
}

impl Report {
    /// Adds what became of a file.
    pub(crate) fn add(&mut self, path: &Path, outcome: &Outcome) {
        if let Some(problem) = &outcome.problem {
            self.fail(path, problem.clone());
        }
        if outcome.skipped.is_some() {
            self.skipped += 1;
            return;
        }
        self.files += 1;
        self.fragmented += u64::from(outcome.short_bytes > 0);
        self.moved += u64::from(outcome.moved > 0);
        self.pieces_before += outcome.before as u64;
        self.pieces_after += outcome.after as u64;
        self.short_bytes += outcome.short_bytes;
        self.moved_bytes += outcome.moved;
        self.most.push((outcome.after, path.to_owned()));
        self.most.sort_by_key(|(pieces, _)| Reverse(*pieces));
        self.most.truncate(WORST);
    }

    /// Adds a path that cannot be handled.
    pub(crate) fn fail(&mut self, path: &Path, problem: String) {
        self.failed.push(Named::new(path, None, Some(problem)));
    }

    /// Whether nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// Prints the count of one target, first as the C tool does.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn print_count(&self, target: &Path, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:8} files should be defraged in [{}]", self.fragmented, shown(target))?;
        let size = human_size(self.short_bytes);
        writeln!(
            out,
            "{} files have {} pieces; {size} are in short pieces next to each other",
            self.files, self.pieces_before
        )?;
        for (count, path) in self.most.iter().filter(|(count, _)| *count > 1) {
            writeln!(out, "{count:8} pieces: {}", shown(path))?;
        }
        Ok(())
    }

    /// Prints what was done.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { files, moved, pieces_before, pieces_after, skipped, .. } = self;
        writeln!(
            out,
            "{moved} of {files} files moved, {}: they had {pieces_before} pieces and have \
             {pieces_after}; {skipped} left out, {} failed",
            human_size(self.moved_bytes),
            self.failed.len()
        )
    }

    /// Returns the report for JSON.
    pub(crate) fn complete(mut self) -> Self {
        let named = |(count, path): (usize, PathBuf)| Named::new(&path, Some(count), None);
        self.worst = std::mem::take(&mut self.most).into_iter().map(named).collect();
        self
    }
}

/// The line for one file.
pub(crate) fn line(path: &Path, outcome: &Outcome, only_looks: bool) -> String {
    let path = shown(path);
    if let Some(why) = outcome.skipped {
        return format!("{path}: left out: {why}");
    }
    let before = pieces(outcome.before);
    match (outcome.short_bytes, only_looks) {
        (0, _) => format!("{path}: {before}"),
        (bytes, true) => format!("{path}: {before}, {} to be moved", human_size(bytes)),
        _ => format!("{path}: {before}, now {}", outcome.after),
    }
}
