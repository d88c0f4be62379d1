//! Inodes, inline data, symbolic links, local allocs, truncate logs, extent trees.

use ocfs2_format::extent::{ExtentListHeader, ExtentRec};

use super::CFsck::{Differs, GivesUp, Same};
use super::{ONE_OF_ALL_1K, Recipe, edit_list};

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "INODE_BLKNO",
        name: "a file states another block as its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.file();
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_blkno.0 += 1);
        },
        found: &["INODE_BLKNO"],
        c: Differs {
            codes: &["INODE_BLKNO", "INODE_COUNT"],
            status: 0,
            why: "It counts the links of the block that the inode states.",
        },
    },
    Recipe {
        code: "INODE_NZ_DTIME",
        name: "a file in use was deleted",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.file();
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_dtime = 1_700_000_000);
        },
        found: &["INODE_NZ_DTIME"],
        c: Same,
    },
    Recipe {
        code: "INODE_SPARSE_CLUSTERS",
        name: "a file has fewer clusters than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.file();
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_clusters += 1);
        },
        found: &["INODE_SPARSE_CLUSTERS"],
        c: Same,
    },
    Recipe {
        code: "EB_BLKNO",
        name: "an extent block states another block as its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let blkno = image.first_record(&image.tree(1)).e_blkno;
            image.edit_extent_block(blkno, |eb, _| eb.h_blkno.0 += 1);
        },
        found: &["EB_BLKNO"],
        c: GivesUp,
    },
    Recipe {
        code: "EXTENT_LIST_COUNT",
        name: "an extent block has room for more records than fit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let blkno = image.first_record(&image.tree(1)).e_blkno;
            image.edit_extent_block(blkno, |_, list| {
                edit_list(list, |header: &mut ExtentListHeader, _: &mut [ExtentRec]| {
                    header.l_count += 1;
                });
            });
        },
        found: &["EXTENT_LIST_COUNT"],
        c: Same,
    },
];
