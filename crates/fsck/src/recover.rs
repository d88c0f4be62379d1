//! What a crash left: journals are replayed, and what slots owe is done.
//!
//! Each step can be done again from the start, so that an interruption anywhere leaves a
//! volume that the next run recovers: a journal stays dirty until all of its slot is done.

use ocfs2_cli::{Interrupt, Interrupted};
use ocfs2_volume::replay::{LogEnd, Replay};
use ocfs2_volume::{Device, OpenVolumeError, Volume};

use crate::report::{SlotOutcome, SlotRecord, SlotState};
use crate::users::Users;

/// Why not all slots were looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The replay brought a superblock that can not be used.
    #[error("after the journals were replayed: {0}")]
    Open(#[from] OpenVolumeError),
}

/// Recovers every slot whose journal is dirty, on `device`, from which `reopen` opens the
/// volume. Tells of each slot, when it is through with it.
pub(crate) fn recover(
    device: &dyn Device,
    reopen: &dyn Fn() -> Result<Volume, OpenVolumeError>,
    users: &Users,
    done: SlotOutcome,
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(SlotRecord),
) -> Result<Volume, RecoverError> {
    let mut volume = reopen()?;
    let mut slots = Vec::new();
    for slot in 0..volume.max_slots() {
        interrupt.check()?;
        slots.push(replay(&volume, device, record(&volume, slot, users)));
    }
    if slots.iter().any(|(_, replay)| replay.is_some()) {
        volume = reopen()?;
    }
    for (mut record, replay) in slots {
        if let Some(replay) = replay {
            interrupt.check()?;
            match settle(&volume, device, &mut record, &replay) {
                Ok(()) => record.outcome = done,
                Err(problem) => add_problem(&mut record, problem),
            }
        }
        tell(record);
    }
    Ok(volume)
}

/// The slot as it is found.
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
        outcome,
        problem,
    }
}

/// Brings what is in the log to its place.
fn replay(
    volume: &Volume,
    device: &dyn Device,
    mut record: SlotRecord,
) -> (SlotRecord, Option<Replay>) {
    if record.state != SlotState::Dirty {
        return (record, None);
    }
    let replayed = volume.replay(record.slot).and_then(|replay| {
        record.transactions = Some(replay.transactions);
        if replay.end != LogEnd::Complete {
            let problem = format!("{}; it and what comes behind it is lost", replay.end);
            add_problem(&mut record, problem);
        }
        replay.apply(volume, device)?;
        replay.finish(volume, device)?;
        record.blocks = Some(replay.blocks().len() as u64);
        Ok(replay)
    });
    match replayed {
        Ok(replay) => (record, Some(replay)),
        Err(err) => {
            add_problem(&mut record, err.to_string());
            (record, None)
        }
    }
}

/// Does what is to be done once all journals are replayed.
fn settle(
    volume: &Volume,
    device: &dyn Device,
    record: &mut SlotRecord,
    replay: &Replay,
) -> Result<(), String> {
    let leftovers = volume.recover_allocations(device, record.slot);
    let leftovers = leftovers.map_err(|err| err.to_string())?;
    let clusters = |runs: &[std::ops::Range<u32>]| {
        runs.iter().map(|run| u64::from(run.end - run.start)).sum::<u64>()
    };
    record.local_alloc_clusters = Some(clusters(&leftovers.local_alloc));
    record.truncate_log_clusters = Some(clusters(&leftovers.truncate_log));
    replay.mark_clean(volume, device).map_err(|err| err.to_string())
}

fn add_problem(record: &mut SlotRecord, problem: String) {
    record.problem = Some(match record.problem.take() {
        Some(before) => format!("{before}; {problem}"),
        None => problem,
    });
}
