//! Whether a block is the root of a directory's index.

use ocfs2_format::dx::DxRoot;
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::Volume;

/// Bits of a signature that may be wrong where everything else shows that it is the root.
const WRONG_BITS: u32 = 8;

/// Returns why the block at `blkno` is not the root of an index of `dir` but something else; `None`
/// if it is the root.
pub(crate) fn foreign(
    volume: &Volume,
    (dir, blkno): (Blkno, Blkno),
    root: &DxRoot,
) -> Option<String> {
    let bits = root.dr_signature.iter().zip(DxRoot::SIGNATURE);
    let wrong_bits: u32 = bits.map(|(a, b)| (a ^ b).count_ones()).sum();
    if wrong_bits > WRONG_BITS || wrong_bits > 0 && root.dr_blkno != blkno {
        return Some(format!("dr_signature is {}", root.dr_signature.escape_ascii()));
    }
    let (stated, generation) = (root.dr_fs_generation, volume.generation());
    if stated != generation {
        return Some(format!("dr_fs_generation is {stated:#010x}, expected {generation:#010x}"));
    }
    (root.dr_dir_blkno != dir).then(|| format!("dr_dir_blkno is {}", root.dr_dir_blkno))
}
