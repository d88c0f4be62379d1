//! Features that files show and the superblock has lost. Repairs that trust the superblock would
//! change the contents of these files: they would close holes, expose what was never written, and
//! copy what is shared.

use ocfs2_format::check::Checked;
use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::{Blkno, Block};
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

/// Whether checksums decide it: the one of the superblock is wrong, the one of the inode is right.
fn is_proven(context: &Context<'_>, subject: &Subject<'_>) -> bool {
    let found = context.volume.found_superblock();
    context.volume.has(Incompat::META_ECC)
        && (found.wrong_checksum.is_some() || found.mended.is_some())
        && Dinode::validate(subject.inode.block()) == Checked::Good
}

/// Notes that a directory has a whole index, which no wrong bit makes.
pub(super) fn has_index(directory: Blkno, out: &mut Collected) {
    out.lacking.indexes.by(directory, ENOUGH);
}

/// Notes that an inode is a whole global quota file although the volume has no such quota.
pub(super) fn shows_quota(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) {
    let is_one = subject.dinode().flags().contains(InodeFlags::QUOTA)
        && subject.dinode().i_suballoc_slot == Dinode::GLOBAL_SLOT;
    let Some(kind) = is_one.then(|| context.volume.global_quota_of(subject.inode)).flatten() else {
        return;
    };
    if !context.volume.features().has_quota(kind) {
        match kind {
            QuotaKind::User => out.lacking.user_quota.by(subject.blkno(), ENOUGH),
            QuotaKind::Group => out.lacking.group_quota.by(subject.blkno(), ENOUGH),
        }
    }
}

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

/// The features that a file shows by its extents, although the volume lacks them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shows {
    pub holes: bool,
    pub unwritten: bool,
}

/// Returns the features that a file shows by sound extents. Notes them, also where one file alone
/// is not enough.
pub(super) fn shows(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) -> Shows {
    let features = context.volume.features();
    let lacks_sparse = !features.incompat.contains(Incompat::SPARSE_ALLOC);
    let lacks_unwritten = !features.ro_compat.contains(RoCompat::UNWRITTEN);
    let has_extents = subject.kind == Some(FileKind::Regular)
        && !subject.is_system()
        && !subject.features.contains(DynFeatures::INLINE_DATA);
    if !has_extents || !lacks_sparse && !lacks_unwritten {
        return Shows::default();
    }
    let Some(pieces) = Pieces::of(context, subject) else { return Shows::default() };
    let (mut holes, mut unwritten) = (pieces.holes, pieces.unwritten);
    // A wrong position is most probably past the end of the file. Positions and lengths have to
    // agree, the lengths with the inode as well.
    let size = context.geometry().clusters_for(subject.dinode().i_size).map(u64::from);
    let agrees = pieces.in_holes + pieces.clusters == pieces.end
        && pieces.clusters == u64::from(subject.dinode().i_clusters);
    if !agrees || size.is_none_or(|size| pieces.end > size) {
        holes = 0;
    }
    let is_proven = is_proven(context, subject);
    // With its holes, and not without them, the file has its size.
    if is_proven || size == Some(pieces.end) {
        holes *= ENOUGH;
    }
    if is_proven {
        unwritten *= ENOUGH;
    }
    if lacks_sparse {
        out.lacking.sparse.by(subject.blkno(), holes + unwritten);
    }
    if lacks_unwritten {
        out.lacking.unwritten.by(subject.blkno(), unwritten);
    }
    Shows {
        holes: lacks_sparse && holes + unwritten >= ENOUGH,
        unwritten: lacks_unwritten && unwritten >= ENOUGH,
    }
}

/// What the extents of a file show.
#[derive(Debug, Default)]
struct Pieces {
    holes: u64,
    /// Clusters without an extent.
    in_holes: u64,
    /// Unwritten extents, and extents that only this flag splits from a neighbour: they would be
    /// one if the flag was a wrong bit.
    unwritten: u64,
    clusters: u64,
    /// Where the last extent ends.
    end: u64,
}

impl Pieces {
    /// `None` if the extents cannot be read.
    fn of(context: &Context<'_>, subject: &Subject<'_>) -> Option<Self> {
        let mut pieces = Self::default();
        let mut before: Option<Extent> = None;
        for extent in context.volume.tree(subject.inode).ok()?.extents() {
            let extent = extent.ok()?;
            let hole = u64::from(extent.cpos.0).saturating_sub(pieces.end);
            pieces.holes += u64::from(hole > 0);
            pieces.in_holes += hole;
            let is_split = before.is_some_and(|it| {
                let blocks = u64::from(it.clusters) << context.geometry().bpc_bits();
                it.end() == u64::from(extent.cpos.0)
                    && it.blkno.0.checked_add(blocks) == Some(extent.blkno.0)
                    && it.is_unwritten() != extent.is_unwritten()
            });
            pieces.unwritten += u64::from(extent.is_unwritten()) + u64::from(is_split);
            pieces.clusters += u64::from(extent.clusters);
            (before, pieces.end) = (Some(extent), extent.end());
        }
        Some(pieces)
    }
}

/// Returns the finding about the features that the superblock lacks.
pub(crate) fn finding(context: &Context<'_>, state: &State<'_>) -> Option<Finding> {
    let Lacking { sparse, unwritten, refcounts, indexes, user_quota, group_quota } = state.lacking;
    let all = [
        (sparse, "holes", "sparse"),
        (unwritten, "unwritten extents", "unwritten"),
        (refcounts, "shared clusters", "refcount"),
        (indexes, "an index", "indexed-dirs"),
        (user_quota, "quotas of users", "usrquota"),
        (group_quota, "quotas of groups", "grpquota"),
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
    incompat.set(Incompat::INDEXED_DIRS, is_shown(&indexes));
    let mut ro_compat = RoCompat::empty();
    ro_compat.set(RoCompat::UNWRITTEN, is_shown(&unwritten));
    ro_compat.set(RoCompat::of_quota(QuotaKind::User), is_shown(&user_quota));
    ro_compat.set(RoCompat::of_quota(QuotaKind::Group), is_shown(&group_quota));
    let repair = system::superblock(move |_, superblock| {
        superblock.s_feature_incompat |= incompat.bits();
        superblock.s_feature_ro_compat |= ro_compat.bits();
    });
    Some(Finding::new(codes::FEATURE_LACKING, place, text).repaired_by(repair))
}
