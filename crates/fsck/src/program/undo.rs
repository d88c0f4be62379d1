//! `--undo-file` and `--undo`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use ocfs2_cli::{human_size, shown};
use ocfs2_volume::device::UndoDevice;
use ocfs2_volume::device::undo::Undo;
use ocfs2_volume::{Device, Volume};

use super::Run;
use crate::target;

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
    pub(super) fn undo(&mut self, path: &Path) -> Result<()> {
        let undo = Undo::read(path)?;
        let opened = target::open_device(self.cli)?;
        undo.apply(&opened.device)?;
        if undo.bytes() == 0 {
            bail!("{}: nothing was overwritten", shown(path));
        }
        self.bits.corrected = true;
        let (bytes, device) = (human_size(undo.bytes()), shown(&self.cli.device));
        self.report.note(&format!("{device}: {bytes} put back as they were before."));
        Ok(())
    }
}
