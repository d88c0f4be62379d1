//! How runs end: damage of all kinds is repaired in memory, and what is left is counted by kind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::{env, fs};

use ocfs2_cli::Interrupt;
use ocfs2_device::{Device, OverlayDevice, SliceDevice};
use ocfs2_fsck::plan::{Plan, plan};
use ocfs2_fsck::{Found, Options, Pass};
use ocfs2_testing::Scratch;
use ocfs2_tests::Yes;
use ocfs2_volume::{OpenVolumeError, SuperblockAt, Volume, VolumeOptions};

use crate::cases::{Base, Story, base_of};
use crate::repair::fsck;

/// How a case ended.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Ending {
    /// Nothing was left after this number of runs.
    Clean(u32),
    /// The device is too short for the volume, which no run can repair.
    Short,
    /// The volume cannot be opened, for this reason.
    Refused(String),
    /// Something was left after all runs: code and text of each finding, and the reason, without
    /// numbers.
    Left(Vec<String>),
}

/// Number of runs after which nothing more can be expected.
const RUNS: u32 = 3;

/// One in this many cases is done by the program, in a file.
const BY_PROGRAM: u64 = 64;

/// Damages a volume and repairs it, in up to [`RUNS`] runs.
pub fn ending(bases: &[Base], seed: u64) -> Result<Ending, String> {
    let base = base_of(bases, seed);
    keep(base, seed);
    let overlay = Arc::new(OverlayDevice::new(Arc::clone(&base.device), base.block_size));
    let damage = base.metadata.damage_much(seed, &*overlay);
    let device: Arc<dyn Device> = match damage.size {
        None => overlay,
        Some(size) => Arc::new(SliceDevice::new(overlay, 0, size).unwrap()),
    };
    let story = Story(base, seed, &damage).tell();
    let told = |what: String| format!("{story}: {what}");
    let is_short = damage.size.is_some();
    let found = |ending: Ending| match ending {
        Ending::Clean(0) if damage.must_be_found => Err(told("nothing was found".to_owned())),
        Ending::Left(_) if is_short => Ok(Ending::Short),
        ending => Ok(ending),
    };
    if seed.is_multiple_of(BY_PROGRAM) {
        return by_program(base, seed).map_err(told).and_then(found);
    }
    let ended = catch_unwind(AssertUnwindSafe(|| in_memory(&device)));
    match ended.map_err(|_| told("panicked".to_owned()))?.map_err(told)? {
        // Only the program recovers slots, and handles volumes without a superblock.
        None => by_program(base, seed).map_err(told).and_then(found),
        Some(ending) => found(ending),
    }
}

/// Saves the damaged volume in the folder `$OCFS2_KEEP`, if that is set, for examination.
fn keep(base: &Base, seed: u64) {
    let Some(folder) = env::var_os("OCFS2_KEEP") else { return };
    let scratch = Scratch::in_memory();
    let (path, _) = base.damaged_much(seed, &scratch);
    fs::copy(path, Path::new(&folder).join(format!("{seed}.img"))).unwrap();
}

/// Returns the options that open the volume, by a backup if necessary; `None` if the program has to
/// do it.
fn opened(device: &Arc<dyn Device>) -> Option<VolumeOptions> {
    let options = VolumeOptions { allow_short: true, strict: true, ..Default::default() };
    let volume = match Volume::open(Arc::clone(device), &options) {
        Ok(volume) => volume,
        Err(OpenVolumeError::NotOcfs2 { backups } | OpenVolumeError::Damaged { backups, .. }) => {
            let by = backups.iter().map(|backup| VolumeOptions {
                superblock: SuperblockAt::Backup(backup.number),
                block_size: Some(backup.block_size),
                ..options
            });
            return by.clone().find(|it| Volume::open(Arc::clone(device), it).is_ok());
        }
        Err(_) => return None,
    };
    let is_clean = |slot| volume.journal_is_dirty(slot).is_ok_and(|dirty| !dirty);
    (0..volume.max_slots()).all(is_clean).then_some(options)
}

fn in_memory(device: &Arc<dyn Device>) -> Result<Option<Ending>, String> {
    let mut left = Vec::new();
    for run in 1..=RUNS {
        let Some(options) = opened(device) else { return Ok(None) };
        let block_size = Volume::open(Arc::clone(device), &options).unwrap().block_size();
        let overlay = Arc::new(OverlayDevice::new(Arc::clone(device), block_size.bytes()));
        let overlaid: Arc<dyn Device> = overlay.clone();
        let open = || Volume::open(Arc::clone(&overlaid), &options);
        let checked = Options { threads: 1, ..Default::default() };
        let mut judge = Yes;
        let made = plan(&open, &checked, &Interrupt::default(), &mut judge);
        let plan = made.map_err(|err| format!("run {run}: {err}"))?;
        if plan.findings.is_empty() {
            return Ok(Some(Ending::Clean(run - 1)));
        }
        let written: std::io::Result<()> =
            overlay.for_each_change(|offset, bytes| device.write_at(bytes, offset));
        written.map_err(|err| format!("run {run} cannot be written: {err}"))?;
        left = residues(&plan);
        if left.is_empty() {
            // Another run has to confirm what this run proved.
            let again = plan_again(device, &options)?;
            match again.is_empty() {
                true => return Ok(Some(Ending::Clean(run))),
                false => left = again.into_iter().map(|it| format!("again {it}")).collect(),
            }
        }
    }
    Ok(Some(Ending::Left(left)))
}

fn plan_again(device: &Arc<dyn Device>, options: &VolumeOptions) -> Result<Vec<String>, String> {
    use ocfs2_fsck::{Context, Observer, check};
    struct Codes(Vec<String>);
    impl Observer for Codes {
        fn pass(&mut self, _pass: Pass, _total: u64) {}
        fn found(&mut self, found: Found<'_>) {
            self.0.push(kind(found.finding.code.name, &found.finding.text));
        }
    }
    // By the primary superblock, even if another one was used before.
    let options = VolumeOptions { superblock: SuperblockAt::Primary, block_size: None, ..*options };
    let volume = Volume::open(Arc::clone(device), &options).map_err(|err| err.to_string())?;
    let checked = Options { threads: 1, ..Default::default() };
    let interrupt = Interrupt::default();
    let context = Context { volume: &volume, options: &checked, interrupt: &interrupt };
    let mut codes = Codes(Vec::new());
    check(&context, &mut codes).map_err(|err| err.to_string())?;
    codes.0.sort();
    codes.0.dedup();
    Ok(codes.0)
}

fn residues(plan: &Plan) -> Vec<String> {
    let left = plan.findings.iter().filter(|planned| !planned.is_repaired);
    let mut left: Vec<_> = left
        .map(|planned| {
            let why = planned.problem.as_deref().expect("it is said why something is left");
            let finding = &planned.finding;
            format!("{}: {}", kind(finding.code.name, &finding.text), without_figures(why))
        })
        .collect();
    left.sort();
    left.dedup();
    left
}

/// Returns the kind of a finding: findings of the same kind have the same text.
fn kind(code: &str, text: &str) -> String {
    format!("{code} ({})", without_figures(text))
}

/// Replaces all words that contain digits.
fn without_figures(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(' ') {
        let has_figures = word.bytes().any(|byte| byte.is_ascii_digit());
        let short = word.trim_end_matches([',', ';', ':']);
        let end = word.get(short.len()..).unwrap_or_default();
        let separator = if out.is_empty() { "" } else { " " };
        let _ = match has_figures {
            true => write!(out, "{separator}N{end}"),
            false => write!(out, "{separator}{word}"),
        };
    }
    out
}

/// Returns why the program refuses a volume: its last line, without its own name and that of the
/// device.
fn reason(stderr: &str) -> String {
    let last = stderr.lines().last().unwrap_or_default();
    without_figures(last.splitn(3, ": ").last().unwrap_or_default())
}

/// Repairs it with the program, in a file.
fn by_program(base: &Base, seed: u64) -> Result<Ending, String> {
    let scratch = Scratch::in_memory();
    let (path, _) = base.damaged_much(seed, &scratch);
    let mut left = Vec::new();
    for run in 1..=RUNS {
        let outcome = fsck(&path, "-fy");
        match outcome.status {
            0 if run == 1 => return Ok(Ending::Clean(0)),
            8 if outcome.stdout.is_empty() || !outcome.stdout.contains("All passes") => {
                return match outcome.stderr.contains("panicked") {
                    true => Err(outcome.stderr),
                    false => Ok(Ending::Refused(reason(&outcome.stderr))),
                };
            }
            0 | 1 | 4 | 5 => {}
            status => return Err(format!("run {run} gives {status}\n{}", outcome.stderr)),
        }
        let lines = outcome.stdout.lines().filter(|line| line.contains("is left"));
        left = lines.map(without_figures).collect();
        left.sort();
        left.dedup();
        let again = fsck(&path, "-fn");
        if again.status == 0 {
            return Ok(Ending::Clean(run));
        }
        if left.is_empty() {
            let lines = again.stdout.lines().filter(|line| line.starts_with('['));
            left = lines.map(|line| format!("again {}", without_figures(line))).collect();
        }
    }
    Ok(Ending::Left(left))
}

/// Counts of how cases ended.
#[derive(Debug, Default)]
pub struct Endings {
    counts: Mutex<BTreeMap<Ending, (u64, Vec<u64>)>>,
}

/// Number of seeds that are kept for each kind.
const SEEDS: usize = 8;

impl Endings {
    /// Counts a case.
    pub fn add(&self, seed: u64, ending: Ending) {
        let mut counts = self.counts.lock().unwrap();
        let (count, seeds) = counts.entry(ending).or_default();
        *count += 1;
        if seeds.len() < SEEDS {
            seeds.push(seed);
        }
    }

    /// Returns a table: how many cases ended after how many runs, and what was left, most frequent
    /// first.
    pub fn table(&self) -> String {
        let counts = self.counts.lock().unwrap();
        let all: u64 = counts.values().map(|(count, _)| count).sum();
        let mut out = String::new();
        let mut kinds: BTreeMap<&str, (u64, Vec<u64>)> = BTreeMap::new();
        let mut never = 0;
        for (ending, (count, seeds)) in counts.iter() {
            let what = match ending {
                Ending::Clean(0) => "nothing to repair".to_owned(),
                Ending::Clean(runs) => format!("clean after {runs} runs"),
                Ending::Short => "device too short".to_owned(),
                Ending::Refused(why) => format!("refused: {why}"),
                Ending::Left(left) => {
                    never += count;
                    for kind in left {
                        let entry = kinds.entry(kind).or_default();
                        entry.0 += count;
                        entry.1.extend(seeds);
                    }
                    continue;
                }
            };
            let shown: &[u64] = if matches!(ending, Ending::Clean(0 | 1)) { &[] } else { seeds };
            let _ = writeln!(out, "{count:>8} of {all}: {what} {shown:?}");
        }
        let _ = writeln!(out, "{never:>8} of {all}: never clean");
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for (kind, (count, mut seeds)) in kinds {
            seeds.truncate(SEEDS);
            let _ = writeln!(out, "{count:>12}  {kind} {seeds:?}");
        }
        out
    }
}
