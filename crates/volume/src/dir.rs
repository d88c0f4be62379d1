//! Directories: their blocks and entries, looking up names, paths, walking the tree.

use std::collections::{HashSet, VecDeque};

use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind};
use ocfs2_format::dir::{self, DirTrailer, FileType};
use ocfs2_format::dx::{DxEntryList, DxLeaf, DxRoot};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Structure};

use crate::tree::{Extents, Tree};
use crate::{Error, InBlock, Inode, Volume};

/// The name of a directory's block in errors.
pub(crate) const BLOCK: &str = "directory block";
/// Most bytes that are read at once while a directory is read on.
const PIECE_BYTES: u64 = 1 << 20;
/// Most symbolic links followed for one path, as in the kernel.
const MAX_LINKS: u32 = 40;

/// An entry of a directory that names an inode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The name: any bytes but, in a sound directory, NUL and `/`.
    pub name: Vec<u8>,
    /// The dinode.
    pub inode: Blkno,
    /// The type that the entry states; `None` for an unknown code.
    pub file_type: Option<FileType>,
    /// The block it is in: the directory's dinode if the directory is inline.
    pub blkno: Blkno,
    /// Bytes from the start of what holds entries in that block.
    pub offset: usize,
}

impl Entry {
    /// Whether it is `.` or `..`.
    pub fn is_dot(&self) -> bool {
        self.name == b"." || self.name == b".."
    }
}

/// A block of a directory.
#[derive(Clone, Debug)]
pub struct DirBlock {
    /// The directory's dinode.
    pub dir: Blkno,
    /// Where it is: the dinode if the directory is inline.
    pub blkno: Blkno,
    bytes: Vec<u8>,
    /// Bytes that hold entries.
    len: usize,
}

impl DirBlock {
    /// What holds entries: the block without its trailer, or the inline data.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The trailer, if there is one.
    pub fn trailer(&self) -> Option<DirTrailer> {
        if self.len == self.bytes.len() { None } else { DirTrailer::of_block(&self.bytes).ok() }
    }

    /// Its entries that name an inode, in order. An impossible entry is returned as an error and
    /// ends the iteration.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry, Error>> + '_ {
        self.used().map(|entry| entry.map(|entry| self.owned(&entry)))
    }

    /// The entry of a name.
    ///
    /// # Errors
    /// [`Error::DirEntry`] for an impossible entry, if the name does not come before it.
    pub fn find(&self, name: &[u8]) -> Result<Option<Entry>, Error> {
        for entry in self.used() {
            let entry = entry?;
            if entry.name == name {
                return Ok(Some(self.owned(&entry)));
            }
        }
        Ok(None)
    }

    fn used(&self) -> impl Iterator<Item = Result<dir::DirEntry<'_>, Error>> {
        let used = |entry: &Result<dir::DirEntry<'_>, _>| {
            entry.as_ref().map_or(true, dir::DirEntry::is_used)
        };
        let (dir, blkno) = (self.dir, self.blkno);
        let failed = move |source| Error::DirEntry { dir, blkno, source };
        dir::entries(self.bytes()).filter(used).map(move |entry| entry.map_err(failed))
    }

    fn owned(&self, entry: &dir::DirEntry<'_>) -> Entry {
        Entry {
            name: entry.name.to_vec(),
            inode: entry.header.inode,
            file_type: entry.file_type(),
            blkno: self.blkno,
            offset: entry.offset,
        }
    }
}

/// Counts the consecutive blocks of a directory in which no entry begins, up to the one that was
/// read last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Barren(u64);

impl Barren {
    /// More consecutive ones are not part of a directory, whatever its size says: even one whose
    /// names were removed has an unused entry in each block.
    pub const MOST: u64 = 1 << 14;

    /// Counts another block; `None` is one that cannot be read.
    pub fn count(&mut self, block: Option<&[u8]>) {
        let begins = |block| matches!(dir::entries(block).next(), Some(Ok(_)));
        self.0 = if block.is_some_and(begins) { 0 } else { self.0 + 1 };
    }

    /// Number of such blocks.
    pub fn blocks(self) -> u64 {
        self.0
    }

    /// Whether the directory has ended before them.
    pub fn are_too_many(self) -> bool {
        self.0 > Self::MOST
    }
}

/// The blocks of a directory, in order. See [`Volume::dir_blocks`].
#[derive(Debug)]
pub struct DirBlocks<'v> {
    volume: &'v Volume,
    dir: Blkno,
    size: u64,
    has_trailers: bool,
    inline: Option<DirBlock>,
    extents: Option<Extents<'v>>,
    /// What is left of the current extent: the next block, and how many.
    run: (Blkno, u64),
    /// Blocks that were read in one piece, and the first of them.
    piece: (Blkno, Vec<u8>),
    /// Whether a block that does not verify is an error.
    verify: bool,
    /// The next block of the directory, and the one after its end.
    next: u64,
    end: u64,
    barren: Barren,
}

impl DirBlocks<'_> {
    /// Limits them to the first `most` blocks.
    pub(crate) fn first(mut self, most: u64) -> Self {
        self.end = self.end.min(most);
        self
    }

    /// Starts with block `first` of the directory.
    fn skip_to(mut self, first: u64) -> Self {
        self.next = first;
        self
    }

    /// Returns the blocks as they are: checksums and trailers are not verified.
    pub(crate) fn unchecked(mut self) -> Self {
        self.verify = false;
        self
    }

    /// The current block, with which the last `left` blocks of the extent begin.
    fn block(&mut self, blkno: Blkno, left: u64) -> Result<DirBlock, Error> {
        let volume = self.volume;
        let size = volume.block_size().size();
        let at = |(first, bytes): &(Blkno, Vec<u8>)| {
            let start = usize::try_from(blkno.0.checked_sub(first.0)?).ok()?.checked_mul(size)?;
            Some(bytes.get(start..start.checked_add(size)?)?.to_vec())
        };
        if let Some(bytes) = at(&self.piece) {
            return self.made_of(blkno, bytes);
        }
        // Most names are found in the first blocks; who reads on reads all of them.
        let before = (self.piece.1.len() / size) as u64;
        let most = (before * 4).clamp(1, PIECE_BYTES / size as u64);
        let count = left.min(self.end.saturating_sub(self.next)).min(most).max(1);
        let bytes = match volume.read_blocks(blkno, count as u32) {
            // One bad block must not hide the others.
            Err(_) if count > 1 => volume.read_block(blkno)?,
            read => read?,
        };
        self.piece = (blkno, bytes);
        let bytes = at(&self.piece).unwrap_or_default();
        self.made_of(blkno, bytes)
    }

    fn made_of(&self, blkno: Blkno, bytes: Vec<u8>) -> Result<DirBlock, Error> {
        if self.verify || !self.has_trailers {
            return self.volume.dir_block(self.dir, blkno, self.has_trailers, bytes);
        }
        let len = DirTrailer::offset(bytes.len());
        Ok(DirBlock { dir: self.dir, blkno, bytes, len })
    }

    fn barren(&self) -> Error {
        let expected = format_args!("at most {} blocks in a row without entries", Barren::MOST);
        let expected = expected.to_string();
        ocfs2_format::Invalid::new(Dinode::NAME, self.dir, "i_size", self.size, expected).into()
    }

    fn hole(&self) -> Error {
        let expected = format_args!("no hole before block {} of it", self.next).to_string();
        let invalid =
            ocfs2_format::Invalid::new(Dinode::NAME, self.dir, "i_size", self.size, expected);
        invalid.into()
    }
}

impl Iterator for DirBlocks<'_> {
    type Item = Result<DirBlock, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(block) = self.inline.take() {
            return Some(Ok(block));
        }
        loop {
            if self.next >= self.end {
                return None;
            }
            let (blkno, left) = self.run;
            if left > 0 {
                let block = self.block(blkno, left);
                self.run = (Blkno(blkno.0 + 1), left - 1);
                self.next += 1;
                self.barren.count(block.as_ref().ok().map(|block| &block.bytes[..]));
                if self.barren.are_too_many() {
                    self.next = self.end;
                    return Some(Err(self.barren()));
                }
                return Some(block);
            }
            let Some(extent) = self.extents.as_mut().and_then(Iterator::next) else {
                // The extents end before the directory does.
                self.next = self.end;
                return Some(Err(self.hole()));
            };
            let extent = match extent {
                Ok(extent) => extent,
                Err(err) => return Some(Err(err)),
            };
            let bits = self.volume.geometry().bpc_bits();
            let (start, blocks) =
                (u64::from(extent.cpos.0) << bits, u64::from(extent.clusters) << bits);
            let skipped = self.next.saturating_sub(start).min(blocks);
            self.run = (Blkno(extent.blkno.0 + skipped), blocks - skipped);
            if start > self.next {
                self.next = start;
                return Some(Err(self.hole()));
            }
        }
    }
}

/// The entries of a directory that name an inode. See [`Volume::entries`].
#[derive(Debug)]
pub struct Entries<'v> {
    blocks: DirBlocks<'v>,
    pending: VecDeque<Result<Entry, Error>>,
    /// Bytes of the directory before the block that the pending entries are in.
    start: u64,
    /// Bytes at the start of the next block. Entries that begin in them are left out.
    skipped: usize,
    position: u64,
}

impl Entries<'_> {
    /// Where [`Volume::entries_from`] goes on after the entry that was returned last, in bytes from
    /// the start of the directory. It stays valid while names are added and removed: an entry that
    /// is there all the time is neither left out nor returned twice.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.pending.pop_front() {
                if let Ok(entry) = &entry {
                    self.position = self.start + entry.offset as u64 + 1;
                }
                return Some(entry);
            }
            let block_bytes = u64::from(self.blocks.volume.block_size().bytes());
            let block = self.blocks.next();
            let skipped = std::mem::take(&mut self.skipped);
            // An inline directory has no blocks before its entries.
            self.start = self.blocks.next.saturating_sub(1) * block_bytes;
            let is_left_out = |entry: &Result<Entry, Error>| {
                entry.as_ref().is_ok_and(|entry| entry.offset < skipped)
            };
            match block? {
                Ok(block) => self.pending.extend(block.entries().filter(|it| !is_left_out(it))),
                Err(err) => return Some(Err(err)),
            }
        }
    }
}

impl Volume {
    /// Whether the blocks of a directory end in trailers.
    pub fn has_dir_trailers(&self, dir: &Inode) -> bool {
        !dir.is_inline() && (self.is_indexed(dir) || self.has(Incompat::META_ECC))
    }

    /// Whether a directory has an index.
    pub fn is_indexed(&self, dir: &Inode) -> bool {
        let flag = dir.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR);
        flag && self.has(Incompat::INDEXED_DIRS) && !dir.is_inline()
    }

    /// The blocks of a directory.
    ///
    /// A block that cannot be read, or whose trailer is wrong, is returned as an error; those after
    /// it follow.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if it is not a directory, [`Error::Invalid`] if the root of its
    /// tree is wrong.
    pub fn dir_blocks(&self, dir: &Inode) -> Result<DirBlocks<'_>, Error> {
        dir.expect(FileKind::Directory, "a directory")?;
        let size = dir.size();
        let mut blocks = DirBlocks {
            volume: self,
            dir: dir.blkno,
            size,
            has_trailers: self.has_dir_trailers(dir),
            inline: None,
            extents: None,
            run: (Blkno(0), 0),
            piece: (Blkno(0), Vec::new()),
            verify: true,
            next: 0,
            barren: Barren::default(),
            // The C mkfs leaves lost+found at a size without the trailer.
            end: size.div_ceil(self.block_size().bytes().into()),
        };
        if dir.is_inline() {
            let data = InlineData::data(dir.id2()).in_block(dir.blkno)?;
            let len = usize::try_from(size).unwrap_or(usize::MAX).min(data.len());
            let bytes = data.iter().take(len).copied().collect();
            blocks.inline = Some(DirBlock { dir: dir.blkno, blkno: dir.blkno, bytes, len });
            blocks.end = 0;
        } else {
            blocks.extents = Some(self.tree(dir)?.extents());
        }
        Ok(blocks)
    }

    /// As [`Volume::dir_blocks`], whatever checksums and trailers say.
    ///
    /// # Errors
    /// As [`Volume::dir_blocks`].
    pub fn torn_dir_blocks(&self, dir: &Inode) -> Result<DirBlocks<'_>, Error> {
        Ok(self.dir_blocks(dir)?.unchecked())
    }

    /// A block that says itself which directory it is of, by its trailer or, as the first one of a
    /// directory, by its `.`.
    pub fn own_dir_block(&self, blkno: Blkno) -> Option<DirBlock> {
        let bytes = self.read_block(blkno).ok()?;
        let size = bytes.len();
        let trailer = DirTrailer::of_block(&bytes).ok();
        let trailer = trailer.filter(|it| it.db_signature == DirTrailer::SIGNATURE);
        if let Some(trailer) = trailer.filter(|it| it.db_blkno == blkno) {
            let dir = trailer.db_parent_dinode;
            return Some(DirBlock { dir, blkno, bytes, len: DirTrailer::offset(size) });
        }
        let dir = {
            let mut entries = dir::entries(&bytes).map_while(Result::ok);
            let (own, parent) = (entries.next()?, entries.next()?);
            (own.name == b"." && parent.name == b"..").then_some(own.header.inode)?
        };
        Some(DirBlock { dir, blkno, bytes, len: size })
    }

    /// Makes a directory block from its bytes. If it has a trailer, block check and trailer are
    /// verified.
    fn dir_block(
        &self,
        dir: Blkno,
        blkno: Blkno,
        has_trailer: bool,
        mut bytes: Vec<u8>,
    ) -> Result<DirBlock, Error> {
        let size = self.block_size().size();
        if !has_trailer {
            return Ok(DirBlock { dir, blkno, bytes, len: size });
        }
        self.verify_check(BLOCK, blkno, &mut bytes, DirTrailer::check_offset(size))?;
        let trailer = DirTrailer::of_block(&bytes).in_block(blkno)?;
        trailer.verify(blkno, dir)?;
        Ok(DirBlock { dir, blkno, bytes, len: DirTrailer::offset(size) })
    }

    /// The entries of a directory, `.` and `..` included, in the order they are stored.
    ///
    /// What is wrong is returned as an error; what comes after it follows as far as it can be
    /// found.
    ///
    /// # Errors
    /// As [`Volume::dir_blocks`].
    pub fn entries(&self, dir: &Inode) -> Result<Entries<'_>, Error> {
        self.entries_from(dir, 0)
    }

    /// As [`Volume::entries`], from a [position](Entries::position) on.
    ///
    /// # Errors
    /// As [`Volume::dir_blocks`].
    pub fn entries_from(&self, dir: &Inode, position: u64) -> Result<Entries<'_>, Error> {
        let size = u64::from(self.block_size().bytes());
        let (block, within) =
            if dir.is_inline() { (0, position) } else { (position / size, position % size) };
        let skipped = usize::try_from(within).unwrap_or(usize::MAX);
        let blocks = self.dir_blocks(dir)?.skip_to(block);
        Ok(Entries { blocks, pending: VecDeque::new(), start: 0, skipped, position })
    }

    /// Looks a name up in a directory: through its index if it has one.
    ///
    /// # Errors
    /// Any of reading what has to be read. A directory without an index whose blocks are
    /// wrong gives an error only if the name is not in one of the others.
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<Entry>, Error> {
        dir.expect(FileKind::Directory, "a directory")?;
        if self.is_indexed(dir) { self.lookup_indexed(dir, name) } else { self.scan(dir, name) }
    }

    /// Looks a name up in all blocks of a directory, whether it has an index or not.
    ///
    /// # Errors
    /// If the name is not found: the first error there was.
    pub fn scan(&self, dir: &Inode, name: &[u8]) -> Result<Option<Entry>, Error> {
        self.scan_first(dir, name, u64::MAX)
    }

    /// As [`Volume::scan`], in its first `blocks` blocks.
    pub(crate) fn scan_first(
        &self,
        dir: &Inode,
        name: &[u8],
        blocks: u64,
    ) -> Result<Option<Entry>, Error> {
        let mut first_error = None;
        for block in self.dir_blocks(dir)?.first(blocks) {
            match block.and_then(|block| block.find(name)) {
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) => {}
                Err(err) => first_error = first_error.or(Some(err)),
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// As [`Volume::scan_first`], ignoring checksums, trailers and all errors.
    pub(crate) fn scan_unchecked(&self, dir: &Inode, name: &[u8], blocks: u64) -> Option<Entry> {
        let mut all = self.dir_blocks(dir).ok()?.first(blocks).unchecked();
        all.find_map(|block| block.ok()?.find(name).ok()?)
    }

    fn lookup_indexed(&self, dir: &Inode, name: &[u8]) -> Result<Option<Entry>, Error> {
        let seed = self.superblock().s_dx_seed;
        let [signed, unsigned] = CharSign::ALL.map(|sign| dx_hash(name, seed, sign));
        match self.lookup_hash(dir, name, signed)? {
            None if unsigned != signed => self.lookup_hash(dir, name, unsigned),
            found => Ok(found),
        }
    }

    /// The bytes of names are signed or unsigned in the hashes of this volume, as the index of a
    /// directory shows by the first name for which that matters; `None` if it does not show it.
    ///
    /// # Errors
    /// The directory or its index is damaged.
    pub fn shown_name_hash(&self, dir: &Inode) -> Result<Option<CharSign>, Error> {
        if !self.is_indexed(dir) {
            return Ok(None);
        }
        let seed = self.superblock().s_dx_seed;
        for entry in self.entries(dir)? {
            let name = entry?.name;
            let hashes = CharSign::ALL.map(|sign| (sign, dx_hash(&name, seed, sign)));
            if hashes[0].1 == hashes[1].1 {
                continue;
            }
            for (sign, hash) in hashes {
                if self.lookup_hash(dir, &name, hash)?.is_some() {
                    return Ok(Some(sign));
                }
            }
        }
        Ok(None)
    }

    /// The root of a directory's index, and its block.
    pub(crate) fn dx_root(&self, dir: &Inode) -> Result<(DxRoot, Vec<u8>), Error> {
        let blkno = dir.dinode.i_dx_root;
        let (root, block) = self.read::<DxRoot>(blkno)?;
        root.verify_dir(blkno, dir.blkno)?;
        Ok((root, block))
    }

    fn lookup_hash(
        &self,
        dir: &Inode,
        name: &[u8],
        hash: NameHash,
    ) -> Result<Option<Entry>, Error> {
        let (root, block) = self.dx_root(dir)?;
        let blkno = root.dr_blkno;
        if root.is_inline() {
            let list = DxRoot::entries(&block).in_block(blkno)?;
            return self.lookup_in(dir, name, hash, &list);
        }
        let list = DxRoot::extents(&block).in_block(blkno)?;
        let Some(leaf) = Tree::new(self, blkno, &list)?.dx_leaf(hash)? else {
            return Ok(None);
        };
        let (_, block) = self.read::<DxLeaf>(leaf)?;
        let list = DxLeaf::entries(&block).in_block(leaf)?;
        self.lookup_in(dir, name, hash, &list)
    }

    fn lookup_in(
        &self,
        dir: &Inode,
        name: &[u8],
        hash: NameHash,
        list: &DxEntryList<'_>,
    ) -> Result<Option<Entry>, Error> {
        let mut tried = HashSet::new();
        for candidate in list.records().filter(|entry| entry.hash() == hash) {
            let blkno = candidate.dx_dirent_blk;
            if !tried.insert(blkno) {
                continue;
            }
            if !self.geometry().is_valid_block(blkno) {
                let blocks = self.geometry().blocks();
                return Err(Error::OutsideVolume { structure: BLOCK, blkno, blocks });
            }
            let block = self.dir_block(dir.blkno, blkno, true, self.read_block(blkno)?)?;
            if let Some(entry) = block.find(name)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The root directory.
    ///
    /// # Errors
    /// As [`Volume::inode`].
    pub fn root(&self) -> Result<Inode, Error> {
        self.inode(self.superblock().s_root_blkno)
    }

    /// The inode at a path from the root directory; symbolic links are not followed.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::WrongKind`] if something before the last name is not a
    /// directory; any of reading.
    pub fn resolve(&self, path: &[u8]) -> Result<Inode, Error> {
        self.resolve_links(path, 0)
    }

    /// As [`Volume::resolve`], but symbolic links are followed, including the last one.
    ///
    /// # Errors
    /// As [`Volume::resolve`], and [`Error::TooManyLinks`].
    pub fn resolve_following(&self, path: &[u8]) -> Result<Inode, Error> {
        self.resolve_links(path, MAX_LINKS)
    }

    fn resolve_links(&self, path: &[u8], max_links: u32) -> Result<Inode, Error> {
        let split = |path: &[u8]| -> Vec<Vec<u8>> {
            let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
            names.map(<[u8]>::to_vec).rev().collect()
        };
        let mut at = self.root()?;
        let mut names = split(path);
        let mut links = 0;
        while let Some(name) = names.pop() {
            let entry = self.lookup(&at, &name)?.ok_or(Error::NotFound { name })?;
            let inode = self.inode(entry.inode)?;
            if max_links == 0 || inode.kind() != Some(FileKind::Symlink) {
                at = inode;
                continue;
            }
            links += 1;
            if links > max_links {
                return Err(Error::TooManyLinks { path: path.to_vec() });
            }
            let target = self.symlink_target(&inode)?;
            if target.starts_with(b"/") {
                at = self.root()?;
            }
            names.extend(split(&target));
        }
        Ok(at)
    }

    /// Everything below a directory, each directory before what is in it.
    ///
    /// A directory that is reached a second time is returned as an error and not entered again, so
    /// the walk ends for any contents.
    ///
    /// # Errors
    /// As [`Volume::dir_blocks`] for the directory itself.
    pub fn walk(&self, dir: &Inode) -> Result<Walk<'_>, Error> {
        let entries = self.entries(dir)?;
        Ok(Walk {
            volume: self,
            path: Vec::new(),
            levels: vec![(0, entries)],
            visited: HashSet::from([dir.blkno]),
        })
    }
}

/// Everything below a directory. See [`Volume::walk`].
#[derive(Debug)]
pub struct Walk<'v> {
    volume: &'v Volume,
    /// The path of the current directory.
    path: Vec<u8>,
    /// The directories being read, each with the length of its path.
    levels: Vec<(usize, Entries<'v>)>,
    visited: HashSet<Blkno>,
}

/// What a walk comes across.
#[derive(Clone, Debug)]
pub struct WalkEntry {
    /// Its path from where the walk began, without a slash in front.
    pub path: Vec<u8>,
    /// The entry.
    pub entry: Entry,
    /// The inode.
    pub inode: Inode,
}

/// What a walk could not read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.escape_ascii())]
pub struct WalkError {
    /// The directory or the entry the error is about.
    pub path: Vec<u8>,
    /// The error.
    pub error: Error,
}

impl Walk<'_> {
    fn visit(&mut self, entry: Entry) -> Result<WalkEntry, WalkError> {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(&entry.name);
        let failed = |error| WalkError { path: path.clone(), error };
        let inode = self.volume.inode(entry.inode).map_err(failed)?;
        if inode.is_dir() {
            if !self.visited.insert(inode.blkno) {
                let error = Error::Repeated { structure: "directory", blkno: inode.blkno };
                return Err(failed(error));
            }
            let entries = self.volume.entries(&inode).map_err(failed)?;
            self.path.clone_from(&path);
            self.levels.push((path.len(), entries));
        }
        Ok(WalkEntry { path, entry, inode })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<WalkEntry, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (len, entries) = self.levels.last_mut()?;
            self.path.truncate(*len);
            match entries.next() {
                None => {
                    self.levels.pop();
                }
                Some(Ok(entry)) if entry.is_dot() => {}
                Some(Ok(entry)) => return Some(self.visit(entry)),
                Some(Err(error)) => {
                    return Some(Err(WalkError { path: self.path.clone(), error }));
                }
            }
        }
    }
}
