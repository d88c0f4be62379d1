//! Chain allocators: the list of chains in an allocator's dinode.

use binrw::binrw;

use crate::list::{List, list, write_list};
use crate::structure::structure;
use crate::{Blkno, BlockSize, ClusterSize, Invalid, Structure, Truncated};

structure! {
    "chain list", 0x10;

    /// `struct ocfs2_chain_list` without its records, at the start of `id2`.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct ChainListHeader {
        /// 0x00: clusters a group has.
        pub cl_cpg: u16,
        /// 0x02: bits a cluster has: 1 in the global bitmap, else blocks per cluster.
        pub cl_bpc: u16,
        /// 0x04: records that fit.
        pub cl_count: u16,
        /// 0x06: records in use, at most `cl_count`.
        pub cl_next_free_rec: u16,
        /// 0x08: reserved.
        pub cl_reserved1: u64,
    }
}

structure! {
    "chain record", 0x10;

    /// `struct ocfs2_chain_rec`, 16 bytes: one chain of groups.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct ChainRec {
        /// 0x00: free bits of all its groups.
        pub c_free: u32,
        /// 0x04: bits of all its groups.
        pub c_total: u32,
        /// 0x08: its first group descriptor.
        pub c_blkno: Blkno,
    }
}

list! {
    ChainListHeader of ChainRec; cl_count, cl_next_free_rec;

    fn verify_others(&self, blkno: Blkno, _: usize) -> Result<(), Invalid> {
        for (field, found) in [("cl_cpg", self.cl_cpg), ("cl_bpc", self.cl_bpc)] {
            if found == 0 {
                return Err(Invalid::new(Self::NAME, blkno, field, found, "at least 1"));
            }
        }
        Ok(())
    }
}

/// A chain list in place, in the `id2` of an allocator's dinode.
pub type ChainList<'a> = List<'a, ChainListHeader>;

/// [`write_list`] for a chain list.
///
/// # Errors
/// [`Truncated`] if the records do not fit.
pub fn write_chain_list(
    bytes: &mut [u8],
    clusters_per_group: u16,
    bits_per_cluster: u16,
    records: &[ChainRec],
) -> Result<(), Truncated> {
    let header = ChainListHeader {
        cl_cpg: clusters_per_group,
        cl_bpc: bits_per_cluster,
        ..Default::default()
    };
    write_list(bytes, header, records)
}

/// Bytes a group of an inode or extent allocator covers, fixed by the block size.
pub fn suballocator_group_bytes(block_size: BlockSize) -> u32 {
    match block_size.bytes() {
        512 => 1 << 20,
        1024 => 2 << 20,
        _ => 4 << 20,
    }
}

/// `cl_cpg` of inode and extent allocators: clusters per group.
pub fn suballocator_cpg(block_size: BlockSize, cluster_size: ClusterSize) -> u16 {
    (suballocator_group_bytes(block_size) >> cluster_size.bits()) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn headers_and_records_keep_every_byte() {
        assert_round_trip::<ChainListHeader>();
        assert_round_trip::<ChainRec>();
    }

    #[test]
    fn a_list_gives_what_was_written_and_never_more_than_is_there() {
        let mut id2 = [0xff; 320];
        let list = ChainList::new(&id2).unwrap();
        assert_eq!(list.records().count(), 19);
        assert_eq!(list.verify(Blkno(8)).unwrap_err().field, "cl_count");
        let record = ChainRec { c_free: 1, c_total: 2, c_blkno: Blkno(3) };
        write_chain_list(&mut id2, 256, 8, &[record, record]).unwrap();
        let list = ChainList::new(&id2).unwrap();
        list.verify(Blkno(8)).unwrap();
        assert_eq!(list.records().collect::<Vec<_>>(), [record, record]);
        assert!(write_chain_list(&mut id2, 1, 1, &[record; 20]).is_err());
    }

    #[test]
    fn a_group_has_2048_or_1024_bits() {
        for (block_size, bits) in BlockSize::ALL.into_iter().zip([2048, 2048, 2048, 1024]) {
            for cluster_size in (12..=20).filter_map(ClusterSize::from_bits) {
                let cpg = u32::from(suballocator_cpg(block_size, cluster_size));
                let bpc = cluster_size.bytes() / block_size.bytes();
                assert_eq!(cpg * bpc, bits, "{block_size} {cluster_size}");
            }
        }
    }
}
