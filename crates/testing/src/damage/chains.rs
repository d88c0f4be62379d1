//! Chain allocators, their groups, and the bitmap of clusters.

use super::CFsck::{GivesUp, Same};
use super::{CLUSTER_4K, DISKS_1M, Recipe};

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "GROUP_BLKNO",
        name: "a group states another block as its own",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0001");
            image.edit_group(groups[0].blkno, |group, _| group.bg_blkno.0 += 1);
        },
        found: &["GROUP_BLKNO"],
        c: GivesUp,
    },
    Recipe {
        code: "CHAIN_I_SIZE",
        name: "an allocator is longer than its clusters",
        on: DISKS_1M,
        damage: |image| {
            let alloc = image.system("inode_alloc:0000");
            image.edit_dinode(alloc.blkno, |dinode, _| dinode.i_size += 4096);
        },
        found: &["CHAIN_I_SIZE"],
        c: Same,
    },
];
