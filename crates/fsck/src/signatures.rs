//! Blocks of metadata in which only the signature is wrong.

use ocfs2_format::Block;
use ocfs2_format::check::Checked;
use ocfs2_format::feature::Incompat;

use crate::codes::general;
use crate::context::ReadBlock;
use crate::read::misplaced;
use crate::repair::Repair;
use crate::{Context, Finding, Place};

/// Bits of a signature that may be wrong where everything else shows what the block is.
const WRONG_BITS: u32 = 8;

/// Corrects the signature of a block that something points to, if its number, its generation, its
/// allocation in the group that it names, and its checksum, where there is one, show that it is a
/// `T`. Returns the finding.
pub(crate) fn mend<T: Block>(
    context: &Context<'_>,
    block: &mut ReadBlock,
    place: Place,
) -> Option<Finding> {
    let wrong = block.bytes.iter().zip(T::SIGNATURE).map(|(a, b)| (a ^ b).count_ones()).sum();
    if !(1..=WRONG_BITS).contains(&wrong) {
        return None;
    }
    let (volume, blkno) = (context.volume, block.blkno);
    let mut bytes = block.bytes.clone();
    bytes.get_mut(..8)?.copy_from_slice(&T::SIGNATURE);
    let is_whole = !volume.has(Incompat::META_ECC) || matches!(T::validate(&bytes), Checked::Good);
    if !is_whole
        || !T::decode(&bytes).is_ok_and(|it| it.verify(blkno, volume.generation()).is_ok())
        || !misplaced::is_in_place(volume, &bytes, blkno)
    {
        return None;
    }
    (block.bytes, block.bad_check) = (bytes, None);
    let text = format!("{} {blkno}: all but its signature is right", T::NAME);
    // First, as every reader refuses the block until then.
    let repair = Repair::first_once("signature", blkno.0, move |editor| {
        editor.block(blkno, Some(T::CHECK_OFFSET), |block| {
            if let Some(bytes) = block.first_chunk_mut() {
                *bytes = T::SIGNATURE;
            }
        })
    });
    Some(Finding::new(general::BLOCK_SIGNATURE, place, text).repaired_by(repair))
}
