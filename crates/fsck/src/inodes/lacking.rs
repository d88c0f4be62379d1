//! Features that files show and the superblock has lost. Repairs that trust the superblock would
//! change the contents of these files: they would close holes, expose what was never written, and
//! copy what is shared.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_volume::tree::Extent;

use super::dinode::Subject;
use crate::codes::inodes as codes;
use crate::repair::system;
use crate::state::State;
use crate::tables::collected::Collected;
use crate::tables::lacking::{Lacking, Shown};
use crate::{Context, Finding, Place};

/// So many holes or unwritten extents show a feature. One may be a wrong bit of an extent, and the
/// feature would make zeros of what the extent holds.
const ENOUGH: u64 = 2;

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
        // A whole tree is no wrong bit.
        out.lacking.refcounts.by(subject.blkno(), ENOUGH);
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
    let (mut holes, mut unwritten, mut end) = (0, 0, 0);
    let mut before: Option<Extent> = None;
    for extent in tree.extents() {
        let Ok(extent) = extent else { return false };
        holes += u64::from(u64::from(extent.cpos.0) > end);
        unwritten += u64::from(extent.is_unwritten());
        // The two would be one extent if the flag was a wrong bit.
        let is_split = before.is_some_and(|it| {
            let blocks = u64::from(it.clusters) << context.geometry().bpc_bits();
            it.end() == u64::from(extent.cpos.0)
                && it.blkno.0.checked_add(blocks) == Some(extent.blkno.0)
                && it.is_unwritten() != extent.is_unwritten()
        });
        unwritten += u64::from(is_split);
        (before, end) = (Some(extent), extent.end());
    }
    // A wrong position is most probably past the end of the file.
    let size = subject.dinode().i_size;
    let is_within = context.geometry().clusters_for(size).is_some_and(|it| end <= it.into());
    let pieces = unwritten + if is_within { holes } else { 0 };
    if lacks_sparse {
        out.lacking.sparse.by(subject.blkno(), pieces);
    }
    if lacks_unwritten {
        out.lacking.unwritten.by(subject.blkno(), unwritten);
    }
    lacks_sparse && pieces >= ENOUGH
}

/// Returns the finding about the features that the superblock lacks.
pub(crate) fn finding(context: &Context<'_>, state: &State<'_>) -> Option<Finding> {
    let Lacking { sparse, unwritten, refcounts } = state.lacking;
    let all = [
        (sparse, "holes", "sparse"),
        (unwritten, "unwritten extents", "unwritten"),
        (refcounts, "shared clusters", "refcount"),
    ];
    let is_shown = |shown: &Shown| shown.pieces >= ENOUGH;
    let shown = all.iter().filter(|(shown, ..)| is_shown(shown));
    let shown = shown.filter_map(|(Shown { first, inodes, .. }, what, feature)| {
        let more = if *inodes > 1 { format!(" and {} others", inodes - 1) } else { String::new() };
        Some(format!("{feature}: inode {}{more} with {what}", (*first)?))
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() {
        return None;
    }
    let text = format!("superblock: it lacks features that files have: {}", shown.join("; "));
    let place = Place::block(context.volume.found_superblock().blkno);
    let mut incompat = Incompat::empty();
    incompat.set(Incompat::SPARSE_ALLOC, is_shown(&sparse) || is_shown(&unwritten));
    incompat.set(Incompat::REFCOUNT_TREE, is_shown(&refcounts));
    let mut ro_compat = RoCompat::empty();
    ro_compat.set(RoCompat::UNWRITTEN, is_shown(&unwritten));
    let repair = system::superblock(move |_, superblock| {
        superblock.s_feature_incompat |= incompat.bits();
        superblock.s_feature_ro_compat |= ro_compat.bits();
    });
    Some(Finding::new(codes::FEATURE_LACKING, place, text).repaired_by(repair))
}
