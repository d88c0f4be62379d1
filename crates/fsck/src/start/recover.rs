//! A volume whose superblock is bad, opened by one of its backups.

use std::sync::Arc;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_format::{Blkno, Structure, check};
use ocfs2_volume::open::{Backup, FoundSuperblock, backups, find_superblock};
use ocfs2_volume::{Device, OpenVolumeError, SuperblockAt, Volume, VolumeOptions};

use super::backups::differences;
use crate::codes::start as codes;
use crate::{Finding, Place};

/// A volume opened by a backup of its superblock.
#[derive(Debug)]
pub struct Recovery {
    /// The volume, read by the backup.
    pub volume: Volume,
    /// The backup.
    pub backup: Backup,
    /// What is to be asked before the superblock is restored from it.
    pub finding: Finding,
}

/// Opens a volume by a backup of its superblock: by `number` (1 to 6) or, without, by the first
/// one that is good. `options` are those it could not be opened with.
///
/// # Errors
/// There is no such backup, or none by which the volume can be opened: what the last one said.
pub fn recover(
    device: &Arc<dyn Device>,
    options: &VolumeOptions,
    number: Option<u8>,
) -> Result<Recovery, OpenVolumeError> {
    let numbers = match number {
        Some(number) => vec![number],
        None => backups(device).into_iter().map(|backup| backup.number).collect(),
    };
    let mut result = Err(OpenVolumeError::NotOcfs2 { backups: Vec::new() });
    for number in numbers {
        let options = VolumeOptions { superblock: SuperblockAt::Backup(number), ..*options };
        match Volume::open(Arc::clone(device), &options) {
            Ok(volume) => {
                let found = volume.found_superblock();
                let backup = Backup { number, blkno: found.blkno, block_size: found.block_size };
                let finding = question(found, &primary_problem(&volume).unwrap_or_default());
                return Ok(Recovery { volume, backup, finding });
            }
            Err(err) => result = Err(err),
        }
    }
    result
}

/// What has to be written, at byte `offset`, to make `found` the superblock of its volume.
///
/// Nothing but the block it says it is in, and the block check, differ from it.
pub fn restored_superblock(found: &FoundSuperblock) -> (u64, Vec<u8>) {
    let mut block = found.block.clone();
    let dinode = Dinode { i_blkno: SUPERBLOCK_BLKNO, ..found.dinode.clone() };
    // A block that was decoded is long enough.
    if dinode.encode(&mut block).is_ok() && found.superblock.has(Incompat::META_ECC) {
        check::stamp(&mut block, Dinode::CHECK_OFFSET);
    }
    (SUPERBLOCK_BLKNO.0 << found.block_size.bits(), block)
}

/// If the volume was opened by a backup, what is wrong with the superblock.
pub(super) fn finding(volume: &Volume) -> Option<Finding> {
    let found = volume.found_superblock();
    if found.blkno == SUPERBLOCK_BLKNO {
        return None;
    }
    Some(question(found, &primary_problem(volume)?))
}

fn question(found: &FoundSuperblock, problem: &str) -> Finding {
    let from: Blkno = found.blkno;
    let text = match problem {
        "" => format!("the superblock is as backup {from}"),
        problem => {
            format!("the superblock {problem}; the volume was opened by the one in block {from}")
        }
    };
    Finding::new(codes::RECOVER_BACKUP_SUPERBLOCK, Place::block(SUPERBLOCK_BLKNO), text)
}

/// What is wrong with the superblock in block 2 of a volume opened by another one.
fn primary_problem(volume: &Volume) -> Option<String> {
    let found = volume.found_superblock();
    let options = VolumeOptions { block_size: Some(found.block_size), ..Default::default() };
    match find_superblock(volume.device(), &options) {
        Err(OpenVolumeError::NotOcfs2 { .. }) => Some("is missing".to_owned()),
        Err(OpenVolumeError::Damaged { problem, .. }) => Some(format!("is damaged: {problem}")),
        Err(OpenVolumeError::Read { source, .. }) => Some(format!("can not be read: {source}")),
        Err(err) => Some(format!("can not be used: {err}")),
        Ok(primary) => {
            // One that can be found may still describe what can not be.
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
