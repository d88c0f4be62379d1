//! The superblock, and recreated system files.

use std::collections::HashSet;

use ocfs2_format::chain::{suballocator_cpg, write_chain_list};
use ocfs2_format::dinode::{Dinode, FileKind, InodeFlags};
use ocfs2_format::extent::write_extent_list;
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::heartbeat::MAX_NODES;
use ocfs2_format::journal::{JournalIncompat, JournalSuperblock, MIN_JOURNAL_BYTES};
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::superblock::{STATE_ERROR, SUPERBLOCK_BLKNO, SuperBlock};
use ocfs2_format::truncate_log::TruncateLogHeader;
use ocfs2_format::{Blkno, Block, Cluster, Structure};
use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::{Inode, SystemFile, Volume};

use super::directory::Directory;
use super::salvage::{Lost, contradicts};
use super::{EditError, Editor, Repair, contested, layout, system_dir, tree};
use crate::read::holds::Holds;
use crate::read::system::{is_system, is_top};
use crate::read::system_group::system_cpg;

/// Changes the superblock, on which everything else depends.
pub fn superblock(change: impl Fn(&mut Dinode, &mut SuperBlock) + Send + Sync + 'static) -> Repair {
    Repair::first(move |editor| edit_superblock(editor, &change))
}

/// The same, after everything else is mended.
pub fn superblock_when_sound(
    change: impl Fn(&mut Dinode, &mut SuperBlock) + Send + Sync + 'static,
) -> Repair {
    Repair::when_sound(move |editor| edit_superblock(editor, &change))
}

fn edit_superblock(
    editor: &mut Editor<'_>,
    change: &dyn Fn(&mut Dinode, &mut SuperBlock),
) -> Result<(), EditError> {
    editor.dinode(SUPERBLOCK_BLKNO, |dinode, bytes| {
        if let Ok(mut superblock) = SuperBlock::decode(bytes) {
            change(dinode, &mut superblock);
            let _ = superblock.encode(bytes);
        }
    })
}

/// Writes the backup of the superblock at `blkno`.
pub fn backup(blkno: Blkno) -> Repair {
    Repair::when_sound(move |editor| {
        let block = editor.volume().read_block(SUPERBLOCK_BLKNO)?;
        editor.block(blkno, None, |bytes| bytes.copy_from_slice(&block))?;
        editor.dinode(blkno, |dinode, bytes| {
            dinode.i_blkno = blkno;
            if let Ok(mut superblock) = SuperBlock::decode(bytes) {
                let marks = Incompat::RESIZE_INPROG | Incompat::TUNEFS_INPROG;
                superblock.s_feature_incompat &= !marks.bits();
                superblock.s_tunefs_flag = 0;
                superblock.s_state &= !STATE_ERROR;
                let _ = superblock.encode(bytes);
            }
        })
    })
}

/// Gives an existing inode the type and flags of a system file.
pub fn reflag(blkno: Blkno, kind: FileKind, flags: InodeFlags) -> Repair {
    Repair::new(move |editor| {
        let generation = editor.volume().generation();
        editor.dinode(blkno, |dinode, _| {
            dinode.i_fs_generation = generation;
            dinode.i_flags = flags.bits();
            dinode.i_mode = kind.mode_bits() | dinode.i_mode & 0o7777;
        })
    })
}

/// Adds a feature that inodes use to the superblock. The next check updates its backups.
pub(crate) fn add_feature(editor: &mut Editor<'_>, feature: Incompat) -> Result<(), EditError> {
    editor.block(SUPERBLOCK_BLKNO, Some(Dinode::CHECK_OFFSET), |block| {
        let Some(bytes) = block.get_mut(Dinode::ID2_OFFSET..) else { return };
        if let Ok(mut superblock) = SuperBlock::decode(bytes) {
            superblock.s_feature_incompat |= feature.bits();
            let _ = superblock.encode(bytes);
        }
    })
}

/// Recreates a missing system file: its entry if the inode still exists, the inode in block `named`
/// if an entry points there, or both.
pub fn make(file: SystemFile, named: Option<Blkno>, lost: Lost) -> Repair {
    Repair::first(move |editor| {
        if let Some(blkno) = named {
            let home = home_of(editor.volume(), blkno);
            return make_file(editor, file, &home);
        }
        let dir = editor.volume().superblock().s_system_dir_blkno;
        let Some(mut directory) = Directory::read(editor, dir)? else { return Ok(()) };
        let name = file.name().into_bytes();
        let is_anothers = |blkno| {
            let names = directory.names_of(blkno).filter(|it| *it != &name[..]);
            let mut others = names.filter_map(SystemFile::of_name);
            let inode = editor.inode(blkno);
            let is_none = inode.is_ok_and(|it| contradicts(editor.volume(), &it, file));
            others.any(|other| is_none || other.precedes(file))
        };
        match directory.find(&name).map(|entry| entry.inode) {
            // It points to an inode that is not one of the system, or that is another file.
            Some(other) if leads_to_others(editor.volume(), other) || is_anothers(other) => {
                directory.retain(|entry| entry.name != name);
            }
            // This read sees more than the check, which stops at a wrong length: writing the
            // directory makes the entry readable for all.
            Some(_) => return directory.write(editor),
            None => {}
        }
        let known = lost.files(editor.volume());
        let is_named = |blkno| directory.names_of(blkno).any(SystemFile::is_name);
        let found = known.get(&file).copied().filter(|blkno| !is_named(*blkno));
        let blkno = match found {
            Some(blkno) => {
                // Its old entry, with an invalid name, goes.
                directory.retain(|entry| entry.inode != blkno);
                blkno
            }
            None => {
                let own = match file {
                    SystemFile::GlobalInodeAlloc => {
                        let volume = editor.volume();
                        home_by_group(volume).or_else(|| layout::global_inode_alloc(volume))
                    }
                    _ => None,
                };
                // A group may name an inode that is another file.
                let is_others = |blkno| is_named(blkno) || known.values().any(|it| *it == blkno);
                let own = own.filter(|home| !is_others(home.blkno));
                let home = own.map_or_else(|| editor.take_system_inode(), Ok)?;
                make_file(editor, file, &home)?;
                home.blkno
            }
        };
        directory.add(system_dir::entry(file, blkno));
        directory.write(editor)
    })
}

/// Whether an inode is known not to be a system file.
fn leads_to_others(volume: &Volume, blkno: Blkno) -> bool {
    is_top(volume, blkno) || volume.inode(blkno).is_ok_and(|inode| !is_system(&inode))
}

/// Points the entries of system files to these inodes.
pub fn lead(files: Vec<(SystemFile, Blkno)>) -> Repair {
    Repair::first(move |editor| {
        let dir = editor.volume().superblock().s_system_dir_blkno;
        let Some(mut directory) = Directory::read(editor, dir)? else { return Ok(()) };
        let names: HashSet<_> = files.iter().map(|(file, _)| file.name().into_bytes()).collect();
        directory.retain(|entry| !names.contains(&entry.name));
        for (file, blkno) in &files {
            directory.add(system_dir::entry(*file, *blkno));
        }
        directory.write(editor)
    })
}

/// Removes empty system files: their entries and their inodes. The next check frees what they had.
pub fn remove(files: Vec<(SystemFile, Blkno)>) -> Repair {
    Repair::first(move |editor| {
        remove_names(editor, &files)?;
        files.iter().try_for_each(|(_, blkno)| editor.delete_inode(*blkno))
    })
}

/// Removes entries of the system directory with wrong names. The inodes stay: they are recognised
/// by their places when a file is found to be missing.
pub fn unname(files: Vec<(SystemFile, Blkno)>) -> Repair {
    Repair::first(move |editor| remove_names(editor, &files))
}

fn remove_names(editor: &mut Editor<'_>, files: &[(SystemFile, Blkno)]) -> Result<(), EditError> {
    let dir = editor.volume().superblock().s_system_dir_blkno;
    let entries: Vec<_> =
        files.iter().map(|(file, blkno)| (file.name().into_bytes(), *blkno)).collect();
    editor.remove_entries(dir, &entries)
}

/// Where an inode of the system was allocated; the next check mends what is not known.
fn home_of(volume: &Volume, blkno: Blkno) -> Suballocated {
    let slot = Dinode::GLOBAL_SLOT;
    let home = |bit, loc| Suballocated { structure: Dinode::NAME, blkno, slot, bit, loc };
    let allocator = volume.system_file(SystemFile::GlobalInodeAlloc);
    let by_group = allocator.and_then(|inode| volume.allocator(inode)).ok().and_then(|allocator| {
        let mut groups = volume.groups(&allocator).filter_map(Result::ok);
        groups.find_map(|group| Some(home(group.bit_of_block(blkno)? as u16, group.blkno)))
    });
    by_group.or_else(|| layout::home(volume, blkno)).unwrap_or(home(0, Blkno(0)))
}

/// Blocks that are searched for the first group of the allocator of the system's inodes: both mkfs
/// put it within these.
const SEARCHED: u64 = 8192;

/// Where the inode of the `global_inode_alloc` was allocated. It is the only allocator with a group
/// that contains the allocator's own inode.
fn home_by_group(volume: &Volume) -> Option<Suballocated> {
    let geometry = volume.geometry();
    let blocks = (geometry.first_group.0..geometry.blocks().min(SEARCHED)).map(Blkno);
    blocks.filter_map(|loc| Some((loc, volume.read_block(loc).ok()?))).find_map(|(loc, block)| {
        if !block.starts_with(&GroupDesc::SIGNATURE) {
            return None;
        }
        let desc = GroupDesc::decode(&block).ok()?;
        let blkno = desc.bg_parent_dinode;
        let bit = u16::try_from(blkno.0.checked_sub(loc.0)?).ok()?;
        // A group of the global bitmap may contain that inode's block as well.
        let (index, _) = geometry.group_of(geometry.cluster_of(loc)?);
        let is_own = loc != geometry.group_blkno(index)
            && desc.bg_generation == volume.generation()
            && desc.bg_blkno == loc
            && (1..desc.bg_bits).contains(&bit)
            && geometry.is_valid_block(blkno);
        let slot = Dinode::GLOBAL_SLOT;
        is_own.then_some(Suballocated { structure: Dinode::NAME, blkno, slot, bit, loc })
    })
}

/// Makes the inode of a system file with the contents of a new file.
fn make_file(
    editor: &mut Editor<'_>,
    file: SystemFile,
    home: &Suballocated,
) -> Result<(), EditError> {
    let volume = editor.volume();
    let system = volume.superblock().s_system_dir_blkno;
    if file.kind() == FileKind::Directory {
        return editor.make_directory(home, file.flags(), system);
    }
    let geometry = *volume.geometry();
    let dinode = Dinode {
        i_mode: 0o100_644,
        i_links_count: 1,
        i_flags: file.flags().bits(),
        ..editor.new_dinode(home)
    };
    let block_size = geometry.block_size;
    let cpg = match file {
        SystemFile::GlobalInodeAlloc => system_cpg(volume, home.blkno),
        _ => None,
    };
    let cpg = cpg
        .and_then(|cpg| u16::try_from(cpg).ok())
        .unwrap_or_else(|| suballocator_cpg(block_size, geometry.cluster_size));
    editor.create(home.blkno, &dinode, |id2| {
        // Each fits into the rest of a block.
        let _ = match file {
            SystemFile::LocalAlloc(_) => {
                let la_size = LocalAlloc::bitmap_size(block_size);
                LocalAlloc { la_size, ..LocalAlloc::default() }.encode(id2)
            }
            SystemFile::TruncateLog(_) => {
                let tl_count = TruncateLogHeader::capacity(block_size);
                TruncateLogHeader { tl_count, ..TruncateLogHeader::default() }.encode(id2)
            }
            SystemFile::GlobalBitmap => {
                write_chain_list(id2, GroupDesc::max_bits(block_size), 1, &[])
            }
            SystemFile::GlobalInodeAlloc
            | SystemFile::InodeAlloc(_)
            | SystemFile::ExtentAlloc(_) => {
                write_chain_list(id2, cpg, geometry.blocks_per_cluster() as u16, &[])
            }
            _ => write_extent_list(id2, 0, &[]),
        };
    })?;
    match file {
        // A count that is too high makes the check search for the groups that name it.
        SystemFile::GlobalInodeAlloc | SystemFile::InodeAlloc(_) | SystemFile::ExtentAlloc(_) => {
            editor.dinode(home.blkno, |dinode, _| dinode.set_bitmap(0, 1))
        }
        SystemFile::SlotMap => slot_map(editor, home.blkno),
        SystemFile::Heartbeat => heartbeat(editor, home.blkno),
        SystemFile::Journal(slot) => {
            let (clusters, features) = others(volume, slot);
            let least = geometry.clusters_for(MIN_JOURNAL_BYTES).unwrap_or(1);
            // Without room for a journal as large as the others, a small one is better than none.
            match make_journal(editor, home.blkno, clusters, features, true) {
                Err(EditError::NoRoom(_)) if clusters > least => {
                    make_journal(editor, home.blkno, least, features, true)
                }
                made => made,
            }?;
            // The journal is clean now, so that no recovery would return what the slot had
            // reserved.
            match empty_slot(editor, slot) {
                Err(EditError::NotYet) => Ok(()),
                emptied => emptied,
            }
        }
        _ => Ok(()),
    }
}

/// The largest number of clusters and the 64-bit feature among the journals of other slots.
fn others(volume: &Volume, but: u16) -> (u32, JournalIncompat) {
    let journals = (0..volume.max_slots()).filter(|slot| *slot != but);
    let journals: Vec<_> = journals.filter_map(|slot| volume.journal(slot).ok()).collect();
    let clusters = journals.iter().map(|it| it.inode.dinode.i_clusters).max().unwrap_or(0);
    let features = journals.iter().map(|it| it.superblock.incompat() & JournalIncompat::BIT64);
    (clusters, features.fold(JournalIncompat::empty(), |all, one| all | one))
}

/// Replaces the contents of an inode by `clusters` new clusters, zeroed if `zeroed`.
fn reallocate(
    editor: &mut Editor<'_>,
    blkno: Blkno,
    clusters: u32,
    in_one_piece: bool,
    zeroed: bool,
) -> Result<(), EditError> {
    let inode = editor.inode(blkno)?;
    let mut id2 = vec![0; inode.id2().len()];
    let _ = write_extent_list(&mut id2, 0, &[]);
    editor.dinode(blkno, |dinode, rest| {
        (dinode.i_clusters, dinode.i_last_eb_blk) = (0, Blkno(0));
        if let Some(bytes) = rest.get_mut(..id2.len()) {
            bytes.copy_from_slice(&id2);
        }
    })?;
    let runs = editor.take_clusters(clusters)?;
    if in_one_piece && runs.len() > 1 {
        return Err(EditError::NoRoom("that many contiguous clusters"));
    }
    let geometry = *editor.volume().geometry();
    for run in runs {
        let mut start = run.start;
        while start < run.end {
            let count = u16::try_from(run.end - start).unwrap_or(u16::MAX);
            tree::append(editor, blkno, Holds::Dense, start, count)?;
            if zeroed {
                let bytes = u64::from(count) << geometry.cluster_size.bits();
                let at = geometry.block_of(Cluster(start)).0 << geometry.block_size.bits();
                let device = editor.volume().device();
                device.zero(at, bytes).map_err(|source| ocfs2_volume::Error::Write {
                    blkno: geometry.block_of(Cluster(start)),
                    source,
                })?;
            }
            start += u32::from(count);
        }
    }
    editor.dinode(blkno, |dinode, _| {
        dinode.i_size = u64::from(clusters) << geometry.cluster_size.bits();
    })
}

/// Replaces a slot map that is too short by an empty one.
pub fn new_slot_map(blkno: Blkno) -> Repair {
    Repair::when_sound(move |editor| slot_map(editor, blkno))
}

fn slot_map(editor: &mut Editor<'_>, blkno: Blkno) -> Result<(), EditError> {
    let volume = editor.volume();
    let format = volume.slot_map_format();
    let bytes = format.size(volume.max_slots());
    let clusters = volume.geometry().clusters_for(bytes as u64).unwrap_or(1).max(1);
    reallocate(editor, blkno, clusters, false, true)?;
    if format == SlotMapFormat::Extended {
        return Ok(());
    }
    // In the old format a free slot is not zero.
    let slots = volume.max_slots();
    let inode = editor.inode(blkno)?;
    let first = first_block(editor.volume(), &inode)?;
    editor.block(first, None, |block| {
        for slot in 0..slots {
            let _ = format.set(block, slot, None);
        }
    })
}

fn first_block(volume: &Volume, inode: &Inode) -> Result<Blkno, EditError> {
    let gathered = tree::gather(volume, inode.blkno, inode.id2(), Holds::Dense, false)?;
    let first = gathered.extents.first().map(|rec| rec.e_blkno);
    first.ok_or_else(|| EditError::Impossible("it has no block".to_owned()))
}

/// Marks a slot as free in the slot map.
pub fn free_slot(slot: u16) -> Repair {
    Repair::new(move |editor| {
        let volume = editor.volume();
        let first = first_block(volume, &volume.system_file(SystemFile::SlotMap)?)?;
        // Slot map entries could be written into a foreign structure, and it would still state what
        // it is.
        if contested::kind(&volume.read_block(first)?, first).is_some() {
            return Err(EditError::Contested(first));
        }
        volume.free_slots(volume.device(), &[slot])?;
        Ok(())
    })
}

/// Replaces a heartbeat region that is too small.
pub fn new_heartbeat(blkno: Blkno) -> Repair {
    Repair::when_sound(move |editor| heartbeat(editor, blkno))
}

fn heartbeat(editor: &mut Editor<'_>, blkno: Blkno) -> Result<(), EditError> {
    let geometry = *editor.volume().geometry();
    let bytes = u64::from(MAX_NODES) * u64::from(geometry.block_size.bytes());
    let clusters = geometry.clusters_for(bytes).unwrap_or(1);
    reallocate(editor, blkno, clusters, true, true)
}

/// Clears the heartbeat region that begins at `start`: no node is alive.
pub fn clear_heartbeat(start: Blkno) -> Repair {
    Repair::new(move |editor| {
        let count = u32::from(MAX_NODES);
        editor.blocks(start, count, None, |bytes| bytes.fill(0))
    })
}

/// How a journal is recreated.
#[derive(Clone, Copy, Debug)]
pub struct NewJournal {
    /// The slot.
    pub slot: u16,
    /// The inode of the journal.
    pub blkno: Blkno,
    /// The least number of clusters.
    pub clusters: u32,
    /// Features beyond those of any journal.
    pub features: JournalIncompat,
    /// Whether its present clusters belong to something else.
    pub elsewhere: bool,
}

/// Recreates an empty journal and returns what its slot had reserved.
pub fn new_journal(new: NewJournal) -> Repair {
    let NewJournal { slot, blkno, clusters, features, elsewhere } = new;
    Repair::once("journal", blkno.0, move |editor| {
        make_journal(editor, blkno, clusters, features, elsewhere)?;
        empty_slot(editor, slot)
    })
}

/// Marks a journal with nothing to replay as clean and returns what its slot had reserved.
pub fn clean_journal(slot: u16, blkno: Blkno) -> Repair {
    Repair::new(move |editor| {
        let is_empty =
            editor.volume().journal(slot).is_ok_and(|journal| journal.superblock.s_start == 0);
        if !is_empty {
            let text = "its log cannot be replayed".to_owned();
            return Err(EditError::Impossible(text));
        }
        mark_clean(editor, blkno)?;
        empty_slot(editor, slot)
    })
}

/// Changes the superblock of a journal, which is in block `blkno`.
pub fn journal_superblock(
    blkno: Blkno,
    change: impl Fn(&mut JournalSuperblock) + Send + Sync + 'static,
) -> Repair {
    Repair::new(move |editor| {
        editor.block(blkno, None, |block| {
            if let Ok(mut superblock) = JournalSuperblock::decode(block) {
                change(&mut superblock);
                let _ = superblock.encode(block);
            }
        })
    })
}

fn mark_clean(editor: &mut Editor<'_>, blkno: Blkno) -> Result<(), EditError> {
    editor.dinode(blkno, |dinode, _| {
        let flags = dinode.journal_flags() & !Dinode::JOURNAL_DIRTY;
        dinode.set_journal(flags, dinode.journal_recovery_generation());
    })
}

fn make_journal(
    editor: &mut Editor<'_>,
    blkno: Blkno,
    clusters: u32,
    features: JournalIncompat,
    elsewhere: bool,
) -> Result<(), EditError> {
    let geometry = *editor.volume().geometry();
    let least = geometry.clusters_for(MIN_JOURNAL_BYTES).unwrap_or(1);
    let clusters = clusters.max(least);
    let inode = editor.inode(blkno)?;
    let has = tree::gather(editor.volume(), blkno, inode.id2(), Holds::Dense, false)?;
    let has = has.extents.iter().map(|rec| u32::from(rec.e_leaf_clusters())).sum::<u32>();
    if elsewhere || has < clusters {
        reallocate(editor, blkno, clusters, false, false)?;
    }
    let clusters = clusters.max(if elsewhere { 0 } else { has });
    let inode = editor.inode(blkno)?;
    let first = first_block(editor.volume(), &inode)?;
    let blocks = clusters << geometry.bpc_bits();
    let uuid = editor.volume().superblock().s_uuid;
    let bit64 = features.contains(JournalIncompat::BIT64);
    let superblock = JournalSuperblock::new(geometry.block_size, blocks, uuid, bit64);
    editor.block(first, None, |block| {
        block.fill(0);
        let _ = superblock.encode(block);
    })?;
    editor.dinode(blkno, |dinode, _| {
        dinode.i_size = u64::from(clusters) << geometry.cluster_size.bits();
    })?;
    mark_clean(editor, blkno)
}

/// Empties local alloc and truncate log of a slot: their clusters are free or belong to others.
fn empty_slot(editor: &mut Editor<'_>, slot: u16) -> Result<(), EditError> {
    let volume = editor.volume();
    let file = |file| match volume.system_file(file) {
        Err(ocfs2_volume::Error::NotFound { .. }) => Ok(None),
        // A file that cannot be read is mended first: what it then holds would be reported as owed
        // by a clean slot.
        Err(_) => Err(EditError::NotYet),
        Ok(inode) => Ok(Some(inode)),
    };
    let local_alloc = file(SystemFile::LocalAlloc(slot))?;
    let truncate_log = file(SystemFile::TruncateLog(slot))?;
    if let Some(inode) = local_alloc {
        let len = inode.id2().len();
        editor.dinode(inode.blkno, |dinode, id2| {
            dinode.set_bitmap(0, 0);
            id2.get_mut(LocalAlloc::SIZE..len).unwrap_or_default().fill(0);
            if let Ok(alloc) = LocalAlloc::decode(id2) {
                let _ = LocalAlloc { la_bm_off: 0, ..alloc }.encode(id2);
            }
        })?;
    }
    if let Some(inode) = truncate_log {
        editor.dinode(inode.blkno, |_, id2| {
            if let Ok(log) = TruncateLogHeader::decode(id2) {
                let _ = TruncateLogHeader { tl_used: 0, ..log }.encode(id2);
            }
        })?;
    }
    Ok(())
}
