//! The block of attributes outside the inode.

use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block, Structure};

use super::entry::{self, Area, Names};
use super::{Owner, bucket};
use crate::codes::{general, xattrs as codes};
use crate::signatures;
use crate::tables::collected::{BlockClaim, BlockUse, Collected};
use crate::{Context, Finding, misplaced};

/// Returns whether there is an xattr block of this volume.
pub(crate) fn is_sound(context: &Context<'_>, blkno: Blkno) -> bool {
    context.volume.read::<XattrBlock>(blkno).is_ok()
}

pub(super) fn check(
    context: &Context<'_>,
    owner: &Owner<'_>,
    names: &mut Names,
    out: &mut Collected,
) {
    let blkno = owner.inode.dinode.i_xattr_loc;
    if !context.geometry().is_valid_block(blkno) {
        out.incomplete = true;
        let text = format!("i_xattr_loc is {blkno}, no block of the volume");
        return out.found(owner.finding(codes::XATTR_LOC_INVALID, text));
    }
    let mut block = match context.read_block::<XattrBlock>(blkno) {
        Ok(block) => block,
        Err(finding) => {
            out.incomplete = true;
            return out.found(owner.of_block(finding));
        }
    };
    let place = owner.place(blkno);
    let unsigned = signatures::mend::<XattrBlock>(context, &mut block, place.clone());
    out.findings.extend(unsigned);
    let Ok(header) = XattrBlock::decode(&block.bytes) else { return };
    if header.xb_signature != XattrBlock::SIGNATURE {
        out.incomplete = true;
        let text = format!("inode {}: block {blkno} is not an xattr block", owner.inode.blkno);
        return out.found(Finding::new(codes::XATTR_BLOCK_INVALID, place, text));
    }
    let ecc = block.ecc_finding(XattrBlock::NAME, general::BLOCK_ECC);
    out.findings.extend(ecc.map(|finding| owner.of_block(finding)));
    if header.xb_blkno != blkno {
        let what = (XattrBlock::NAME, blkno);
        let misplaced = misplaced::finding(context.volume, what, place.clone());
        out.found(misplaced.unwrap_or_else(|| {
            let text = format!("xattr block {blkno}: xb_blkno is {}", header.xb_blkno);
            Finding::new(codes::XB_BLKNO, place.clone(), text)
        }));
    }
    let (generation, found) = (context.volume.generation(), header.xb_fs_generation);
    if found != generation {
        let text = format!(
            "xattr block {blkno}: xb_fs_generation is {found:#010x}, expected {generation:#010x}"
        );
        out.found(Finding::new(codes::XB_GEN, place, text));
    }
    out.blocks.push(BlockClaim {
        owner: owner.inode.blkno,
        blkno,
        used_as: BlockUse::XattrBlock,
        suballoc: (header.xb_suballoc_slot, header.xb_suballoc_bit, header.xb_suballoc_loc),
    });
    if !out.enter_block(blkno) {
        return;
    }
    if header.is_indexed() {
        return bucket::check(context, owner, blkno, &block.bytes, names, out);
    }
    let bytes = block.bytes.get(XattrBlock::AREA_OFFSET..).unwrap_or_default();
    let area = Area { bytes, blkno, name: XattrBlock::NAME, unit: None };
    entry::check(context, owner, &area, names, out);
}
