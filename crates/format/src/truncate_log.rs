//! The truncate log: freed clusters that are still set in the global bitmap.

use binrw::binrw;

use crate::error::expect_at_most;
use crate::list::{List, list};
use crate::structure::structure;
use crate::{Blkno, BlockSize, Invalid, Structure};

structure! {
    "truncate log", 8;

    /// `struct ocfs2_truncate_log` without its records, at the start of `id2`.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct TruncateLogHeader {
        /// 0x00: records that fit.
        pub tl_count: u16,
        /// 0x02: records in use, at most `tl_count`.
        pub tl_used: u16,
        /// 0x04: reserved.
        pub tl_reserved1: u32,
    }
}

structure! {
    "truncate record", 8;

    /// `struct ocfs2_truncate_rec`, 8 bytes: a run of clusters to be freed.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct TruncateRec {
        /// 0x00: first cluster; a record with 0 is to be ignored.
        pub t_start: u32,
        /// 0x04: how many.
        pub t_clusters: u32,
    }
}

list! { TruncateLogHeader of TruncateRec; tl_count, tl_used }

impl TruncateLogHeader {
    /// What `tl_count` has to be.
    pub fn capacity(block_size: BlockSize) -> u16 {
        ((block_size.bytes() - 0xc8) / 8) as u16
    }
}

/// A truncate log in place, in the `id2` of its dinode. Records in use whose `t_start` is 0 are to
/// be ignored.
pub type TruncateLog<'a> = List<'a, TruncateLogHeader>;

impl TruncateLog<'_> {
    /// Checks the header of the log in dinode `blkno`, and that the records in use lie in a
    /// volume of `clusters` clusters.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify_log(
        &self,
        blkno: Blkno,
        block_size: BlockSize,
        clusters: u32,
    ) -> Result<(), Invalid> {
        let TruncateLogHeader { tl_count, tl_used, .. } = self.header;
        let (log, record) = (TruncateLogHeader::NAME, TruncateRec::NAME);
        let capacity = TruncateLogHeader::capacity(block_size);
        expect_at_most(log, blkno, "tl_count", tl_count, capacity)?;
        expect_at_most(log, blkno, "tl_used", tl_used, tl_count)?;
        for TruncateRec { t_start, t_clusters } in self.records() {
            expect_at_most(record, blkno, "t_start", t_start, clusters)?;
            if t_start != 0 {
                expect_at_most(record, blkno, "t_clusters", t_clusters, clusters - t_start)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn headers_and_records_keep_every_byte() {
        assert_round_trip::<TruncateLogHeader>();
        assert_round_trip::<TruncateRec>();
    }

    #[test]
    fn records_have_to_lie_in_the_volume() {
        let field = |tl_count, tl_used, t_start, t_clusters| {
            let mut id2 = [0; 320];
            let header = TruncateLogHeader { tl_count, tl_used, ..Default::default() };
            header.encode(&mut id2).unwrap();
            TruncateRec { t_start, t_clusters }.encode(&mut id2[8..]).unwrap();
            let log = TruncateLog::new(&id2).unwrap();
            log.verify_log(Blkno(9), BlockSize::MIN, 1000).map_err(|err| err.field)
        };
        assert_eq!(field(39, 0, 7000, 1), Ok(()), "a record that is not in use");
        assert_eq!(field(39, 1, 900, 100), Ok(()));
        assert_eq!(field(39, 1, 0, u32::MAX), Ok(()), "a record to be ignored");
        assert_eq!(field(39, 1, 900, 101), Err("t_clusters"));
        assert_eq!(field(39, 1, u32::MAX, u32::MAX), Err("t_start"));
        assert_eq!(field(39, 40, 0, 0), Err("tl_used"));
        assert_eq!(field(40, 0, 0, 0), Err("tl_count"));
    }

    #[test]
    fn no_more_records_are_given_than_fit() {
        let log = [0xff; 320];
        let log = TruncateLog::new(&log).unwrap();
        assert_eq!(log.records().count(), usize::from(TruncateLogHeader::capacity(BlockSize::MIN)));
        assert_eq!(TruncateLogHeader::capacity(BlockSize::MAX), 487);
    }
}
