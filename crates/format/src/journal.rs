//! The journal: a jbd2 log, big-endian, as OCFS2 uses it.
//!
//! The tools and the kernel write the oldest kind of log. Later kinds (checksums of version 2 and
//! 3) are understood, too, so that they can be read or named.

use binrw::binrw;
use bitflags::bitflags;

use crate::structure::structure;
use crate::{Blkno, BlockSize, Invalid, Structure, Truncated};

/// `h_magic` of every log metadata block.
pub const JBD2_MAGIC: u32 = 0xc03b_3998;

structure! {
    "journal block header", 12;

    /// `struct journal_header_s`: how every log metadata block starts.
    #[binrw]
    #[brw(big)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct JournalHeader {
        /// 0x00: [`JBD2_MAGIC`].
        pub h_magic: u32,
        /// 0x04: [`BlockType`].
        pub h_blocktype: u32,
        /// 0x08: the transaction.
        pub h_sequence: u32,
    }
}

/// `h_blocktype`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlockType {
    /// Says where the blocks after it belong.
    Descriptor,
    /// Ends a transaction.
    Commit,
    /// A superblock of version 1.
    SuperblockV1,
    /// A superblock of version 2.
    SuperblockV2,
    /// Lists blocks that are not to be replayed.
    Revoke,
}

impl BlockType {
    /// The type of a code; `None` for an unknown code.
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Descriptor,
            2 => Self::Commit,
            3 => Self::SuperblockV1,
            4 => Self::SuperblockV2,
            5 => Self::Revoke,
            _ => return None,
        })
    }

    /// The code of the type.
    pub fn code(self) -> u32 {
        match self {
            Self::Descriptor => 1,
            Self::Commit => 2,
            Self::SuperblockV1 => 3,
            Self::SuperblockV2 => 4,
            Self::Revoke => 5,
        }
    }
}

impl JournalHeader {
    /// The header of a log block of this type in transaction `sequence`.
    pub fn new(block_type: BlockType, sequence: u32) -> Self {
        Self { h_magic: JBD2_MAGIC, h_blocktype: block_type.code(), h_sequence: sequence }
    }

    /// The type; `None` if the magic is wrong or the code is unknown.
    pub fn block_type(&self) -> Option<BlockType> {
        BlockType::from_code(self.h_blocktype).filter(|_| self.h_magic == JBD2_MAGIC)
    }
}

bitflags! {
    /// `s_feature_compat` of a journal.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct JournalCompat: u32 {
        /// Commit blocks carry a checksum of their transaction.
        const CHECKSUM = 0x1;
        const _ = !0;
    }

    /// `s_feature_incompat` of a journal.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct JournalIncompat: u32 {
        /// There may be revoke blocks.
        const REVOKE = 0x01;
        /// Block numbers have 64 bits.
        const BIT64 = 0x02;
        /// A commit block may reach the disk before its transaction.
        const ASYNC_COMMIT = 0x04;
        /// Checksums of version 2.
        const CSUM_V2 = 0x08;
        /// Checksums of version 3.
        const CSUM_V3 = 0x10;
        /// There is an area of fast commits.
        const FAST_COMMIT = 0x20;
        const _ = !0;
    }
}

structure! {
    "journal superblock", 0x100;

    /// `struct journal_superblock_s` up to `s_users`: block 0 of a journal.
    ///
    /// The rest is not used, and a block of 512 bytes cuts it off.
    #[binrw]
    #[brw(big)]
    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    pub struct JournalSuperblock {
        /// 0x00: header; [`BlockType::SuperblockV2`] or, old, [`BlockType::SuperblockV1`].
        pub header: JournalHeader,
        /// 0x0c: bytes of a block.
        pub s_blocksize: u32,
        /// 0x10: blocks of the journal.
        pub s_maxlen: u32,
        /// 0x14: first block the log can use.
        pub s_first: u32,
        /// 0x18: first transaction expected in the log.
        pub s_sequence: u32,
        /// 0x1c: block where the log starts; 0 = it is empty.
        pub s_start: u32,
        /// 0x20: error left by an abort, negative.
        pub s_errno: i32,
        /// 0x24: [`JournalCompat`].
        pub s_feature_compat: u32,
        /// 0x28: [`JournalIncompat`].
        pub s_feature_incompat: u32,
        /// 0x2c: none is defined.
        pub s_feature_ro_compat: u32,
        /// 0x30: UUID of the volume when the journal was made.
        pub s_uuid: [u8; 16],
        /// 0x40: 1.
        pub s_nr_users: u32,
        /// 0x44: 0.
        pub s_dynsuper: u32,
        /// 0x48: 0.
        pub s_max_transaction: u32,
        /// 0x4c: 0.
        pub s_max_trans_data: u32,
        /// 0x50: with CSUM_V2 or CSUM_V3.
        pub s_checksum_type: u8,
        /// 0x51: padding.
        pub s_padding2: [u8; 3],
        /// 0x54: blocks of the area of fast commits.
        pub s_num_fc_blks: u32,
        /// 0x58: newer kernels: where the log ends.
        pub s_head: u32,
        /// 0x5c: padding.
        pub s_padding: [u64; 20],
        /// 0xfc: with CSUM_V2 or CSUM_V3.
        pub s_checksum: u32,
    }
}

/// Bytes of the smallest journal.
pub const MIN_JOURNAL_BYTES: u64 = 4 << 20;

impl JournalSuperblock {
    /// The superblock of a new, empty journal of `blocks` blocks.
    pub fn new(block_size: BlockSize, blocks: u32, uuid: [u8; 16], bit64: bool) -> Self {
        let incompat = if bit64 { JournalIncompat::BIT64 } else { JournalIncompat::empty() };
        Self {
            header: JournalHeader::new(BlockType::SuperblockV2, 0),
            s_blocksize: block_size.bytes(),
            s_maxlen: blocks,
            // The structure has 1024 bytes, though only the first half is used.
            s_first: 1024_u32.div_ceil(block_size.bytes()),
            s_sequence: 1,
            s_start: 1,
            s_feature_incompat: incompat.bits(),
            s_uuid: uuid,
            s_nr_users: 1,
            ..Default::default()
        }
    }

    /// `s_feature_compat`.
    pub fn compat(&self) -> JournalCompat {
        JournalCompat::from_bits_retain(self.s_feature_compat)
    }

    /// `s_feature_incompat`.
    pub fn incompat(&self) -> JournalIncompat {
        JournalIncompat::from_bits_retain(self.s_feature_incompat)
    }

    /// How the tags of its descriptors are stored.
    pub fn tag_format(&self) -> TagFormat {
        let incompat = self.incompat();
        if incompat.contains(JournalIncompat::CSUM_V3) {
            TagFormat::V3
        } else {
            TagFormat::Old {
                bit64: incompat.contains(JournalIncompat::BIT64),
                checksums: incompat.contains(JournalIncompat::CSUM_V2),
            }
        }
    }

    /// Checks the fields that make the log readable; `blocks` is the size of the journal file.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno, block_size: BlockSize, blocks: u64) -> Result<(), Invalid> {
        let wrong = |field, found: u32, expected: String| {
            Err(Invalid::new(Self::NAME, blkno, field, found, expected))
        };
        if self.header.h_magic != JBD2_MAGIC {
            return wrong("h_magic", self.header.h_magic, JBD2_MAGIC.to_string());
        }
        let is_superblock = matches!(
            self.header.block_type(),
            Some(BlockType::SuperblockV1 | BlockType::SuperblockV2)
        );
        if !is_superblock {
            return wrong("h_blocktype", self.header.h_blocktype, "3 or 4".to_owned());
        }
        if self.s_blocksize != block_size.bytes() {
            return wrong("s_blocksize", self.s_blocksize, block_size.to_string());
        }
        if u64::from(self.s_maxlen) > blocks {
            return wrong("s_maxlen", self.s_maxlen, format!("at most {blocks}"));
        }
        if self.s_first == 0 || self.s_first >= self.s_maxlen {
            return wrong("s_first", self.s_first, format!("1 to {}", self.s_maxlen));
        }
        // Not compared with `s_first`: the C mkfs writes 1 even where the log starts in block 2.
        if self.s_start >= self.s_maxlen {
            return wrong("s_start", self.s_start, format!("below {}", self.s_maxlen));
        }
        Ok(())
    }
}

/// How the tags of a descriptor block are stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TagFormat {
    /// Without CSUM_V3.
    Old {
        /// Block numbers have 64 bits.
        bit64: bool,
        /// The block ends in a checksum, and tags carry half of one (CSUM_V2).
        checksums: bool,
    },
    /// With CSUM_V3: always 16 bytes.
    V3,
}

impl TagFormat {
    /// Bytes of a tag, without the UUID that may follow it.
    pub fn tag_size(self) -> usize {
        match self {
            // The 8 bytes include 16 bits of checksum; CSUM_V2 adds two bytes of padding.
            Self::Old { bit64, checksums } => {
                8 + if bit64 { 4 } else { 0 } + if checksums { 2 } else { 0 }
            }
            Self::V3 => 16,
        }
    }

    /// Bytes of the checksum at the end of a descriptor or revoke block: 0 or 4.
    pub fn tail_size(self) -> usize {
        match self {
            Self::Old { checksums: false, .. } => 0,
            _ => 4,
        }
    }
}

bitflags! {
    /// `t_flags` of a tag.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct TagFlags: u32 {
        /// The block starts with the magic, which is zero in the log.
        const ESCAPE = 0x1;
        /// No UUID follows.
        const SAME_UUID = 0x2;
        /// Not used.
        const DELETED = 0x4;
        /// The last one of its block.
        const LAST_TAG = 0x8;
        const _ = !0;
    }
}

/// One tag of a descriptor block: where a logged block belongs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct JournalTag {
    /// The block it is a copy of.
    pub blkno: Blkno,
    /// Its flags.
    pub flags: TagFlags,
    /// Checksum of the block: none, the low 16 bits (CSUM_V2) or 32 bits (CSUM_V3).
    pub checksum: u32,
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The tags of `block`, a descriptor block, in the order of the blocks after it.
pub fn tags(block: &[u8], format: TagFormat) -> impl Iterator<Item = JournalTag> + '_ {
    let end = block.len().saturating_sub(format.tail_size());
    let mut at = JournalHeader::SIZE;
    let mut last = false;
    std::iter::from_fn(move || {
        if last || at + format.tag_size() > end {
            return None;
        }
        let low = be32(block, at)?;
        let (high, flags, checksum) = match format {
            TagFormat::V3 => (be32(block, at + 8)?, be32(block, at + 4)?, be32(block, at + 12)?),
            TagFormat::Old { bit64, .. } => (
                if bit64 { be32(block, at + 8)? } else { 0 },
                be16(block, at + 6)?.into(),
                be16(block, at + 4)?.into(),
            ),
        };
        let flags = TagFlags::from_bits_retain(flags);
        at += format.tag_size();
        if !flags.contains(TagFlags::SAME_UUID) {
            at += 16;
        }
        last = flags.contains(TagFlags::LAST_TAG);
        Some(JournalTag { blkno: Blkno(u64::from(high) << 32 | u64::from(low)), flags, checksum })
    })
}

/// The block numbers of `block`, a revoke block.
pub fn revoked(block: &[u8], bit64: bool) -> impl Iterator<Item = Blkno> + '_ {
    // `r_count` is the number of bytes in use, including the header and itself.
    let count = be32(block, JournalHeader::SIZE).unwrap_or(0);
    let end = usize::try_from(count).unwrap_or(usize::MAX).min(block.len());
    let numbers = block[..end].get(JournalHeader::SIZE + 4..).unwrap_or_default();
    numbers
        .chunks_exact(if bit64 { 8 } else { 4 })
        .map(|bytes| Blkno(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))))
}

structure! {
    "journal commit block", 0x3c;

    /// `struct commit_header`: the block that ends a transaction.
    #[binrw]
    #[brw(big)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct CommitBlock {
        /// 0x00: header.
        pub header: JournalHeader,
        /// 0x0c: 1 = CRC-32 where there is a checksum, else 0.
        pub h_chksum_type: u8,
        /// 0x0d: 4 where there is a checksum, else 0.
        pub h_chksum_size: u8,
        /// 0x0e: padding.
        pub h_padding: u16,
        /// 0x10: only the first is used.
        pub h_chksum: [u32; 8],
        /// 0x30: seconds since 1970.
        pub h_commit_sec: u64,
        /// 0x38: nanoseconds.
        pub h_commit_nsec: u32,
    }
}

impl CommitBlock {
    /// The checksum of the transaction, if it carries one of the kind OCFS2 uses.
    pub fn checksum(&self) -> Option<u32> {
        let has_one = self.h_chksum_type == 1 && self.h_chksum_size == 4;
        has_one.then_some(self.h_chksum[0])
    }

    /// Whether the transaction was written without a checksum.
    pub fn is_unchecked(&self) -> bool {
        self.h_chksum_type == 0 && self.h_chksum_size == 0 && self.h_chksum[0] == 0
    }
}

/// The checksum of a transaction, gathered over its descriptor and logged blocks in the
/// order of the log: CRC-32 with the most significant bit first, not inverted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransactionChecksum(u32);

impl Default for TransactionChecksum {
    fn default() -> Self {
        Self(!0)
    }
}

impl TransactionChecksum {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut crc = (index as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };

    /// Adds a block.
    pub fn update(&mut self, block: &[u8]) {
        for byte in block {
            let index = (self.0 >> 24) as u8 ^ byte;
            self.0 = self.0 << 8 ^ Self::TABLE[usize::from(index)];
        }
    }

    /// What [`CommitBlock::checksum`] has to be.
    pub fn value(self) -> u32 {
        self.0
    }
}

/// The checksums of journals with CSUM_V2 or CSUM_V3: CRC-32C, seeded with the journal's UUID.
///
/// OCFS2 never sets these features; other programs may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogChecksums {
    seed: u32,
}

impl LogChecksums {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut crc = index as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };

    fn update(crc: u32, bytes: &[u8]) -> u32 {
        let step = |crc: u32, byte: &u8| crc >> 8 ^ Self::TABLE[usize::from(crc as u8 ^ byte)];
        bytes.iter().fold(crc, step)
    }

    /// The checksums of the journal whose superblock has this `s_uuid`.
    pub fn new(uuid: &[u8; 16]) -> Self {
        Self { seed: Self::update(!0, uuid) }
    }

    /// The checksum of `block` with the four bytes at `at` taken as zero.
    fn of_block(self, block: &[u8], at: usize) -> u32 {
        let (head, rest) = block.split_at(at.min(block.len()));
        let (hole, tail) = rest.split_at(rest.len().min(4));
        let crc = Self::update(self.seed, head);
        Self::update(Self::update(crc, &[0; 4][..hole.len()]), tail)
    }

    /// Whether the checksum at the end of a descriptor or revoke block holds.
    pub fn tail_holds(self, block: &[u8]) -> bool {
        let at = block.len().saturating_sub(4);
        be32(block, at) == Some(self.of_block(block, at))
    }

    /// Whether the checksum of a commit block holds.
    pub fn commit_holds(self, block: &[u8]) -> bool {
        be32(block, 0x10) == Some(self.of_block(block, 0x10))
    }

    /// Whether `tag`, of a descriptor in `format` and transaction `sequence`, has the
    /// checksum of `block` as it lies in the log.
    pub fn tag_holds(
        self,
        tag: &JournalTag,
        format: TagFormat,
        sequence: u32,
        block: &[u8],
    ) -> bool {
        let crc = Self::update(Self::update(self.seed, &sequence.to_be_bytes()), block);
        match format {
            TagFormat::V3 => tag.checksum == crc,
            TagFormat::Old { .. } => tag.checksum == crc & 0xffff,
        }
    }
}

/// Writes a descriptor block with `tags` into `block` and sets the flags for the UUID and the last
/// tag as needed. Returns how many tags fitted.
///
/// # Errors
/// [`Truncated`] if the block is too short for a single one.
pub fn write_descriptor(
    block: &mut [u8],
    sequence: u32,
    bit64: bool,
    tags: &[JournalTag],
) -> Result<usize, Truncated> {
    let format = TagFormat::Old { bit64, checksums: false };
    // The first tag is followed by a UUID of zeros, as jbd2 writes it.
    let room = block.len().saturating_sub(JournalHeader::SIZE + 16) / format.tag_size();
    let count = tags.len().min(room);
    if room == 0 {
        let needed = JournalHeader::SIZE + 16 + format.tag_size();
        return Err(Truncated { structure: "journal descriptor", needed, available: block.len() });
    }
    block.fill(0);
    JournalHeader::new(BlockType::Descriptor, sequence).encode(block)?;
    let mut at = JournalHeader::SIZE;
    for (index, tag) in tags[..count].iter().enumerate() {
        let mut flags = tag.flags - (TagFlags::SAME_UUID | TagFlags::LAST_TAG);
        flags.set(TagFlags::SAME_UUID, index > 0);
        flags.set(TagFlags::LAST_TAG, index + 1 == count);
        block[at..at + 4].copy_from_slice(&(tag.blkno.0 as u32).to_be_bytes());
        block[at + 6..at + 8].copy_from_slice(&(flags.bits() as u16).to_be_bytes());
        if bit64 {
            let high = (tag.blkno.0 >> 32) as u32;
            block[at + 8..at + 12].copy_from_slice(&high.to_be_bytes());
        }
        at += format.tag_size() + if index == 0 { 16 } else { 0 };
    }
    Ok(count)
}

/// Writes a revoke block with `blocks` into `block`. Returns how many of them fitted.
///
/// # Errors
/// [`Truncated`] if the block is too short for a single one.
pub fn write_revoked(
    block: &mut [u8],
    sequence: u32,
    bit64: bool,
    blocks: &[Blkno],
) -> Result<usize, Truncated> {
    let start = JournalHeader::SIZE + 4;
    let size = if bit64 { 8 } else { 4 };
    let count = blocks.len().min(block.len().saturating_sub(start) / size);
    if count == 0 && !blocks.is_empty() {
        let needed = start + size;
        return Err(Truncated {
            structure: "journal revoke block",
            needed,
            available: block.len(),
        });
    }
    block.fill(0);
    JournalHeader::new(BlockType::Revoke, sequence).encode(block)?;
    let used = (start + count * size) as u32;
    block[JournalHeader::SIZE..start].copy_from_slice(&used.to_be_bytes());
    for (bytes, blkno) in block[start..].chunks_exact_mut(size).zip(&blocks[..count]) {
        match bit64 {
            true => bytes.copy_from_slice(&blkno.0.to_be_bytes()),
            false => bytes.copy_from_slice(&(blkno.0 as u32).to_be_bytes()),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<JournalHeader>();
        assert_round_trip::<JournalSuperblock>();
        assert_round_trip::<CommitBlock>();
    }

    #[test]
    fn a_new_journal_is_sound() {
        for bs in BlockSize::ALL {
            let blocks = (MIN_JOURNAL_BYTES / u64::from(bs.bytes())) as u32;
            let journal = JournalSuperblock::new(bs, blocks, [7; 16], true);
            journal.verify(Blkno(9), bs, blocks.into()).unwrap();
            assert_eq!(journal.s_first, if bs == BlockSize::MIN { 2 } else { 1 });
            let err = journal.verify(Blkno(9), bs, u64::from(blocks) - 1).unwrap_err();
            assert_eq!(err.field, "s_maxlen");
        }
    }

    #[test]
    fn tags_have_the_width_of_their_journal() {
        let sizes = [(0, 8), (2, 12), (8, 10), (0xa, 14), (0x10, 16), (0x12, 16)];
        for (features, size) in sizes {
            let journal = JournalSuperblock { s_feature_incompat: features, ..Default::default() };
            assert_eq!(journal.tag_format().tag_size(), size, "{features:#x}");
        }
    }

    #[test]
    fn a_descriptor_gives_the_tags_it_was_made_of() {
        for bit64 in [false, true] {
            let high = if bit64 { 5_u64 << 32 } else { 0 };
            let tag = |index: u64| JournalTag {
                blkno: Blkno(high | (100 + index)),
                flags: if index == 1 { TagFlags::ESCAPE } else { TagFlags::empty() },
                checksum: 0,
            };
            let wanted: Vec<_> = (0..200).map(tag).collect();
            let mut block = vec![0xff; 1024];
            let count = write_descriptor(&mut block, 7, bit64, &wanted).unwrap();
            assert_eq!(count, (1024 - 28) / if bit64 { 12 } else { 8 });
            let format = TagFormat::Old { bit64, checksums: false };
            let read: Vec<_> = tags(&block, format).collect();
            assert_eq!(read.len(), count);
            for (read, wanted) in read.iter().zip(&wanted) {
                assert_eq!(read.blkno, wanted.blkno);
                let escape = TagFlags::ESCAPE;
                assert_eq!(read.flags.contains(escape), wanted.flags.contains(escape));
            }
            assert!(write_descriptor(&mut block[..20], 7, bit64, &wanted).is_err());
        }
    }

    #[test]
    fn revoked_blocks_are_read_as_they_were_written() {
        let blocks: Vec<_> = (0..300).map(|blkno| Blkno(blkno * 3)).collect();
        for (bit64, room) in [(false, 124), (true, 62)] {
            let mut block = [0xff; 512];
            assert_eq!(write_revoked(&mut block, 7, bit64, &blocks).unwrap(), room);
            assert_eq!(revoked(&block, bit64).collect::<Vec<_>>(), blocks[..room]);
        }
        assert!(write_revoked(&mut [0; 16], 7, false, &blocks).is_err());
    }

    #[test]
    fn revoked_blocks_are_as_many_as_the_count_states() {
        let mut block = [0; 512];
        block[0xc..0x10].copy_from_slice(&24_u32.to_be_bytes());
        block[0x10..0x18].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 9]);
        assert_eq!(revoked(&block, false).collect::<Vec<_>>(), [Blkno(5), Blkno(9)]);
        assert_eq!(revoked(&block, true).collect::<Vec<_>>(), [Blkno(5 << 32 | 9)]);
        block[0xc] = 0xff;
        assert_eq!(revoked(&block, false).count(), (512 - 16) / 4);
        assert_eq!(revoked(&[], false).count(), 0);
    }

    #[test]
    fn the_checksum_of_a_transaction_is_the_one_called_mpeg_2() {
        let mut checksum = TransactionChecksum::default();
        checksum.update(b"1234");
        checksum.update(b"56789");
        assert_eq!(checksum.value(), 0x0376_e6e7);
    }

    #[test]
    fn the_checksum_of_later_logs_is_crc_32c() {
        assert_eq!(!LogChecksums::update(!0, b"123456789"), 0xe306_9283);
        let checksums = LogChecksums::new(&[7; 16]);
        let mut block = [0x5a; 512];
        let tail = checksums.of_block(&block, 508);
        block[508..].copy_from_slice(&tail.to_be_bytes());
        assert!(checksums.tail_holds(&block) && !checksums.commit_holds(&block));
        assert!(!LogChecksums::new(&[8; 16]).tail_holds(&block));
        let commit = checksums.of_block(&block, 0x10);
        block[0x10..0x14].copy_from_slice(&commit.to_be_bytes());
        assert!(checksums.commit_holds(&block));
        assert!(!checksums.commit_holds(&[]) && !checksums.tail_holds(&[1; 3]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            features in any::<u32>(),
        ) {
            let journal = JournalSuperblock { s_feature_incompat: features, ..Default::default() };
            prop_assert!(tags(&bytes, journal.tag_format()).count() <= bytes.len());
            prop_assert!(revoked(&bytes, features & 2 != 0).count() <= bytes.len());
        }
    }
}
