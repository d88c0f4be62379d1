//! A volume with a bad superblock, opened by one of its backups.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_format::{Block, Structure};
use ocfs2_volume::open::{FoundSuperblock, find_superblock};
use ocfs2_volume::{OpenVolumeError, Volume, VolumeOptions};

use super::backups::differences;
use crate::codes::start as codes;
use crate::repair::Repair;
use crate::{Finding, Place};

/// Returns the byte offset and the block that make `found` the superblock of its volume.
///
/// The block differs from `found` only in its own number and in the block check.
pub fn restored_superblock(found: &FoundSuperblock) -> (u64, Vec<u8>) {
    let mut block = found.block.clone();
    let dinode = Dinode { i_blkno: SUPERBLOCK_BLKNO, ..found.dinode.clone() };
    // A block that was decoded is long enough.
    if dinode.encode(&mut block).is_ok() && found.superblock.has(Incompat::META_ECC) {
        Dinode::stamp(&mut block);
    }
    (SUPERBLOCK_BLKNO.0 << found.block_size.bits(), block)
}

/// Returns what is wrong with the superblock, if the volume was opened by a backup.
pub(super) fn finding(volume: &Volume) -> Option<Finding> {
    let found = volume.found_superblock();
    if found.blkno == SUPERBLOCK_BLKNO {
        return None;
    }
    let problem = primary_problem(volume)?;
    let text = format!("the superblock {problem}; the volume was opened by block {}", found.blkno);
    let place = Place::block(SUPERBLOCK_BLKNO);
    let (_, block) = restored_superblock(found);
    Some(Finding::new(codes::RECOVER_BACKUP_SUPERBLOCK, place, text).repaired_by(written(block)))
}

/// Returns the repair that writes a whole superblock.
fn written(block: Vec<u8>) -> Repair {
    Repair::block(SUPERBLOCK_BLKNO, None, move |bytes| {
        if bytes.len() == block.len() {
            bytes.copy_from_slice(&block);
        }
    })
}

/// Returns what is wrong with the superblock, if the volume was opened by what the rest of it
/// states.
pub(crate) fn mended(volume: &Volume) -> Option<Finding> {
    let found = volume.found_superblock();
    let mended = found.mended.as_ref()?;
    let (code, what) = match mended.is_new {
        true => (codes::SUPERBLOCK_LOST, "the superblock is gone"),
        false => (codes::SUPERBLOCK_FIELD, "superblock"),
    };
    let text = format!("{what}: {}", mended.fields.join(", "));
    let place = Place::block(SUPERBLOCK_BLKNO);
    Some(Finding::new(code, place, text).repaired_by(written(found.block.clone())))
}

/// Returns what is wrong with the superblock in block 2 of a volume that was opened by another one.
fn primary_problem(volume: &Volume) -> Option<String> {
    let found = volume.found_superblock();
    let options = VolumeOptions { block_size: Some(found.block_size), ..Default::default() };
    match find_superblock(volume.device(), &options) {
        Err(OpenVolumeError::NotOcfs2 { .. }) => Some("is missing".to_owned()),
        Err(OpenVolumeError::Damaged { problem, .. }) => Some(format!("is damaged: {problem}")),
        Err(OpenVolumeError::Read { source, .. }) => Some(format!("cannot be read: {source}")),
        Err(err) => Some(format!("cannot be used: {err}")),
        Ok(primary) => {
            // A superblock that is found may still describe an impossible volume.
            let verified =
                primary.superblock.verify(&primary.dinode, primary.blkno, primary.block_size);
            if let Err(invalid) = verified {
                return Some(format!("is damaged: {invalid}"));
            }
            let differs = differences(&primary.block, &found.block)?;
            Some(format!("differs: {differs}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::{DeviceOptions, open};
    use ocfs2_format::Blkno;
    use ocfs2_testing::fixture;

    use super::*;

    #[test]
    fn a_superblock_restored_from_its_backup_is_the_one_there_was() {
        let device = open(&fixture("clean-512-local"), &DeviceOptions::default()).unwrap();
        let primary = find_superblock(&device, &VolumeOptions::default()).unwrap();
        let mut backup = primary.clone();
        backup.dinode.i_blkno = Blkno(1 << 21);
        backup.dinode.encode(&mut backup.block).unwrap();
        Dinode::stamp(&mut backup.block);
        assert_ne!(backup.block, primary.block);
        assert_eq!(differences(&backup.block, &primary.block), None);
        assert_eq!(restored_superblock(&backup), (1024, primary.block.clone()));

        backup.superblock.s_label[0] ^= 1;
        backup.superblock.encode(&mut backup.block[Dinode::ID2_OFFSET..]).unwrap();
        assert_eq!(differences(&backup.block, &primary.block).unwrap(), "s_label");
    }
}
