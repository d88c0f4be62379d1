//! Older versions of blocks: copies in the log of a journal, which remain there after their
//! transactions have been written to their places, until others overwrite them; and blocks of
//! inodes that were freed and not used again.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocfs2_device::{Device, OverlayDevice};
use ocfs2_format::check::Checked;
use ocfs2_format::dinode::{Arm, Dinode, FileKind, InodeFlags};
use ocfs2_format::extent::ExtentList;
use ocfs2_format::journal::{BlockType, JournalHeader, TagFlags, tags};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::{Error, Inode, SystemFile, Volume};

use crate::error::Problem;
use crate::volume::Fs;

/// Bytes of older versions that are kept in memory.
const MEMORY: u64 = 64 << 20;

/// A copy of a block in the log of a journal.
#[derive(Clone, Copy, Debug)]
struct Copy {
    /// The block that was copied.
    home: Blkno,
    /// The block of the copy.
    at: Blkno,
    sequence: u32,
    /// Whether its first four bytes were replaced, since they were those of a log block.
    is_escaped: bool,
}

/// All copies in the log of one slot, oldest transaction first.
pub struct Past<'f> {
    fs: &'f Fs,
    copies: Vec<Copy>,
}

/// A deleted file, as it was before.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The inode before the deletion.
    pub inode: Inode,
    /// The time of the deletion in seconds since 1970; 0 if it is not known.
    pub dtime: u64,
    /// Where it was found.
    pub kept: Kept,
}

impl Deleted {
    /// Whether both are the same version of the same file, as far as its contents go.
    pub fn is_version_of(&self, other: &Self) -> bool {
        let version = |it: &Self| {
            let dinode = &it.inode.dinode;
            (dinode.i_generation, dinode.i_size, dinode.i_clusters, it.inode.mtime())
        };
        version(self) == version(other)
    }

    /// Whether blocks of its own, besides the inode, are needed to read it: those of extents or
    /// attributes.
    pub fn has_blocks(&self) -> bool {
        let is_deep = ExtentList::new(self.inode.id2()).is_ok_and(|it| it.header.l_tree_depth > 0);
        let dinode = &self.inode.dinode;
        dinode.arm() == Arm::ExtentList && is_deep || !dinode.i_xattr_loc.is_none()
    }
}

/// Where a deleted file was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// In the log of a journal, in the transaction with this sequence number.
    Log(u32),
    /// In its own block, which was freed.
    Block,
}

/// Deleted files whose freed blocks still say where all of them is: small ones with their contents in
/// the inode, and short symbolic links. Linux does not clear these, unlike extents, which `rm` leaves
/// as well.
pub fn freed(fs: &Fs, slot: u16) -> Result<BTreeMap<Blkno, Deleted>, Problem> {
    let mut found = BTreeMap::new();
    let allocator = fs.volume.allocator(fs.volume.system_file(SystemFile::InodeAlloc(slot))?)?;
    for group in fs.volume.groups(&allocator) {
        let (group, mut next) = (group?, 0);
        let bits = usize::from(group.desc.bg_bits);
        while let Some(bit) = group.bitmap().next(false, next).filter(|bit| *bit < bits) {
            next = bit + 1;
            let blkno = u32::try_from(bit).ok().and_then(|bit| group.block_of_bit(bit));
            let inode = match blkno.map(|blkno| fs.inode(blkno)) {
                Some(Ok(inode)) => inode,
                Some(Err(err @ Problem::Interrupted(_))) => return Err(err),
                // A block that was never an inode, or cannot be read.
                _ => continue,
            };
            let dtime = inode.dinode.i_dtime;
            let is_gone = !inode.dinode.flags().contains(InodeFlags::VALID) && dtime != 0;
            let is_whole = match inode.dinode.arm() {
                Arm::InlineData | Arm::Symlink => true,
                Arm::ExtentList => inode.dinode.i_clusters > 0,
                _ => false,
            };
            if is_gone && is_whole && inode.size() > 0 && was_file(fs, &inode) {
                found.insert(inode.blkno, Deleted { inode, dtime, kept: Kept::Block });
            }
        }
    }
    Ok(found)
}

/// Whether an inode is a file that does not belong to the volume, and intact as far as that shows.
fn was_file(fs: &Fs, inode: &Inode) -> bool {
    let dinode = &inode.dinode;
    let none = InodeFlags::SYSTEM | InodeFlags::ORPHANED | InodeFlags::DIO_ORPHANED;
    let is_checked = !fs.has_checks() || matches!(Dinode::validate(inode.block()), Checked::Good);
    dinode.verify_identity(inode.blkno, fs.volume.generation()).is_ok()
        && is_checked
        && !dinode.flags().intersects(none)
        && matches!(inode.kind(), Some(FileKind::Regular | FileKind::Symlink))
}

impl<'f> Past<'f> {
    /// Reads the whole log of a slot, whether or not it would still be replayed.
    pub fn of_slot(fs: &'f Fs, slot: u16) -> Result<Self, Problem> {
        let journal = fs.volume.journal(slot)?;
        let superblock = &journal.superblock;
        let places = places(fs, &journal.inode)?;
        let end = (superblock.s_maxlen as usize).min(places.len());
        let first = superblock.s_first as usize;
        let next = |index: usize| if index + 1 < end { index + 1 } else { first };
        let mut copies = Vec::new();
        for index in first..end {
            let Some(at) = places.get(index) else { break };
            let block = fs.block(*at)?;
            let header = JournalHeader::decode(&block)?;
            if header.block_type() != Some(BlockType::Descriptor) {
                continue;
            }
            let (sequence, mut log) = (header.h_sequence, index);
            for tag in tags(&block, superblock.tag_format()) {
                log = next(log);
                let Some(at) = places.get(log).copied().filter(|_| log != index) else { break };
                // From here on a later transaction has overwritten this one.
                if JournalHeader::decode(&fs.block(at)?)?.block_type().is_some() {
                    break;
                }
                let is_escaped = tag.flags.contains(TagFlags::ESCAPE);
                copies.push(Copy { home: tag.blkno, at, sequence, is_escaped });
            }
        }
        copies.sort_by_key(|copy| copy.sequence);
        Ok(Self { fs, copies })
    }

    /// Returns deleted regular files and symbolic links of which the log has a copy, by inode: each
    /// in its last version that still had a name.
    pub fn deleted(&self) -> Result<BTreeMap<Blkno, Deleted>, Problem> {
        let mut found = BTreeMap::new();
        for copy in self.copies.iter().filter(|copy| !copy.is_escaped) {
            let block = self.fs.block(copy.at)?;
            if !block.starts_with(&Dinode::SIGNATURE) || !self.fs.is_block(copy.home) {
                continue;
            }
            let inode = Inode::decode(copy.home, block)?;
            let is_valid = inode.dinode.flags().contains(InodeFlags::VALID);
            let has_name = is_valid && self.fs.volume.links_count(&inode) > 0;
            if !has_name || !was_file(self.fs, &inode) {
                continue;
            }
            if let Some(dtime) = self.end_of(&inode)? {
                let kept = Kept::Log(copy.sequence);
                found.insert(copy.home, Deleted { inode, dtime, kept });
            }
        }
        Ok(found)
    }

    /// The time at which an inode was deleted; 0 if not known, `None` if it still exists.
    fn end_of(&self, before: &Inode) -> Result<Option<u64>, Problem> {
        let Ok(now) = self.fs.inode(before.blkno) else { return Ok(Some(0)) };
        let is_same = now.dinode.i_generation == before.dinode.i_generation;
        let is_there = now.dinode.flags().contains(InodeFlags::VALID);
        Ok(match (is_same, is_there) {
            (true, true) => None,
            (true, false) => Some(now.dinode.i_dtime),
            // The block belongs to another file or to none.
            (false, _) => Some(0),
        })
    }

    /// The copies that transactions after this one made, in order, each with the block it is of.
    pub fn after(
        &self,
        sequence: u32,
    ) -> impl Iterator<Item = Result<(Blkno, Vec<u8>), Problem>> + use<'_, 'f> {
        let copies = self.copies.iter().filter(move |it| it.sequence > sequence && !it.is_escaped);
        copies.map(|copy| Ok((copy.home, self.fs.block(copy.at)?)))
    }

    /// The transaction before the one in which an inode was freed; `None` if the log does not have it.
    pub fn freed_in(&self, inode: &Inode) -> Result<Option<u32>, Problem> {
        let copies = self.copies.iter().filter(|copy| copy.home == inode.blkno && !copy.is_escaped);
        for copy in copies {
            let then = Inode::decode(copy.home, self.fs.block(copy.at)?)?;
            let is_same = then.dinode.i_generation == inode.dinode.i_generation;
            if is_same && !then.dinode.flags().contains(InodeFlags::VALID) {
                return Ok(Some(copy.sequence.saturating_sub(1)));
            }
        }
        Ok(None)
    }

    /// The volume at the time of this transaction, as far as the log has it.
    pub fn volume_at(&self, sequence: u32) -> Result<Volume, Problem> {
        let volume = &self.fs.volume;
        let below = Arc::clone(volume.device());
        let overlay = OverlayDevice::within(below, volume.block_size().bytes(), MEMORY);
        let overlay = Arc::new(overlay);
        let until = self.copies.iter().take_while(|copy| copy.sequence <= sequence);
        for copy in until.filter(|copy| self.fs.is_block(copy.home)) {
            let mut block = self.fs.block(copy.at)?;
            if copy.is_escaped
                && let Some(magic) = block.get_mut(..4)
            {
                magic.copy_from_slice(&ocfs2_format::journal::JBD2_MAGIC.to_be_bytes());
            }
            let offset = copy.home.offset_bytes(volume.block_size()).unwrap_or(u64::MAX);
            let written = overlay.write_at(&block, offset);
            written.map_err(|source| Error::Write { blkno: copy.home, source })?;
        }
        Ok(volume.on(overlay))
    }
}

/// The blocks of a journal, in order of the file.
pub fn places(fs: &Fs, inode: &Inode) -> Result<Vec<Blkno>, Problem> {
    let bits = fs.volume.geometry().bpc_bits();
    let mut places = Vec::new();
    for extent in fs.volume.tree(inode)?.extents() {
        fs.check()?;
        let extent = extent?;
        let count = u64::from(extent.clusters) << bits;
        places.extend((extent.blkno.0..extent.blkno.0 + count).map(Blkno));
    }
    Ok(places)
}
