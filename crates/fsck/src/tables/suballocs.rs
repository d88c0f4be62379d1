//! The groups of the inode and extent allocators: the bit for each block.

use ocfs2_format::Blkno;
use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::dinode::Dinode;
use ocfs2_volume::SystemFile;
use ocfs2_volume::allocator::Run;

/// An allocator of blocks.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Suballoc {
    /// `global_inode_alloc`.
    GlobalInodes,
    /// `inode_alloc` of a slot.
    Inodes(u16),
    /// `extent_alloc` of a slot.
    Extents(u16),
}

impl Suballoc {
    /// Returns the slot that blocks from it state.
    pub fn slot(self) -> u16 {
        match self {
            Self::GlobalInodes => Dinode::GLOBAL_SLOT,
            Self::Inodes(slot) | Self::Extents(slot) => slot,
        }
    }

    /// Returns whether its blocks are inodes.
    pub fn holds_inodes(self) -> bool {
        !matches!(self, Self::Extents(_))
    }

    /// Returns its name in the system directory.
    pub fn file_name(self) -> String {
        SystemFile::from(self).name()
    }
}

impl From<Suballoc> for SystemFile {
    fn from(suballoc: Suballoc) -> Self {
        match suballoc {
            Suballoc::GlobalInodes => Self::GlobalInodeAlloc,
            Suballoc::Inodes(slot) => Self::InodeAlloc(slot),
            Suballoc::Extents(slot) => Self::ExtentAlloc(slot),
        }
    }
}

/// A usable group: its descriptor is sound, or was treated as mended.
#[derive(Clone, Debug)]
pub struct Group {
    /// The allocator it belongs to.
    pub suballoc: Suballoc,
    /// The block of its descriptor.
    pub blkno: Blkno,
    /// The blocks that it covers, by bit: all in the volume, and no block twice.
    pub runs: Vec<Run>,
    /// The number of bits.
    pub bits: u32,
    bitmap: Box<[u8]>,
}

impl Group {
    /// A group with the bitmap that it has on the volume, of which the first `bits` bits count.
    pub fn new(suballoc: Suballoc, blkno: Blkno, runs: Vec<Run>, bits: u32, bitmap: &[u8]) -> Self {
        let bytes = bits.div_ceil(8) as usize;
        let bitmap = bitmap.get(..bytes).unwrap_or(bitmap).into();
        Self { suballoc, blkno, runs, bits, bitmap }
    }

    /// Returns the stored bitmap.
    pub fn bitmap(&self) -> Bitmap<'_> {
        Bitmap::new(&self.bitmap, self.bits as usize)
    }

    /// Returns the block that a bit stands for; `None` if no piece of the group has the bit.
    pub fn block_of_bit(&self, bit: u32) -> Option<Blkno> {
        let run = self.runs.iter().find(|run| bit >= run.bit && bit - run.bit < run.bits)?;
        Some(Blkno(run.blkno.0 + u64::from(bit - run.bit)))
    }
}

/// A block as a bit of a group.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Bit {
    /// Index into [`Suballocs::groups`].
    pub group: u32,
    pub bit: u32,
}

/// All groups of all allocators of blocks.
#[derive(Clone, Debug, Default)]
pub struct Suballocs {
    groups: Vec<Group>,
    /// First block, number of bits, group and first bit of each run, by block.
    runs: Vec<(u64, u32, Bit)>,
}

impl Suballocs {
    /// Takes groups in the order in which they are to be read: allocator by allocator.
    pub fn new(groups: Vec<Group>) -> Self {
        let mut runs = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            for run in &group.runs {
                let bit = Bit { group: index as u32, bit: run.bit };
                runs.push((run.blkno.0, run.bits, bit));
            }
        }
        runs.sort_unstable();
        Self { groups, runs }
    }

    /// Returns all groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns the group of a bit.
    pub fn group(&self, bit: Bit) -> Option<&Group> {
        self.groups.get(bit.group as usize)
    }

    /// Returns the bit that stands for a block, if some group covers it.
    pub fn find(&self, blkno: Blkno) -> Option<Bit> {
        let next = self.runs.partition_point(|(start, ..)| *start <= blkno.0);
        let (start, bits, bit) = self.runs.get(next.checked_sub(1)?)?;
        let distance = blkno.0 - start;
        (distance < u64::from(*bits))
            .then(|| Bit { group: bit.group, bit: bit.bit + distance as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_in_a_group_of_several_pieces() {
        let run = |bit, bits, blkno| Run { bit, bits, blkno: Blkno(blkno) };
        let group = |runs| Group::new(Suballoc::Inodes(1), Blkno(100), runs, 64, &[0xff; 8]);
        let one = group(vec![run(0, 16, 100), run(16, 48, 40)]);
        let two = group(vec![run(0, 64, 200)]);
        let suballocs = Suballocs::new(vec![one, two]);
        let find = |blkno| suballocs.find(Blkno(blkno)).map(|bit| (bit.group, bit.bit));
        assert_eq!(find(100), Some((0, 0)));
        assert_eq!(find(115), Some((0, 15)));
        assert_eq!((find(116), find(39), find(88)), (None, None, None));
        assert_eq!(find(87), Some((0, 63)));
        assert_eq!(find(263), Some((1, 63)));
        assert_eq!(suballocs.groups()[0].block_of_bit(63), Some(Blkno(87)));
    }
}
