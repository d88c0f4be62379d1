//! Numbers that must not be mixed up: blocks, clusters, positions in a file, sizes.

use std::fmt;

use binrw::binrw;

/// A block number: units of the block size from the start of the volume.
///
/// Also an inode number, which is the block of the dinode.
#[binrw]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Blkno(pub u64);

/// A cluster number: units of the cluster size from the start of the volume.
#[binrw]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cluster(pub u32);

/// A position in a file in clusters; in the hash trees a 32-bit hash used as one.
#[binrw]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cpos(pub u32);

impl fmt::Display for Blkno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cpos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Blkno {
    /// Whether this is 0, which stands for "none" in every field.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Byte offset on the device; `None` if it does not fit 64 bits.
    pub fn offset_bytes(self, block_size: BlockSize) -> Option<u64> {
        self.0.checked_mul(u64::from(block_size.bytes()))
    }
}

/// The block size of a volume: 512, 1024, 2048 or 4096 bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BlockSize(u8);

impl BlockSize {
    /// All of them, ascending: the order in which a volume is probed.
    pub const ALL: [Self; 4] = [Self(9), Self(10), Self(11), Self(12)];
    /// 512 bytes.
    pub const MIN: Self = Self(9);
    /// 4096 bytes.
    pub const MAX: Self = Self(12);

    /// From `s_blocksize_bits`; `None` unless that is 9 to 12.
    pub fn from_bits(bits: u32) -> Option<Self> {
        u8::try_from(bits).ok().filter(|bits| (9..=12).contains(bits)).map(Self)
    }

    /// From a size in bytes; `None` for any other size.
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() { Self::from_bits(bytes.trailing_zeros()) } else { None }
    }

    /// log2 of the size, as stored in `s_blocksize_bits`.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// The size in bytes.
    pub fn bytes(self) -> u32 {
        1 << self.0
    }

    /// The size in bytes, as an index or a length.
    pub fn size(self) -> usize {
        1 << self.0
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

/// The cluster size of a volume: a power of two from 4 KiB to 1 MiB.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterSize(u8);

impl ClusterSize {
    /// 4 KiB.
    pub const MIN: Self = Self(12);
    /// 1 MiB.
    pub const MAX: Self = Self(20);

    /// From `s_clustersize_bits`; `None` unless that is 12 to 20.
    pub fn from_bits(bits: u32) -> Option<Self> {
        u8::try_from(bits).ok().filter(|bits| (12..=20).contains(bits)).map(Self)
    }

    /// From a size in bytes; `None` for any other size.
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() { Self::from_bits(bytes.trailing_zeros()) } else { None }
    }

    /// log2 of the size, as stored in `s_clustersize_bits`.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// The size in bytes.
    pub fn bytes(self) -> u32 {
        1 << self.0
    }
}

impl fmt::Display for ClusterSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}
