//! Zeroing the unused parts of blocks: they still contain deleted data, which has no place in an
//! image that is given away.
//!
//! Damaged structures and blocks with a wrong check stay as they are, so that the image shows them.

use std::sync::Arc;

use ocfs2_format::check::{Checked, stamp, validate};
use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, FileKind};
use ocfs2_format::dir::{DirEntryHeader, DirTrailer, entries};
use ocfs2_format::dx::{DxEntry, DxEntryListHeader, DxLeaf, DxRoot};
use ocfs2_format::extent::{ExtentBlock, ExtentListHeader, ExtentRec};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::inline::InlineData;
use ocfs2_format::refcount::{RefcountBlock, RefcountListHeader, RefcountRec};
use ocfs2_format::xattr::{
    BUCKET_SIZE, XattrArea, XattrBlock, XattrEntry, XattrHeader, XattrTreeRoot,
};
use ocfs2_format::{Blkno, Block, BlockSize, Structure};
use ocfs2_volume::Volume;
use ocfs2_volume::metadata::{MetadataKind, MetadataRun};

use crate::scramble::Scrambler;

/// A block that may have unused parts.
#[derive(Clone, Copy, Debug)]
struct Known {
    blkno: u64,
    kind: MetadataKind,
    check_offset: Option<usize>,
}

/// The blocks of a volume that have unused parts.
#[derive(Debug)]
pub struct Cleaner {
    known: Vec<Known>,
    block_size: BlockSize,
    has_checks: bool,
    /// Seed for the hashes of attribute names.
    seed: u32,
    scrambler: Option<Arc<Scrambler>>,
}

impl Cleaner {
    /// Starts without any block. With a scrambler, revealing text is scrambled, too.
    pub fn new(volume: &Volume, scrambler: Option<Arc<Scrambler>>) -> Self {
        let has_checks = volume.has(Incompat::META_ECC);
        let (block_size, seed) = (volume.block_size(), volume.superblock().s_uuid_hash);
        Self { known: Vec::new(), block_size, has_checks, seed, scrambler }
    }

    /// Adds the blocks of a run of metadata.
    pub fn add(&mut self, run: &MetadataRun) {
        let MetadataRun { kind, blkno: Blkno(blkno), check_offset, .. } = *run;
        if matches!(
            kind,
            MetadataKind::Dinode
                | MetadataKind::ExtentBlock
                | MetadataKind::DirBlock
                | MetadataKind::DxRoot
                | MetadataKind::DxLeaf
                | MetadataKind::XattrBlock
                | MetadataKind::XattrBucket
                | MetadataKind::RefcountBlock
        ) {
            self.known.push(Known { blkno, kind, check_offset });
        } else if kind == MetadataKind::Symlink && self.scrambler.is_some() {
            let blocks = blkno..blkno.saturating_add(run.blocks);
            self.known.extend(blocks.map(|blkno| Known { blkno, kind, check_offset }));
        }
    }

    /// Prepares for [`Cleaner::clean`] after the last run was added.
    pub fn finish(&mut self) {
        self.known.sort_unstable_by_key(|known| known.blkno);
        self.known.dedup_by_key(|known| known.blkno);
    }

    /// Cleans blocks that were read from block `first` on. A bucket must be contained as a whole.
    pub fn clean(&self, first: u64, bytes: &mut [u8]) {
        let size = self.block_size.size();
        let end = first + (bytes.len() / size) as u64;
        let start = self.known.partition_point(|known| known.blkno < first);
        let known = self.known.get(start..).unwrap_or_default();
        for known in known.iter().take_while(|known| known.blkno < end) {
            let at = (known.blkno - first) as usize * size;
            let len = if known.kind == MetadataKind::XattrBucket { BUCKET_SIZE } else { size };
            if let Some(block) = bytes.get_mut(at..at + len) {
                self.clean_block(*known, block);
            }
        }
    }

    fn clean_block(&self, known: Known, block: &mut [u8]) {
        let check = known.check_offset.filter(|_| self.has_checks);
        if check.is_some_and(|offset| !matches!(validate(block, offset), Checked::Good)) {
            return;
        }
        match known.kind {
            MetadataKind::Dinode => clean_dinode(block),
            MetadataKind::ExtentBlock if block.starts_with(&ExtentBlock::SIGNATURE) => {
                clean_extents(block, ExtentBlock::LIST_OFFSET);
            }
            MetadataKind::DirBlock => {
                let trailer = DirTrailer::of_block(block).ok();
                let is_one = trailer.is_some_and(|it| it.db_signature == DirTrailer::SIGNATURE);
                let len = if is_one { DirTrailer::offset(block.len()) } else { block.len() };
                clean_entries(block.get_mut(..len).unwrap_or_default());
            }
            MetadataKind::DxRoot if block.starts_with(&DxRoot::SIGNATURE) => {
                match DxRoot::decode(block).is_ok_and(|root| root.is_inline()) {
                    true => clean_index(block, DxRoot::LIST_OFFSET),
                    false => clean_extents(block, DxRoot::LIST_OFFSET),
                }
            }
            MetadataKind::DxLeaf if block.starts_with(&DxLeaf::SIGNATURE) => {
                clean_index(block, DxLeaf::LIST_OFFSET);
            }
            MetadataKind::RefcountBlock if block.starts_with(&RefcountBlock::SIGNATURE) => {
                let at = RefcountBlock::LIST_OFFSET;
                match RefcountBlock::decode(block).is_ok_and(|it| it.is_tree()) {
                    true => clean_extents(block, at),
                    false => after_records::<RefcountListHeader, RefcountRec>(block, at, |list| {
                        (list.rl_used.into(), list.rl_count.into())
                    }),
                }
            }
            MetadataKind::XattrBlock if block.starts_with(&XattrBlock::SIGNATURE) => {
                match XattrBlock::decode(block).is_ok_and(|it| it.is_indexed()) {
                    true => clean_extents(block, XattrTreeRoot::LIST_OFFSET),
                    false => {
                        let area = block.get_mut(XattrBlock::AREA_OFFSET..);
                        clean_attributes(area.unwrap_or_default());
                    }
                }
            }
            MetadataKind::XattrBucket => clean_attributes(block),
            _ => {}
        }
        if let Some(scrambler) = &self.scrambler {
            scramble_block(known.kind, block, scrambler, self.seed);
        }
        if let Some(offset) = check {
            stamp(block, offset);
        }
    }
}

fn clean_dinode(block: &mut [u8]) {
    let Ok(dinode) = Dinode::decode(block) else { return };
    if dinode.i_signature != Dinode::SIGNATURE {
        return;
    }
    let at = Dinode::ID2_OFFSET;
    let end = at + dinode.id2(block).len();
    let size = usize::try_from(dinode.i_size).unwrap_or(usize::MAX);
    match dinode.arm() {
        Arm::InlineData if dinode.kind() == Some(FileKind::Directory) => {
            let data = at + InlineData::SIZE;
            let names = data..data.saturating_add(size).min(end);
            clean_entries(block.get_mut(names).unwrap_or_default());
        }
        Arm::InlineData => zero(block, (at + InlineData::SIZE).saturating_add(size), end),
        Arm::Symlink => zero(block, at.saturating_add(size), end),
        Arm::ExtentList => clean_extents(block.get_mut(..end).unwrap_or_default(), at),
        _ => {}
    }
    if dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) {
        let start = block.len().saturating_sub(dinode.i_xattr_inline_size.into());
        clean_attributes(block.get_mut(start..).unwrap_or_default());
    }
}

/// Scrambles the text in a block, except for the names in a directory.
fn scramble_block(kind: MetadataKind, block: &mut [u8], scrambler: &Scrambler, seed: u32) {
    match kind {
        MetadataKind::Dinode => {
            let Ok(dinode) = Dinode::decode(block) else { return };
            let (at, len) = (Dinode::ID2_OFFSET, dinode.id2(block).len());
            let size = usize::try_from(dinode.i_size).unwrap_or(usize::MAX);
            let is_dir = dinode.kind() == Some(FileKind::Directory);
            match dinode.arm() {
                Arm::Symlink => {
                    let target = block.get_mut(at..at + size.min(len));
                    scrambler.target(target.unwrap_or_default());
                }
                // These are the contents of a small file.
                Arm::InlineData if !is_dir => zero(block, at + InlineData::SIZE, at + len),
                _ => {}
            }
            if dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) {
                let start = block.len().saturating_sub(dinode.i_xattr_inline_size.into());
                scramble_attributes(block.get_mut(start..).unwrap_or_default(), scrambler, seed);
            }
        }
        MetadataKind::Symlink => {
            let end = block.iter().position(|byte| *byte == 0).unwrap_or(block.len());
            scrambler.target(block.get_mut(..end).unwrap_or_default());
            let len = block.len();
            zero(block, end, len);
        }
        MetadataKind::XattrBucket => scramble_attributes(block, scrambler, seed),
        MetadataKind::XattrBlock
            if block.starts_with(&XattrBlock::SIGNATURE)
                && XattrBlock::decode(block).is_ok_and(|it| !it.is_indexed()) =>
        {
            let area = block.get_mut(XattrBlock::AREA_OFFSET..);
            scramble_attributes(area.unwrap_or_default(), scrambler, seed);
        }
        _ => {}
    }
}

/// Replaces names by others with the same hashes, and zeros values. Access control lists have empty
/// names and stay as they are, because they contain only numbers.
fn scramble_attributes(bytes: &mut [u8], scrambler: &Scrambler, seed: u32) {
    let Ok(area) = XattrArea::new(bytes) else { return };
    let mut parts = Vec::new();
    for item in area.items().filter_map(Result::ok).filter(|item| !item.name.is_empty()) {
        let name = usize::from(item.entry.xe_name_offset);
        let value = name + item.name.len().next_multiple_of(4);
        let len = if item.entry.is_local() { item.stored.len() } else { 0 };
        // Hashed in the way of its writer, who takes bytes from 0x80 on as signed or unsigned.
        let is_it = |sign: &CharSign| xattr_hash(item.name, seed, *sign) == item.entry.xe_name_hash;
        let sign = CharSign::ALL.into_iter().find(is_it).unwrap_or_default();
        parts.push((name..name + item.name.len(), value..value + len, sign));
    }
    for (name, value, sign) in parts {
        scrambler.attribute(bytes.get_mut(name).unwrap_or_default(), sign);
        zero(bytes, value.start, value.end);
    }
}

fn zero(block: &mut [u8], start: usize, end: usize) {
    block.get_mut(start..end).unwrap_or_default().fill(0);
}

/// Zeros the unused entries of a list. `counts` returns how many are in use, and how many there
/// are.
fn after_records<H: Structure, R: Structure>(
    block: &mut [u8],
    at: usize,
    counts: impl FnOnce(&H) -> (usize, usize),
) {
    let header = block.get(at..).and_then(|bytes| H::decode(bytes).ok());
    let Some((used, count)) = header.map(|header| counts(&header)) else { return };
    let first = at + H::SIZE;
    let room = block.len().saturating_sub(first) / R::SIZE.max(1);
    if used <= count && count <= room {
        zero(block, first + used * R::SIZE, first + count * R::SIZE);
    }
}

fn clean_extents(block: &mut [u8], at: usize) {
    after_records::<ExtentListHeader, ExtentRec>(block, at, |list| {
        (list.l_next_free_rec.into(), list.l_count.into())
    });
}

fn clean_index(block: &mut [u8], at: usize) {
    after_records::<DxEntryListHeader, DxEntry>(block, at, |list| {
        (list.de_num_used.into(), list.de_count.into())
    });
}

/// Zeros the unused bytes of a directory, including deleted names, up to the first invalid entry.
fn clean_entries(names: &mut [u8]) {
    let mut holes = Vec::new();
    for entry in entries(names).map_while(Result::ok) {
        let used = if entry.is_used() { usize::from(entry.header.name_len) } else { 0 };
        let start = entry.offset + DirEntryHeader::SIZE + used;
        holes.push(start..entry.offset + usize::from(entry.header.rec_len));
    }
    holes.into_iter().for_each(|hole| zero(names, hole.start, hole.end));
}

/// Zeros the gaps between entries, names and values of an attribute area.
fn clean_attributes(bytes: &mut [u8]) {
    let Ok(area) = XattrArea::new(bytes) else { return };
    let count = usize::from(area.header.xh_count);
    if count > area.capacity() {
        return;
    }
    let entries = XattrHeader::SIZE + count * XattrEntry::SIZE;
    let mut used = Vec::new();
    used.push(0..entries);
    for item in area.items() {
        let Ok(item) = item else { return };
        let name = usize::from(item.entry.xe_name_offset);
        used.push(name..name + item.name.len());
        let value = name + item.name.len().next_multiple_of(4);
        used.push(value..value + item.stored.len());
    }
    used.sort_unstable_by_key(|part| part.start);
    let mut end = 0;
    for part in used {
        zero(bytes, end, part.start);
        end = end.max(part.end);
    }
    zero(bytes, end, bytes.len());
}

#[cfg(test)]
mod tests {
    use ocfs2_format::dir::{FileType, entry_size, write_entry};

    use super::*;

    #[test]
    fn names_that_are_no_more_are_not_kept() {
        let mut names = vec![0xaa; 64];
        write_entry(&mut names, Blkno(5), 24, FileType::Regular, b"kept").unwrap();
        write_entry(&mut names[24..], Blkno(0), 40, FileType::Regular, b"gone").unwrap();
        clean_entries(&mut names);
        let shown = names.escape_ascii().to_string();
        assert!(shown.contains("kept") && !shown.contains("gone"), "{shown}");
        assert!(names[entry_size(4)..24].iter().all(|byte| *byte == 0));
        assert_eq!(entries(&names).map(Result::unwrap).count(), 2);
    }

    #[test]
    fn any_bytes_are_survived() {
        let cleaner = |kind| Known { blkno: 7, kind, check_offset: Some(0x10) };
        let all = [
            MetadataKind::Dinode,
            MetadataKind::ExtentBlock,
            MetadataKind::DirBlock,
            MetadataKind::DxRoot,
            MetadataKind::DxLeaf,
            MetadataKind::XattrBlock,
            MetadataKind::XattrBucket,
            MetadataKind::RefcountBlock,
        ];
        for kind in all {
            for signature in [
                Dinode::SIGNATURE,
                ExtentBlock::SIGNATURE,
                DxRoot::SIGNATURE,
                DxLeaf::SIGNATURE,
                XattrBlock::SIGNATURE,
                RefcountBlock::SIGNATURE,
            ] {
                for fill in [0, 1, 0x40, 0xff] {
                    let block_size = BlockSize::from_bytes(512).unwrap();
                    let known = vec![cleaner(kind)];
                    let scrambler = Some(Arc::new(Scrambler::default()));
                    let cleaner =
                        Cleaner { known, block_size, has_checks: false, seed: 7, scrambler };
                    let mut bytes = vec![fill; 4096];
                    bytes[..8].copy_from_slice(&signature);
                    cleaner.clean(7, &mut bytes);
                    cleaner.clean(7, &mut bytes[..100]);
                }
            }
        }
    }
}
