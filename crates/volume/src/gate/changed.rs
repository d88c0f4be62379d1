//! What can have changed since the volume was looked at first.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use uuid::Uuid;

use ocfs2_device::{holders::Holder, shown};

/// Why nothing may be written: something has changed since the volume was looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Changed {
    /// There is no OCFS2 volume any more.
    #[error("the volume is gone: its superblock was overwritten")]
    NoVolume,
    /// There is another one.
    #[error("another volume is on the device now: its UUID is {found}, it was {expected}")]
    OtherVolume {
        /// UUID of the one that is there.
        found: Uuid,
        /// UUID of the one that was.
        expected: Uuid,
    },
    /// The volume was made again.
    #[error("the volume was made again: its generation is {found:#010x}, it was {expected:#010x}")]
    Generation {
        /// Generation of the one that is there.
        found: u32,
        /// Generation of the one that was.
        expected: u32,
    },
    /// Something that was remembered is not the same.
    #[error("{what} was changed meanwhile")]
    Contents {
        /// What it is, for messages.
        what: String,
    },
    /// A node mounts the volume.
    #[error("node {node} has taken slot {slot} meanwhile")]
    SlotTaken {
        /// The slot.
        slot: u16,
        /// The node.
        node: u32,
    },
    /// A slot was given back: its node unmounted, or another one has recovered it.
    #[error("slot {slot}, which node {node} had, was given back meanwhile")]
    SlotFreed {
        /// The slot.
        slot: u16,
        /// The node.
        node: u32,
    },
    /// The slot map can be read now and could not then, or the other way round.
    #[error("the slot map was changed meanwhile")]
    SlotMap,
    /// A node is alive that was not: it mounts the volume, or is about to.
    #[error("node {node} has written its heartbeat meanwhile")]
    Beat {
        /// The node.
        node: u32,
    },
    /// A block that is to be overwritten is not the one the plan was made from.
    #[error("block {}, which is to be written, was changed meanwhile", number(.range))]
    Block {
        /// Its bytes on the device.
        range: Range<u64>,
    },
    /// The device was taken into use on this machine.
    #[error("the device was taken into use meanwhile: {0}")]
    Holder(Holder),
    /// The path points to another file or device.
    #[error("{} is another file or device now", shown::path(path))]
    Replaced {
        /// The path.
        path: PathBuf,
    },
    /// The device was made shorter.
    #[error("the device has {found} bytes now, it had {expected}")]
    Shorter {
        /// Bytes it has.
        found: u64,
        /// Bytes it had.
        expected: u64,
    },
    /// The lock is lost.
    #[error("the cluster's lock is not held any more: {0}")]
    Lock(String),
    /// Whether something has changed cannot be found out.
    #[error("whether the volume was changed meanwhile cannot be told: {0}")]
    Read(#[from] io::Error),
}

/// The number of the block that has these bytes.
fn number(range: &Range<u64>) -> u64 {
    range.start / range.end.saturating_sub(range.start).max(1)
}
