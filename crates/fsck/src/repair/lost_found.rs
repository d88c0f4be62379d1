//! New directories, and inodes that are put into `lost+found`.

use std::collections::{BTreeMap, HashSet};

use ocfs2_format::dinode::{Dinode, DynFeatures, InodeFlags};
use ocfs2_format::dir::FileType;
use ocfs2_format::extent::write_extent_list;
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::allocator::Suballocated;

use super::directory::{Directory, Entry};
use super::{EditError, Editor, Repair};

const LOST_FOUND: &[u8] = b"lost+found";
/// The greatest length of a name in bytes.
const NAME_MAX: usize = 255;

/// The last name that an inode is known to have had.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LastName {
    /// The name.
    pub name: Vec<u8>,
    /// The directory that it was in, if the block with the name is of one.
    pub dir: Option<Blkno>,
    /// The last name of that directory.
    pub dir_name: Option<Vec<u8>>,
}

/// An inode that is in no directory, and its last known name.
pub type Lost = (Blkno, Option<LastName>);

/// Puts an inode that is in no directory into `lost+found`.
pub fn reconnect(inode: Blkno, name: Option<LastName>) -> Repair {
    Repair::when_sound(move |editor| {
        editor.lost.push((inode, name.clone()));
        Ok(())
    })
}

/// Puts a directory that is below itself into `lost+found`, and removes it from `above`, its parent
/// in the circle: otherwise it would be in two directories, either of which may count.
pub fn reconnect_from(dir: Blkno, above: Blkno) -> Repair {
    Repair::when_sound(move |editor| {
        let mut last = None;
        if let Some(directory) = Directory::read(editor, above)? {
            for name in directory.names_of(dir) {
                last = Some(LastName { name: name.to_vec(), ..LastName::default() });
                editor.remove_later(above, name.to_vec(), dir);
            }
        }
        editor.lost.push((dir, last));
        Ok(())
    })
}

/// Makes `lost+found`.
pub fn make() -> Repair {
    Repair::once_when_sound("lost+found", 0, |editor| {
        let root = editor.volume().superblock().s_root_blkno;
        let Some(mut directory) = Directory::read(editor, root)? else { return Ok(()) };
        if let Some(entry) = directory.find(LOST_FOUND) {
            if editor.inode(entry.inode)?.is_dir() {
                return Ok(());
            }
            // Something else has that name: it stays in the root under another one.
            directory.rename(LOST_FOUND);
        }
        let home = editor.take_inode(0)?;
        editor.make_directory(&home, InodeFlags::VALID, root)?;
        directory.add(Entry {
            inode: home.blkno,
            file_type: FileType::Directory,
            name: LOST_FOUND.to_vec(),
        });
        directory.write(editor)
    })
}

/// Puts inodes into the existing `lost+found`.
pub(crate) fn link_all(inodes: Vec<Lost>) -> Repair {
    Repair::when_sound(move |editor| link(editor, &inodes))
}

/// The same where there is no room for directories: all of them directly in `lost+found`.
pub(crate) fn link_alone(mut inodes: Vec<Lost>) -> Repair {
    for (_, last) in &mut inodes {
        *last = last.take().map(|last| LastName { dir: None, ..last });
    }
    link_all(inodes)
}

/// The name of an inode in `lost+found`: its number after its last name, as far as there is room.
fn name(inode: Blkno, last: Option<&[u8]>) -> Vec<u8> {
    let number = format!("#{inode}");
    let Some(last) = last.filter(|last| !last.is_empty()) else { return number.into_bytes() };
    let is_bad = |byte: &u8| matches!(*byte, b'/' | 0);
    let mut name: Vec<u8> =
        last.iter().map(|byte| if is_bad(byte) { b'_' } else { *byte }).collect();
    // One byte less, for a name that is there already.
    let room = NAME_MAX.saturating_sub(number.len() + 2);
    if name.len() > room {
        // Not within a character.
        let ends = |at: &usize| name.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
        let end = (0..=room).rev().find(ends).unwrap_or(room);
        name.truncate(end);
    }
    [&name[..], b".", number.as_bytes()].concat()
}

fn link(editor: &mut Editor<'_>, inodes: &[Lost]) -> Result<(), EditError> {
    let root = editor.volume().superblock().s_root_blkno;
    let found = Directory::read(editor, root)?;
    let found = found.as_ref().and_then(|root| root.find(LOST_FOUND)).map(|it| it.inode);
    let missing = || EditError::Impossible("there is no lost+found".to_owned());
    let home = found.ok_or_else(missing)?;
    let mut directory = Directory::read(editor, home)?.ok_or_else(missing)?;
    let mut names = directory.names();
    for ((dir, dir_name), group) in by_directory(editor, inodes) {
        let mut unplaced = group;
        if let Some(dir) = dir {
            unplaced = put_back(editor, dir, unplaced)?;
            if !unplaced.is_empty() && !is_directory(editor, dir) {
                // They stay together, with their names.
                let made = editor.take_inode(0)?;
                editor.make_directory(&made, InodeFlags::VALID, home)?;
                unplaced = put_back(editor, made.blkno, unplaced)?;
                let mut name = self::name(dir, dir_name.as_deref());
                while !names.insert(name.clone()) {
                    name.push(b'_');
                }
                let file_type = FileType::Directory;
                directory.add(Entry { inode: made.blkno, file_type, name });
            }
        }
        for (blkno, last) in unplaced {
            editor.check_interrupt()?;
            let mut name = name(blkno, last.as_ref().map(|last| &last.name[..]));
            while !names.insert(name.clone()) {
                name.push(b'_');
            }
            directory.add(Entry { inode: blkno, file_type: file_type(editor, blkno)?, name });
            enter(editor, blkno, home)?;
        }
    }
    directory.write(editor)
}

/// The directory that inodes were in, and its last name.
type Above = (Option<Blkno>, Option<Vec<u8>>);

/// The inodes by the directories that they were in. Those whose directory is to be put into
/// `lost+found` itself are there with it.
fn by_directory(editor: &Editor<'_>, inodes: &[Lost]) -> BTreeMap<Above, Vec<Lost>> {
    let geometry = editor.volume().geometry();
    let mut groups: BTreeMap<Above, Vec<Lost>> = BTreeMap::new();
    for (inode, last) in inodes {
        let above = last.as_ref().map_or((None, None), |last| {
            let dir = last.dir.filter(|dir| geometry.is_valid_block(*dir) && dir != inode);
            (dir, dir.and(last.dir_name.clone()))
        });
        groups.entry(above).or_default().push((*inode, last.clone()));
    }
    groups
}

/// Whether a directory of a user is in use, or the root.
fn is_directory(editor: &Editor<'_>, dir: Blkno) -> bool {
    let is_root = dir == editor.volume().superblock().s_root_blkno;
    editor.inode(dir).is_ok_and(|inode| {
        let flags = inode.dinode.flags();
        inode.is_dir()
            && inode.dinode.i_blkno == dir
            && inode.dinode.i_fs_generation == editor.volume().generation()
            && flags.contains(InodeFlags::VALID)
            && (is_root || !flags.contains(InodeFlags::SYSTEM))
    })
}

/// Gives inodes their last names in a directory that is in use. Returns those for which that is not
/// possible.
fn put_back(
    editor: &mut Editor<'_>,
    dir: Blkno,
    inodes: Vec<Lost>,
) -> Result<Vec<Lost>, EditError> {
    if !is_directory(editor, dir) {
        return Ok(inodes);
    }
    let Some(mut directory) = Directory::read(editor, dir)? else { return Ok(inodes) };
    let mut names = directory.names();
    let mut left = Vec::new();
    for (inode, last) in inodes {
        editor.check_interrupt()?;
        let name = last.as_ref().map(|last| last.name.clone()).filter(|name| {
            let is_bad = name.iter().any(|byte| matches!(*byte, b'/' | 0));
            !name.is_empty() && !is_bad && name != b"." && name != b".."
        });
        match name.filter(|name| names.insert(name.clone())) {
            Some(name) => {
                let file_type = file_type(editor, inode)?;
                directory.add(Entry { inode, file_type, name });
                enter(editor, inode, dir)?;
            }
            None => left.push((inode, last)),
        }
    }
    directory.write(editor)?;
    Ok(left)
}

fn file_type(editor: &Editor<'_>, inode: Blkno) -> Result<FileType, EditError> {
    let kind = editor.inode(inode)?.kind();
    let found = FileType::ALL.into_iter().find(|it| it.kind() == kind);
    Ok(found.unwrap_or(FileType::Unknown))
}

/// Points the `..` of an inode that is a directory to the one it is in now.
fn enter(editor: &mut Editor<'_>, inode: Blkno, above: Blkno) -> Result<(), EditError> {
    match Directory::read(editor, inode)? {
        Some(mut child) => {
            child.parent = above;
            child.write(editor)
        }
        None => Ok(()),
    }
}

/// An inode and its names, each with the directory it is in.
pub type Named = (Blkno, Vec<(Blkno, Vec<u8>)>);

/// Empties files of which nothing is left and moves them from all their places to `lost+found`:
/// otherwise a file of the old name and size would seem to be intact.
pub fn bury(files: Vec<Named>) -> Repair {
    Repair::when_sound(move |editor| {
        let mut by_dir: BTreeMap<Blkno, HashSet<(&[u8], Blkno)>> = BTreeMap::new();
        for (inode, names) in &files {
            for (dir, name) in names {
                by_dir.entry(*dir).or_default().insert((name, *inode));
            }
        }
        for (dir, names) in by_dir {
            let Some(mut directory) = Directory::read(editor, dir)? else { continue };
            directory.retain(|entry| !names.contains(&(&entry.name[..], entry.inode)));
            directory.write(editor)?;
        }
        let wide = editor.volume().has(Incompat::INDEXED_DIRS);
        for (inode, _) in &files {
            editor.dinode(*inode, |dinode, id2| {
                dinode.i_size = 0;
                dinode.set_links_count(1, wide);
                if dinode.dyn_features().contains(DynFeatures::INLINE_DATA)
                    && let Ok(inline) = InlineData::decode(id2)
                {
                    let end = InlineData::SIZE + usize::from(inline.id_count);
                    id2.get_mut(InlineData::SIZE..end).unwrap_or_default().fill(0);
                }
            })?;
        }
        let last = |names: &[(Blkno, Vec<u8>)]| {
            let (_, name) = names.first()?.clone();
            Some(LastName { name, ..LastName::default() })
        };
        let inodes: Vec<_> = files.iter().map(|(inode, names)| (*inode, last(names))).collect();
        link(editor, &inodes)
    })
}

impl Editor<'_> {
    /// Makes an empty directory in a block that was taken for it, with the link count of one
    /// without subdirectories.
    ///
    /// # Errors
    /// There is no room; it cannot be written.
    pub fn make_directory(
        &mut self,
        home: &Suballocated,
        flags: InodeFlags,
        parent: Blkno,
    ) -> Result<(), EditError> {
        let volume = self.volume();
        let blkno = home.blkno;
        let is_inline = volume.has(Incompat::INLINE_DATA);
        let features = if is_inline { DynFeatures::INLINE_DATA } else { DynFeatures::empty() };
        let dinode = Dinode {
            i_mode: 0o040_755,
            i_links_count: 2,
            i_flags: flags.bits(),
            i_dyn_features: features.bits(),
            ..self.new_dinode(home)
        };
        self.create(blkno, &dinode, |id2| {
            if is_inline {
                let room = id2.len().saturating_sub(InlineData::SIZE) as u16;
                let _ = InlineData { id_count: room, ..InlineData::default() }.encode(id2);
            } else {
                let _ = write_extent_list(id2, 0, &[]);
            }
        })?;
        let Some(directory) = Directory::empty(self, blkno, parent)? else { return Ok(()) };
        directory.write(self)
    }
}
