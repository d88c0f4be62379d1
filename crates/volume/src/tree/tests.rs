use ocfs2_format::extent::write_extent_list;
use ocfs2_format::{Block, BlockCheck};

use super::*;
use crate::sample::{self, GENERATION};
use ocfs2_device::Device;

/// A record of a leaf: two clusters a piece, stored at 100 clusters plus its position.
fn leaf(cpos: u32) -> ExtentRec {
    let blkno = Blkno((100 + u64::from(cpos)) * 8);
    ExtentRec::leaf(Cpos(cpos), 2, ExtentFlags::empty(), blkno)
}

fn inner(cpos: u32, clusters: u32, blkno: u64) -> ExtentRec {
    ExtentRec::interior(Cpos(cpos), clusters, Blkno(blkno))
}

fn list(depth: u16, records: &[ExtentRec]) -> Vec<u8> {
    let mut bytes = vec![0; 320];
    write_extent_list(&mut bytes, depth, records).unwrap();
    bytes
}

fn put(device: &dyn Device, blkno: u64, depth: u16, records: &[ExtentRec]) {
    let mut block = vec![0; 512];
    let header = ExtentBlock {
        h_signature: ExtentBlock::SIGNATURE,
        h_check: BlockCheck::default(),
        h_suballoc_slot: 0,
        h_suballoc_bit: 0,
        h_fs_generation: GENERATION,
        h_blkno: Blkno(blkno),
        h_suballoc_loc: Blkno(0),
        // Leads astray whoever follows it.
        h_next_leaf_blk: Blkno(blkno),
    };
    header.encode(&mut block).unwrap();
    write_extent_list(&mut block[ExtentBlock::LIST_OFFSET..], depth, records).unwrap();
    device.write_at(&block, blkno * 512).unwrap();
}

/// What a walk returns: positions of the extents, and the text of errors.
fn walk(tree: &Tree<'_>) -> Vec<String> {
    let told = |extent: Result<Extent, Error>| match extent {
        Ok(extent) => extent.cpos.to_string(),
        Err(err) => err.to_string(),
    };
    tree.extents().map(told).collect()
}

fn tree<'v>(volume: &'v Volume, root: &[u8]) -> Tree<'v> {
    Tree::new(volume, Blkno(50), &ExtentList::new(root).unwrap()).unwrap()
}

#[test]
fn a_tree_of_two_levels_is_walked_and_searched() {
    let (volume, device) = sample::volume();
    // The kernel leaves an empty record where it removed the first ones.
    put(&device, 60, 0, &[ExtentRec::default(), leaf(4), leaf(6), leaf(10)]);
    put(&device, 61, 0, &[leaf(20), leaf(30)]);
    put(&device, 62, 1, &[inner(2, 18, 60), inner(20, 12, 61)]);
    put(&device, 63, 0, &[leaf(40)]);
    put(&device, 64, 1, &[inner(36, 6, 63)]);
    let root = list(2, &[inner(0, 36, 62), inner(36, 6, 64)]);
    let mut tree = tree(&volume, &root);
    assert_eq!(walk(&tree), ["4", "6", "10", "20", "30", "40"]);
    let mut extents = tree.extents();
    assert_eq!(extents.by_ref().count(), 6);
    let blocks: HashSet<_> = extents.extent_blocks().collect();
    assert_eq!(blocks, (60..=64).map(Blkno).collect());

    let mut at = 0_u64;
    let mut segments = Vec::new();
    while at < 50 {
        let segment = tree.segment(Cpos(at as u32)).unwrap();
        assert!(segment.range.contains(&at), "{segment:?}");
        assert_eq!(segment.extent.is_some(), tree.map(Cpos(at as u32)).unwrap().is_some());
        segments.push((at, segment.extent.is_some()));
        at = segment.range.end;
    }
    let stored: Vec<_> = segments.iter().filter(|s| s.1).map(|s| s.0).collect();
    assert_eq!(stored, [4, 6, 10, 20, 30, 40]);
    assert_eq!(at, END, "after the last extent there is one hole");

    let floor = |tree: &mut Tree<'_>, hash| tree.floor(hash).unwrap().map(|e| e.cpos.0);
    assert_eq!(floor(&mut tree, 3), None);
    assert_eq!(floor(&mut tree, 19), Some(10));
    assert_eq!(floor(&mut tree, u32::MAX), Some(40));
}

#[test]
fn a_loop_and_a_cross_link_are_found() {
    let (volume, device) = sample::volume();
    put(&device, 60, 1, &[inner(0, 9, 60)]);
    let root = list(2, &[inner(0, 9, 60)]);
    assert_eq!(walk(&tree(&volume, &root)), ["extent block 60: reached a second time"]);

    put(&device, 61, 0, &[leaf(0)]);
    let root = list(1, &[inner(0, 5, 61), inner(5, 5, 61), inner(10, 5, 50)]);
    assert_eq!(
        walk(&tree(&volume, &root)),
        ["0", "extent block 61: reached a second time", "extent block 50: reached a second time"]
    );
}

#[test]
fn what_is_wrong_is_told_and_the_rest_is_read() {
    let (volume, device) = sample::volume();
    put(&device, 60, 0, &[leaf(0), leaf(1), leaf(8), leaf(4), leaf(12)]);
    put(&device, 61, 1, &[leaf(20)]);
    put(&device, 62, 0, &[leaf(19), leaf(25), ExtentRec::default(), leaf(39)]);
    let records = [inner(0, 20, 60), inner(20, 4, 61), inner(24, 16, 62), inner(40, 4, 1 << 40)];
    let root = list(1, &records);
    let tree = tree(&volume, &root);
    assert_eq!(
        walk(&tree),
        [
            "0",
            "extent record 60: e_cpos is 1, expected 2 or above",
            "8",
            "extent record 60: e_cpos is 4, expected 10 or above",
            "12",
            "extent block 61: l_tree_depth is 1, expected 0",
            "extent record 62: e_cpos is 19, expected 24 or above",
            "25",
            "extent record 62: e_leaf_clusters is 0, expected at least 1",
            "extent record 62: e_leaf_clusters is 2, expected at most 1",
            "extent block: block 1099511627776 is outside the volume of 32768 blocks",
        ]
    );
    assert!(tree.map(Cpos(0)).is_err());
    assert!(tree.map(Cpos(41)).is_err());
}

#[test]
fn an_extent_outside_the_volume_or_between_clusters_is_wrong() {
    let (volume, _) = sample::volume();
    let at = |blkno| ExtentRec::leaf(Cpos(blkno as u32), 1, ExtentFlags::empty(), Blkno(blkno));
    let root = list(0, &[at(0), at(8), at(17), at(32_760), at(32_768)]);
    let expected = "expected the first of 8 blocks, at a cluster";
    assert_eq!(
        walk(&tree(&volume, &root)),
        [
            format!("extent record 50: e_blkno is 0, {expected}"),
            "8".to_owned(),
            format!("extent record 50: e_blkno is 17, {expected}"),
            "32760".to_owned(),
            format!("extent record 50: e_blkno is 32768, {expected}"),
        ]
    );
    // Refcount trees point to single blocks.
    let list = ExtentList::new(&root).unwrap();
    let blocks = Tree::of_blocks(&volume, Blkno(50), &list).unwrap();
    assert_eq!(walk(&blocks)[1..4], ["8", "17", "32760"]);
}

#[test]
fn the_end_of_all_positions_is_not_passed() {
    let (volume, _) = sample::volume();
    let last = ExtentRec::leaf(Cpos(u32::MAX - 1), 2, ExtentFlags::empty(), Blkno(800));
    let root = list(0, &[last]);
    let full = tree(&volume, &root);
    assert_eq!(full.segment(Cpos(u32::MAX)).unwrap().range, END - 2..END);
    let beyond = ExtentRec::leaf(Cpos(u32::MAX - 1), 3, ExtentFlags::empty(), Blkno(800));
    let root = list(0, &[beyond]);
    assert!(tree(&volume, &root).map(Cpos(u32::MAX)).is_err());
    let too_deep = list(6, &[]);
    let list = ExtentList::new(&too_deep).unwrap();
    assert!(Tree::new(&volume, Blkno(50), &list).is_err());
}
