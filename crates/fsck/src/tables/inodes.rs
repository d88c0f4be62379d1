//! What pass 1 keeps of every inode, in a few bytes.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{FileKind, InodeFlags};

use crate::tables::suballocs::{Bit, Suballocs};

/// What is kept of an inode.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// Its type; `None` if it is not in use, or its mode is of no type.
    pub kind: Option<FileKind>,
    pub in_use: bool,
    /// Whether it says that it is a system file.
    pub is_system: bool,
    /// The entries of orphan directories that it says it has.
    pub claims: OrphanClaims,
    /// The link count that it states.
    pub links: u32,
}

/// The entries of orphan directories that an inode says it has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OrphanClaims(u8);

impl OrphanClaims {
    const DELETED: u8 = 1;
    const DIRECT_WRITE: u8 = 2;

    /// Returns those of an inode with these flags.
    pub fn of(flags: InodeFlags) -> Self {
        let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
        Self(
            bit(InodeFlags::ORPHANED, Self::DELETED)
                | bit(InodeFlags::DIO_ORPHANED, Self::DIRECT_WRITE),
        )
    }

    /// Returns whether it says that it waits to be deleted.
    pub fn is_deleted(self) -> bool {
        self.0 & Self::DELETED != 0
    }

    /// Returns whether it says that a direct write to it was interrupted.
    pub fn is_direct_write(self) -> bool {
        self.0 & Self::DIRECT_WRITE != 0
    }
}

/// The facts of all inodes, by the bit that stands for each.
#[derive(Clone, Debug, Default)]
pub struct InodeTable {
    /// For each group its number of bits, and the facts of each; empty if no inode of it is in use.
    groups: Vec<(u32, Box<[Facts]>)>,
}

impl InodeTable {
    /// A table in which nothing is in use.
    pub fn new(suballocs: &Suballocs) -> Self {
        let groups = suballocs.groups().iter();
        Self { groups: groups.map(|group| (group.bits, Box::default())).collect() }
    }

    /// Sets the facts of an inode.
    pub fn set(&mut self, at: Bit, facts: Facts) {
        let Some((bits, group)) = self.groups.get_mut(at.group as usize) else { return };
        if group.is_empty() {
            *group = vec![Facts::default(); *bits as usize].into();
        }
        if let Some(slot) = group.get_mut(at.bit as usize) {
            *slot = facts;
        }
    }

    /// Returns the memory that it takes, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.groups.iter().map(|(_, facts)| size_of_val(&facts[..]) as u64).sum()
    }

    /// Returns the facts at a bit.
    pub fn get(&self, at: Bit) -> Option<&Facts> {
        self.groups.get(at.group as usize)?.1.get(at.bit as usize)
    }

    /// Returns the facts of the inode in a block, if it is in use.
    pub fn find(&self, suballocs: &Suballocs, blkno: Blkno) -> Option<&Facts> {
        let facts = self.get(suballocs.find(blkno)?)?;
        facts.in_use.then_some(facts)
    }

    /// Returns all inodes in use, in the order of the groups, with their bits and blocks.
    pub fn in_use_at<'a>(
        &'a self,
        suballocs: &'a Suballocs,
    ) -> impl Iterator<Item = (Bit, Blkno, &'a Facts)> {
        (0..).zip(&self.groups).zip(suballocs.groups()).flat_map(|((index, (_, facts)), group)| {
            let bits = (0..).zip(facts.iter()).filter(|(_, facts)| facts.in_use);
            bits.filter_map(move |(bit, facts)| {
                Some((Bit { group: index, bit }, group.block_of_bit(bit)?, facts))
            })
        })
    }

    /// Returns all inodes in use, in the order of the groups, with their blocks.
    pub fn in_use<'a>(
        &'a self,
        suballocs: &'a Suballocs,
    ) -> impl Iterator<Item = (Blkno, &'a Facts)> {
        self.in_use_at(suballocs).map(|(_, blkno, facts)| (blkno, facts))
    }
}

/// The number of references to each inode.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// For each group its number of bits, and a count for each; empty if there is no reference.
    groups: Vec<(u32, Box<[u32]>)>,
}

impl References {
    /// Starts without references.
    pub fn new(suballocs: &Suballocs) -> Self {
        let groups = suballocs.groups().iter();
        Self { groups: groups.map(|group| (group.bits, Box::default())).collect() }
    }

    /// Counts a reference.
    pub fn add(&mut self, at: Bit) {
        let Some((bits, counts)) = self.groups.get_mut(at.group as usize) else { return };
        if counts.is_empty() {
            *counts = vec![0; *bits as usize].into();
        }
        if let Some(count) = counts.get_mut(at.bit as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns the number of references to an inode.
    pub fn get(&self, at: Bit) -> u32 {
        let counts = self.groups.get(at.group as usize).map(|(_, counts)| counts);
        counts.and_then(|counts| counts.get(at.bit as usize)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_small() {
        assert!(size_of::<Facts>() <= 8);
    }
}
