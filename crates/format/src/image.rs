//! Images of a volume's metadata, as `o2image` packs them.
//!
//! ```text
//! one block: the header
//! M blocks:  those that are saved, by their numbers
//! B pieces:  a bitmap, 4096 bytes for 32768 blocks of the volume: which are saved
//! ```

use binrw::binrw;

use crate::error::expect_eq;
use crate::structure::structure;
use crate::{Blkno, Invalid};

structure! {
    "image header", 0x78;

    /// The header of a packed image; zeros follow to the end of its block.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    pub struct ImageHeader {
        /// 0x00: [`ImageHeader::MAGIC`].
        pub hdr_magic: u32,
        /// 0x04: when it was made, in seconds since 1970.
        pub hdr_timestamp: u32,
        /// 0x08: [`ImageHeader::DESCRIPTION`], and 4 bytes that mean nothing.
        pub hdr_magic_desc: [u8; 16],
        /// 0x18: 1.
        pub hdr_version: u64,
        /// 0x20: blocks of the volume.
        pub hdr_fsblkcnt: u64,
        /// 0x28: bytes of a block.
        pub hdr_fsblksz: u64,
        /// 0x30: blocks that are saved.
        pub hdr_imgblkcnt: u64,
        /// 0x38: [`ImageHeader::BITMAP_PIECE`].
        pub hdr_bmpblksz: u64,
        /// 0x40: places for backups of the superblock that the volume has, at most 6.
        pub hdr_superblkcnt: u64,
        /// 0x48: where the backups are in the image, in blocks from its start; all bits are set for
        /// one that is not saved.
        pub hdr_superblocks: [u64; 6],
    }
}

impl ImageHeader {
    /// `hdr_magic` of every image.
    pub const MAGIC: u32 = 0x72a3_d45f;
    /// The first bytes of `hdr_magic_desc`.
    pub const DESCRIPTION: [u8; 12] = *b"OCFS2 IMAGE\0";
    /// Bytes of a piece of the bitmap, whatever the block size.
    pub const BITMAP_PIECE: u64 = 4096;
    /// Blocks of the volume that a piece of the bitmap covers.
    pub const BLOCKS_PER_PIECE: u64 = Self::BITMAP_PIECE * 8;
    /// The entry of `hdr_superblocks` for a backup that is not saved.
    pub const NOT_SAVED: u64 = u64::MAX;

    /// Number of pieces of the bitmap.
    pub fn pieces(&self) -> u64 {
        self.hdr_fsblkcnt.div_ceil(Self::BLOCKS_PER_PIECE)
    }

    /// Checks magic, description, version and sizes.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self) -> Result<(), Invalid> {
        let (name, at) = ("image header", Blkno(0));
        expect_eq(name, at, "hdr_magic", self.hdr_magic, Self::MAGIC)?;
        if !self.hdr_magic_desc.starts_with(&Self::DESCRIPTION) {
            let found = self.hdr_magic_desc.escape_ascii();
            return Err(Invalid::new(name, at, "hdr_magic_desc", found, "OCFS2 IMAGE"));
        }
        if self.hdr_version > 1 {
            return Err(Invalid::new(name, at, "hdr_version", self.hdr_version, "at most 1"));
        }
        if ![512, 1024, 2048, 4096].contains(&self.hdr_fsblksz) {
            return Err(Invalid::new(name, at, "hdr_fsblksz", self.hdr_fsblksz, "512 to 4096"));
        }
        if self.hdr_imgblkcnt > self.hdr_fsblkcnt {
            let (found, most) = (self.hdr_imgblkcnt, self.hdr_fsblkcnt);
            return Err(Invalid::new(name, at, "hdr_imgblkcnt", found, format!("at most {most}")));
        }
        expect_eq(name, at, "hdr_bmpblksz", self.hdr_bmpblksz, Self::BITMAP_PIECE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Structure;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<ImageHeader>();
    }

    #[test]
    fn what_is_not_an_image_is_named() {
        let wrong = ImageHeader::decode(&[0; 0x78]).unwrap().verify().unwrap_err();
        assert!(wrong.to_string().contains("hdr_magic"), "{wrong}");
        let mut header = ImageHeader {
            hdr_magic: ImageHeader::MAGIC,
            hdr_version: 1,
            hdr_fsblkcnt: 32769,
            hdr_fsblksz: 1024,
            hdr_bmpblksz: 4096,
            ..ImageHeader::default()
        };
        header.hdr_magic_desc[..12].copy_from_slice(&ImageHeader::DESCRIPTION);
        header.verify().unwrap();
        assert_eq!(header.pieces(), 2);
        header.hdr_imgblkcnt = 32770;
        assert!(header.verify().unwrap_err().to_string().contains("hdr_imgblkcnt"));
    }
}
