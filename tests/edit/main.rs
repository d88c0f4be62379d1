//! Volumes changed by `ocfs2_volume::edit` at random, along with a model in memory: after each
//! batch of operations our fsck and the C one find nothing, and the volume reads as the model.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod attributes;
mod bench;
mod files;
mod model;
mod names;
mod orphans;
mod power;
mod refusals;
mod soak;
mod system;
mod trees;
