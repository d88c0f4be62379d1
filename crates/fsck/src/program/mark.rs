//! The mark in the superblock that something is wrong: if a run leaves anything, the next one
//! checks.

use std::sync::Arc;

use anyhow::Result;
use ocfs2_cli::{print_warning, shown};
use ocfs2_device::{Device, OverlayDevice};
use ocfs2_format::Structure;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::superblock::{STATE_ERROR, SUPERBLOCK_BLKNO, SuperBlock};
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::gate::Planned;
use ocfs2_volume::open::find_superblock;
use ocfs2_volume::{Volume, VolumeOptions};

use super::layers::{Layers, Overlay};
use super::{Run, now};
use crate::cli::Mode;
use crate::codes::start::SUPERBLOCK_STATE;
use crate::plan::{self, Plan};
use crate::repair::commit::commit;
use crate::report::Summary;
use crate::target::Source;

/// Writes into the superblock that the volume was checked and is sound.
pub(super) fn stamp(volume: &Volume, overlay: &Overlay) -> Result<()> {
    change(volume, overlay, |superblock| {
        superblock.s_errors = 0;
        superblock.s_state &= !STATE_ERROR;
        superblock.s_mnt_count = 0;
        superblock.s_lastcheck = now();
    })
}

/// Marks the superblock, unless it is already marked. Returns false if it cannot be used, which
/// makes each run check anyway.
pub(super) fn mark(volume: &Volume, overlay: &Overlay) -> Result<bool> {
    let found = volume.found_superblock();
    if found.blkno != SUPERBLOCK_BLKNO || found.mended.is_some() {
        return Ok(false);
    }
    // A new checksum would make its wrong contents valid.
    let options = VolumeOptions {
        block_size: Some(found.block_size),
        any_checksum: true,
        ..VolumeOptions::default()
    };
    if !find_superblock(overlay, &options).is_ok_and(|now| now.is_as_stored()) {
        return Ok(false);
    }
    change(volume, overlay, |superblock| superblock.s_state |= STATE_ERROR)?;
    Ok(true)
}

/// Changes the superblock on the overlay, if that makes a difference.
fn change(volume: &Volume, overlay: &Overlay, how: impl FnOnce(&mut SuperBlock)) -> Result<()> {
    let overlaid: Arc<dyn Device> = overlay.clone();
    let volume = volume.on(overlaid);
    let mut block = volume.read_block(SUPERBLOCK_BLKNO)?;
    let part = block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default();
    let mut superblock = SuperBlock::decode(part)?;
    let before = superblock.clone();
    how(&mut superblock);
    if superblock != before {
        superblock.encode(part)?;
        let mut edit = Edit::new(&volume, EditOptions::default());
        edit.put_block::<Dinode>(SUPERBLOCK_BLKNO, &block)?;
        edit.commit(How::Unguarded, overlay)?;
    }
    Ok(())
}

/// Reports the mark as left, as long as something else is: it was to be cleared only after all
/// other repairs.
pub(super) fn keep_mark(plan: &mut Plan, slots_left: u64) {
    let is_mark = |planned: &plan::Planned| planned.finding.code == SUPERBLOCK_STATE;
    let mut others = plan.findings.iter().filter(|planned| !is_mark(planned));
    if slots_left == 0 && others.all(|planned| planned.is_repaired) {
        return;
    }
    let marks = plan.findings.iter_mut().filter(|planned| is_mark(planned));
    for planned in marks.filter(|planned| planned.answer || planned.is_repaired) {
        planned.is_repaired = false;
        planned.problem = Some("something else is left".to_owned());
    }
}

impl Run<'_> {
    /// Writes only the mark: the run ended before the volume was checked after a crash, it was
    /// cancelled, or its changes cannot be kept. Returns whether that worked.
    pub(super) fn mark_by_itself(&self, layers: &Layers, source: &Source) -> bool {
        let Some(gate) = &layers.gate else { return false };
        layers.begin_writes();
        let device = gate.sealed();
        let marked = source.open(&device).map_err(Into::into).and_then(|volume| {
            let block_size = volume.block_size().bytes();
            let overlay = Arc::new(OverlayDevice::new(Arc::clone(&device), block_size));
            if !mark(&volume, &overlay)? {
                return Ok(false);
            }
            let pass = gate.open(Planned { changes: &[&*overlay], outcome: None })?;
            commit(&volume, &overlay, &pass, &Default::default())?;
            Ok(true)
        });
        marked.unwrap_or_else(|err: anyhow::Error| {
            let device = shown(&self.cli.device);
            print_warning(format_args!("{device}: the superblock cannot be marked: {err:#}"));
            false
        })
    }

    /// Notes what helps with what is left.
    pub(super) fn advise(&mut self, summary: &Summary) {
        let device = shown(&self.cli.device);
        if summary.left + self.slots_left == 0 {
            return;
        }
        // What cannot be read of a short device may be read once it is as long as it was.
        let is_unknown =
            self.in_the_way.is_unknown && (self.in_the_way.is_seen || !summary.is_short);
        let force = if is_unknown { "F" } else { "" };
        // What only --salvage finds is found by no other run.
        let salvage = if self.cli.salvage { " --salvage" } else { "" };
        let command = self.cli.rerun(&format!("-fy{force}{salvage}"));
        let command = match &self.in_the_way.live[..] {
            [] => command,
            live => format!("when it is unmounted on {}, {command}", live.join(" and ")),
        };
        let text = if summary.is_short {
            format!(
                "{device}: DEVICE_SHORT is left: nothing is checked or repaired as long as the device \
                 is so short. When it is as long as it was, run {command}"
            )
        } else if self.cli.mode() == Mode::Yes {
            // Another run right now would do no better.
            format!(
                "{device}: something is left, so that the next run of fsck.ocfs2 checks it again"
            )
        } else {
            format!("{device}: something is left; {command} repairs what can be repaired")
        };
        self.report.note(&text);
    }
}
