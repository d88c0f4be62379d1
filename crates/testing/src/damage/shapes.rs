//! One wrong bit in the type of an inode.

use ocfs2_format::dinode::{DynFeatures, InodeFlags};

use super::CFsck::{Differs, Follows};
use super::{ONE_OF_ALL_1K, Recipe};

/// Recipes.
pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "INODE_BIT",
        name: "one bit says that a file with extents has its data inline",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/sizes/bytes-65536").blkno, |dinode, _| {
                dinode.i_dyn_features ^= DynFeatures::INLINE_DATA.bits();
            });
        },
        found: &["INODE_BIT"],
        c: Differs {
            codes: &[
                "CLUSTER_ALLOC_BIT",
                "INLINE_DATA_COUNT_INVALID",
                "INODE_INLINE_CLUSTERS",
                "INODE_INLINE_SIZE",
            ],
            status: 0,
            why: "It cuts the file to what fits its inode.",
        },
    },
    Recipe {
        code: "INODE_BIT",
        name: "one bit of the mode of a file makes it a socket",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/sizes/bytes-65536").blkno, |dinode, _| {
                dinode.i_mode ^= 1 << 14;
            });
        },
        found: &["INODE_BIT"],
        c: Differs {
            codes: &["DIRENT_TYPE"],
            status: 0,
            why: "It takes the type of the entry for wrong, and the contents are lost.",
        },
    },
    Recipe {
        code: "INODE_BIT",
        name: "one bit of the mode of a directory makes it a socket",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/dirs/large").blkno, |dinode, _| {
                dinode.i_mode ^= 1 << 15;
            });
        },
        found: &["INODE_BIT"],
        c: Differs {
            codes: &["DIRENT_TYPE", "INODE_COUNT", "INODE_NOT_CONNECTED"],
            status: 0,
            why: "It takes the type of the entry for wrong, and the names are lost.",
        },
    },
    Recipe {
        code: "INODE_UNMARKED",
        name: "one bit says that a file is not in use",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/sizes/bytes-65536").blkno, |dinode, _| {
                dinode.i_flags ^= InodeFlags::VALID.bits();
            });
        },
        found: &["INODE_UNMARKED"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "INODE_ALLOC_REPAIR", "INODE_COUNT"],
            status: 0,
            why: "It gives the file up.",
        },
    },
    Recipe {
        code: "INODE_UNMARKED",
        name: "one bit of the generation of a file is wrong",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/sizes/bytes-65536").blkno, |dinode, _| {
                dinode.i_fs_generation ^= 1;
            });
        },
        found: &["INODE_UNMARKED"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "INODE_ALLOC_REPAIR", "INODE_COUNT"],
            status: 0,
            why: "It gives the file up.",
        },
    },
    Recipe {
        code: "INODE_FLAGS",
        name: "one bit says that a file is the local alloc of a slot",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/sizes/bytes-65536").blkno, |dinode, _| {
                dinode.i_flags ^= InodeFlags::LOCAL_ALLOC.bits();
            });
        },
        found: &["INODE_FLAGS"],
        c: Follows(&["CLUSTER_ALLOC_BIT", "LALLOC_NZ_BM"]),
    },
];
