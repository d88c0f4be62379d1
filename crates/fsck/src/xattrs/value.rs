//! Values in clusters of their own.

use ocfs2_format::xattr::{MAX_VALUE, XattrEntry, XattrValueRoot};
use ocfs2_format::{Blkno, Structure};

use super::{Owner, Stated, compare};
use crate::codes::xattrs as codes;
use crate::extents::{self, TreeRoot};
use crate::read::holds::Holds;
use crate::tables::collected::Collected;
use crate::{Context, Finding, Place};

/// Returns whether `stored` looks like the root of a value of that size.
pub(super) fn is_root(context: &Context<'_>, stored: &[u8], size: u64) -> bool {
    let (Ok(root), Ok(list)) = (XattrValueRoot::decode(stored), XattrValueRoot::list(stored))
    else {
        return false;
    };
    let needed = context.geometry().clusters_for(size.max(1));
    let first = list.records().next();
    needed.is_some_and(|needed| root.xr_clusters >= needed)
        && list.header.l_count == 1
        && first.is_some_and(|rec| context.geometry().is_valid_block(rec.e_blkno))
}

/// Follows the tree of a value whose root is in block `blkno`. `what` names the attribute.
pub(super) fn check(
    context: &Context<'_>,
    owner: &Owner<'_>,
    blkno: Blkno,
    what: &str,
    entry: &XattrEntry,
    stored: &[u8],
    out: &mut Collected,
) {
    let Ok(root) = XattrValueRoot::decode(stored) else { return };
    let tree = TreeRoot {
        owner: owner.inode.blkno,
        blkno,
        list: stored.get(XattrValueRoot::LIST_OFFSET..).unwrap_or_default(),
        holds: Holds::Dense,
        refcount_tree: owner.refcount_tree,
        may_be_unwritten: context.has_unwritten(),
        mend: &|| None,
    };
    let walked = extents::walk(context, &tree, out, |_, _| {});
    let place: Place = owner.place(blkno);
    let stated = Stated { clusters: root.xr_clusters, last_eb_blk: root.xr_last_eb_blk };
    compare(stated, &walked, what, &place, out);
    let there = walked.end << context.geometry().cluster_size.bits();
    if !walked.incomplete && entry.xe_value_size > there && entry.xe_value_size <= MAX_VALUE {
        let size = entry.xe_value_size;
        let text = format!("{what}: the value has {size} bytes, its clusters hold {there}");
        out.found(Finding::new(codes::XATTR_VALUE_SIZE, place, text));
    }
}
