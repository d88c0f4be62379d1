//! Parsers of metadata blocks.

use ocfs2_format::bitmap::{Bitmap, BitmapMut};
use ocfs2_format::chain::{ChainList, ChainRec};
use ocfs2_format::dinode::{Arm, Dinode};
use ocfs2_format::dir::{self, DirTrailer};
use ocfs2_format::dx::{DxEntryList, DxLeaf, DxRoot, write_dx_entries};
use ocfs2_format::extent::write_extent_list;
use ocfs2_format::extent::{ExtentBlock, ExtentList, ExtentListHeader, ExtentRec};
use ocfs2_format::feature::Features;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::hash::{CharSign, dx_hash};
use ocfs2_format::inline::InlineData;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::refcount::{RefcountBlock, RefcountList, RefcountRec};
use ocfs2_format::superblock::{self, ClusterInfo, SuperBlock};
use ocfs2_format::truncate_log::{TruncateLog, TruncateRec};
use ocfs2_format::xattr::{
    XattrArea, XattrBlock, XattrEntry, XattrHeader, XattrTreeRoot, XattrValueRoot,
};
use ocfs2_format::{Blkno, Block, BlockSize, Structure, ocfs1};

use crate::{at_most, kept};

const ANYWHERE: Blkno = Blkno(7);

pub fn superblock(bytes: &[u8]) {
    ocfs1::is_ocfs1(bytes);
    ocfs1::label(bytes);
    let Some(dinode) = kept::<Dinode>(bytes) else { return };
    let Some(mut sb) = kept::<SuperBlock>(&bytes[Dinode::ID2_OFFSET..]) else {
        assert!(SuperBlock::of_block(bytes).is_err());
        return;
    };
    assert_eq!(SuperBlock::of_block(bytes), Ok(sb.clone()));
    kept::<ClusterInfo>(&bytes[0x160..]);
    assert!(sb.label().len() <= 64 && sb.uuid_string().len() == 32);
    assert!(!sb.stack().to_string().contains('\0'));
    if let Some(info) = sb.cluster_info() {
        assert!(info.stack().chars().count() <= 4 && info.cluster().chars().count() <= 16);
    }
    for block_size in BlockSize::ALL {
        if sb.verify(&dinode, ANYWHERE, block_size).is_ok() {
            assert_eq!(sb.block_size(), Some(block_size));
            assert!(sb.cluster_size().is_some());
        }
        at_most(6, superblock::backup_blocks(block_size, dinode.i_size));
    }
    let features = sb.features();
    assert!(features.names().len() <= 96);
    sb.set_features(features.difference(features.unknown()));
    assert!(Features::known().contains(sb.features()));
}

pub fn dinode(bytes: &[u8]) {
    let Some(dinode) = kept::<Dinode>(bytes) else { return };
    let _ = dinode.verify(dinode.i_blkno, dinode.i_fs_generation);
    assert!(dinode.rdev().0 < 1 << 12 && dinode.rdev().1 < 1 << 20);
    assert!(dinode.links_count(true) >= dinode.links_count(false));
    let id2 = dinode.id2(bytes);
    assert!(id2.len() <= bytes.len() - Dinode::ID2_OFFSET);
    match dinode.arm() {
        Arm::Super => drop(SuperBlock::of_block(bytes)),
        Arm::LocalAlloc => local_alloc(id2, dinode.bitmap().1),
        Arm::Chain => chain_list(id2),
        Arm::TruncateLog => truncate_log(id2),
        Arm::InlineData => {
            if let Ok(data) = InlineData::data(id2) {
                assert!(data.len() + InlineData::SIZE <= id2.len());
                entries(data);
            }
        }
        Arm::Symlink => {}
        Arm::ExtentList => extent_list(id2),
    }
    let area = bytes.len().checked_sub(dinode.i_xattr_inline_size.into());
    xattr_area(area.and_then(|start| bytes.get(start..)).unwrap_or_default());
}

pub fn extent(bytes: &[u8]) {
    extent_list(bytes);
    let Some(header) = kept::<ExtentBlock>(bytes) else { return };
    let _ = header.verify(ANYWHERE, header.h_fs_generation);
    extent_list(&bytes[ExtentBlock::LIST_OFFSET..]);
    let whole = bytes.len() >= ExtentBlock::LIST_OFFSET + ExtentListHeader::SIZE;
    assert_eq!(ExtentBlock::list(bytes).is_ok(), whole);
}

fn extent_list(bytes: &[u8]) {
    let Some(header) = kept::<ExtentListHeader>(bytes) else { return };
    let list = ExtentList::new(bytes).unwrap();
    let records = at_most(bytes.len() / ExtentRec::SIZE, list.records());
    assert!(list.record(list.capacity()).is_none());
    if list.verify(ANYWHERE).is_ok() {
        assert_eq!(records.len(), usize::from(header.l_next_free_rec));
    }
    for record in &records {
        let (clusters, flags) = (record.e_leaf_clusters(), record.e_flags());
        let leaf = ExtentRec::leaf(record.e_cpos, clusters, flags, record.e_blkno);
        assert_eq!((leaf.e_leaf_clusters(), leaf.e_flags()), (clusters, flags));
    }
    let mut written = bytes.to_vec();
    write_extent_list(&mut written, header.l_tree_depth, &records).unwrap();
    assert!(ExtentList::new(&written).unwrap().records().eq(records));
}

pub fn allocator(bytes: &[u8]) {
    chain_list(bytes);
    truncate_log(bytes);
    local_alloc(bytes, bytes.last().map_or(0, |byte| u32::MAX >> (byte % 32)));
    let Some(desc) = kept::<GroupDesc>(bytes) else { return };
    let _ = desc.verify_bits(ANYWHERE, desc.bg_parent_dinode, BlockSize::MAX);
    if let Some(runs) = desc.discontiguous(bytes) {
        at_most(bytes.len() / ExtentRec::SIZE, runs.records());
    }
    let mut block = bytes.to_vec();
    assert_eq!(desc.bitmap(bytes).is_ok(), desc.bitmap_mut(&mut block).is_ok());
    if let Ok(found) = desc.bitmap(bytes) {
        bitmap(found);
        let size = usize::from(desc.bg_bits) * 8;
        desc.bitmap_mut(&mut block).unwrap().clear_range(3, size);
        assert_eq!(block[..GroupDesc::BITMAP_OFFSET], bytes[..GroupDesc::BITMAP_OFFSET]);
    }
}

fn bitmap(bitmap: Bitmap<'_>) {
    let set: usize = at_most(bitmap.len(), bitmap.runs(true)).iter().map(|run| run.len()).sum();
    assert_eq!(set, bitmap.count_ones());
    let mut bytes = vec![0; bitmap.len().div_ceil(8)];
    let mut copy = BitmapMut::new(&mut bytes, bitmap.len());
    bitmap.runs(true).for_each(|run| copy.set_range(run.start, run.len()));
    assert!(copy.as_ref().runs(false).eq(bitmap.runs(false)));
}

fn chain_list(bytes: &[u8]) {
    let Ok(list) = ChainList::new(bytes) else { return };
    let records = at_most(bytes.len() / ChainRec::SIZE, list.records());
    if list.verify(ANYWHERE).is_ok() {
        assert_eq!(records.len(), usize::from(list.header.cl_next_free_rec));
    }
}

fn truncate_log(bytes: &[u8]) {
    if let Ok(log) = TruncateLog::new(bytes) {
        at_most(bytes.len() / TruncateRec::SIZE, log.records());
    }
}

fn local_alloc(bytes: &[u8], total: u32) {
    kept::<LocalAlloc>(bytes);
    if let Ok(found) = LocalAlloc::bitmap(bytes, total) {
        assert!(found.len() <= total as usize);
        bitmap(found);
    }
}

pub fn directory(bytes: &[u8]) {
    entries(bytes);
    let Ok(trailer) = DirTrailer::of_block(bytes) else { return };
    kept::<DirTrailer>(&bytes[DirTrailer::offset(bytes.len())..]);
    let _ = trailer.verify(trailer.db_blkno, trailer.db_parent_dinode);
    entries(&bytes[..DirTrailer::offset(bytes.len())]);
    let mut copy = bytes.to_vec();
    trailer.write(&mut copy).unwrap();
    assert_eq!(copy, bytes);
}

fn entries(bytes: &[u8]) {
    let all = at_most(bytes.len() / 4 + 1, dir::entries(bytes));
    let mut end = 0;
    let mut copy = bytes.to_vec();
    for (index, entry) in all.iter().enumerate() {
        let Ok(entry) = entry else {
            assert_eq!(index + 1, all.len(), "it goes on after an error");
            break;
        };
        assert_eq!(entry.offset, end);
        end += usize::from(entry.header.rec_len);
        assert!(end <= bytes.len());
        let whole = entry.name.len() == usize::from(entry.header.name_len);
        assert!(whole || !entry.is_used());
        if let (true, Some(file_type)) = (whole, entry.file_type()) {
            let dir::DirEntryHeader { inode, rec_len, .. } = entry.header;
            dir::write_entry(&mut copy[entry.offset..], inode, rec_len, file_type, entry.name)
                .unwrap();
        }
        for sign in CharSign::ALL {
            dx_hash(entry.name, [1, 2, 3], sign);
        }
    }
    assert_eq!(copy, bytes);
    assert!(usize::from(dir::largest_hole(bytes)) <= bytes.len());
}

pub fn dx(bytes: &[u8]) {
    dx_list(bytes);
    if let Some(leaf) = kept::<DxLeaf>(bytes) {
        let _ = leaf.verify(ANYWHERE, leaf.dl_fs_generation);
        if let Ok(list) = DxLeaf::entries(bytes) {
            at_most(bytes.len() / 16, list.records());
        }
    }
    if let Some(root) = kept::<DxRoot>(bytes) {
        let _ = root.verify(ANYWHERE, root.dr_fs_generation);
        if root.is_inline() {
            dx_list(&bytes[DxRoot::LIST_OFFSET..]);
        } else {
            extent_list(&bytes[DxRoot::LIST_OFFSET..]);
        }
    }
}

fn dx_list(bytes: &[u8]) {
    let Ok(list) = DxEntryList::new(bytes) else { return };
    let entries = at_most(bytes.len() / 16, list.records());
    if list.verify(ANYWHERE).is_ok() {
        assert_eq!(entries.len(), usize::from(list.header.de_num_used));
    }
    let mut written = bytes.to_vec();
    write_dx_entries(&mut written, &entries).unwrap();
    assert!(DxEntryList::new(&written).unwrap().records().eq(entries));
}

pub fn xattr(bytes: &[u8]) {
    xattr_area(bytes);
    kept::<XattrTreeRoot>(bytes);
    let Some(block) = kept::<XattrBlock>(bytes) else { return };
    let _ = block.verify(ANYWHERE, block.xb_fs_generation);
    if block.is_indexed() {
        let _ = XattrTreeRoot::of_block(bytes);
        extent_list(bytes.get(XattrTreeRoot::LIST_OFFSET..).unwrap_or_default());
    } else {
        xattr_area(&bytes[XattrBlock::AREA_OFFSET..]);
    }
}

fn xattr_area(bytes: &[u8]) {
    if kept::<XattrHeader>(bytes).is_none() {
        return;
    }
    let area = XattrArea::new(bytes).unwrap();
    for item in at_most(area.capacity(), area.items()) {
        let Ok(item) = item else { continue };
        assert_eq!(item.name.len(), usize::from(item.entry.xe_name_len));
        if item.entry.is_local() {
            assert_eq!(item.stored.len() as u64, item.entry.xe_value_size);
        } else {
            kept::<XattrValueRoot>(item.stored);
            let list = XattrValueRoot::list(item.stored).unwrap();
            at_most(1, list.records());
        }
        let size = item.entry.storage_size();
        assert!(size.is_none_or(|size| size >= item.name.len()));
        item.entry.prefix();
    }
    let entries = at_most(bytes.len() / XattrEntry::SIZE, area.entries());
    if area.verify(ANYWHERE).is_ok() {
        assert_eq!(entries.len(), usize::from(area.header.xh_count));
        assert!(area.items().all(|item| item.is_ok()));
    }
}

pub fn refcount(bytes: &[u8]) {
    let Some(block) = kept::<RefcountBlock>(bytes) else { return };
    let _ = block.verify(ANYWHERE, block.rf_fs_generation);
    let list = &bytes[RefcountBlock::LIST_OFFSET..];
    if block.is_tree() {
        extent_list(list);
    } else if let Ok(list) = RefcountList::new(list) {
        let records = at_most(list.capacity(), list.records());
        kept::<RefcountRec>(&bytes[RefcountBlock::LIST_OFFSET..]);
        if list.verify(ANYWHERE).is_ok() {
            assert_eq!(records.len(), usize::from(list.header.rl_used));
        }
    }
}
