//! System files that no entry leads to any more, recognised by their inodes, and the system
//! directory made anew from them.
//!
//! Both mkfs put the inodes of the system one after the other behind that of the system
//! directory, in a fixed order: a file is known by its place and its flags. Inodes in other
//! places, such as those of slots that were added later, are told apart by their flags and
//! their order. What is around the system directory is always looked at; the whole volume only
//! if that was asked for.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::chain::{ChainList, suballocator_group_bytes};
use ocfs2_format::check;
use ocfs2_format::dinode::{Dinode, DynFeatures, InodeFlags};
use ocfs2_format::dir::{FileType, entry_size};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::{ExtentBlock, ExtentFlags, ExtentRec, write_extent_list};
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::inline::InlineData;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};
use ocfs2_volume::{Error, Inode, Volume};

use super::directory::{Directory, Entry};
use super::{EditError, Editor, Repair};
use crate::start::{SystemFile, has_quota, is_top};

/// Bytes that are read at once.
const PIECE_BYTES: u32 = 1 << 20;

/// Slots that a volume is supposed to have had when it was made, though it has fewer now.
const MOST_SLOTS: u16 = 32;
/// Inodes of the system that are looked at: several times as many as there can be.
const MOST_INODES: usize = 1 << 14;

/// What was recognised, found out at most once.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether to search the whole volume.
    everywhere: bool,
    found: OnceLock<BTreeMap<SystemFile, Blkno>>,
}

impl Lost {
    /// To be searched for around the system directory, or `everywhere`.
    pub fn new(everywhere: bool) -> Self {
        Self(Arc::new(Inner { everywhere, found: OnceLock::new() }))
    }

    /// Where the inodes of the system files are.
    pub fn files(&self, volume: &Volume) -> &BTreeMap<SystemFile, Blkno> {
        self.0.found.get_or_init(|| recognise(volume, &candidates(volume, self.0.everywhere)))
    }

    /// Where the inodes of system files are that are in the places that they got when the volume was
    /// made, by the layout that agrees best with the entries, which are `named`: a file whose
    /// inode is elsewhere, or is of another kind, is not in it.
    pub fn placed(
        &self,
        volume: &Volume,
        named: &BTreeMap<SystemFile, Blkno>,
    ) -> BTreeMap<SystemFile, Blkno> {
        let agree = |placed: &BTreeMap<SystemFile, Blkno>| {
            placed.iter().filter(|(file, blkno)| named.get(file) == Some(blkno)).count()
        };
        best_placed(volume, &candidates(volume, false), agree)
    }

    fn hint(&self) -> &'static str {
        if self.0.everywhere { "" } else { "; --salvage searches the whole volume" }
    }
}

/// Makes the system directory anew, with all files that can be recognised.
pub fn system_directory(lost: Lost) -> Repair {
    Repair::first(move |editor| {
        let found = lost.files(editor.volume());
        if !found.contains_key(&SystemFile::GlobalBitmap)
            && !found.contains_key(&SystemFile::GlobalInodeAlloc)
        {
            let text = format!("no allocator can be recognised{}", lost.hint());
            return Err(EditError::Impossible(text));
        }
        let files: Vec<_> = found.iter().map(|(file, blkno)| (*file, *blkno)).collect();
        write(editor, &files)
    })
}

/// Inodes of the system, in their order, as they are.
fn candidates(volume: &Volume, everywhere: bool) -> BTreeMap<Blkno, Inode> {
    let dir = volume.superblock().s_system_dir_blkno.0;
    // Whatever the superblock says, there is nothing behind the end of the device.
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
            // A block that cannot be read does not hide those beside it.
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
    if volume.has(Incompat::META_ECC) {
        check::correct(&mut block, Dinode::CHECK_OFFSET);
    }
    let inode = Inode::decode(blkno, block).ok()?;
    let dinode = &inode.dinode;
    let is_one = dinode.i_fs_generation == volume.generation()
        && dinode.i_blkno == blkno
        && dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT
        && dinode.flags().contains(InodeFlags::VALID | InodeFlags::SYSTEM)
        && !is_top(volume, blkno);
    is_one.then_some(inode)
}

/// Whether an inode can be that of a file.
fn fits(volume: &Volume, inode: &Inode, file: SystemFile) -> bool {
    let dinode = &inode.dinode;
    if dinode.flags() != file.flags() || dinode.kind() != Some(file.kind()) {
        return false;
    }
    if !file.flags().contains(InodeFlags::CHAIN) {
        return true;
    }
    // Only the chains of one allocator lead to the first group of all clusters.
    let first = volume.geometry().group_blkno(0);
    let leads = ChainList::new(inode.id2())
        .is_ok_and(|list| list.records().any(|record| record.c_blkno == first));
    let is_bitmap = leads || dinode.i_clusters == volume.geometry().clusters;
    is_bitmap == (file == SystemFile::GlobalBitmap)
}

/// Whether an inode cannot be that of a file: by its kind, or by what is in an allocator.
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
        // What is allocated last is not written yet.
        (None, Some(_)) => ExtentBlock::decode(&block).is_ok_and(|it| {
            [ExtentBlock::SIGNATURE, XattrBlock::SIGNATURE, DxRoot::SIGNATURE]
                .contains(&it.h_signature)
        }),
        (None, None) => false,
    }
}

/// The first block that an allocator has given out, in the first of its groups.
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

/// Tells by their places which inodes are which files: they follow the system directory in the order
/// of [`SystemFile::expected`]. The volume may have had other slots when it was made, and no quota:
/// of all layouts that is taken of which `worth` is the highest.
fn best_placed(
    volume: &Volume,
    inodes: &BTreeMap<Blkno, Inode>,
    worth: impl Fn(&BTreeMap<SystemFile, Blkno>) -> usize,
) -> BTreeMap<SystemFile, Blkno> {
    let dir = volume.superblock().s_system_dir_blkno.0;
    let placed = |slots: u16, quotas: &[QuotaKind]| -> BTreeMap<SystemFile, Blkno> {
        let is_first = |file: &SystemFile| file.quota().is_none_or(|kind| quotas.contains(&kind));
        let files = (1_u64..).zip(SystemFile::expected(volume, slots).filter(is_first));
        let at = |index: u64| dir.checked_add(index).map(Blkno);
        files
            .filter_map(|(index, file)| {
                let blkno = at(index)?;
                inodes.get(&blkno).filter(|inode| fits(volume, inode, file))?;
                Some((file, blkno))
            })
            .collect()
    };
    let all =
        [QuotaKind::User, QuotaKind::Group].map(|kind| has_quota(volume, kind).then_some(kind));
    let mut quotas = vec![all.into_iter().flatten().collect()];
    quotas.extend(all.into_iter().flatten().map(|kind| vec![kind]));
    quotas.push(Vec::new());
    quotas.dedup();
    let slots = (0..=volume.max_slots()).rev().chain(volume.max_slots() + 1..=MOST_SLOTS);
    let slots: Vec<_> = slots.collect();
    let layouts = quotas.iter().flat_map(|quotas| slots.iter().map(|slots| placed(*slots, quotas)));
    let layouts = layouts.map(|placed| (worth(&placed), placed));
    let best = layouts.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map_or(BTreeMap::new(), |(_, placed)| placed)
}

/// Tells which inode is which file.
fn recognise(volume: &Volume, inodes: &BTreeMap<Blkno, Inode>) -> BTreeMap<SystemFile, Blkno> {
    let mut found = best_placed(volume, inodes, BTreeMap::len);
    let slots = volume.max_slots();
    let mut taken: HashSet<Blkno> = found.values().copied().collect();
    for file in SystemFile::expected(volume, slots) {
        if found.contains_key(&file) {
            continue;
        }
        let left = inodes.iter().filter(|(blkno, _)| !taken.contains(blkno));
        let mut left = left.map(|(blkno, inode)| (*blkno, inode));
        let next = left.find(|(_, inode)| !contradicts(volume, inode, file));
        if let Some((blkno, _)) = next {
            taken.insert(blkno);
            found.insert(file, blkno);
        }
    }
    found
}

/// Writes the inode of the system directory and these entries.
fn write(editor: &mut Editor<'_>, files: &[(SystemFile, Blkno)]) -> Result<(), EditError> {
    let volume = editor.volume();
    let blkno = volume.superblock().s_system_dir_blkno;
    let block_size = volume.block_size().size();
    let entries: Vec<_> = files.iter().map(|(file, inode)| entry(*file, *inode)).collect();
    let bytes: usize = entries.iter().map(|entry| entry_size(entry.name.len())).sum();
    let room = block_size.saturating_sub(Dinode::ID2_OFFSET + InlineData::SIZE);
    let is_inline =
        volume.has(Incompat::INLINE_DATA) && bytes + entry_size(1) + entry_size(2) <= room;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    // Its siblings are in the same group.
    let sibling = files.first().and_then(|(_, blkno)| editor.inode(*blkno).ok());
    let loc = sibling.map_or(Blkno(0), |inode| inode.dinode.i_suballoc_loc);
    let bit = blkno.0.checked_sub(loc.0).and_then(|bit| u16::try_from(bit).ok());
    let directories = files.iter().filter(|(file, _)| file.kind().mode_bits() == 0o040_000);
    let features = if is_inline { DynFeatures::INLINE_DATA } else { DynFeatures::empty() };
    let mut dinode = Dinode {
        i_signature: Dinode::SIGNATURE,
        i_generation: time as u32,
        i_suballoc_slot: Dinode::GLOBAL_SLOT,
        i_suballoc_bit: bit.unwrap_or_default(),
        i_suballoc_loc: loc,
        i_fs_generation: volume.generation(),
        i_blkno: blkno,
        i_mode: 0o040_755,
        i_links_count: u16::try_from(2 + directories.count()).unwrap_or(2),
        i_flags: (InodeFlags::VALID | InodeFlags::SYSTEM).bits(),
        i_dyn_features: features.bits(),
        i_atime: time,
        i_ctime: time,
        i_mtime: time,
        ..Dinode::default()
    };
    if is_inline {
        editor.create(blkno, Dinode::CHECK_OFFSET, &dinode, |id2| {
            let id_count = id2.len().saturating_sub(InlineData::SIZE) as u16;
            let _ = InlineData { id_count, ..InlineData::default() }.encode(id2);
        })?;
        let Some(mut directory) = Directory::empty(editor, blkno, blkno)? else { return Ok(()) };
        entries.into_iter().for_each(|entry| directory.add(entry));
        return directory.write(editor);
    }
    // No allocator is known yet: clusters are taken that are free by what the groups say, and
    // the next check finds that they are in use.
    let geometry = *volume.geometry();
    let blocks = 2 + 2 * bytes as u64 / block_size as u64;
    let count = u16::try_from(blocks.div_ceil(u64::from(geometry.blocks_per_cluster())))
        .unwrap_or(u16::MAX);
    let start = free_run(volume, u32::from(count)).ok_or(EditError::NoRoom("a directory"))?;
    let first = geometry.block_of(start);
    let size = u64::from(count) << geometry.cluster_size.bits();
    let failed = |source| Error::Write { blkno: first, source };
    let at = first.0 << geometry.block_size.bits();
    volume.device().zero(at, size).map_err(failed)?;
    (dinode.i_clusters, dinode.i_size) = (count.into(), size);
    editor.create(blkno, Dinode::CHECK_OFFSET, &dinode, |id2| {
        let record = ExtentRec::leaf(Cpos(0), count, ExtentFlags::empty(), first);
        let _ = write_extent_list(id2, 0, &[record]);
    })?;
    let Some(mut directory) = Directory::empty(editor, blkno, blkno)? else { return Ok(()) };
    directory.put_first(entries);
    directory.write(editor)
}

/// The entry of a system file.
pub(super) fn entry(file: SystemFile, inode: Blkno) -> Entry {
    let file_type = FileType::ALL.into_iter().find(|it| it.kind() == Some(file.kind()));
    let file_type = file_type.unwrap_or(FileType::Regular);
    Entry { inode, file_type, name: file.name().into_bytes() }
}

/// So many clusters in a row that are free by what the descriptors of all groups say.
fn free_run(volume: &Volume, count: u32) -> Option<Cluster> {
    let geometry = volume.geometry();
    (0..geometry.groups()).find_map(|group| {
        let block = volume.read_block(geometry.group_blkno(group)).ok()?;
        let desc = GroupDesc::decode(&block).ok()?;
        if desc.bg_signature != GroupDesc::SIGNATURE || desc.bg_generation != volume.generation() {
            return None;
        }
        let bits = geometry.group_clusters(group) as usize;
        let bitmap = Bitmap::new(block.get(GroupDesc::BITMAP_OFFSET..)?, bits);
        let run = bitmap.runs(false).find(|run| run.len() >= count as usize)?;
        Some(Cluster(geometry.group_start(group).0 + run.start as u32))
    })
}
