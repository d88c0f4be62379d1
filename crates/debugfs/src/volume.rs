//! The volume as it is: blocks are read without verifying their checks.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use ocfs2_cli::Interrupt;
use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, FileKind};
use ocfs2_format::dir::{self, DirTrailer};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::dir::Barren;
use ocfs2_volume::image::{OnlySaved, PackedImage};
use ocfs2_volume::tree::Tree;
use ocfs2_volume::{Inode, Volume};

use crate::error::Problem;

/// An open volume.
#[derive(Debug)]
pub struct Fs {
    /// The volume, which does not verify block checks.
    pub volume: Volume,
    /// The same, of a packed image, where what is not saved cannot be read.
    only_saved: Option<Volume>,
    /// The device by which it was opened.
    pub device: PathBuf,
    interrupt: Interrupt,
}

/// An entry of a directory, as it is.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The inode it names.
    pub inode: Blkno,
    /// The distance to the next entry in bytes.
    pub rec_len: u16,
    /// The code of the type of file.
    pub file_type: u8,
    /// The name.
    pub name: Vec<u8>,
}

impl Entry {
    /// Whether it is `.` or `..`.
    pub fn is_dot(&self) -> bool {
        self.name == b"." || self.name == b".."
    }
}

/// A block of a directory, or the entries of an inline one.
#[derive(Clone, Debug)]
pub struct DirBlock {
    /// Its number; that of the dinode if the directory is inline.
    pub blkno: Blkno,
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// Whether it ends in a trailer.
    pub has_trailer: bool,
}

impl DirBlock {
    /// The entries in use, up to the first impossible one.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.all_entries().filter(|entry| !entry.inode.is_none() && !entry.name.is_empty())
    }

    /// All entries, up to the first impossible one.
    pub fn all_entries(&self) -> impl Iterator<Item = Entry> + '_ {
        dir::entries(self.bytes_of_entries()).map_while(Result::ok).map(|entry| Entry {
            inode: entry.header.inode,
            rec_len: entry.header.rec_len,
            file_type: entry.header.file_type,
            name: entry.name.to_vec(),
        })
    }

    /// Why entries are missing, if some are.
    pub fn problem(&self) -> Option<Problem> {
        let bad = dir::entries(self.bytes_of_entries()).find_map(Result::err)?;
        Some(Problem::BadEntry { block: self.blkno, offset: bad.offset })
    }

    fn bytes_of_entries(&self) -> &[u8] {
        let end = match self.has_trailer {
            true => DirTrailer::offset(self.bytes.len()),
            false => self.bytes.len(),
        };
        self.bytes.get(..end).unwrap_or_default()
    }

    /// The trailer, if there is one with the signature.
    pub fn trailer(&self) -> Option<DirTrailer> {
        let trailer = DirTrailer::of_block(&self.bytes).ok().filter(|_| self.has_trailer)?;
        (trailer.db_signature == DirTrailer::SIGNATURE).then_some(trailer)
    }
}

impl Fs {
    /// A volume that was opened by `device`.
    pub fn new(volume: &Volume, device: PathBuf, interrupt: Interrupt) -> Self {
        Self { volume: volume.without_checks(), only_saved: None, device, interrupt }
    }

    /// The same volume, in a packed image.
    #[must_use]
    pub fn in_image(self, image: Arc<PackedImage>) -> Self {
        let only_saved = self.volume.on(Arc::new(OnlySaved(image))).without_checks();
        Self { only_saved: Some(only_saved), ..self }
    }

    /// The volume to read contents of files from: zeros for what an image does not have would be
    /// taken for them.
    pub fn contents(&self) -> &Volume {
        self.only_saved.as_ref().unwrap_or(&self.volume)
    }

    /// Whether it is in a packed image.
    pub fn is_packed(&self) -> bool {
        self.only_saved.is_some()
    }

    /// A second handle of the same volume.
    pub fn again(&self) -> Self {
        let only_saved = self.only_saved.as_ref().map(Volume::without_checks);
        let again = Self::new(&self.volume, self.device.clone(), self.interrupt.clone());
        Self { only_saved, ..again }
    }

    /// Asked during long work.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Fails after a signal: for long loops that read nothing.
    pub fn check(&self) -> Result<(), Problem> {
        Ok(self.interrupt.check()?)
    }

    /// Whether a number is that of the superblock or a block after it.
    pub fn is_block(&self, blkno: Blkno) -> bool {
        (2..self.volume.geometry().blocks()).contains(&blkno.0)
    }

    /// Reads a block as it is.
    pub fn block(&self, blkno: Blkno) -> Result<Vec<u8>, Problem> {
        self.check()?;
        if !self.is_block(blkno) {
            return Err(Problem::InvalidBlock);
        }
        Ok(self.volume.read_block(blkno)?)
    }

    /// Reads a block that begins with a signature; without it, fails with `problem`.
    pub fn signed(
        &self,
        blkno: Blkno,
        signature: &[u8; 8],
        problem: Problem,
    ) -> Result<Vec<u8>, Problem> {
        let block = self.block(blkno)?;
        if block.starts_with(signature) { Ok(block) } else { Err(problem) }
    }

    /// Reads an inode, in use or not.
    pub fn inode(&self, blkno: Blkno) -> Result<Inode, Problem> {
        let block = self.signed(blkno, &Dinode::SIGNATURE, Problem::BadMagic("inode"))?;
        Ok(Inode::decode(blkno, block)?)
    }

    /// The extent tree of an inode.
    pub fn tree(&self, inode: &Inode) -> Result<Tree<'_>, Problem> {
        if inode.dinode.arm() != Arm::ExtentList {
            return Err(Problem::NoExtents);
        }
        Ok(self.volume.tree(inode)?)
    }

    /// Calls `each` with the blocks of a directory, until that returns false.
    pub fn dir_blocks<E: From<Problem>>(
        &self,
        dir: &Inode,
        mut each: impl FnMut(&DirBlock) -> Result<bool, E>,
    ) -> Result<(), E> {
        if !dir.is_dir() {
            return Err(Problem::NotDir.into());
        }
        if dir.is_inline() {
            let data = InlineData::data(dir.id2()).map_err(Problem::from)?;
            let len = usize::try_from(dir.size()).unwrap_or(usize::MAX).min(data.len());
            let bytes = data.get(..len).unwrap_or_default().to_vec();
            each(&DirBlock { blkno: dir.blkno, bytes, has_trailer: false })?;
            return Ok(());
        }
        let has_trailer = self.volume.has_dir_trailers(dir);
        let bits = self.volume.geometry().bpc_bits();
        let end = dir.size().div_ceil(self.volume.block_size().bytes().into());
        let mut barren = Barren::default();
        for extent in self.tree(dir)?.extents() {
            let extent = extent.map_err(Problem::from)?;
            let first = u64::from(extent.cpos.0) << bits;
            let blocks = (u64::from(extent.clusters) << bits).min(end.saturating_sub(first));
            for index in 0..blocks {
                let blkno = Blkno(extent.blkno.0 + index);
                let bytes = self.block(blkno)?;
                barren.count(Some(&bytes));
                let has_trailer = has_trailer || ends_in_trailer(&bytes, blkno);
                if barren.are_too_many() || !each(&DirBlock { blkno, bytes, has_trailer })? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Finds the inode of a name in a directory.
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Blkno, Problem> {
        let (mut found, mut problem) = (None, None);
        let walked = self.dir_blocks::<Problem>(dir, |block| {
            found = block.entries().find(|entry| entry.name == name);
            problem = problem.take().or_else(|| block.problem());
            Ok(found.is_none())
        });
        match found {
            Some(entry) => Ok(entry.inode),
            None => walked.and(Err(problem.unwrap_or(Problem::NotFound))),
        }
    }

    /// The target of a symbolic link.
    pub fn link_target(&self, link: &Inode) -> Result<Vec<u8>, Problem> {
        Ok(self.volume.symlink_target(link)?)
    }

    /// Whether an inode is a directory marked as indexed.
    pub fn is_indexed(&self, dir: &Inode) -> bool {
        dir.is_dir() && dir.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR)
    }

    /// Whether an inode is a symbolic link.
    pub fn is_link(inode: &Inode) -> bool {
        inode.kind() == Some(FileKind::Symlink)
    }
}

/// Whether a block ends in a trailer. mkfs writes trailers even if no feature asks for them; other
/// programs see an unused entry.
fn ends_in_trailer(block: &[u8], blkno: Blkno) -> bool {
    let trailer = DirTrailer::of_block(block);
    trailer.is_ok_and(|it| it.db_signature == DirTrailer::SIGNATURE && it.db_blkno == blkno)
}

/// The blocks that a walk has visited.
#[derive(Debug, Default)]
pub struct Visited(HashSet<Blkno>);

impl Visited {
    /// Marks a block as visited; returns whether it is new.
    pub fn first(&mut self, blkno: Blkno) -> bool {
        self.0.insert(blkno)
    }
}

impl Fs {
    /// Whether the volume has block checks.
    pub fn has_checks(&self) -> bool {
        self.volume.has(ocfs2_format::feature::Incompat::META_ECC)
    }
}

impl Fs {
    /// Whether groups of suballocators may be discontiguous.
    pub fn can_have_pieces(&self) -> bool {
        self.volume.has(ocfs2_format::feature::Incompat::DISCONTIG_BG)
    }
}
