//! New directories, and inodes that are put into `lost+found`.

use std::collections::{BTreeMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use ocfs2_format::dinode::{Dinode, DynFeatures, InodeFlags};
use ocfs2_format::dir::FileType;
use ocfs2_format::extent::write_extent_list;
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::allocator::Suballocated;

use super::directory::{Directory, Entry};
use super::{EditError, Editor, Repair};

const LOST_FOUND: &[u8] = b"lost+found";

/// Puts an inode that is in no directory into `lost+found`.
pub fn reconnect(inode: Blkno) -> Repair {
    Repair::when_sound(move |editor| {
        editor.lost.push(inode);
        Ok(())
    })
}

/// Puts a directory that is below itself into `lost+found`, and removes it from `above`, its parent
/// in the circle: otherwise it would be in two directories, either of which may count.
pub fn reconnect_from(dir: Blkno, above: Blkno) -> Repair {
    Repair::when_sound(move |editor| {
        if let Some(directory) = Directory::read(editor, above)? {
            for name in directory.names_of(dir) {
                editor.remove_later(above, name.to_vec(), dir);
            }
        }
        editor.lost.push(dir);
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
pub(crate) fn link_all(inodes: Vec<Blkno>) -> Repair {
    Repair::when_sound(move |editor| link(editor, &inodes))
}

fn link(editor: &mut Editor<'_>, inodes: &[Blkno]) -> Result<(), EditError> {
    let root = editor.volume().superblock().s_root_blkno;
    let found = Directory::read(editor, root)?;
    let found = found.as_ref().and_then(|root| root.find(LOST_FOUND)).map(|it| it.inode);
    let missing = || EditError::Impossible("there is no lost+found".to_owned());
    let home = found.ok_or_else(missing)?;
    let mut directory = Directory::read(editor, home)?.ok_or_else(missing)?;
    let mut names = directory.names();
    for blkno in inodes {
        editor.check_interrupt()?;
        let inode = editor.inode(*blkno)?;
        let mut name = format!("#{blkno}").into_bytes();
        while !names.insert(name.clone()) {
            name.push(b'_');
        }
        let file_type = FileType::ALL.into_iter().find(|it| it.kind() == inode.kind());
        let file_type = file_type.unwrap_or(FileType::Unknown);
        directory.add(Entry { inode: *blkno, file_type, name });
        if let Some(mut child) = Directory::read(editor, *blkno)? {
            child.parent = home;
            child.write(editor)?;
        }
    }
    directory.write(editor)
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
        let inodes: Vec<_> = files.iter().map(|(inode, _)| *inode).collect();
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
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let blkno = home.blkno;
        let is_inline = volume.has(Incompat::INLINE_DATA);
        let features = if is_inline { DynFeatures::INLINE_DATA } else { DynFeatures::empty() };
        let dinode = Dinode {
            i_signature: Dinode::SIGNATURE,
            i_generation: time as u32,
            i_suballoc_slot: home.slot,
            i_suballoc_bit: home.bit,
            i_suballoc_loc: home.loc,
            i_fs_generation: volume.generation(),
            i_blkno: blkno,
            i_mode: 0o040_755,
            i_links_count: 2,
            i_flags: flags.bits(),
            i_dyn_features: features.bits(),
            i_atime: time,
            i_ctime: time,
            i_mtime: time,
            ..Dinode::default()
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
