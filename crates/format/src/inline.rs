//! Inline data: the contents of a file or directory in its dinode.

use binrw::binrw;

use crate::error::expect_at_most;
use crate::structure::structure;
use crate::{Blkno, Invalid, Structure, Truncated};

structure! {
    "inline data", 8;

    /// `struct ocfs2_inline_data` without the data, at the start of `id2`.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct InlineData {
        /// 0x00: bytes of data that fit.
        pub id_count: u16,
        /// 0x02: reserved.
        pub id_reserved0: u16,
        /// 0x04: reserved.
        pub id_reserved1: u32,
    }
}

impl InlineData {
    /// Checks that `id_count` and `size` (`i_size`) fit the `room` bytes that the dinode in `blkno`
    /// has for data.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno, room: usize, size: u64) -> Result<(), Invalid> {
        expect_at_most(Self::NAME, blkno, "id_count", self.id_count.into(), room)?;
        expect_at_most(Self::NAME, blkno, "i_size", size, room as u64)
    }

    /// The data in `id2`: `id_count` bytes, or as many as there are.
    ///
    /// A reflinked inode may state fewer bytes than it has data; the length of a file is `i_size`.
    ///
    /// # Errors
    /// [`Truncated`] if there is no room for the header.
    pub fn data(id2: &[u8]) -> Result<&[u8], Truncated> {
        let count = usize::from(Self::decode(id2)?.id_count);
        let data = &id2[Self::SIZE..];
        Ok(&data[..count.min(data.len())])
    }

    /// All the room for data in `id2`, for writing, whatever `id_count` states.
    ///
    /// # Errors
    /// [`Truncated`] if there is no room for the header.
    pub fn room(id2: &mut [u8]) -> Result<&mut [u8], Truncated> {
        Self::decode(id2)?;
        Ok(&mut id2[Self::SIZE..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<InlineData>();
    }

    #[test]
    fn count_and_size_have_to_fit_the_dinode() {
        let field = |id_count, size| {
            let inline = InlineData { id_count, ..Default::default() };
            inline.verify(Blkno(9), 312, size).map_err(|err| err.field)
        };
        assert_eq!(field(312, 312), Ok(()));
        assert_eq!(field(313, 0), Err("id_count"));
        assert_eq!(field(312, 313), Err("i_size"));
    }

    #[test]
    fn a_count_beyond_the_block_is_cut() {
        assert_eq!(InlineData::data(&[0xff; 320]).unwrap().len(), 312);
        assert!(InlineData::data(&[0; 7]).is_err());
    }
}
