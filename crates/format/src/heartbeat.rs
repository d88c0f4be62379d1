//! The heartbeat block a node writes every two seconds.

use binrw::binrw;

use crate::error::expect_eq;
use crate::structure::structure;
use crate::{Blkno, Invalid, Structure};

structure! {
    "heartbeat block", 0x1c;

    /// `struct o2hb_disk_heartbeat_block`, at the start of a node's sector.
    ///
    /// All zero for a node that never wrote. The rest of the sector is zero.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct HeartbeatBlock {
        /// 0x00: seconds since 1970 when it was written; changes with every beat.
        pub hb_seq: u64,
        /// 0x08: node number, the index of the sector in the region.
        pub hb_node: u8,
        /// 0x09: padding.
        pub hb_pad1: [u8; 3],
        /// 0x0c: see [`HeartbeatBlock::checksum`].
        pub hb_cksum: u32,
        /// 0x10: random for each start of the region on the node; 0 when stopped cleanly.
        pub hb_generation: u64,
        /// 0x18: the writer's dead time in milliseconds (2000 times its threshold).
        pub hb_dead_ms: u32,
    }
}

/// Number of nodes a region has sectors for.
pub const MAX_NODES: u8 = 255;
/// Milliseconds between two beats of a node.
pub const BEAT_INTERVAL_MS: u32 = 2000;
/// The dead threshold, in samples, that nodes use by default.
pub const DEFAULT_DEAD_THRESHOLD: u32 = 31;

impl HeartbeatBlock {
    /// Checks the checksum of `sector`, which this was read from, and that it is the sector of
    /// `node`, unless no node ever wrote it. An error has the node in place of a block number.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, sector: &[u8], node: u8) -> Result<(), Invalid> {
        let place = Blkno(node.into());
        expect_eq(Self::NAME, place, "hb_cksum", self.hb_cksum, Self::checksum(sector))?;
        if *self == Self::default() {
            return Ok(());
        }
        expect_eq(Self::NAME, place, "hb_node", self.hb_node, node)
    }

    /// What `hb_cksum` of `sector` has to be: CRC-32 with the register starting at 0 and
    /// not inverted at the end, over the whole sector with `hb_cksum` taken as 0.
    pub fn checksum(sector: &[u8]) -> u32 {
        let (head, rest) = sector.split_at(sector.len().min(0x0c));
        // crc32fast inverts at both ends: start it so that the register is 0, undo the end.
        let mut hasher = crc32fast::Hasher::new_with_initial(!0);
        hasher.update(head);
        let cksum = rest.len().min(4);
        hasher.update(&[0; 4][..cksum]);
        hasher.update(&rest[cksum..]);
        !hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<HeartbeatBlock>();
    }

    #[test]
    fn a_block_written_by_the_kernel_has_the_right_checksum() {
        let words: [u32; 7] =
            [0x7059_036b, 0, 0, 0x64d4_9946, 0x8245_ce79, 0x544e_946a, 0x803e_0000];
        let mut sector = [0; 512];
        for (bytes, word) in sector.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        let block = HeartbeatBlock::decode(&sector).unwrap();
        assert_eq!(block.hb_seq, 0x6b03_5970);
        assert_eq!(block.hb_cksum, 0x4699_d464);
        assert_eq!(block.hb_generation, 0x6a94_4e54_79ce_4582);
        assert_eq!(block.hb_dead_ms, 16000);
        block.verify(&sector, 0).unwrap();
        assert_eq!(block.verify(&sector, 1).unwrap_err().field, "hb_node");
        sector[100] = 1;
        assert_eq!(block.verify(&sector, 0).unwrap_err().field, "hb_cksum");
    }

    #[test]
    fn a_block_never_written_has_checksum_zero() {
        HeartbeatBlock::default().verify(&[0; 512], 7).unwrap();
        assert_eq!(HeartbeatBlock::checksum(&[0; 4096]), 0);
        HeartbeatBlock::checksum(&[1; 13]);
    }
}
