//! Parsers of structures without a signature: quota files, journals, slot map, heartbeat; and
//! arithmetic.

use ocfs2_format::check::{self, Checked};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::heartbeat::HeartbeatBlock;
use ocfs2_format::journal::{
    CommitBlock, JournalHeader, JournalSuperblock, TagFlags, TagFormat, TransactionChecksum,
    revoked, tags, write_descriptor,
};
use ocfs2_format::quota::{
    self, GlobalInfo, LeafHeader, LocalChunk, LocalEntry, LocalInfo, QuotaEntry, QuotaHeader,
    QuotaKind,
};
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::{Blkno, BlockSize, Cluster, ClusterSize};

use crate::{at_most, kept, number};

pub fn check(bytes: &[u8]) {
    let (place, block) = number(bytes);
    let place = place as usize % (block.len() + 16);
    let mut stamped = block.to_vec();
    check::stamp(&mut stamped, place);
    if place + 8 > block.len() {
        assert_eq!(stamped, block);
        return;
    }
    assert_eq!(check::validate(&stamped, place), Checked::Good);
    let bit = block.iter().map(|byte| usize::from(*byte)).sum::<usize>() % (block.len() * 8);
    if !(place..place + 8).contains(&(bit / 8)) && block.len() <= 4096 {
        let mut broken = stamped.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(check::correct(&mut broken, place), Checked::OneBit(bit));
        assert_eq!(broken, stamped);
    }
    let mut as_it_is = block.to_vec();
    if let Checked::OneBit(_) = check::correct(&mut as_it_is, place) {
        assert_eq!(check::validate(&as_it_is, place), Checked::Good);
    } else {
        assert_eq!(as_it_is, block);
    }
}

pub fn quota(bytes: &[u8]) {
    if let Some(header) = kept::<QuotaHeader>(bytes) {
        let _ = header.verify(Blkno(0), QuotaKind::User.global_magic());
        if let Some(info) = kept::<GlobalInfo>(bytes) {
            let _ = info.verify(Blkno(0), info.dqi_blocks);
        }
        if let Some(info) = kept::<LocalInfo>(bytes) {
            let _ = info.verify(Blkno(0), BlockSize::MIN, info.dqi_blocks);
        }
        kept::<LocalChunk>(bytes);
        kept::<LocalEntry>(bytes);
    }
    at_most(bytes.len() / 4, quota::references(bytes));
    if let Some(header) = kept::<LeafHeader>(bytes) {
        let _ = header.verify(Blkno(0), bytes);
    }
    kept::<QuotaEntry>(bytes);
    let used = quota::leaf_entries(bytes).filter(QuotaEntry::is_used);
    at_most(bytes.len() / 88, used);
    let (id, _) = number(bytes);
    for block_size in BlockSize::ALL {
        let references = u64::from(quota::tree_references(block_size));
        let levels = 0..quota::tree_depth(block_size);
        let reached = levels.fold(0, |reached, level| {
            let index = quota::tree_index(block_size, id as u32, level);
            reached * references + u64::from(index)
        });
        assert_eq!(reached, u64::from(id as u32), "the way does not point to the id");
        quota::tree_index(block_size, id as u32, (id >> 32) as u32);
        quota::local_chunk_block(block_size, id as u32);
    }
}

pub fn journal(bytes: &[u8]) {
    let Some(_) = kept::<JournalHeader>(bytes) else { return };
    if let Some(commit) = kept::<CommitBlock>(bytes) {
        assert!(commit.checksum().is_none() || !commit.is_unchecked());
    }
    if let Some(journal) = kept::<JournalSuperblock>(bytes) {
        let blocks = u64::from(journal.s_maxlen);
        if journal.verify(Blkno(0), BlockSize::MAX, blocks).is_ok() {
            assert!(journal.s_first < journal.s_maxlen && journal.s_start < journal.s_maxlen);
        }
        at_most(bytes.len() / 8, tags(bytes, journal.tag_format()));
    }
    for bit64 in [false, true] {
        at_most(bytes.len() / 4, revoked(bytes, bit64));
        for checksums in [false, true] {
            at_most(bytes.len() / 8, tags(bytes, TagFormat::Old { bit64, checksums }));
        }
        let format = TagFormat::Old { bit64, checksums: false };
        let read = at_most(bytes.len() / 8, tags(bytes, format));
        let mut written = bytes.to_vec();
        if let Ok(count) = write_descriptor(&mut written, 1, bit64, &read) {
            let again = at_most(count, tags(&written, format));
            assert_eq!(again.len(), count);
            for (again, read) in again.iter().zip(&read) {
                let kept = TagFlags::ESCAPE | TagFlags::DELETED;
                assert_eq!((again.blkno, again.flags & kept), (read.blkno, read.flags & kept));
            }
        }
    }
    at_most(bytes.len() / 16, tags(bytes, TagFormat::V3));
    let mut whole = TransactionChecksum::default();
    whole.update(bytes);
    let mut parts = TransactionChecksum::default();
    bytes.chunks(100).for_each(|part| parts.update(part));
    assert_eq!(whole, parts);
}

pub fn slot_map(bytes: &[u8]) {
    let (number, map) = number(bytes);
    let (max_slots, node) = (number as u16, (number >> 32) as u32);
    for format in [SlotMapFormat::Old, SlotMapFormat::Extended] {
        let before = at_most(max_slots.into(), format.taken(map, max_slots));
        let slot = max_slots.wrapping_sub(1);
        let mut written = map.to_vec();
        if format.set(&mut written, slot, Some(node)) {
            let mut after = at_most(max_slots.into(), format.taken(&written, max_slots));
            let taken = after.pop();
            assert_eq!(taken.map(|taken| (taken.slot, taken.node)), Some((slot, node)));
            assert!(before.starts_with(&after));
            assert!(format.set(&mut written, slot, None));
            assert_eq!(format.taken(&written, max_slots).count(), after.len());
        } else {
            assert_eq!(written, map);
        }
    }
}

pub fn heartbeat(bytes: &[u8]) {
    let sum = HeartbeatBlock::checksum(bytes);
    kept::<HeartbeatBlock>(bytes);
    let mut other = bytes.to_vec();
    if let Some(place) = other.get_mut(0x0c..0x10) {
        place.fill(0xee);
        assert_eq!(HeartbeatBlock::checksum(&other), sum, "it depends on itself");
    }
}

pub fn geometry(bytes: &[u8]) {
    let (sizes, rest) = number(bytes);
    let (first, rest) = number(rest);
    let (second, _) = number(rest);
    let block_size = BlockSize::ALL[sizes as usize % 4];
    let cluster_size = ClusterSize::from_bits(12 + (sizes >> 8) as u32 % 9).unwrap();
    let geometry = Geometry::new(block_size, cluster_size, (sizes >> 32) as u32);
    assert_eq!(geometry.blocks() << block_size.bits(), geometry.size_bytes());
    assert_eq!(geometry.blocks_for(geometry.size_bytes()), geometry.blocks());
    assert_eq!(geometry.clusters_for(geometry.size_bytes()), Some(geometry.clusters));
    if let Some(cluster) = geometry.cluster_of(Blkno(first)) {
        assert!(geometry.is_valid_block(Blkno(first)) || first <= 2);
        assert!(geometry.block_of(cluster).0 <= first);
        let (group, bit) = geometry.group_of(cluster);
        assert!(group < geometry.groups() && bit < geometry.group_clusters(group));
        assert_eq!(geometry.group_start(group).0 + bit, cluster.0);
    }
    geometry.is_valid_range(Blkno(first), second);
    geometry.group_of(Cluster(second as u32));
    geometry.group_blkno(second as u32);
    geometry.group_clusters(second as u32);
    geometry.clusters_for(first);
    Blkno(first).offset_bytes(block_size);
    assert_eq!(
        BlockSize::from_bytes(first).map(|bs| u64::from(bs.bytes())).unwrap_or(first),
        first
    );
}
