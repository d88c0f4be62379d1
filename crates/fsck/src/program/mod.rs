//! The program: from the command line to the exit status.

mod answers;
mod layers;
mod lock;
mod losses;
mod mark;
mod repairs;
mod rescue;
mod stopping;
mod undo;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use ocfs2_cli::encode::{json_path, json_path_escaped};
use ocfs2_cli::{
    Interrupt, Interrupted, Status, causes, confirm, is_interrupted, print_error, print_warning,
    shown,
};
use ocfs2_device::{CountingDevice, Device, holders::Holder};
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, Stack};
use ocfs2_users::lock::ClusterLock;
use ocfs2_volume::find::resolve;
use ocfs2_volume::gate::Gate;
use ocfs2_volume::open::FoundSuperblock;
use ocfs2_volume::{OpenVolumeError, SystemFile, Volume, VolumeOptions};

use crate::chains::{Short, short_device};
use crate::cli::{Cli, Mode, MountedBy};
use crate::codes::journals;
use crate::due::Due;
use crate::memory::Shares;
use crate::recover::{RecoverError, recover};
use crate::report::{
    End, FindingOutcome, FindingRecord, ProgressOut, Record, Report, SlotOutcome, SlotRecord,
    SlotState, Start, Stopwatch, Summary, VolumeRecord,
};
use crate::start::cluster_size;
use crate::target::{self, Source};
use crate::users::{Consent, Users};
use crate::{
    Context, Finding, Found, NameHashes, Observer, Options, Pass, Place, Stop, check, mount_reads,
};
use layers::{Layers, Overlay};
use stopping::StoppingDevice;

/// The parts of the exit status, as defined by fsck(8).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Bits {
    corrected: bool,
    left: bool,
    failed: bool,
    cancelled: bool,
}

impl Bits {
    fn status(self) -> Status {
        let bit = |set: bool, value: u8| if set { value } else { 0 };
        Status(
            bit(self.corrected, 1)
                | bit(self.left, 4)
                | bit(self.failed, 8)
                | bit(self.cancelled, 32),
        )
    }
}

/// The status for an invalid command line: never 2 as clap has it, which would ask for a reboot.
pub const USAGE: Status = Status(16);

/// The status of a run that failed.
pub const FAILED: Status = Status(8);

/// Checks the volume that `cli` names, and reports.
///
/// # Errors
/// None, except that the device cannot be resolved: other errors are printed and part of the
/// status.
pub fn run(cli: &Cli) -> Result<Status> {
    let cli = &Cli { device: resolve(&cli.device)?, ..cli.clone() };
    let mut run = Run::new(cli);
    let device = json_path(&cli.device);
    run.report.show(&Record::Start(Start {
        program: "fsck.ocfs2",
        version: env!("CARGO_PKG_VERSION"),
        device: &device,
        device_escaped: json_path_escaped(&cli.device),
        mode: cli.mode(),
    }));
    let result = run.all();
    run.finish_saving();
    run.finish(result)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// The reason why the superblock cannot be used.
fn superblock_problem(err: &OpenVolumeError) -> String {
    match err {
        OpenVolumeError::Damaged { problem, .. } => problem.to_string(),
        OpenVolumeError::Read { source, .. } => source.to_string(),
        OpenVolumeError::NotOcfs2 { .. } => "none found".to_owned(),
        err => format!("it {err}"),
    }
}

/// One run of the program.
struct Run<'a> {
    cli: &'a Cli,
    report: Report,
    watch: Stopwatch,
    bits: Bits,
    slots_recovered: u64,
    slots_left: u64,
    /// Slots without a node whose journals could not be read.
    slots_unknown: u64,
    /// Number of corrections before the check: logs that were emptied although they could not be
    /// replayed to the end, and what the superblock names.
    early: u64,
    /// The superblock was recreated, without what only it knew.
    is_new_superblock: bool,
    /// Whether fields of the superblock may be wrong that nothing else shows.
    has_doubtful_superblock: bool,
    /// Whether anything was written to the volume.
    written: bool,
    /// Saves what is overwritten.
    saving: Option<undo::Saving>,
    /// Number of repairs that were agreed to.
    agreed: u64,
    /// The answers of a person so far.
    given: answers::Given,
    lost_file: Option<losses::LostFile>,
    /// This run made the file.
    has_lost_file: bool,
    /// The superblock is marked, although the run was not finished.
    has_mark: bool,
    /// Clusters in which the survey has found groups or blocks of directories.
    suspects: Arc<Vec<u32>>,
    /// What may keep a repair from writing, apart from the damage.
    in_the_way: InTheWay,
    /// Slots of nodes that did not unmount, whose journals cannot be replayed.
    unreplayed: Vec<u16>,
    /// Slots whose log was replayed as far as possible, but goes on after that.
    torn: Vec<u16>,
}

/// What a repair has to overcome before it may write.
#[derive(Debug, Default)]
struct InTheWay {
    /// Nodes that have the volume mounted.
    live: Vec<String>,
    /// Whether nodes have it mounted is unknown: `-F` is needed.
    is_unknown: bool,
    /// The slot map names nodes.
    is_seen: bool,
}

impl<'a> Run<'a> {
    fn new(cli: &'a Cli) -> Self {
        Self {
            cli,
            report: Report::new(cli),
            watch: Stopwatch::start(),
            bits: Bits::default(),
            slots_recovered: 0,
            slots_left: 0,
            slots_unknown: 0,
            early: 0,
            is_new_superblock: false,
            has_doubtful_superblock: false,
            written: false,
            saving: None,
            agreed: 0,
            given: answers::Given::default(),
            lost_file: None,
            has_lost_file: false,
            has_mark: false,
            suspects: Arc::default(),
            in_the_way: InTheWay::default(),
            unreplayed: Vec::new(),
            torn: Vec::new(),
        }
    }

    fn writes(&self) -> bool {
        self.cli.writes()
    }

    fn all(&mut self) -> Result<()> {
        let interrupt = Interrupt::install().context("signals cannot be caught")?;
        if let Some(file) = &self.cli.undo {
            return self.undo(file, &interrupt);
        }
        let all = match &self.cli.rescue_to {
            Some(to) => self.rescue(to, &interrupt),
            None => self.interruptible(&interrupt),
        };
        // A read that failed because of the signal is not an error of the device.
        match all {
            Err(err) if interrupt.requested() && !self.written && !is_interrupted(&err) => {
                Err(Interrupted.into())
            }
            all => all,
        }
    }

    fn interruptible(&mut self, interrupt: &Interrupt) -> Result<()> {
        self.lost_file = self.lost_file()?;
        let mut progress = ProgressOut::new(self.cli)?;
        let opened = target::open_device(self.cli)?;
        let device = Arc::new(CountingDevice::new(opened.device));
        self.watch.watch(Arc::clone(&device));
        let stopping = Arc::new(StoppingDevice::new(device, interrupt));
        let device: Arc<dyn Device> = stopping.clone();

        let source = self.source(&device, interrupt)?;
        let volume = source.open(&device)?;
        self.has_doubtful_superblock = volume.found_superblock().is_doubtful();
        let (users, lock) = self.users_and_lock(&volume, interrupt)?;
        self.in_the_way = InTheWay {
            live: users.names.clone(),
            is_unknown: users.consent() == Consent::Unknown,
            is_seen: !users.slots.is_empty(),
        };
        interrupt.check()?;
        self.refuse_as_if_written(&opened.holders)?;
        for holder in &opened.holders {
            print_warning(format_args!("{}: {holder}", shown(&self.cli.device)));
        }
        if self.cli.mode() == Mode::Preen && !users.live.is_empty() && !self.cli.ignore_nodes {
            // A node that boots in a healthy cluster: the others take care of the volume.
            let device = shown(&self.cli.device);
            self.report
                .note(&format!("{device}: in use by {}, not checked", users.names.join(", ")));
            return Ok(());
        }
        if !self.writes() && (!opened.holders.is_empty() || !users.live.is_empty()) {
            let text = "WARNING!!! Running fsck.ocfs2 (read-only) on a mounted filesystem may \
                        detect invalid errors.";
            self.report.note(text);
        }
        self.report.show(&Record::Volume(VolumeRecord::new(&volume)));
        let mut gate = match self.writes() {
            true => Some(self.gate(&volume, &users, lock)?),
            false => None,
        };
        self.ask_consent(&users, interrupt)?;

        if let Some(gate) = &mut gate {
            gate.write_through(self.saved(Arc::clone(&device), &volume)?);
        }
        let mounted_here = !opened.holders.is_empty();
        let mut layers = Layers::new(device, gate, &volume, self.changes_bytes());
        layers.before_writes(move || stopping.keep_on());
        let options = self.options();
        let context = Context { volume: &volume, options: &options, interrupt };
        let volume = match short_device(&context) {
            // What is missing may come back, so this is only reported.
            Some(Short { sized: None, .. }) if cluster_size::check(&context).is_none() => {
                let device: Arc<dyn Device> = layers.recovered.clone();
                source.open(&device)?
            }
            _ => {
                self.restore_tops(&layers, &source, &mut progress, interrupt)?;
                self.recover(&mut layers, &source, &users, mounted_here, interrupt)?
            }
        };
        let checked = self.check(&layers, &source, &users, &volume, &mut progress, interrupt);
        // Without a mark the next run would not check: what a crash left outside its journals was
        // not searched for, or what was found before the cancellation is left. A slot that is not
        // recovered makes it check anyway.
        let is_left = self.report.findings() > 0 && self.slots_recovered == 0;
        if checked.is_err() && (self.written || is_left && interrupt.requested()) {
            self.has_mark = self.mark_by_itself(&layers, &source);
        }
        checked
    }

    /// Refuses a dry run what a real run would be refused.
    fn refuse_as_if_written(&self, holders: &[Holder]) -> Result<()> {
        match holders {
            [first, ..] if self.cli.dry_run => {
                bail!("{first}; it would not be written to while it is, -n checks it read-only")
            }
            _ => Ok(()),
        }
    }

    /// Makes the gate for all writes. It holds `lock` until after the last one.
    fn gate(&self, volume: &Volume, users: &Users, lock: Option<ClusterLock>) -> Result<Gate> {
        let gate = Gate::of_volume(volume, &users.usage);
        let gate = gate.context("the superblock cannot be read again")?.at(&self.cli.device);
        Ok(match lock {
            Some(lock) => gate.holding(Box::new(lock)),
            None => gate,
        })
    }

    /// Determines how to open the volume.
    fn source(&mut self, device: &Arc<dyn Device>, interrupt: &Interrupt) -> Result<Source> {
        let source = Source::new(self.cli);
        let opened = source.open(device);
        if let Some(generation) = self.cli.generation
            && opened.as_ref().is_ok_and(|volume| volume.generation() != generation)
        {
            // Another volume was made over the one that is meant.
            let err = OpenVolumeError::NotOcfs2 { backups: Vec::new() };
            return self.source_by_survey(&source, device, err, interrupt);
        }
        let Err(err) = opened else {
            return match source.would_be_mended(device) {
                // Features that a program may ignore that only reads, and that are garbage.
                Some(err) => self.source_without_backup(&source, device, err, interrupt),
                None => Ok(source),
            };
        };
        if matches!(err, OpenVolumeError::NotOcfs2 { .. }) {
            if let Some(blkno) = self.cli.superblock {
                bail!("there is no superblock in block {blkno}");
            }
            if let Some(number) = self.cli.backup {
                bail!("backup superblock {number} is none");
            }
            // A volume with something else written over it is left alone.
            let choose = ": --partition NUMBER checks one";
            let instead = ocfs2_probe::instead(device, choose).filter(|_| !self.cli.salvage);
            if let Some(instead) = instead {
                let is_file_of_its_own = ocfs2_probe::container(device).is_some();
                let restores = source.by_backup(device, &err).map(|(backup, _)| {
                    let command = self.cli.rerun(&format!("-r {}", backup.number));
                    format!("; {command} writes the superblock of the OCFS2 volume over that")
                });
                let salvages = || match is_file_of_its_own {
                    true => String::new(),
                    false => format!("; {} looks for one below that", self.cli.rerun("--salvage")),
                };
                bail!("{err}; {instead}{}", restores.unwrap_or_else(salvages));
            }
        }
        let Some((backup, other)) = source.by_backup(device, &err) else {
            return self.source_without_backup(&source, device, err, interrupt);
        };
        let device = shown(&self.cli.device);
        let use_it = match self.cli.mode() {
            Mode::ReadOnly | Mode::Yes => true,
            Mode::Preen => false,
            Mode::Interactive => {
                print_warning(format_args!("{device}: {err}"));
                confirm(&format!("Use backup superblock {}?", backup.number), "-y", interrupt)?
            }
        };
        if !use_it {
            let command = self.cli.rerun(&format!("-r {}", backup.number));
            bail!("{err}; {command} restores the superblock from a backup");
        }
        self.report.note(&format!(
            "The superblock cannot be used ({}). Backup superblock {backup} is used instead.",
            superblock_problem(&err)
        ));
        // A repair rewrites the superblock, and reports it.
        self.bits.left |= !self.cli.mode().repairs();
        Ok(other)
    }

    /// Determines how to open a volume whose superblock cannot be used because of `err` and has no
    /// good backup. A finding reports what is wrong, and its repair mends it.
    fn source_without_backup(
        &mut self,
        source: &Source,
        device: &Arc<dyn Device>,
        err: OpenVolumeError,
        interrupt: &Interrupt,
    ) -> Result<Source> {
        if let Ok(Some(other)) = source.by_contents(device, &err) {
            return Ok(other);
        }
        let mended = source.mended(device, &err);
        let (mended, other) = match mended {
            Ok(Some(mended)) => mended,
            // Only all of the device shows it.
            _ if self.cli.salvage => return self.source_by_survey(source, device, err, interrupt),
            other => {
                other?;
                if !matches!(err, OpenVolumeError::NotOcfs2 { .. }) {
                    return Err(err.into());
                }
                let command = self.cli.rerun("--salvage");
                bail!("{err}; if there was a volume, {command} looks for its rest");
            }
        };
        let use_it = match self.cli.mode() {
            Mode::ReadOnly | Mode::Yes => true,
            Mode::Preen => false,
            Mode::Interactive => {
                let what = if mended.is_new { "Make a new one" } else { "Correct it" };
                print_warning(format_args!("{}: {err}", shown(&self.cli.device)));
                let question = format!("{what}, by what the system files of the volume say?");
                confirm(&question, "-y", interrupt)?
            }
        };
        if !use_it {
            let command = self.cli.rerun("-y");
            bail!("{err}; {command} restores the superblock from what the rest of the volume says");
        }
        self.report.note(&format!(
            "The superblock cannot be used ({}), and there is no good backup of it. What the rest \
             of the volume says is used instead.",
            superblock_problem(&err)
        ));
        if mended.is_new && (self.cli.mount.is_some() || mended.may_be_local) {
            let found = other.open(device)?.found_superblock().clone();
            return Ok(source.surveyed(self.mounted_by(found, interrupt)?));
        }
        Ok(other)
    }

    /// Determines how to open a volume of which only a survey of the device finds something.
    fn source_by_survey(
        &mut self,
        source: &Source,
        device: &Arc<dyn Device>,
        err: OpenVolumeError,
        interrupt: &Interrupt,
    ) -> Result<Source> {
        let mut progress = ProgressOut::new(self.cli)?;
        let survey = self.survey(device, &mut progress, interrupt)?;
        let found = survey.volumes.iter().filter(|it| it.counts.inodes > 0);
        let found: Vec<_> = found.collect();
        let chosen = match self.cli.generation {
            Some(generation) => found.iter().find(|it| it.generation == generation),
            None => found.first(),
        };
        for remains in &found {
            let is_chosen = chosen.is_some_and(|it| it.generation == remains.generation);
            self.report.note(&rescue::described(remains, is_chosen));
        }
        let superblock = chosen.and_then(|it| survey.superblock(device, it));
        let Some(superblock) = superblock else { return Err(err.into()) };
        if let Some(remains) = chosen {
            self.suspects = Arc::new(rescue::suspects(&superblock, remains, &survey));
        }
        let what = superblock.mended.as_ref().map(|it| it.fields.join(", ")).unwrap_or_default();
        let use_it = match self.cli.mode() {
            Mode::ReadOnly | Mode::Yes => true,
            Mode::Preen => false,
            Mode::Interactive => {
                print_warning(format_args!("{}: {err}", shown(&self.cli.device)));
                let instead = ocfs2_probe::instead(device, "");
                if let Some(instead) = instead {
                    print_warning(format_args!("{}: {instead}", shown(&self.cli.device)));
                }
                confirm(&format!("Make a new superblock: {what}?"), "-y", interrupt)?
            }
        };
        if !use_it {
            bail!("{err}; without a new superblock nothing can be done");
        }
        self.report.note(&format!(
            "The superblock cannot be used ({}). What was found on the device is used instead: \
             {what}.",
            superblock_problem(&err)
        ));
        self.bits.left |= !self.cli.mode().repairs();
        Ok(source.surveyed(self.mounted_by(superblock, interrupt)?))
    }

    /// Determines whether one node or a cluster mounts a volume whose superblock is new.
    fn mounted_by(
        &mut self,
        found: FoundSuperblock,
        interrupt: &Interrupt,
    ) -> Result<FoundSuperblock> {
        if let Some(by) = self.cli.mount {
            return Ok(found.for_one_node(by == MountedBy::Local));
        }
        if !found.mended.as_ref().is_some_and(|mended| mended.may_be_local) {
            return Ok(found);
        }
        let why = "Only slot 0 was ever used, and no node ever wrote a heartbeat";
        if self.cli.mode() == Mode::Interactive
            && confirm(&format!("{why}. Is it a volume of one node?"), "--mount", interrupt)?
        {
            return Ok(found.for_one_node(true));
        }
        let command = self.cli.rerun("--salvage --mount=local");
        self.report.note(&format!(
            "{why}: it may be a volume of one node. It becomes one of a cluster; {command} makes it \
             one of one node."
        ));
        Ok(found)
    }

    /// Determines who uses the volume. A heartbeat of `this_node` is that of this program.
    fn users(
        &self,
        volume: &Volume,
        (is_locked, this_node): (bool, Option<u32>),
        interrupt: &Interrupt,
    ) -> Result<Users> {
        let repairs = self.cli.mode().repairs();
        let found = match is_locked {
            true => Users::locked_out(volume),
            false => {
                let device = shown(&self.cli.device);
                Users::find(volume, repairs, this_node, (&device, interrupt))
            }
        };
        let users = match found {
            Ok(users) => users,
            // Nobody else can use it; the check reports what cannot be read.
            Err(_)
                if volume.superblock().stack() == Stack::Local && !Users::are_doubtful(volume) =>
            {
                Users::default()
            }
            Err(err) => Users {
                unknown: vec![format!("nodes that cannot be told ({err})")],
                ..Users::default()
            },
        };
        let users = users.doubted(volume);
        if !repairs && users.consent() != Consent::Given {
            print_warning(format_args!("{}: {}", shown(&self.cli.device), users.describe()));
        }
        Ok(users)
    }

    /// Asks whether to write although other nodes may use the volume. The error of a refusal names
    /// what would be needed.
    fn ask_consent(&mut self, users: &Users, interrupt: &Interrupt) -> Result<()> {
        let (needed, who) = (users.consent(), users.describe());
        if !self.cli.mode().repairs() || needed == Consent::Given {
            return Ok(());
        }
        if !self.cli.ignore_nodes {
            let (instead, answers) = match needed {
                Consent::Live => ("unmount it there first; ", "only a person at a terminal"),
                _ => ("", "-y"),
            };
            bail!(
                "{who}; {instead}-n checks it without writing, -F goes on nevertheless, after a \
                 question that {answers} answers"
            );
        }
        if needed == Consent::Unknown && self.cli.yes {
            print_warning(format_args!("{}: {who}", shown(&self.cli.device)));
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let answer = if needed == Consent::Unknown { "; -F -y goes on" } else { "" };
            bail!("{who}; nobody can be asked, standard input is not a terminal{answer}");
        }
        print_warning(format_args!("{}: {who}", shown(&self.cli.device)));
        let question = "Writing to a volume that another node has mounted destroys it. \
                        Really continue?";
        if !confirm(question, "-y", interrupt)? {
            return Err(Interrupted.into());
        }
        Ok(())
    }

    /// Looks again for nodes that are alive, if that could not be told at the beginning: repaired,
    /// the volume may show where they beat.
    fn look_again(&mut self, repaired: &Overlay, interrupt: &Interrupt) -> Result<()> {
        if !self.in_the_way.is_unknown {
            return Ok(());
        }
        let device: Arc<dyn Device> = repaired.clone();
        let options = VolumeOptions { allow_short: true, ..VolumeOptions::default() };
        let shown = shown(&self.cli.device);
        let found = Volume::open(device, &options)
            .ok()
            .and_then(|volume| Users::beating(&volume, &shown, interrupt).ok());
        interrupt.check()?;
        match found {
            Some(users) if users.consent() == Consent::Live => self.ask_consent(&users, interrupt),
            _ => Ok(()),
        }
    }

    fn recover(
        &mut self,
        layers: &mut Layers,
        source: &Source,
        users: &Users,
        mounted_here: bool,
        interrupt: &Interrupt,
    ) -> Result<Volume> {
        let done = match self.writes() {
            true => SlotOutcome::Recovered,
            false => SlotOutcome::RecoveredInMemory,
        };
        let device: Arc<dyn Device> = layers.recovered.clone();
        let reopen = || source.open(&device);
        let mut tell = |mut slot: SlotRecord| {
            if mounted_here && slot.node.is_some() {
                slot.node_state = Some("live");
            }
            // The journal of a live node has to be dirty.
            let in_order = slot.node_state == Some("live");
            // An unreadable journal does not count against a slot without a node.
            let is_unknown = slot.state == SlotState::Damaged && slot.node.is_none();
            let is_lost = slot.state == SlotState::Damaged && slot.node.is_some();
            if !in_order && is_lost {
                self.unreplayed.push(slot.slot);
            }
            if !in_order && slot.log_damage.is_some() {
                self.torn.push(slot.slot);
            }
            // Something is lost, or left of a slot that is otherwise recovered.
            self.bits.left |= slot.problem.is_some() && !in_order && !self.cli.mode().repairs();
            match slot.outcome {
                SlotOutcome::None => {}
                SlotOutcome::Recovered => self.slots_recovered += 1,
                SlotOutcome::RecoveredInMemory if self.cli.dry_run => self.slots_recovered += 1,
                SlotOutcome::RecoveredInMemory | SlotOutcome::Left if in_order => {}
                SlotOutcome::RecoveredInMemory | SlotOutcome::Left if is_unknown => {
                    self.slots_unknown += 1;
                }
                SlotOutcome::RecoveredInMemory | SlotOutcome::Left => self.slots_left += 1,
            }
            self.report.show(&Record::Slot(slot.clone()));
            if let Some(damage) = slot.log_damage {
                // The log is empty now: no pass can find this any more.
                let text = format!("{}: {damage}", SystemFile::Journal(slot.slot).name());
                let place = Place::slot(slot.slot);
                let finding = Finding::new(journals::JOURNAL_LOG_DAMAGED, place, text);
                // A writing run has replayed what it could; there is no other repair.
                let done = self.cli.mode().repairs();
                self.early += u64::from(done);
                let outcome = if done { FindingOutcome::Corrected } else { FindingOutcome::Left };
                self.report.asked(Pass::Start, &finding, done);
                let record = FindingRecord::new(Pass::Start, &finding, done, outcome);
                self.report.concluded(record);
            }
        };
        let is_preen = self.cli.mode() == Mode::Preen;
        let recovered = recover(&device, &reopen, users, (done, is_preen), interrupt, &mut tell);
        // What repairs make of it shows later.
        let found = self.report.findings() - self.early;
        self.bits.left |= !self.cli.mode().repairs() && self.slots_left + found > 0;
        let recovered = recovered.map_err(|err| match err {
            RecoverError::Interrupted(interrupted) => anyhow::Error::from(interrupted),
            err @ RecoverError::Open(_) => err.into(),
        })?;
        (layers.slots, layers.time) = (recovered.slots, recovered.time);
        Ok(recovered.volume)
    }

    /// Runs the passes if they are due, and shows the summary.
    fn check(
        &mut self,
        layers: &Layers,
        source: &Source,
        users: &Users,
        volume: &Volume,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let name = shown(&self.cli.device);
        let now = now();
        let recovered = self.slots_recovered + self.slots_left > 0;
        let due = match Due::new(volume.superblock(), now) {
            _ if self.cli.force => Due::Now("was run with -f".to_owned()),
            Due::Later(_) if recovered => Due::Now("was not unmounted by all nodes".to_owned()),
            Due::Later(_) if self.early > 0 || !volume.found_superblock().is_as_stored() => {
                Due::Now("had a superblock or journals that cannot be used as they are".to_owned())
            }
            Due::Later(_) if volume.found_superblock().blkno != SUPERBLOCK_BLKNO => {
                Due::Now("was opened by a backup of its superblock".to_owned())
            }
            Due::Later(when) => {
                let options = self.options();
                let context = Context { volume, options: &options, interrupt };
                let wrong = mount_reads::wrong(&context, |slot| users.slots.contains_key(&slot));
                let wrong = wrong.or_else(|| users.left_over(volume));
                wrong.map_or(Due::Later(when), Due::Now)
            }
            due @ Due::Now(_) => due,
        };
        let mut summary = Summary::default();
        match due {
            Due::Later(when) => {
                if self.cli.pack_directories {
                    self.report.note(&format!("{name}: nothing is packed without -f."));
                }
                let when = when.map(|when| format!("  It will be checked {when}."));
                summary.reason = format!("{name} is clean.{}", when.unwrap_or_default());
                self.report.note(&summary.reason);
            }
            Due::Now(reason) => {
                summary.reason = format!("{name} {reason}, check forced.");
                self.report.note(&summary.reason);
                self.report.show_paths_of(volume, interrupt);
                if self.cli.mode().repairs() {
                    self.repair(
                        layers,
                        (source, users),
                        volume,
                        progress,
                        interrupt,
                        &mut summary,
                    )?;
                } else {
                    self.find(volume, progress, interrupt, &mut summary)?;
                }
            }
        }
        self.summarise(summary);
        Ok(())
    }

    fn options(&self) -> Options {
        let mut options = Options {
            foreign_generations: self.cli.foreign_generations,
            salvage: self.cli.salvage,
            suspects: Arc::clone(&self.suspects),
            is_new_seed: self.is_new_superblock,
            pack_directories: self.cli.pack_directories,
            name_hash: self.cli.name_hash,
            ..Options::default()
        };
        options.threads = self.cli.threads.map_or(options.threads, usize::from);
        let shares = Shares::of(self.cli.memory_limit, options.threads);
        options.threads = shares.threads;
        (options.most_findings, options.most_claims) = (shares.findings, shares.claims);
        options
    }

    /// The most bytes of changes that are kept in memory.
    fn changes_bytes(&self) -> u64 {
        Shares::of(self.cli.memory_limit, self.options().threads).changes_bytes
    }

    /// Runs the passes without repairs.
    fn find(
        &mut self,
        volume: &Volume,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
        summary: &mut Summary,
    ) -> Result<()> {
        let options = self.options();
        let context = Context { volume, options: &options, interrupt };
        let mut observer = Watcher { report: &mut self.report, watch: &mut self.watch, progress };
        let outcome = check(&context, &mut observer);
        progress.finish();
        self.watch.end();
        summary.rounds = 1;
        summary.left = self.report.findings();
        self.bits.left |= summary.left > 0;
        match outcome {
            Ok(outcome) => {
                summary.set_outcome(&outcome, volume.geometry());
                self.note_name_hashes(summary);
                self.advise(summary);
                Ok(())
            }
            Err(Stop::Interrupted) => Err(Interrupted.into()),
        }
    }

    /// Notes how many names some kernels do not find.
    fn note_name_hashes(&mut self, summary: &Summary) {
        let note = summary.name_hashes.and_then(NameHashes::note);
        if let Some(note) = note {
            self.report.note(&format!("NOTE: {}: {note}", shown(&self.cli.device)));
        }
    }

    fn summarise(&mut self, mut summary: Summary) {
        summary.findings = self.report.findings();
        summary.codes = std::mem::take(&mut self.report.counts);
        (summary.slots_recovered, summary.slots_left) = (self.slots_recovered, self.slots_left);
        summary.dry_run = self.cli.dry_run;
        summary.passes = self.watch.passes().to_vec();
        summary.seconds = self.watch.seconds();
        (summary.read_bytes, summary.reads) = self.watch.read();
        summary.peak_memory_bytes = crate::report::peak_memory();
        self.report.show(&Record::Summary(&summary));
    }

    /// Reports how the run ended; returns the status.
    fn finish(mut self, result: Result<()>) -> Result<Status> {
        let error = result.err();
        if let Some(err) = &error {
            self.drop_lost_file();
            let cancelled = is_interrupted(err);
            (self.bits.cancelled, self.bits.failed) = (cancelled, !cancelled);
            self.bits.left |= cancelled && self.has_mark;
            self.bits.corrected |= self.written && self.slots_recovered > 0;
        }
        let text = error.as_ref().map(|err| match self.bits.cancelled {
            false => causes(err),
            true => format!("cancelled; {}", self.so_far()),
        });
        if let Some(text) = &text {
            let device = shown(&self.cli.device);
            // Errors of opening name the device themselves.
            let text = text.strip_prefix(&format!("{device}: ")).unwrap_or(text);
            // Those of the undo file are about that.
            let undo_file = self.cli.undo.as_deref().map(|path| format!("{}: ", shown(path)));
            print_error(&match undo_file.filter(|file| text.starts_with(file)) {
                Some(_) => anyhow::anyhow!("{text}"),
                None => anyhow::anyhow!("{device}: {text}"),
            });
        }
        let end = End { error: text.as_deref(), exit_status: self.bits.status().0 };
        self.report.show(&Record::End(end));
        if let Some(err) = self.report.take_failure() {
            print_error(&anyhow::Error::new(err).context("standard output cannot be written"));
            self.bits.failed = true;
        }
        Ok(self.bits.status())
    }

    /// Describes what was done before the cancellation, and what is dropped.
    fn so_far(&self) -> String {
        let done = match (self.written, self.has_mark) {
            (false, false) if self.slots_recovered > 0 => {
                "nothing was written, no slot was recovered".to_owned()
            }
            (false, false) => "nothing was written".to_owned(),
            (false, true) => "nothing was written but that the next run is to check".to_owned(),
            (true, _) => format!("slots recovered: {}", self.slots_recovered),
        };
        match self.agreed {
            0 => done,
            1 => format!("{done}; the repair that was agreed to is dropped"),
            count => format!("{done}; the {count} repairs that were agreed to are dropped"),
        }
    }
}

/// Passes on what the passes report.
struct Watcher<'a> {
    report: &'a mut Report,
    watch: &'a mut Stopwatch,
    progress: &'a mut ProgressOut,
}

impl Observer for Watcher<'_> {
    fn pass(&mut self, pass: Pass, total: u64) {
        self.watch.begin(pass);
        self.progress.finish();
        if let Some(title) = pass.title() {
            self.report.show(&Record::Pass { pass, title });
        }
        self.progress.begin(pass, total);
    }

    fn progress(&mut self, done: u64) {
        self.progress.update(done);
    }

    fn found(&mut self, found: Found<'_>) {
        self.progress.pause();
        self.report.found(found);
    }
}
