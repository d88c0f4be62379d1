//! The structures of `ocfs2-format` on volumes that the Linux kernel wrote.
//!
//! Every structure of a volume is read in its place, verified, and encoded to the same bytes;
//! hashes and block checks are computed and compared with those stored by the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod census;
mod directory;
mod image;
mod journal;
mod quota;
mod xattr;

use census::Census;
use ocfs2_format::check::{self, Checked};
use ocfs2_format::feature::Incompat;

const FIXTURES: [&str; 8] = [
    "clean-1k-linux7-local",
    "clean-1k-local",
    "clean-1m-global",
    "clean-4k-o2cb",
    "clean-512-local",
    "crashed-4k-o2cb",
    "crashed-512-local",
    "crashed-4k-linux7-local",
];

/// Structures that have to occur at least once on all volumes together.
const KINDS: [&str; 53] = [
    "chain list",
    "chain record",
    "cluster info",
    "dinode",
    "directory entry",
    "directory trailer",
    "discontiguous group",
    "dx entry",
    "dx entry list",
    "dx leaf",
    "dx root",
    "dx root with leaves",
    "dx root without leaves",
    "extent block",
    "extent list",
    "extent list above others",
    "extent record",
    "fast symlink",
    "global quota info",
    "group descriptor",
    "guarded block",
    "heartbeat block",
    "inline data",
    "inline xattr area",
    "journal block header",
    "journal commit block",
    "journal superblock",
    "journal tag",
    "local alloc",
    "local alloc in use",
    "local quota chunk",
    "local quota entry",
    "local quota info",
    "name that is not ASCII",
    "quota entry",
    "quota header",
    "quota leaf",
    "quota tree block",
    "refcount block",
    "refcount list",
    "refcount record",
    "refcount root with leaves",
    "slot that is taken",
    "superblock",
    "transaction to be replayed",
    "truncate log",
    "truncate record",
    "xattr block",
    "xattr bucket",
    "xattr entry",
    "xattr header",
    "xattr tree root",
    "xattr value root",
];

#[test]
fn every_structure_is_kept_to_the_byte_and_sound() {
    let censuses: Vec<_> = std::thread::scope(|scope| {
        let threads = FIXTURES.map(|name| scope.spawn(move || Census::take(name)));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for census in &censuses {
        println!("{}: {:?}", census.image.name, census.counts);
        assert!(census.count("dinode") > 20, "{}", census.image.name);
        assert_eq!(census.count("quota leaf") > 0, census.has_quota(), "{}", census.image.name);
    }
    let missing: Vec<_> =
        KINDS.iter().filter(|kind| censuses.iter().all(|census| census.count(kind) == 0)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

#[test]
fn any_wrong_bit_of_a_block_with_a_check_is_corrected() {
    for name in ["clean-512-local", "clean-1k-local"] {
        let census = Census::take(name);
        assert!(census.image.has(Incompat::META_ECC));
        assert!(census.guarded.len() >= 10, "{name}: {:?}", census.guarded.keys());
        for guarded in census.guarded.values() {
            let check = guarded.check_offset..guarded.check_offset + 8;
            let bits = 0..guarded.bytes.len() * 8;
            let mut block = guarded.bytes.clone();
            for bit in bits.filter(|bit| !check.contains(&(bit / 8))) {
                block[bit / 8] ^= 1 << (bit % 8);
                let checked = check::correct(&mut block, guarded.check_offset);
                assert_eq!(checked, Checked::OneBit(bit), "{name}: {}", guarded.name);
                assert_eq!(block, guarded.bytes, "{name}: {}", guarded.name);
            }
        }
    }
}
