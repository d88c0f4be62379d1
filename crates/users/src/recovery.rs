//! Recovering what crashed nodes have left, before a volume is used.

use std::sync::Arc;

use anyhow::{Result, bail};
use ocfs2_cli::{Interrupt, print_note};
use ocfs2_device::{Device, OverlayDevice};
use ocfs2_volume::gate::Planned;
use ocfs2_volume::recovery::{RecoverOptions, Writes};
use ocfs2_volume::replay::LogEnd;
use ocfs2_volume::{Timestamp, Volume};

use crate::Guard;

/// Bytes of a recovery that are kept in memory; the rest goes to a file.
const PLANNED_BYTES: u64 = 256 << 20;

/// Recovers slots of a guarded volume: replays their logs, deletes orphans, returns reservations. All
/// of it is tried in memory first; if that fails, nothing is written. The volume has to be opened
/// again.
///
/// # Errors
/// A slot cannot be recovered: fsck.ocfs2 does what can be done. The device cannot be written.
pub fn recover(volume: &Volume, guard: &Guard, slots: &[u16], interrupt: &Interrupt) -> Result<()> {
    interrupt.check()?;
    let interrupted = || interrupt.requested();
    let time = u64::try_from(Timestamp::now().seconds).unwrap_or_default();
    let options =
        RecoverOptions { slots, writes: Writes::InPlace, time, interrupted: &interrupted };
    let (size, below) = (volume.block_size().bytes(), Arc::clone(volume.device()));
    let planned = Arc::new(OverlayDevice::within(below, size, PLANNED_BYTES));
    let tried = volume.on(planned.clone()).recover(planned.as_ref(), &options);
    for slot in tried {
        let number = slot.slot;
        if let Some(replayed) = slot.replayed.filter(|it| it.end != LogEnd::Complete) {
            let end = replayed.end;
            bail!("slot {number}: {end}: run fsck.ocfs2 -f, which says what is lost");
        }
        if let Some(err) = slot.error {
            bail!("slot {number} cannot be recovered: {err}: run fsck.ocfs2 -y");
        }
    }
    let outcome: Arc<dyn Device> = planned.clone();
    let planned = Planned { changes: &[planned.as_ref()], outcome: Some(&outcome) };
    let pass = guard.gate.open(planned)?;
    let options = RecoverOptions { writes: Writes::Journaled, ..options };
    for slot in volume.recover(&pass, &options) {
        if let Some(err) = slot.error {
            bail!("slot {}: {err}: run fsck.ocfs2", slot.slot);
        }
        if slot.had_work() {
            print_note(format_args!("slot {} was recovered", slot.slot));
        }
    }
    Ok(interrupt.check()?)
}
