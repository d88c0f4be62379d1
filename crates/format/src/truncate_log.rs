//! The truncate log: freed clusters that are still set in the global bitmap.

use binrw::binrw;

use crate::structure::structure;
use crate::{Blkno, BlockSize, Invalid, Structure, Truncated};

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

/// A truncate log where it lies.
#[derive(Clone, Copy, Debug)]
pub struct TruncateLog<'a> {
    /// The header.
    pub header: TruncateLogHeader,
    records: &'a [u8],
}

impl<'a> TruncateLog<'a> {
    /// The log that starts at `bytes`, the `id2` of its dinode.
    ///
    /// # Errors
    /// [`Truncated`] if there is no room for the header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Truncated> {
        let header = TruncateLogHeader::decode(bytes)?;
        Ok(Self { header, records: &bytes[TruncateLogHeader::SIZE..] })
    }

    /// What `tl_count` has to be.
    pub fn capacity(block_size: BlockSize) -> u16 {
        ((block_size.bytes() - 0xc8) / 8) as u16
    }

    /// Checks the header of the log in dinode `blkno`, and that the records in use lie in a
    /// volume of `clusters` clusters.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(
        &self,
        blkno: Blkno,
        block_size: BlockSize,
        clusters: u32,
    ) -> Result<(), Invalid> {
        let TruncateLogHeader { tl_count, tl_used, .. } = self.header;
        let at_most = |name, field, found: u32, limit: u32| {
            if found <= limit {
                return Ok(());
            }
            let expected = format_args!("at most {limit}").to_string();
            Err(Invalid::new(name, blkno, field, found, expected))
        };
        let (log, record) = (TruncateLogHeader::NAME, TruncateRec::NAME);
        at_most(log, "tl_count", tl_count.into(), Self::capacity(block_size).into())?;
        at_most(log, "tl_used", tl_used.into(), tl_count.into())?;
        for TruncateRec { t_start, t_clusters } in self.records() {
            at_most(record, "t_start", t_start, clusters)?;
            if t_start != 0 {
                at_most(record, "t_clusters", t_clusters, clusters - t_start)?;
            }
        }
        Ok(())
    }

    /// The records in use, as far as they fit, with those to be ignored.
    pub fn records(&self) -> impl Iterator<Item = TruncateRec> + 'a {
        let used = usize::from(self.header.tl_used);
        let records = self.records.chunks_exact(TruncateRec::SIZE).take(used);
        records.filter_map(|bytes| TruncateRec::decode(bytes).ok())
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
            log.verify(Blkno(9), BlockSize::MIN, 1000).map_err(|err| err.field)
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
        assert_eq!(log.records().count(), usize::from(TruncateLog::capacity(BlockSize::MIN)));
        assert_eq!(TruncateLog::capacity(BlockSize::MAX), 487);
    }
}
