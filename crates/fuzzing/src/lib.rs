//! What is done with arbitrary bytes, one function a parser.
//!
//! `fuzz/`, a workspace of its own, makes a libFuzzer target of each; the test of this crate
//! runs them for a bounded number of cases. A target panics where a parser does, and where
//! what it gives is not what can be given: more items than fit, other bytes written back
//! than were read.
#![deny(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod devices;
mod metadata;
mod records;
mod text;

use std::fmt::Debug;

use ocfs2_format::Structure;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As in `fuzz/fuzz_targets`, without the ending.
    pub name: &'static str,
    /// Its body.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 19] = [
    Target { name: "allocator", run: metadata::allocator },
    Target { name: "check", run: records::check },
    Target { name: "cluster_conf", run: text::cluster_conf },
    Target { name: "dinode", run: metadata::dinode },
    Target { name: "directory", run: metadata::directory },
    Target { name: "dx", run: metadata::dx },
    Target { name: "extent", run: metadata::extent },
    Target { name: "features", run: text::features },
    Target { name: "geometry", run: records::geometry },
    Target { name: "heartbeat", run: records::heartbeat },
    Target { name: "journal", run: records::journal },
    Target { name: "open", run: devices::open },
    Target { name: "partition", run: devices::partition },
    Target { name: "probe", run: devices::probe },
    Target { name: "quota", run: records::quota },
    Target { name: "refcount", run: metadata::refcount },
    Target { name: "slot_map", run: records::slot_map },
    Target { name: "superblock", run: metadata::superblock },
    Target { name: "xattr", run: metadata::xattr },
];

/// Runs the target of that name.
///
/// # Panics
/// There is none, or it found something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(bytes);
}

/// The structure at the start of `bytes`, if they are enough; it gives the same bytes back.
fn kept<T: Structure + Debug>(bytes: &[u8]) -> Option<T> {
    let value = T::decode(bytes);
    assert_eq!(value.is_ok(), bytes.len() >= T::SIZE, "{}", T::NAME);
    let value = value.ok()?;
    let mut written = vec![0xa5; T::SIZE + 1];
    value.encode(&mut written).unwrap();
    assert_eq!(written[..T::SIZE], bytes[..T::SIZE], "{value:?}");
    assert_eq!(written[T::SIZE], 0xa5, "{} is larger than it says", T::NAME);
    assert!(value.encode(&mut written[2..]).is_err());
    Some(value)
}

/// All of `items`, of which there can be no more than `limit`.
fn at_most<T>(limit: usize, items: impl Iterator<Item = T>) -> Vec<T> {
    let items: Vec<_> = items.take(limit + 1).collect();
    assert!(items.len() <= limit, "more than {limit}");
    items
}

/// The number that the first eight bytes make, and the bytes after them.
fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let (head, tail) = bytes.split_at(bytes.len().min(8));
    (head.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)), tail)
}
