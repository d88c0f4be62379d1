//! The names that directories still have.

use std::collections::HashSet;

use ocfs2_extract::CopyError;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dir::FileType;
use ocfs2_volume::dir::DirBlock;
use ocfs2_volume::survey::BlockSet;
use ocfs2_volume::{Inode, Volume};

use super::{Lost, Rescue};

/// Blocks of lost directories that are kept; those of millions of files are fewer.
const MOST_BLOCKS: usize = 1 << 22;
/// Bytes in which the survey counts places.
const SECTOR_BITS: u32 = 9;

/// A name in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Name {
    pub name: Vec<u8>,
    pub inode: Blkno,
}

/// What is known of all names before anything is copied.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Inodes that a directory names.
    pub named: BlockSet,
    /// Directories whose inodes are gone.
    pub lost: Lost,
}

impl Names {
    /// Reads all directories, and finds the blocks of those whose inodes are gone.
    pub fn new(it: &Rescue<'_>) -> Result<Self, CopyError> {
        let mut names = Self::default();
        for blkno in it.remains.directories.iter() {
            it.interrupt.check()?;
            let Some(dir) = it.volume.stated_inode(blkno).filter(Inode::is_dir) else { continue };
            let named = of(it.volume, &dir).0.into_iter().map(|name| name.inode);
            named.for_each(|inode| {
                names.named.insert(inode);
            });
        }
        let mut kept = 0;
        let shift = it.volume.block_size().bits() - SECTOR_BITS;
        for sector in it.directory_blocks.iter().filter(|it| it.0 % (1 << shift) == 0) {
            it.interrupt.check()?;
            let Some(block) = it.volume.own_dir_block(Blkno(sector.0 >> shift)) else { continue };
            if kept < MOST_BLOCKS {
                names.lost.entry(block.dir).or_default().push(block.blkno);
                kept += 1;
            }
        }
        names.drop_others(it)?;
        Ok(names)
    }

    /// Drops blocks of directories that are there or were deleted, and those that only have names
    /// which are known from others.
    fn drop_others(&mut self, it: &Rescue<'_>) -> Result<(), CopyError> {
        let root = it.volume.superblock().s_root_blkno;
        let mut gone = Vec::new();
        for (dir, blocks) in &self.lost {
            it.interrupt.check()?;
            if it.remains.directories.contains(*dir) {
                continue;
            }
            let is_known = *dir == root || self.named.contains(*dir);
            if !is_known && (is_deleted(it.volume, *dir) || it.remains.inodes.contains(*dir)) {
                gone.push(*dir);
                continue;
            }
            let names = blocks.iter().filter_map(|blkno| it.volume.own_dir_block(*blkno));
            let mut names = names.flat_map(|block| names_of(&block));
            let is_new = names.any(|name| {
                it.remains.inodes.contains(name.inode) && !self.named.contains(name.inode)
            });
            if !is_known && !is_new {
                gone.push(*dir);
            }
        }
        for dir in gone {
            self.lost.remove(&dir);
        }
        // What they name has a path below them.
        let lost = self.lost.iter().filter(|(dir, _)| !it.remains.directories.contains(**dir));
        let blocks: Vec<_> = lost.flat_map(|(_, blocks)| blocks.clone()).collect();
        for block in blocks.into_iter().filter_map(|blkno| it.volume.own_dir_block(blkno)) {
            for name in names_of(&block) {
                self.named.insert(name.inode);
            }
        }
        // Of a directory that is there, its own tree gives the blocks, unless it is torn.
        Ok(())
    }

    /// The names in the blocks that say they are of a directory.
    pub fn take_lost(&mut self, volume: &Volume, dir: Blkno) -> Vec<Name> {
        let blocks = self.lost.remove(&dir).unwrap_or_default();
        let blocks = blocks.into_iter().filter_map(|blkno| volume.own_dir_block(blkno));
        blocks.flat_map(|block| names_of(&block)).collect()
    }
}

/// The names in a directory as far as they can be read, and what is wrong.
pub(super) fn of(volume: &Volume, dir: &Inode) -> (Vec<Name>, Option<String>) {
    let blocks = match volume.torn_dir_blocks(dir) {
        Ok(blocks) => blocks,
        Err(err) => return (Vec::new(), Some(err.to_string())),
    };
    let (mut names, mut problem) = (Vec::new(), None);
    for block in blocks {
        match block {
            Ok(block) => {
                let trailer = block.trailer();
                let is_foreign =
                    trailer.is_some_and(|it| it.verify(block.blkno, dir.blkno).is_err());
                if is_foreign {
                    problem.get_or_insert_with(|| format!("block {} is of another", block.blkno));
                    continue;
                }
                names.extend(names_of(&block));
                if let Some(Err(err)) = block.entries().find(Result::is_err) {
                    problem.get_or_insert_with(|| err.to_string());
                }
            }
            Err(err) => {
                problem.get_or_insert_with(|| err.to_string());
            }
        }
    }
    once(&mut names);
    (names, problem)
}

/// Drops names that are there already: no file has the name of another one.
pub(super) fn once(names: &mut Vec<Name>) {
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.name.clone()));
}

/// The names in a block, up to the first impossible one.
fn names_of(block: &DirBlock) -> Vec<Name> {
    let entries = block.entries().map_while(Result::ok).filter(|entry| !entry.is_dot());
    let known = entries.filter(|entry| entry.file_type.is_some_and(|it| it != FileType::Unknown));
    known.map(|entry| Name { name: entry.name, inode: entry.inode }).collect()
}

/// Whether a block has the inode of a directory that was deleted.
fn is_deleted(volume: &Volume, dir: Blkno) -> bool {
    let block = volume.geometry().is_valid_block(dir).then(|| volume.read_block(dir).ok());
    let dinode = block.flatten().and_then(|block| {
        use ocfs2_format::{Block, Structure};
        let dinode = Dinode::decode(&block).ok()?;
        (dinode.i_signature == <Dinode as Block>::SIGNATURE).then_some(dinode)
    });
    dinode.is_some_and(|it| {
        it.i_blkno == dir
            && it.i_fs_generation == volume.generation()
            && !it.flags().contains(InodeFlags::VALID)
    })
}
