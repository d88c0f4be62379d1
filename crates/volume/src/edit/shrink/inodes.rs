//! Moving inodes. The block of an inode is its number: whatever names it gets the new one.

use std::collections::BTreeMap;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dir::FileType;
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;

use super::{Beyond, suballocators};
use crate::allocator::Suballocated;
use crate::edit::entry_block::{EntryBlock, NewEntry};
use crate::edit::{Edit, EditError};
use crate::{Error, Inode, SystemFile, Volume};

/// The names of inodes that move, and the numbers of the directories among them that have moved.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// In order.
    inodes: Vec<Blkno>,
    /// In order of their inodes.
    names: Vec<Name>,
    moved: BTreeMap<Blkno, Blkno>,
}

/// Where an inode has a name. There may be very many of them.
#[derive(Clone, Copy, Debug)]
struct Name {
    inode: Blkno,
    dir: Blkno,
    /// The block and the offset of the entry, as in [`Entry`](crate::dir::Entry).
    blkno: Blkno,
    offset: u32,
}

impl Names {
    /// The inodes that move, by their old numbers.
    pub fn inodes(&self) -> Vec<Blkno> {
        self.inodes.clone()
    }

    /// The names of an inode.
    fn of(&self, inode: Blkno) -> &[Name] {
        let start = self.names.partition_point(|name| name.inode < inode);
        let end = self.names.partition_point(|name| name.inode <= inode);
        self.names.get(start..end).unwrap_or_default()
    }
}

impl Volume {
    /// The inodes whose blocks go, with all their names.
    ///
    /// # Errors
    /// [`EditError::NoRoom`] if one of them cannot move: a directory without a parent, the global
    /// bitmap, or the journal that a commit is written through; [`EditError::Refused`] for an inode
    /// without a name; something is damaged.
    pub fn inodes_beyond(&self, beyond: &Beyond) -> Result<Names, EditError> {
        let mut names = Names::default();
        let mut dirs = Vec::new();
        let fixed = [
            self.superblock().s_root_blkno,
            self.superblock().s_system_dir_blkno,
            self.system_file(SystemFile::GlobalBitmap)?.blkno,
            self.system_file(SystemFile::Journal(0))?.blkno,
        ];
        if fixed.iter().any(|blkno| beyond.has(*blkno)) {
            return Err(EditError::NoRoom("the inodes of the volume itself"));
        }
        for inode in self.inodes() {
            let inode = inode?;
            if beyond.has(inode.blkno) {
                names.inodes.push(inode.blkno);
            }
            if inode.is_dir() {
                dirs.push(inode.blkno);
            }
        }
        if names.inodes.is_empty() {
            return Ok(names);
        }
        names.inodes.sort_unstable();
        for dir in dirs {
            for entry in self.entries(&self.inode(dir)?)? {
                let entry = entry?;
                if !entry.is_dot() && names.inodes.binary_search(&entry.inode).is_ok() {
                    let (inode, blkno, offset) = (entry.inode, entry.blkno, entry.offset as u32);
                    names.names.push(Name { inode, dir, blkno, offset });
                }
            }
        }
        names.names.sort_unstable_by_key(|name| name.inode);
        match names.inodes.iter().find(|inode| names.of(**inode).is_empty()) {
            None => Ok(names),
            Some(blkno) => {
                let text = format!("inode {blkno} has no name: run fsck.ocfs2 -f first");
                Err(EditError::Refused(text))
            }
        }
    }
}

impl Edit {
    /// Moves an inode, one of `names`, to a block that stays, with everything that names it.
    /// Generation and times stay.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; something is damaged.
    pub fn move_inode(&mut self, names: &mut Names, old: Blkno) -> Result<(), EditError> {
        let (new, is_dir) = self.attempt(|edit| {
            let inode = edit.inode(old)?;
            let taken = match inode.dinode.i_suballoc_slot {
                Dinode::GLOBAL_SLOT => edit.take_system_inode()?,
                slot => edit.take_inode_from(slot)?,
            };
            let Suballocated { blkno: new, slot, bit, loc, .. } = taken;
            let dinode = Dinode {
                i_blkno: new,
                i_suballoc_slot: slot,
                i_suballoc_bit: bit,
                i_suballoc_loc: loc,
                ..inode.dinode.clone()
            };
            edit.volume.write(new, &dinode, inode.block().to_vec())?;
            if inode.is_dir() {
                edit.move_dots(&inode, new)?;
            }
            edit.move_groups(&inode, new)?;
            for name in names.of(old) {
                let dir = names.moved.get(&name.dir).copied().unwrap_or(name.dir);
                let dir = edit.inode(dir)?;
                let mut block = EntryBlock::read(&edit.volume, &dir, name.blkno)?;
                block.lead_on(name.offset as usize, old, new)?;
                block.write(&edit.volume)?;
            }
            edit.leave_block(&inode)?;
            Ok::<_, EditError>((new, inode.is_dir()))
        })?;
        if is_dir {
            names.moved.insert(old, new);
        }
        Ok(())
    }

    /// Marks the old block of an inode that has moved as unused.
    fn leave_block(&mut self, inode: &Inode) -> Result<(), EditError> {
        let (indexed, time) = (self.has(Incompat::INDEXED_DIRS), self.time());
        let mut dinode = inode.dinode.clone();
        dinode.i_flags = (dinode.flags() - InodeFlags::VALID).bits();
        dinode.i_dtime = time.seconds as u64;
        dinode.set_links_count(0, indexed);
        self.give_inode(&inode.dinode)?;
        Ok(self.volume.write(inode.blkno, &dinode, inode.block().to_vec())?)
    }

    /// Makes what is in a directory, and below it, name its new number.
    fn move_dots(&mut self, dir: &Inode, new: Blkno) -> Result<(), EditError> {
        let now = self.inode(new)?;
        let mut below = Vec::new();
        let blocks = self.dir_blocks(dir)?.collect::<Result<Vec<_>, _>>()?;
        for block in blocks {
            let mut dot = None;
            for entry in block.entries() {
                let entry = entry?;
                if entry.name == b"." {
                    dot = Some(entry);
                } else if !entry.is_dot() && entry.file_type == Some(FileType::Directory) {
                    below.push(entry.inode);
                }
            }
            // Of an inline directory the new block is read, else the old number is still there.
            let owner = if dir.is_inline() { &now } else { dir };
            let mut names = EntryBlock::read(&self.volume, owner, block.blkno)?;
            if let Some(dot) = &dot {
                names.lead(dot, new, FileType::Directory)?;
            }
            if let Some(trailer) = &mut names.trailer {
                trailer.db_parent_dinode = new;
            }
            names.write(&self.volume)?;
        }
        self.rename_index_owner(dir, new)?;
        for blkno in below {
            let parent = NewEntry { name: b"..", inode: new, file_type: FileType::Directory };
            self.redirect(blkno, &parent)?;
        }
        Ok(())
    }

    /// Makes the groups of an allocator name its new number.
    fn move_groups(&mut self, inode: &Inode, new: Blkno) -> Result<(), EditError> {
        if !inode.dinode.flags().contains(InodeFlags::CHAIN) {
            return Ok(());
        }
        let mut groups = Vec::new();
        self.finish()?;
        for file in suballocators(&self.volume) {
            let allocator = self.system_file(file)?;
            if allocator.blkno == inode.blkno {
                for group in self.groups(&self.allocator(allocator)?) {
                    groups.push(group?.blkno);
                }
            }
        }
        for group in groups {
            self.update::<GroupDesc>(group, |desc, _| desc.bg_parent_dinode = new)?;
        }
        self.forget_allocators()
    }

    /// Makes a name of a directory point to another inode. Times stay.
    fn redirect(&mut self, dir: Blkno, new: &NewEntry<'_>) -> Result<(), Error> {
        let (parent, entry) = self.named(dir, new.name)?;
        let mut block = EntryBlock::read(&self.volume, &parent, entry.blkno)?;
        block.lead(&entry, new.inode, new.file_type)?;
        block.write(&self.volume)
    }
}
