//! Features that files show and the superblock has lost. Repairs that trust the superblock would
//! change the contents of these files: they would close holes, expose what was never written, and
//! copy what is shared.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::refcount::RefcountBlock;

use super::dinode::Subject;
use crate::codes::inodes as codes;
use crate::repair::system;
use crate::state::State;
use crate::tables::collected::Collected;
use crate::tables::lacking::{Lacking, Shown};
use crate::{Context, Finding, Place};

/// Returns whether a file has a refcount tree although the volume lacks the feature.
pub(super) fn shows_refcounts(
    context: &Context<'_>,
    subject: &Subject<'_>,
    out: &mut Collected,
) -> bool {
    let root = subject.dinode().i_refcount_loc;
    let block = context.volume.read::<RefcountBlock>(root);
    let shows = subject.kind == Some(FileKind::Regular)
        && block.is_ok_and(|(block, _)| block.verify_root(root, Blkno(0)).is_ok());
    if shows {
        out.lacking.refcounts.by(subject.blkno());
    }
    shows
}

/// Returns whether a file shows, by sound extents, that the volume has sparse files although it
/// lacks the feature. Notes that, and unwritten extents.
pub(super) fn shows_sparse(
    context: &Context<'_>,
    subject: &Subject<'_>,
    out: &mut Collected,
) -> bool {
    let features = context.volume.features();
    let lacks_sparse = !features.incompat.contains(Incompat::SPARSE_ALLOC);
    let lacks_unwritten = !features.ro_compat.contains(RoCompat::UNWRITTEN);
    let has_extents = subject.kind == Some(FileKind::Regular)
        && !subject.is_system()
        && !subject.features.contains(DynFeatures::INLINE_DATA);
    if !has_extents || !lacks_sparse && !lacks_unwritten {
        return false;
    }
    let Ok(tree) = context.volume.tree(subject.inode) else { return false };
    let (mut has_hole, mut is_unwritten, mut end) = (false, false, 0);
    for extent in tree.extents() {
        let Ok(extent) = extent else { return false };
        has_hole |= u64::from(extent.cpos.0) > end;
        is_unwritten |= extent.is_unwritten();
        end = extent.end();
    }
    // A wrong position is most probably past the end of the file.
    let size = subject.dinode().i_size;
    let is_within = context.geometry().clusters_for(size).is_some_and(|it| end <= it.into());
    let shows = lacks_sparse && (has_hole && is_within || is_unwritten);
    if shows {
        out.lacking.sparse.by(subject.blkno());
    }
    if lacks_unwritten && is_unwritten {
        out.lacking.unwritten.by(subject.blkno());
    }
    shows
}

/// Returns the finding about the features that the superblock lacks.
pub(crate) fn finding(context: &Context<'_>, state: &State<'_>) -> Option<Finding> {
    let Lacking { sparse, unwritten, refcounts } = state.lacking;
    let all = [
        (sparse, "holes", "sparse"),
        (unwritten, "unwritten extents", "unwritten"),
        (refcounts, "shared clusters", "refcount"),
    ];
    let shown = all.iter().filter_map(|(Shown { first, count }, what, feature)| {
        let more = if *count > 1 { format!(" and {} others", count - 1) } else { String::new() };
        Some(format!("{feature}: inode {}{more} with {what}", (*first)?))
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() {
        return None;
    }
    let text = format!("superblock: it lacks features that files have: {}", shown.join("; "));
    let place = Place::block(context.volume.found_superblock().blkno);
    let mut incompat = Incompat::empty();
    incompat.set(Incompat::SPARSE_ALLOC, sparse.count + unwritten.count > 0);
    incompat.set(Incompat::REFCOUNT_TREE, refcounts.count > 0);
    let mut ro_compat = RoCompat::empty();
    ro_compat.set(RoCompat::UNWRITTEN, unwritten.count > 0);
    let repair = system::superblock(move |_, superblock| {
        superblock.s_feature_incompat |= incompat.bits();
        superblock.s_feature_ro_compat |= ro_compat.bits();
    });
    Some(Finding::new(codes::FEATURE_LACKING, place, text).repaired_by(repair))
}
