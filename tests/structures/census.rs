//! Reads every structure of a volume in its place, and counts the structures.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use ocfs2_format::chain::{ChainList, ChainListHeader, ChainRec};
use ocfs2_format::check::{self, Checked};
use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, InodeFlags};
use ocfs2_format::dx::{DxLeaf, DxRoot};
use ocfs2_format::extent::{ExtentBlock, ExtentList, ExtentListHeader, ExtentRec};
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::heartbeat::{HeartbeatBlock, MAX_NODES};
use ocfs2_format::inline::InlineData;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::refcount::{
    RefcountBlock, RefcountFlags, RefcountList, RefcountListHeader, RefcountRec,
};
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::superblock::{ClusterInfo, SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::truncate_log::{TruncateLog, TruncateLogHeader, TruncateRec};
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block, Structure};

use crate::image::Image;

/// A piece of metadata with a block check.
#[derive(Clone, Debug)]
pub struct Guarded {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub check_offset: usize,
}

pub struct Census {
    pub image: Image,
    /// Number of structures of each kind, and of some special cases.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first piece of each kind.
    pub guarded: BTreeMap<&'static str, Guarded>,
    /// Name of each inode, from a directory.
    pub names: HashMap<Blkno, Vec<u8>>,
    refcount_roots: BTreeSet<Blkno>,
}

/// Demands that decoding and encoding produce the same bytes, and no others.
fn keeps<T: Structure + Debug>(bytes: &[u8]) {
    let value = T::decode(bytes).unwrap();
    let mut encoded = vec![0xa5; T::SIZE + 1];
    value.encode(&mut encoded).unwrap();
    assert_eq!(encoded[..T::SIZE], bytes[..T::SIZE], "{value:?}");
    assert_eq!(encoded[T::SIZE], 0xa5, "{} is larger than it says", T::NAME);
}

impl Census {
    /// Visits everything on the fixture of that name.
    ///
    /// # Panics
    /// If anything is not as it has to be.
    pub fn take(name: &'static str) -> Self {
        let mut census = Self {
            image: Image::open(name),
            counts: BTreeMap::new(),
            guarded: BTreeMap::new(),
            names: HashMap::new(),
            refcount_roots: BTreeSet::new(),
        };
        census.superblock();
        let journals = census.live_dinodes(|dinode| dinode.flags().contains(InodeFlags::JOURNAL));
        for (blkno, block) in journals {
            census.journal(blkno, &block);
        }
        let dinodes = census.live_dinodes(|_| true);
        for (blkno, block) in &dinodes {
            census.directory(*blkno, block);
        }
        for (blkno, block) in &dinodes {
            census.dinode(*blkno, block);
        }
        for root in std::mem::take(&mut census.refcount_roots) {
            census.refcount_tree(root);
        }
        census.signatures();
        census
    }

    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// Counts one occurrence.
    pub fn add(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Returns the structure at the start of `bytes`, which has to encode to the same bytes.
    pub fn see<T: Structure + Debug>(&mut self, bytes: &[u8]) -> T {
        keeps::<T>(bytes);
        self.add(T::NAME);
        T::decode(bytes).unwrap()
    }

    /// Demands that the block check of `bytes` is correct, if the volume has block checks.
    pub fn guard(&mut self, name: &'static str, blkno: Blkno, bytes: &[u8], check_offset: usize) {
        if !self.image.has(Incompat::META_ECC) {
            return;
        }
        let checked = check::validate(bytes, check_offset);
        assert_eq!(checked, Checked::Good, "{}: {name} {blkno}", self.image.name);
        let mut stamped = bytes.to_vec();
        check::stamp(&mut stamped, check_offset);
        assert_eq!(stamped, bytes, "{}: {name} {blkno}", self.image.name);
        self.add("guarded block");
        let new = || Guarded { name, bytes: bytes.to_vec(), check_offset };
        self.guarded.entry(name).or_insert_with(new);
    }

    fn superblock(&mut self) {
        let block = self.image.read(SUPERBLOCK_BLKNO);
        self.see::<Dinode>(&block);
        self.see::<SuperBlock>(&block[Dinode::ID2_OFFSET..]);
        self.see::<ClusterInfo>(&block[0x160..]);
        self.guard("superblock", SUPERBLOCK_BLKNO, &block, Dinode::CHECK_OFFSET);
    }

    /// Returns the dinodes in use, which are those that state their own place, with the changes in
    /// the journals.
    fn live_dinodes(&self, wanted: impl Fn(&Dinode) -> bool) -> Vec<(Blkno, Vec<u8>)> {
        let mut blocks = BTreeMap::new();
        let mut keep = |blkno, block: &[u8]| {
            if !block.starts_with(&Dinode::SIGNATURE) {
                return;
            }
            let dinode = Dinode::decode(block).unwrap();
            if dinode.verify(blkno, self.image.generation()).is_ok() && wanted(&dinode) {
                blocks.insert(blkno, block.to_vec());
            }
        };
        self.image.scan(|blkno, block| {
            if !self.image.logged.contains_key(&blkno) {
                keep(blkno, block);
            }
        });
        self.image.logged.iter().for_each(|(blkno, block)| keep(*blkno, block));
        blocks.into_iter().collect()
    }

    /// Visits all blocks that start like metadata: in their places, in the journals, and freed
    /// ones, of which only the check is known to be correct.
    fn signatures(&mut self) {
        type Keeps = fn(&[u8]);
        let kinds: [([u8; 8], usize, Keeps); 8] = [
            (SUPERBLOCK_SIGNATURE, Dinode::CHECK_OFFSET, keeps::<Dinode>),
            (Dinode::SIGNATURE, Dinode::CHECK_OFFSET, keeps::<Dinode>),
            (ExtentBlock::SIGNATURE, ExtentBlock::CHECK_OFFSET, keeps::<ExtentBlock>),
            (GroupDesc::SIGNATURE, GroupDesc::CHECK_OFFSET, keeps::<GroupDesc>),
            (DxRoot::SIGNATURE, DxRoot::CHECK_OFFSET, keeps::<DxRoot>),
            (DxLeaf::SIGNATURE, DxLeaf::CHECK_OFFSET, keeps::<DxLeaf>),
            (XattrBlock::SIGNATURE, XattrBlock::CHECK_OFFSET, keeps::<XattrBlock>),
            (RefcountBlock::SIGNATURE, RefcountBlock::CHECK_OFFSET, keeps::<RefcountBlock>),
        ];
        let mut blocks = Vec::new();
        self.image.scan(|blkno, block| {
            let kind = kinds.iter().position(|(signature, ..)| block.starts_with(signature));
            blocks.extend(kind.map(|kind| (kind, blkno, block.to_vec())));
        });
        for (kind, blkno, block) in blocks {
            let (_, check_offset, keeps) = &kinds[kind];
            keeps(&block);
            self.add("block with a signature");
            self.guard("any block", blkno, &block, *check_offset);
        }
    }

    /// Returns the records of all leaves of the tree whose root list is `bytes`, in order.
    pub fn tree(&mut self, blkno: Blkno, bytes: &[u8]) -> Vec<ExtentRec> {
        self.see::<ExtentListHeader>(bytes);
        let list = ExtentList::new(bytes).unwrap();
        list.verify(blkno).unwrap();
        for index in 0..list.records().len() {
            self.see::<ExtentRec>(&bytes[ExtentListHeader::SIZE + index * ExtentRec::SIZE..]);
        }
        if list.header.l_tree_depth == 0 {
            return list.records().collect();
        }
        self.add("extent list above others");
        let children = list.records().flat_map(|rec| self.extent_block(rec.e_blkno));
        children.collect()
    }

    fn extent_block(&mut self, blkno: Blkno) -> Vec<ExtentRec> {
        let block = self.image.read(blkno);
        let header = self.see::<ExtentBlock>(&block);
        header.verify(blkno, self.image.generation()).unwrap();
        self.guard(ExtentBlock::NAME, blkno, &block, ExtentBlock::CHECK_OFFSET);
        let list = ExtentBlock::list(&block).unwrap();
        let capacity = ExtentBlock::list_capacity(self.image.block_size);
        assert_eq!(list.header.l_count, capacity);
        self.tree(blkno, &block[ExtentBlock::LIST_OFFSET..])
    }

    /// Returns the blocks of an inode's contents, in order.
    pub fn blocks_of(&mut self, blkno: Blkno, block: &[u8]) -> Vec<Blkno> {
        let dinode = Dinode::decode(block).unwrap();
        let records = self.tree(blkno, dinode.id2(block));
        let per_cluster = self.image.blocks_per_cluster();
        let size = u64::from(self.image.block_size.bytes());
        let blocks = records.iter().filter(|rec| rec.e_leaf_clusters() > 0).flat_map(|rec| {
            let count = u64::from(rec.e_leaf_clusters()) * per_cluster;
            (0..count).map(|index| Blkno(rec.e_blkno.0 + index))
        });
        blocks.take(dinode.i_size.div_ceil(size) as usize).collect()
    }

    fn dinode(&mut self, blkno: Blkno, block: &[u8]) {
        let dinode = self.see::<Dinode>(block);
        self.guard(Dinode::NAME, blkno, block, Dinode::CHECK_OFFSET);
        let id2 = dinode.id2(block).to_vec();
        match dinode.arm() {
            Arm::Super => panic!("dinode {blkno} says it is a superblock"),
            Arm::LocalAlloc => {
                let alloc = self.see::<LocalAlloc>(&id2);
                let (used, total) = dinode.bitmap();
                assert_eq!(alloc.la_size, LocalAlloc::bitmap_size(self.image.block_size));
                if total > 0 {
                    self.add("local alloc in use");
                    let bitmap = LocalAlloc::bitmap(&id2, total).unwrap();
                    assert_eq!(bitmap.count_ones(), used as usize);
                }
            }
            Arm::Chain => self.chains(blkno, &dinode, &id2),
            Arm::TruncateLog => {
                let header = self.see::<TruncateLogHeader>(&id2);
                assert_eq!(header.tl_count, TruncateLogHeader::capacity(self.image.block_size));
                for index in 0..usize::from(header.tl_used) {
                    let at = TruncateLogHeader::SIZE + index * TruncateRec::SIZE;
                    self.see::<TruncateRec>(&id2[at..]);
                }
                let records = TruncateLog::new(&id2).unwrap().records().count();
                assert_eq!(records, usize::from(header.tl_used));
            }
            Arm::InlineData => {
                self.see::<InlineData>(&id2);
                assert!(InlineData::data(&id2).unwrap().len() as u64 >= dinode.i_size);
            }
            Arm::Symlink => {
                self.add("fast symlink");
                assert_eq!(id2.iter().position(|byte| *byte == 0), Some(dinode.i_size as usize));
            }
            Arm::ExtentList => {
                let name = self.names.get(&blkno).cloned().unwrap_or_default();
                if dinode.flags().contains(InodeFlags::QUOTA) {
                    self.quota_file(blkno, block, &name);
                } else if dinode.flags().contains(InodeFlags::HEARTBEAT) {
                    self.heartbeat(blkno, block);
                } else if dinode.flags().contains(InodeFlags::SYSTEM) && name == b"slot_map" {
                    self.slot_map(blkno, block);
                } else if !dinode.flags().contains(InodeFlags::JOURNAL) {
                    self.tree(blkno, &id2);
                }
            }
        }
        self.xattrs(&dinode, block);
        if dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT) {
            self.refcount_roots.insert(dinode.i_refcount_loc);
        }
    }

    fn chains(&mut self, blkno: Blkno, dinode: &Dinode, id2: &[u8]) {
        let header = self.see::<ChainListHeader>(id2);
        let list = ChainList::new(id2).unwrap();
        list.verify(blkno).unwrap();
        let (used, total) = dinode.bitmap();
        let mut sum = (0, 0);
        for (chain, record) in list.records().enumerate() {
            self.see::<ChainRec>(&id2[ChainListHeader::SIZE + chain * ChainRec::SIZE..]);
            let mut counted = (0, 0);
            let mut next = record.c_blkno;
            while !next.is_none() {
                let desc = self.group(next, blkno, &header);
                assert_eq!(usize::from(desc.bg_chain), chain);
                counted.0 += u32::from(desc.bg_free_bits_count);
                counted.1 += u32::from(desc.bg_bits);
                next = desc.bg_next_group;
            }
            assert_eq!(counted, (record.c_free, record.c_total), "{} {blkno}", self.image.name);
            sum = (sum.0 + counted.0, sum.1 + counted.1);
        }
        assert_eq!((used, total), (sum.1 - sum.0, sum.1), "{} {blkno}", self.image.name);
    }

    fn group(&mut self, blkno: Blkno, parent: Blkno, list: &ChainListHeader) -> GroupDesc {
        let block = self.image.read(blkno);
        let block_size = self.image.block_size;
        let desc = self.see::<GroupDesc>(&block);
        desc.verify(blkno, self.image.generation()).unwrap();
        desc.verify_bits(blkno, parent, block_size).unwrap();
        self.guard(GroupDesc::NAME, blkno, &block, GroupDesc::CHECK_OFFSET);
        let bitmap = desc.bitmap(&block).unwrap();
        assert_eq!(bitmap.len() - bitmap.count_ones(), usize::from(desc.bg_free_bits_count));
        if let Some(runs) = desc.discontiguous(&block) {
            self.add("discontiguous group");
            runs.verify(blkno).unwrap();
            let clusters: u32 = runs.records().map(|rec| u32::from(rec.e_leaf_clusters())).sum();
            assert_eq!(u32::from(desc.bg_bits), clusters * u32::from(list.cl_bpc));
            self.tree(blkno, &block[GroupDesc::LIST_OFFSET..]);
        }
        desc
    }

    fn refcount_tree(&mut self, blkno: Blkno) {
        let block = self.image.read(blkno);
        let root = self.refcount_block(blkno, &block, Blkno(0));
        if !root.is_tree() {
            self.refcount_records(blkno, &block, 0);
            return;
        }
        self.add("refcount root with leaves");
        for rec in self.tree(blkno, &block[RefcountBlock::LIST_OFFSET..]) {
            let leaf_block = self.image.read(rec.e_blkno);
            let leaf = self.refcount_block(rec.e_blkno, &leaf_block, blkno);
            assert!(leaf.flags().contains(RefcountFlags::LEAF));
            assert_eq!((leaf.rf_cpos, leaf.rf_generation), (rec.e_cpos.0, root.rf_generation));
            self.refcount_records(rec.e_blkno, &leaf_block, rec.e_cpos.0.into());
        }
    }

    fn refcount_block(&mut self, blkno: Blkno, block: &[u8], root: Blkno) -> RefcountBlock {
        let header = self.see::<RefcountBlock>(block);
        header.verify(blkno, self.image.generation()).unwrap();
        header.verify_root(blkno, root).unwrap();
        self.guard(RefcountBlock::NAME, blkno, block, RefcountBlock::CHECK_OFFSET);
        header
    }

    fn refcount_records(&mut self, blkno: Blkno, block: &[u8], from: u64) {
        let bytes = &block[RefcountBlock::LIST_OFFSET..];
        self.see::<RefcountListHeader>(bytes);
        let list = RefcountList::new(bytes).unwrap();
        list.verify(blkno).unwrap();
        let mut end = from;
        for (index, rec) in list.records().enumerate() {
            self.see::<RefcountRec>(&bytes[RefcountListHeader::SIZE + index * RefcountRec::SIZE..]);
            assert!(rec.r_cpos >= end && rec.r_refcount > 0, "{} {blkno}", self.image.name);
            end = rec.r_cpos + u64::from(rec.r_clusters);
        }
    }

    fn heartbeat(&mut self, blkno: Blkno, block: &[u8]) {
        let map = self.blocks_of(blkno, block);
        let region = self.image.read_run(map[0], map.len() as u64);
        for (node, sector) in region.chunks_exact(512).take(MAX_NODES.into()).enumerate() {
            if sector.iter().all(|byte| *byte == 0) {
                continue;
            }
            let beat = self.see::<HeartbeatBlock>(sector);
            assert_eq!(usize::from(beat.hb_node), node);
            assert_eq!(HeartbeatBlock::checksum(sector), beat.hb_cksum);
        }
    }

    fn slot_map(&mut self, blkno: Blkno, block: &[u8]) {
        let map = self.blocks_of(blkno, block);
        let bytes = self.image.read_run(map[0], map.len() as u64);
        let format = match self.image.has(Incompat::EXTENDED_SLOT_MAP) {
            true => SlotMapFormat::Extended,
            false => SlotMapFormat::Old,
        };
        let taken = format.taken(&bytes, self.image.super_block.s_max_slots);
        let taken: Vec<_> = taken.collect();
        let mut copy = bytes.clone();
        for slot in &taken {
            self.add("slot that is taken");
            assert!(format.set(&mut copy, slot.slot, None));
            assert!(format.set(&mut copy, slot.slot, Some(slot.node)));
        }
        assert_eq!(copy, bytes, "{}", self.image.name);
    }

    /// Returns whether the volume has quotas.
    pub fn has_quota(&self) -> bool {
        let quota = RoCompat::USRQUOTA | RoCompat::GRPQUOTA;
        self.image.super_block.features().ro_compat.contains(quota)
    }
}
