//! Fuzz targets: one function per parser, which takes arbitrary bytes.
//!
//! `fuzz/`, a separate workspace, makes a libFuzzer target of each; the test of this crate runs
//! them for a bounded number of cases. A target panics if a parser does, or if its result is
//! impossible: more items than fit, or other bytes written back than were read.
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
    /// Name as in `fuzz/fuzz_targets`, without the extension.
    pub name: &'static str,
    /// Runs it on these bytes.
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
/// If there is no such target, or it finds a fault.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(bytes);
}

/// Decodes the structure at the start of `bytes`, and asserts that it encodes to the same bytes.
/// `None` if `bytes` are too short.
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

/// Returns all `items`, and asserts that there are no more than `limit`.
fn at_most<T>(limit: usize, items: impl Iterator<Item = T>) -> Vec<T> {
    let items: Vec<_> = items.take(limit + 1).collect();
    assert!(items.len() <= limit, "more than {limit}");
    items
}

/// Returns the little-endian number in the first eight bytes, and the bytes after them.
fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let (head, tail) = bytes.split_at(bytes.len().min(8));
    (head.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)), tail)
}
