//! Clusters that several files claim: shared through a refcount tree, or copied.

use std::ops::Range;
use std::sync::Arc;

use ocfs2_device::Device as _;
use ocfs2_format::dinode::{Arm, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::backup_blocks;
use ocfs2_format::{Blkno, Cluster, Cpos, Structure as _};
use ocfs2_volume::Inode;

use super::{EditError, Editor, Repair, directory, refcount, tree, xattrs};
use crate::clusters::ClusterSet;
use crate::read::holds::Holds;

/// Bytes copied at a time.
const PIECE: usize = 1 << 20;

/// Gives an inode its own copies of these clusters.
pub fn copy(owner: Blkno, clusters: Arc<[Range<u32>]>) -> Repair {
    Repair::when_sound(move |editor| copy_now(editor, owner, &clusters))
}

/// The same for an inode that also claims clusters of allocators, so that its claims are doubtful.
/// If there is no room for copies, a regular file gives the clusters up to their other owners.
pub fn copy_or_give_up(owner: Blkno, clusters: Arc<[Range<u32>]>) -> Repair {
    Repair::when_sound(move |editor| {
        let inode = editor.inode(owner)?;
        // A tree whose blocks other files have as well must not be changed for one of them.
        let is_flat =
            ExtentListHeader::decode(inode.id2()).is_ok_and(|list| list.l_tree_depth == 0);
        let gives_up = is_flat && is_file(&inode) && !fits(editor, &inode, &clusters)?;
        match gives_up && change(editor, &inode, &clusters, &|_, _| Ok(Some(Vec::new())))? {
            true => Ok(()),
            false => copy_now(editor, owner, &clusters),
        }
    })
}

fn is_file(inode: &Inode) -> bool {
    inode.kind() == Some(FileKind::Regular) && !inode.dinode.flags().contains(InodeFlags::SYSTEM)
}

/// Whether as many clusters are free as the inode has of `clusters`.
fn fits(editor: &Editor<'_>, inode: &Inode, clusters: &[Range<u32>]) -> Result<bool, EditError> {
    let volume = editor.volume();
    if inode.dinode.arm() != Arm::ExtentList {
        return Ok(true);
    }
    let bits = volume.geometry().bpc_bits();
    let gathered = contents(editor, inode)?;
    let needed = gathered.extents.iter().flat_map(|rec| cut(clusters_of(rec, bits), clusters));
    let needed: u64 =
        needed.filter(|(_, is_in)| *is_in).map(|(part, _)| u64::from(part.end - part.start)).sum();
    let (used, total) = volume.global_bitmap()?.inode.dinode.bitmap();
    Ok(needed <= u64::from(total.saturating_sub(used)))
}

fn copy_now(
    editor: &mut Editor<'_>,
    owner: Blkno,
    clusters: &[Range<u32>],
) -> Result<(), EditError> {
    let inode = editor.inode(owner)?;
    if inode.is_dir() && drop_repeats(editor, &inode)? {
        return Ok(());
    }
    // What other repairs wrote to places of fixed metadata is not the data of a file. The contents
    // of all other inodes may themselves have been repaired, so that their present state is copied.
    let from = if is_file(&inode) { From::Device } else { From::Changed };
    let changed =
        change(editor, &inode, clusters, &|editor, piece| copy_of(editor, piece, from).map(Some))?;
    let features = inode.dinode.dyn_features();
    match changed {
        true => Ok(()),
        // Then they are those of its index.
        false if inode.is_dir() && features.contains(DynFeatures::INDEXED_DIR) => {
            directory::unindex(editor, owner)
        }
        // Or those of its attributes.
        false if features.contains(DynFeatures::HAS_XATTR) => {
            xattrs::write(editor, owner, clusters)
        }
        false => Err(EditError::Impossible("they are not those of its contents".to_owned())),
    }
}

/// Takes clusters out of a directory: they belong to others and hold nothing of it.
pub fn take_out(owner: Blkno, clusters: Vec<Range<u32>>) -> Repair {
    Repair::when_sound(move |editor| {
        let inode = editor.inode(owner)?;
        drop_clusters(editor, &inode, |whole| {
            let parts = cut(whole.clone(), &clusters).into_iter();
            parts.filter(|(_, is_in)| *is_in).map(|(part, _)| part).collect()
        })?;
        Ok(())
    })
}

/// Leaves a file only one place for clusters that it has in several: where they ascend together
/// with their neighbours, or else the first one. The other places become holes.
pub fn take_out_again(owner: Blkno, clusters: Arc<[Range<u32>]>) -> Repair {
    Repair::when_sound(move |editor| {
        let inode = editor.inode(owner)?;
        if inode.dinode.arm() != Arm::ExtentList {
            return copy_now(editor, owner, &clusters);
        }
        let bits = editor.volume().geometry().bpc_bits();
        let gathered = contents(editor, &inode)?;
        let again = again(&gathered.extents, &clusters, bits);
        if again.iter().all(Vec::is_empty) {
            // Some are clusters of its attributes.
            return copy_now(editor, owner, &clusters);
        }
        let mut extents = Vec::with_capacity(gathered.extents.len());
        for (rec, again) in gathered.extents.iter().zip(&again) {
            let whole = clusters_of(rec, bits);
            let first = whole.start;
            for (part, _) in cut(whole, again).into_iter().filter(|(_, is_again)| !is_again) {
                let cpos = Cpos(rec.e_cpos.0 + (part.start - first));
                let blkno = Blkno(u64::from(part.start) << bits);
                let length = (part.end - part.start) as u16;
                extents.push(ExtentRec::leaf(cpos, length, rec.e_flags(), blkno));
            }
        }
        let mut id2 = inode.id2().to_vec();
        let (room, slot) = (tree::list_room(id2.len()), inode.dinode.i_suballoc_slot);
        let built = gathered.with(editor, extents, room, slot)?.build(editor, &mut id2)?;
        tree::write_inode(editor, &inode, &id2, built)
    })
}

/// For each extent, those of `clusters` that another extent has with a better fit.
fn again(extents: &[ExtentRec], clusters: &[Range<u32>], bits: u32) -> Vec<Vec<Range<u32>>> {
    let at = |index: usize| extents.get(index).map(|rec| clusters_of(rec, bits));
    let fit = |index: usize| {
        let Some(own) = at(index) else { return 0 };
        let before = index.checked_sub(1).and_then(at).is_none_or(|it| it.end <= own.start);
        let after = at(index + 1).is_none_or(|it| own.end <= it.start);
        u32::from(before) + u32::from(after)
    };
    // The start of an extent is stated; that another one reaches over it may only be a wrong
    // length.
    let mut starts: Vec<u32> = (0..extents.len()).filter_map(at).map(|own| own.start).collect();
    starts.sort_unstable();
    let is_long = |index: usize| {
        let Some(own) = at(index) else { return false };
        let next = starts.partition_point(|start| *start <= own.start);
        starts.get(next).is_some_and(|start| *start < own.end)
    };
    let mut order: Vec<usize> = (0..extents.len()).collect();
    order.sort_by_key(|index| (is_long(*index), std::cmp::Reverse(fit(*index))));
    let mut seen = ClusterSet::default();
    let mut again = vec![Vec::new(); extents.len()];
    for index in order {
        let Some((rec, again)) = extents.get(index).zip(again.get_mut(index)) else { continue };
        if rec.e_flags().contains(ExtentFlags::REFCOUNTED) {
            continue;
        }
        let parts = cut(clusters_of(rec, bits), clusters).into_iter();
        for (part, _) in parts.filter(|(_, is_in)| *is_in) {
            seen.insert(part, |run| again.push(run));
        }
    }
    again
}

/// Takes repeated clusters out of a directory: they hold the same entries, so that no copy is
/// needed. Returns whether there were any.
fn drop_repeats(editor: &mut Editor<'_>, inode: &Inode) -> Result<bool, EditError> {
    let mut seen = ClusterSet::default();
    drop_clusters(editor, inode, |whole| {
        let mut again = Vec::new();
        seen.insert(whole.clone(), |run| again.push(run));
        again
    })
}

/// Takes the parts that `which` returns for each extent out of a directory; the rest moves up.
/// Returns whether there were any.
fn drop_clusters(
    editor: &mut Editor<'_>,
    inode: &Inode,
    mut which: impl FnMut(&Range<u32>) -> Vec<Range<u32>>,
) -> Result<bool, EditError> {
    if inode.dinode.arm() != Arm::ExtentList {
        return Ok(false);
    }
    let gathered = tree::gather(editor.volume(), inode.blkno, inode.id2(), Holds::Dense, false)?;
    let bits = editor.volume().geometry().bpc_bits();
    let cluster_bits = editor.volume().geometry().cluster_size.bits();
    let (mut kept, mut end, mut any) = (Vec::new(), 0_u32, false);
    // The size of what is left: the last cluster may not be full.
    let mut bytes = 0;
    for rec in &gathered.extents {
        let whole = clusters_of(rec, bits);
        let (first, which) = (whole.start, which(&whole));
        for (part, is_dropped) in cut(whole, &which) {
            any |= is_dropped;
            if is_dropped {
                continue;
            }
            let length = part.end - part.start;
            let from = u64::from(rec.e_cpos.0 + (part.start - first)) << cluster_bits;
            let left = inode.dinode.i_size.saturating_sub(from);
            bytes += left.min(u64::from(length) << cluster_bits);
            let blkno = Blkno(u64::from(part.start) << bits);
            kept.push(ExtentRec::leaf(Cpos(end), length as u16, rec.e_flags(), blkno));
            end += length;
        }
    }
    if !any {
        return Ok(false);
    }
    let mut id2 = inode.id2().to_vec();
    let (room, slot) = (tree::list_room(id2.len()), inode.dinode.i_suballoc_slot);
    let built = gathered.with(editor, kept, room, slot)?.build(editor, &mut id2)?;
    tree::write_inode(editor, inode, &id2, built)?;
    editor.dinode(inode.blkno, |dinode, _| dinode.i_size = bytes)?;
    Ok(true)
}

/// From where contents are copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum From {
    /// The present state, with all changes.
    Changed,
    /// The blocks of fixed metadata as they are on the device, the rest as [`Self::Changed`].
    Device,
}

/// Copies clusters to new ones; returns these.
fn copy_of(
    editor: &mut Editor<'_>,
    piece: &Range<u32>,
    from: From,
) -> Result<Vec<Range<u32>>, EditError> {
    let runs = editor.take_clusters(piece.end - piece.start)?;
    let mut start = piece.start;
    for run in &runs {
        copy_clusters(editor, start, run)?;
        if from == From::Device {
            copy_fixed(editor, start, run)?;
        }
        start += run.end - run.start;
    }
    Ok(runs)
}

/// Copies the blocks among these clusters that are places of fixed metadata, as they are on the
/// device.
fn copy_fixed(editor: &mut Editor<'_>, from: u32, to: &Range<u32>) -> Result<(), EditError> {
    let volume = editor.volume();
    let geometry = volume.geometry();
    let first = geometry.block_of(Cluster(from)).0;
    let blocks = geometry.block_of(Cluster(from + (to.end - to.start))).0 - first;
    let target = geometry.block_of(Cluster(to.start)).0;
    let (first_group, _) = geometry.group_of(Cluster(from));
    let (last_group, _) = geometry.group_of(Cluster(from + (to.end - to.start)));
    let groups = (first_group..=last_group).map(|group| geometry.group_blkno(group));
    let backups = backup_blocks(geometry.block_size, geometry.blocks());
    for place in groups.chain(backups) {
        let Some(index) = place.0.checked_sub(first).filter(|index| *index < blocks) else {
            continue;
        };
        let mut bytes = vec![0; geometry.block_size.size()];
        let offset = place.0 << geometry.block_size.bits();
        let read = volume.device().original_at(&mut bytes, offset);
        read.map_err(|source| ocfs2_volume::Error::Read { blkno: place, source })?;
        editor.put_blocks(Blkno(target + index), &bytes)?;
    }
    Ok(())
}

/// The first `needed` clusters of dense extents, with those in `others` replaced by copies.
pub(super) fn apart(
    editor: &mut Editor<'_>,
    extents: &[ExtentRec],
    others: &[Range<u32>],
    needed: u64,
) -> Result<Vec<ExtentRec>, EditError> {
    let bits = editor.volume().geometry().bpc_bits();
    let mut apart = Vec::with_capacity(extents.len());
    for rec in extents {
        let left = needed.saturating_sub(rec.e_cpos.0.into()).min(rec.e_leaf_clusters().into());
        let first = (rec.e_blkno.0 >> bits) as u32;
        for (part, is_in) in cut(first..first.saturating_add(left as u32), others) {
            let (runs, flags) = match is_in {
                true => {
                    let flags = rec.e_flags().difference(ExtentFlags::REFCOUNTED);
                    (copy_of(editor, &part, From::Changed)?, flags)
                }
                false => (vec![part.clone()], rec.e_flags()),
            };
            let mut cpos = rec.e_cpos.0 + (part.start - first);
            for run in runs {
                let length = run.end - run.start;
                let blkno = Blkno(u64::from(run.start) << bits);
                apart.push(ExtentRec::leaf(Cpos(cpos), length as u16, flags, blkno));
                cpos += length;
            }
        }
    }
    Ok(apart)
}

/// Marks the extents of an inode on these clusters as refcounted.
pub fn flag(owner: Blkno, clusters: Vec<Range<u32>>) -> Repair {
    Repair::new(move |editor| {
        let inode = editor.inode(owner)?;
        change(editor, &inode, &clusters, &|_, _| Ok(None)).map(|_| ())
    })
}

/// Lets an inode share these clusters with others, through the refcount tree that one of them has
/// or a new one. The next check finds the counts. Repairs with the same `number` are about the same
/// clusters: one is made, for all owners.
pub fn share(
    number: u64,
    owner: Blkno,
    others: Arc<[Blkno]>,
    clusters: Arc<[Range<u32>]>,
) -> Repair {
    Repair::once_when_sound("shared clusters", number, move |editor| {
        // Clusters of attributes are not shared: their owner gets copies.
        if !has(editor, owner, &clusters)? {
            return copy_now(editor, owner, &clusters);
        }
        let mut users = vec![owner];
        for other in others.iter().filter(|other| **other != owner) {
            editor.check_interrupt()?;
            if has(editor, *other, &clusters)? {
                users.push(*other);
                continue;
            }
            let features = editor.inode(*other)?.dinode.dyn_features();
            if features.contains(DynFeatures::HAS_XATTR) {
                xattrs::write(editor, *other, &clusters)?;
            }
        }
        // All others have given theirs up. An inode that has them twice shares with itself.
        if users.len() == 1 && others.iter().any(|other| *other != owner) {
            return Ok(());
        }
        let mut trees = Vec::new();
        for user in &users {
            let dinode = editor.inode(*user)?.dinode;
            if dinode.kind() != Some(FileKind::Regular) {
                let text = format!("inode {user} is not a regular file");
                return Err(EditError::Impossible(text));
            }
            if dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT) {
                trees.push(dinode.i_refcount_loc);
            }
        }
        let root = match trees.first() {
            Some(root) => *root,
            None => refcount::make(editor, &users)?,
        };
        for user in &users {
            editor.check_interrupt()?;
            editor.dinode(*user, |dinode, _| {
                if !dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT) {
                    let features = dinode.dyn_features().union(DynFeatures::HAS_REFCOUNT);
                    dinode.i_dyn_features = features.bits();
                    dinode.i_refcount_loc = root;
                }
            })?;
            let inode = editor.inode(*user)?;
            change(editor, &inode, &clusters, &|_, _| Ok(None))?;
        }
        Ok(())
    })
}

/// Whether the contents of an inode include some of these clusters.
fn has(editor: &Editor<'_>, blkno: Blkno, clusters: &[Range<u32>]) -> Result<bool, EditError> {
    let inode = editor.inode(blkno)?;
    if inode.dinode.arm() != Arm::ExtentList {
        return Ok(false);
    }
    let bits = editor.volume().geometry().bpc_bits();
    let gathered = tree::gather(editor.volume(), blkno, inode.id2(), Holds::Data, true)?;
    Ok(gathered.extents.iter().any(|rec| {
        let whole = clusters_of(rec, bits);
        let next = clusters.partition_point(|run| run.end <= whole.start);
        clusters.get(next).is_some_and(|run| run.start < whole.end)
    }))
}

/// Where a piece moves: to these runs, an empty list leaving a hole; `None` if it stays.
type Move<'a> =
    dyn Fn(&mut Editor<'_>, &Range<u32>) -> Result<Option<Vec<Range<u32>>>, EditError> + 'a;

/// Splits the extents of an inode at these clusters. Each piece within them moves to where `to`
/// says, or else is marked as refcounted. Returns whether there were any.
fn change(
    editor: &mut Editor<'_>,
    inode: &Inode,
    clusters: &[Range<u32>],
    to: &Move<'_>,
) -> Result<bool, EditError> {
    if inode.dinode.arm() != Arm::ExtentList {
        return Ok(false);
    }
    let shares = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
    let holds = match inode.kind() {
        Some(FileKind::Regular) => Holds::Data,
        _ => Holds::Dense,
    };
    let gathered = tree::gather(editor.volume(), inode.blkno, inode.id2(), holds, shares)?;
    let bits = editor.volume().geometry().bpc_bits();
    let mut extents = Vec::with_capacity(gathered.extents.len());
    let mut any = false;
    for rec in &gathered.extents {
        let whole = clusters_of(rec, bits);
        let first = whole.start;
        let piece = |part: &Range<u32>, at: u32, flags: ExtentFlags| {
            let cpos = rec.e_cpos.0 + (part.start - first);
            let blkno = Blkno(u64::from(at) << bits);
            ExtentRec::leaf(Cpos(cpos), (part.end - part.start) as u16, flags, blkno)
        };
        for (part, is_in) in cut(whole, clusters) {
            if !is_in {
                extents.push(piece(&part, part.start, rec.e_flags()));
                continue;
            }
            any = true;
            match to(editor, &part)? {
                None => {
                    let flags = rec.e_flags() | ExtentFlags::REFCOUNTED;
                    extents.push(piece(&part, part.start, flags));
                }
                Some(runs) => {
                    let mut start = part.start;
                    for run in runs {
                        let end = start + (run.end - run.start);
                        let flags = rec.e_flags().difference(ExtentFlags::REFCOUNTED);
                        extents.push(piece(&(start..end), run.start, flags));
                        start = end;
                    }
                }
            }
        }
    }
    if !any {
        return Ok(false);
    }
    let mut id2 = inode.id2().to_vec();
    let room = tree::list_room(id2.len());
    let slot = inode.dinode.i_suballoc_slot;
    let built = gathered.with(editor, extents, room, slot)?.build(editor, &mut id2)?;
    tree::write_inode(editor, inode, &id2, built)?;
    Ok(true)
}

/// Splits a range into pieces, each with whether it is within `clusters`, which have to ascend.
pub(crate) fn cut(whole: Range<u32>, clusters: &[Range<u32>]) -> Vec<(Range<u32>, bool)> {
    let mut parts = Vec::new();
    let mut at = whole.start;
    let next = clusters.partition_point(|run| run.end <= whole.start);
    let runs = clusters.iter().skip(next);
    for run in runs.take_while(|run| run.start < whole.end) {
        let (start, end) = (run.start.clamp(at, whole.end), run.end.clamp(at, whole.end));
        if start < end {
            parts.extend((at < start).then_some((at..start, false)));
            parts.push((start..end, true));
            at = end;
        }
    }
    parts.extend((at < whole.end).then_some((at..whole.end, false)));
    parts
}

fn copy_clusters(editor: &mut Editor<'_>, from: u32, to: &Range<u32>) -> Result<(), EditError> {
    let volume = editor.volume();
    let geometry = *volume.geometry();
    let at_once = (PIECE >> geometry.block_size.bits()) as u64;
    let (mut from, mut at) =
        (geometry.block_of(Cluster(from)).0, geometry.block_of(Cluster(to.start)).0);
    let end = geometry.block_of(Cluster(to.end)).0;
    while at < end {
        editor.check_interrupt()?;
        let count = at_once.min(end - at);
        let bytes = volume.read_blocks(Blkno(from), count as u32)?;
        editor.put_blocks(Blkno(at), &bytes)?;
        (from, at) = (from + count, at + count);
    }
    Ok(())
}

/// Gives the tree of an inode extent blocks of its own. If clusters cannot be shared, those in
/// common with `other` are copied later. Fails at once unless there is room for that, and for new
/// extent blocks for each of the `owners` of the same blocks.
pub fn new_extent_blocks(
    owner: Blkno,
    other: Option<Blkno>,
    owners: u64,
    sizes: Arc<tree::Sizes>,
) -> Repair {
    Repair::once_when_sound("extent blocks", owner.0, move |editor| {
        let inode = editor.inode(owner)?;
        let blocks = sizes.blocks(editor.volume(), &inode) as u64;
        editor.must_have_room(blocks.saturating_mul(owners.max(1)), 0)?;
        let gathered = contents(editor, &inode)?;
        let mut id2 = inode.id2().to_vec();
        let (room, slot) = (tree::list_room(id2.len()), inode.dinode.i_suballoc_slot);
        if let Some(other) = other.filter(|_| !editor.volume().has(Incompat::REFCOUNT_TREE)) {
            let others = contents(editor, &editor.inode(other)?)?;
            let copies = in_common(editor, &gathered.extents, &others.extents);
            editor.must_have_room(blocks, copies)?;
        }
        let new = tree::Gathered::default().with(editor, gathered.extents, room, slot)?;
        let built = new.build(editor, &mut id2)?;
        tree::write_inode(editor, &inode, &id2, built)
    })
}

/// What can be read of the tree of an inode's contents.
fn contents(editor: &Editor<'_>, inode: &Inode) -> Result<tree::Gathered, EditError> {
    let shares = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
    let holds = match inode.kind() {
        Some(FileKind::Regular) => Holds::Data,
        _ => Holds::Dense,
    };
    tree::gather(editor.volume(), inode.blkno, inode.id2(), holds, shares)
}

/// The clusters of an extent; a cluster has 2^`bits` blocks.
pub(crate) fn clusters_of(rec: &ExtentRec, bits: u32) -> Range<u32> {
    let first = (rec.e_blkno.0 >> bits) as u32;
    first..first.saturating_add(rec.e_leaf_clusters().into())
}

/// The number of clusters that two lists of extents have in common.
fn in_common(editor: &Editor<'_>, extents: &[ExtentRec], others: &[ExtentRec]) -> u64 {
    let bits = editor.volume().geometry().bpc_bits();
    let mut theirs = ClusterSet::default();
    others.iter().for_each(|rec| theirs.insert(clusters_of(rec, bits), |_| {}));
    let common = extents.iter().flat_map(|rec| theirs.runs(clusters_of(rec, bits)));
    common.map(|run| u64::from(run.end - run.start)).sum()
}

/// Gives an inode its own copy of its xattr block.
pub fn new_xattr_block(owner: Blkno) -> Repair {
    use ocfs2_format::Structure;
    use ocfs2_format::xattr::XattrBlock;
    Repair::once_when_sound("xattr block", owner.0, move |editor| {
        let inode = editor.inode(owner)?;
        let bytes = editor.volume().read_block(inode.dinode.i_xattr_loc)?;
        let taken = editor.take_block(XattrBlock::NAME, inode.dinode.i_suballoc_slot)?;
        let home = taken.blkno;
        editor.block(home, None, |block| block.copy_from_slice(&bytes))?;
        editor.header(home, |block: &mut XattrBlock, _| {
            (block.xb_suballoc_slot, block.xb_suballoc_bit) = (taken.slot, taken.bit);
            (block.xb_suballoc_loc, block.xb_blkno) = (taken.loc, home);
        })?;
        editor.dinode(owner, |dinode, _| dinode.i_xattr_loc = home)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init)]
    fn an_extent_is_cut_where_its_clusters_are_others() {
        assert_eq!(
            cut(10..20, &[5..12, 15..16]),
            [(10..12, true), (12..15, false), (15..16, true), (16..20, false)]
        );
        assert_eq!(cut(10..20, &[0..5, 30..40]), [(10..20, false)]);
        assert_eq!(cut(10..20, &[0..40]), [(10..20, true)]);
    }
}
