//! The numbers of the root and the system directory in the superblock, and the generation that it
//! shares with them.
//!
//! Both mkfs put the two directories next to each other among the first blocks, so that a wrong
//! number in the superblock does not lose the volume.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure as _};
use ocfs2_volume::{Inode, SystemFile, Volume};

use crate::codes::{inodes, start as codes};
use crate::repair::{Repair, system};
use crate::{Context, Finding, Place, misplaced};

/// Blocks that are searched for the directories: both mkfs put them before this.
const SEARCHED: u64 = 8192;

/// Returns what is wrong with the two numbers and with the generation.
pub fn check(context: &Context<'_>) -> Vec<Finding> {
    let volume = context.volume;
    let superblock = volume.superblock();
    let (root, system) = (superblock.s_root_blkno, superblock.s_system_dir_blkno);
    // Nothing follows for a directory from the inode of another one in its place.
    let exchanged = [root, system].into_iter().find_map(|it| misplaced::exchanged(volume, it));
    if let Some(finding) = exchanged {
        return vec![finding];
    }
    let stated = [(root, false), (system, true)].map(|(blkno, is_system)| {
        volume.stated_inode(blkno).filter(|inode| volume.is_top(inode, is_system))
    });
    let tops = [root, system].into_iter().filter_map(|blkno| volume.stated_inode(blkno));
    let flags: Vec<_> = tops.filter_map(|inode| flags(volume, &inode)).collect();
    if !flags.is_empty() {
        return flags;
    }
    let place = Place::block(volume.found_superblock().blkno);
    let finding = |text: String| Finding::new(codes::SUPERBLOCK_FIELD, place.clone(), text);
    let mut generation = volume.generation();
    let mut findings = Vec::new();
    if let Some((common, who)) = other_generation(volume, &stated) {
        let text = format!(
            "superblock: i_fs_generation is {generation:#010x}, that of {who} is {common:#010x}"
        );
        let change = system::superblock(move |dinode, _| dinode.i_fs_generation = common);
        findings.push(finding(text).repaired_by(change));
        generation = common;
    }
    let is_lost = |index: usize| stated.get(index).is_some_and(Option::is_none);
    if is_lost(0)
        && let Some(found) = search(volume, generation, false)
    {
        let text = format!("superblock: s_root_blkno is {root}, the root directory is {found}");
        let change = system::superblock(move |_, it| it.s_root_blkno = found);
        findings.push(finding(text).repaired_by(change));
    }
    if is_lost(1)
        && let Some(found) = search(volume, generation, true)
    {
        let text =
            format!("superblock: s_system_dir_blkno is {system}, the system directory is {found}");
        let change = system::superblock(move |_, it| it.s_system_dir_blkno = found);
        findings.push(finding(text).repaired_by(change));
    }
    findings
}

/// Returns the finding that one of the two has flags by which its contents are read as something
/// other than entries.
fn flags(volume: &Volume, inode: &Inode) -> Option<Finding> {
    let (blkno, own) = (inode.blkno, InodeFlags::VALID | InodeFlags::SYSTEM);
    let flags = inode.dinode.flags();
    let is_one = inode.is_dir()
        && inode.dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT
        && inode.dinode.i_fs_generation == volume.generation();
    if own.contains(flags) || !is_one {
        return None;
    }
    let text = format!(
        "inode {blkno}: i_flags is {flags:#x}, that of a directory of the system is {own:#x}"
    );
    let repair = Repair::first(move |editor| {
        editor.dinode(blkno, |dinode, _| dinode.i_flags = (dinode.flags() & own).bits())
    });
    Some(Finding::new(inodes::INODE_FLAGS, Place::inode(blkno), text).repaired_by(repair))
}

/// Returns the volume with the system directory that is found, if the superblock points elsewhere.
pub(crate) fn by_found_system_dir(volume: &Volume) -> Option<Volume> {
    let stated = volume.stated_inode(volume.superblock().s_system_dir_blkno);
    if stated.is_some_and(|inode| volume.is_top(&inode, true)) {
        return None;
    }
    search(volume, volume.generation(), true).map(|blkno| volume.with_system_dir(blkno))
}

/// Returns the only block among the first ones that holds the root or the system directory.
fn search(volume: &Volume, generation: u32, is_system: bool) -> Option<Blkno> {
    let end = volume.geometry().blocks().min(SEARCHED);
    let mut all = (volume.geometry().first_group.0..end).map(Blkno).filter(|blkno| {
        volume.stated_inode(*blkno).is_some_and(|inode| {
            inode.dinode.i_fs_generation == generation && volume.is_top(&inode, is_system)
        })
    });
    // If there are two, neither can be told from the other.
    let first = all.next();
    first.filter(|_| all.next().is_none())
}

/// Returns the generation on which all but the superblock agree, and who they are: the two
/// directories, or one of them and the first group of the global bitmap.
fn other_generation(volume: &Volume, tops: &[Option<Inode>; 2]) -> Option<(u32, &'static str)> {
    let [root, system] = tops.each_ref().map(|top| Some(top.as_ref()?.dinode.i_fs_generation));
    let group = volume.read_block(volume.geometry().first_group).ok();
    let group = group.and_then(|block| GroupDesc::decode(&block).ok());
    let group = group.filter(|group| group.bg_signature == GroupDesc::SIGNATURE);
    let group = group.map(|group| group.bg_generation);
    let (common, who) = match (root, system) {
        (Some(root), Some(system)) if root == system => (root, "the root and the system directory"),
        (Some(root), None) if Some(root) == group => (root, "the root directory and the bitmap"),
        (None, Some(system)) if Some(system) == group => {
            (system, "the system directory and the bitmap")
        }
        _ => return None,
    };
    (common != volume.generation()).then_some((common, who))
}

/// Returns whether the rest of the volume agrees with the superblock about the root and the system
/// directory, the generation, the number of clusters, the first group and the UUID. Asked about a
/// superblock whose checksum does not hold.
pub fn agrees(volume: &Volume) -> bool {
    let superblock = volume.superblock();
    let generation = volume.generation();
    let is_there = |blkno, is_system| {
        let inode = volume.stated_inode(blkno).filter(|inode| volume.is_top(inode, is_system));
        inode.is_some_and(|inode| inode.dinode.i_fs_generation == generation)
    };
    let bitmap = volume.system_file(SystemFile::GlobalBitmap);
    let bitmap_agrees = bitmap.is_ok_and(|inode| {
        let clusters = volume.geometry().clusters;
        let first = volume.geometry().first_group;
        let group = volume.read_block(first).ok().and_then(|it| GroupDesc::decode(&it).ok());
        inode.dinode.i_clusters == clusters
            && inode.dinode.bitmap().1 == clusters
            && group.is_some_and(|group| {
                group.bg_signature == GroupDesc::SIGNATURE
                    && group.bg_generation == generation
                    && group.bg_parent_dinode == inode.blkno
            })
    });
    let journal = volume.journal(0).map(|journal| journal.superblock.s_uuid == superblock.s_uuid);
    volume.geometry().size_bytes() <= volume.device().size_bytes()
        && is_there(superblock.s_root_blkno, false)
        && is_there(superblock.s_system_dir_blkno, true)
        && bitmap_agrees
        && journal.unwrap_or(true)
}
