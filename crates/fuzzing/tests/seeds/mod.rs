//! Seeds that mutation starts from: for each target some real bytes, most of them blocks of volumes
//! that the Linux kernel wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ocfs2_format::dir::DirTrailer;
use ocfs2_format::dx::{DxLeaf, DxRoot};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::journal::JBD2_MAGIC;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::superblock::SUPERBLOCK_SIGNATURE;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Block, dinode::Dinode, feature::Features};
use ocfs2_testing::fixture;

/// Seeds by the name of their target.
pub type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

/// Twice the number of first blocks taken for a target from a fixture; later ones are added ever
/// more rarely.
const OF_A_KIND: usize = 12;

/// Returns the target for a block, if its signature is known.
fn target_of(block: &[u8]) -> Option<&'static str> {
    let by_signature = [
        (SUPERBLOCK_SIGNATURE, "superblock"),
        (Dinode::SIGNATURE, "dinode"),
        (ExtentBlock::SIGNATURE, "extent"),
        (GroupDesc::SIGNATURE, "allocator"),
        (DxRoot::SIGNATURE, "dx"),
        (DxLeaf::SIGNATURE, "dx"),
        (XattrBlock::SIGNATURE, "xattr"),
        (RefcountBlock::SIGNATURE, "refcount"),
    ];
    let signed = by_signature.iter().find(|(signature, _)| block.starts_with(signature));
    if let Some((_, target)) = signed {
        return Some(target);
    }
    let magic = block.first_chunk().copied().unwrap_or_default();
    let is_quota = |kind: QuotaKind| {
        [kind.global_magic(), kind.local_magic()].contains(&u32::from_le_bytes(magic))
    };
    if u32::from_be_bytes(magic) == JBD2_MAGIC {
        Some("journal")
    } else if is_quota(QuotaKind::User) || is_quota(QuotaKind::Group) {
        Some("quota")
    } else if DirTrailer::of_block(block).ok()?.db_signature == DirTrailer::SIGNATURE {
        Some("directory")
    } else {
        None
    }
}

/// Returns all seeds. Panics if a target would have none.
pub fn all() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, size) in
        [("clean-512-local", 512), ("clean-1k-local", 1024), ("clean-4k-o2cb", 4096)]
    {
        blocks(name, size, &mut seeds);
    }
    let superblocks = seeds["superblock"].clone();
    let with = |head: &[u8], tail: &[u8]| [head, tail].concat();
    for superblock in &superblocks {
        let code = superblock.len().trailing_zeros() as u8 - 9;
        seeds.entry("open").or_default().push(with(&[code], superblock));
        seeds.entry("probe").or_default().push(with(&[2 + code], superblock));
        seeds.entry("check").or_default().push(with(&0x80_u64.to_le_bytes(), superblock));
    }
    let mut mbr = vec![0; 512];
    mbr[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 0, 8, 0, 0]);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    seeds.entry("probe").or_default().push(with(&[0], &mbr));
    // A protective MBR, and after it a GPT header with one entry.
    let mut gpt = mbr.clone();
    gpt[450] = 0xee;
    gpt.resize(3 * 512, 0);
    gpt[512..532].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0");
    gpt[536] = 1;
    gpt[584] = 2;
    gpt[592] = 1;
    gpt[596] = 128;
    seeds.insert("partition", vec![mbr, gpt]);

    let numbers = [1_u64 << 40 | 3, 4096, 1 << 33].map(u64::to_le_bytes).concat();
    seeds.insert("geometry", vec![numbers]);
    seeds.insert("slot_map", vec![with(&[4, 0, 0, 0, 9], &[1, 0, 0, 0, 2, 0, 0, 0].repeat(8))]);
    let beat = [0x7059_036b_0000_0000_u64, 0x64d4_9946, 0x8245_ce79_544e_946a, 0x803e << 48];
    let mut sector = beat.map(u64::to_be_bytes).concat();
    sector.resize(512, 0);
    seeds.insert("heartbeat", vec![sector]);
    let names = Features::DEFAULT.names().join(",");
    seeds.insert("features", vec![names.into_bytes(), b"nosparse,metaecc".to_vec()]);
    let conf = "cluster:\n\tname = c\n\theartbeat_mode = global\n\tnode_count = 1\n\n\
                node:\n\tname = a\n\tcluster = c\n\tnumber = 0\n\tip_address = 10.0.0.1\n\
                \tip_port = 7777\n\nheartbeat:\n\tregion = 24956E10118143F0807E29EB8593221E\n\
                \tcluster = c\n";
    seeds.insert("cluster_conf", vec![conf.as_bytes().to_vec()]);
    for target in ocfs2_fuzzing::TARGETS {
        assert!(seeds.contains_key(target.name), "no seed for {}", target.name);
    }
    seeds
}

/// Adds blocks of every kind from a fixture with blocks of `size` bytes.
fn blocks(name: &str, size: usize, seeds: &mut Seeds) {
    const PIECE: usize = 1 << 20;
    let file = File::open(fixture(name)).unwrap();
    let len = file.metadata().unwrap().len();
    let mut piece = vec![0; PIECE];
    let mut counts = BTreeMap::<_, usize>::new();
    for start in (0..len).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min((len - start) as usize)];
        file.read_exact_at(piece, start).unwrap();
        if piece.iter().all(|byte| *byte == 0) {
            continue;
        }
        for block in piece.chunks_exact(size) {
            let Some(target) = target_of(block) else { continue };
            // The first blocks, from mkfs and the first folders, differ most; later ones are taken
            // ever more rarely.
            let count = counts.entry(target).or_default();
            *count += 1;
            if *count <= OF_A_KIND / 2 || (count.is_power_of_two() && *count <= 1 << 10) {
                seeds.entry(target).or_default().push(block.to_vec());
            }
        }
    }
}
