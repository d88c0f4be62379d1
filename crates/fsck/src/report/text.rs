//! Text, in the form of the C tool.

use std::io::{self, Write};

use ocfs2_cli::encode::line;
use ocfs2_cli::{Output, shown};

use super::{Form, LossRecord, Record, SlotOutcome, SlotRecord, SlotState, VolumeRecord};
use crate::cli::{Cli, Mode};
use crate::codes::Code;
use crate::rescue::Rescued;

/// Text, as `-v` and `-t` want it.
pub(crate) struct Text {
    device: String,
    mode: Mode,
    verbose: bool,
    statistics: u8,
    dry_run: bool,
    /// Whether the replay of journals was announced.
    said_replaying: bool,
    /// Which heading of losses was shown last: true for certain losses, false for possible ones.
    said_lost: Option<bool>,
}

impl Text {
    pub fn new(cli: &Cli) -> Self {
        Self {
            device: line(shown(&cli.device)),
            mode: cli.mode(),
            verbose: cli.verbose,
            statistics: cli.statistics,
            dry_run: cli.dry_run,
            said_replaying: false,
            said_lost: None,
        }
    }

    fn volume(&self, out: &mut dyn Write, volume: &VolumeRecord) -> io::Result<()> {
        let uuid = volume.uuid.replace('-', "").to_ascii_uppercase();
        writeln!(out, "Checking OCFS2 filesystem in {}:", self.device)?;
        writeln!(out, "  Label:              {}", line(&volume.label))?;
        writeln!(out, "  UUID:               {uuid}")?;
        writeln!(out, "  Number of blocks:   {}", volume.blocks)?;
        writeln!(out, "  Block size:         {}", volume.block_size)?;
        writeln!(out, "  Number of clusters: {}", volume.clusters)?;
        writeln!(out, "  Cluster size:       {}", volume.cluster_size)?;
        writeln!(out, "  Number of slots:    {}", volume.slots)?;
        if self.verbose {
            writeln!(out, "  Features:           {}", volume.features.join(" "))?;
            let stack = volume.stack.as_deref().unwrap_or("none, a local volume");
            writeln!(out, "  Cluster stack:      {}", line(stack))?;
            writeln!(out, "  Superblock:         block {}", volume.superblock)?;
        }
        writeln!(out)
    }

    fn loss(&mut self, out: &mut dyn Write, loss: &LossRecord) -> io::Result<()> {
        let is_certain = loss.is_certain();
        if self.said_lost.replace(is_certain) != Some(is_certain) {
            let heading = match (is_certain, self.dry_run) {
                (true, false) => "what is lost",
                (true, true) => "what would be lost",
                (false, _) => "what may be wrong",
            };
            writeln!(out, "\n{}: {heading}:", self.device)?;
        }
        writeln!(out, "  {}", loss.text())
    }

    fn slot(&mut self, out: &mut dyn Write, record: &SlotRecord) -> io::Result<()> {
        let slot = record.slot;
        if record.state == SlotState::Clean && record.problem.is_none() {
            let given_back = record.local_alloc_clusters.unwrap_or(0) > 0
                || record.truncate_log_clusters.unwrap_or(0) > 0;
            if !given_back {
                return if self.verbose { writeln!(out, "Slot {slot} is clean.") } else { Ok(()) };
            }
        }
        if record.state == SlotState::Dirty && !std::mem::replace(&mut self.said_replaying, true) {
            let device = &self.device;
            writeln!(
                out,
                "{device} wasn't cleanly unmounted by all nodes.  Attempting to replay the \
                 journals for nodes that didn't unmount cleanly"
            )?;
            if self.mode == Mode::ReadOnly || self.dry_run {
                let option = if self.dry_run { "--dry-run" } else { "-n" };
                let text = format!("** In memory only, because {option} was given.");
                writeln!(out, "{text} The device is not changed. **")?;
            }
            writeln!(out, "Checking each slot's journal.")?;
        }
        if let Some(transactions) = record.transactions {
            writeln!(out, "Replaying slot {slot}'s journal.")?;
            if self.verbose {
                let blocks = record.blocks.unwrap_or(0);
                writeln!(out, "Slot {slot}: {transactions} transactions, {blocks} blocks.")?;
            }
        }
        if record.blocks.is_some() && record.outcome != SlotOutcome::Left {
            writeln!(out, "Slot {slot}'s journal replayed successfully.")?;
        }
        for (clusters, file) in [
            (record.local_alloc_clusters, "local alloc"),
            (record.truncate_log_clusters, "truncate log"),
        ] {
            if let Some(clusters) = clusters.filter(|clusters| *clusters > 0) {
                writeln!(out, "Slot {slot}'s {file} replayed successfully")?;
                if self.verbose {
                    writeln!(out, "Slot {slot}: {clusters} clusters given back.")?;
                }
            }
        }
        let orphans = record.orphans_deleted.unwrap_or(0) + record.orphans_cut.unwrap_or(0);
        if orphans > 0 {
            writeln!(out, "Slot {slot}'s orphan directory emptied")?;
            if self.verbose {
                writeln!(out, "Slot {slot}: {orphans} orphans.")?;
            }
        }
        if let Some(problem) = &record.problem {
            writeln!(out, "Slot {slot}: {}", line(problem))?;
        }
        let is_done = record.outcome == SlotOutcome::Recovered
            || self.dry_run && record.outcome == SlotOutcome::RecoveredInMemory;
        if record.state == SlotState::Dirty && is_done {
            writeln!(out, "Slot {slot}'s journal dirty flag removed")?;
        }
        Ok(())
    }
}

impl Form for Text {
    fn show(&mut self, out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Start(start) => {
                // On standard error as in the C tool: the version is not part of the result.
                let _ = writeln!(Output::stderr(), "{} {}", start.program, start.version);
                Ok(())
            }
            Record::Volume(volume) => self.volume(out, volume),
            Record::Note { text } => writeln!(out, "{}", line(text)),
            Record::Slot(slot) => self.slot(out, slot),
            Record::Pass { title, .. } => writeln!(out, "{title}"),
            Record::Answer(finding) if !finding.is_question => {
                let text = line(capitalised(finding.text));
                writeln!(out, "[{}] {text}.", finding.code)
            }
            Record::Answer(finding) => {
                let answer = if finding.answer == "yes" { "y" } else { "n" };
                let path = finding.path.as_ref().map(|path| path.text());
                let question = question(finding.code, finding.text, path.as_deref());
                writeln!(out, "{question} {answer}")
            }
            Record::Finding(_) => Ok(()),
            Record::Lost(loss) => self.loss(out, loss),
            Record::Missing(missing) => {
                let path = missing.path.text();
                let path = if path.is_empty() { path } else { format!("{path}: ") };
                writeln!(out, "  {path}{}", line(&missing.text))
            }
            Record::Rescued(rescued) => {
                let Rescued { files, directories, links, without_path, .. } = rescued;
                let Rescued { incomplete, gone, failed, .. } = rescued;
                let device = &self.device;
                writeln!(
                    out,
                    "{device}: copied {files} files, {directories} directories and {links} further \
                     names; {without_path} trees and files without a path are in lost+found"
                )?;
                if rescued.is_whole() {
                    return writeln!(out, "{device}: everything that was found is copied");
                }
                writeln!(
                    out,
                    "{device}: not whole: {incomplete}; names whose files are gone: {gone}; not \
                     copied: {failed}"
                )
            }
            Record::Summary(summary) => {
                write!(out, "{}", summary.text(&self.device))?;
                if self.statistics > 0 {
                    write!(out, "{}", summary.statistics())?;
                }
                if self.statistics > 1 {
                    for pass in &summary.passes {
                        let title = pass.pass.title().unwrap_or("Start");
                        write!(out, "  {title}\n  {}", pass.text())?;
                    }
                }
                Ok(())
            }
            // The error was printed on standard error.
            Record::End(_) => Ok(()),
        }
    }
}

/// The finding, its path if known, and the question, on one line.
pub(crate) fn question(code: &Code, text: &str, path: Option<&str>) -> String {
    let path = path.map(|path| format!(" ({path})")).unwrap_or_default();
    format!("[{code}] {}{path}. {}", line(capitalised(text)), code.question())
}

/// Capitalises the first word, unless it is the name of a field or a file.
fn capitalised(text: &str) -> String {
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    if !text.split([' ', ',']).next().is_some_and(is_word) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_capitalised_and_a_name_is_not() {
        assert_eq!(capitalised("extent block 5: bad"), "Extent block 5: bad");
        for name in ["i_size is 5", "aquota.user: bad", "journal:0001 is short", ""] {
            assert_eq!(capitalised(name), name);
        }
    }
}
