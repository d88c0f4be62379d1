//! Find, plan, prove, commit: the steps of a repairing run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ocfs2_cli::{Interrupt, Interrupted, shown};
use ocfs2_device::Device;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_volume::{SystemFile, Volume};

use super::Run;
use super::answers::Answers;
use super::layers::{Collision, Layers, Overlay, empty_moved_logs};
use super::mark::{keep_mark, mark, stamp};
use crate::codes::{journals, start as codes};
use crate::plan::{Judge, Plan, PlanError, plan};
use crate::recover::recover_repaired;
use crate::repair::commit::{Written, commit, rehearse};
use crate::repair::{Terms, Together};
use crate::report::{
    FindingOutcome, FindingRecord, ProgressOut, Record, SlotOutcome, Summary, WrittenRecord,
};
use crate::start::{cluster_size, journal_marks, mended, tops};
use crate::system_files::{SystemFiles, lost_directory, lost_slots};
use crate::target::Source;
use crate::users::Users;
use crate::{Context, Finding, Found, Pass};

impl Run<'_> {
    /// Finds what is wrong, plans the repairs that are agreed to, and writes them.
    pub(super) fn repair(
        &mut self,
        layers: &Layers,
        (source, users): (&Source, &Users),
        volume: &Volume,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
        summary: &mut Summary,
    ) -> Result<()> {
        let overlay = layers.repairs(volume);
        let sides = (volume, &overlay);
        let mut plan = self.plan(sides, source, progress, interrupt, summary)?;
        let mut collision = layers.collision(sides, &plan, &[]);
        if let Some(found) = collision.as_ref().filter(|it| !it.not_its_own.is_empty()) {
            // Otherwise the changes of the recovery would end up in the copy that the other file
            // gets.
            let dropped = found.not_its_own.clone();
            dropped.iter().for_each(|offset| layers.recovered.forget(*offset));
            overlay.clear();
            self.report.counts.clear();
            plan = self.plan(sides, source, progress, interrupt, summary)?;
            let repaired: Arc<dyn Device> = overlay.clone();
            empty_moved_logs(&volume.on(repaired), &layers.slots)?;
            collision = layers.collision(sides, &plan, &dropped);
        }
        summary.set_outcome(&plan.outcome, volume.geometry());
        self.note_name_hashes(summary);
        if self.refuse(layers, collision.as_ref(), &mut plan) {
            self.conclude(&plan, summary);
            self.bits.left = true;
            return Ok(());
        }
        self.slots_left = self.slots_still_left(source, &overlay);
        if plan.is_changed {
            self.recover_rest((source, users), &overlay, interrupt)?;
        }
        keep_mark(&mut plan, self.slots_left);
        self.conclude(&plan, summary);
        let is_left = summary.left + self.slots_left > 0;
        // Without room for the mark in the overlay it is written on its own later.
        let is_marked = is_left && mark(volume, &overlay).is_ok_and(|is_marked| is_marked);
        if !is_left {
            stamp(volume, &overlay).context("the superblock cannot be updated")?;
        }
        interrupt.check()?;
        let overlaid: Arc<dyn Device> = overlay.clone();
        let after = source.open(&overlaid)?;
        let losses = self.losses((volume, &after), &overlay, &plan, interrupt)?;
        (summary.lost, summary.doubtful) = (losses.lost, losses.doubtful);
        interrupt.check()?;
        summary.written =
            self.write(layers, volume, &overlay, &plan, collision.as_ref(), interrupt)?;
        self.agreed = 0;
        self.tell_losses(&losses);
        self.advise(summary);
        if is_left && !is_marked {
            self.mark_by_itself(layers, source);
        }
        self.bits.corrected |= summary.corrected > 0 || plan.is_changed || self.slots_recovered > 0;
        self.bits.left |= summary.left + self.slots_left > 0;
        Ok(())
    }

    /// Repairs what has to come before the recovery: it corrects what the superblock names,
    /// recreates a lost system directory, and restores what marks journals as such. Without these
    /// not even the journals are found. Everything else waits, since a replay would undo a repair
    /// made before it.
    pub(super) fn restore_tops(
        &mut self,
        layers: &Layers,
        source: &Source,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let device: Arc<dyn Device> = layers.tops.clone();
        let is_backup = source.open(&device)?.found_superblock().blkno != SUPERBLOCK_BLKNO;
        if is_backup || !self.cli.mode().repairs() {
            return Ok(());
        }
        let options = self.options();
        // Each relies on what the ones before it have corrected.
        let checks: [fn(&Context<'_>) -> Vec<Finding>; 6] = [
            |context| mended(context.volume).into_iter().collect(),
            |context| cluster_size::check(context).into_iter().collect(),
            tops::check,
            |context| lost_directory(context).into_iter().collect(),
            |context| lost_slots(context, &SystemFiles::read(context).0).into_iter().collect(),
            journal_marks::check,
        ];
        for check in checks {
            let volume = source.open(&device)?;
            let context = Context { volume: &volume, options: &options, interrupt };
            for finding in check(&context) {
                self.is_new_superblock |= finding.code == codes::SUPERBLOCK_LOST;
                self.correct_early(&volume, &finding, progress, interrupt);
            }
        }
        Ok(())
    }

    /// Makes a repair before all others, if that is agreed to. If it fails, the finding will be
    /// found again.
    fn correct_early(
        &mut self,
        volume: &Volume,
        finding: &Finding,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
    ) {
        let Some(repair) = &finding.repair else { return };
        let found = Found { pass: Pass::Start, finding };
        if !self.answers(progress, interrupt).answer(found)
            || repair.make(volume, Terms::default(), &mut Together::default()).is_err()
        {
            return;
        }
        self.early += 1;
        let outcome = FindingOutcome::Corrected;
        self.report.concluded(FindingRecord::new(Pass::Start, finding, true, outcome));
    }

    /// Recovers the slots that are still left, now that the volume is repaired.
    fn recover_rest(
        &mut self,
        (source, users): (&Source, &Users),
        overlay: &Overlay,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let overlaid: Arc<dyn Device> = overlay.clone();
        let volume = source.open(&overlaid)?;
        let done = match self.writes() {
            true => SlotOutcome::Recovered,
            false => SlotOutcome::RecoveredInMemory,
        };
        for record in recover_repaired(&volume, &*overlaid, users, done, interrupt) {
            match record.outcome == done {
                true => self.slots_recovered += 1,
                false => self.slots_left += 1,
            }
            self.report.show(&Record::Slot(record));
        }
        interrupt.check()?;
        Ok(())
    }

    /// The number of slots that could not be recovered and whose journals were not repaired either.
    fn slots_still_left(&self, source: &Source, overlay: &Overlay) -> u64 {
        let known = self.slots_left + self.slots_unknown;
        if known == 0 {
            return 0;
        }
        let overlaid: Arc<dyn Device> = overlay.clone();
        // Opened again, since the repaired superblock may have fewer slots.
        let Ok(volume) = source.open(&overlaid) else { return known };
        let is_left = |slot: &u16| !volume.journal_is_dirty(*slot).is_ok_and(|dirty| !dirty);
        let left = (0..volume.max_slots()).filter(is_left).count() as u64;
        left.min(known)
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
            given: &mut self.given,
            refused: None,
            first_done: None,
            sides: None,
            changes_bytes: None,
            agreed: 0,
        }
    }

    fn plan(
        &mut self,
        (before, overlay): (&Volume, &Overlay),
        source: &Source,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
        summary: &mut Summary,
    ) -> Result<Plan> {
        let overlaid: Arc<dyn Device> = overlay.clone();
        let options = self.options();
        let changes_bytes = self.cli.memory_limit.map(|_| self.changes_bytes());
        let mut answers = self.answers(progress, interrupt);
        (answers.sides, answers.changes_bytes) = (Some((before, overlay)), changes_bytes);
        let made = plan(&|| source.open(&overlaid), &options, interrupt, &mut answers);
        let first_done: Option<Instant> = answers.first_done;
        let refused = answers.refused.take();
        self.agreed = answers.agreed;
        progress.finish();
        self.watch.end();
        let plan = made.map_err(|err| match err {
            PlanError::Stop(_) => Interrupted.into(),
            err @ PlanError::Open(_) => anyhow::Error::new(err),
        })?;
        summary.rounds = plan.rounds;
        summary.proof_seconds = first_done.map_or(0.0, |since| since.elapsed().as_secs_f64());
        if let Some(refused) = refused
            && !plan.outcome.is_short
        {
            overlay.clear();
            let device = shown(&self.cli.device);
            self.report.note(&format!(
                "{device}: UNEXPECTED INCONSISTENCY; RUN fsck.ocfs2 MANUALLY (without -p). \
                 -p repairs nothing where something may be lost, here because of {refused}"
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

    /// Shows and counts the outcome of each finding.
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
            self.report.concluded(record);
            if let Some(why) = planned.problem.as_deref()
                && !planned.is_repaired
                && !plan.outcome.is_short
            {
                self.report.note(&format!("[{}] is left: {}: {why}", finding.code, finding.text));
            }
        }
    }

    /// Returns and notes whether nothing may be written at all, because the recovery would
    /// overwrite what another file claims and no repair changes that.
    fn refuse(&mut self, layers: &Layers, collision: Option<&Collision>, plan: &mut Plan) -> bool {
        let Some(collision) = collision.filter(|it| layers.gate.is_some() && !it.is_repaired)
        else {
            return false;
        };
        let device = shown(&self.cli.device);
        self.report.note(&format!(
            "{device}: nothing is written: the recovery would write over clusters that others \
             claim: {}. {} repairs that first.",
            collision.text,
            self.cli.rerun("-fy")
        ));
        for planned in &mut plan.findings {
            planned.is_repaired = false;
            planned.problem = planned.answer.then(|| "nothing was written".to_owned());
        }
        plan.is_changed = false;
        self.slots_left += std::mem::take(&mut self.slots_recovered);
        self.early = 0;
        true
    }

    /// Writes the changes, if there are any.
    fn write(
        &mut self,
        layers: &Layers,
        volume: &Volume,
        changes: &Overlay,
        plan: &Plan,
        collision: Option<&Collision>,
        interrupt: &Interrupt,
    ) -> Result<Option<WrittenRecord>> {
        let untrusted = untrusted(volume, plan);
        let Some(gate) = &layers.gate else {
            let blocks = rehearse(volume, changes, &untrusted)?.blocks();
            return Ok((blocks > 0).then_some(WrittenRecord::DryRun { blocks }));
        };
        if changes.changed_blocks() + layers.changed_blocks() == 0 {
            return Ok(None);
        }
        self.look_again(changes, interrupt)?;
        let layered = (volume, changes);
        let written = layers.write(gate, layered, collision, interrupt, |on_device, all, pass| {
            commit(on_device, all, pass, &untrusted)
        });
        self.written |= layers.is_written();
        let marks = |blocks| {
            let reason = "it is what marks a journal as one".to_owned();
            (blocks > 0).then_some(WrittenRecord::InPlace { blocks, reason })
        };
        Ok(match written? {
            // Only the superblock, which is not worth mentioning.
            Written::Nothing | Written::Journaled { blocks: 0, .. } => marks(layers.marks()),
            Written::Journaled { slot, blocks } => Some(WrittenRecord::Journal { slot, blocks }),
            Written::InPlace { blocks, why } => {
                Some(WrittenRecord::InPlace { blocks, reason: why })
            }
        })
    }
}

/// Slots with findings about their journals.
fn untrusted(volume: &Volume, plan: &Plan) -> HashSet<u16> {
    let journals: Vec<_> = (0..volume.max_slots())
        .map(|slot| volume.system_file(SystemFile::Journal(slot)).map(|it| it.blkno))
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
