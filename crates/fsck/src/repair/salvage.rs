//! System files without an entry, recognised by their inodes, and the system directory recreated
//! from them.
//!
//! Both mkfs put the inodes of the system directly after that of the system directory, in a fixed
//! order: a file is known by its place and its flags. Inodes in other places, such as those of
//! slots added later, are told apart by their flags and their order. The area around the system
//! directory is always searched, the whole volume only if requested.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::chain::{ChainList, suballocator_group_bytes};
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::{Inode, SystemFile, Volume};

use super::layout::{self, Files, Layout};
use super::{EditError, Repair, system_dir};
use crate::read::corrected::correct;
use crate::read::system::is_top;

/// Bytes read at a time.
const PIECE_BYTES: u32 = 1 << 20;

/// The most inodes of the system that are looked at: several times as many as there can be.
const MOST_INODES: usize = 1 << 14;

/// What was recognised; searched for at most once.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether to search the whole volume.
    everywhere: bool,
    found: OnceLock<Known>,
}

#[derive(Debug)]
struct Known {
    /// The block of each file.
    files: Files,
    /// The blocks of files whose inodes are gone.
    empty: Files,
}

impl Lost {
    /// A search around the system directory, or of the whole volume if `everywhere`.
    pub fn new(everywhere: bool) -> Self {
        Self(Arc::new(Inner { everywhere, found: OnceLock::new() }))
    }

    /// The blocks of the inodes of system files.
    pub fn files(&self, volume: &Volume) -> &Files {
        &self.known(volume).files
    }

    fn known(&self, volume: &Volume) -> &Known {
        self.0.found.get_or_init(|| recognise(volume, &candidates(volume, self.0.everywhere)))
    }

    /// The inodes of system files that are still where mkfs put them, by the layout that agrees
    /// best with `named`, the entries. A file whose inode is elsewhere or of another kind is not
    /// included.
    pub fn placed(&self, volume: &Volume, named: &Files) -> Files {
        let agree = |placed: &Files| {
            placed.iter().filter(|(file, blkno)| named.get(file) == Some(blkno)).count()
        };
        Layout::best(volume, &candidates(volume, false), agree).placed
    }

    fn hint(&self) -> &'static str {
        if self.0.everywhere { "" } else { "; --salvage searches the whole volume" }
    }
}

/// Recreates the system directory with all files that can be recognised. Lost files whose place is
/// known get an entry as well: their inodes are recreated in the same place, since what was
/// allocated from them names that block.
pub fn system_directory(lost: Lost) -> Repair {
    Repair::first(move |editor| {
        let Known { files, empty } = lost.known(editor.volume());
        let is_recognised = files.contains_key(&SystemFile::GlobalBitmap)
            || files.contains_key(&SystemFile::GlobalInodeAlloc);
        if !is_recognised && !layout::is_as_made(editor.volume()) {
            let text = format!("no allocator can be recognised{}", lost.hint());
            return Err(EditError::Impossible(text));
        }
        let files: Files = files.iter().chain(empty).map(|(file, blkno)| (*file, *blkno)).collect();
        system_dir::write(editor, &files.into_iter().collect::<Vec<_>>())
    })
}

/// Inodes of the system, by block; as they are, apart from a single wrong bit.
fn candidates(volume: &Volume, everywhere: bool) -> BTreeMap<Blkno, Inode> {
    let dir = volume.superblock().s_system_dir_blkno.0;
    // Whatever the superblock states, nothing is read beyond the end of the device.
    let on_device = volume.device().size_bytes() >> volume.block_size().bits();
    let end = volume.geometry().blocks().min(on_device);
    let piece = PIECE_BYTES >> volume.block_size().bits();
    let around =
        u64::from(suballocator_group_bytes(volume.block_size())) >> volume.block_size().bits();
    let around = around.max(1024);
    let (mut at, end) = match everywhere {
        true => (0, end),
        false => (dir.saturating_sub(around), dir.saturating_add(around).min(end)),
    };
    let size = volume.block_size().size();
    let mut found = BTreeMap::new();
    while at < end && found.len() < MOST_INODES {
        let count = u32::try_from(end - at).unwrap_or(piece).min(piece);
        let start = Blkno(at);
        at += u64::from(count);
        let bytes = match volume.read_blocks(start, count) {
            Ok(bytes) => bytes,
            // An unreadable block does not hide its neighbours.
            Err(_) => one_by_one(volume, start, count),
        };
        for (index, block) in (0_u64..).zip(bytes.chunks_exact(size)) {
            let blkno = Blkno(start.0 + index);
            if block.starts_with(&Dinode::SIGNATURE)
                && let Some(inode) = system_inode(volume, blkno, block.to_vec())
            {
                found.insert(blkno, inode);
            }
        }
    }
    found
}

fn one_by_one(volume: &Volume, start: Blkno, count: u32) -> Vec<u8> {
    let size = volume.block_size().size();
    let blocks = (start.0..start.0 + u64::from(count)).map(Blkno);
    blocks.flat_map(|blkno| volume.read_block(blkno).unwrap_or_else(|_| vec![0; size])).collect()
}

fn system_inode(volume: &Volume, blkno: Blkno, mut block: Vec<u8>) -> Option<Inode> {
    correct(volume, &mut block, Dinode::CHECK_OFFSET);
    let inode = Inode::decode(blkno, block).ok()?;
    let dinode = &inode.dinode;
    let is_one = dinode.i_fs_generation == volume.generation()
        && dinode.i_blkno == blkno
        && dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT
        && dinode.flags().contains(InodeFlags::VALID | InodeFlags::SYSTEM)
        && !is_top(volume, blkno);
    is_one.then_some(inode)
}

/// Whether an inode can be that of a file, by its kind, flags and chains.
pub(super) fn fits(volume: &Volume, inode: &Inode, file: SystemFile) -> bool {
    let dinode = &inode.dinode;
    if dinode.flags() != file.flags() || dinode.kind() != Some(file.kind()) {
        return false;
    }
    if !file.flags().contains(InodeFlags::CHAIN) {
        return true;
    }
    // Only the global bitmap has a chain that points to the first cluster group.
    let first = volume.geometry().group_blkno(0);
    let leads = ChainList::new(inode.id2())
        .is_ok_and(|list| list.records().any(|record| record.c_blkno == first));
    let is_bitmap = leads || dinode.i_clusters == volume.geometry().clusters;
    is_bitmap == (file == SystemFile::GlobalBitmap)
}

/// Whether an inode cannot be that of a file: by its kind, or by what an allocator has given out.
pub(crate) fn contradicts(volume: &Volume, inode: &Inode, file: SystemFile) -> bool {
    if !fits(volume, inode, file) {
        return true;
    }
    let slot = match file {
        SystemFile::GlobalInodeAlloc => Some(Dinode::GLOBAL_SLOT),
        SystemFile::InodeAlloc(slot) => Some(slot),
        SystemFile::ExtentAlloc(_) => None,
        _ => return false,
    };
    let Some(block) = first_allocated(volume, inode) else { return false };
    let dinode = Dinode::decode(&block).ok();
    let dinode = dinode.filter(|dinode| dinode.i_signature == Dinode::SIGNATURE);
    match (dinode, slot) {
        (Some(dinode), Some(slot)) => dinode.i_suballoc_slot != slot,
        (Some(_), None) => true,
        // A block that was just allocated may not be written yet.
        (None, Some(_)) => ExtentBlock::decode(&block).is_ok_and(|it| {
            [ExtentBlock::SIGNATURE, XattrBlock::SIGNATURE, DxRoot::SIGNATURE]
                .contains(&it.h_signature)
        }),
        (None, None) => false,
    }
}

/// The first allocated block of the first group of an allocator.
fn first_allocated(volume: &Volume, allocator: &Inode) -> Option<Vec<u8>> {
    let list = ChainList::new(allocator.id2()).ok()?;
    let first = list.records().next()?.c_blkno;
    if !volume.geometry().is_valid_block(first) {
        return None;
    }
    let block = volume.read_block(first).ok()?;
    let desc = GroupDesc::decode(&block).ok()?;
    if desc.bg_signature != GroupDesc::SIGNATURE {
        return None;
    }
    let bitmap = block.get(GroupDesc::BITMAP_OFFSET..)?;
    let bits = usize::from(desc.bg_bits).min(8 * bitmap.len());
    let bit = Bitmap::new(bitmap, bits).next(true, 1)?;
    let blkno = Blkno(first.0.checked_add(bit as u64)?);
    volume.geometry().is_valid_block(blkno).then(|| volume.read_block(blkno).ok())?
}

/// Determines which inode is which file.
fn recognise(volume: &Volume, inodes: &BTreeMap<Blkno, Inode>) -> Known {
    let layout = Layout::best(volume, inodes, BTreeMap::len);
    let mut files = layout.placed;
    files.retain(|file, blkno| {
        inodes.get(blkno).is_some_and(|inode| !contradicts(volume, inode, *file))
    });
    let mut taken: HashSet<Blkno> = files.values().copied().collect();
    for file in SystemFile::expected(volume, volume.max_slots()) {
        if files.contains_key(&file) {
            continue;
        }
        let left = inodes.iter().filter(|(blkno, _)| !taken.contains(blkno));
        let mut left = left.map(|(blkno, inode)| (*blkno, inode));
        let next = left.find(|(_, inode)| !contradicts(volume, inode, file));
        if let Some((blkno, _)) = next {
            taken.insert(blkno);
            files.insert(file, blkno);
        }
    }
    let mut empty = layout.places;
    empty.retain(|file, blkno| {
        let is_known = files.contains_key(file) || taken.contains(blkno);
        file.slot().is_none_or(|slot| slot < volume.max_slots())
            && !is_known
            && layout::home(volume, *blkno).is_some()
            && is_no_inode(volume, *blkno)
    });
    Known { files, empty }
}

/// Whether a block is readable and does not hold an inode.
fn is_no_inode(volume: &Volume, blkno: Blkno) -> bool {
    let block = volume.geometry().is_valid_block(blkno).then(|| volume.read_block(blkno));
    block.is_some_and(|block| block.is_ok_and(|block| !block.starts_with(&Dinode::SIGNATURE)))
}
