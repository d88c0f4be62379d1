//! A survey of a device: what is on it of OCFS2 volumes, found by signatures, without any
//! superblock.
//!
//! Each block of metadata states its own place and the generation of its volume. A block that is in
//! its place is no copy in a journal or in a file. Block size and generation tell volumes apart
//! that were made on the same device one after the other.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use ocfs2_device::Device;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::journal::{BlockType, JBD2_MAGIC, JournalSuperblock};
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::superblock::{SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block, BlockSize, Structure};

use crate::allocator::Suballocated;
use crate::open::{FoundSuperblock, mended};

mod block_set;
mod made_with;
mod reader;
mod remains;

pub(crate) use made_with::made_with;
use reader::Reader;

pub use block_set::BlockSet;
pub use remains::{Counts, Remains};

/// Pieces that are read at the same time, so that the disk is busy while one is looked at.
const READERS: usize = 4;
/// Every block begins at a multiple of this.
const SECTOR: usize = 512;
/// Most volumes that are told apart; more are garbage.
const MOST_VOLUMES: usize = 256;
/// Most superblocks of a volume, journals and unreadable ranges that are kept.
const MOST: usize = 1 << 10;

/// The first block of a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FoundJournal {
    /// Bytes from the start of the device.
    pub offset: u64,
    /// Bytes of its blocks.
    pub block_size: u32,
    /// The UUID of its volume.
    pub uuid: [u8; 16],
}

/// What is on a device.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// What was found of each volume, that with the most inodes first.
    pub volumes: Vec<Remains>,
    /// Journals, of whichever volume.
    pub journals: Vec<FoundJournal>,
    /// The kinds of quota of which a global file begins somewhere, of whichever volume.
    pub quotas: BTreeSet<QuotaKind>,
    /// The first blocks of directories, and blocks of directories that end in a trailer, as
    /// multiples of 512 bytes: of whichever volume, as they state no generation.
    pub directory_blocks: BlockSet,
    /// What could not be read, in bytes from the start of the device; the first of them.
    pub unreadable: Vec<Range<u64>>,
    /// Bytes that could not be read.
    pub unreadable_bytes: u64,
}

impl Survey {
    /// Reads all of a device. `progress` is called with the bytes that were read so far; once it
    /// returns false the survey ends, and `None` is returned.
    pub fn of(device: &dyn Device, mut progress: impl FnMut(u64) -> bool) -> Option<Self> {
        let mut survey = Surveying::default();
        let end = device.size_bytes();
        let is_whole = thread::scope(|scope| {
            let readers: Vec<_> =
                (0..READERS).map(|first| Reader::start(scope, device, first)).collect();
            let mut offset = 0;
            for reader in readers.iter().cycle() {
                if offset >= end {
                    break;
                }
                if !progress(offset) {
                    return false;
                }
                let Some(read) = reader.next() else { return false };
                survey.add_unreadable(&read);
                survey.look(&read.bytes, offset);
                offset += read.bytes.len() as u64;
                reader.give_back(read.bytes);
            }
            true
        });
        (is_whole && progress(end)).then(|| survey.done())
    }

    /// The volume with a generation.
    pub fn of_generation(&self, generation: u32) -> Option<&Remains> {
        self.volumes.iter().find(|it| it.generation == generation)
    }

    /// The superblock of a volume: a backup of it if there is one, else what follows from all that
    /// was found. `None` if that is not enough to read anything.
    pub fn superblock(
        &self,
        device: &Arc<dyn Device>,
        remains: &Remains,
    ) -> Option<FoundSuperblock> {
        mended::surveyed(device, self, remains)
    }

    /// How many journals state a UUID.
    pub(crate) fn journals_of(&self, uuid: Option<[u8; 16]>) -> usize {
        self.journals.iter().filter(|it| Some(it.uuid) == uuid).count()
    }

    /// The UUID that most journals with blocks of this size state, other than those of `others`.
    pub(crate) fn uuid(&self, block_size: BlockSize, others: &[[u8; 16]]) -> Option<[u8; 16]> {
        let mut counts: HashMap<[u8; 16], u32> = HashMap::new();
        let journals = self.journals.iter().filter(|it| it.block_size == block_size.bytes());
        for uuid in journals.map(|it| it.uuid).filter(|it| *it != [0; 16] && !others.contains(it)) {
            *counts.entry(uuid).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(uuid, count)| (*count, *uuid)).map(|(uuid, _)| uuid)
    }
}

/// A survey that is being made.
#[derive(Debug, Default)]
struct Surveying {
    survey: Survey,
    volumes: HashMap<(BlockSize, u32), Remains>,
    /// What `..` points to in first blocks of directories, by the block that `.` points to and the
    /// sector in which it is.
    first_blocks: Vec<(Blkno, Blkno)>,
}

impl Surveying {
    /// Notes what of a piece could not be read.
    fn add_unreadable(&mut self, piece: &reader::Piece) {
        for range in &piece.unreadable {
            self.survey.unreadable_bytes += range.end - range.start;
            let ranges = &mut self.survey.unreadable;
            if let Some(last) = ranges.last_mut().filter(|last| last.end == range.start) {
                last.end = range.end;
            } else if ranges.len() < MOST {
                ranges.push(range.clone());
            }
        }
    }

    /// Looks at a piece of the device.
    fn look(&mut self, bytes: &[u8], offset: u64) {
        for (index, sector) in bytes.chunks_exact(SECTOR).enumerate() {
            let at = index * SECTOR;
            let place = offset + at as u64;
            let rest = bytes.get(at..).unwrap_or_default();
            match sector.first_chunk::<8>() {
                Some(&Dinode::SIGNATURE) => self.inode(rest, place),
                Some(&GroupDesc::SIGNATURE) => {
                    let Ok(group) = GroupDesc::decode(rest) else { continue };
                    let stated = (group.bg_blkno, group.bg_generation);
                    self.with(stated, place, |it| it.group(&group));
                }
                Some(&ExtentBlock::SIGNATURE) => {
                    let Ok(block) = ExtentBlock::decode(rest) else { continue };
                    let stated = (block.h_blkno, block.h_fs_generation);
                    self.with(stated, place, |it| {
                        it.counts.extent_blocks += 1;
                        it.home(&Suballocated::from(&block));
                    });
                }
                Some(&DxRoot::SIGNATURE) => {
                    let Ok(root) = DxRoot::decode(rest) else { continue };
                    let stated = (root.dr_blkno, root.dr_fs_generation);
                    self.with(stated, place, |it| {
                        it.counts.dx_roots += 1;
                        it.home(&Suballocated::from(&root));
                    });
                }
                Some(&XattrBlock::SIGNATURE) => {
                    let Ok(block) = XattrBlock::decode(rest) else { continue };
                    let stated = (block.xb_blkno, block.xb_fs_generation);
                    self.with(stated, place, |it| {
                        it.counts.xattr_blocks += 1;
                        it.home(&Suballocated::from(&block));
                    });
                }
                Some(&RefcountBlock::SIGNATURE) => {
                    let Ok(block) = RefcountBlock::decode(rest) else { continue };
                    let stated = (block.rf_blkno, block.rf_fs_generation);
                    self.with(stated, place, |it| {
                        it.counts.refcount_blocks += 1;
                        it.home(&Suballocated::from(&block));
                    });
                }
                Some(&SUPERBLOCK_SIGNATURE) => self.superblock(rest, place),
                Some(head) if head.starts_with(&JBD2_MAGIC.to_be_bytes()) => {
                    self.journal(rest, place);
                }
                Some(head) if quota_of(head).is_some() => {
                    self.survey.quotas.extend(quota_of(head));
                }
                _ if is_first_of_directory(sector) => {
                    if let Some(dots) = remains::dots(rest) {
                        self.survey.directory_blocks.insert(Blkno(place / SECTOR as u64));
                        if self.first_blocks.len() < MOST * MOST {
                            self.first_blocks.push(dots);
                        }
                    }
                }
                _ => {}
            }
            self.trailer(bytes, at, place);
        }
    }

    fn inode(&mut self, rest: &[u8], place: u64) {
        let Ok(dinode) = Dinode::decode(rest) else { return };
        let Some(size) = block_size(dinode.i_blkno, place) else { return };
        let stated = (dinode.i_blkno, dinode.i_fs_generation);
        if let Some(block) = rest.get(..size.size()) {
            self.with(stated, place, |it| it.inode(dinode, block));
        }
    }

    fn superblock(&mut self, rest: &[u8], place: u64) {
        let Ok(dinode) = Dinode::decode(rest) else { return };
        let Some(size) = block_size(dinode.i_blkno, place) else { return };
        let superblock = rest.get(..size.size()).map(SuperBlock::of_block);
        let Some(Ok(superblock)) = superblock else { return };
        if superblock.verify(&dinode, dinode.i_blkno, size).is_err() {
            return;
        }
        self.with((dinode.i_blkno, dinode.i_fs_generation), place, |it| {
            if it.superblocks.len() < MOST {
                it.superblocks.push((dinode.i_blkno, dinode, superblock));
            }
        });
    }

    fn journal(&mut self, rest: &[u8], offset: u64) {
        let Ok(superblock) = JournalSuperblock::decode(rest) else { return };
        let kinds = [BlockType::SuperblockV1, BlockType::SuperblockV2];
        let is_one = superblock.header.block_type().is_some_and(|kind| kinds.contains(&kind));
        if is_one && self.survey.journals.len() < MOST {
            let (block_size, uuid) = (superblock.s_blocksize, superblock.s_uuid);
            self.survey.journals.push(FoundJournal { offset, block_size, uuid });
        }
    }

    /// Notes a block of a directory whose trailer ends in this sector.
    fn trailer(&mut self, bytes: &[u8], at: usize, place: u64) {
        let end = at + SECTOR;
        let start = end - DirTrailer::SIZE;
        let Some(tail) = bytes.get(start..end) else { return };
        // The signature comes after the fields that make it look like an unused entry.
        if tail.get(16..24) != Some(&DirTrailer::SIGNATURE[..]) {
            return;
        }
        let Ok(trailer) = DirTrailer::decode(tail) else { return };
        let ends = place + SECTOR as u64;
        let first = BlockSize::ALL.into_iter().find_map(|size| {
            let first = ends.checked_sub(size.size() as u64)?;
            (trailer.db_blkno.offset_bytes(size) == Some(first)).then_some(first)
        });
        if let Some(first) = first {
            self.survey.directory_blocks.insert(Blkno(first / SECTOR as u64));
        }
    }

    /// Adds to what is known of the volume that a block is of, if the block is in its place.
    fn with(
        &mut self,
        (blkno, generation): (Blkno, u32),
        place: u64,
        add: impl FnOnce(&mut Remains),
    ) {
        let Some(size) = block_size(blkno, place) else { return };
        let key = (size, generation);
        if self.volumes.len() < MOST_VOLUMES || self.volumes.contains_key(&key) {
            add(self.volumes.entry(key).or_insert_with(|| Remains::new(size, generation)));
        }
    }

    fn done(self) -> Survey {
        let mut volumes: Vec<_> = self.volumes.into_values().collect();
        for (own, parent) in self.first_blocks {
            for volume in volumes.iter_mut().filter(|it| it.inodes.contains(own)) {
                volume.parent(parent);
            }
        }
        volumes.sort_by_key(|it| {
            let Counts { inodes, system, groups, .. } = it.counts;
            std::cmp::Reverse((inodes, system, groups, it.generation))
        });
        Survey { volumes, ..self.survey }
    }
}

/// The block size with which a block at a place, in bytes, has this number.
fn block_size(blkno: Blkno, place: u64) -> Option<BlockSize> {
    let mut sizes = BlockSize::ALL.into_iter();
    sizes.find(|size| blkno.0 > 0 && blkno.offset_bytes(*size) == Some(place))
}

/// The kind of quota of a global file that begins so: with its magic number and version 0.
fn quota_of(head: &[u8; 8]) -> Option<QuotaKind> {
    let (magic, version) = head.split_first_chunk::<4>()?;
    let kinds = [QuotaKind::User, QuotaKind::Group];
    let is_one = |kind: &QuotaKind| kind.global_magic() == u32::from_le_bytes(*magic);
    kinds.into_iter().find(is_one).filter(|_| *version == [0; 4])
}

/// Whether a block begins as the first one of a directory does: with `.`, which is 12 bytes.
fn is_first_of_directory(sector: &[u8]) -> bool {
    sector.get(8..13) == Some(&[12, 0, 1, 2, b'.'])
        && sector.get(20..24).is_some_and(|it| it[3] == 2)
}
