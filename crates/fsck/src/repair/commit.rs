//! Commit: write the changes of a plan to the device, through a journal of the volume if one can be
//! trusted.

use std::collections::HashSet;

use ocfs2_device::{Device, OverlayDevice};
use ocfs2_volume::Volume;
use ocfs2_volume::commit::CommitError;

/// How the changes were written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Written {
    /// There were no changes.
    Nothing,
    /// As one transaction: interrupted anywhere, either nothing is changed or a replay completes
    /// it.
    Journaled {
        /// The slot of the journal.
        slot: u16,
        /// Blocks of the transaction.
        blocks: usize,
    },
    /// In place, in an order in which the next check finds what is half-done.
    InPlace {
        /// Number of blocks.
        blocks: usize,
        /// Why no journal was used.
        why: String,
    },
}

impl Written {
    /// Number of blocks written; for a transaction without the superblock, which is not part of it.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Journaled { blocks, .. } | Self::InPlace { blocks, .. } => *blocks,
        }
    }
}

/// Writes the changes in `overlay` to `device`. `volume` is the volume without them; its journals
/// may be used, except those of the slots in `untrusted`.
///
/// # Errors
/// The device cannot be written.
pub fn commit<D: Device>(
    volume: &Volume,
    overlay: &OverlayDevice<D>,
    device: &dyn Device,
    untrusted: &HashSet<u16>,
) -> Result<Written, CommitError> {
    through(volume, overlay, Some(device), untrusted)
}

/// Returns how [`commit`] would write the changes, and writes nothing.
///
/// # Errors
/// The volume cannot be read.
pub fn rehearse<D: Device>(
    volume: &Volume,
    overlay: &OverlayDevice<D>,
    untrusted: &HashSet<u16>,
) -> Result<Written, CommitError> {
    through(volume, overlay, None, untrusted)
}

/// As [`commit`]; without a device nothing is written.
fn through<D: Device>(
    volume: &Volume,
    overlay: &OverlayDevice<D>,
    device: Option<&dyn Device>,
    untrusted: &HashSet<u16>,
) -> Result<Written, CommitError> {
    let blocks = overlay.changed_blocks();
    if blocks == 0 {
        return Ok(Written::Nothing);
    }
    let mut why = None;
    for slot in (0..volume.max_slots()).filter(|slot| !untrusted.contains(slot)) {
        match volume.plan_commit(overlay, slot) {
            Ok(commit) => {
                let blocks = commit.blocks();
                // If this fails, no other journal is tried: the log may already hold the
                // transaction.
                device.map_or(Ok(()), |device| commit.write(device))?;
                return Ok(Written::Journaled { slot, blocks });
            }
            Err(err @ CommitError::Write { .. }) => return Err(err),
            Err(err) => why = why.or(Some(err.to_string())),
        }
    }
    device.map_or(Ok(()), |device| volume.write_in_place(overlay, device))?;
    let why = why.unwrap_or_else(|| "no journal can be trusted".to_owned());
    Ok(Written::InPlace { blocks, why })
}
