//! Commit: the changes of a plan reach the device, through a journal of the volume where one
//! can be trusted.

use std::collections::HashSet;

use ocfs2_device::{Device, OverlayDevice};
use ocfs2_volume::Volume;
use ocfs2_volume::commit::CommitError;

/// How the changes were written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Written {
    /// There were none.
    Nothing,
    /// As one transaction: interrupted anywhere, it was none of them or a replay completes them.
    Journaled {
        /// The slot of the journal.
        slot: u16,
        /// Blocks of the transaction.
        blocks: usize,
    },
    /// To their places, in an order that lets the next check find what is half-done.
    InPlace {
        /// Blocks.
        blocks: usize,
        /// Why no journal was used.
        why: String,
    },
}

impl Written {
    /// Blocks that were written; of a transaction without the superblock, which is not a part of it.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Journaled { blocks, .. } | Self::InPlace { blocks, .. } => *blocks,
        }
    }
}

/// Writes the changes in `overlay` to `device`. `volume` is the volume without them, whose
/// journals may be used but for those of the slots in `untrusted`.
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

/// How [`commit`] would write the changes.
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

/// As [`commit`], without a device nothing is written.
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
