//! Volumes that claim more than there is, to keep their readers busy.

use ocfs2_format::dinode::{Dinode, DynFeatures};
use ocfs2_format::extent::{
    ExtentBlock, ExtentFlags, ExtentListHeader, ExtentRec, write_extent_list,
};
use ocfs2_format::{Blkno, Block, BlockCheck, Cluster, Cpos, Structure};

use super::{Image, edit_list};

impl Image {
    /// Gives an inode whose contents are in clusters everything from its first cluster to the end
    /// of the volume, as often as its list has room for it.
    pub fn alias(&self, blkno: Blkno) {
        let inode = self.volume().inode(blkno).unwrap();
        let first = self.first_record(&inode).e_blkno;
        let geometry = *self.volume().geometry();
        let start = geometry.cluster_of(first).unwrap().0;
        let count = u16::try_from(geometry.clusters - start).unwrap_or(u16::MAX);
        self.edit_dinode(blkno, |dinode, id2| {
            edit_list(id2, |list: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                list.l_next_free_rec = list.l_count;
                for (index, record) in (0..list.l_count.into()).zip(records.iter_mut()) {
                    let cpos = Cpos(index * u32::from(count));
                    *record = ExtentRec::leaf(cpos, count, ExtentFlags::empty(), first);
                }
                let clusters = u32::from(list.l_count) * u32::from(count);
                dinode.i_clusters = clusters;
                dinode.i_size = u64::from(clusters) << geometry.cluster_size.bits();
            });
        });
    }

    /// Gives all regular files the same extent tree: a level of blocks that point to `leaves`
    /// leaves, which are full of extents of one cluster, all in free clusters.
    pub fn share_tree(&self, leaves: u32) {
        let geometry = *self.volume().geometry();
        let per_block = u32::from(ExtentBlock::list_capacity(geometry.block_size));
        let tops = leaves.div_ceil(per_block);
        let blocks = self.free_clusters((tops + leaves) as usize).0;
        let block_of = |number: u32| geometry.block_of(Cluster(blocks + number));
        let free = self.volume().geometry().clusters - (blocks + tops + leaves);
        let leaf = |number: u32| -> Vec<ExtentRec> {
            let first = number * per_block;
            let data = |index: u32| Cluster(blocks + tops + leaves + (first + index) % free);
            (0..per_block)
                .map(|index| {
                    let (cpos, blkno) = (Cpos(first + index), geometry.block_of(data(index)));
                    ExtentRec::leaf(cpos, 1, ExtentFlags::empty(), blkno)
                })
                .collect()
        };
        let above = |first: u32, count: u32, base: u32, each: u32| -> Vec<ExtentRec> {
            let record = |index: u32| {
                let cpos = Cpos((first + index) * each);
                ExtentRec::interior(cpos, each, block_of(base + first + index))
            };
            (0..count).map(record).collect()
        };
        for number in 0..leaves {
            let next = if number + 1 < leaves { block_of(tops + number + 1) } else { Blkno(0) };
            self.write_extent_block(block_of(tops + number), 0, &leaf(number), next);
        }
        for number in 0..tops {
            let first = number * per_block;
            let records = above(first, per_block.min(leaves - first), tops, per_block);
            self.write_extent_block(block_of(number), 1, &records, Blkno(0));
        }
        let roots = above(0, tops, 0, per_block * per_block);
        for blkno in self.regular_files() {
            self.edit_dinode(blkno, |dinode, id2| {
                dinode.i_clusters = leaves * per_block;
                dinode.i_size = u64::from(dinode.i_clusters) << geometry.cluster_size.bits();
                dinode.i_last_eb_blk = block_of(tops + leaves - 1);
                write_extent_list(id2, 2, &roots).unwrap();
            });
        }
    }

    /// Gives all regular files the cluster of the first one.
    pub fn share_cluster(&self) {
        let files = self.regular_files();
        let first = self.first_record(&self.volume().inode(files[0]).unwrap());
        for blkno in files {
            self.edit_dinode(blkno, |_, id2| write_extent_list(id2, 0, &[first]).unwrap());
        }
    }

    /// Makes all regular files state more clusters than they have.
    pub fn misstate_all(&self) {
        for blkno in self.regular_files() {
            self.edit_dinode(blkno, |dinode, _| dinode.i_clusters += 1);
        }
    }

    fn regular_files(&self) -> Vec<Blkno> {
        let inodes = self.volume().inodes().map(Result::unwrap);
        let files = inodes.filter(|inode| {
            let dinode: &Dinode = &inode.dinode;
            dinode.i_clusters > 0
                && inode.kind() == Some(ocfs2_format::dinode::FileKind::Regular)
                && !dinode.flags().contains(ocfs2_format::dinode::InodeFlags::SYSTEM)
                && !dinode.dyn_features().contains(DynFeatures::INLINE_DATA)
        });
        files.map(|inode| inode.blkno).collect()
    }

    fn write_extent_block(&self, blkno: Blkno, depth: u16, records: &[ExtentRec], next: Blkno) {
        let header = ExtentBlock {
            h_signature: ExtentBlock::SIGNATURE,
            h_check: BlockCheck::default(),
            h_suballoc_slot: 0,
            h_suballoc_bit: 0,
            h_fs_generation: self.volume().generation(),
            h_blkno: blkno,
            h_suballoc_loc: Blkno(0),
            h_next_leaf_blk: next,
        };
        self.write(blkno, &vec![0; self.volume().block_size().size()]);
        self.edit_block(blkno, ExtentBlock::CHECK_OFFSET, |block| {
            header.encode(block).unwrap();
            write_extent_list(&mut block[ExtentBlock::LIST_OFFSET..], depth, records).unwrap();
        });
    }
}
