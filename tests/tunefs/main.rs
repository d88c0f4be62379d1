//! `tunefs.ocfs2`: volumes changed in every way it supports, with the C fsck, debugfs and tunefs
//! and our fsck as judges.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod bench;
mod features;
mod fewer_slots;
mod fixtures;
mod grow;
mod in_the_way;
mod journals;
mod large_steps;
mod power;
mod progress;
mod rich;
mod shrink;
mod slots;
mod superblock;
mod switches;
