//! The system directory rewritten.
//!
//! The allocators cannot be used for that: they are found through this directory.

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::dir::{self, DirEntry, FileType, entry_size};
use ocfs2_format::extent::{ExtentFlags, ExtentRec, write_extent_list};
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Structure};
use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::{Error, SystemFile, Volume};

use super::directory::{Directory, Entry};
use super::{EditError, Editor, layout};

/// Blocks that are searched for those of the directory: both mkfs put them within these.
const SEARCHED: u64 = 8192;
/// Blocks that the directory has had at most: ten times as many as all files of all slots fill.
const MOST_BLOCKS: usize = 2048;

/// Writes the inode of the system directory and the entries of these files.
pub(super) fn write(
    editor: &mut Editor<'_>,
    files: &[(SystemFile, Blkno)],
) -> Result<(), EditError> {
    let volume = editor.volume();
    let blkno = volume.superblock().s_system_dir_blkno;
    let entries: Vec<_> = files.iter().map(|(file, inode)| entry(*file, *inode)).collect();
    let bytes: usize = entries.iter().map(|entry| entry_size(entry.name.len())).sum();
    let room = volume.block_size().size().saturating_sub(Dinode::ID2_OFFSET + InlineData::SIZE);
    let dinode = dinode(editor, files);
    if volume.has(Incompat::INLINE_DATA) && bytes + entry_size(1) + entry_size(2) <= room {
        let i_dyn_features = DynFeatures::INLINE_DATA.bits();
        let dinode = Dinode { i_dyn_features, ..dinode };
        editor.create(blkno, &dinode, |id2| {
            let id_count = id2.len().saturating_sub(InlineData::SIZE) as u16;
            let _ = InlineData { id_count, ..InlineData::default() }.encode(id2);
        })?;
    } else {
        with_clusters(editor, bytes, dinode)?;
    }
    let Some(mut directory) = Directory::empty(editor, blkno, blkno)? else { return Ok(()) };
    directory.put_first(entries);
    directory.write(editor)
}

/// The inode of the directory, without contents.
fn dinode(editor: &Editor<'_>, files: &[(SystemFile, Blkno)]) -> Dinode {
    let blkno = editor.volume().superblock().s_system_dir_blkno;
    let (bit, loc) = home_of_directory(editor, files);
    let home = Suballocated { structure: Dinode::NAME, blkno, slot: Dinode::GLOBAL_SLOT, bit, loc };
    let directories = files.iter().filter(|(file, _)| file.kind() == FileKind::Directory);
    Dinode {
        i_mode: 0o040_755,
        i_links_count: u16::try_from(2 + directories.count()).unwrap_or(2),
        i_flags: (InodeFlags::VALID | InodeFlags::SYSTEM).bits(),
        ..editor.new_dinode(&home)
    }
}

/// Writes the inode with zeroed clusters for `bytes` bytes of entries: clusters that are free by
/// all group descriptors, or else those that the directory had. The next check marks them as used.
fn with_clusters(
    editor: &mut Editor<'_>,
    bytes: usize,
    mut dinode: Dinode,
) -> Result<(), EditError> {
    let volume = editor.volume();
    let geometry = *volume.geometry();
    let blocks = 2 + 2 * bytes as u64 / geometry.block_size.size() as u64;
    let count = u16::try_from(blocks.div_ceil(u64::from(geometry.blocks_per_cluster())))
        .unwrap_or(u16::MAX);
    let free = free_run(volume, u32::from(count)).map(|start| (start, count));
    let (start, count) = free.or_else(|| own(volume)).ok_or(EditError::NoRoom("a directory"))?;
    let first = geometry.block_of(start);
    let size = u64::from(count) << geometry.cluster_size.bits();
    let failed = |source| Error::Write { blkno: first, source };
    let at = first.0 << geometry.block_size.bits();
    volume.device().zero(at, size).map_err(failed)?;
    (dinode.i_clusters, dinode.i_size) = (count.into(), size);
    editor.create(dinode.i_blkno, &dinode, |id2| {
        let record = ExtentRec::leaf(Cpos(0), count, ExtentFlags::empty(), first);
        let _ = write_extent_list(id2, 0, &[record]);
    })
}

/// Where the inode of the system directory was allocated: its bit, and the group.
fn home_of_directory(editor: &Editor<'_>, files: &[(SystemFile, Blkno)]) -> (u16, Blkno) {
    let volume = editor.volume();
    let blkno = volume.superblock().s_system_dir_blkno;
    if let Some(home) = layout::home(volume, blkno) {
        return (home.bit, home.loc);
    }
    // Its siblings come from the same group.
    let sibling = files.first().and_then(|(_, blkno)| editor.inode(*blkno).ok());
    let loc = sibling.map_or(Blkno(0), |inode| inode.dinode.i_suballoc_loc);
    let bit = blkno.0.checked_sub(loc.0).and_then(|bit| u16::try_from(bit).ok());
    (bit.unwrap_or_default(), loc)
}

/// The entry of a system file.
pub(super) fn entry(file: SystemFile, inode: Blkno) -> Entry {
    let file_type = FileType::ALL.into_iter().find(|it| it.kind() == Some(file.kind()));
    let file_type = file_type.unwrap_or(FileType::Regular);
    Entry { inode, file_type, name: file.name().into_bytes() }
}

/// Finds `count` consecutive clusters that are free by the group descriptors.
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

/// The clusters the directory has had: its first block is recognised by `.` and `..`, the following
/// ones have only names of system files.
fn own(volume: &Volume) -> Option<(Cluster, u16)> {
    let geometry = volume.geometry();
    let dir = volume.superblock().s_system_dir_blkno;
    let names_of = |blkno: Blkno| -> Option<Vec<(Vec<u8>, Blkno)>> {
        let block = volume.read_block(blkno).ok()?;
        let entries: Result<Vec<_>, _> = dir::entries(&block).collect();
        let used = entries.ok()?.into_iter().filter(DirEntry::is_used);
        Some(used.map(|entry| (entry.name.to_vec(), entry.header.inode)).collect())
    };
    let is_first = |blkno: &Blkno| {
        let names = names_of(*blkno).unwrap_or_default();
        matches!(&names[..], [dot, dotdot, ..]
            if *dot == (b".".to_vec(), dir) && *dotdot == (b"..".to_vec(), dir))
    };
    let is_next = |blkno: &Blkno| {
        names_of(*blkno).is_some_and(|names| {
            !names.is_empty() && names.iter().all(|(name, _)| SystemFile::is_name(name))
        })
    };
    let end = geometry.blocks().min(SEARCHED);
    let bpc = geometry.blocks_per_cluster() as usize;
    let first = (geometry.first_group.0..end).step_by(bpc).map(Blkno).find(is_first)?;
    let more = (first.0 + 1..end).map(Blkno).take(MOST_BLOCKS).take_while(is_next).count();
    let count = u16::try_from((1 + more).div_ceil(bpc)).ok()?;
    Some((geometry.cluster_of(first)?, count))
}
