//! Recovery of crashed nodes: replays their journals and completes what their slots owe.

use std::time::{SystemTime, UNIX_EPOCH};

use ocfs2_cli::{Interrupt, Interrupted, encode};
use ocfs2_device::Device;
use ocfs2_volume::recovery::{RecoverOptions, RecoveryError, SlotRecovery, Writes};
use ocfs2_volume::replay::LogEnd;
use ocfs2_volume::{OpenVolumeError, Volume};

use crate::report::{SlotOutcome, SlotRecord, SlotState};
use crate::users::Users;

/// Orphans that had to be left and are reported one by one.
const LEFT_SHOWN: usize = 3;

/// Why not all slots were recovered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The replay produced a superblock that cannot be used.
    #[error("after the journals were replayed: {0}")]
    Open(#[from] OpenVolumeError),
}

/// The result of a recovery.
pub(crate) struct Recovered {
    /// The volume after the recovery.
    pub volume: Volume,
    /// Slots that were to be recovered.
    pub slots: Vec<u16>,
    /// The time of deletion that orphans got, in seconds since 1970.
    pub time: u64,
}

/// Recovers every slot whose journal is dirty, on `device`, an overlay from which `reopen` opens
/// the volume. Reports every slot to `tell` when all are done. `done` is the outcome of a recovered
/// slot; `only_whole` skips slots whose log is damaged, as something would be lost.
pub(crate) fn recover(
    device: &dyn Device,
    reopen: &dyn Fn() -> Result<Volume, OpenVolumeError>,
    users: &Users,
    (done, only_whole): (SlotOutcome, bool),
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(SlotRecord),
) -> Result<Recovered, RecoverError> {
    let volume = reopen()?;
    let mut records: Vec<_> =
        (0..volume.max_slots()).map(|slot| record(&volume, slot, users)).collect();
    if only_whole {
        records.iter_mut().for_each(|record| keep_damaged(&volume, record));
    }
    // Where nothing is written a node that is alive may be treated as one that has just crashed.
    let wanted = |record: &&SlotRecord| {
        let live = record.node_state == Some("live") && done == SlotOutcome::Recovered;
        let is_kept = only_whole && record.problem.is_some();
        !live && !is_kept && (record.state == SlotState::Dirty || owes(&volume, record))
    };
    let dirty = records.iter().filter(wanted);
    let dirty: Vec<u16> = dirty.map(|record| record.slot).collect();
    let time = now();
    let interrupted = || interrupt.requested();
    let writes = Writes::InPlace;
    let options = RecoverOptions { slots: &dirty, writes, time, interrupted: &interrupted };
    let recovered = if dirty.is_empty() { Vec::new() } else { volume.recover(device, &options) };
    for recovery in recovered {
        let record = records.iter_mut().find(|record| record.slot == recovery.slot);
        if let Some(record) = record {
            add(record, &recovery, done);
        }
    }
    records.into_iter().for_each(tell);
    interrupt.check()?;
    let volume = if dirty.is_empty() { volume } else { reopen()? };
    Ok(Recovered { volume, slots: dirty, time })
}

/// Recovers slots that owe something once the volume is repaired; before, that was not possible.
/// `device` is the overlay that `volume` is on.
pub(crate) fn recover_repaired(
    volume: &Volume,
    device: &dyn Device,
    users: &Users,
    done: SlotOutcome,
    interrupt: &Interrupt,
) -> Vec<SlotRecord> {
    let records = (0..volume.max_slots()).map(|slot| record(volume, slot, users));
    let mut records: Vec<_> = records.filter(|record| owes(volume, record)).collect();
    let slots: Vec<u16> = records.iter().map(|record| record.slot).collect();
    if slots.is_empty() {
        return records;
    }
    let interrupted = || interrupt.requested();
    let (writes, time) = (Writes::InPlace, now());
    let options = RecoverOptions { slots: &slots, writes, time, interrupted: &interrupted };
    for recovery in volume.recover(device, &options) {
        let record = records.iter_mut().find(|record| record.slot == recovery.slot);
        if let Some(record) = record {
            add(record, &recovery, done);
        }
    }
    records
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// Notes that a slot with a damaged log is left: what follows the damage would be lost.
fn keep_damaged(volume: &Volume, record: &mut SlotRecord) {
    if record.state == SlotState::Dirty
        && let Ok(replay) = volume.replay(record.slot)
        && replay.end != LogEnd::Complete
    {
        let text =
            format!("{}; it is not replayed, -p does nothing that may lose something", replay.end);
        record.problem = Some(text);
    }
}

/// Returns whether a slot that nobody holds has clusters to return although its journal is clean:
/// no kernel mounts a slot whose local alloc is in use. Damage is left to the passes.
fn owes(volume: &Volume, record: &SlotRecord) -> bool {
    record.state == SlotState::Clean
        && record.node.is_none()
        && volume.local_alloc_is_counted(record.slot).unwrap_or(false)
        && volume.leftovers(record.slot).is_ok_and(|leftovers| !leftovers.is_empty())
}

/// Returns the state of a slot before recovery.
fn record(volume: &Volume, slot: u16, users: &Users) -> SlotRecord {
    let (state, problem) = match volume.journal_is_dirty(slot) {
        Ok(false) => (SlotState::Clean, None),
        Ok(true) => (SlotState::Dirty, None),
        Err(err) => (SlotState::Damaged, Some(err.to_string())),
    };
    let user = users.slots.get(&slot);
    let outcome = if state == SlotState::Clean { SlotOutcome::None } else { SlotOutcome::Left };
    SlotRecord {
        slot,
        state,
        node: user.map(|(node, _)| *node),
        node_state: user.map(|(_, state)| *state),
        transactions: None,
        blocks: None,
        local_alloc_clusters: None,
        truncate_log_clusters: None,
        orphans_deleted: None,
        orphans_cut: None,
        outcome,
        problem,
        log_damage: None,
    }
}

/// Adds the result of a recovery to the record of its slot.
fn add(record: &mut SlotRecord, recovery: &SlotRecovery, done: SlotOutcome) {
    let mut problems = Vec::new();
    if let Some(replayed) = recovery.replayed {
        record.transactions = Some(replayed.transactions);
        record.blocks = Some(replayed.blocks as u64);
        if replayed.end != LogEnd::Complete {
            record.log_damage = Some(replayed.end.to_string());
        }
    }
    if let Some(leftovers) = &recovery.leftovers {
        let clusters = |runs: &[std::ops::Range<u32>]| {
            runs.iter().map(|run| u64::from(run.end - run.start)).sum::<u64>()
        };
        record.local_alloc_clusters = Some(clusters(&leftovers.local_alloc));
        record.truncate_log_clusters = Some(clusters(&leftovers.truncate_log));
        record.orphans_deleted = Some(recovery.deleted);
        record.orphans_cut = Some(recovery.cut);
    }
    if recovery.left_count > LEFT_SHOWN as u64 {
        problems.push(format!("{} orphans stay", recovery.left_count));
    }
    for (orphan, error) in recovery.left.iter().take(LEFT_SHOWN) {
        problems.push(format!("orphan {}: {error}", encode::escaped(&orphan.entry.name)));
    }
    match &recovery.error {
        None => record.outcome = done,
        Some(RecoveryError::Interrupted) => {}
        Some(error) => {
            record.outcome = SlotOutcome::Left;
            problems.push(error.to_string());
        }
    }
    if !problems.is_empty() {
        record.problem = Some(problems.join("; "));
    }
}
