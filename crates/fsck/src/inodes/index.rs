//! What the index of a directory claims.
//!
//! The index is verified where its entries are, in pass 2. Here it is only followed, so that
//! the bitmaps can be compared: the block of its root, the extent blocks, the clusters of its
//! leaves. What is wrong on the way is left to pass 2.

use ocfs2_format::Structure;
use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::dx::DxRoot;

use super::dinode::Subject;
use crate::Context;
use crate::collected::{BlockClaim, BlockUse, Collected};
use crate::extents::{self, Holds, TreeRoot};

pub(super) fn claim(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) {
    let is_indexed = subject.features.contains(DynFeatures::INDEXED_DIR);
    if !is_indexed || subject.kind != Some(FileKind::Directory) {
        return;
    }
    let (owner, blkno) = (subject.blkno(), subject.dinode().i_dx_root);
    let mut claims = Collected { incomplete: true, ..Collected::default() };
    if context.geometry().is_valid_block(blkno)
        && let Ok(block) = context.read(DxRoot::NAME, blkno, DxRoot::CHECK_OFFSET)
        && let Ok(root) = DxRoot::decode(&block.bytes)
        && root.dr_signature == DxRoot::SIGNATURE
    {
        claims.incomplete = false;
        claims.blocks.push(BlockClaim {
            owner,
            blkno,
            used_as: BlockUse::DxRoot,
            suballoc: (root.dr_suballoc_slot, root.dr_suballoc_bit, root.dr_suballoc_loc),
        });
        if !root.is_inline() {
            let list = block.bytes.get(DxRoot::LIST_OFFSET..).unwrap_or_default();
            let holds = Holds::Hashed;
            let root = TreeRoot { owner, blkno, list, holds, refcount_tree: None };
            extents::walk(context, &root, &mut claims, |_, _| {});
        }
    }
    claims.findings.clear();
    out.append(claims);
}
