//! A copy of a volume that is meant to be damaged.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dir::{DirEntryHeader, DirTrailer};
use ocfs2_format::dx::{DxLeaf, DxRoot};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::inline::InlineData;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, SuperBlock, backup_blocks};
use ocfs2_format::xattr::{BUCKET_SIZE, XattrBlock, XattrHeader};
use ocfs2_format::{Blkno, Block, Structure, check, quota};
use ocfs2_volume::{Inode, Volume, VolumeOptions};

use rustix::fs::{SeekFrom, seek};
use sha2::{Digest, Sha256};

use super::Base;
use crate::{Run, Scratch, fixture_copy, program};

/// A copy of a volume that is meant to be damaged.
///
/// It is opened while it is still sound: [`Image::volume`] keeps the superblock of that time, and
/// reads everything else as it is now. Whatever is edited gets a correct block check if the volume
/// has block checks, unless it is edited with [`Image::edit_raw`].
///
/// All methods panic if the volume does not have what they need.
#[derive(Debug)]
pub struct Image {
    volume: Volume,
    file: File,
    path: PathBuf,
    _scratch: Scratch,
}

impl Image {
    /// Copies `base`.
    pub(super) fn new(base: Base) -> Self {
        let scratch = Scratch::new();
        let path = match base {
            Base::Fixture(name) => fixture_copy(name, &scratch),
            Base::Repaired(name) => {
                let path = fixture_copy(name, &scratch);
                let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(&path).output();
                fsck.expect_status(1);
                path
            }
            Base::Made(options, size) => {
                let path = scratch.join("made.img");
                let mkfs = Run::new(program("mkfs.ocfs2")).arg("-q").args(options);
                mkfs.arg(&path).arg(size).success();
                path
            }
        };
        Self::open(path, scratch)
    }

    /// Opens the volume at `path`, which is in `scratch`.
    ///
    /// # Panics
    /// If there is no volume.
    pub fn open(path: PathBuf, scratch: Scratch) -> Self {
        let device = open(&path, &DeviceOptions::default()).unwrap();
        let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Self { volume, file, path, _scratch: scratch }
    }

    /// Path of the image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The volume.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// The file of the image, to be cut or written to in any way.
    pub fn raw(&self) -> &File {
        &self.file
    }

    /// Returns a hash of the contents of the file and of the time it was last written.
    pub fn digest(&self) -> Vec<u8> {
        let modified = self.file.metadata().unwrap().modified().unwrap();
        [format!("{modified:?}").as_bytes(), &self.contents_digest()].concat()
    }

    /// Returns a digest of the contents of the image.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn contents_digest(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        let end = self.file.metadata().unwrap().len();
        let mut at = 0;
        // Holes are not read.
        while let Ok(start) = seek(&self.file, SeekFrom::Data(at)) {
            at = seek(&self.file, SeekFrom::Hole(start)).unwrap().min(end);
            let mut bytes = vec![0; (at - start) as usize];
            self.file.read_exact_at(&mut bytes, start).unwrap();
            hash.update(start.to_le_bytes());
            hash.update(&bytes);
        }
        hash.finalize().to_vec()
    }

    /// Returns the bytes of a block.
    pub fn read(&self, blkno: Blkno) -> Vec<u8> {
        self.read_bytes(blkno, self.volume.block_size().size())
    }

    fn read_bytes(&self, blkno: Blkno, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.offset(blkno)).unwrap();
        bytes
    }

    /// Writes whole blocks without changing them.
    pub fn write(&self, blkno: Blkno, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.offset(blkno)).unwrap();
    }

    fn offset(&self, blkno: Blkno) -> u64 {
        blkno.offset_bytes(self.volume.block_size()).unwrap()
    }

    /// Changes a block and nothing else: a block check in it stays as it is.
    pub fn edit_raw(&self, blkno: Blkno, change: impl FnOnce(&mut [u8])) {
        let mut block = self.read(blkno);
        change(&mut block);
        self.write(blkno, &block);
    }

    /// Changes a block whose block check is at `check_offset`.
    pub fn edit_block(&self, blkno: Blkno, check_offset: usize, change: impl FnOnce(&mut [u8])) {
        self.edit_bytes(blkno, self.volume.block_size().size(), check_offset, change);
    }

    fn edit_bytes(
        &self,
        blkno: Blkno,
        len: usize,
        check_offset: usize,
        change: impl FnOnce(&mut [u8]),
    ) {
        let mut bytes = self.read_bytes(blkno, len);
        change(&mut bytes);
        if self.volume.has(Incompat::META_ECC) {
            check::stamp(&mut bytes, check_offset);
        }
        self.write(blkno, &bytes);
    }

    /// Changes the header at the start of a block, and what follows it.
    fn edit<T: Block>(&self, blkno: Blkno, change: impl FnOnce(&mut T, &mut [u8])) {
        self.edit_block(blkno, T::CHECK_OFFSET, |block| edit_header(block, change));
    }

    /// Changes a dinode, and its block from [`Dinode::ID2_OFFSET`] on.
    pub fn edit_dinode(&self, blkno: Blkno, change: impl FnOnce(&mut Dinode, &mut [u8])) {
        self.edit(blkno, change);
    }

    /// Changes the superblock or one of its backups.
    pub fn edit_superblock(&self, blkno: Blkno, change: impl FnOnce(&mut Dinode, &mut SuperBlock)) {
        self.edit_dinode(blkno, |dinode, id2| {
            edit_header(id2, |superblock, _| change(dinode, superblock));
        });
    }

    /// Changes the superblock and all its backups in the same way.
    pub fn edit_superblocks(&self, change: impl Fn(&mut Dinode, &mut SuperBlock)) {
        for blkno in [SUPERBLOCK_BLKNO].into_iter().chain(self.backups()) {
            self.edit_superblock(blkno, &change);
        }
    }

    /// Returns the places of the backups of the superblock.
    pub fn backups(&self) -> Vec<Blkno> {
        let geometry = self.volume.geometry();
        backup_blocks(geometry.block_size, geometry.blocks()).collect()
    }

    /// Changes a group descriptor, and what follows its header: the bitmap.
    pub fn edit_group(&self, blkno: Blkno, change: impl FnOnce(&mut GroupDesc, &mut [u8])) {
        self.edit(blkno, change);
    }

    /// Changes an extent block, and what follows its header: the extent list.
    pub fn edit_extent_block(
        &self,
        blkno: Blkno,
        change: impl FnOnce(&mut ExtentBlock, &mut [u8]),
    ) {
        self.edit(blkno, change);
    }

    /// Changes the root of an index, and what follows its header: a list.
    pub fn edit_dx_root(&self, blkno: Blkno, change: impl FnOnce(&mut DxRoot, &mut [u8])) {
        self.edit(blkno, change);
    }

    /// Changes a leaf of an index, and what follows its header: the entry list.
    pub fn edit_dx_leaf(&self, blkno: Blkno, change: impl FnOnce(&mut DxLeaf, &mut [u8])) {
        self.edit(blkno, change);
    }

    /// Changes an xattr block, and what follows its header: an area or the root of a tree.
    pub fn edit_xattr_block(&self, blkno: Blkno, change: impl FnOnce(&mut XattrBlock, &mut [u8])) {
        self.edit(blkno, change);
    }

    /// Changes the header of an xattr bucket, and all that follows it.
    pub fn edit_bucket(&self, blkno: Blkno, change: impl FnOnce(&mut XattrHeader, &mut [u8])) {
        self.edit_bytes(blkno, BUCKET_SIZE, XattrHeader::CHECK_OFFSET, |bytes| {
            edit_header(bytes, change);
        });
    }

    /// Changes a refcount block, and what follows its header: a list.
    pub fn edit_refcount_block(
        &self,
        blkno: Blkno,
        change: impl FnOnce(&mut RefcountBlock, &mut [u8]),
    ) {
        self.edit(blkno, change);
    }

    /// Changes the superblock of a journal.
    pub fn edit_journal(&self, slot: u16, change: impl FnOnce(&mut JournalSuperblock)) {
        let blkno = self.volume.journal(slot).unwrap().blkno;
        self.edit_raw(blkno, |block| {
            edit_header(block, |superblock, _| change(superblock));
        });
    }

    /// Changes a block of a quota file.
    pub fn edit_quota_block(&self, blkno: Blkno, change: impl FnOnce(&mut [u8])) {
        self.edit_block(blkno, quota::check_offset(self.volume.block_size()), change);
    }

    /// Changes a block of a directory that is not inline.
    pub fn edit_dir_block(&self, blkno: Blkno, change: impl FnOnce(&mut [u8])) {
        let size = self.volume.block_size().size();
        self.edit_block(blkno, DirTrailer::check_offset(size), change);
    }

    /// Changes the trailer of a block of a directory.
    pub fn edit_trailer(&self, blkno: Blkno, change: impl FnOnce(&mut DirTrailer)) {
        self.edit_dir_block(blkno, |block| {
            let start = DirTrailer::offset(block.len());
            edit_header(&mut block[start..], |trailer, _| change(trailer));
        });
    }

    /// Changes whatever holds the entries of a directory, its inode or the block with `name`.
    /// `change` gets the offset of that entry.
    pub fn edit_entries(&self, dir: Blkno, name: &str, change: impl FnOnce(&mut [u8], usize)) {
        let inode = self.volume.inode(dir).unwrap();
        let entry = self.volume.scan(&inode, name.as_bytes()).unwrap();
        let entry = entry.unwrap_or_else(|| panic!("there is no {name} in directory {dir}"));
        if inode.is_inline() {
            self.edit_dinode(dir, |_, id2| change(&mut id2[InlineData::SIZE..], entry.offset));
        } else {
            self.edit_dir_block(entry.blkno, |block| change(block, entry.offset));
        }
    }

    /// Changes an entry of a directory: its header, and its name with the padding.
    pub fn edit_entry(
        &self,
        dir: Blkno,
        name: &str,
        change: impl FnOnce(&mut DirEntryHeader, &mut [u8]),
    ) {
        self.edit_entries(dir, name, |bytes, offset| {
            edit_header(&mut bytes[offset..], |header: &mut DirEntryHeader, rest| {
                let len = usize::from(header.rec_len) - DirEntryHeader::SIZE;
                change(header, &mut rest[..len]);
            });
        });
    }

    /// Returns the inode at a path such as `/lost+found`.
    pub fn inode(&self, path: &str) -> Inode {
        self.volume.resolve(path.as_bytes()).unwrap_or_else(|err| panic!("{path}: {err}"))
    }

    /// Returns the system file with a name such as `global_bitmap`.
    pub fn system(&self, name: &str) -> Inode {
        self.volume.system_file_named(name).unwrap_or_else(|err| panic!("{name}: {err}"))
    }
}

/// Changes the header at the start of `bytes`, and what follows it.
pub(super) fn edit_header<T: Structure>(bytes: &mut [u8], change: impl FnOnce(&mut T, &mut [u8])) {
    let mut header = T::decode(bytes).unwrap();
    change(&mut header, &mut bytes[T::SIZE..]);
    header.encode(bytes).unwrap();
}

/// Changes a list: its header, and all records that it has room for, used or not.
///
/// Works for every list whose records follow a header: those of extents, chains, refcounts, index
/// entries, attributes and truncated clusters.
pub fn edit_list<H: Structure, R: Structure>(
    bytes: &mut [u8],
    change: impl FnOnce(&mut H, &mut [R]),
) {
    edit_header(bytes, |header, rest| {
        let mut records: Vec<R> =
            rest.chunks_exact(R::SIZE).map(|bytes| R::decode(bytes).unwrap()).collect();
        change(header, &mut records);
        for (bytes, record) in rest.chunks_exact_mut(R::SIZE).zip(records) {
            record.encode(bytes).unwrap();
        }
    });
}
