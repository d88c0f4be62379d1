//! New inodes.

use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::dir::{FileType, entry_size, write_entry};
use ocfs2_format::extent::{ExtentFlags, ExtentRec, write_extent_list};
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Structure, Truncated};

use super::dir::refused;
use super::entry_block::NewEntry;
use super::{Edit, EditError};
use crate::allocator::{Suballocated, Want};
use crate::{InBlock, Timestamp};

/// Longest target of a symbolic link, as in the kernel.
const MOST_TARGET: usize = 4095;
/// All that can be set of `i_mode` besides the kind.
const PERMISSIONS: u16 = 0o7777;

/// The properties of a new inode.
#[derive(Clone, Copy, Debug)]
pub struct NewInode<'a> {
    /// The kind of file.
    pub kind: FileKind,
    /// Permissions, set-id bits and the sticky bit: `0o7777`. Nothing is inherited from the
    /// directory.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of a device; ignored for other kinds.
    pub rdev: (u32, u32),
    /// Target of a symbolic link; ignored for other kinds.
    pub target: &'a [u8],
}

impl NewInode<'static> {
    /// A file of this kind that belongs to root; not for devices and symbolic links.
    pub fn of(kind: FileKind, permissions: u16) -> Self {
        Self { kind, permissions, uid: 0, gid: 0, rdev: (0, 0), target: b"" }
    }
}

impl Edit {
    /// Creates an inode with a name in a directory and returns its block. A regular file is empty,
    /// a directory has `.` and `..`. Attributes and access control lists are not inherited from the
    /// directory.
    ///
    /// # Errors
    /// As [`Edit::link`]; [`EditError::Refused`] for a symbolic link without a target;
    /// [`EditError::TooLarge`] if the device number, the target or the links of the directory would
    /// be too large.
    pub fn create(
        &mut self,
        dir: Blkno,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Blkno, EditError> {
        self.attempt(|edit| {
            edit.inode(dir)?.expect(FileKind::Directory, "a directory")?;
            let dinode = edit.new_dinode(name, new)?;
            let inode = dinode.i_blkno;
            match new.kind {
                FileKind::Directory => edit.write_directory(dinode, dir)?,
                FileKind::Symlink => edit.write_symlink(dinode, new.target)?,
                _ => edit.write_inode(&dinode, |id2| write_extent_list(id2, 0, &[]))?,
            }
            edit.add_name(dir, &NewEntry { name, inode, file_type: new.kind.into() })?;
            if new.kind == FileKind::Directory {
                edit.add_link(dir)?;
            }
            Ok(inode)
        })
    }

    /// Takes a block for an inode and returns its dinode, without contents. Nothing is written yet.
    fn new_dinode(&mut self, name: &[u8], new: &NewInode<'_>) -> Result<Dinode, EditError> {
        let is_device = matches!(new.kind, FileKind::CharDevice | FileKind::BlockDevice);
        let id1 = if is_device { encode_rdev(new.rdev)? } else { 0 };
        let is_symlink = new.kind == FileKind::Symlink;
        if is_symlink && (new.target.is_empty() || new.target.contains(&0)) {
            return Err(refused(name, "a symbolic link points to a path without a NUL"));
        }
        let taken = self.take_inode()?;
        Ok(Dinode {
            i_uid: new.uid,
            i_gid: new.gid,
            i_mode: new.kind.mode_bits() | new.permissions & PERMISSIONS,
            i_flags: InodeFlags::VALID.bits(),
            id1,
            ..self.dinode_in(taken)
        })
    }

    /// A dinode for a block that was taken for one, without a kind yet.
    pub(super) fn dinode_in(&mut self, taken: Suballocated) -> Dinode {
        let Timestamp { seconds, nanoseconds } = self.time();
        Dinode {
            i_signature: Dinode::SIGNATURE,
            i_generation: self.new_generation(),
            i_suballoc_slot: taken.slot,
            i_suballoc_bit: taken.bit,
            i_suballoc_loc: taken.loc,
            i_links_count: 1,
            i_atime: seconds as u64,
            i_ctime: seconds as u64,
            i_mtime: seconds as u64,
            i_atime_nsec: nanoseconds,
            i_ctime_nsec: nanoseconds,
            i_mtime_nsec: nanoseconds,
            i_blkno: taken.blkno,
            i_fs_generation: self.generation(),
            ..Dinode::default()
        }
    }

    /// Writes a new dinode, with what `fill` puts after it.
    pub(super) fn write_inode(
        &mut self,
        dinode: &Dinode,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Truncated>,
    ) -> Result<(), EditError> {
        self.count_inode(dinode, 1);
        self.create_block(dinode.i_blkno, dinode, fill)
    }

    /// Writes an empty directory: inline if the volume has inline data.
    pub(super) fn write_directory(
        &mut self,
        mut dinode: Dinode,
        parent: Blkno,
    ) -> Result<(), EditError> {
        let own = dinode.i_blkno;
        dinode.i_links_count = 2;
        let dots = move |names: &mut [u8]| {
            let size = entry_size(1);
            let rest = u16::try_from(names.len().saturating_sub(size)).unwrap_or(u16::MAX);
            write_entry(names, own, size as u16, FileType::Directory, b".")?;
            let names = names.get_mut(size..).unwrap_or_default();
            write_entry(names, parent, rest, FileType::Directory, b"..")
        };
        if self.has(Incompat::INLINE_DATA) {
            let room = dinode.id2_size(self.block_size()).saturating_sub(InlineData::SIZE);
            let id_count = u16::try_from(room).unwrap_or(u16::MAX);
            dinode.i_dyn_features = DynFeatures::INLINE_DATA.bits();
            dinode.i_size = id_count.into();
            return self.write_inode(&dinode, |id2| {
                InlineData { id_count, ..Default::default() }.encode(id2)?;
                dots(InlineData::room(id2)?)
            });
        }
        self.write_inode(&dinode, |id2| write_extent_list(id2, 0, &[]))?;
        let mut names = vec![0; entry_size(1) + entry_size(2)];
        dots(&mut names).in_block(own)?;
        self.make_blocks(&self.inode(own)?, &names)
    }

    /// Writes a symbolic link: its target is in the inode if it fits.
    fn write_symlink(&mut self, mut dinode: Dinode, target: &[u8]) -> Result<(), EditError> {
        let (geometry, block_size) = (*self.geometry(), self.block_size());
        dinode.i_size = target.len() as u64;
        if target.len() < dinode.id2_size(block_size) {
            return self.write_inode(&dinode, |id2| {
                id2.iter_mut().zip(target).for_each(|(byte, from)| *byte = *from);
                Ok(())
            });
        }
        if target.len() > MOST_TARGET {
            return Err(EditError::TooLarge("the target of a symbolic link can have 4095 bytes"));
        }
        let run = self.take_clusters(Want::exactly(1))?;
        let blkno = geometry.block_of(Cluster(run.start));
        let mut contents = vec![0; (target.len() + 1).next_multiple_of(block_size.size())];
        contents.iter_mut().zip(target).for_each(|(byte, from)| *byte = *from);
        self.volume.write_raw(blkno, &contents)?;
        dinode.i_clusters = 1;
        let rec = ExtentRec::leaf(Cpos(0), 1, ExtentFlags::empty(), blkno);
        self.write_inode(&dinode, |id2| write_extent_list(id2, 0, &[rec]))
    }
}

/// A device number in the encoding of `i_rdev`.
fn encode_rdev((major, minor): (u32, u32)) -> Result<u64, EditError> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(EditError::TooLarge("a device has a major number of 12 bits, a minor of 20"));
    }
    let (major, minor) = (u64::from(major), u64::from(minor));
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_number_is_read_as_it_was_written() {
        for number in [(5, 1), (8, 3), (10, 0x1_002a), (0xfff, 0xf_ffff)] {
            let dinode = Dinode { id1: encode_rdev(number).unwrap(), ..Default::default() };
            assert_eq!(dinode.rdev(), number);
        }
        assert!(encode_rdev((1 << 12, 0)).is_err() && encode_rdev((0, 1 << 20)).is_err());
    }
}
