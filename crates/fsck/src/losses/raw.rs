//! Inodes and directories as they are, whatever is wrong with them.

use ocfs2_format::dinode::{Dinode, FileKind, InodeFlags};
use ocfs2_format::dir::{self, DirEntryHeader, DirTrailer, FileType, entry_size};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::dir::Barren;
use ocfs2_volume::{Inode, Volume};

use crate::clusters::ClusterSet;
use crate::inodes::shape;
use crate::others::Others;
use crate::read::corrected::{correct, read_corrected};
use crate::read::holds::Holds;
use crate::read::misplaced;
use crate::repair::share::{clusters_of, cut};
use crate::repair::tree;

/// Reads the inode in a block; `None` unless it is in use.
pub(super) fn inode(volume: &Volume, blkno: Blkno) -> Option<Inode> {
    if !volume.geometry().is_valid_block(blkno) {
        return None;
    }
    let mut inode = Inode::decode(blkno, read_corrected::<Dinode>(volume, blkno).ok()?).ok()?;
    let _ = shape::of_volume(volume, &mut inode);
    let dinode = &inode.dinode;
    let in_use = dinode.i_signature == Dinode::SIGNATURE
        && dinode.i_fs_generation == volume.generation()
        && dinode.flags().contains(InodeFlags::VALID);
    // An inode written to the place of another says nothing about that one.
    let is_here = in_use && (dinode.i_blkno == blkno || !misplaced::is_elsewhere(volume, blkno));
    is_here.then_some(inode)
}

/// Reads what is left of a directory: the entries of one in use, or of one with a damaged inode
/// whose `.` still identifies it. `None` if it was deleted.
pub(super) fn directory(volume: &Volume, blkno: Blkno, blocks: &mut u64) -> Option<Entries> {
    if let Some(inode) = inode(volume, blkno) {
        return inode.is_dir().then(|| entries(volume, &inode, blocks));
    }
    wreck(volume, blkno, blocks)
}

/// Reads the entries of a directory whose inode is damaged.
pub(super) fn wreck(volume: &Volume, blkno: Blkno, blocks: &mut u64) -> Option<Entries> {
    if *blocks == 0 || !volume.geometry().is_valid_block(blkno) || inode(volume, blkno).is_some() {
        return None;
    }
    let inode = Inode::decode(blkno, volume.read_block(blkno).ok()?).ok()?;
    if crate::inodes::was_deleted(blkno, &inode.dinode) {
        return None;
    }
    let data = InlineData::data(inode.id2()).ok();
    let data = data.filter(|data| !data.is_empty()).or_else(|| inode.id2().get(InlineData::SIZE..));
    if let Some(data) = data.filter(|data| is_own_dot(blkno, data)) {
        let mut read = Entries::default();
        read.area(data, volume);
        *blocks -= 1;
        return Some(read);
    }
    let gathered = tree::gather(volume, blkno, inode.id2(), Holds::Dense, false).ok()?;
    let first = volume.read_block(gathered.extents.first()?.e_blkno).ok()?;
    is_own_dot(blkno, &first).then(|| entries_of_extents(volume, &inode, blocks))
}

/// Whether entries begin with the `.` of the directory `dir`.
fn is_own_dot(dir: Blkno, bytes: &[u8]) -> bool {
    let first = dir::entries(bytes).next().and_then(Result::ok);
    first.is_some_and(|entry| entry.name == b"." && entry.header.inode == dir)
}

/// An entry of a directory.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Entry {
    pub name: Vec<u8>,
    pub inode: Blkno,
    /// Whether it may point to a directory: its type is that, or invalid.
    pub may_be_dir: bool,
    /// The code of the type that it states.
    pub file_type: u8,
}

/// The entries of a directory except `.` and `..`, and what else is known of it.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub entries: Vec<Entry>,
    /// The inode that `..` points to.
    pub parent: Option<Blkno>,
    /// Whether there may be more entries, which cannot be read.
    pub is_incomplete: bool,
    /// Number of entries so far, used or not: the first two are `.` and `..`.
    number: u64,
    /// How many of the entries are in the places of these two.
    in_place_of_dots: usize,
}

/// Bytes of the names `.` and `..` with padding.
const DOTS: usize = 4;
/// The most bits of the names `.` and `..` that may be wrong.
const WRONG_BITS: u32 = 2;

/// Whether an entry is `.` or `..` by its place, with a wrong length or wrong bits in its name.
/// Anything after a NUL is not part of the name.
fn is_dots(number: u64, name: &[u8]) -> bool {
    let dots: &[u8] = match number {
        0 => b".",
        1 => b"..",
        _ => return false,
    };
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = name.get(..end).unwrap_or(name);
    let wrong_bits: u32 = name.iter().zip(dots).map(|(a, b)| (a ^ b).count_ones()).sum();
    name.len() <= dots.len() && wrong_bits <= WRONG_BITS
}

/// Reads a directory, and at most `blocks` of its blocks; subtracts the number read.
pub(super) fn entries(volume: &Volume, dir: &Inode, blocks: &mut u64) -> Entries {
    let mut read = Entries::default();
    if dir.is_inline() {
        let data = InlineData::data(dir.id2()).unwrap_or_default();
        let size = usize::try_from(dir.size()).unwrap_or(usize::MAX);
        read.area(data.get(..size).unwrap_or(data), volume);
        *blocks = blocks.saturating_sub(1);
        read.without(dir.blkno);
        return read;
    }
    entries_of_extents(volume, dir, blocks)
}

fn entries_of_extents(volume: &Volume, dir: &Inode, blocks: &mut u64) -> Entries {
    let mut read = Entries::default();
    let Ok(gathered) = tree::gather(volume, dir.blkno, dir.id2(), Holds::Dense, false) else {
        read.is_incomplete = true;
        return read;
    };
    let geometry = volume.geometry();
    let bits = geometry.bpc_bits();
    let wanted = geometry.blocks_for(dir.size());
    let mut left = wanted;
    let trailers = volume.has_dir_trailers(dir);
    let size = volume.block_size().size();
    let mut barren = Barren::default();
    let (mut others, mut seen) = (Others::default(), ClusterSet::default());
    // Repeated clusters are read once: no name is lost with the repetition.
    let parts = gathered.extents.iter().flat_map(|rec| {
        let (whole, mut again) = (clusters_of(rec, bits), Vec::new());
        seen.insert(whole.clone(), |run| again.push(run));
        cut(whole, &again)
    });
    for (part, is_again) in parts {
        let run = (u64::from(part.start) << bits)..(u64::from(part.end) << bits);
        if is_again {
            left = left.saturating_sub(run.end - run.start);
            continue;
        }
        for blkno in run.map(Blkno) {
            if left < wanted {
                // The first block held `.` and `..`, even if it cannot be read.
                read.number = read.number.max(2);
            }
            if left == 0 || *blocks == 0 || barren.are_too_many() {
                break;
            }
            (left, *blocks) = (left - 1, *blocks - 1);
            let Ok(mut block) = volume.read_block(blkno) else {
                read.is_incomplete = true;
                continue;
            };
            correct(volume, &mut block, DirTrailer::check_offset(size));
            barren.count(Some(&block));
            let trailer = DirTrailer::of_block(&block).ok();
            let trailer = trailer.filter(|it| it.db_signature == DirTrailer::SIGNATURE);
            // Names in a block of another directory do not belong to this one.
            if let Some(trailer) = &trailer
                && trailer.db_blkno == blkno
                && trailer.db_parent_dinode != dir.blkno
                && others.has(volume, trailer.db_parent_dinode, blkno)
            {
                continue;
            }
            let has_trailer = trailer.is_some();
            let len = if trailers || has_trailer { DirTrailer::offset(size) } else { size };
            read.area(block.get(..len).unwrap_or_default(), volume);
        }
    }
    read.is_incomplete |= left > 0;
    read.without(dir.blkno);
    read
}

impl Entries {
    /// Reads the entries of one area: a block, or the data of an inode.
    fn area(&mut self, bytes: &[u8], volume: &Volume) {
        let mut start = 0;
        while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
            let mut bad = None;
            for entry in dir::entries(rest) {
                match entry {
                    Ok(entry) => self.entry(&entry.header, entry.name, volume),
                    Err(err) => bad = Some(err.offset),
                }
            }
            let Some(rest) = bad.and_then(|bad| rest.get(bad..)) else { return };
            let next = next(rest, volume);
            let header = DirEntryHeader::decode(rest).unwrap_or_default();
            let name = rest.get(DirEntryHeader::SIZE..).unwrap_or_default();
            let name = match is_dots(self.number, name.get(..DOTS).unwrap_or_default()) {
                // Its length is known, whatever it states.
                true => name.get(..1 + usize::from(self.number == 1)).unwrap_or_default(),
                false => name.get(..usize::from(header.name_len)).unwrap_or_default(),
            };
            let is_one = !header.inode.is_none()
                && !name.is_empty()
                && entry_size(name.len()) <= next
                && volume.geometry().is_valid_block(header.inode);
            if is_one {
                self.entry(&header, name, volume);
            } else {
                self.number += 1;
            }
            // An entry ends with its name: the bytes up to the next one are unknown, unless they
            // are zeros. Without a next one, the entries filled the rest.
            let known = if is_one { entry_size(name.len()) } else { 0 };
            let unknown = rest.get(known..next).unwrap_or_default();
            self.is_incomplete |= !is_one || unknown.iter().any(|byte| *byte != 0);
            start = bytes.len() - rest.len() + next;
        }
    }

    /// Drops entries in the places of `.` and `..` that point to the directory itself: they are
    /// damaged dots, not names. Elsewhere such an entry is a name that pointed to another inode.
    fn without(&mut self, dir: Blkno) {
        let mut left = self.in_place_of_dots;
        self.entries.retain(|entry| {
            let is_in_place = left > 0;
            left = left.saturating_sub(1);
            !is_in_place || entry.inode != dir
        });
    }

    fn entry(&mut self, header: &DirEntryHeader, name: &[u8], volume: &Volume) {
        let inode = header.inode;
        let is_inside = volume.geometry().is_valid_block(inode);
        let number = self.number;
        self.number += 1;
        match name {
            _ if inode.is_none() => {}
            b"." => {}
            name if number == 0 && is_dots(0, name) => {}
            name if name == b".." || is_dots(number, name) => {
                self.parent = self.parent.or(Some(inode).filter(|_| is_inside));
            }
            b"" => self.is_incomplete = true,
            name => {
                // A wrong inode number does not make the name doubtful, unless the name is invalid
                // too.
                self.is_incomplete |= !is_inside && name.iter().any(|byte| b"/\0".contains(byte));
                let kind = FileType::from_code(header.file_type).and_then(FileType::kind);
                let may_be_dir = kind.is_none_or(|kind| kind == FileKind::Directory);
                self.in_place_of_dots += usize::from(number < 2);
                self.entries.push(Entry {
                    name: name.to_vec(),
                    inode,
                    may_be_dir,
                    file_type: header.file_type,
                });
            }
        }
    }
}

/// Bytes to the next entry from which on all entries are sound.
fn next(rest: &[u8], volume: &Volume) -> usize {
    let is_start = |at: &usize| {
        let tail = rest.get(*at..).unwrap_or_default();
        let plausible = DirEntryHeader::decode(tail).is_ok_and(|header| {
            header.inode.is_none()
                || header.name_len > 0 && volume.geometry().is_valid_block(header.inode)
        });
        plausible && dir::entries(tail).all(|entry| entry.is_ok())
    };
    (DirEntryHeader::SIZE..rest.len()).step_by(4).find(is_start).unwrap_or(rest.len())
}
