//! What repairs may have changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use ocfs2_device::{Device, OverlayDevice};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::{Blkno, Block, Structure as _};
use ocfs2_volume::Volume;

use super::Doubt;
use super::contents::Last;
use super::mapping::Untouched;
use crate::Pass;
use crate::codes::{
    Code, chains, connectivity, directories, extents, general, inodes, refcounts, xattrs,
};
use crate::finding::{Clusters, SUMMED_UP};
use crate::plan::Planned;
use crate::tables::collected::BlockUse;

/// Findings about attributes whose repair loses none.
const HARMLESS: [&Code; 10] = [
    inodes::INODE_BIT,
    inodes::INODE_UNMARKED,
    general::BLOCK_SIGNATURE,
    xattrs::XATTR_COUNT_INVALID,
    xattrs::XATTR_BUCKET_COUNT_INVALID,
    xattrs::XATTR_EXTENT_LENGTH,
    xattrs::XATTR_HASH_RANGE,
    xattrs::XATTR_FREE_START_INVALID,
    xattrs::XATTR_VALUE_LEN_INVALID,
    xattrs::XATTR_ENTRY_BIT,
];

/// What may differ between before and after.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Inodes, and other blocks that findings were about.
    pub inodes: BTreeSet<Blkno>,
    /// Byte ranges of the device that were written to, in order.
    pub written: Vec<Range<u64>>,
    /// Inodes with a finding that was left unrepaired on request.
    pub declined: HashSet<Blkno>,
    /// What is known about extent blocks.
    pub(super) untouched: Untouched,
    /// The last comparison.
    pub(super) last: Last,
    /// Inodes that may be wrong although nothing of them is gone, with the reason.
    pub doubts: BTreeMap<Blkno, Doubt>,
    /// Inodes that are known to have lost attributes.
    pub(super) without_attributes: HashSet<Blkno>,
    /// Inodes whose attributes got back a size that was wrong.
    pub(super) mended: HashSet<Blkno>,
    /// Inodes with findings other than those that attributes do not suffer from.
    pub(super) unexplained: HashSet<Blkno>,
    /// Names of entries, escaped, by directory: restored ones, those that point to the right inode
    /// again, and doubtful ones.
    pub names: HashMap<Blkno, HashMap<String, Name>>,
    /// Inodes with an extent or extent block that points to its old place again: what it pointed to
    /// in between was not theirs.
    pub led_back: HashSet<Blkno>,
    /// Clusters in use that were marked as free, while others had no owner.
    pub(super) adrift: Vec<Range<u32>>,
    /// Directories with blocks that were in each other's places and are back.
    pub(super) exchanged: HashSet<Blkno>,
    /// Inodes with extent blocks that were in each other's places, and inodes with other findings.
    blocks_back: HashSet<Blkno>,
    with_more: HashSet<Blkno>,
    /// Inodes with findings about their extents.
    pub(super) with_extents: HashSet<Blkno>,
    /// Directories with repeated entries; a repeated block may have replaced other entries.
    pub(super) repeated: HashSet<Blkno>,
    /// Inodes with a block that stated a wrong number, and inodes with one that stated a wrong bit.
    numbers: BTreeSet<Blkno>,
    /// Inodes with a higher link count than names were found.
    pub(super) with_fewer_names: BTreeSet<Blkno>,
    /// Whether blocks were freed that may have been in use.
    pub(super) frees_blocks: bool,
    /// Whether an xattr block in use was freed; determined at most once.
    pub(super) frees_attributes: OnceLock<bool>,
    /// Inodes whose attributes may have been those of others.
    pub(super) with_others: HashSet<Blkno>,
    /// Inodes with attributes whose hash is not that of their name, and inodes with attributes out
    /// of order.
    hashes: HashSet<Blkno>,
    orders: HashSet<Blkno>,
    bits: BTreeSet<Blkno>,
}

/// What became of an entry whose name or inode was wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    /// It has its old name again.
    Restored,
    /// It points to its old inode again.
    LedBack,
    /// It is not known what it was.
    Doubted,
    /// It was removed since it pointed to a directory with another name: it belonged to something
    /// else.
    Removed,
    /// Only the index of its directory still knows it.
    Erased,
}

impl Touched {
    /// Collects what may differ, from the accepted findings and the changed blocks.
    pub fn of<D: Device>(
        before: &Volume,
        overlay: &OverlayDevice<D>,
        findings: &[Planned],
    ) -> Self {
        let mut touched = Self { written: overlay.changed_ranges(), ..Self::default() };
        for planned in findings {
            match planned.answer {
                true => touched.finding(planned),
                false => touched.declined.extend(planned.finding.place.inode.map(Blkno)),
            }
        }
        for inode in touched.numbers.intersection(&touched.bits) {
            touched.doubts.entry(*inode).or_insert(Doubt::Elsewhere);
        }
        // The mark stays where the feature comes back.
        let keeps_marks =
            |it: &Planned| it.answer && it.finding.code.name == inodes::FEATURE_LACKING.name;
        if findings.iter().any(keeps_marks) {
            touched.doubts.retain(|_, doubt| *doubt != Doubt::Unwritten);
        }
        let is_back = touched.blocks_back.difference(&touched.with_more);
        touched.led_back.extend(is_back.copied());
        // If the hash is in the right order, the name is wrong, and the old one is unknown.
        let nameless = touched.hashes.intersection(&touched.orders);
        touched.without_attributes.extend(nameless);
        let bits = before.block_size().bits();
        // What cannot be read back is not compared.
        let _ = overlay.for_each_change(|offset, bytes| {
            let blkno = Blkno(offset >> bits);
            touched.block(blkno, bytes);
            if let Ok(was) = before.read_block(blkno) {
                touched.block(blkno, &was);
            }
            Ok::<_, std::io::Error>(())
        });
        touched
    }

    fn finding(&mut self, planned: &Planned) {
        let place = &planned.finding.place;
        self.inodes.extend(place.inode.or(place.block).map(Blkno));
        let name = planned.finding.code.name;
        if name == chains::CLUSTER_ALLOC_BIT.name && planned.may_lose {
            let range = |it: Clusters| it.start..it.start.saturating_add(it.count);
            self.adrift.extend(place.clusters.map(range));
        }
        self.frees_blocks |= name == chains::EXTENT_ALLOC_BIT.name && planned.may_lose;
        for inode in &planned.doubtful {
            self.inodes.insert(*inode);
            self.doubts.entry(*inode).or_insert(Doubt::Counted);
        }
        let Some(inode) = place.inode.map(Blkno) else { return };
        let is_one_of = |codes: &[&Code]| codes.iter().any(|code| code.name == name);
        let is_wiped = is_one_of(&[xattrs::XATTR_FREE_START_INVALID, xattrs::XATTR_COUNT_INVALID])
            && planned.may_lose;
        if is_one_of(&[xattrs::XATTR_BUCKETS_LOST]) || is_wiped {
            self.without_attributes.insert(inode);
        }
        if is_one_of(&[xattrs::XATTR_ENTRY_BIT]) {
            self.mended.insert(inode);
        }
        if is_one_of(&[connectivity::INODE_COUNT]) && planned.may_lose {
            self.with_fewer_names.insert(inode);
        }
        if is_one_of(extents::ALL) {
            self.with_extents.insert(inode);
        }
        // Of an area full of garbage only the first finding is reported.
        let is_garbage = planned.finding.text.contains(SUMMED_UP);
        if !is_one_of(&HARMLESS) || is_garbage {
            self.unexplained.insert(inode);
        }
        if is_one_of(&[inodes::INODE_BLKNO, extents::EB_BLKNO, xattrs::XB_BLKNO]) {
            self.numbers.insert(inode);
        }
        if is_one_of(&[inodes::INODE_SUBALLOC_BIT, chains::BLOCK_SUBALLOC_BIT]) {
            self.bits.insert(inode);
        }
        let state = [
            (directories::DIRENT_NAME_BIT, Name::Restored),
            (directories::DX_NAME_DIFFERS, Name::Doubted),
            (directories::DIRENT_INODE_BIT, Name::LedBack),
            (directories::DIR_PARENT_DUP, Name::Removed),
            (directories::DX_ENTRY_LEFT, Name::Erased),
            // It is not known which of the two had the name.
            (directories::DIRENT_DUPLICATE, Name::Doubted),
        ];
        let state = state.iter().find(|(code, _)| code.name == name);
        if let (Some((_, state)), Some(name)) = (state, &place.name) {
            let names = self.names.entry(inode).or_default();
            if names.get(name) != Some(&Name::Doubted) {
                names.insert(name.clone(), *state);
            }
        }
        let is_misplaced = name == inodes::BLOCK_MISPLACED.name;
        let is_back = planned.finding.text.starts_with(ExtentBlock::NAME) && !planned.may_lose;
        if is_misplaced {
            self.exchanged.insert(inode);
        }
        match is_misplaced && is_back {
            true => self.blocks_back.insert(inode),
            false => self.with_more.insert(inode),
        };
        if name == directories::DIRENT_REPEATED.name {
            self.repeated.insert(inode);
        }
        if name == refcounts::REFCOUNT_EXTENT_PLACE.name {
            self.led_back.insert(inode);
        }
        let is_check = [inodes::INODE_ECC, directories::BAD_CRC32, general::BLOCK_ECC];
        let is_shared =
            refcounts::ALL.iter().any(|code| code.name == name && name.starts_with("DUP_CLUSTERS"));
        // A single wrong bit is known and corrected.
        let is_unknown = planned.finding.text.contains("the checksum is");
        let is_beside = is_one_of(&[
            inodes::INODE_SIGNATURE,
            inodes::INLINE_DATA_COUNT_INVALID,
            inodes::INLINE_DATA_TAIL,
            inodes::LINK_SIZE,
        ]);
        // There may have been a bucket that the tree no longer points to; or the type of an entry
        // may be right, and its inode wrong.
        let is_unsure = is_one_of(&[
            xattrs::XATTR_BUCKET_COUNT_INVALID,
            directories::DIRENT_TYPE,
            extents::EXTENT_FLAGS,
        ]) && planned.may_lose;
        if is_one_of(&[xattrs::XATTR_LOC_SHARED]) {
            self.with_others.insert(inode);
        }
        if is_one_of(&[xattrs::XATTR_HASH_INVALID]) {
            self.hashes.insert(inode);
        }
        if is_one_of(&[xattrs::XATTR_ENTRY_ORDER, xattrs::XATTR_BUCKET_ORDER]) {
            self.orders.insert(inode);
        }
        let is_copy = is_one_of(&[chains::BLOCK_SHARED])
            && planned.finding.text.ends_with(BlockUse::XattrBlock.name());
        // Of the sizes and kinds that fit only one is right; a name is confirmed by its hash.
        let is_guess = is_one_of(&[xattrs::XATTR_ENTRY_BIT])
            && ["xe_value_size", "xe_type"].iter().any(|it| planned.finding.text.contains(it));
        let is_attributes = is_copy
            || is_guess
            || is_garbage && name.starts_with("XATTR_")
            || is_one_of(&[
                xattrs::XATTR_BUCKET_ORDER,
                xattrs::XATTR_HASH_INVALID,
                xattrs::XATTR_LOC_SHARED,
                xattrs::XATTR_LOC_MISSING,
                xattrs::XATTR_VALUE_LONG,
            ])
            || is_one_of(&[xattrs::XATTR_VALUE_LEN_INVALID, xattrs::XATTR_CLUSTERS])
                && planned.may_lose;
        let doubt = match () {
            () if is_attributes => Doubt::Attributes,
            () if is_beside || is_unsure => Doubt::Beside,
            () if name == inodes::INODE_MODE.name => Doubt::Mode,
            () if planned.finding.code.pass == Pass::Quota && planned.may_lose => Doubt::Limits,
            () if name == connectivity::INODE_NAMES.name => Doubt::Names,
            () if is_check.iter().any(|code| code.name == name) && is_unknown => Doubt::Checksum,
            () if name == refcounts::DUP_CLUSTERS_TWICE.name => Doubt::Twice,
            () if is_shared => Doubt::Shared,
            () if name == connectivity::ROOT_DIR_MISSING.name => Doubt::Made,
            () if name == directories::DIR_INODE_LOST.name => Doubt::Made,
            () if name == extents::EXTENT_OVERLAP.name => Doubt::Moved,
            () if name == extents::EXTENT_MARKED_UNWRITTEN.name => Doubt::Unwritten,
            () => return,
        };
        self.doubts.entry(inode).or_insert(doubt);
    }

    /// Adds the inode that a block is, or is part of; `bytes` are those before or after.
    fn block(&mut self, blkno: Blkno, bytes: &[u8]) {
        if bytes.starts_with(&Dinode::SIGNATURE) {
            self.inodes.insert(blkno);
        } else if let Ok(trailer) = DirTrailer::of_block(bytes)
            && trailer.db_signature == DirTrailer::SIGNATURE
        {
            self.inodes.insert(trailer.db_parent_dinode);
        }
    }
}
