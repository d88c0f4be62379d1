//! Find, plan, prove, commit: as the program runs them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ocfs2_cli::{Interrupt, Interrupted, shown};
use ocfs2_format::Structure;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, SuperBlock};
use ocfs2_volume::{Device, Volume};

use super::answers::Answers;
use super::{Overlay, Run, now};
use crate::cli::Mode;
use crate::codes::journals;
use crate::repair::Terms;
use crate::repair::commit::{Written, commit};
use crate::repair::plan::{Judge, Plan, PlanError, plan};
use crate::report::{FindingOutcome, FindingRecord, ProgressOut, Summary, WrittenRecord};
use crate::start::{SystemFile, tops};
use crate::target::Source;
use crate::{Context, Found, Pass};

impl Run<'_> {
    /// Finds what is wrong, repairs what is agreed to, and writes it.
    pub(super) fn repair(
        &mut self,
        device: &Arc<dyn Device>,
        source: &Source,
        volume: &Volume,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
        summary: &mut Summary,
    ) -> Result<()> {
        let overlay = self.overlay(Arc::clone(device), volume);
        let plan = self.plan(&overlay, source, progress, interrupt, summary)?;
        summary.set_outcome(&plan.outcome, volume.geometry());
        self.note_name_hashes(summary);
        self.conclude(&plan, summary);
        self.slots_left = self.slots_still_left(volume, &overlay);
        if summary.left == 0 {
            stamp(volume, &overlay).context("the superblock can not be updated")?;
        }
        interrupt.check()?;
        summary.written = self.write(device, volume, &overlay, &plan)?;
        self.bits.corrected |= summary.corrected > 0 || plan.is_changed;
        self.bits.left |= summary.left + self.slots_left > 0;
        Ok(())
    }

    /// Corrects what the superblock names: without that not even the journals are found.
    pub(super) fn restore_tops(
        &mut self,
        device: &Arc<dyn Device>,
        source: &Source,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let volume = source.open(device)?;
        let is_backup = volume.found_superblock().blkno != SUPERBLOCK_BLKNO;
        if is_backup || !self.cli.mode().repairs() {
            return Ok(());
        }
        let options = self.options();
        let context = Context { volume: &volume, options: &options, interrupt };
        for finding in tops::check(&context) {
            let found = Found { pass: Pass::Start, finding: &finding };
            let Some(repair) = &finding.repair else { continue };
            if !self.answers(progress, interrupt).answer(found) {
                continue;
            }
            let failed = || format!("[{}] {}", finding.code, finding.text);
            repair.make(&volume, Terms::default(), &mut Vec::new()).with_context(failed)?;
            device.flush().with_context(failed)?;
            self.early += 1;
            let outcome = FindingOutcome::Corrected;
            self.report.concluded(&FindingRecord::new(Pass::Start, &finding, true, outcome));
        }
        Ok(())
    }

    /// Slots that could not be recovered, and whose journals were not repaired either.
    fn slots_still_left(&self, volume: &Volume, overlay: &Overlay) -> u64 {
        if self.slots_left == 0 {
            return 0;
        }
        let overlaid: Arc<dyn Device> = overlay.clone();
        let volume = volume.on(overlaid);
        let is_left = |slot: &u16| !volume.journal_is_dirty(*slot).is_ok_and(|dirty| !dirty);
        let left = (0..volume.max_slots()).filter(is_left).count() as u64;
        left.min(self.slots_left)
    }

    fn answers<'a>(
        &'a mut self,
        progress: &'a mut ProgressOut,
        interrupt: &'a Interrupt,
    ) -> Answers<'a> {
        Answers {
            report: &mut self.report,
            watch: &mut self.watch,
            progress,
            interrupt,
            mode: self.cli.mode(),
            device: shown(&self.cli.device),
            round: 0,
            all: HashSet::new(),
            nobody: false,
            refused: false,
            first_done: None,
        }
    }

    fn plan(
        &mut self,
        overlay: &Overlay,
        source: &Source,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
        summary: &mut Summary,
    ) -> Result<Plan> {
        let overlaid: Arc<dyn Device> = overlay.clone();
        let options = self.options();
        let mut answers = self.answers(progress, interrupt);
        let made = plan(&|| source.open(&overlaid), &options, interrupt, &mut answers);
        let first_done: Option<Instant> = answers.first_done;
        let refused = answers.refused;
        progress.finish();
        self.watch.end();
        let plan = made.map_err(|err| match err {
            PlanError::Stop(_) => Interrupted.into(),
            err @ PlanError::Open(_) => anyhow::Error::new(err),
        })?;
        summary.rounds = plan.rounds;
        summary.proof_seconds = first_done.map_or(0.0, |since| since.elapsed().as_secs_f64());
        if refused && self.cli.mode() == Mode::Preen {
            let device = shown(&self.cli.device);
            self.report.note(&format!(
                "{device}: UNEXPECTED INCONSISTENCY; RUN fsck.ocfs2 MANUALLY (without -p)"
            ));
        }
        if plan.gave_up {
            self.report.note(&format!(
                "After {} rounds of repairs there is still something to repair.",
                plan.rounds.saturating_sub(1)
            ));
        }
        Ok(plan)
    }

    /// Shows what came of each finding, and counts.
    fn conclude(&mut self, plan: &Plan, summary: &mut Summary) {
        summary.corrected += self.early;
        for planned in &plan.findings {
            let outcome = match planned.is_repaired {
                true => FindingOutcome::Corrected,
                false => FindingOutcome::Left,
            };
            match planned.is_repaired {
                true => summary.corrected += 1,
                false => summary.left += 1,
            }
            let finding = &planned.finding;
            let mut record = FindingRecord::new(planned.pass, finding, planned.answer, outcome);
            record.problem = planned.problem.as_deref().filter(|_| !planned.is_repaired);
            self.report.concluded(&record);
            let why = match (planned.problem.as_deref(), planned.answer) {
                _ if planned.is_repaired => continue,
                (Some(problem), _) => problem,
                (None, true) => "it is still there",
                (None, false) => continue,
            };
            self.report.note(&format!("[{}] is left: {}: {why}", finding.code, finding.text));
        }
    }

    /// Writes the overlay, if anything is to be written.
    fn write(
        &self,
        device: &Arc<dyn Device>,
        volume: &Volume,
        overlay: &Overlay,
        plan: &Plan,
    ) -> Result<Option<WrittenRecord>> {
        let blocks = overlay.changed_blocks();
        if blocks == 0 {
            return Ok(None);
        }
        if !self.writes() {
            return Ok(plan.is_changed.then_some(WrittenRecord::DryRun { blocks }));
        }
        let written = commit(volume, overlay, device, &untrusted(volume, plan))?;
        Ok(match written {
            Written::Nothing => None,
            // The superblock alone: not worth a word.
            Written::Journaled { blocks: 0, .. } => None,
            Written::Journaled { slot, blocks } => Some(WrittenRecord::Journal { slot, blocks }),
            Written::InPlace { blocks, why } => {
                Some(WrittenRecord::InPlace { blocks, reason: why })
            }
        })
    }
}

/// Slots of whose journals something was wrong.
fn untrusted(volume: &Volume, plan: &Plan) -> HashSet<u16> {
    let journals: Vec<_> = (0..volume.max_slots())
        .map(|slot| volume.system_file(&SystemFile::Journal(slot).name()).map(|it| it.blkno))
        .collect();
    let mut slots = HashSet::new();
    for planned in &plan.findings {
        let finding = &planned.finding;
        let place = &finding.place;
        if journals::ALL.iter().any(|code| code.name == finding.code.name) {
            slots.extend(place.slot);
        }
        let inode = place.inode.or(place.block);
        let of_journal = |slot: &u16| {
            let journal = journals.get(usize::from(*slot)).and_then(|it| it.as_ref().ok());
            journal.is_some_and(|blkno| Some(blkno.0) == inode)
        };
        slots.extend((0..volume.max_slots()).filter(of_journal));
    }
    slots
}

/// The volume was proven to be sound: the superblock is to say so.
fn stamp(volume: &Volume, overlay: &Overlay) -> Result<()> {
    let overlaid: Arc<dyn Device> = overlay.clone();
    let volume = volume.on(overlaid);
    let mut block = volume.read_block(SUPERBLOCK_BLKNO)?;
    let part = block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default();
    let mut superblock = SuperBlock::decode(part)?;
    superblock.s_errors = 0;
    superblock.s_mnt_count = 0;
    superblock.s_lastcheck = now();
    superblock.encode(part)?;
    volume.write_metadata(SUPERBLOCK_BLKNO, &block, Dinode::CHECK_OFFSET)?;
    Ok(())
}
