//! Fewer node slots.

use anyhow::Result;
use ocfs2_users::work::Work;
use ocfs2_volume::SystemFile;

/// Removes the slots from number `slots` on.
///
/// First their allocators give their groups to those of the other slots, group by group. Then, from
/// the last slot on, the files of a slot go in the transaction after which the superblock states
/// one slot less.
///
/// # Errors
/// [`EditError::Refused`](ocfs2_volume::edit::EditError::Refused) if a slot has something left to
/// do; something is damaged; a transaction cannot be committed.
pub(crate) fn remove_slots(work: &mut Work<'_>, slots: u16) -> Result<()> {
    let gone = slots..work.edit.max_slots();
    for slot in gone.clone() {
        work.edit.verify_slot_is_done(slot)?;
    }
    remove_surplus(work)?;
    work.begin("Removing node slots", gone.len() * 2);
    let mut taker = (0..slots.max(1)).cycle();
    for slot in gone.clone() {
        for file in [SystemFile::ExtentAlloc(slot), SystemFile::InodeAlloc(slot)] {
            while work.edit.pass_group(file, taker.next().unwrap_or_default())? {
                work.settle()?;
            }
        }
        work.advance(1);
    }
    work.flush()?;
    for slot in gone.rev() {
        work.edit.update_superblock(|superblock| superblock.s_max_slots = slot)?;
        remove_surplus(work)?;
        work.advance(1);
    }
    Ok(())
}

/// Removes the files of slots that the volume does not have: of the last one, or those that another
/// program has left.
fn remove_surplus(work: &mut Work<'_>) -> Result<()> {
    for file in work.edit.volume().surplus_slot_files()? {
        work.edit.remove_slot_file(file)?;
    }
    work.flush()
}
