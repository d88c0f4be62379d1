//! The backups of the superblock, compared with the superblock (invariant S-6).

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::{Compat, Incompat};
use ocfs2_format::superblock::{STATE_ERROR, SUPERBLOCK_SIGNATURE, SuperBlock, backup_blocks};
use ocfs2_format::{Blkno, Block, BlockCheck, Structure};

use crate::codes::start as codes;
use crate::repair::system;
use crate::state::State;
use crate::{Context, Finding, Place};

/// Compares all backups with the superblock that the volume was opened by, and claims their
/// clusters. Findings wait until it is known who else claims these.
pub(super) fn check(context: &Context<'_>, state: &mut State<'_>) {
    let volume = context.volume;
    if !volume.features().compat.contains(Compat::BACKUP_SB) {
        return;
    }
    let geometry = context.geometry();
    for (number, blkno) in (1_u32..).zip(backup_blocks(geometry.block_size, geometry.blocks())) {
        let Some(cluster) = geometry.cluster_of(blkno) else { continue };
        state.claim(cluster.0..cluster.0.saturating_add(1));
        // The backup that the volume was opened by is equal to itself.
        if blkno != volume.found_superblock().blkno {
            let finding = compare(context, number, blkno);
            state.fixed.extend(finding.map(|finding| (cluster.0, finding)));
        }
    }
}

fn compare(context: &Context<'_>, number: u32, blkno: Blkno) -> Option<Finding> {
    let what = format!("backup superblock {number}, block {blkno}");
    let missing = |why: &str| {
        let text = format!("{what}: {why}");
        let finding = Finding::new(codes::BACKUP_SUPERBLOCK_MISSING, Place::block(blkno), text);
        Some(finding.repaired_by(system::backup(blkno)))
    };
    let block = match context.read("backup superblock", blkno, Dinode::CHECK_OFFSET) {
        Ok(block) => block,
        Err(finding) => return Some(finding),
    };
    let Ok(dinode) = Dinode::decode(&block.bytes) else { return missing("there is none") };
    if dinode.i_signature != SUPERBLOCK_SIGNATURE {
        return missing("there is none");
    }
    if let Some(bad) = block.bad_check {
        return missing(&bad);
    }
    if dinode.i_blkno != blkno {
        return missing(&format!("i_blkno is {}", dinode.i_blkno));
    }
    let differs = differences(&block.bytes, &context.volume.found_superblock().block)?;
    let text = format!("{what}: differs from the superblock: {differs}");
    let finding = Finding::new(codes::BACKUP_SUPERBLOCK_STALE, Place::block(blkno), text);
    Some(finding.repaired_by(system::backup(blkno)))
}

/// The marks of operations in progress, which only the superblock has.
const MARKS: Incompat = Incompat::RESIZE_INPROG.union(Incompat::TUNEFS_INPROG);

/// Returns the names of the fields in which two superblocks that should be equal differ. Of numbers
/// the value in `block` comes first. `None` if they are equal.
pub(super) fn differences(block: &[u8], expected: &[u8]) -> Option<String> {
    let (ours, theirs) = (comparable(block)?, comparable(expected)?);
    if ours == theirs {
        return None;
    }
    let mut differ = Vec::new();
    macro_rules! compare {
        ($index:tt: $($field:ident)*; $($other:ident)*) => {
            $(if ours.$index.$field != theirs.$index.$field {
                let (is, expected) = (ours.$index.$field, theirs.$index.$field);
                differ.push(format!("{} is {is}, not {expected}", stringify!($field)));
            })*
            $(if ours.$index.$other != theirs.$index.$other {
                differ.push(stringify!($other).to_owned());
            })*
        };
    }
    compare!(0: i_generation i_fs_generation i_clusters i_size i_mode i_flags i_ctime i_mtime;);
    compare!(1:
        s_max_mnt_count s_state s_checkinterval
        s_feature_compat s_feature_incompat s_feature_ro_compat s_root_blkno s_system_dir_blkno
        s_blocksize_bits s_clustersize_bits s_max_slots s_uuid_hash s_first_cluster_group
        s_xattr_inline_size;
        s_label s_uuid s_cluster_info s_dx_seed
    );
    if differ.is_empty() {
        let at = ours.2.iter().zip(&theirs.2).position(|(is, expected)| is != expected);
        differ.push(format!("byte {} of the block", at.unwrap_or_default()));
    }
    Some(differ.join(", "))
}

/// Returns a superblock without the fields that may differ: decoded, and as bytes.
fn comparable(block: &[u8]) -> Option<(Dinode, SuperBlock, Vec<u8>)> {
    let mut bytes = block.to_vec();
    let mut dinode = Dinode::decode(block).ok()?;
    dinode.i_blkno = Blkno(0);
    dinode.i_check = BlockCheck::default();
    dinode.encode(&mut bytes).ok()?;
    let mut superblock = SuperBlock::of_block(block).ok()?;
    superblock.s_feature_incompat &= !MARKS.bits();
    superblock.s_tunefs_flag = 0;
    // A check of the volume changes these in the superblock, and not in the backups.
    (superblock.s_mnt_count, superblock.s_lastcheck, superblock.s_errors) = (0, 0, 0);
    superblock.s_state &= !STATE_ERROR;
    superblock.encode(bytes.get_mut(Dinode::ID2_OFFSET..)?).ok()?;
    Some((dinode, superblock, bytes))
}
