//! The result of a run.

use std::collections::BTreeMap;
use std::fmt::Write;

use ocfs2_cli::human_size;
use ocfs2_format::geometry::Geometry;
use serde::Serialize;

use super::PassStatistics;
use crate::{NameHashes, Outcome, Totals};

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Whether the passes were run.
    pub checked: bool,
    /// Whether the device ends before the volume, so that nothing was checked.
    #[serde(skip)]
    pub is_short: bool,
    /// Whether changes are only announced (`--dry-run`).
    #[serde(skip)]
    pub dry_run: bool,
    /// Why the passes were run, or when they will be, in words.
    pub reason: String,
    /// The number of all findings.
    pub findings: u64,
    /// The number of repaired findings.
    pub corrected: u64,
    /// The number of findings that are left.
    pub left: u64,
    /// The number of files with certain losses, including directories and names.
    pub lost: u64,
    /// The number of files without known losses that may be wrong.
    pub doubtful: u64,
    /// The number of whole checks: repairs are followed by another one.
    pub rounds: u32,
    /// The seconds of all checks after the first, with the repairs.
    pub proof_seconds: f64,
    /// How the changes were written.
    pub written: Option<WrittenRecord>,
    /// Slots that were recovered on the device.
    pub slots_recovered: u64,
    /// Slots that still have to be recovered.
    pub slots_left: u64,
    /// The number of findings by code.
    pub codes: BTreeMap<&'static str, u64>,
    /// Counts of files; `None` if nothing was checked.
    pub files: Option<Files>,
    /// Use of space; `None` if nothing was checked.
    pub space: Option<Space>,
    /// Names by their hash; `None` if nothing was checked.
    pub name_hashes: Option<NameHashes>,
    pub passes: Vec<PassStatistics>,
    pub seconds: f64,
    pub read_bytes: u64,
    pub reads: u64,
    pub peak_memory_bytes: Option<u64>,
}

/// How changes were written.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub(crate) enum WrittenRecord {
    /// Not written, with the number of blocks that would be.
    DryRun { blocks: usize },
    /// Through the journal of a slot.
    Journal { slot: u16, blocks: usize },
    /// In place, with the reason why no journal was used.
    InPlace { blocks: usize, reason: String },
}

/// The files of a volume, by kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Files {
    pub inodes: u64,
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    pub special: u64,
    pub inline: u64,
    /// Regular files with more than one extent.
    pub fragmented: u64,
}

/// The space of a volume.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Space {
    pub clusters: u32,
    pub clusters_in_use: u64,
    pub cluster_size: u32,
}

impl Summary {
    /// Takes over the outcome of the passes.
    pub fn set_outcome(&mut self, outcome: &Outcome, geometry: &Geometry) {
        self.checked = true;
        self.is_short = outcome.is_short;
        if outcome.is_partial {
            return;
        }
        let (clusters, cluster_size) = (geometry.clusters, geometry.cluster_size.bytes());
        let Totals { inodes, files, directories, symlinks, special, inline, fragmented, .. } =
            outcome.totals;
        let files = Files { inodes, files, directories, symlinks, special, inline, fragmented };
        self.files = Some(files);
        self.name_hashes = Some(outcome.totals.name_hashes);
        self.space =
            Some(Space { clusters, clusters_in_use: outcome.clusters_in_use, cluster_size });
    }

    /// The lines after the passes.
    pub fn text(&self, device: &str) -> String {
        let mut text = String::new();
        if !self.checked {
            return text;
        }
        if self.findings == 0 && self.slots_left == 0 {
            text.push_str("All passes succeeded.\n");
        }
        if self.findings > 0 {
            let (found, problems) = (self.findings, plural(self.findings, "problem"));
            let corrected = if self.dry_run { "would be corrected" } else { "corrected" };
            let left = if self.corrected == 0 {
                format!("none {corrected}")
            } else if self.left == 0 && self.lost == 0 {
                format!("all {corrected}")
            } else if self.left == 0 {
                format!("{} {corrected}", self.corrected)
            } else {
                format!("{} {corrected}, {} left", self.corrected, self.left)
            };
            let losses = self.losses();
            let _ = writeln!(text, "\n{device}: {found} {problems} found, {left}{losses}");
            let width = self.codes.keys().map(|code| code.len()).max().unwrap_or(0);
            for (code, count) in &self.codes {
                let _ = writeln!(text, "  {code:<width$}  {count}");
            }
        }
        match &self.written {
            None => {}
            Some(WrittenRecord::DryRun { blocks }) => {
                let plural = plural(*blocks as u64, "block");
                let _ = writeln!(text, "{device}: {blocks} {plural} would be written (--dry-run)");
            }
            Some(WrittenRecord::Journal { slot, blocks }) => {
                let plural = plural(*blocks as u64, "block");
                let _ = writeln!(
                    text,
                    "{device}: {blocks} {plural} written through the journal of slot {slot}"
                );
            }
            Some(WrittenRecord::InPlace { blocks, reason }) => {
                let plural = plural(*blocks as u64, "block");
                let _ =
                    writeln!(text, "{device}: {blocks} {plural} written, not journaled: {reason}");
            }
        }
        if self.slots_left > 0 {
            let slots = plural(self.slots_left, "slot");
            let _ = writeln!(text, "{device}: {} {slots} to be recovered", self.slots_left);
        }
        if let (Some(files), Some(space)) = (&self.files, &self.space) {
            let _ = writeln!(text, "\n{device}: {}; {}", files.text(), space.text());
        }
        text
    }

    /// The losses in a few words, as a suffix.
    fn losses(&self) -> String {
        let mut text = String::new();
        if self.lost > 0 {
            let losses = if self.lost == 1 { "loss" } else { "losses" };
            let _ = write!(text, "; {} {losses}, listed above", self.lost);
        }
        if self.doubtful > 0 {
            let files = plural(self.doubtful, "file");
            let _ = write!(text, "; {} {files} that may be wrong, listed above", self.doubtful);
        }
        text
    }

    /// The output of `-t`, in the layout of the C tool.
    pub fn statistics(&self) -> String {
        let mut text = String::from("\n");
        let rate = rate(self.read_bytes, self.seconds);
        let (read, reads) = (human_size(self.read_bytes), self.reads);
        let _ = writeln!(text, "  I/O read: {read} in {reads} reads{rate}");
        let _ = writeln!(text, "  Time: {:.3} s", self.seconds);
        if let Some(bytes) = self.peak_memory_bytes {
            let _ = writeln!(text, "  Memory: {} at most", human_size(bytes));
        }
        if let Some(files) = &self.files {
            for (count, what) in [
                (files.files, "regular file"),
                (files.directories, "directory"),
                (files.symlinks, "symbolic link"),
                (files.special, "device, fifo or socket"),
            ] {
                let _ = writeln!(text, "  {count:>10} {}", plural(count, what));
            }
            let _ = writeln!(text, "  {:>10} of them inline", files.inline);
        }
        text
    }
}

impl Files {
    fn text(&self) -> String {
        let Self { files, directories, symlinks, fragmented, .. } = self;
        let of_files = match files {
            0 => String::new(),
            _ => format!(" ({:.1}% fragmented)", *fragmented as f64 * 100.0 / *files as f64),
        };
        format!(
            "{files} {}{of_files}, {directories} {}, {symlinks} {}",
            plural(*files, "file"),
            plural(*directories, "directory"),
            plural(*symlinks, "symbolic link"),
        )
    }
}

impl Space {
    fn text(&self) -> String {
        let bytes = |clusters: u64| human_size(clusters.saturating_mul(self.cluster_size.into()));
        let Self { clusters, clusters_in_use, .. } = self;
        let (used, all) = (bytes(*clusters_in_use), bytes(u64::from(*clusters)));
        format!("{clusters_in_use} of {clusters} clusters in use ({used} of {all})")
    }
}

impl PassStatistics {
    /// The output of `-tt` after a pass.
    pub fn text(&self) -> String {
        let rate = rate(self.read_bytes, self.seconds);
        let (read, reads, seconds) = (human_size(self.read_bytes), self.reads, self.seconds);
        format!("  I/O read: {read} in {reads} reads{rate}; time: {seconds:.3} s\n")
    }
}

fn rate(bytes: u64, seconds: f64) -> String {
    if seconds < 0.001 {
        return String::new();
    }
    format!(", {}/s", human_size((bytes as f64 / seconds) as u64))
}

fn plural(count: u64, word: &str) -> String {
    match word.strip_suffix('y') {
        _ if count == 1 => word.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None if word.ends_with(" or socket") => "devices, fifos and sockets".to_owned(),
        None => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_format::{Blkno, BlockSize, ClusterSize};

    use super::*;

    #[test]
    fn a_run_that_found_something_says_what_and_that_it_was_left() {
        let mut summary = Summary { checked: true, ..Summary::default() };
        assert_eq!(summary.text("x"), "All passes succeeded.\n");
        summary.codes = [("EB_GEN", 1), ("INODE_COUNT", 2)].into();
        (summary.findings, summary.left) = (3, 3);
        let text = summary.text("x");
        assert!(text.starts_with("\nx: 3 problems found, none corrected"), "{text}");
        assert!(text.ends_with("  EB_GEN       1\n  INODE_COUNT  2\n"), "{text}");
        assert!(!text.contains("succeeded"));
        let left = Summary { checked: true, slots_left: 1, ..Summary::default() };
        assert_eq!(left.text("x"), "x: 1 slot to be recovered\n");
    }

    #[test]
    fn files_and_space_are_told_in_one_line() {
        let outcome = Outcome {
            totals: Totals { files: 4, directories: 1, fragmented: 1, ..Totals::default() },
            clusters_in_use: 10,
            ..Outcome::default()
        };
        let mut summary = Summary { checked: true, ..Summary::default() };
        let geometry = Geometry {
            block_size: BlockSize::from_bytes(4096).unwrap(),
            cluster_size: ClusterSize::from_bytes(4096).unwrap(),
            clusters: 100,
            first_group: Blkno(3),
        };
        summary.set_outcome(&outcome, &geometry);
        let expected = "x: 4 files (25.0% fragmented), 1 directory, 0 symbolic links; \
                        10 of 100 clusters in use (40 KiB of 400 KiB)\n";
        assert!(summary.text("x").ends_with(expected), "{}", summary.text("x"));
    }
}
