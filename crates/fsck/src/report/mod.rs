//! The output of the program on standard output: a stream of records, as text or JSON.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

use ocfs2_cli::{Interrupt, Output, OutputClosed};
use ocfs2_format::Blkno;
use ocfs2_volume::Volume;
use serde::Serialize;

use crate::cli::{Cli, Mode};
use crate::codes::Code;
use crate::losses::Paths;
use crate::rescue::Rescued;
use crate::{Finding, Found, Pass, Place};

mod json;
mod json_lines;
mod lost;
mod path;
mod progress;
mod statistics;
mod summary;
mod text;

pub(crate) use lost::LossRecord;
use path::ShownPath;
pub(crate) use progress::ProgressOut;
pub(crate) use statistics::{PassStatistics, Stopwatch, peak_memory};
pub(crate) use summary::{Summary, WrittenRecord};
pub(crate) use text::question;

/// A part of the output. Records come in the order of the variants, but passes and findings
/// alternate, and notes may come anywhere before the summary.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Record<'a> {
    Start(Start<'a>),
    Volume(VolumeRecord),
    Note {
        text: &'a str,
    },
    Slot(SlotRecord),
    Pass {
        pass: Pass,
        title: &'a str,
    },
    /// A question with its answer; only in text.
    #[serde(skip)]
    Answer(&'a FindingRecord<'a>),
    /// The outcome of a finding; not in text.
    Finding(&'a FindingRecord<'a>),
    /// A loss; they follow all findings.
    Lost(&'a LossRecord),
    /// Something that a rescue did not copy, or not as a whole.
    Missing(&'a MissingRecord),
    /// What a rescue copied.
    Rescued(&'a Rescued),
    Summary(&'a Summary),
    End(End<'a>),
}

/// The program and its arguments.
#[derive(Debug, Serialize)]
pub(crate) struct Start<'a> {
    pub program: &'a str,
    pub version: &'a str,
    pub device: &'a str,
    /// The whole path if it is not UTF-8: other bytes as `\xff`, a backslash as `\\`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_escaped: Option<String>,
    pub mode: Mode,
}

/// The volume.
#[derive(Debug, Serialize)]
pub(crate) struct VolumeRecord {
    /// Bytes that are not UTF-8 are replaced.
    pub label: String,
    /// 36 lower-case characters.
    pub uuid: String,
    pub block_size: u32,
    pub cluster_size: u32,
    pub blocks: u64,
    pub clusters: u32,
    pub slots: u16,
    pub features: Vec<&'static str>,
    /// `null` on a local volume.
    pub stack: Option<String>,
    /// The block of the superblock that was used.
    pub superblock: u64,
}

impl VolumeRecord {
    pub fn new(volume: &Volume) -> Self {
        let (sb, geometry) = (volume.superblock(), volume.geometry());
        let stack = sb.stack();
        let local = stack == ocfs2_format::superblock::Stack::Local;
        Self {
            label: ocfs2_cli::encode::json_text(sb.label()),
            uuid: sb.uuid().to_string(),
            block_size: geometry.block_size.bytes(),
            cluster_size: geometry.cluster_size.bytes(),
            blocks: geometry.blocks(),
            clusters: geometry.clusters,
            slots: sb.s_max_slots,
            features: volume.features().names(),
            stack: (!local).then(|| stack.to_string()),
            superblock: volume.found_superblock().blkno.0,
        }
    }
}

/// A slot: the state of its journal, and what was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct SlotRecord {
    pub slot: u16,
    pub state: SlotState,
    /// The node that has the slot by the slot map.
    pub node: Option<u32>,
    /// Whether that node is alive.
    pub node_state: Option<&'static str>,
    /// The number of complete transactions in the log.
    pub transactions: Option<u32>,
    /// The number of blocks replayed from the log.
    pub blocks: Option<u64>,
    /// Clusters returned from the local alloc to the global bitmap.
    pub local_alloc_clusters: Option<u64>,
    /// Clusters freed from the truncate log.
    pub truncate_log_clusters: Option<u64>,
    /// Inodes of the orphan directory that were deleted.
    pub orphans_deleted: Option<u64>,
    /// Files cut back to their size after direct writes beyond their end.
    pub orphans_cut: Option<u64>,
    pub outcome: SlotOutcome,
    /// What prevented the recovery.
    pub problem: Option<String>,
    /// Why the log was not replayed to the end; this is a finding.
    #[serde(skip)]
    pub log_damage: Option<String>,
}

/// The journal of a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SlotState {
    /// Nothing to replay.
    Clean,
    /// Not unmounted, or mounted now.
    Dirty,
    /// It cannot be read.
    Damaged,
}

/// What was done about a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SlotOutcome {
    /// There was nothing to do.
    None,
    /// It was recovered.
    Recovered,
    /// In memory, for the check only; the device is unchanged.
    RecoveredInMemory,
    /// Not recovered, or not completely.
    Left,
}

/// A finding, with the answer and the outcome.
#[derive(Debug, Serialize)]
pub(crate) struct FindingRecord<'a> {
    pub code: &'a Code,
    pub pass: Pass,
    pub place: &'a Place,
    /// The path of the inode that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<ShownPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_escaped: Option<String>,
    pub text: &'a str,
    pub question: String,
    pub default: &'static str,
    pub repair: &'static str,
    /// The answer.
    pub answer: &'static str,
    /// The outcome.
    pub outcome: FindingOutcome,
    /// Whether it is a question at all.
    #[serde(skip)]
    pub is_question: bool,
    /// Why it could not be repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'a str>,
}

impl<'a> FindingRecord<'a> {
    pub fn new(pass: Pass, finding: &'a Finding, answer: bool, outcome: FindingOutcome) -> Self {
        let code = finding.code;
        Self {
            code,
            pass,
            place: &finding.place,
            path: None,
            path_escaped: None,
            text: &finding.text,
            question: code.question(),
            default: code.default.name(),
            repair: code.repair,
            answer: if answer { "yes" } else { "no" },
            outcome,
            is_question: code.name != crate::codes::start::DEVICE_SHORT.name,
            problem: None,
        }
    }

    fn at(self, path: Option<ShownPath>) -> Self {
        let path_escaped = path.as_ref().and_then(ShownPath::escaped);
        Self { path, path_escaped, ..self }
    }
}

/// The outcome of a finding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FindingOutcome {
    /// It was repaired.
    Corrected,
    /// It is still there.
    Left,
}

/// Something that a rescue did not copy, or not as a whole.
#[derive(Debug, Serialize)]
pub(crate) struct MissingRecord {
    /// Where it was to be copied to.
    pub path: ShownPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_escaped: Option<String>,
    pub text: String,
}

impl MissingRecord {
    pub fn new(path: &[u8], text: String) -> Self {
        let path = ShownPath::new(path);
        Self { path_escaped: path.escaped(), path, text }
    }
}

/// The end of the run.
#[derive(Debug, Serialize)]
pub(crate) struct End<'a> {
    /// Why the run ended early.
    pub error: Option<&'a str>,
    pub exit_status: u8,
}

/// One of the output formats.
pub(crate) trait Form {
    fn show(&mut self, out: &mut dyn Write, record: &Record<'_>) -> io::Result<()>;
}

/// Standard output, and the findings so far.
pub(crate) struct Report {
    form: Box<dyn Form>,
    out: Box<dyn Write>,
    /// Nothing can be written any more.
    lost: bool,
    /// The error of that; `None` if the reader only went away.
    failed: Option<io::Error>,
    /// The number of findings by code.
    pub counts: BTreeMap<&'static str, u64>,
    /// Finds the paths of inodes.
    paths: Option<FoundPaths>,
}

/// The most inodes whose paths are looked up for findings.
const PATHS: usize = 20_000;

/// The paths of inodes that findings were about.
struct FoundPaths {
    paths: Paths,
    volume: Volume,
    found: HashMap<u64, Option<ShownPath>>,
}

impl FoundPaths {
    /// The path of the inode that a finding is about; `None` for a system file.
    fn of(&mut self, place: &Place) -> Option<ShownPath> {
        let inode = place.inode?;
        if let Some(path) = self.found.get(&inode) {
            return path.clone();
        }
        if self.found.len() >= PATHS {
            return None;
        }
        let is_system = crate::losses::is_system(&self.volume, Blkno(inode));
        let path = if is_system { None } else { self.paths.path(Blkno(inode)) };
        let path = path.map(|path| ShownPath::new(&path));
        self.found.insert(inode, path.clone());
        path
    }
}

impl Report {
    /// In the requested form.
    pub fn new(cli: &Cli) -> Self {
        let form: Box<dyn Form> = match (cli.json, cli.json_lines) {
            (true, _) => Box::new(json::Json::default()),
            (_, true) => Box::new(json_lines::JsonLines),
            _ => Box::new(text::Text::new(cli)),
        };
        // Findings can be many: only a terminal needs each line at once.
        let stdout = Output::stdout();
        let out: Box<dyn Write> = if cli.rescues_to_output() {
            // Standard output has the archive.
            Box::new(Output::errors())
        } else if ocfs2_cli::is_terminal() {
            Box::new(stdout)
        } else {
            Box::new(io::BufWriter::with_capacity(1 << 16, stdout))
        };
        Self { form, out, lost: false, failed: None, counts: BTreeMap::new(), paths: None }
    }

    /// From now on, findings show the paths of their inodes on `volume`.
    pub fn show_paths_of(&mut self, volume: &Volume, interrupt: &Interrupt) {
        let paths = Paths::new(volume, interrupt);
        let volume = volume.on(Arc::clone(volume.device()));
        self.paths = Some(FoundPaths { paths, volume, found: HashMap::new() });
    }

    /// The path that a finding is about, for people; looked up at most once.
    pub fn path(&mut self, finding: &Finding) -> Option<String> {
        self.path_of(finding).map(|path| path.text())
    }

    fn path_of(&mut self, finding: &Finding) -> Option<ShownPath> {
        self.paths.as_mut().and_then(|paths| paths.of(&finding.place))
    }

    /// Shows a record. If that fails, the check goes on, and the exit status shows the failure.
    pub fn show(&mut self, record: &Record<'_>) {
        if self.lost {
            return;
        }
        let shown = self.form.show(&mut self.out, record);
        let flush = !matches!(
            record,
            Record::Finding(_) | Record::Answer(_) | Record::Lost(_) | Record::Missing(_)
        );
        let shown = shown.and_then(|()| if flush { self.out.flush() } else { Ok(()) });
        if let Err(err) = shown {
            self.lost = true;
            self.failed = Some(err).filter(|err| !is_closed(err));
        }
    }

    /// Shows a sentence for people.
    pub fn note(&mut self, text: &str) {
        self.show(&Record::Note { text });
    }

    /// Shows a finding that is left, with those that follow from a no.
    pub fn found(&mut self, found: Found<'_>) {
        for finding in found.finding.chain() {
            self.asked(found.pass, finding, false);
            self.concluded(FindingRecord::new(found.pass, finding, false, FindingOutcome::Left));
        }
    }

    /// Shows a question with its answer at once; the outcome follows later.
    pub fn asked(&mut self, pass: Pass, finding: &Finding, answer: bool) {
        self.count(finding);
        let path = self.path_of(finding);
        let record = FindingRecord::new(pass, finding, answer, FindingOutcome::Left).at(path);
        self.show(&Record::Answer(&record));
    }

    /// Counts a finding that was already shown.
    pub fn count(&mut self, finding: &Finding) {
        *self.counts.entry(finding.code.name).or_default() += 1;
    }

    /// Shows the outcome of a finding.
    pub fn concluded(&mut self, record: FindingRecord<'_>) {
        let path = self.paths.as_mut().and_then(|paths| paths.of(record.place));
        self.show(&Record::Finding(&record.at(path)));
    }

    /// The number of findings so far.
    pub fn findings(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Takes the error of a record that could not be shown.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }
}

fn is_closed(err: &io::Error) -> bool {
    err.get_ref().is_some_and(|inner| inner.is::<OutputClosed>())
}
