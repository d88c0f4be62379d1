//! What several of the tests in the files beside this one need.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod as_manifest;
mod listed;
mod power;
mod yes;

pub use as_manifest::{assert_as_manifest, assert_as_manifest_elsewhere, sha256, walk};
pub use listed::{Contents, listed};
pub use power::tunefs_until;
pub use yes::Yes;
