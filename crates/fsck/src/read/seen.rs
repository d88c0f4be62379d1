//! Whether a block is an inode in use, with or without wrong bits. Shared by the check and by
//! repairs, as otherwise each would undo the other's work.

use ocfs2_format::check::Checked;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::SUPERBLOCK_SIGNATURE;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::Volume;

/// What a block is, as an inode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen {
    /// Not an inode in use, or one of another generation.
    No,
    /// An inode in use.
    Inode,
    /// The same, once this bit is corrected, as its checksum says.
    Corrected(usize),
    /// The same except for its signature.
    Unsigned,
    /// The same except for the flag that says so, or for its generation. Nothing of it is mended.
    Unmarked,
}

/// Returns what the block at `blkno` is, and mends it as far as that takes. The checksum is
/// verified only where one wrong bit may make the difference.
pub fn mended(volume: &Volume, blkno: Blkno, block: &mut [u8]) -> Seen {
    if is_in_use(volume, block) {
        return Seen::Inode;
    }
    let wrong_bits = wrong_bits(block);
    let states_place = block.get(0x50..0x58) == Some(&blkno.0.to_le_bytes());
    if wrong_bits > 1 && !states_place || block.starts_with(&SUPERBLOCK_SIGNATURE) {
        return Seen::No;
    }
    let Ok(dinode) = Dinode::decode(block) else { return Seen::No };
    let generation = dinode.i_fs_generation ^ volume.generation();
    let is_valid = dinode.flags().contains(InodeFlags::VALID);
    // A deleted inode has a time of deletion.
    let by_one = match (wrong_bits, generation, is_valid) {
        (0, 0, false) => dinode.i_dtime == 0,
        (0, other, true) => other.is_power_of_two(),
        (1, 0, true) => true,
        _ => false,
    };
    if by_one && volume.has(Incompat::META_ECC) {
        let mut other = block.to_vec();
        if let Checked::OneBit(bit) = Dinode::correct(&mut other)
            && is_in_use(volume, &other)
        {
            block.copy_from_slice(&other);
            return Seen::Corrected(bit);
        }
    }
    if wrong_bits == 0 && states_place && is_only_unmarked(volume, &dinode) {
        return Seen::Unmarked;
    }
    let is_here = states_place && generation == 0 && is_valid;
    match block.first_chunk_mut() {
        Some(signature) if is_here && wrong_bits > 0 => {
            *signature = Dinode::SIGNATURE;
            Seen::Unsigned
        }
        _ => Seen::No,
    }
}

/// Returns whether an inode lacks only the flag of one in use, or has a generation next to the
/// volume's, and shows no sign of deletion. A leftover of an older volume may have any generation.
fn is_only_unmarked(volume: &Volume, dinode: &Dinode) -> bool {
    let (own, found) = (volume.generation(), dinode.i_fs_generation);
    let is_valid = dinode.flags().contains(InodeFlags::VALID);
    let is_next =
        (own ^ found).is_power_of_two() || matches!(own.wrapping_sub(found), 1 | u32::MAX);
    let is_named = (dinode.i_links_count, dinode.i_links_count_hi) != (0, 0);
    let is_wrong = if is_valid { is_next } else { own == found };
    is_wrong && is_named && dinode.i_dtime == 0 && dinode.kind().is_some()
}

/// Returns the number of bits in which the signature differs.
fn wrong_bits(block: &[u8]) -> u32 {
    block.iter().zip(Dinode::SIGNATURE).map(|(a, b)| (a ^ b).count_ones()).sum()
}

fn is_in_use(volume: &Volume, block: &[u8]) -> bool {
    // Most blocks of a new group end here. It is cheap, as the dinode is not decoded.
    if !block.starts_with(&Dinode::SIGNATURE) {
        return false;
    }
    let flags = block.get(0x2c..0x30).and_then(|bytes| bytes.first_chunk());
    let flags = InodeFlags::from_bits_retain(flags.map_or(0, |bytes| u32::from_le_bytes(*bytes)));
    flags.contains(InodeFlags::VALID)
        && Dinode::decode(block).is_ok_and(|dinode| dinode.i_fs_generation == volume.generation())
}
