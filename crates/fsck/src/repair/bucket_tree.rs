//! The tree that points to xattr buckets, mended without moving a bucket: the lengths and positions
//! of its extents, and the number of buckets of each.

use std::collections::HashSet;

use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::xattr::{BUCKET_SIZE, XattrHeader, XattrTreeRoot};
use ocfs2_format::{Blkno, Cpos, Structure};
use ocfs2_volume::Volume;

use super::tree::{self, Gathered};
use super::{EditError, Editor, Repair, xattrs};
use crate::read::holds::Holds;
use crate::read::reach::Reach;

/// The repair of the records that point to the buckets of an inode.
pub fn settle(owner: Blkno) -> Repair {
    Repair::once("xattr tree", owner.0, move |editor| mend(editor, owner))
}

/// An extent, with the new number of its buckets if that changes.
#[derive(Clone, Copy, Debug)]
struct Placed {
    rec: ExtentRec,
    buckets: Option<u16>,
}

/// Reads the tree whose root is in `block`, and corrects the lengths of its extents.
///
/// # Errors
/// There is no list.
pub(super) fn gather(volume: &Volume, blkno: Blkno, block: &[u8]) -> Result<Gathered, EditError> {
    let reach = Reach::new(volume);
    let list = block.get(XattrTreeRoot::LIST_OFFSET..).unwrap_or_default();
    let taken = |rec: &ExtentRec, next: Option<&ExtentRec>| reach.taken(rec, next);
    let mut gathered = tree::gather_as(volume, blkno, list, Holds::Hashed, false, &taken)?;
    let stated = XattrTreeRoot::of_block(block).map_or(u32::MAX, |root| root.xt_clusters);
    if let Some((index, clusters)) = reach.too_long(&gathered.extents, stated)
        && let Some(rec) = gathered.extents.get_mut(index)
    {
        *rec = ExtentRec::leaf(rec.e_cpos, clusters, ExtentFlags::empty(), rec.e_blkno);
    }
    Ok(gathered)
}

fn mend(editor: &mut Editor<'_>, owner: Blkno) -> Result<(), EditError> {
    let inode = editor.inode(owner)?;
    let Some((header, bytes)) = xattrs::root(editor, &inode)? else { return Ok(()) };
    let blkno = header.xb_blkno;
    let mut gathered = gather(editor.volume(), blkno, &bytes)?;
    let Some(placed) = place(editor.volume(), &gathered.extents) else {
        return xattrs::write(editor, owner, &[]);
    };
    let per_bucket = (BUCKET_SIZE >> editor.volume().block_size().bits()) as u32;
    for Placed { rec, buckets } in &placed {
        let Some(buckets) = *buckets else { continue };
        let check = Some(XattrHeader::CHECK_OFFSET);
        editor.blocks(rec.e_blkno, per_bucket, check, |bytes| {
            if let Ok(header) = XattrHeader::decode(bytes) {
                let _ = XattrHeader { xh_num_buckets: buckets, ..header }.encode(bytes);
            }
        })?;
    }
    gathered.extents = placed.iter().map(|placed| placed.rec).collect();
    xattrs::write_root(editor, &header, gathered)
}

/// Where extents belong by the hashes in their buckets; `None` if the buckets have to be rewritten.
fn place(volume: &Volume, extents: &[ExtentRec]) -> Option<Vec<Placed>> {
    let reach = Reach::new(volume);
    let key = |rec: &ExtentRec| reach.end(Some(rec));
    let mut sorted: Vec<_> = extents.iter().map(|rec| (key(rec), *rec)).collect();
    sorted.sort_by_key(|(key, _)| *key);
    let (mut placed, mut seen): (Vec<Placed>, _) = (Vec::new(), HashSet::new());
    let mut last: Option<u32> = None;
    for (index, (key, rec)) in sorted.iter().enumerate() {
        let end = sorted.get(index + 1).map_or(1 << 32, |(key, _)| *key);
        let first = reach.look(rec.e_blkno)?;
        let count = reach.count(&first, rec, end);
        let before = last;
        for bucket in (0..count.there).map(|bucket| reach.bucket(rec.e_blkno, bucket)) {
            let hashes = reach.look(bucket)?.hashes;
            if !seen.insert(bucket)
                || hashes.is_some_and(|hashes| last.is_some_and(|last| hashes.first <= last))
            {
                return None;
            }
            last = hashes.map(|hashes| hashes.last).or(last);
        }
        let own = u64::from(rec.e_cpos.0);
        let is_right = before.is_none_or(|before| own > before.into()) && own <= *key;
        let cpos = if index == 0 {
            0
        } else if is_right {
            own
        } else {
            *key
        };
        let cpos = Cpos(u32::try_from(cpos).ok()?);
        if placed.last().is_some_and(|placed| placed.rec.e_cpos >= cpos) {
            return None;
        }
        let buckets = (count.there != count.stated).then_some(count.there);
        placed.push(Placed {
            rec: ExtentRec::leaf(cpos, rec.e_leaf_clusters(), ExtentFlags::empty(), rec.e_blkno),
            buckets: buckets.and_then(|buckets| u16::try_from(buckets).ok()),
        });
    }
    (!placed.is_empty()).then_some(placed)
}
