//! Chain allocators: the list of chains in an allocator's dinode.

use binrw::binrw;

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

/// A chain list where it lies: the header and the bytes of its records.
#[derive(Clone, Copy, Debug)]
pub struct ChainList<'a> {
    /// The header.
    pub header: ChainListHeader,
    records: &'a [u8],
}

impl<'a> ChainList<'a> {
    /// The list that starts at `bytes`, the `id2` of an allocator's dinode.
    ///
    /// # Errors
    /// [`Truncated`] if there is no room for the header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Truncated> {
        let header = ChainListHeader::decode(bytes)?;
        Ok(Self { header, records: &bytes[ChainListHeader::SIZE..] })
    }

    /// Records that fit; what `cl_count` should be.
    pub fn capacity(&self) -> usize {
        self.records.len() / ChainRec::SIZE
    }

    /// The records in use, as far as they fit.
    pub fn records(&self) -> impl Iterator<Item = ChainRec> + 'a {
        let used = usize::from(self.header.cl_next_free_rec);
        let records = self.records.chunks_exact(ChainRec::SIZE).take(used);
        records.filter_map(|bytes| ChainRec::decode(bytes).ok())
    }

    /// Checks that `cl_count` fits and the records in use fit it, and that bits per
    /// cluster and clusters per group are not 0.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno) -> Result<(), Invalid> {
        let ChainListHeader { cl_cpg, cl_bpc, cl_count, cl_next_free_rec, .. } = self.header;
        let wrong = |field, found: u16, expected: String| {
            Err(Invalid::new(ChainListHeader::NAME, blkno, field, found, expected))
        };
        if cl_cpg == 0 {
            return wrong("cl_cpg", cl_cpg, "at least 1".to_owned());
        }
        if cl_bpc == 0 {
            return wrong("cl_bpc", cl_bpc, "at least 1".to_owned());
        }
        if usize::from(cl_count) > self.capacity() {
            return wrong("cl_count", cl_count, format!("at most {}", self.capacity()));
        }
        if cl_next_free_rec > cl_count {
            return wrong("cl_next_free_rec", cl_next_free_rec, format!("at most {cl_count}"));
        }
        Ok(())
    }
}

/// Writes a chain list into `bytes`, the `id2` of an allocator's dinode.
///
/// `cl_count` is what fits; records after those given are left as they are.
///
/// # Errors
/// [`Truncated`] if they do not fit.
pub fn write_chain_list(
    bytes: &mut [u8],
    clusters_per_group: u16,
    bits_per_cluster: u16,
    records: &[ChainRec],
) -> Result<(), Truncated> {
    let available = bytes.len();
    let capacity = available.saturating_sub(ChainListHeader::SIZE) / ChainRec::SIZE;
    let needed = ChainListHeader::SIZE + records.len() * ChainRec::SIZE;
    let too_short = Truncated { structure: ChainListHeader::NAME, needed, available };
    if records.len() > capacity {
        return Err(too_short);
    }
    let header = ChainListHeader {
        cl_cpg: clusters_per_group,
        cl_bpc: bits_per_cluster,
        cl_count: u16::try_from(capacity).map_err(|_| too_short)?,
        cl_next_free_rec: u16::try_from(records.len()).map_err(|_| too_short)?,
        cl_reserved1: 0,
    };
    header.encode(bytes)?;
    let room = bytes[ChainListHeader::SIZE..].chunks_exact_mut(ChainRec::SIZE);
    room.zip(records).try_for_each(|(bytes, record)| record.encode(bytes))
}

/// Bytes a group of an inode or extent allocator covers, fixed by the block size.
pub fn suballocator_group_bytes(block_size: BlockSize) -> u32 {
    match block_size.bytes() {
        512 => 1 << 20,
        1024 => 2 << 20,
        _ => 4 << 20,
    }
}

/// `cl_cpg` of inode and extent allocators.
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
