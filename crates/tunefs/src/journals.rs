//! Node slots and journals.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Compat;
use ocfs2_format::journal::{JournalIncompat, JournalSuperblock, MIN_JOURNAL_BYTES};
use ocfs2_format::{Blkno, Cpos, Structure};
use ocfs2_users::work::{Piece, Work};
use ocfs2_volume::edit::{Edit, EditError};
use ocfs2_volume::{Error, SystemFile, Volume};

use crate::cli::JournalOptions;

/// The properties of the journals of a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Journals {
    /// Size of each in clusters.
    pub clusters: u32,
    /// Whether their block numbers have 64 bits.
    pub block64: bool,
}

impl Journals {
    /// The size of the volume's largest journal, and whether any has wide block numbers: the
    /// properties of a new one.
    pub fn of_volume(volume: &Volume) -> Result<Self, Error> {
        let mut found = Self { clusters: 0, block64: false };
        for slot in 0..volume.max_slots() {
            let journal = volume.journal(slot)?;
            found.clusters = found.clusters.max(journal.inode.dinode.i_clusters);
            found.block64 |= journal.superblock.incompat().contains(JournalIncompat::BIT64);
        }
        Ok(found)
    }

    /// Returns the requested properties.
    ///
    /// # Errors
    /// [`EditError::Refused`] if no journal can have them, or none of this volume.
    pub fn changed(self, volume: &Volume, options: &JournalOptions) -> Result<Self, EditError> {
        let refused = |text: &str| Err(EditError::Refused(text.to_owned()));
        let geometry = volume.geometry();
        let mut wanted = self;
        if let Some(block64) = options.block64 {
            wanted.block64 = block64;
        }
        if !wanted.block64 && geometry.blocks() > u64::from(u32::MAX) {
            return refused("a volume of so many blocks needs block64 in its journals");
        }
        // 0 stands for the present size.
        let Some(size) = options.size.filter(|size| *size > 0) else { return Ok(wanted) };
        let blocks = size >> geometry.block_size.bits();
        if size < MIN_JOURNAL_BYTES || blocks < 1024 {
            return refused("a journal has at least 1024 blocks and 4 MiB");
        }
        if blocks > 1 << 31 {
            return refused("a journal has at most 2147483648 blocks");
        }
        let clusters = geometry.clusters_for(size);
        wanted.clusters = clusters.unwrap_or(u32::MAX);
        Ok(wanted)
    }
}

/// Creates the files of new slots, and gives all journals the properties `wanted`.
///
/// # Errors
/// [`EditError::NoRoom`], or if something is damaged.
pub(crate) fn set_slots(
    work: &mut Work<'_>,
    slots: u16,
    wanted: Journals,
) -> Result<(), EditError> {
    let edit = &mut work.edit;
    let before = edit.max_slots();
    let new = SystemFile::expected(edit, slots)
        .filter(|file| file.slot().is_some_and(|slot| (before..slots).contains(&slot)));
    for file in new.collect::<Vec<_>>() {
        edit.create_slot_file(file)?;
    }
    for slot in 0..slots {
        set_journal(work, slot, slot >= before, wanted)?;
    }
    let edit = &mut work.edit;
    if slots != before {
        let format = edit.slot_map_format();
        let (blkno, map) = edit.free_slot_map(slots, format)?;
        work.before.push(Piece::Blocks(blkno, map));
    }
    let has_flag = edit.features().compat.contains(Compat::JBD2_SB);
    if slots != before || wanted.block64 && !has_flag {
        edit.update_superblock(|superblock| {
            superblock.s_max_slots = slots;
            if wanted.block64 {
                superblock.s_feature_compat |= Compat::JBD2_SB.bits();
            }
        })?;
    }
    Ok(())
}

fn set_journal(
    work: &mut Work,
    slot: u16,
    is_new: bool,
    wanted: Journals,
) -> Result<(), EditError> {
    let edit = &mut work.edit;
    let has = edit.system_file(SystemFile::Journal(slot))?.dinode.i_clusters;
    let added = edit.resize_journal(slot, wanted.clusters)?;
    let first = first_block(edit, slot)?;
    let bytes = u64::from(wanted.clusters) << edit.geometry().cluster_size.bits();
    let blocks = edit.geometry().blocks_for(bytes);
    let blocks = u32::try_from(blocks).map_err(|_| EditError::TooLarge("the journal"))?;
    let block_size = edit.block_size();
    work.is_in_place |= has > wanted.clusters && !is_new;
    let place = &mut work.before;
    // Old contents of other journals must not look like a part of this one.
    place.extend(added.into_iter().map(Piece::Zero));
    let mut block = edit.read_block(first)?;
    let (superblock, place) = if is_new {
        block.fill(0);
        let uuid = edit.superblock().s_uuid;
        (JournalSuperblock::new(block_size, blocks, uuid, wanted.block64), place)
    } else {
        let mut superblock = JournalSuperblock::decode(&block).map_err(truncated(first))?;
        let before = superblock.clone();
        superblock.s_maxlen = blocks;
        let mut incompat = superblock.incompat();
        incompat.set(JournalIncompat::BIT64, wanted.block64);
        superblock.s_feature_incompat = incompat.bits();
        if superblock == before {
            return Ok(());
        }
        (superblock, if has > wanted.clusters { place } else { &mut work.after })
    };
    superblock.encode(&mut block).map_err(truncated(first))?;
    place.push(Piece::Blocks(first, block));
    Ok(())
}

fn truncated(blkno: Blkno) -> impl FnOnce(ocfs2_format::Truncated) -> Error {
    move |source| Error::Truncated { blkno, source }
}

/// The block of a journal's superblock.
fn first_block(edit: &Edit, slot: u16) -> Result<Blkno, EditError> {
    let inode = edit.system_file(SystemFile::Journal(slot))?;
    let first = edit.tree(&inode)?.map(Cpos(0))?;
    let none = || EditError::Refused(format!("the journal of slot {slot} has no clusters"));
    let blkno = first.ok_or_else(none)?.blkno;
    debug_assert!(inode.dinode.journal_flags() & Dinode::JOURNAL_DIRTY == 0);
    Ok(blkno)
}
