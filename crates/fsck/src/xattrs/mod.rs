//! Attributes of an inode: in the dinode, in an xattr block, in buckets (invariants T-1 to T-7).
//!
//! Verifies their places, every entry and the trees of values and buckets, and collects the blocks
//! and clusters that they take. An entry that cannot be right is ignored in everything that
//! follows, as it will be once it is cleared.

mod block;
mod bucket;
mod entry;
mod inline;
mod value;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::feature::Incompat;
use ocfs2_volume::Inode;

use crate::codes::{Code, general, xattrs as codes};
use crate::extents::Walked;
use crate::finding::summed_up;
use crate::read::one_bit;
use crate::repair::system::add_feature;
use crate::repair::{Repair, xattrs};
use crate::tables::collected::Collected;
use crate::{Context, Finding, Place};
use entry::Names;

pub(crate) use block::is_sound;
pub(crate) use inline::area_size;
pub use inline::mended;

/// The inode whose attributes they are.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub inode: &'a Inode,
    /// Its features, as they are once they are mended.
    pub features: DynFeatures,
    /// Its refcount tree, which also counts the clusters of values.
    pub refcount_tree: Option<Blkno>,
}

impl Owner<'_> {
    fn finding(&self, code: &'static Code, text: impl std::fmt::Display) -> Finding {
        let blkno = self.inode.blkno;
        Finding::new(code, Place::inode(blkno), format_args!("inode {blkno}: {text}"))
    }

    /// A place in one of its blocks.
    fn place(&self, blkno: Blkno) -> Place {
        Place::block(blkno).of(self.inode.blkno)
    }

    /// Adds the inode to a finding about one of its blocks.
    fn of_block(&self, finding: Finding) -> Finding {
        Finding { place: finding.place.clone().of(self.inode.blkno), ..finding }
    }
}

/// Findings about the attributes of one inode that are reported one by one. The rest is summed up.
const MOST_FINDINGS: usize = 256;

/// Checks all attributes of an inode, which one repair rewrites as a whole.
pub fn check(context: &Context<'_>, owner: &Owner<'_>, out: &mut Collected) {
    let before = out.findings.len();
    look(context, owner, out);
    if out.findings.len() == before {
        return;
    }
    let mut found = out.findings.split_off(before);
    out.incomplete |= found.iter().any(|finding| finding.code.hides);
    summed_up(&mut found, MOST_FINDINGS);
    out.findings.extend(found.into_iter().map(|finding| match finding.code == general::IO_ERROR {
        true => finding,
        false => finding.repaired_otherwise_by(Some(xattrs::rewrite(owner.inode.blkno))),
    }));
}

fn look(context: &Context<'_>, owner: &Owner<'_>, out: &mut Collected) {
    let dinode = &owner.inode.dinode;
    let flagged = owner.features.contains(DynFeatures::HAS_XATTR);
    let inline = owner.features.contains(DynFeatures::INLINE_XATTR);
    let loc = dinode.i_xattr_loc;
    let external = !loc.is_none();
    if !context.volume.has(Incompat::XATTR) {
        if flagged || inline || external {
            let text = "has attributes, which the volume has not";
            let finding = owner.finding(codes::XATTR_FLAGS, text);
            out.found(match has_sound(context, owner) {
                true => finding
                    .repaired_by(Repair::first(|editor| add_feature(editor, Incompat::XATTR))),
                false => finding,
            });
        }
        return;
    }
    if flagged != (inline || external) {
        let is = |flag| if flag { "set" } else { "clear" };
        let text = format!(
            "HAS_XATTR is {}, INLINE_XATTR is {}, i_xattr_loc is {loc}",
            is(flagged),
            is(inline)
        );
        out.found(owner.finding(codes::XATTR_FLAGS, text));
        if flagged && out.without_attributes.len() < 2 {
            out.without_attributes.push(owner.inode.blkno);
        }
    }
    let mut names = Names::default();
    if inline {
        inline::check(context, owner, &mut names, out);
    }
    // Without any flag the number may be a leftover.
    if external && (flagged || inline || block::is_sound(context, loc)) {
        block::check(context, owner, &mut names, out);
    }
}

/// Returns whether an inode has the attributes that its flags promise: then the volume has the
/// feature, too.
fn has_sound(context: &Context<'_>, owner: &Owner<'_>) -> bool {
    let loc = owner.inode.dinode.i_xattr_loc;
    if !owner.features.contains(DynFeatures::HAS_XATTR) {
        return false;
    }
    let inline = owner.features.contains(DynFeatures::INLINE_XATTR);
    let seed = context.volume.superblock().s_uuid_hash;
    inline && one_bit::is_sound(inline::area(owner.inode), seed)
        || context.geometry().is_valid_block(loc) && block::is_sound(context, loc)
}

/// What the root of the tree of a value or of buckets states about the tree.
#[derive(Clone, Copy, Debug)]
struct Stated {
    clusters: u32,
    last_eb_blk: Blkno,
}

/// Compares what the root of a tree states with the tree. `what` names the root in messages.
fn compare(
    stated: Stated,
    walked: &Walked,
    what: impl std::fmt::Display,
    place: &Place,
    out: &mut Collected,
) {
    if walked.incomplete {
        return;
    }
    if u64::from(stated.clusters) != walked.clusters {
        let text = format!("{what}: has {} clusters, states {}", walked.clusters, stated.clusters);
        out.found(Finding::new(codes::XATTR_CLUSTERS, place.clone(), text));
    }
    if stated.last_eb_blk != walked.last_leaf {
        let text =
            format!("{what}: the last leaf is {}, states {}", walked.last_leaf, stated.last_eb_blk);
        out.found(Finding::new(codes::XATTR_LAST_EB, place.clone(), text));
    }
}
