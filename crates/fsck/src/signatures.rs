//! Blocks of metadata in which nothing is wrong but the signature.

use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::feature::Incompat;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Structure, check};

use crate::codes::general;
use crate::context::Block;
use crate::read::misplaced;
use crate::repair::Repair;
use crate::{Context, Finding, Place};

/// Bits of a signature that may be wrong, where all else says what the block is.
const WRONG_BITS: u32 = 8;

/// A kind of block.
pub(crate) struct Kind {
    name: &'static str,
    signature: [u8; 8],
    check_offset: usize,
    /// Whether a block says that it is this one of the volume.
    is_sound: fn(&[u8], Blkno, u32) -> bool,
}

/// Extent blocks.
pub(crate) const EXTENT_BLOCK: Kind = Kind {
    name: ExtentBlock::NAME,
    signature: ExtentBlock::SIGNATURE,
    check_offset: ExtentBlock::CHECK_OFFSET,
    is_sound: |block, blkno, generation| {
        ExtentBlock::decode(block).is_ok_and(|it| it.verify(blkno, generation).is_ok())
    },
};

/// Blocks of attributes.
pub(crate) const XATTR_BLOCK: Kind = Kind {
    name: XattrBlock::NAME,
    signature: XattrBlock::SIGNATURE,
    check_offset: XattrBlock::CHECK_OFFSET,
    is_sound: |block, blkno, generation| {
        XattrBlock::decode(block).is_ok_and(|it| it.verify(blkno, generation).is_ok())
    },
};

/// Puts the signature of a block right that something points to, if its number, its generation, its
/// place in an allocator that has given it out, and its checksum where there is one, say that it is of
/// this kind. Gives the finding.
pub(crate) fn mend(
    context: &Context<'_>,
    block: &mut Block,
    kind: &Kind,
    place: Place,
) -> Option<Finding> {
    let wrong = block.bytes.iter().zip(kind.signature).map(|(a, b)| (a ^ b).count_ones()).sum();
    if !(1..=WRONG_BITS).contains(&wrong) {
        return None;
    }
    let (volume, blkno) = (context.volume, block.blkno);
    let mut bytes = block.bytes.clone();
    bytes.get_mut(..8)?.copy_from_slice(&kind.signature);
    let is_whole = !volume.has(Incompat::META_ECC)
        || matches!(check::validate(&bytes, kind.check_offset), check::Checked::Good);
    if !is_whole
        || !(kind.is_sound)(&bytes, blkno, volume.generation())
        || !misplaced::is_in_place(volume, &bytes, blkno)
    {
        return None;
    }
    (block.bytes, block.bad_check) = (bytes, None);
    let text = format!("{} {blkno}: all but its signature is right", kind.name);
    let (signature, check_offset) = (kind.signature, kind.check_offset);
    // All who read it refuse it until then.
    let repair = Repair::first_once("signature", blkno.0, move |editor| {
        editor.block(blkno, Some(check_offset), |block| {
            if let Some(bytes) = block.first_chunk_mut() {
                *bytes = signature;
            }
        })
    });
    Some(Finding::new(general::BLOCK_SIGNATURE, place, text).repaired_by(repair))
}
