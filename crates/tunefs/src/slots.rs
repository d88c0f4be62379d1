//! Fewer node slots.

use anyhow::Result;
use ocfs2_volume::SystemFile;

use crate::work::Work;

/// Removes the slots from number `slots` on.
///
/// First their allocators give their groups to those of the other slots, group by group. Then the
/// superblock states fewer slots, and after that nothing needs the files of the others.
///
/// # Errors
/// [`EditError::Refused`](ocfs2_volume::edit::EditError::Refused) if a slot has something left to
/// do; something is damaged; a transaction cannot be committed.
pub(crate) fn remove_slots(work: &mut Work<'_>, slots: u16) -> Result<()> {
    let gone = slots..work.edit.max_slots();
    for slot in gone.clone() {
        work.edit.verify_slot_is_done(slot)?;
    }
    let mut taker = (0..slots.max(1)).cycle();
    for slot in gone.clone() {
        for file in [SystemFile::ExtentAlloc(slot), SystemFile::InodeAlloc(slot)] {
            while work.edit.pass_group(file, taker.next().unwrap_or_default())? {
                work.settle()?;
            }
        }
    }
    // Until then the files of all slots are needed, and afterwards those of the others are not.
    work.flush()?;
    if !gone.is_empty() {
        work.edit.update_superblock(|superblock| superblock.s_max_slots = slots)?;
        work.flush()?;
    }
    for file in work.edit.volume().surplus_slot_files()? {
        work.edit.remove_slot_file(file)?;
        work.settle()?;
    }
    work.flush()
}
