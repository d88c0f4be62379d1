//! The attributes of an inode, rewritten: each area with the attributes that can be read of it.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::superblock::XATTR_INLINE_SIZE;
use ocfs2_format::xattr::{
    BUCKET_SIZE, MAX_LOCAL_VALUE, MAX_VALUE, XattrArea, XattrBlock, XattrEntry, XattrHeader,
    XattrPrefix, XattrTreeRoot, XattrValueRoot, bucket_entries,
};
use ocfs2_format::{Blkno, Block, BlockSize, Cluster, Cpos, Structure};
use ocfs2_volume::{Inode, Volume};

use super::tree::{self, Gathered};
use super::{EditError, Editor, Repair, bucket_tree, share};
use crate::name_hashes::Signs;
use crate::read::corrected::{correct, read_corrected};
use crate::read::holds::Holds;
use crate::read::one_bit;
use crate::read::reach::Reach;

/// An attribute.
#[derive(Clone, Debug)]
struct Attribute {
    hash: u32,
    /// How its entry hashes the name; `None` if it has neither hash.
    sign: Option<CharSign>,
    /// The code of the prefix, with [`XattrEntry::LOCAL`] if the value is beside the name.
    xe_type: u8,
    name: Vec<u8>,
    value_size: u64,
    /// The value, or the root of its tree.
    stored: Vec<u8>,
}

impl Attribute {
    fn is_local(&self) -> bool {
        self.xe_type & XattrEntry::LOCAL != 0
    }

    /// Bytes of name and value, each padded to 4.
    fn size(&self) -> usize {
        self.name.len().next_multiple_of(4) + self.stored.len().next_multiple_of(4)
    }
}

/// The names an inode has so far, with the code of their prefix.
type Names = HashSet<(u8, Vec<u8>)>;

/// The repair of all that is wrong with the attributes of an inode.
pub fn rewrite(owner: Blkno) -> Repair {
    Repair::once("xattrs", owner.0, move |editor| write(editor, owner, &[]))
}

/// Rewrites the attributes of an inode if some in buckets are hashed otherwise than demanded.
pub fn hashed_as_demanded(owner: Blkno) -> Repair {
    Repair::when_sound(move |editor| {
        let Some(demanded) = editor.terms.hashing.demanded else { return Ok(()) };
        let volume = editor.volume();
        let inode = editor.inode(owner)?;
        let loc = inode.dinode.i_xattr_loc;
        let is_in_bucket = |at: Blkno| at != owner && at != loc;
        let seed = volume.superblock().s_uuid_hash;
        let differs = volume.xattrs(&inode).filter_map(Result::ok).any(|attribute| {
            let prefix = attribute.prefix.as_str().len();
            let name = attribute.name.get(prefix..).unwrap_or_default();
            is_in_bucket(attribute.blkno)
                && xattr_hash(name, seed, demanded) != attribute.entry.xe_name_hash
        });
        if !differs {
            return Ok(());
        }
        let block = volume.read_block(loc)?;
        let list = block.get(XattrTreeRoot::LIST_OFFSET..).unwrap_or_default();
        let old = tree::gather(volume, loc, list, Holds::Hashed, false)?.extents;
        write(editor, owner, &[])?;
        let bits = volume.geometry().bpc_bits();
        for rec in old {
            let start = (rec.e_blkno.0 >> bits) as u32;
            editor.free_clusters(start..start + u32::from(rec.e_leaf_clusters()))?;
        }
        Ok(())
    })
}

/// Rewrites all attributes of an inode. Clusters of values that are among `others`, those of other
/// owners, are replaced by copies.
pub(super) fn write(
    editor: &mut Editor<'_>,
    owner: Blkno,
    others: &[Range<u32>],
) -> Result<(), EditError> {
    let inode = editor.inode(owner)?;
    if !editor.volume().has(Incompat::XATTR) {
        return editor.dinode(owner, |dinode, _| {
            let none = DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
            let features = dinode.dyn_features().difference(none);
            dinode.i_dyn_features = features.bits();
            (dinode.i_xattr_loc, dinode.i_xattr_inline_size) = (Blkno(0), 0);
        });
    }
    let mut names = Names::new();
    let has_inline = inode.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR);
    if has_inline {
        inline(editor, &inode, &mut names, others)?;
    }
    let has_block = block(editor, &inode, &mut names, others)?;
    editor.dinode(owner, |dinode, _| {
        let mut features = dinode.dyn_features();
        features.set(DynFeatures::HAS_XATTR, has_inline || has_block);
        dinode.i_dyn_features = features.bits();
        if !has_block {
            dinode.i_xattr_loc = Blkno(0);
        }
    })
}

/// The size of the attribute area in every inode that has one, in bytes.
fn inline_size(volume: &Volume) -> u16 {
    let room = volume.block_size().size() - ocfs2_format::dinode::Dinode::ID2_OFFSET;
    let stated = volume.superblock().s_xattr_inline_size;
    match (XattrHeader::SIZE..=room).contains(&stated.into()) {
        true => stated,
        false => XATTR_INLINE_SIZE,
    }
}

fn inline(
    editor: &mut Editor<'_>,
    inode: &Inode,
    names: &mut Names,
    others: &[Range<u32>],
) -> Result<(), EditError> {
    let size = inline_size(editor.volume());
    let bytes = inode.block();
    let start = bytes.len().saturating_sub(size.into());
    let area = bytes.get(start..).unwrap_or_default();
    let mut attributes = read(editor, area, None, names);
    mend(editor, inode, &mut attributes, others)?;
    let mut area = vec![0; size.into()];
    pack(&mut area, &attributes, None);
    editor.dinode(inode.blkno, |dinode, rest| {
        dinode.i_xattr_inline_size = size;
        let start = rest.len().saturating_sub(area.len());
        rest.get_mut(start..).unwrap_or_default().copy_from_slice(&area);
    })
}

/// Reads the xattr block of an inode: its header, with the fields that are known put right, and its
/// bytes.
fn xattr_block(
    editor: &Editor<'_>,
    inode: &Inode,
) -> Result<Option<(XattrBlock, Vec<u8>)>, EditError> {
    let volume = editor.volume();
    let blkno = inode.dinode.i_xattr_loc;
    if !volume.geometry().is_valid_block(blkno) {
        return Ok(None);
    }
    let bytes = read_corrected::<XattrBlock>(volume, blkno)?;
    let header = XattrBlock::decode(&bytes).ok();
    let header = header.filter(|header| header.xb_signature == XattrBlock::SIGNATURE);
    let generation = volume.generation();
    Ok(header.map(|header| {
        (XattrBlock { xb_blkno: blkno, xb_fs_generation: generation, ..header }, bytes)
    }))
}

/// The same; `None` unless it is the root of a tree of buckets.
pub(super) fn root(
    editor: &Editor<'_>,
    inode: &Inode,
) -> Result<Option<(XattrBlock, Vec<u8>)>, EditError> {
    Ok(xattr_block(editor, inode)?.filter(|(header, _)| header.is_indexed()))
}

/// Writes the root of a tree of buckets, with its tree.
pub(super) fn write_root(
    editor: &mut Editor<'_>,
    header: &XattrBlock,
    tree: Gathered,
) -> Result<(), EditError> {
    let size = editor.volume().block_size().size();
    let mut area = vec![0; size.saturating_sub(XattrTreeRoot::LIST_OFFSET)];
    let built = tree.build(editor, &mut area)?;
    let root = XattrTreeRoot {
        xt_clusters: built.clusters,
        xt_last_eb_blk: built.last_leaf,
        ..XattrTreeRoot::default()
    };
    editor.create(header.xb_blkno, header, |bytes| {
        let _ = root.encode(bytes);
        let list = XattrTreeRoot::LIST_OFFSET - XattrBlock::AREA_OFFSET;
        bytes.get_mut(list..).unwrap_or_default().copy_from_slice(&area);
    })
}

/// Writes the xattr block; returns whether there is one.
fn block(
    editor: &mut Editor<'_>,
    inode: &Inode,
    names: &mut Names,
    others: &[Range<u32>],
) -> Result<bool, EditError> {
    let Some((header, bytes)) = xattr_block(editor, inode)? else { return Ok(false) };
    if header.is_indexed() {
        buckets(editor, inode, &header, &bytes, names, others)?;
        return Ok(true);
    }
    let area = bytes.get(XattrBlock::AREA_OFFSET..).unwrap_or_default();
    let mut attributes = read(editor, area, None, names);
    mend(editor, inode, &mut attributes, others)?;
    editor.create(header.xb_blkno, &header, |area| {
        pack(area, &attributes, None);
    })?;
    Ok(true)
}

/// Gives attributes in buckets the demanded hash. Without a demand each keeps its own, and those
/// without a valid one get the hash of the majority.
fn settle_hashes(editor: &Editor<'_>, attributes: &mut [Attribute]) {
    let (hashing, mut signs) = (editor.terms.hashing, Signs::default());
    let shown = attributes.iter().filter(|it| !it.name.is_ascii()).filter_map(|it| it.sign);
    shown.for_each(|sign| signs.add(sign));
    let seed = editor.volume().superblock().s_uuid_hash;
    for attribute in attributes {
        let own = attribute.sign.filter(|_| hashing.demanded.is_none());
        let sign = own.unwrap_or_else(|| hashing.of(signs));
        attribute.hash = xattr_hash(&attribute.name, seed, sign);
    }
}

/// The attributes in the buckets that a tree points to.
fn in_tree(
    editor: &Editor<'_>,
    tree: &Gathered,
    names: &mut Names,
) -> Result<Vec<Attribute>, EditError> {
    let volume = editor.volume();
    let reach = Reach::new(volume);
    let per_bucket = (BUCKET_SIZE >> volume.block_size().bits()) as u32;
    let unit = Some(volume.block_size().size());
    let (mut seen, mut attributes) = (HashSet::new(), Vec::new());
    for (index, rec) in tree.extents.iter().enumerate() {
        let Some(first) = reach.look(rec.e_blkno) else { continue };
        let end = reach.end(tree.extents.get(index + 1));
        for bucket in 0..reach.count(&first, rec, end).there {
            let at = reach.bucket(rec.e_blkno, bucket);
            // The following buckets belong to another extent.
            if !seen.insert(at) {
                break;
            }
            let mut bytes = volume.read_blocks(at, per_bucket)?;
            correct(volume, &mut bytes, XattrHeader::CHECK_OFFSET);
            attributes.append(&mut read(editor, &bytes, unit, names));
        }
    }
    Ok(attributes)
}

/// Clusters for buckets: new ones, since a wrong record may have pointed to clusters of others. The
/// old ones if none are left.
fn room(editor: &mut Editor<'_>, tree: &Gathered, count: usize) -> Result<Vec<u32>, EditError> {
    match editor.take_clusters(count as u32) {
        Ok(runs) => Ok(runs.into_iter().flatten().collect()),
        Err(EditError::NoRoom(what)) => {
            let bits = editor.volume().geometry().bpc_bits();
            let own: BTreeSet<_> =
                tree.extents.iter().flat_map(|rec| share::clusters_of(rec, bits)).collect();
            match own.len() >= count {
                true => Ok(own.into_iter().take(count).collect()),
                false => Err(EditError::NoRoom(what)),
            }
        }
        Err(err) => Err(err),
    }
}

/// Writes all buckets and the tree that points to them.
fn buckets(
    editor: &mut Editor<'_>,
    inode: &Inode,
    header: &XattrBlock,
    block: &[u8],
    names: &mut Names,
    others: &[Range<u32>],
) -> Result<(), EditError> {
    let geometry = *editor.volume().geometry();
    let gathered = bucket_tree::gather(editor.volume(), header.xb_blkno, block)?;
    let mut attributes = in_tree(editor, &gathered, names)?;
    mend(editor, inode, &mut attributes, others)?;
    settle_hashes(editor, &mut attributes);
    attributes.sort_by(|one, other| {
        (one.hash, one.xe_type, &one.name).cmp(&(other.hash, other.xe_type, &other.name))
    });
    let packed = in_buckets(&attributes, geometry.block_size);
    let per_cluster = (geometry.cluster_size.bytes() as usize / BUCKET_SIZE).max(1);
    let chunks: Vec<_> = packed.chunks(per_cluster).collect();
    let clusters = room(editor, &gathered, chunks.len())?;
    let mut extents = Vec::with_capacity(chunks.len());
    for (index, (chunk, cluster)) in chunks.iter().zip(&clusters).enumerate() {
        let start = geometry.block_of(Cluster(*cluster));
        let first = chunk.first().map_or(0, |(hash, _)| *hash);
        write_buckets(editor, start, chunk)?;
        let cpos = Cpos(if index == 0 { 0 } else { first });
        extents.push(ExtentRec::leaf(cpos, 1, ExtentFlags::empty(), start));
    }
    let room = tree::list_room(block.len().saturating_sub(XattrTreeRoot::LIST_OFFSET));
    let tree = gathered.with(editor, extents, room, header.xb_suballoc_slot)?;
    write_root(editor, header, tree)
}

/// Writes the buckets of an extent.
fn write_buckets(
    editor: &mut Editor<'_>,
    start: Blkno,
    buckets: &[(u32, Vec<u8>)],
) -> Result<(), EditError> {
    let per_bucket = (BUCKET_SIZE >> editor.volume().block_size().bits()) as u64;
    for (number, (_, bucket)) in buckets.iter().enumerate() {
        let mut bytes = bucket.clone();
        if let Ok(header) = XattrHeader::decode(&bytes) {
            let xh_num_buckets = if number == 0 { buckets.len() as u16 } else { 0 };
            let _ = XattrHeader { xh_num_buckets, ..header }.encode(&mut bytes);
        }
        let at = Blkno(start.0 + number as u64 * per_bucket);
        editor.put_metadata(at, &bytes, XattrHeader::CHECK_OFFSET)?;
    }
    Ok(())
}

/// The valid attributes of an area; `unit` is the block size if it is a bucket.
fn read(
    editor: &Editor<'_>,
    bytes: &[u8],
    unit: Option<usize>,
    names: &mut Names,
) -> Vec<Attribute> {
    let mended = one_bit::mended(bytes, editor.volume().superblock().s_uuid_hash, unit);
    let bytes = mended.as_ref().map_or(bytes, |mended| &mended.bytes);
    let Ok(area) = XattrArea::new(bytes) else { return Vec::new() };
    let count = usize::from(area.header.xh_count);
    let is_too_many = count > area.capacity();
    let mut taken = vec![false; bytes.len()];
    let entries = area.entries().take(area.capacity());
    let mut found = Vec::new();
    for (index, entry) in entries.enumerate() {
        let own = XattrHeader::SIZE + index * XattrEntry::SIZE;
        let Some(attribute) = attribute(editor, bytes, entry) else {
            // After the last real entry there may be anything.
            if is_too_many {
                break;
            }
            continue;
        };
        let start = usize::from(entry.xe_name_offset);
        let range = start..start + attribute.size();
        let free = |range: std::ops::Range<usize>| {
            taken.get(range).is_some_and(|bytes| bytes.iter().all(|taken| !taken))
        };
        if !free(own..own + XattrEntry::SIZE) || !free(range.clone()) {
            continue;
        }
        for range in [own..own + XattrEntry::SIZE, range] {
            taken.get_mut(range).unwrap_or_default().fill(true);
        }
        let prefix = attribute.xe_type & !XattrEntry::LOCAL;
        if names.insert((prefix, attribute.name.clone())) {
            found.push(attribute);
        }
    }
    found
}

fn attribute(editor: &Editor<'_>, bytes: &[u8], entry: XattrEntry) -> Option<Attribute> {
    let volume = editor.volume();
    let prefix = entry.prefix()?;
    let offset = usize::from(entry.xe_name_offset);
    let rest = bytes.get(offset..).filter(|_| offset >= XattrHeader::SIZE)?;
    let name = rest.get(..entry.xe_name_len.into())?;
    let has_rest = !matches!(prefix, XattrPrefix::PosixAclAccess | XattrPrefix::PosixAclDefault);
    if name.is_empty() == has_rest || name.contains(&0) {
        return None;
    }
    let after = rest.get(name.len().next_multiple_of(4)..)?;
    let root = after.get(..XattrValueRoot::FULL_SIZE);
    let is_short = entry.xe_value_size <= MAX_LOCAL_VALUE;
    // If flag and size contradict each other, the stored bytes decide.
    let outside = match (entry.is_local(), is_short) {
        (true, true) => false,
        (false, false) => true,
        _ => root.is_some_and(|root| is_root(volume, root)),
    };
    if !outside && !is_short {
        return None;
    }
    let mut value_size = entry.xe_value_size;
    if outside && !(MAX_LOCAL_VALUE + 1..=MAX_VALUE).contains(&value_size) {
        let clusters = XattrValueRoot::decode(root?).ok()?.xr_clusters;
        let held = u64::from(clusters) << volume.geometry().cluster_size.bits();
        value_size = held.clamp(MAX_LOCAL_VALUE + 1, MAX_VALUE);
    }
    let stored = match outside {
        true => root?.to_vec(),
        false => after.get(..usize::try_from(value_size).ok()?)?.to_vec(),
    };
    let seed = volume.superblock().s_uuid_hash;
    let hash_of = |sign: &CharSign| xattr_hash(name, seed, *sign);
    let sign = CharSign::ALL.into_iter().find(|sign| hash_of(sign) == entry.xe_name_hash);
    let hash = hash_of(&sign.unwrap_or(editor.terms.hashing.volume));
    let local = if outside { 0 } else { XattrEntry::LOCAL };
    let xe_type = prefix.code() | local;
    Some(Attribute { hash, sign, xe_type, name: name.to_vec(), value_size, stored })
}

/// Whether these bytes are the root of a value, as far as they show it.
fn is_root(volume: &Volume, stored: &[u8]) -> bool {
    let Ok(list) = XattrValueRoot::list(stored) else { return false };
    let first = list.records().next();
    let root = XattrValueRoot::decode(stored).ok();
    list.header.l_count == 1
        && root.is_some_and(|root| root.xr_clusters > 0)
        && first.is_some_and(|rec| volume.geometry().is_valid_block(rec.e_blkno))
}

/// Rebuilds the trees of values and cuts values to their clusters; attributes without any are left
/// out. Clusters in `others` that a value needs are copied.
fn mend(
    editor: &mut Editor<'_>,
    inode: &Inode,
    attributes: &mut Vec<Attribute>,
    others: &[Range<u32>],
) -> Result<(), EditError> {
    let shares = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
    let bits = editor.volume().geometry().cluster_size.bits();
    for attribute in attributes.iter_mut().filter(|it| !it.is_local()) {
        let list = attribute.stored.get(XattrValueRoot::LIST_OFFSET..).unwrap_or_default();
        let gathered: Gathered =
            tree::gather(editor.volume(), inode.blkno, list, Holds::Dense, shares)?;
        let mut list = list.to_vec();
        let gathered = match others {
            [] => gathered,
            _ => {
                let needed = attribute.value_size.div_ceil(1 << bits);
                let extents = share::apart(editor, &gathered.extents, others, needed)?;
                let slot = inode.dinode.i_suballoc_slot;
                gathered.with(editor, extents, tree::list_room(list.len()), slot)?
            }
        };
        let built = gathered.build(editor, &mut list)?;
        let root = XattrValueRoot {
            xr_clusters: built.clusters,
            xr_last_eb_blk: built.last_leaf,
            ..XattrValueRoot::default()
        };
        let _ = root.encode(&mut attribute.stored);
        if let Some(bytes) = attribute.stored.get_mut(XattrValueRoot::LIST_OFFSET..) {
            bytes.copy_from_slice(&list);
        }
        attribute.value_size = attribute.value_size.min(u64::from(built.clusters) << bits);
    }
    attributes.retain(|it| it.is_local() || it.value_size > MAX_LOCAL_VALUE);
    Ok(())
}

/// Packs attributes into buckets, each with its lowest hash; attributes of the same hash stay
/// together.
fn in_buckets(attributes: &[Attribute], block_size: BlockSize) -> Vec<(u32, Vec<u8>)> {
    let (unit, most) = (block_size.size(), bucket_entries(block_size));
    let mut buckets = Vec::new();
    let mut start = 0;
    while start < attributes.len() || buckets.is_empty() {
        let rest = attributes.get(start..).unwrap_or_default();
        let mut bytes = vec![0; BUCKET_SIZE];
        let fitting = rest.get(..most).unwrap_or(rest);
        let mut count = pack(&mut bytes, fitting, Some(unit));
        // Not all of this hash fit: they all go to the next bucket.
        if let (Some(last), Some(next)) = (rest.get(count.wrapping_sub(1)), rest.get(count))
            && last.hash == next.hash
        {
            let fewer = rest.iter().take(count).position(|it| it.hash == last.hash);
            count = fewer.filter(|fewer| *fewer > 0).unwrap_or(count);
            bytes = vec![0; BUCKET_SIZE];
            pack(&mut bytes, rest.get(..count).unwrap_or_default(), Some(unit));
        }
        buckets.push((rest.first().map_or(0, |it| it.hash), bytes));
        // One too large for any bucket is left out: it cannot have been in one.
        start += count.max(1);
    }
    buckets
}

/// Writes attributes into an area, names and values from its end; returns how many fit. In a bucket
/// none crosses a boundary of `unit` bytes.
fn pack(area: &mut [u8], attributes: &[Attribute], unit: Option<usize>) -> usize {
    let mut end = area.len();
    let mut count = 0;
    let mut stored = 0;
    for attribute in attributes {
        let size = attribute.size();
        let entries = XattrHeader::SIZE + (count + 1) * XattrEntry::SIZE;
        let Some(mut offset) = end.checked_sub(size) else { break };
        if let Some(unit) = unit
            && size > 0
            && offset / unit != (end - 1) / unit
        {
            // Down to the end of the block before.
            let Some(lower) = ((end - 1) / unit * unit).checked_sub(size) else { break };
            offset = lower;
        }
        if offset < entries {
            break;
        }
        let entry = XattrEntry {
            xe_name_hash: attribute.hash,
            xe_name_offset: offset as u16,
            xe_name_len: attribute.name.len() as u8,
            xe_type: attribute.xe_type,
            xe_value_size: attribute.value_size,
        };
        let at = XattrHeader::SIZE + count * XattrEntry::SIZE;
        let _ = entry.encode(area.get_mut(at..).unwrap_or_default());
        let room = area.get_mut(offset..offset + size).unwrap_or_default();
        let (name, value) = room.split_at_mut(attribute.name.len().next_multiple_of(4));
        name.get_mut(..attribute.name.len()).unwrap_or_default().copy_from_slice(&attribute.name);
        let value = value.get_mut(..attribute.stored.len()).unwrap_or_default();
        value.copy_from_slice(&attribute.stored);
        end = offset;
        stored += size;
        count += 1;
    }
    let sums = unit.map_or((0, 0), |_| (end as u16, stored as u16));
    let header = XattrHeader {
        xh_count: count as u16,
        xh_free_start: sums.0,
        xh_name_value_len: sums.1,
        ..XattrHeader::default()
    };
    let _ = header.encode(area);
    count
}
