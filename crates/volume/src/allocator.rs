//! Chain allocators: their chains, groups, and the inodes they handed out.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::chain::{ChainList, ChainListHeader, ChainRec};
use ocfs2_format::dinode::{Arm, Dinode};
use ocfs2_format::extent::ExtentRec;
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Cluster, Invalid, Structure};

use crate::{Error, InBlock, Inode, SystemFile, Volume};

mod free_map;
pub(crate) mod pools;

mod suballocated;

pub use free_map::FreeMap;
pub use pools::Want;

pub use suballocated::Suballocated;

/// A system file that hands out clusters or blocks.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// Its inode.
    pub inode: Inode,
    /// The head of its chain list.
    pub header: ChainListHeader,
    /// Its chains.
    pub chains: Vec<ChainRec>,
    /// Whether it is the global bitmap, whose bits stand for clusters and not for blocks.
    pub is_global_bitmap: bool,
}

impl Allocator {
    /// Bits of a whole group.
    pub fn bits_per_group(&self) -> u32 {
        u32::from(self.header.cl_cpg) * u32::from(self.header.cl_bpc)
    }
}

/// Consecutive blocks that are consecutive bits of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// The first bit.
    pub bit: u32,
    /// Number of bits, and so of blocks.
    pub bits: u32,
    /// The block that the first bit stands for.
    pub blkno: Blkno,
}

/// A group of an allocator.
#[derive(Clone, Debug)]
pub struct Group {
    /// Where its descriptor is.
    pub blkno: Blkno,
    /// The chain it was found in.
    pub chain: u16,
    /// The descriptor.
    pub desc: GroupDesc,
    /// The blocks it covers, by bit. Empty for a group of the global bitmap, whose bits are
    /// clusters.
    pub runs: Vec<Run>,
    block: Vec<u8>,
}

impl Group {
    /// The block of the descriptor.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// The bitmap.
    pub fn bitmap(&self) -> Bitmap<'_> {
        self.desc.bitmap(&self.block).unwrap_or(Bitmap::new(&[], 0))
    }

    /// Number of bits that are 0, counted in the bitmap.
    pub fn free_bits(&self) -> u32 {
        let bitmap = self.bitmap();
        (bitmap.len() - bitmap.count_ones()) as u32
    }

    /// The block a bit stands for; `None` for a group of the global bitmap.
    pub fn block_of_bit(&self, bit: u32) -> Option<Blkno> {
        let run = self.runs.iter().find(|run| bit >= run.bit && bit - run.bit < run.bits)?;
        Some(Blkno(run.blkno.0 + u64::from(bit - run.bit)))
    }

    /// The bit that stands for a block; `None` if the group does not cover it.
    pub fn bit_of_block(&self, blkno: Blkno) -> Option<u32> {
        self.runs.iter().find_map(|run| {
            let distance = blkno.0.checked_sub(run.blkno.0)?;
            (distance < u64::from(run.bits)).then(|| run.bit + distance as u32)
        })
    }

    /// Sets or clears bits. Returns how many more are clear than before, negative if fewer.
    ///
    /// # Errors
    /// [`Error::Truncated`]: there is no bitmap.
    fn change(&mut self, bits: Range<u32>, set: bool) -> Result<i64, Error> {
        let mut bitmap = self.desc.bitmap_mut(&mut self.block).in_block(self.blkno)?;
        let before = bitmap.as_ref().count_ones() as i64;
        let (start, count) = (bits.start as usize, bits.end.saturating_sub(bits.start) as usize);
        match set {
            true => bitmap.set_range(start, count),
            false => bitmap.clear_range(start, count),
        }
        let freed = before - bitmap.as_ref().count_ones() as i64;
        let free = i64::from(self.desc.bg_free_bits_count) + freed;
        self.desc.bg_free_bits_count = free.clamp(0, self.desc.bg_bits.into()) as u16;
        if freed != 0 {
            // A hint that is right only until something is changed; 0 is "not known".
            self.desc.bg_contig_free_bits = 0;
        }
        self.desc.encode(&mut self.block).in_block(self.blkno)?;
        Ok(freed)
    }

    /// Whether it is made of several pieces.
    pub fn is_discontiguous(&self) -> bool {
        self.runs.len() > 1
    }
}

/// The groups of an allocator, chain by chain. See [`Volume::groups`].
#[derive(Debug)]
pub struct Groups<'v> {
    volume: &'v Volume,
    allocator: Allocator,
    /// The current chain, and the next descriptor in it.
    chain: usize,
    next: Option<Blkno>,
    visited: HashSet<Blkno>,
}

impl Iterator for Groups<'_> {
    type Item = Result<Group, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let blkno = loop {
            match self.next.take() {
                Some(blkno) if !blkno.is_none() => break blkno,
                Some(_) => self.chain += 1,
                None => self.next = Some(self.allocator.chains.get(self.chain)?.c_blkno),
            }
        };
        if !self.visited.insert(blkno) {
            self.chain += 1;
            return Some(Err(Error::Repeated { structure: GroupDesc::NAME, blkno }));
        }
        let group = self.volume.group(&self.allocator, blkno, self.chain);
        match &group {
            Ok(group) => self.next = Some(group.desc.bg_next_group),
            // Where the chain continues is not known.
            Err(_) => self.chain += 1,
        }
        Some(group)
    }
}

impl Volume {
    /// The allocator of blocks that this inode is: of inodes or of other metadata.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if it is not an allocator, [`Error::Invalid`] if its chain list is
    /// wrong.
    pub fn allocator(&self, inode: Inode) -> Result<Allocator, Error> {
        self.chain_allocator(inode, false)
    }

    /// The allocator of all clusters.
    ///
    /// # Errors
    /// As [`Volume::system_file`] and [`Volume::allocator`].
    pub fn global_bitmap(&self) -> Result<Allocator, Error> {
        self.chain_allocator(self.system_file(SystemFile::GlobalBitmap)?, true)
    }

    fn chain_allocator(&self, inode: Inode, is_global_bitmap: bool) -> Result<Allocator, Error> {
        let blkno = inode.blkno;
        if inode.dinode.arm() != Arm::Chain {
            return Err(Error::WrongKind { blkno, expected: "a chain allocator" });
        }
        let list = ChainList::new(inode.id2()).in_block(blkno)?;
        list.verify(blkno)?;
        let (header, chains) = (list.header, list.records().collect());
        let bpc = if is_global_bitmap { 1 } else { self.geometry().blocks_per_cluster() };
        if u32::from(header.cl_bpc) != bpc {
            let name = ChainListHeader::NAME;
            return Err(Invalid::new(name, blkno, "cl_bpc", header.cl_bpc, bpc).into());
        }
        Ok(Allocator { inode, header, chains, is_global_bitmap })
    }

    /// The groups of an allocator, in the order of its chains.
    ///
    /// A group that is wrong, or is reached a second time, is returned as an error and ends its
    /// chain; the other chains follow.
    pub fn groups(&self, allocator: &Allocator) -> Groups<'_> {
        let allocator = allocator.clone();
        Groups { volume: self, allocator, chain: 0, next: None, visited: HashSet::new() }
    }

    fn group(&self, allocator: &Allocator, blkno: Blkno, chain: usize) -> Result<Group, Error> {
        let group = self.group_at(allocator, blkno)?;
        if usize::from(group.chain) != chain {
            let name = GroupDesc::NAME;
            return Err(Invalid::new(name, blkno, "bg_chain", group.chain, chain).into());
        }
        Ok(group)
    }

    /// The group of an allocator whose descriptor is in block `blkno`.
    ///
    /// # Errors
    /// Any of reading it; [`Error::Invalid`] if it is not a group of this allocator.
    pub fn group_at(&self, allocator: &Allocator, blkno: Blkno) -> Result<Group, Error> {
        let (desc, block) = self.read::<GroupDesc>(blkno)?;
        desc.verify_bits(blkno, allocator.inode.blkno, self.block_size())?;
        let invalid = |field, found: u64, expected: String| {
            Error::from(Invalid::new(GroupDesc::NAME, blkno, field, found, expected))
        };
        let limit = match allocator.is_global_bitmap {
            true => self.global_group_clusters(blkno)?,
            false => allocator.bits_per_group(),
        };
        if u32::from(desc.bg_bits) > limit {
            return Err(invalid("bg_bits", desc.bg_bits.into(), format!("at most {limit}")));
        }
        let runs = match allocator.is_global_bitmap {
            true => Vec::new(),
            false => self.runs(allocator, &desc, blkno, &block)?,
        };
        Ok(Group { blkno, chain: desc.bg_chain, desc, runs, block })
    }

    /// Number of clusters that the global bitmap's group at `blkno` covers.
    fn global_group_clusters(&self, blkno: Blkno) -> Result<u32, Error> {
        let geometry = self.geometry();
        let cluster = geometry.cluster_of(blkno).unwrap_or_default();
        let (index, _) = geometry.group_of(cluster);
        if geometry.group_blkno(index) != blkno {
            let expected = geometry.group_blkno(index);
            return Err(Invalid::new(GroupDesc::NAME, blkno, "bg_blkno", blkno, expected).into());
        }
        Ok(geometry.group_clusters(index))
    }

    /// The cluster a bit of a group of the global bitmap stands for.
    pub fn cluster_of_bit(&self, group: &Group, bit: u32) -> Option<Cluster> {
        let geometry = self.geometry();
        let (index, _) = geometry.group_of(geometry.cluster_of(group.blkno)?);
        let cluster = geometry.group_start(index).0.checked_add(bit)?;
        (bit < u32::from(group.desc.bg_bits)).then_some(Cluster(cluster))
    }

    fn runs(
        &self,
        allocator: &Allocator,
        desc: &GroupDesc,
        blkno: Blkno,
        block: &[u8],
    ) -> Result<Vec<Run>, Error> {
        let bits = u32::from(desc.bg_bits);
        let outside = |structure, blkno| {
            Err(Error::OutsideVolume { structure, blkno, blocks: self.geometry().blocks() })
        };
        let list = desc.discontiguous(block).filter(|_| self.has(Incompat::DISCONTIG_BG));
        let Some(list) = list else {
            if !self.geometry().is_valid_range(blkno, bits.into()) {
                return outside(GroupDesc::NAME, blkno);
            }
            return Ok(vec![Run { bit: 0, bits, blkno }]);
        };
        list.verify(blkno)?;
        let invalid = |field, found: u64, expected: u64| {
            Error::from(Invalid::new(ExtentRec::NAME, blkno, field, found, expected))
        };
        let mut runs = Vec::new();
        let mut clusters = 0_u32;
        for rec in list.records() {
            if rec.e_cpos.0 != clusters {
                return Err(invalid("e_cpos", rec.e_cpos.0.into(), clusters.into()));
            }
            if runs.is_empty() && rec.e_blkno != blkno {
                return Err(invalid("e_blkno", rec.e_blkno.0, blkno.0));
            }
            let bpc = u32::from(allocator.header.cl_bpc);
            let length = u32::from(rec.e_leaf_clusters());
            // At most 235 records of 65535 clusters of 2048 blocks.
            let (bit, bits) = (clusters.saturating_mul(bpc), length.saturating_mul(bpc));
            if !self.geometry().is_valid_range(rec.e_blkno, bits.into()) {
                return outside(ExtentRec::NAME, rec.e_blkno);
            }
            runs.push(Run { bit, bits, blkno: rec.e_blkno });
            clusters += length;
        }
        let there = u64::from(clusters) * u64::from(allocator.header.cl_bpc);
        if there != u64::from(bits) {
            let found = Invalid::new(GroupDesc::NAME, blkno, "bg_bits", bits, there);
            return Err(found.into());
        }
        Ok(runs)
    }

    /// Every inode that the inode allocators have handed out: system files first, then
    /// slot by slot.
    ///
    /// Reads in large pieces. An inode that is wrong is returned as an error; the others follow.
    pub fn inodes(&self) -> Inodes<'_> {
        let slots = (0..self.max_slots()).map(SystemFile::InodeAlloc);
        Inodes {
            volume: self,
            files: std::iter::once(SystemFile::GlobalInodeAlloc).chain(slots).collect(),
            groups: None,
            pieces: VecDeque::new(),
            pending: VecDeque::new(),
        }
    }
}

/// Blocks that are read at a time.
const PIECE: u32 = 256;

/// The inodes that are in use. See [`Volume::inodes`].
#[derive(Debug)]
pub struct Inodes<'v> {
    volume: &'v Volume,
    /// The allocators that come next.
    files: VecDeque<SystemFile>,
    /// The groups of the current one.
    groups: Option<Groups<'v>>,
    /// The next pieces of the current group: the first block of a run, and which blocks of the run
    /// are in use.
    pieces: VecDeque<(Blkno, Vec<u32>)>,
    pending: VecDeque<Result<Inode, Error>>,
}

impl Inodes<'_> {
    /// Queues the pieces of a group that hold inodes.
    fn cut(&mut self, group: &Group) {
        let bitmap = group.bitmap();
        for run in &group.runs {
            let mut start = 0;
            while start < run.bits {
                let end = run.bits.min(start + PIECE);
                let used = |index: &u32| {
                    let bit = run.bit + index;
                    // Bit 0 is the descriptor.
                    bit > 0 && bitmap.get(bit as usize)
                };
                let used: Vec<u32> = (start..end).filter(used).collect();
                if !used.is_empty() {
                    self.pieces.push_back((run.blkno, used));
                }
                start = end;
            }
        }
    }

    fn read(&mut self, run: Blkno, used: &[u32]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (used.first(), used.last()) else { return Ok(()) };
        let start = Blkno(run.0 + u64::from(*first));
        let blocks = self.volume.read_blocks(start, last - first + 1)?;
        let size = self.volume.block_size().size();
        for index in used {
            let blkno = Blkno(run.0 + u64::from(*index));
            let block = blocks.chunks_exact(size).nth((index - first) as usize);
            self.pending.push_back(self.volume.inode_of(blkno, block.unwrap_or_default()));
        }
        Ok(())
    }
}

impl Volume {
    fn inode_of(&self, blkno: Blkno, block: &[u8]) -> Result<Inode, Error> {
        let mut block = block.to_vec();
        self.verify_check(Dinode::NAME, blkno, &mut block, Dinode::CHECK_OFFSET)?;
        let inode = Inode::decode(blkno, block)?;
        inode.dinode.verify(blkno, self.generation())?;
        Ok(inode)
    }
}

impl Iterator for Inodes<'_> {
    type Item = Result<Inode, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(inode) = self.pending.pop_front() {
                return Some(inode);
            }
            if let Some((run, used)) = self.pieces.pop_front() {
                if let Err(err) = self.read(run, &used) {
                    return Some(Err(err));
                }
                continue;
            }
            match self.groups.as_mut().and_then(Iterator::next) {
                Some(Ok(group)) => self.cut(&group),
                Some(Err(err)) => return Some(Err(err)),
                None => {
                    let file = self.volume.system_file(self.files.pop_front()?);
                    match file.and_then(|inode| self.volume.allocator(inode)) {
                        Ok(allocator) => self.groups = Some(self.volume.groups(&allocator)),
                        Err(err) => return Some(Err(err)),
                    }
                }
            }
        }
    }
}
