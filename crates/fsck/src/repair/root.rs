//! The root directory recreated, with the names that are still on the volume.
//!
//! Its blocks are recognised by their trailers, and the first one by its `.` and `..`. All clusters
//! are searched, from their first block on. The names found are written into the blocks of the new
//! directory.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::{Blkno, Cluster, Structure};
use ocfs2_volume::Volume;
use ocfs2_volume::allocator::Suballocated;

use super::directory::{Directory, Entry, file_type};
use super::{EditError, Editor, Repair};
use crate::read::corrected::correct;
use crate::read::dir_block;

/// Names taken at most, since they are kept in memory: no root directory has more.
const MOST_NAMES: usize = 1 << 20;

/// Recreates the root directory in its old block, which is bit `bit` of the group `loc` in the
/// allocator of `slot`.
pub fn make(slot: u16, bit: u16, loc: Blkno) -> Repair {
    Repair::once_when_sound("root", 0, move |editor| {
        let root = editor.volume().superblock().s_root_blkno;
        let home = Suballocated { structure: Dinode::NAME, blkno: root, slot, bit, loc };
        let names = names(editor, root)?;
        editor.make_directory(&home, InodeFlags::VALID, root)?;
        let Some(mut directory) = Directory::read(editor, root)? else { return Ok(()) };
        for entry in names {
            if !directory.contains(&entry.name) {
                directory.add(entry);
            }
        }
        directory.write(editor)
    })
}

/// The entries in all blocks of the root directory that point to inodes in use. Empty if several
/// blocks claim to be the first: then some are those of an older root directory.
fn names(editor: &Editor<'_>, root: Blkno) -> Result<Vec<Entry>, EditError> {
    let volume = editor.volume();
    let geometry = *volume.geometry();
    let (mut found, mut firsts) = (Vec::new(), 0_u32);
    for cluster in (0..geometry.clusters).map(Cluster) {
        editor.check_interrupt()?;
        let start = geometry.block_of(cluster).0;
        for blkno in (start..start + u64::from(geometry.blocks_per_cluster())).map(Blkno) {
            // A cluster of the directory begins with one of its blocks.
            let Some(block) = own(volume, root, blkno) else { break };
            firsts += u32::from(has_own_dot(root, &block));
            take(editor, root, &block, &mut found);
            if firsts > 1 || found.len() > MOST_NAMES {
                return Ok(Vec::new());
            }
        }
    }
    Ok(found)
}

/// Reads a block if it identifies itself as one of the root directory.
fn own(volume: &Volume, root: Blkno, blkno: Blkno) -> Option<Vec<u8>> {
    let mut block = volume.read_block(blkno).ok()?;
    let size = block.len();
    correct(volume, &mut block, DirTrailer::check_offset(size));
    let trailer = DirTrailer::of_block(&block).ok();
    match trailer.filter(|it| it.db_signature == DirTrailer::SIGNATURE) {
        Some(trailer) if (trailer.db_blkno, trailer.db_parent_dinode) == (blkno, root) => {
            block.truncate(DirTrailer::offset(size));
            Some(block)
        }
        Some(_) => None,
        None => has_own_dot(root, &block).then_some(block),
    }
}

fn has_own_dot(root: Blkno, block: &[u8]) -> bool {
    dir_block::dots(block) == Some((root, root))
}

/// Adds the entries of a block that point to inodes which may have been in the root directory.
fn take(editor: &Editor<'_>, root: Blkno, block: &[u8], found: &mut Vec<Entry>) {
    for entry in dir_block::names(block) {
        let (inode, name) = (entry.header.inode, entry.name.to_vec());
        if may_be_in(editor, root, inode)
            && let Some(file_type) = file_type(editor, inode)
        {
            found.push(Entry { inode, file_type, name });
        }
    }
}

/// Whether an inode in use may be in the root: not one of the system, and a directory only if its
/// `..` points to the root.
fn may_be_in(editor: &Editor<'_>, root: Blkno, blkno: Blkno) -> bool {
    if blkno == root || !editor.volume().geometry().is_valid_block(blkno) {
        return false;
    }
    let Ok(inode) = editor.inode(blkno) else { return false };
    let flags = inode.dinode.flags();
    let is_one = inode.dinode.i_blkno == blkno
        && flags.contains(InodeFlags::VALID)
        && !flags.contains(InodeFlags::SYSTEM);
    if !is_one || !inode.is_dir() {
        return is_one;
    }
    editor.volume().torn_entry(&inode, b"..").is_some_and(|above| above.inode == root)
}
