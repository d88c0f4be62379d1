//! The index of a directory: followed to claim the block of its root, its extent blocks and the
//! clusters of its leaves. Pass 2 compares its entries.

use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::feature::Incompat;

use super::dinode::Subject;
use super::{index_root as root, lacking};
use crate::Context;
use crate::tables::collected::Collected;

pub(super) fn claim(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) {
    if !subject.features.contains(DynFeatures::INDEXED_DIR) {
        return;
    }
    let (dir, blkno) = (subject.blkno(), subject.dinode().i_dx_root);
    let is_inline = subject.features.contains(DynFeatures::INLINE_DATA);
    let may_have_one = subject.kind == Some(FileKind::Directory) && !is_inline;
    if may_have_one && context.volume.has(Incompat::INDEXED_DIRS) {
        root::follow(context, dir, blkno, out);
        return;
    }
    // An index that should not be there keeps its clusters until it is dropped.
    let mut claims = out.aside();
    let is_whole = root::follow(context, dir, blkno, &mut claims).is_some();
    if may_have_one && is_whole && claims.findings.is_empty() {
        lacking::has_index(dir, out);
    }
    claims.findings.clear();
    claims.incomplete = false;
    out.append(claims);
}
