//! Finding something to damage.

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::{Dinode, FileKind, InodeFlags};
use ocfs2_format::extent::ExtentRec;
use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::Inode;
use ocfs2_volume::allocator::Group;

use super::{Image, edit_list};

impl Image {
    /// Returns the first inode in use, other than system files, that is as `wanted`. `what`
    /// describes it if there is none.
    pub fn find(&self, what: &str, mut wanted: impl FnMut(&Inode) -> bool) -> Inode {
        let inodes = self.volume().inodes().map(Result::unwrap);
        inodes
            .filter(|inode| !inode.dinode.flags().contains(InodeFlags::SYSTEM))
            .find(|inode| wanted(inode))
            .unwrap_or_else(|| panic!("there is no {what} in {}", self.path().display()))
    }

    /// Returns a regular file that shares nothing, with extents in its dinode.
    pub fn file(&self) -> Inode {
        self.find("plain file", |inode| {
            inode.kind() == Some(FileKind::Regular)
                && inode.dinode.i_clusters > 0
                && inode.dinode.i_dyn_features == 0
                && inode.extent_list().is_ok_and(|list| list.header.l_tree_depth == 0)
        })
    }

    /// Returns a regular file whose tree has `depth` levels of extent blocks.
    pub fn tree(&self, depth: u16) -> Inode {
        self.find("file with a tree of that depth", |inode| {
            inode.extent_list().is_ok_and(|list| list.header.l_tree_depth == depth)
        })
    }

    /// Returns the first record of an inode's own extent list.
    pub fn first_record(&self, inode: &Inode) -> ExtentRec {
        inode.extent_list().unwrap().record(0).unwrap()
    }

    /// Returns a directory whose entries are in blocks, with an index or without.
    pub fn directory(&self, indexed: bool) -> Inode {
        self.find("directory with blocks", |inode| {
            inode.is_dir() && !inode.is_inline() && self.volume().is_indexed(inode) == indexed
        })
    }

    /// Returns the blocks of a directory.
    pub fn dir_blocks(&self, dir: &Inode) -> Vec<Blkno> {
        let blocks = self.volume().dir_blocks(dir).unwrap();
        blocks.map(|block| block.unwrap().blkno).collect()
    }

    /// Returns the groups of an allocator, the global bitmap or another one.
    pub fn groups(&self, name: &str) -> Vec<Group> {
        let allocator = match name {
            "global_bitmap" => self.volume().global_bitmap().unwrap(),
            _ => self.volume().allocator(self.system(name)).unwrap(),
        };
        self.volume().groups(&allocator).map(Result::unwrap).collect()
    }

    /// Returns the group and the bit in it that stand for a cluster.
    fn place_of(&self, cluster: Cluster) -> (Group, u32) {
        let (group, bit) = self.volume().geometry().group_of(cluster);
        let blkno = self.volume().geometry().group_blkno(group);
        let groups = self.groups("global_bitmap");
        (groups.into_iter().find(|group| group.blkno == blkno).unwrap(), bit)
    }

    /// Returns the first of `count` consecutive free clusters.
    pub fn free_clusters(&self, count: usize) -> Cluster {
        let groups = self.groups("global_bitmap");
        let mut free = groups.iter().filter_map(|group| {
            let run = group.bitmap().runs(false).find(|run| run.len() >= count)?;
            self.volume().cluster_of_bit(group, run.start as u32)
        });
        free.next().unwrap_or_else(|| panic!("there are no {count} free clusters in a row"))
    }

    /// Returns the first block of a free cluster.
    pub fn free_block(&self) -> Blkno {
        self.volume().geometry().block_of(self.free_clusters(1))
    }

    /// Returns whether a cluster is free in the global bitmap.
    pub fn is_free(&self, cluster: Cluster) -> bool {
        let (group, bit) = self.place_of(cluster);
        !group.bitmap().get(bit as usize)
    }

    /// Marks a cluster as used or free, and adjusts the counts in its group, its chain and the
    /// bitmap.
    pub fn mark_cluster(&self, cluster: Cluster, used: bool) {
        let (group, bit) = self.place_of(cluster);
        self.mark("global_bitmap", &group, bit, used);
    }

    /// Marks a bit of a group as used or free, and adjusts the counts in the group, the chain and
    /// the allocator.
    pub fn mark(&self, allocator: &str, group: &Group, bit: u32, used: bool) {
        assert_ne!(group.bitmap().get(bit as usize), used, "bit {bit} is so already");
        // One free bit more or less: it wraps, so that both are an addition.
        let one = if used { u32::MAX } else { 1 };
        self.edit_group(group.blkno, |desc, bitmap| {
            desc.bg_free_bits_count = desc.bg_free_bits_count.wrapping_add(one as u16);
            bitmap[bit as usize / 8] ^= 1 << (bit % 8);
        });
        self.edit_chains(allocator, |dinode, _, chains| {
            let chain = &mut chains[usize::from(group.chain)];
            chain.c_free = chain.c_free.wrapping_add(one);
            let (taken, total) = dinode.bitmap();
            dinode.set_bitmap(taken.wrapping_sub(one), total);
        });
    }

    /// Changes an allocator: its inode, the head of its chain list, and its chains including the
    /// unused ones.
    pub fn edit_chains(
        &self,
        allocator: &str,
        change: impl FnOnce(&mut Dinode, &mut ChainListHeader, &mut [ChainRec]),
    ) {
        self.edit_dinode(self.system(allocator).blkno, |dinode, id2| {
            edit_list(id2, |header, chains| change(dinode, header, chains));
        });
    }
}
