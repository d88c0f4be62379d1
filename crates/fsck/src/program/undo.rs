//! `--undo-file` and `--undo`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use ocfs2_cli::{Interrupt, human_size, shown};
use ocfs2_volume::device::UndoDevice;
use ocfs2_volume::device::undo::Undo;
use ocfs2_volume::gate::{Gate, Planned};
use ocfs2_volume::{Device, Volume};

use super::Run;
use crate::target::{self, Source};

impl Run<'_> {
    /// The device, with what is overwritten saved if that was asked for.
    pub(super) fn saved(
        &self,
        device: Arc<dyn Device>,
        volume: &Volume,
    ) -> Result<Arc<dyn Device>> {
        let Some(path) = &self.cli.undo_file else { return Ok(device) };
        let uuid = volume.superblock().s_uuid;
        let unit = volume.block_size().bytes();
        let saved = UndoDevice::create(device, path, uuid, unit)
            .with_context(|| format!("undo file {}", shown(path)))?;
        Ok(Arc::new(saved))
    }

    /// Puts back what an earlier run has overwritten.
    pub(super) fn undo(&mut self, path: &Path, interrupt: &Interrupt) -> Result<()> {
        let undo = Undo::read(path)?;
        let opened = target::open_device(self.cli)?;
        let gate = self.undo_gate(&opened.device, interrupt)?;
        undo.apply(&gate.open(Planned::default())?)?;
        if undo.bytes() == 0 {
            bail!("{}: nothing was overwritten", shown(path));
        }
        self.bits.corrected = true;
        let (bytes, device) = (human_size(undo.bytes()), shown(&self.cli.device));
        self.report.note(&format!("{device}: {bytes} put back as they were before."));
        Ok(())
    }

    /// The gate of a volume that may be as damaged as it was left, if its users agree.
    fn undo_gate(&mut self, device: &Arc<dyn Device>, interrupt: &Interrupt) -> Result<Gate> {
        let source = Source::new(self.cli);
        let volume = source.open(device).or_else(|err| match source.by_backup(device, &err) {
            Some((_, other)) => other.open(device),
            None => Err(err),
        });
        let Ok(volume) = volume else {
            // Whose slot map can not be found nobody has mounted.
            return Ok(Gate::of_device(Arc::clone(device)).at(&self.cli.device));
        };
        let users = self.users(&volume, interrupt)?;
        let gate = self.gate(&volume, &users)?;
        self.ask_consent(&users, interrupt)?;
        Ok(gate)
    }
}
