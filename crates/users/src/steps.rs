//! How a transaction, or many of them, reach a volume; and the same in memory only.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use ocfs2_cli::{Interrupt, Progress};
use ocfs2_device::Device;
use ocfs2_volume::edit::{Edit, EditOptions};
use ocfs2_volume::gate::{Pass, Planned};
use ocfs2_volume::{Volume, VolumeOptions};

use crate::work::Work;
use crate::{Guard, Saving};

/// A guarded volume that is written, and the file in which what is overwritten is saved.
pub struct Writer {
    guard: Guard,
    saving: Option<Arc<Saving>>,
}

impl Writer {
    /// Writes to `volume` through its guard; what is overwritten is saved to `undo_file`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn new(volume: &Volume, mut guard: Guard, undo_file: Option<&Path>) -> Result<Self> {
        let saving = match undo_file {
            None => None,
            Some(path) => Some(guard.save_to(volume, path)?),
        };
        Ok(Self { guard, saving })
    }

    /// The pass through the gate for one transaction.
    ///
    /// # Errors
    /// Somebody else came, or what was worked out does not fit the volume any more.
    pub fn pass(&self, work: &Work<'_>) -> Result<Pass<'_>> {
        let changes = work.edit.changes();
        let outcome: Arc<dyn Device> = changes.clone();
        let planned = Planned { changes: &[&**changes], outcome: Some(&outcome) };
        self.guard.gate.open(planned).context("nothing was changed")
    }

    /// Completes the undo file. Returns whether there is one that matters. The volume stays guarded.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&self) -> Result<bool> {
        Ok(match &self.saving {
            Some(saving) => saving.finish()?,
            None => false,
        })
    }
}

/// The transactions of some work over a volume.
#[derive(Clone, Copy)]
pub struct Steps<'a> {
    /// The volume as it is before.
    pub volume: &'a Volume,
    /// Settings of all edits.
    pub options: EditOptions,
    /// Ends the work between two transactions.
    pub interrupt: &'a Interrupt,
    /// Shows how far the work is.
    pub progress: &'a dyn Progress,
}

impl Steps<'_> {
    /// Makes changes in memory only, as one transaction. Returns the volume with them, too.
    ///
    /// # Errors
    /// Those of `make`; interrupts.
    pub fn rehearse<T>(
        &self,
        make: impl FnOnce(&mut Work<'_>) -> Result<T>,
    ) -> Result<(T, Volume)> {
        let rehearsed = |work: &mut Work<'_>| forget(work, self.interrupt);
        let edit = Edit::new(self.volume, self.options);
        let mut work = Work::rehearsal(edit, &rehearsed);
        let made = make(&mut work)?;
        let outcome = work.edit.volume();
        Ok((made, outcome.on(Arc::clone(outcome.device()))))
    }

    /// Makes changes in several transactions, after each of which the volume can be mounted. `pass`
    /// is called for each, and returns the device to write to. Returns how many there were, too.
    pub fn commit<D: Device, T>(
        &self,
        pass: &dyn Fn(&Work<'_>) -> Result<D>,
        make: impl FnOnce(&mut Work<'_>) -> Result<T>,
    ) -> (Result<T>, u64) {
        let steps = Cell::new(0_u64);
        let commit = |work: &mut Work<'_>| {
            if work.is_empty() {
                return Ok(());
            }
            self.interrupt.check()?;
            work.commit(work.edit.max_slots(), &pass(work)?)?;
            steps.set(steps.get() + 1);
            let options = VolumeOptions { write: true, strict: true, ..Default::default() };
            work.go_on(&Volume::open(Arc::clone(self.volume.device()), &options)?);
            Ok(())
        };
        let edit = Edit::new(self.volume, self.options);
        let made = make(&mut Work::new(edit, &commit, self.progress));
        self.progress.finish();
        (made, steps.get())
    }
}

/// What a rehearsal does in place of a commit: contents are of no interest.
///
/// # Errors
/// Interrupts.
pub fn forget(work: &mut Work<'_>, interrupt: &Interrupt) -> Result<()> {
    work.before.clear();
    work.after.clear();
    Ok(interrupt.check()?)
}
