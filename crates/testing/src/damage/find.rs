//! Finding something to be damaged.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::extent::ExtentRec;
use ocfs2_volume::Inode;
use ocfs2_volume::allocator::Group;

use super::Image;

impl Image {
    /// The first inode in use, not of a system file, that is as `wanted`; `what` says what is
    /// looked for.
    pub fn find(&self, what: &str, mut wanted: impl FnMut(&Inode) -> bool) -> Inode {
        let inodes = self.volume().inodes().map(Result::unwrap);
        inodes
            .filter(|inode| !inode.dinode.flags().contains(InodeFlags::SYSTEM))
            .find(|inode| wanted(inode))
            .unwrap_or_else(|| panic!("there is no {what} in {}", self.path().display()))
    }

    /// A regular file that shares nothing, with extents in its dinode.
    pub fn file(&self) -> Inode {
        self.find("plain file", |inode| {
            inode.kind() == Some(FileKind::Regular)
                && inode.dinode.i_clusters > 0
                && inode.dinode.i_dyn_features == 0
                && inode.extent_list().is_ok_and(|list| list.header.l_tree_depth == 0)
        })
    }

    /// A regular file with a tree of that many levels of extent blocks.
    pub fn tree(&self, depth: u16) -> Inode {
        self.find("file with a tree of that depth", |inode| {
            inode.extent_list().is_ok_and(|list| list.header.l_tree_depth == depth)
        })
    }

    /// The first record of an inode's own extent list.
    pub fn first_record(&self, inode: &Inode) -> ExtentRec {
        inode.extent_list().unwrap().record(0).unwrap()
    }

    /// A directory whose entries are in blocks, with an index or without.
    pub fn directory(&self, indexed: bool) -> Inode {
        self.find("directory with blocks", |inode| {
            inode.is_dir() && !inode.is_inline() && self.volume().is_indexed(inode) == indexed
        })
    }

    /// Where the blocks of a directory are.
    pub fn dir_blocks(&self, dir: &Inode) -> Vec<Blkno> {
        let blocks = self.volume().dir_blocks(dir).unwrap();
        blocks.map(|block| block.unwrap().blkno).collect()
    }

    /// The groups of an allocator, the global bitmap or another one.
    pub fn groups(&self, name: &str) -> Vec<Group> {
        let allocator = match name {
            "global_bitmap" => self.volume().global_bitmap().unwrap(),
            _ => self.volume().allocator(self.system(name)).unwrap(),
        };
        self.volume().groups(&allocator).map(Result::unwrap).collect()
    }
}
