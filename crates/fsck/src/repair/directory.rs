//! A directory as a whole: reads its entries as far as possible and writes them again in order.
//!
//! Entries stay in their blocks as long as there is room; the others move to the next block with
//! room. Trailers, the list of blocks with holes and the index are rebuilt from that.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use ocfs2_format::dinode::{Dinode, DynFeatures, InodeFlags};
use ocfs2_format::dir::{
    DirEntryHeader, DirTrailer, FileType, entries, entry_size, largest_hole, sound_from,
    write_entry,
};
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block, Cpos, Structure};
use ocfs2_volume::dir::Barren;
use ocfs2_volume::{Inode, Volume};

use super::{EditError, Editor, Repair, dx, tree};
use crate::name_hashes::Signs;
use crate::read::corrected::correct;
use crate::read::holds::{Holds, once};
use crate::read::seen::{self, Seen};

/// The greatest length of a name in bytes.
const NAME_MAX: usize = 255;

/// An entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The inode it points to.
    pub inode: Blkno,
    /// The type it states.
    pub file_type: FileType,
    /// Its name.
    pub name: Vec<u8>,
}

/// The entries of a directory.
#[derive(Debug)]
pub struct Directory {
    inode: Inode,
    /// The inode its `..` points to.
    pub parent: Blkno,
    /// The blocks with their entries, without `.` and `..`; for an inline directory a single one.
    blocks: Vec<(Blkno, Vec<Entry>)>,
    is_inline: bool,
    /// Whether it has more clusters, which hold nothing of it.
    is_cut: bool,
    /// How its index hashes names, counted over names for which that makes a difference.
    signs: Signs,
}

/// The repair of all that is wrong with the entries, the trailers and the index of a directory.
pub fn rewrite(dir: Blkno) -> Repair {
    Repair::once("directory", dir.0, move |editor| {
        let Some(directory) = Directory::read(editor, dir)? else { return Ok(()) };
        directory.write_or_unindex(editor)
    })
}

/// The number of blocks of a directory that are searched for room for a name.
const SEARCHED_BLOCKS: usize = 64;

/// Inodes to which no entry of a directory may point.
#[derive(Clone, Debug, Default)]
pub struct Unwanted(Arc<Mutex<HashSet<Blkno>>>);

impl Unwanted {
    /// Adds an inode.
    pub fn add(&self, inode: Blkno) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(inode);
    }

    fn contains(&self, inode: Blkno) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&inode)
    }
}

/// The same, without entries that point to inodes which the check has found to be free, whatever
/// their blocks hold.
pub fn without(dir: Blkno, unwanted: &Unwanted) -> Repair {
    let unwanted = unwanted.clone();
    Repair::once("entries", dir.0, move |editor| {
        let Some(mut directory) = Directory::read(editor, dir)? else { return Ok(()) };
        for (_, entries) in &mut directory.blocks {
            entries.retain(|entry| !unwanted.contains(entry.inode));
        }
        directory.write_or_unindex(editor)
    })
}

/// An entry with a wrong name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Renamed {
    /// The name it has.
    pub wrong: Vec<u8>,
    /// The name it had.
    pub right: Vec<u8>,
    /// The inode it points to.
    pub inode: Blkno,
}

/// Restores the names of entries of a directory. Another repair may already have replaced those
/// that are impossible.
pub fn renamed(dir: Blkno, names: &Arc<Vec<Renamed>>) -> Repair {
    let names = Arc::clone(names);
    Repair::once("names", dir.0, move |editor| {
        let Some(mut directory) = Directory::read_as(editor, dir, &names)? else { return Ok(()) };
        let taken = directory.names();
        let mut wanted: HashMap<Blkno, Vec<&Renamed>> = HashMap::new();
        for renamed in names.iter().filter(|it| !taken.contains(&it.right)) {
            wanted.entry(renamed.inode).or_default().push(renamed);
        }
        let mut added = Vec::new();
        let mut links: HashMap<Blkno, Vec<&mut Entry>> = HashMap::new();
        for entry in directory.blocks.iter_mut().flat_map(|(_, entries)| entries) {
            if wanted.contains_key(&entry.inode) {
                links.entry(entry.inode).or_default().push(entry);
            }
        }
        for (inode, names) in wanted.iter().filter(|(inode, _)| !links.contains_key(inode)) {
            // It was removed because it had no name.
            if let (Some(file_type), Some(first)) = (file_type(editor, *inode), names.first()) {
                added.push(Entry { inode: *inode, file_type, name: first.right.clone() });
            }
        }
        for (inode, mut entries) in links {
            let is_one = entries.len() == 1;
            for Renamed { wrong, right, .. } in wanted.get(&inode).into_iter().flatten() {
                let found = entries.iter_mut().find(|it| is_one || it.name == *wrong);
                if let Some(entry) = found {
                    entry.name.clone_from(right);
                }
            }
        }
        added.into_iter().for_each(|entry| directory.add(entry));
        directory.write_or_unindex(editor)
    })
}

/// An entry that is hidden in a block of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hidden {
    /// Its name.
    pub name: Vec<u8>,
    /// The inode it points to.
    pub inode: Blkno,
}

/// Restores hidden entries.
pub fn shown(dir: Blkno, hidden: &Arc<Vec<Hidden>>) -> Repair {
    let hidden = Arc::clone(hidden);
    Repair::once("hidden", dir.0, move |editor| {
        let Some(mut directory) = Directory::read(editor, dir)? else { return Ok(()) };
        let taken = directory.names();
        for Hidden { name, inode } in hidden.iter().filter(|it| !taken.contains(&it.name)) {
            if let Some(file_type) = file_type(editor, *inode) {
                directory.add(Entry { inode: *inode, file_type, name: name.clone() });
            }
        }
        directory.write_or_unindex(editor)
    })
}

/// Points the entry `name` to `to` if it points to `from`. Adds it if another repair has already
/// removed it.
pub fn lead(dir: Blkno, name: Vec<u8>, from: Blkno, to: Blkno) -> Repair {
    Repair::new(move |editor| {
        let Some(mut directory) = Directory::read(editor, dir)? else { return Ok(()) };
        let Some(file_type) = file_type(editor, to) else { return Ok(()) };
        let mut entries = directory.blocks.iter_mut().flat_map(|(_, entries)| entries);
        match entries.find(|entry| entry.name == name) {
            Some(entry) if entry.inode == from => {
                (entry.inode, entry.file_type) = (to, file_type);
            }
            Some(_) => return Ok(()),
            None => directory.add(Entry { inode: to, file_type, name: name.clone() }),
        }
        directory.write_or_unindex(editor)
    })
}

/// The type of file that an inode states.
pub(super) fn file_type(editor: &Editor<'_>, inode: Blkno) -> Option<FileType> {
    editor.inode(inode).ok()?.kind().map(FileType::from)
}

/// The repair of a directory whose index has to be built.
pub fn index(dir: Blkno) -> Repair {
    Repair::once_when_sound("index", dir.0, move |editor| {
        let Some(directory) = Directory::read(editor, dir)? else { return Ok(()) };
        directory.write(editor)
    })
}

/// Points the `..` of a directory to `parent`.
pub fn dotdot(dir: Blkno, parent: Blkno) -> Repair {
    Repair::new(move |editor| {
        let Some(mut directory) = Directory::read(editor, dir)? else { return Ok(()) };
        directory.parent = parent;
        directory.write(editor)
    })
}

/// Removes the entry of that name for that inode, together with others of the directory.
pub fn remove(dir: Blkno, name: Vec<u8>, inode: Blkno) -> Repair {
    Repair::new(move |editor| {
        editor.remove_later(dir, name.clone(), inode);
        Ok(())
    })
}

/// Removes entries, with one repair per directory.
pub(crate) fn remove_all(mut removed: Vec<Removed>) -> impl Iterator<Item = Repair> {
    removed.sort_unstable();
    let by_dir: Vec<_> = removed.chunk_by(|a, b| a.0 == b.0).map(<[_]>::to_vec).collect();
    by_dir.into_iter().filter_map(|removed| {
        let dir = removed.first()?.0;
        let entries: Vec<_> = removed.into_iter().map(|(_, name, inode)| (name, inode)).collect();
        Some(Repair::new(move |editor| editor.remove_entries(dir, &entries)))
    })
}

/// An entry to be removed: its directory, its name and the inode it points to.
pub(super) type Removed = (Blkno, Vec<u8>, Blkno);

/// Packs the entries of a directory into as few blocks as possible and rebuilds its index; the
/// clusters left over are freed. Does nothing if that saves no block.
pub fn packed(dir: Blkno) -> Repair {
    Repair::when_sound(move |editor| {
        let Some(directory) = Directory::read(editor, dir)? else { return Ok(()) };
        directory.pack(editor)
    })
}

/// Rebuilds the index of a directory if it hashes names otherwise than demanded.
pub fn hashed_as_demanded(dir: Blkno) -> Repair {
    Repair::when_sound(move |editor| {
        let Some(demanded) = editor.terms.hashing.demanded else { return Ok(()) };
        match Directory::read(editor, dir)? {
            Some(directory) if directory.signs.but(demanded) > 0 => {
                dx::free(editor, dir)?;
                unindex(editor, dir)?;
                directory.write(editor)
            }
            _ => Ok(()),
        }
    })
}

/// Drops the index of a directory that should have none.
pub fn drop_index(dir: Blkno) -> Repair {
    Repair::new(move |editor| unindex(editor, dir))
}

/// Marks a directory as one without an index.
pub(super) fn unindex(editor: &mut Editor<'_>, dir: Blkno) -> Result<(), EditError> {
    editor.dinode(dir, |dinode, _| {
        let features = dinode.dyn_features().difference(DynFeatures::INDEXED_DIR);
        dinode.i_dyn_features = features.bits();
        dinode.i_dx_root = Blkno(0);
    })
}

impl Editor<'_> {
    fn has_index(&self, dir: Blkno) -> Result<bool, EditError> {
        let inode = self.inode(dir)?;
        Ok(inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR))
    }

    /// Removes the entry of that name for that inode later, together with others of its directory:
    /// after all repairs that can be made now.
    pub fn remove_later(&mut self, dir: Blkno, name: Vec<u8>, inode: Blkno) {
        self.removed.push((dir, name, inode));
    }

    /// Removes for each given name and inode one such entry, if there is one.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn remove_entries(
        &mut self,
        dir: Blkno,
        removed: &[(Vec<u8>, Blkno)],
    ) -> Result<(), EditError> {
        let Some(mut directory) = Directory::read(self, dir)? else { return Ok(()) };
        let mut wanted: HashMap<(Vec<u8>, Blkno), u64> = HashMap::new();
        for (name, inode) in removed {
            *wanted.entry((name.clone(), *inode)).or_default() += 1;
        }
        for (_, entries) in &mut directory.blocks {
            entries.retain(|entry| match wanted.get_mut(&(entry.name.clone(), entry.inode)) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                _ => true,
            });
        }
        // Written even if nothing matched: entries of inodes that were deleted meanwhile are left
        // out by the read itself.
        directory.write(self)
    }
}

impl Directory {
    /// Reads as much as possible. `None` if the inode is not a directory in use.
    ///
    /// # Errors
    /// Its inode or its tree cannot be read.
    pub fn read(editor: &Editor<'_>, dir: Blkno) -> Result<Option<Self>, EditError> {
        Self::read_as(editor, dir, &[])
    }

    /// The same, with the names in `renamed` restored before repeated names are changed.
    fn read_as(
        editor: &Editor<'_>,
        dir: Blkno,
        renamed: &[Renamed],
    ) -> Result<Option<Self>, EditError> {
        let volume = editor.volume();
        let inode = editor.inode(dir)?;
        let in_use = inode.dinode.flags().contains(InodeFlags::VALID);
        if !inode.is_dir() || !in_use {
            return Ok(None);
        }
        let is_inline = inode.is_inline();
        let mut reader = Reader {
            editor,
            dir,
            orphans: is_orphan_directory(volume, dir),
            parent: None,
            count: 0,
            names: Names::default(),
            renamed: renamed.iter().collect(),
        };
        let mut blocks = Vec::new();
        let (mut barren, mut is_cut) = (Barren::default(), false);
        if is_inline {
            let data = InlineData::data(inode.id2()).unwrap_or_default();
            let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
            blocks.push((dir, reader.entries(data.get(..size).unwrap_or(data))));
        } else {
            // One that only needs an index has none yet: entries go to the end of its blocks.
            let trailers = volume.has_dir_trailers(&inode);
            for (number, blkno) in block_numbers(volume, &inode)?.enumerate() {
                editor.check_interrupt()?;
                let mut block = volume.read_block(blkno)?;
                let size = block.len();
                correct(volume, &mut block, DirTrailer::check_offset(size));
                let has_trailer = DirTrailer::of_block(&block)
                    .is_ok_and(|trailer| trailer.db_signature == DirTrailer::SIGNATURE);
                let area = if trailers || has_trailer { DirTrailer::offset(size) } else { size };
                // If the first block lacks `.` and `..`, they are not in the second either.
                if number == 1 {
                    reader.count = reader.count.max(2);
                }
                blocks.push((blkno, reader.entries(block.get(..area).unwrap_or_default())));
                barren.count(Some(&block));
                if barren.are_too_many() {
                    // At least one block stays, whatever is in it.
                    let left = blocks.iter().rposition(|(_, entries)| !entries.is_empty());
                    blocks.truncate(left.unwrap_or(0) + 1);
                    is_cut = true;
                    break;
                }
            }
        }
        let parent = reader.parent.unwrap_or(dir);
        let names = blocks.iter().flat_map(|(_, entries)| entries).map(|entry| &entry.name[..]);
        let signs = dx::signs(volume, &inode, names);
        Ok(Some(Self { inode, parent, blocks, is_inline, is_cut, signs }))
    }

    /// An empty directory in a dinode that was just made; with one cluster unless it is inline.
    ///
    /// # Errors
    /// There is no room; the inode cannot be read.
    pub fn empty(
        editor: &mut Editor<'_>,
        dir: Blkno,
        parent: Blkno,
    ) -> Result<Option<Self>, EditError> {
        let Some(mut directory) = Self::read(editor, dir)? else { return Ok(None) };
        directory.parent = parent;
        if directory.is_inline {
            directory.blocks = vec![(dir, Vec::new())];
        } else if directory.blocks.is_empty() {
            let blocks = directory.grow(editor)?;
            directory.blocks = blocks.into_iter().map(|blkno| (blkno, Vec::new())).collect();
            directory.inode = editor.inode(dir)?;
        }
        Ok(Some(directory))
    }

    /// Whether there is an entry of that name; `.` and `..` always count.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some() || name == b"." || name == b".."
    }

    /// The entry of that name.
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.blocks.iter().flat_map(|(_, entries)| entries).find(|entry| entry.name == name)
    }

    /// All names except `.` and `..`.
    pub fn names(&self) -> HashSet<Vec<u8>> {
        self.blocks.iter().flat_map(|(_, entries)| entries).map(|it| it.name.clone()).collect()
    }

    /// The names by which entries point to an inode.
    pub fn names_of(&self, inode: Blkno) -> impl Iterator<Item = &[u8]> {
        let entries = self.blocks.iter().flat_map(|(_, entries)| entries);
        entries.filter(move |entry| entry.inode == inode).map(|entry| &entry.name[..])
    }

    /// Renames an entry: appends `_` until the name is free.
    pub fn rename(&mut self, name: &[u8]) {
        let mut other = name.to_vec();
        while self.contains(&other) {
            other.push(b'_');
        }
        let mut entries = self.blocks.iter_mut().flat_map(|(_, entries)| entries);
        if let Some(entry) = entries.find(|entry| entry.name == name) {
            entry.name = other;
        }
    }

    /// Adds an entry to the last block, or to the first one with room if that is full. Another
    /// block is better than a new cluster: the system directory may have to do without growing,
    /// while the entry of the bitmap is lost.
    pub fn add(&mut self, entry: Entry) {
        let area = self.inode.block().len().saturating_sub(DirTrailer::SIZE);
        let dots = entry_size(1) + entry_size(2);
        let has_room = |(index, entries): (usize, &Vec<Entry>)| {
            let used: usize = entries.iter().map(|entry| entry_size(entry.name.len())).sum();
            let used = if index == 0 { used + dots } else { used };
            used + entry_size(entry.name.len()) <= area
        };
        let last = self.blocks.len().saturating_sub(1);
        let entries = || self.blocks.iter().map(|(_, entries)| entries).enumerate();
        // With thousands of names too many it grows anyway.
        let is_overfull =
            entries().next_back().is_some_and(|(_, it)| it.len() > area / entry_size(1));
        let place = match is_overfull || entries().next_back().is_some_and(has_room) {
            true => last,
            false => {
                let mut few = entries().take(SEARCHED_BLOCKS);
                few.find(|block| has_room(*block)).map_or(last, |(index, _)| index)
            }
        };
        if let Some((_, entries)) = self.blocks.get_mut(place) {
            entries.push(entry);
        }
    }

    /// Removes the entries for which `keep` is not true.
    pub fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        for (_, entries) in &mut self.blocks {
            entries.retain(&keep);
        }
    }

    /// Puts entries before all others; what no longer fits the first block moves on when written.
    pub fn put_first(&mut self, entries: Vec<Entry>) {
        if let Some((_, first)) = self.blocks.first_mut() {
            first.splice(0..0, entries);
        }
    }

    /// Writes the whole directory.
    ///
    /// # Errors
    /// There is no room; it cannot be written.
    pub fn write(mut self, editor: &mut Editor<'_>) -> Result<(), EditError> {
        let volume = editor.volume();
        let dir = self.inode.blkno;
        if self.is_inline {
            let room = self.inode.id2().len().saturating_sub(InlineData::SIZE);
            let entries = self.blocks.first().map(|(_, entries)| &entries[..]).unwrap_or_default();
            let mut data = vec![0; room];
            if pack(&mut data, entries, Some((dir, self.parent))) < entries.len() {
                return self.outgrow(editor);
            }
            return editor.dinode(dir, |dinode, id2| {
                dinode.i_size = room as u64;
                let inline = InlineData { id_count: room as u16, ..InlineData::default() };
                let _ = inline.encode(id2);
                if let Some(bytes) = id2.get_mut(InlineData::SIZE..InlineData::SIZE + room) {
                    bytes.copy_from_slice(&data);
                }
            });
        }
        let indexed = needs_index(volume, &self.inode);
        let trailers = indexed || volume.has_dir_trailers(&self.inode);
        let size = volume.block_size().size();
        let area = if trailers { DirTrailer::offset(size) } else { size };
        let mut written: Vec<(Blkno, Vec<u8>)> = Vec::new();
        let mut carried: Vec<Entry> = Vec::new();
        let mut index = Vec::new();
        let blocks = std::mem::take(&mut self.blocks);
        let mut blocks = blocks.into_iter();
        loop {
            let (blkno, mut entries) = match blocks.next() {
                Some(block) => block,
                None if carried.is_empty() => break,
                None => {
                    let last = written.last().map(|(blkno, _)| *blkno);
                    let more = match self.spare(editor, written.len(), last) {
                        Some(blocks) => blocks,
                        None => self.grow(editor)?,
                    };
                    blocks = more
                        .into_iter()
                        .map(|blkno| (blkno, Vec::new()))
                        .collect::<Vec<_>>()
                        .into_iter();
                    continue;
                }
            };
            entries.append(&mut carried);
            let mut block = vec![0; size];
            let dots = written.is_empty().then_some((dir, self.parent));
            let bytes = block.get_mut(..area).unwrap_or_default();
            let fitting = pack(bytes, &entries, dots);
            carried = entries.split_off(fitting);
            let dots = dots.iter().flat_map(|_| [&b"."[..], b".."]);
            index.extend(
                dots.chain(entries.iter().map(|it| &it.name[..]))
                    .map(|name| (name.to_vec(), blkno)),
            );
            written.push((blkno, block));
        }
        let mut free = Blkno(0);
        for (blkno, block) in written.iter_mut().rev() {
            if !trailers {
                continue;
            }
            let hole = largest_hole(block.get(..area).unwrap_or_default());
            let mut trailer = DirTrailer::new(*blkno, dir, hole);
            if indexed && hole > 0 {
                trailer.db_free_next = free;
                free = *blkno;
            }
            let _ = trailer.write(block);
        }
        for (blkno, block) in &written {
            match trailers {
                true => editor.put_metadata(*blkno, block, DirTrailer::check_offset(size))?,
                false => editor.put_blocks(*blkno, block)?,
            }
        }
        let bytes = (written.len() as u64) << volume.block_size().bits();
        editor.dinode(dir, |dinode, _| dinode.i_size = bytes)?;
        if self.is_cut {
            let clusters = written.len().div_ceil(volume.geometry().blocks_per_cluster() as usize);
            tree::cut(editor, dir, Holds::Dense, clusters as u64)?;
        }
        if indexed {
            let sign = editor.terms.hashing.of(self.signs);
            dx::build(editor, dir, index, free, sign)?;
        }
        Ok(())
    }

    /// The same; if there is no room for the index, the directory is left without one. As long as
    /// an index is broken its clusters are not certain and none is freed: without it there may be
    /// room for a new one.
    fn write_or_unindex(self, editor: &mut Editor<'_>) -> Result<(), EditError> {
        let dir = self.inode.blkno;
        match self.write(editor) {
            Err(EditError::NoRoom(_)) if editor.has_index(dir)? => unindex(editor, dir),
            written => written,
        }
    }

    fn pack(mut self, editor: &mut Editor<'_>) -> Result<(), EditError> {
        let volume = editor.volume();
        let dir = self.inode.blkno;
        let size = volume.block_size().size();
        let has_trailers = needs_index(volume, &self.inode) || volume.has_dir_trailers(&self.inode);
        let area = if has_trailers { DirTrailer::offset(size) } else { size };
        let entries: Vec<_> = self.blocks.iter_mut().flat_map(|(_, it)| it.drain(..)).collect();
        let (mut needed, mut filled) = (1, entry_size(1) + entry_size(2));
        for entry in &entries {
            let len = entry_size(entry.name.len());
            if filled + len > area {
                (needed, filled) = (needed + 1, 0);
            }
            filled += len;
        }
        if self.is_inline || needed >= self.blocks.len() {
            return Ok(());
        }
        self.blocks.truncate(needed);
        if let Some((_, first)) = self.blocks.first_mut() {
            *first = entries;
        }
        dx::free(editor, dir)?;
        unindex(editor, dir)?;
        self.write(editor)?;
        let per_cluster = editor.volume().geometry().blocks_per_cluster() as usize;
        tree::cut(editor, dir, Holds::Dense, needed.div_ceil(per_cluster) as u64)
    }

    /// Moves entries that no longer fit the inode to blocks of their own.
    fn outgrow(mut self, editor: &mut Editor<'_>) -> Result<(), EditError> {
        let dir = self.inode.blkno;
        let entries = self.blocks.pop().map(|(_, entries)| entries).unwrap_or_default();
        editor.dinode(dir, |dinode, id2| {
            let features = dinode.dyn_features().difference(DynFeatures::INLINE_DATA);
            dinode.i_dyn_features = features.bits();
            (dinode.i_size, dinode.i_clusters, dinode.i_last_eb_blk) = (0, 0, Blkno(0));
            let _ = id2;
        })?;
        let inode = editor.inode(dir)?;
        let mut id2 = vec![0; inode.id2().len()];
        let _ = ocfs2_format::extent::write_extent_list(&mut id2, 0, &[]);
        editor.dinode(dir, |_, rest| {
            if let Some(bytes) = rest.get_mut(..id2.len()) {
                bytes.copy_from_slice(&id2);
            }
        })?;
        self.inode = editor.inode(dir)?;
        self.is_inline = false;
        let blocks = self.grow(editor)?;
        let mut blocks = blocks.into_iter();
        self.blocks.extend(blocks.next().map(|blkno| (blkno, entries)));
        self.blocks.extend(blocks.map(|blkno| (blkno, Vec::new())));
        self.inode = editor.inode(dir)?;
        self.write(editor)
    }

    /// The next blocks of the directory after its first `used` ones, of which `last` is the last:
    /// both mkfs give the system directory more clusters than it needs.
    fn spare(&self, editor: &Editor<'_>, used: usize, last: Option<Blkno>) -> Option<Vec<Blkno>> {
        let inode = editor.inode(self.inode.blkno).ok()?;
        let (volume, per_cluster) =
            (editor.volume(), editor.volume().geometry().blocks_per_cluster());
        let tree = volume.tree(&inode).ok()?;
        let at = |index: u64| {
            let cpos = u32::try_from(index / u64::from(per_cluster)).ok()?;
            let extent = tree.map(Cpos(cpos)).ok()??;
            let within = index - u64::from(extent.cpos.0) * u64::from(per_cluster);
            Some(Blkno(extent.blkno.0 + within))
        };
        let used = used as u64;
        if at(used.checked_sub(1)?) != last {
            return None;
        }
        let end = (used / u64::from(per_cluster) + 1) * u64::from(per_cluster);
        (used..end).map(at).collect()
    }

    /// Adds a cluster; returns its blocks.
    fn grow(&mut self, editor: &mut Editor<'_>) -> Result<Vec<Blkno>, EditError> {
        let runs = editor.take_clusters(1)?;
        let start = runs.first().map(|run| run.start).ok_or(EditError::NoRoom("a directory"))?;
        tree::append(editor, self.inode.blkno, Holds::Dense, start, 1)?;
        let geometry = editor.volume().geometry();
        let first = geometry.block_of(ocfs2_format::Cluster(start)).0;
        Ok((first..first + u64::from(geometry.blocks_per_cluster())).map(Blkno).collect())
    }
}

/// Whether a directory that is not inline has an index or needs one.
fn needs_index(volume: &Volume, inode: &Inode) -> bool {
    volume.has(Incompat::INDEXED_DIRS)
        && !inode.is_inline()
        && (inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR)
            || inode.blkno != volume.superblock().s_system_dir_blkno)
}

fn is_orphan_directory(volume: &Volume, dir: Blkno) -> bool {
    let system = volume.system_dir().and_then(|system| {
        let entries = volume.entries(&system)?;
        let mut orphans = entries.filter_map(Result::ok);
        Ok(orphans.any(|entry| entry.inode == dir && entry.name.starts_with(b"orphan_dir:")))
    });
    system.unwrap_or(false)
}

/// The blocks within the size of a directory, in order.
fn block_numbers(volume: &Volume, inode: &Inode) -> Result<impl Iterator<Item = Blkno>, EditError> {
    let gathered = tree::gather(volume, inode.blkno, inode.id2(), Holds::Dense, false)?;
    let bits = volume.geometry().bpc_bits();
    let wanted = usize::try_from(volume.geometry().blocks_for(inode.size())).unwrap_or(usize::MAX);
    let runs = gathered.extents.iter();
    let runs = runs.map(|rec| (rec.e_blkno, u64::from(rec.e_leaf_clusters()) << bits));
    let mut runs: Vec<_> = runs.collect();
    once(volume.geometry(), &mut runs);
    let blocks = runs
        .into_iter()
        .flat_map(|(start, count)| (start.0..start.0.saturating_add(count)).map(Blkno));
    Ok(blocks.take(wanted))
}

/// Writes consecutive entries, extending the last one to the end. Returns how many of them fit.
fn pack(bytes: &mut [u8], entries: &[Entry], dots: Option<(Blkno, Blkno)>) -> usize {
    let dots = dots.into_iter().flat_map(|(dir, parent)| {
        let entry = |inode, name: &[u8]| Entry {
            inode,
            file_type: FileType::Directory,
            name: name.to_vec(),
        };
        [entry(dir, b"."), entry(parent, b"..")]
    });
    let dots: Vec<_> = dots.collect();
    let (mut at, mut last, mut fitting) = (0, None, 0);
    for entry in dots.iter().chain(entries) {
        let needed = entry_size(entry.name.len());
        let Some(room) = bytes.get_mut(at..).filter(|room| room.len() >= needed) else { break };
        if write_entry(room, entry.inode, needed as u16, entry.file_type, &entry.name).is_err() {
            break;
        }
        last = Some(at);
        at += needed;
        fitting += 1;
    }
    let start = last.unwrap_or(0);
    let total = bytes.len();
    if let Some(room) = bytes.get_mut(start..) {
        // A block without entries holds a single unused one.
        let header = DirEntryHeader::decode(room).unwrap_or_default();
        let _ = DirEntryHeader { rec_len: (total - start) as u16, ..header }.encode(room);
    }
    usize::saturating_sub(fitting, dots.len())
}

/// Reads entries as the check does and mends each.
struct Reader<'a, 'e> {
    editor: &'a Editor<'e>,
    dir: Blkno,
    orphans: bool,
    parent: Option<Blkno>,
    /// Number of entries so far: the first two are `.` and `..`.
    count: usize,
    names: Names,
    /// Names that are still to be put back.
    renamed: Vec<&'a Renamed>,
}

/// Bytes of a name that are kept when a number is appended.
const STEM_MAX: usize = NAME_MAX - ".18446744073709551615".len();

/// Names, each at most once.
#[derive(Debug, Default)]
struct Names {
    /// The inode each name points to.
    taken: HashMap<Vec<u8>, Blkno>,
    /// By the beginning of a name, the last number that was appended to it.
    numbers: HashMap<Vec<u8>, u64>,
}

impl Names {
    /// Returns the name, or one with a number appended if it is taken. `None` if it is taken by an
    /// entry for the same inode that `has_one` name only: then the second one is not needed.
    ///
    /// The last number of each name is kept, so that thousands of equal names take no longer than
    /// as many different ones.
    fn unique(&mut self, name: Vec<u8>, inode: Blkno, has_one: bool) -> Option<Vec<u8>> {
        match self.taken.get(&name) {
            None => {
                self.taken.insert(name.clone(), inode);
                return Some(name);
            }
            Some(first) if *first == inode && has_one => return None,
            Some(_) => {}
        }
        let stem = name.get(..STEM_MAX).unwrap_or(&name).to_vec();
        let number = self.numbers.entry(stem.clone()).or_default();
        loop {
            *number += 1;
            let unique = [&stem[..], format!(".{number}").as_bytes()].concat();
            if !self.taken.contains_key(&unique) {
                self.taken.insert(unique.clone(), inode);
                return Some(unique);
            }
        }
    }
}

impl Reader<'_, '_> {
    fn entries(&mut self, bytes: &[u8]) -> Vec<Entry> {
        let mut found = Vec::new();
        let mut start = 0;
        while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
            let mut bad = None;
            for entry in entries(rest) {
                match entry {
                    Ok(entry) => {
                        found.extend(self.entry(&entry.header, entry.name));
                    }
                    Err(err) => bad = Some(err.offset),
                }
            }
            let Some(bad) = bad else { break };
            let Some(rest) = bytes.get(start + bad..) else { break };
            let next = self.next(rest);
            if let Ok(header) = DirEntryHeader::decode(rest) {
                let name = rest.get(DirEntryHeader::SIZE..).unwrap_or_default();
                let name = name.get(..usize::from(header.name_len)).unwrap_or_default();
                if entry_size(name.len()) <= next {
                    found.extend(self.entry(&header, name));
                } else {
                    self.unnamed(&header);
                }
            }
            start += bad + next;
        }
        found
    }

    /// Bytes to the next entry from which on all entries are sound.
    fn next(&self, rest: &[u8]) -> usize {
        let is_start = |at: &usize| {
            let tail = rest.get(*at..).unwrap_or_default();
            DirEntryHeader::decode(tail).is_ok_and(|header| {
                header.inode.is_none() || header.name_len > 0 && self.target(header.inode).is_some()
            })
        };
        sound_from(rest).find(is_start).unwrap_or(rest.len())
    }

    /// The inode that an entry points to, if it is in use.
    fn target(&self, blkno: Blkno) -> Option<Inode> {
        let volume = self.editor.volume();
        if !volume.geometry().is_valid_block(blkno) {
            return None;
        }
        let mut block = volume.read_block(blkno).ok()?;
        let in_use = seen::mended(volume, blkno, &mut block) != Seen::No;
        correct(volume, &mut block, Dinode::CHECK_OFFSET);
        let inode = Inode::decode(blkno, block).ok()?;
        // A journal may hold copies of inodes; these state another block.
        let in_use = in_use && inode.dinode.i_blkno == blkno;
        in_use.then_some(inode)
    }

    /// An entry whose name does not fit into it: it may be `..`, whose name is known.
    fn unnamed(&mut self, header: &DirEntryHeader) {
        if self.count == 1 && self.target(header.inode).is_some_and(|it| it.is_dir()) {
            self.parent = Some(header.inode);
        }
        self.count += 1;
    }

    fn entry(&mut self, header: &DirEntryHeader, name: &[u8]) -> Option<Entry> {
        let number = self.count;
        self.count += 1;
        if number < 2 {
            let is_dots =
                header.inode.is_none() || name.is_empty() || name.iter().all(|it| *it == b'.');
            let is_target = self.target(header.inode).is_some_and(|it| it.is_dir());
            if number == 1 && is_target {
                self.parent = Some(header.inode);
            }
            // Anything else in their place becomes an ordinary entry, if it can be one.
            if is_dots || header.inode == self.dir || number == 1 && is_target {
                return None;
            }
        }
        if header.inode.is_none() || name.is_empty() || name == b"." || name == b".." {
            return None;
        }
        let inode = self.target(header.inode)?;
        let file_type = FileType::ALL.into_iter().find(|it| it.kind() == inode.kind());
        let file_type = file_type.filter(|it| it.kind().is_some());
        let stated = FileType::from_code(header.file_type).unwrap_or(FileType::Unknown);
        // Each is used once: of two links to one inode with the same name only one was renamed.
        let is_it = |it: &&Renamed| it.inode == header.inode && it.wrong == name;
        let renamed = self.renamed.iter().position(is_it).map(|at| self.renamed.swap_remove(at));
        let name = renamed.map_or(name, |it| &it.right);
        let has_one = inode.is_dir() || self.editor.volume().links_count(&inode) <= 1;
        let name = self.name(name, header.inode, has_one)?;
        Some(Entry { inode: header.inode, file_type: file_type.unwrap_or(stated), name })
    }

    /// A valid name that is not taken.
    fn name(&mut self, name: &[u8], inode: Blkno, has_one: bool) -> Option<Vec<u8>> {
        if self.orphans {
            let number = format!("{:016x}", inode.0).into_bytes();
            let prefix = &b"dio-"[..name.len().min(4) * usize::from(name.starts_with(b"dio-"))];
            return Some([prefix, &number[..]].concat());
        }
        let is_bad = |byte: &u8| matches!(*byte, b'/' | 0);
        let name = name.iter().map(|byte| if is_bad(byte) { b'_' } else { *byte });
        self.names.unique(name.collect(), inode, has_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_become_others_in_the_time_of_as_many_different_ones() {
        let mut all = Names::default();
        let mut number = 0;
        let mut unique = |name: &[u8]| {
            number += 1;
            all.unique(name.to_vec(), Blkno(number), true).unwrap()
        };
        assert_eq!(unique(b"a.1"), b"a.1");
        assert_eq!(unique(b"a"), b"a");
        assert_eq!(unique(b"a"), b"a.2");
        // If each search began at 1, these would take 450 million steps.
        for _ in 0..30_000 {
            unique(b"a");
        }
        assert_eq!(unique(b"a"), b"a.30003");
        // The same for names that are equal once they are shortened.
        for number in 0..30_000 {
            let long = [&[b'x'; NAME_MAX - 5][..], format!("{number:05}").as_bytes()].concat();
            assert_eq!(unique(&long), long);
            assert!(unique(&long).len() <= NAME_MAX);
        }
        assert_eq!(all.taken.len(), 60_000 + 30_004);
    }

    #[test]
    fn an_entry_that_is_there_twice_is_there_once() {
        let mut names = Names::default();
        assert_eq!(names.unique(b"a".to_vec(), Blkno(1), true).unwrap(), b"a");
        assert_eq!(names.unique(b"a".to_vec(), Blkno(1), true), None);
        assert_eq!(names.unique(b"a".to_vec(), Blkno(2), true).unwrap(), b"a.1");
        assert_eq!(names.unique(b"a".to_vec(), Blkno(2), false).unwrap(), b"a.2");
    }
}
