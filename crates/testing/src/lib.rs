//! Helpers of the tests: our programs, the C tools as oracles, images, fixtures, virtual machines.
//!
//! Everything here panics if it cannot do its work: the failure of a helper is the failure of the
//! test.
#![deny(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod compare;
pub mod damage;
pub mod debugfs_commands;
mod fixture;
mod heartbeat;
mod limited;
mod loop_device;
mod manifest;
mod oracle;
pub mod populate;
mod program;
mod random;
mod run;
mod scratch;
pub mod vm;

pub use fixture::{CLEAN, CRASHED, fixture, fixture_copy};
pub use heartbeat::{beat, heartbeat_offset, hold_slot, while_beating};
pub use limited::{c_fsck_run, c_fsck_within};
pub use loop_device::LoopDevice;
pub use manifest::{Listed, ListedExtent, Manifest, VolumePath, manifest, manifest_at};
pub use oracle::{c_tool, find_program, is_c_tool, oracle, skip};
pub use program::{program, program_dir};
pub use random::Random;
pub use run::{Outcome, Run};
pub use scratch::{Scratch, allocated_bytes};
