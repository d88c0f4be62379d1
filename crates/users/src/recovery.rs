//! Recovering what crashed nodes have left, before a volume is used.

use std::sync::Arc;

use ocfs2_cli::{Interrupt, Interrupted};
use ocfs2_device::{Device, OverlayDevice};
use ocfs2_volume::gate::{Changed, Planned};
use ocfs2_volume::recovery::{self, RecoverOptions, SlotRecovery, Writes};
use ocfs2_volume::replay::LogEnd;
use ocfs2_volume::{Timestamp, Volume};

use crate::Guard;

/// Bytes of a recovery that are kept in memory; the rest goes to a file.
const PLANNED_BYTES: u64 = 256 << 20;

/// Why a volume was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A log is damaged. Nothing was written: what it has lost is for fsck.ocfs2 to find, since
    /// afterwards nothing shows it any more.
    #[error("slot {slot}: {end}: run fsck.ocfs2 -f, which says what is lost")]
    Torn {
        /// The slot.
        slot: u16,
        /// How the log ends.
        end: LogEnd,
    },
    /// A slot cannot be recovered. Nothing was written.
    #[error("slot {slot} cannot be recovered: {source}: run fsck.ocfs2 -y")]
    NotPossible {
        /// The slot.
        slot: u16,
        /// Why.
        source: recovery::RecoveryError,
    },
    /// A slot was not recovered to the end.
    #[error("slot {slot}: {source}: run fsck.ocfs2")]
    NotDone {
        /// The slot.
        slot: u16,
        /// Why.
        source: recovery::RecoveryError,
    },
    /// The volume is not as it was. Nothing was written.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// A signal came.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Recovers slots of a guarded volume: replays their logs, deletes orphans, returns reservations. All
/// of it is tried in memory first; if that fails, nothing is written. The volume has to be opened
/// again.
///
/// # Errors
/// [`RecoverError`].
pub fn recover(
    volume: &Volume,
    guard: &Guard,
    slots: &[u16],
    time: Timestamp,
    interrupt: &Interrupt,
) -> Result<Vec<SlotRecovery>, RecoverError> {
    interrupt.check()?;
    let interrupted = || interrupt.requested();
    let time = u64::try_from(time.seconds).unwrap_or_default();
    let options =
        RecoverOptions { slots, writes: Writes::InPlace, time, interrupted: &interrupted };
    let (size, below) = (volume.block_size().bytes(), Arc::clone(volume.device()));
    let planned = Arc::new(OverlayDevice::within(below, size, PLANNED_BYTES));
    let tried = volume.on(planned.clone()).recover(planned.as_ref(), &options);
    let mut ends = tried.iter().filter_map(|it| Some((it.slot, it.replayed.as_ref()?.end)));
    if let Some((slot, end)) = ends.find(|(_, end)| *end != LogEnd::Complete) {
        return Err(RecoverError::Torn { slot, end });
    }
    for SlotRecovery { slot, error, .. } in tried {
        if let Some(source) = error {
            return Err(RecoverError::NotPossible { slot, source });
        }
    }
    let outcome: Arc<dyn Device> = planned.clone();
    let planned = Planned { changes: &[planned.as_ref()], outcome: Some(&outcome) };
    let pass = guard.gate.open(planned)?;
    let options = RecoverOptions { writes: Writes::Journaled, ..options };
    let mut done = volume.recover(&pass, &options);
    interrupt.check()?;
    for SlotRecovery { slot, error, .. } in &mut done {
        if let Some(source) = error.take() {
            return Err(RecoverError::NotDone { slot: *slot, source });
        }
    }
    Ok(done)
}
