//! The index of a directory: followed, so that the bitmaps can be compared with the block of
//! its root, its extent blocks and the clusters of its leaves. Its entries are compared in
//! pass 2.

use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::feature::Incompat;

use super::dinode::Subject;
use super::index_root as root;
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
    // One that should not be there holds what it holds until it is dropped.
    let mut claims = out.aside();
    root::follow(context, dir, blkno, &mut claims);
    claims.findings.clear();
    claims.incomplete = false;
    out.append(claims);
}
