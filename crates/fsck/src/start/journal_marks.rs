//! The marks by which journals are found: in the inode its number, its signature and the fields
//! that point to the log; in the superblock of the log the magic number, the type, the block size
//! and the length.
//!
//! Without these a journal is not found, and what crashed nodes wrote last is lost. If everything
//! else shows that it is a journal, the mark is corrected before the journals are replayed.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::journal::{BlockType, JBD2_MAGIC, JournalHeader, JournalSuperblock};
use ocfs2_format::{Blkno, Block, BlockSize, Cpos, Structure};
use ocfs2_volume::{Inode, SystemFile, Volume};

use crate::codes::journals as codes;
use crate::read::seen::{self, Seen};
use crate::repair::{Repair, system};
use crate::{Context, Finding, Place, misplaced};

/// Bits of a magic number that may be wrong where everything else shows that it is a superblock.
const WRONG_BITS: u32 = 8;

/// Returns what is wrong with the marks of all journals.
pub fn check(context: &Context<'_>) -> Vec<Finding> {
    let volume = context.volume;
    let slots = || 0..volume.max_slots();
    // One repair puts all inodes back that are in each other's places; the other marks are checked
    // after that.
    let mut misplaced =
        slots().filter_map(|slot| misplaced::exchanged(volume, number(volume, slot)?));
    if let Some(finding) = misplaced.next() {
        return vec![finding];
    }
    slots().filter_map(|slot| of_slot(volume, slot)).flatten().collect()
}

fn of_slot(volume: &Volume, slot: u16) -> Option<Vec<Finding>> {
    let blkno = number(volume, slot)?;
    let mut block = volume.read_block(blkno).ok()?;
    let seen = seen::mended(volume, blkno, &mut block);
    let inode = Inode::decode(blkno, block).ok()?;
    let Some((first, mended)) = journal(volume, &inode) else {
        return of_inode(volume, slot, &inode).map(|finding| vec![finding]);
    };
    let mut findings = Vec::new();
    if seen == Seen::Unsigned {
        let text = format!(
            "journal of slot {slot}: i_signature of inode {blkno} is wrong, all else is that of a \
             journal"
        );
        let repair = Repair::dinode(blkno, |dinode, _| dinode.i_signature = Dinode::SIGNATURE);
        let finding = Finding::new(codes::JOURNAL_MAGIC, place(slot, blkno), text);
        findings.push(finding.repaired_by(repair));
    }
    findings.extend(mended.map(|mended| finding(slot, blkno, first, &mended)));
    Some(findings)
}

/// Returns the first block of the journal of an inode, and its superblock as it was if a mark of it
/// is wrong; `None` if the inode is not that of a journal.
fn journal(volume: &Volume, inode: &Inode) -> Option<(Blkno, Option<Mended>)> {
    let dinode = &inode.dinode;
    dinode.verify(inode.blkno, volume.generation()).ok()?;
    let clusters = u64::from(dinode.i_clusters);
    let is_whole = clusters << volume.geometry().cluster_size.bits() == inode.size();
    if dinode.flags() != FLAGS || !is_whole {
        return None;
    }
    let mut end = 0;
    for extent in volume.tree(inode).ok()?.extents() {
        let extent = extent.ok().filter(|extent| u64::from(extent.cpos.0) == end)?;
        end += u64::from(extent.clusters);
    }
    let first = volume.tree(inode).ok()?.map(Cpos(0)).ok()??.blkno;
    let superblock = JournalSuperblock::decode(&volume.read_block(first).ok()?).ok()?;
    let blocks = volume.geometry().blocks_for(inode.size());
    let mended = mended(&superblock, first, volume.block_size(), blocks);
    let is_one = mended.is_some() || superblock.verify(first, volume.block_size(), blocks).is_ok();
    (end == clusters && is_one).then_some((first, mended))
}

/// The flags of the inode of a journal.
const FLAGS: InodeFlags = InodeFlags::VALID.union(InodeFlags::SYSTEM).union(InodeFlags::JOURNAL);

/// Gives a field of an inode the value that it has in the inode of a journal.
type Change = fn(&Volume, &mut Dinode, &mut [u8]);

/// The fields of the inode without which the log is not found.
const FIELDS: [(&str, Change); 7] = [
    ("i_fs_generation", |volume, dinode, _| dinode.i_fs_generation = volume.generation()),
    ("i_flags", |_, dinode, _| dinode.i_flags = FLAGS.bits()),
    ("i_dyn_features", |_, dinode, _| dinode.i_dyn_features = 0),
    ("i_size", |volume, dinode, _| {
        dinode.i_size = u64::from(dinode.i_clusters) << volume.geometry().cluster_size.bits();
    }),
    ("i_clusters", |volume, dinode, _| {
        let clusters = dinode.i_size >> volume.geometry().cluster_size.bits();
        dinode.i_clusters = u32::try_from(clusters).unwrap_or(dinode.i_clusters);
    }),
    ("e_cpos", |_, _, id2| {
        with_first(id2, |first| first.e_cpos = Cpos(0));
    }),
    ("e_leaf_clusters", |_, dinode, id2| {
        with_first(id2, |first| {
            let clusters = u16::try_from(dinode.i_clusters).unwrap_or_default();
            *first = ExtentRec::leaf(first.e_cpos, clusters, ExtentFlags::empty(), first.e_blkno);
        });
    }),
];

/// Changes the first record of a list.
fn with_first(id2: &mut [u8], change: impl Fn(&mut ExtentRec)) {
    let Some(record) = id2.get_mut(ExtentListHeader::SIZE..) else { return };
    if let Ok(mut first) = ExtentRec::decode(record) {
        change(&mut first);
        let _ = first.encode(record);
    }
}

/// Returns the finding that one field of the inode is wrong without which a log that has to be
/// replayed is not found.
fn of_inode(volume: &Volume, slot: u16, inode: &Inode) -> Option<Finding> {
    if inode.dinode.journal_flags() & Dinode::JOURNAL_DIRTY == 0 {
        return None;
    }
    let with = |change: Change| {
        let mut dinode = inode.dinode.clone();
        let mut block = inode.block().to_vec();
        change(volume, &mut dinode, block.get_mut(Dinode::ID2_OFFSET..)?);
        dinode.encode(&mut block).ok()?;
        Inode::decode(inode.blkno, block).ok()
    };
    let is_right = |change| with(change).is_some_and(|other| journal(volume, &other).is_some());
    let (name, change) = FIELDS.into_iter().find(|(_, change)| is_right(*change))?;
    let blkno = inode.blkno;
    let text = format!(
        "journal of slot {slot}: {name} of inode {blkno} is wrong, all else is that of a journal"
    );
    let repair = Repair::new(move |editor| {
        let volume = editor.volume();
        editor.dinode(blkno, |dinode, id2| change(volume, dinode, id2))
    });
    Some(Finding::new(codes::JOURNAL_MAGIC, place(slot, blkno), text).repaired_by(repair))
}

fn place(slot: u16, inode: Blkno) -> Place {
    let name = SystemFile::Journal(slot).name();
    Place::inode(inode).in_slot(slot).named(name.as_bytes())
}

/// The superblock of a journal in which one field was wrong, corrected.
#[derive(Clone, Debug)]
pub struct Mended {
    /// The superblock as it was.
    pub superblock: JournalSuperblock,
    /// The wrong and the right value of the field, in words.
    text: String,
}

/// Returns the finding that a field of the superblock of a journal, in block `first`, is wrong.
pub fn finding(slot: u16, inode: Blkno, first: Blkno, mended: &Mended) -> Finding {
    let text = format!("journal of slot {slot}: {}, all else is that of a journal", mended.text);
    let JournalSuperblock { header, s_blocksize, s_maxlen, .. } = mended.superblock;
    let marked = system::journal_superblock(first, move |superblock| {
        let JournalHeader { h_magic, h_blocktype, .. } = header;
        superblock.header = JournalHeader { h_magic, h_blocktype, ..superblock.header };
        (superblock.s_blocksize, superblock.s_maxlen) = (s_blocksize, s_maxlen);
    });
    Finding::new(codes::JOURNAL_MAGIC, place(slot, inode), text).repaired_by(marked)
}

/// Returns the superblock of a journal of `blocks` blocks as it was, if only one field is wrong:
/// one bit of its type, its block size or its length, or some bits of its magic number.
pub fn mended(
    found: &JournalSuperblock,
    first: Blkno,
    block_size: BlockSize,
    blocks: u64,
) -> Option<Mended> {
    let kind = BlockType::SuperblockV2.code();
    let length = u32::try_from(blocks).ok()?;
    let right = JournalHeader { h_magic: JBD2_MAGIC, h_blocktype: kind, ..found.header };
    let of_header = |header: JournalHeader| JournalSuperblock { header, ..found.clone() };
    let was = &found.header;
    let (h_magic, h_blocktype) = (was.h_magic, was.h_blocktype);
    let fields = [
        ("h_magic", h_magic, JBD2_MAGIC, of_header(JournalHeader { h_blocktype, ..right })),
        ("h_blocktype", h_blocktype, kind, of_header(JournalHeader { h_magic, ..right })),
        (
            "s_blocksize",
            found.s_blocksize,
            block_size.bytes(),
            JournalSuperblock { s_blocksize: block_size.bytes(), ..found.clone() },
        ),
        (
            "s_maxlen",
            found.s_maxlen,
            length,
            JournalSuperblock { s_maxlen: length, ..found.clone() },
        ),
    ];
    let mut wrong = fields.into_iter().filter(|(_, is, was, _)| is != was);
    let (name, is, was, superblock) = wrong.next().filter(|_| wrong.next().is_none())?;
    let most = if name == "h_magic" { WRONG_BITS } else { 1 };
    let is_near = (is ^ was).count_ones() <= most;
    if !is_near || superblock.verify(first, block_size, blocks).is_err() {
        return None;
    }
    let text = match name {
        "h_magic" => format!("{name} is {is:#010x}"),
        _ => format!("{name} is {is}, expected {was}"),
    };
    Some(Mended { superblock, text })
}

/// Returns the inode of the journal of a slot, as the system directory names it.
fn number(volume: &Volume, slot: u16) -> Option<Blkno> {
    let dir = volume.superblock().s_system_dir_blkno;
    let dir = Inode::decode(dir, volume.read_block(dir).ok()?).ok()?;
    let name = SystemFile::Journal(slot).name();
    let blkno = volume.torn_entry(&dir, name.as_bytes())?.inode;
    volume.geometry().is_valid_block(blkno).then_some(blkno)
}
