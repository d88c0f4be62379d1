//! `--undo-file` and `--undo`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Error, Result, anyhow, bail};
use ocfs2_cli::{
    Interrupt, Interrupted, human_size, print_error, print_warning, shown, undo_note,
    volume_argument,
};
use ocfs2_device::Device;
use ocfs2_volume::Volume;
use ocfs2_volume::gate::{Gate, Planned};
use ocfs2_volume::undo::{NO_VOLUME, Undo, UndoDevice, UndoError};

use super::Run;
use crate::target::{self, Source};

/// The device, which saves what is overwritten.
pub(super) type Saving = Arc<UndoDevice<Arc<dyn Device>>>;

impl Run<'_> {
    /// The device to write to: with an undo file if one was asked for.
    pub(super) fn saved(
        &mut self,
        device: Arc<dyn Device>,
        volume: &Volume,
    ) -> Result<Arc<dyn Device>> {
        let Some(path) = &self.cli.undo_file else { return Ok(device) };
        let uuid = volume.superblock().s_uuid;
        let unit = volume.block_size().bytes();
        let saving = UndoDevice::create(device, path, uuid, unit)?;
        let saving = Arc::new(saving);
        self.saving = Some(Arc::clone(&saving));
        Ok(saving)
    }

    /// Finishes the undo file, whatever the outcome of the run.
    pub(super) fn finish_saving(&mut self) {
        let Some(saving) = self.saving.take() else { return };
        let path = shown(self.cli.undo_file.as_deref().unwrap_or(Path::new("")));
        match saving.finish() {
            Ok(true) => {
                let file = self.cli.undo_file.as_deref().unwrap_or(Path::new(""));
                let volume = volume_argument(self.cli.partition, &self.cli.device);
                self.report.note(&format!("{}.", undo_note(file, &volume)));
            }
            Ok(false) => {
                let text = format!("Nothing was overwritten: there is no undo file {path}.");
                self.report.note(&text);
            }
            Err(err) => {
                print_error(&err.into());
                self.bits.failed = true;
            }
        }
    }

    /// Puts back what an earlier run has overwritten.
    pub(super) fn undo(&mut self, path: &Path, interrupt: &Interrupt) -> Result<()> {
        let interrupted = || interrupt.requested();
        let undo = self.undo_file(path, &interrupted)?;
        let opened = target::open_device(self.cli)?;
        let gate = self.undo_gate(&opened.device, &undo, interrupt)?;
        let pass = gate.open(Planned::default())?;
        let put_back = undo.apply(&pass, &interrupted).map_err(explained)?;
        let device = shown(&self.cli.device);
        self.report.note(&match put_back {
            0 => format!("{device}: everything is as it was before, nothing had to be put back."),
            bytes => format!("{device}: {} put back as they were before.", human_size(bytes)),
        });
        Ok(())
    }

    /// The gate of the volume that was overwritten, unless its users object. The UUID of its
    /// superblock, or of a backup if that cannot be used, has to be that of the undo file, unless
    /// that is of a whole device, or what is there was written by the run that is undone.
    fn undo_gate(
        &mut self,
        device: &Arc<dyn Device>,
        undo: &Undo,
        interrupt: &Interrupt,
    ) -> Result<Gate> {
        let source = Source::new(self.cli);
        let opened = source.open(device).or_else(|err| {
            let backup = source.by_backup(device, &err);
            backup.ok_or(err).and_then(|(_, source)| source.open(device))
        });
        let is_of_device = undo.uuid() == NO_VOLUME;
        let volume = match opened {
            Ok(volume) => volume,
            // It was interrupted before the volume was complete.
            Err(_) if is_of_device => {
                return Ok(Gate::of_device(Arc::clone(device)).at(&self.cli.device));
            }
            Err(err) => return Err(err.into()),
        };
        let mut other = volume.superblock().clone();
        other.s_uuid = undo.uuid();
        let (found, expected) = (volume.superblock().uuid(), other.uuid());
        // tunefs.ocfs2 may have given the volume another one.
        let superblock = volume.found_superblock().blkno.offset_bytes(volume.block_size());
        let has_left = superblock.map_or(Ok(false), |offset| undo.has_left(&**device, offset));
        if found != expected && !is_of_device && !has_left? {
            bail!("is another volume: its UUID is {found}, that of the undo file {expected}");
        }
        let (users, lock) = self.users_and_lock(&volume, interrupt)?;
        let gate = self.gate(&volume, &users, lock)?;
        self.ask_consent(&users, interrupt)?;
        Ok(gate)
    }

    fn undo_file(&self, path: &Path, interrupted: &dyn Fn() -> bool) -> Result<Undo> {
        if !self.cli.undo_cut {
            return Undo::read(path, interrupted).map_err(explained);
        }
        let undo = Undo::read_beginning(path, interrupted).map_err(explained)?;
        if let Some(why) = undo.missing().filter(|_| undo.bytes() == 0) {
            bail!("{}: is cut: {why}; it has nothing that could be put back", shown(path));
        }
        if let Some(why) = undo.missing() {
            print_warning(format_args!(
                "{}: is cut: {why}; what it has is put back, whatever is there now, and what was \
                 overwritten later is not",
                shown(path)
            ));
        }
        Ok(undo)
    }
}

/// An error with advice, if there is any.
fn explained(err: UndoError) -> Error {
    match err {
        // Before the first write it is a cancellation like any other.
        UndoError::Interrupted { is_begun: false } => Interrupted.into(),
        err @ UndoError::Cut { .. } => anyhow!(
            "{err}, as after a copy that is not whole, or a program that was killed, which saved \
             everything that it overwrote; --force puts back what it has"
        ),
        err => err.into(),
    }
}
