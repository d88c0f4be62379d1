//! Damage that kernels reject and the C fsck accepts: flags and numbers that do not fit an inode,
//! and wrong counts that follow from the block size.

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::dx::{DxEntry, DxEntryListHeader, DxRoot};
use ocfs2_format::extent::{ExtentListHeader, ExtentRec, write_extent_list};
use ocfs2_format::inline::InlineData;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::refcount::{RefcountListHeader, RefcountRec};
use ocfs2_format::truncate_log::{TruncateLogHeader, TruncateRec};
use ocfs2_format::{Blkno, Structure};

use super::CFsck::{self, Differs, Follows, NotCompared};
use super::image::edit_header;
use super::{Base, CLUSTER_4K, EMPTY, Image, ONE_OF_ALL_1K, Recipe, edit_list};

/// The C fsck never examines this.
const BLIND: CFsck = Differs { codes: &[], status: 0, why: "It never looks at this." };
/// The C fsck only notices counts that are too large.
const TOO_MANY_ONLY: CFsck =
    Differs { codes: &[], status: 0, why: "It takes a count that is smaller than it has to be." };

/// Changes the flags of an inode.
fn edit_flags(image: &Image, blkno: Blkno, change: impl FnOnce(&mut InodeFlags)) {
    image.edit_dinode(blkno, |dinode, _| {
        let mut flags = dinode.flags();
        change(&mut flags);
        dinode.i_flags = flags.bits();
    });
}

/// Changes the capacity that the extent list of an inode states.
fn set_room(image: &Image, blkno: Blkno, change: impl FnOnce(&mut ExtentListHeader)) {
    image.edit_dinode(blkno, |_, id2| {
        edit_list(id2, |header: &mut ExtentListHeader, _: &mut [ExtentRec]| change(header));
    });
}

/// Makes a file look as if a direct write to it was interrupted, and `slot` listed it.
fn write_directly(image: &Image, slot: u16) {
    image.edit_dinode(image.file().blkno, |dinode, _| {
        dinode.i_flags |= InodeFlags::DIO_ORPHANED.bits();
        dinode.i_dio_orphaned_slot = slot;
    });
}

/// Removes the size and the entries of an inline directory, as C `tunefs.ocfs2 -N` leaves one that
/// it could not finish.
fn empty(dinode: &mut Dinode, id2: &mut [u8]) {
    dinode.i_size = 0;
    id2[InlineData::SIZE..].fill(0);
}

/// Returns the root of an index with leaves.
fn index_root(image: &Image) -> Blkno {
    let dir = image.find("directory with leaves of an index", |inode| {
        inode.is_dir() && !inode.is_inline() && image.volume().is_indexed(inode) && {
            let root = image.read(inode.dinode.i_dx_root);
            !DxRoot::decode(&root).unwrap().is_inline()
        }
    });
    dir.dinode.i_dx_root
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "INODE_SYSTEM_FLAG",
        name: "a file says that it is one of the system",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_flags(image, image.file().blkno, |flags| flags.insert(InodeFlags::SYSTEM));
        },
        found: &["INODE_SYSTEM_FLAG"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_SYSTEM_FLAG",
        name: "a directory says that it is one of the system",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/large").blkno;
            edit_flags(image, dir, |flags| flags.insert(InodeFlags::SYSTEM));
        },
        found: &["INODE_SYSTEM_FLAG"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_SYSTEM_FLAG",
        name: "the root directory does not say that it is one of the system",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_flags(image, image.inode("/").blkno, |flags| flags.remove(InodeFlags::SYSTEM));
        },
        found: &["INODE_SYSTEM_FLAG"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_SYSTEM_FLAG",
        name: "the system directory does not say that it is one of the system",
        on: EMPTY,
        damage: |image| {
            let dir = image.volume().superblock().s_system_dir_blkno;
            edit_flags(image, dir, |flags| flags.remove(InodeFlags::SYSTEM));
        },
        found: &["INODE_SYSTEM_FLAG"],
        c: BLIND,
    },
    Recipe {
        code: "SYSTEM_FILE_INVALID",
        name: "a truncate log does not say that it is one of the system",
        on: EMPTY,
        damage: |image| {
            let log = image.system("truncate_log:0000").blkno;
            edit_flags(image, log, |flags| flags.remove(InodeFlags::SYSTEM));
        },
        found: &["SYSTEM_FILE_INVALID"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_RDEV",
        name: "a file has a device number",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_dinode(image.file().blkno, |dinode, _| dinode.id1 = 0x801),
        found: &["INODE_RDEV"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_RDEV",
        name: "a symbolic link has a device number",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/special/fast").blkno, |dinode, _| {
                dinode.id1 = 1 << 40;
            });
        },
        found: &["INODE_RDEV"],
        c: BLIND,
    },
    Recipe {
        code: "DIR_SIZE_ZERO",
        name: "an orphan directory is empty in its inode",
        on: EMPTY,
        damage: |image| image.edit_dinode(image.system("orphan_dir:0000").blkno, empty),
        found: &["DIR_SIZE_ZERO"],
        c: Differs {
            codes: &["DIRENT_LENGTH", "DIR_DOTDOT"],
            status: 8,
            why: "It reads the zeros as entries, and gives up.",
        },
    },
    Recipe {
        code: "DIR_SIZE_ZERO",
        name: "a directory in its inode has entries and no size",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/dirs/empty").blkno, |dinode, _| dinode.i_size = 0);
        },
        found: &["DIR_SIZE_ZERO"],
        c: BLIND,
    },
    Recipe {
        code: "DIR_SIZE_ZERO",
        name: "a directory has blocks with entries and no size",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/dirs/large").blkno, |dinode, _| dinode.i_size = 0);
        },
        found: &["DIR_SIZE_ZERO"],
        c: Differs {
            codes: &["DIR_DOTDOT", "INODE_COUNT", "INODE_NOT_CONNECTED"],
            status: 0,
            why: "It takes the directory for an empty one.",
        },
    },
    Recipe {
        code: "DIR_ZERO",
        name: "a directory has a size and no block",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/dirs/empty").blkno, |dinode, id2| {
                (dinode.i_dyn_features, dinode.i_size) = (0, 16_384);
                id2.fill(0);
                write_extent_list(id2, 0, &[]).unwrap();
            });
        },
        found: &["DIR_ZERO"],
        c: Follows(&["DIR_DOTDOT", "DIR_ZERO", "INODE_COUNT"]),
    },
    Recipe {
        code: "ORPHAN_FLAG",
        name: "a direct write to a file was interrupted by a slot that is none",
        on: ONE_OF_ALL_1K,
        damage: |image| write_directly(image, 99),
        found: &["ORPHAN_FLAG"],
        c: BLIND,
    },
    Recipe {
        code: "ORPHAN_FLAG",
        name: "a direct write to a file was interrupted and no slot lists it",
        on: ONE_OF_ALL_1K,
        damage: |image| write_directly(image, 0),
        found: &["ORPHAN_FLAG"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_SUBALLOC",
        name: "a file states a slot that is none as its allocator's",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_suballoc_slot = 200);
        },
        found: &["INODE_SUBALLOC"],
        c: CFsck::Same,
    },
    Recipe {
        code: "EXTENT_LIST_COUNT",
        name: "a pipe has no room for extents",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let pipe = image.find("pipe", |inode| inode.kind() == Some(FileKind::Fifo));
            set_room(image, pipe.blkno, |header| header.l_count = 0);
        },
        found: &["EXTENT_LIST_COUNT"],
        c: BLIND,
    },
    Recipe {
        code: "EXTENT_LIST_COUNT",
        name: "the list of bad blocks has no room for any",
        on: EMPTY,
        damage: |image| {
            set_room(image, image.system("bad_blocks").blkno, |header| header.l_count = 0);
        },
        found: &["EXTENT_LIST_COUNT"],
        c: BLIND,
    },
    Recipe {
        code: "EXTENT_LIST_COUNT",
        name: "a file has less room for extents than it has extents",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            set_room(image, image.tree(1).blkno, |header| {
                header.l_count = header.l_next_free_rec - 1;
            });
        },
        found: &["EXTENT_LIST_COUNT"],
        c: NotCompared("It takes the count to be right, and would lose what is beyond."),
    },
    Recipe {
        code: "EXTENT_LIST_COUNT",
        name: "an extent block has room for fewer records than fit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            // The last leaf has room.
            let leaf = image.tree(1).dinode.i_last_eb_blk;
            image.edit_extent_block(leaf, |_, list| {
                edit_list(list, |header: &mut ExtentListHeader, _: &mut [ExtentRec]| {
                    assert!(header.l_next_free_rec < header.l_count);
                    header.l_count -= 1;
                });
            });
        },
        found: &["EXTENT_LIST_COUNT"],
        c: TOO_MANY_ONLY,
    },
    Recipe {
        code: "CHAIN_COUNT",
        name: "an allocator has room for fewer chains than fit",
        on: CLUSTER_4K,
        damage: |image| {
            let edit = |_: &mut Dinode, header: &mut ChainListHeader, _: &mut [ChainRec]| {
                header.cl_count -= 1;
            };
            image.edit_chains("inode_alloc:0001", edit);
        },
        found: &["CHAIN_COUNT"],
        c: TOO_MANY_ONLY,
    },
    Recipe {
        code: "CHAIN_COUNT",
        name: "the bitmap of clusters has room for fewer chains than fit",
        on: EMPTY,
        damage: |image| image.edit_chains("global_bitmap", |_, header, _| header.cl_count -= 1),
        found: &["CHAIN_COUNT"],
        c: TOO_MANY_ONLY,
    },
    Recipe {
        code: "DISCONTIG_BG_COUNT",
        name: "the list of a group in pieces has less room than there is",
        on: CLUSTER_4K,
        damage: |image| super::chains::edit_pieces(image, |header, _| header.l_count -= 1),
        found: &["DISCONTIG_BG_COUNT"],
        c: TOO_MANY_ONLY,
    },
    Recipe {
        code: "DEALLOC_COUNT",
        name: "a truncate log has no room for records",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.system("truncate_log:0000").blkno, |_, id2| {
                edit_list(id2, |header: &mut TruncateLogHeader, _: &mut [TruncateRec]| {
                    header.tl_count = 0;
                });
            });
        },
        found: &["DEALLOC_COUNT"],
        c: BLIND,
    },
    Recipe {
        code: "LALLOC_SIZE",
        name: "a local alloc has no bitmap",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.system("local_alloc:0000").blkno, |_, id2| {
                edit_header(id2, |alloc: &mut LocalAlloc, _| alloc.la_size = 0);
            });
        },
        found: &["LALLOC_CLEAR", "LALLOC_SIZE"],
        c: BLIND,
    },
    Recipe {
        code: "DX_TREE_CORRUPT",
        name: "the root of an index has room for fewer extents than fit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dx_root(index_root(image), |_, list| {
                edit_list(list, |header: &mut ExtentListHeader, _: &mut [ExtentRec]| {
                    header.l_count -= 1;
                });
            });
        },
        found: &["DX_TREE_CORRUPT"],
        c: TOO_MANY_ONLY,
    },
    Recipe {
        code: "DX_LEAF_INVALID",
        name: "a leaf of the index of a directory has room for fewer entries than fit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let leaf = super::directories::first_leaf(image, "/dirs/large");
            image.edit_dx_leaf(leaf, |_, list| {
                edit_list(list, |header: &mut DxEntryListHeader, _: &mut [DxEntry]| {
                    header.de_count = header.de_num_used;
                });
            });
        },
        found: &["DX_LEAF_INVALID"],
        c: TOO_MANY_ONLY,
    },
    Recipe {
        code: "REFCOUNT_LIST_COUNT",
        name: "a refcount block has room for fewer records than fit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = super::refcounts::one_block(image);
            image.edit_refcount_block(root, |_, list| {
                edit_list(list, |header: &mut RefcountListHeader, _: &mut [RefcountRec]| {
                    header.rl_count -= 1;
                });
            });
        },
        found: &["REFCOUNT_LIST_COUNT"],
        c: TOO_MANY_ONLY,
    },
    Recipe {
        code: "XATTR_BUCKET_FULL",
        name: "Linux has put more attributes into buckets than fit into their first blocks",
        on: Base::Fixture("clean-512-local"),
        damage: |image| {
            image.find("buckets", |inode| {
                inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR)
            });
        },
        found: &["XATTR_BUCKET_FULL"],
        c: BLIND,
    },
];
