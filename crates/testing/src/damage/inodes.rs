//! Inodes, inline data, symbolic links, local allocs, truncate logs, extent trees.

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::feature::RoCompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::truncate_log::{TruncateLogHeader, TruncateRec};
use ocfs2_format::{Blkno, Cluster, Cpos};
use ocfs2_volume::Inode;

use super::CFsck::{Dies, Differs, Follows, GivesUp, NotCompared, Same};
use super::image::edit_header;
use super::{Base, DISKS_1M, EMPTY, Image, ONE_OF_ALL_1K, ONE_OF_ALL_512, Recipe, edit_list};

/// Without inline data.
const NO_INLINE: Base = Base::Made(
    &[
        "-M",
        "local",
        "-N",
        "1",
        "-b",
        "4K",
        "-C",
        "4K",
        "--fs-features=noinline-data,noindexed-dirs",
    ],
    "64M",
);
/// Without refcount trees.
const NO_REFCOUNT: Base = Base::Made(
    &["-M", "local", "-N", "1", "-b", "4K", "-C", "4K", "--fs-features=norefcount"],
    "64M",
);
/// Without unwritten extents.
const NO_UNWRITTEN: Base = Base::Made(
    &["-M", "local", "-N", "1", "-b", "4K", "-C", "4K", "--fs-features=nounwritten"],
    "64M",
);
/// Without holes in files.
const NO_SPARSE: Base = Base::Made(
    &[
        "-M",
        "local",
        "-N",
        "1",
        "-b",
        "4K",
        "-C",
        "4K",
        "--fs-features=nosparse,nounwritten,norefcount",
    ],
    "64M",
);

/// Why the C fsck reports nothing.
const NOT_LOOKED_AT_LINK: &str = "It does not look at links in their inode.";

/// Changes the extent list in a dinode, and the dinode itself.
fn edit_extents(
    image: &Image,
    inode: &Inode,
    change: impl FnOnce(&mut ocfs2_format::dinode::Dinode, &mut ExtentListHeader, &mut [ExtentRec]),
) {
    image.edit_dinode(inode.blkno, |dinode, id2| {
        edit_list(id2, |header, records| change(dinode, header, records));
    });
}

/// Changes the list in the first leaf of a file with a tree.
fn edit_first_leaf(image: &Image, change: impl FnOnce(&mut ExtentListHeader, &mut [ExtentRec])) {
    let leaf = image.first_record(&image.tree(1)).e_blkno;
    image.edit_extent_block(leaf, |_, list| edit_list(list, change));
}

/// Returns a file with two extents that shares nothing.
fn two_extents(image: &Image) -> Inode {
    image.find("file with two extents", |inode| {
        inode.dinode.i_dyn_features == 0
            && inode
                .extent_list()
                .is_ok_and(|list| list.header.l_tree_depth == 0 && list.header.l_next_free_rec == 2)
    })
}

/// Gives a file one more extent at its end.
fn append(image: &Image, inode: &Inode, clusters: u16, blkno: Blkno) {
    edit_extents(image, inode, |_, header, records| {
        let next = usize::from(header.l_next_free_rec);
        let last = records[next - 1];
        let end = last.e_cpos.0 + u32::from(last.e_leaf_clusters());
        records[next] = ExtentRec::leaf(Cpos(end), clusters, ExtentFlags::empty(), blkno);
        header.l_next_free_rec += 1;
    });
}

/// Changes the local alloc of the first slot: its inode and its header.
fn edit_local_alloc(
    image: &Image,
    change: impl FnOnce(&mut ocfs2_format::dinode::Dinode, &mut LocalAlloc),
) {
    image.edit_dinode(image.system("local_alloc:0000").blkno, |dinode, id2| {
        edit_header(id2, |alloc, _| change(dinode, alloc));
    });
}

/// Changes the truncate log of the first slot.
fn edit_truncate_log(
    image: &Image,
    change: impl FnOnce(&mut TruncateLogHeader, &mut [TruncateRec]),
) {
    let log = image.system("truncate_log:0000").blkno;
    image.edit_dinode(log, |_, id2| edit_list(id2, change));
}

/// Writes each of these blocks to the place of the next one, and the last to the place of the
/// first.
pub(super) fn exchange<const N: usize>(image: &Image, places: [Blkno; N]) {
    let blocks = places.map(|blkno| image.read(blkno));
    for (index, block) in blocks.iter().enumerate() {
        image.write(places[(index + 1) % N], block);
    }
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "INODE_ALLOC_REPAIR",
        name: "the bit of an inode that was deleted is set",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0000");
            let group = groups.iter().find(|group| group.free_bits() > 0).unwrap();
            let bit = group.bitmap().next(false, 0).unwrap();
            image.mark("inode_alloc:0000", group, bit as u32, true);
        },
        found: &["INODE_ALLOC_REPAIR"],
        c: Same,
    },
    Recipe {
        code: "INODE_SUBALLOC",
        name: "a file states the allocator of another slot",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_suballoc_slot = 1);
        },
        found: &["INODE_SUBALLOC"],
        c: Same,
    },
    Recipe {
        code: "INODE_GEN",
        name: "an inode in use is of an older volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_fs_generation ^= 1);
        },
        found: &["INODE_GEN", "INODE_GEN_FIX"],
        c: Same,
    },
    Recipe {
        code: "INODE_GEN_FIX",
        name: "a directory is of an older volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/dirs/empty").blkno, |dinode, _| {
                dinode.i_fs_generation ^= 1
            });
        },
        found: &["INODE_GEN", "INODE_GEN_FIX"],
        c: Same,
    },
    Recipe {
        code: "INODE_BLKNO",
        name: "a file states another block as its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_blkno.0 += 1);
        },
        found: &["INODE_BLKNO"],
        c: Differs {
            codes: &["INODE_BLKNO", "INODE_COUNT"],
            status: 0,
            why: "It counts the links of the block that the inode states.",
        },
    },
    Recipe {
        code: "BLOCK_MISPLACED",
        name: "an inode was written to the place of another one, too",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let place = image.inode("/sizes/bytes-1024").blkno;
            image.write(place, &image.read(image.inode("/sizes/bytes-1025").blkno));
        },
        found: &[
            "BLOCK_MISPLACED",
            "CLUSTER_ALLOC_BIT",
            "DUP_CLUSTERS_ADD_REFCOUNT",
            "DUP_CLUSTERS_CLONE",
            "DUP_CLUSTERS_DELETE",
        ],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "INODE_BLKNO", "INODE_COUNT"],
            status: 0,
            why: "It takes the inode for the one whose place it has.",
        },
    },
    Recipe {
        code: "BLOCK_MISPLACED",
        name: "an inode was written over that of an allocator",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let place = image.system("inode_alloc:0000").blkno;
            image.write(place, &image.read(image.inode("/sizes/bytes-1025").blkno));
        },
        found: &["BLOCK_MISPLACED", "INODE_COUNT"],
        c: Differs { codes: &[], status: 8, why: "It does not know that allocator, and gives up." },
    },
    Recipe {
        code: "BLOCK_MISPLACED",
        name: "the inode of a directory was written over that of the root",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let place = image.inode("/").blkno;
            image.write(place, &image.read(image.inode("/lost+found").blkno));
        },
        found: &[
            "BLOCK_MISPLACED",
            "DIRENT_DOT_INODE",
            "DIR_NOT_CONNECTED",
            "INODE_COUNT",
            "INODE_SYSTEM_FLAG",
            "LOSTFOUND_MISSING",
        ],
        c: NotCompared("It takes the inode for the one whose place it has."),
    },
    Recipe {
        code: "BLOCK_MISPLACED",
        name: "the root and the system directory were exchanged",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let system = image.volume().superblock().s_system_dir_blkno;
            exchange(image, [image.inode("/").blkno, system]);
        },
        found: &["BLOCK_MISPLACED", "SYSTEM_DIR_INVALID"],
        c: NotCompared("It finds no system files, and gives up."),
    },
    Recipe {
        code: "BLOCK_MISPLACED",
        name: "three inodes were exchanged in a circle",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let names = ["/sizes/bytes-1024", "/sizes/bytes-1025", "/sizes/bytes-4095"];
            exchange(image, names.map(|name| image.inode(name).blkno));
        },
        found: &["BLOCK_MISPLACED"],
        c: Differs {
            codes: &["INODE_BLKNO"],
            status: 0,
            why: "It takes the inode for the one whose place it has.",
        },
    },
    Recipe {
        code: "BLOCK_MISPLACED",
        name: "two inodes were exchanged",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            exchange(
                image,
                ["/sizes/bytes-1024", "/sizes/bytes-1025"].map(|it| image.inode(it).blkno),
            );
        },
        found: &["BLOCK_MISPLACED"],
        c: Differs {
            codes: &["INODE_BLKNO"],
            status: 0,
            why: "It takes the inode for the one whose place it has.",
        },
    },
    Recipe {
        code: "ROOT_NOTDIR",
        name: "the root directory is a regular file",
        on: EMPTY,
        damage: |image| {
            image.edit_dinode(image.inode("/").blkno, |dinode, _| dinode.i_mode = 0o100_755);
        },
        found: &["ROOT_NOTDIR"],
        c: Differs {
            codes: &["DIRENT_TYPE", "LOSTFOUND_MISSING", "ROOT_NOTDIR"],
            status: 8,
            why: "It goes on with a root that is not a directory, and gives up.",
        },
    },
    Recipe {
        code: "INODE_NZ_DTIME",
        name: "a file in use was deleted",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_dtime = 1_700_000_000);
        },
        found: &["INODE_NZ_DTIME"],
        c: Same,
    },
    Recipe {
        code: "INLINE_DATA_FLAG_INVALID",
        name: "a file has inline data, but no file of the volume can",
        on: NO_INLINE,
        damage: |image| {
            image.edit_dinode(image.system("bad_blocks").blkno, |dinode, _| {
                dinode.i_dyn_features |= DynFeatures::INLINE_DATA.bits();
            });
        },
        found: &["INLINE_DATA_FLAG_INVALID"],
        c: Follows(&["INLINE_DATA_COUNT_INVALID", "INLINE_DATA_FLAG_INVALID"]),
    },
    Recipe {
        code: "INLINE_DATA_COUNT_INVALID",
        name: "an inline file has more room than fits",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/sizes/bytes-100").blkno, |_, id2| {
                edit_header(id2, |data: &mut InlineData, _| data.id_count += 1);
            });
        },
        found: &["INLINE_DATA_COUNT_INVALID"],
        c: Same,
    },
    Recipe {
        code: "INODE_INLINE_SIZE",
        name: "an inline file is longer than its room",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/sizes/bytes-100").blkno, |dinode, _| {
                dinode.i_size = 5000
            });
        },
        found: &["INODE_INLINE_SIZE"],
        c: Same,
    },
    Recipe {
        code: "INODE_INLINE_CLUSTERS",
        name: "an inline file has clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/sizes/bytes-100").blkno, |dinode, _| {
                dinode.i_clusters = 1
            });
        },
        found: &["INODE_INLINE_CLUSTERS"],
        c: Same,
    },
    Recipe {
        code: "REFCOUNT_FLAG_INVALID",
        name: "a file has a refcount tree, but no file of the volume can",
        on: NO_REFCOUNT,
        damage: |image| {
            image.edit_dinode(image.system("bad_blocks").blkno, |dinode, _| {
                dinode.i_dyn_features |= DynFeatures::HAS_REFCOUNT.bits();
            });
        },
        found: &["REFCOUNT_FLAG_INVALID"],
        c: Same,
    },
    Recipe {
        code: "REFCOUNT_LOC_INVALID",
        name: "a file without a refcount tree says where it is",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_refcount_loc = Blkno(8785));
        },
        found: &["REFCOUNT_LOC_INVALID"],
        c: Same,
    },
    Recipe {
        code: "LALLOC_SIZE",
        name: "the bitmap of a local alloc is larger than fits",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_local_alloc(image, |_, alloc| alloc.la_size += 1);
        },
        found: &["LALLOC_CLEAR", "LALLOC_SIZE"],
        c: Same,
    },
    Recipe {
        code: "LALLOC_NZ_USED",
        name: "a local alloc without a window has used clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_local_alloc(image, |dinode, _| dinode.set_bitmap(1, 0));
        },
        found: &["LALLOC_NZ_USED"],
        c: Same,
    },
    Recipe {
        code: "LALLOC_NZ_BM",
        name: "a local alloc without a window has a place for it",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_local_alloc(image, |_, alloc| alloc.la_bm_off = 100);
        },
        found: &["LALLOC_NZ_BM"],
        c: Same,
    },
    Recipe {
        code: "LALLOC_BM_OVERRUN",
        name: "the window of a local alloc begins outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_local_alloc(image, |dinode, alloc| {
                dinode.set_bitmap(0, 16);
                alloc.la_bm_off = 19_201;
            });
        },
        found: &["LALLOC_BM_OVERRUN"],
        c: Follows(&["LALLOC_BM_OVERRUN", "LALLOC_BM_STRADDLE", "LALLOC_CLEAR"]),
    },
    Recipe {
        code: "LALLOC_BM_SIZE",
        name: "the window of a local alloc is larger than its bitmap",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_local_alloc(image, |dinode, alloc| {
                dinode.set_bitmap(0, 8 * u32::from(alloc.la_size) + 1);
                alloc.la_bm_off = 100;
            });
        },
        found: &["LALLOC_BM_SIZE", "LALLOC_CLEAR"],
        c: Same,
    },
    Recipe {
        code: "LALLOC_BM_STRADDLE",
        name: "the window of a local alloc reaches outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_local_alloc(image, |dinode, alloc| {
                dinode.set_bitmap(0, 16);
                alloc.la_bm_off = 19_190;
            });
        },
        found: &["LALLOC_BM_STRADDLE"],
        c: Follows(&["LALLOC_BM_STRADDLE", "LALLOC_CLEAR"]),
    },
    Recipe {
        code: "LALLOC_USED_OVERRUN",
        name: "a local alloc has more used clusters than it has clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let Cluster(free) = image.free_clusters(16);
            (free..free + 16).for_each(|cluster| image.mark_cluster(Cluster(cluster), true));
            edit_local_alloc(image, |dinode, alloc| {
                dinode.set_bitmap(17, 16);
                alloc.la_bm_off = free;
            });
        },
        found: &["LALLOC_CLEAR", "LALLOC_USED_OVERRUN"],
        c: Follows(&["CLUSTER_ALLOC_BIT", "LALLOC_CLEAR", "LALLOC_USED_OVERRUN"]),
    },
    Recipe {
        code: "LALLOC_USED_BITS",
        name: "a local alloc has used clusters and no bit is set",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let Cluster(free) = image.free_clusters(16);
            (free..free + 16).for_each(|cluster| image.mark_cluster(Cluster(cluster), true));
            edit_local_alloc(image, |dinode, alloc| {
                dinode.set_bitmap(3, 16);
                alloc.la_bm_off = free;
            });
        },
        found: &["LALLOC_USED_BITS"],
        c: Differs { codes: &[], status: 0, why: "It does not count the bits." },
    },
    Recipe {
        code: "LALLOC_CLEAR",
        name: "the bitmap of a local alloc is as large as can be stated",
        on: ONE_OF_ALL_512,
        damage: |image| {
            edit_local_alloc(image, |_, alloc| alloc.la_size = u16::MAX);
        },
        found: &["LALLOC_CLEAR", "LALLOC_SIZE"],
        c: Same,
    },
    Recipe {
        code: "DEALLOC_COUNT",
        name: "a truncate log has room for more records than fit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_truncate_log(image, |header, _| header.tl_count += 1);
        },
        found: &["DEALLOC_COUNT"],
        c: Same,
    },
    Recipe {
        code: "DEALLOC_USED",
        name: "a truncate log has more records than it has room for",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_truncate_log(image, |header, records| {
                header.tl_used = header.tl_count + 1;
                records.fill(TruncateRec::default());
            });
        },
        found: &["DEALLOC_USED"],
        c: Same,
    },
    Recipe {
        code: "TRUNCATE_REC_START_RANGE",
        name: "a run of a truncate log begins outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_truncate_log(image, |header, records| {
                header.tl_used = 1;
                records[0] = TruncateRec { t_start: 19_201, t_clusters: 1 };
            });
        },
        found: &["TRUNCATE_REC_START_RANGE"],
        c: Differs {
            codes: &["TRUNCATE_REC_RANGE", "TRUNCATE_REC_START_RANGE"],
            status: 1,
            why: "It complains of the same run twice, and crashes.",
        },
    },
    Recipe {
        code: "TRUNCATE_REC_WRAP",
        name: "a run of a truncate log wraps around",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_truncate_log(image, |header, records| {
                header.tl_used = 1;
                records[0] = TruncateRec { t_start: 19_000, t_clusters: u32::MAX };
            });
        },
        found: &["TRUNCATE_REC_WRAP"],
        c: Dies(1),
    },
    Recipe {
        code: "TRUNCATE_REC_RANGE",
        name: "a run of a truncate log reaches outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_truncate_log(image, |header, records| {
                header.tl_used = 1;
                records[0] = TruncateRec { t_start: 19_000, t_clusters: 1000 };
            });
        },
        found: &["TRUNCATE_REC_RANGE"],
        c: Dies(1),
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
        code: "EB_GEN",
        name: "an extent block is of an older volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let blkno = image.first_record(&image.tree(1)).e_blkno;
            image.edit_extent_block(blkno, |eb, _| eb.h_fs_generation ^= 1);
        },
        found: &["EB_GEN", "EB_GEN_FIX"],
        c: Same,
    },
    Recipe {
        code: "EB_GEN_FIX",
        name: "an extent block deep in a tree is of an older volume",
        on: ONE_OF_ALL_512,
        damage: |image| {
            let blkno = image.first_record(&image.tree(2)).e_blkno;
            image.edit_extent_block(blkno, |eb, _| eb.h_fs_generation ^= 1);
        },
        found: &["EB_GEN", "EB_GEN_FIX"],
        c: Same,
    },
    Recipe {
        code: "EXTENT_LIST_DEPTH",
        name: "a leaf of a tree has a depth",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_first_leaf(image, |header, _| header.l_tree_depth = 1);
        },
        found: &["EXTENT_LIST_DEPTH"],
        c: Differs {
            codes: &["EXTENT_LIST_DEPTH", "EXTENT_OVERLAP"],
            status: 8,
            why: "It reads the leaf as an inner node, and gives up.",
        },
    },
    Recipe {
        code: "EXTENT_LIST_COUNT",
        name: "an extent block has room for more records than fit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_first_leaf(image, |header, _| header.l_count += 1);
        },
        found: &["EXTENT_LIST_COUNT"],
        c: Same,
    },
    Recipe {
        code: "EXTENT_LIST_FREE",
        name: "an extent block has more records than it has room for",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_first_leaf(image, |header, _| {
                assert_eq!(header.l_next_free_rec, header.l_count);
                header.l_next_free_rec += 1;
            });
        },
        found: &["EXTENT_LIST_FREE"],
        c: GivesUp,
    },
    Recipe {
        code: "BLOCK_SIGNATURE",
        name: "two bits of the signature of an extent block are wrong",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let first = image.first_record(&image.tree(1)).e_blkno;
            image.edit_raw(first, |bytes| bytes[2] ^= 0x11);
        },
        found: &["BLOCK_SIGNATURE"],
        c: Differs {
            codes: &[],
            status: 8,
            why: "Its library refuses to read the block, and it gives up.",
        },
    },
    Recipe {
        code: "EXTENT_EB_INVALID",
        name: "a tree goes on at a block that is not an extent block",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (file, free) = (image.tree(1), image.free_block());
            image.edit_extent_block(free, |_, _| ());
            edit_extents(image, &file, |_, header, records| {
                let next = usize::from(header.l_next_free_rec);
                let last = records[next - 1];
                let end = Cpos(last.e_cpos.0 + last.e_int_clusters());
                records[next] = ExtentRec::interior(end, 1, free);
                header.l_next_free_rec += 1;
            });
        },
        found: &["EXTENT_EB_INVALID"],
        c: GivesUp,
    },
    Recipe {
        code: "EXTENT_BLKNO_RANGE",
        name: "an extent is outside the volume",
        on: DISKS_1M,
        damage: |image| {
            append(image, &image.inode("/disks/preallocated.img"), 1, Blkno(1 << 40));
        },
        found: &["EXTENT_BLKNO_RANGE"],
        c: Dies(1),
    },
    Recipe {
        code: "EXTENT_BLKNO_UNALIGNED",
        name: "an extent begins inside a cluster",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_extents(image, &image.file(), |_, _, records| records[0].e_blkno.0 += 1);
        },
        found: &["EXTENT_BLKNO_UNALIGNED"],
        c: Same,
    },
    Recipe {
        code: "EXTENT_CLUSTERS_OVERRUN",
        name: "an extent reaches outside the volume",
        on: DISKS_1M,
        damage: |image| {
            let last = image.volume().geometry().clusters - 1;
            let file = image.inode("/disks/preallocated.img");
            append(image, &file, 2, image.volume().geometry().block_of(Cluster(last)));
            image.mark_cluster(Cluster(last), true);
            image.edit_dinode(file.blkno, |dinode, _| {
                dinode.i_clusters += 1;
                dinode.i_size += 1 << 20;
            });
        },
        found: &["EXTENT_CLUSTERS_OVERRUN"],
        c: Dies(1),
    },
    Recipe {
        code: "EXTENT_LENGTH",
        name: "the length of an extent has a wrong bit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_extents(image, &image.file(), |_, _, records| {
                let ExtentRec { e_cpos, e_blkno, .. } = records[0];
                let clusters = records[0].e_leaf_clusters() | 0x400;
                records[0] = ExtentRec::leaf(e_cpos, clusters, records[0].e_flags(), e_blkno);
            });
        },
        found: &["EXTENT_LENGTH"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "INODE_SPARSE_CLUSTERS", "INODE_SPARSE_SIZE"],
            status: 8,
            why: "It believes the length, and takes what is after the extent as the file's.",
        },
    },
    Recipe {
        code: "EXTENT_RANGE",
        name: "the last extent ends after the last position a file can have",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_extents(image, &two_extents(image), |_, _, records| {
                records[1].e_cpos = Cpos(u32::MAX - u32::from(records[1].e_leaf_clusters()) + 1);
            });
        },
        found: &["EXTENT_RANGE", "INODE_SPARSE_SIZE"],
        c: Differs {
            codes: &["INODE_SPARSE_SIZE"],
            status: 0,
            why: "It makes the file as long as the position says.",
        },
    },
    Recipe {
        code: "FEATURE_LACKING",
        name: "the superblock does not say that there are unwritten extents",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_superblocks(|_, superblock| {
                superblock.s_feature_ro_compat &= !RoCompat::UNWRITTEN.bits();
            });
        },
        found: &["EXTENT_MARKED_UNWRITTEN", "FEATURE_LACKING", "INODE_SPARSE_SIZE"],
        c: Differs {
            codes: &["EXTENT_MARKED_UNWRITTEN"],
            status: 0,
            why: "It takes the superblock to be right, and clears the marks: what was never \
                  written is read from then on.",
        },
    },
    Recipe {
        code: "EXTENT_MARKED_UNWRITTEN",
        name: "an extent is unwritten, but none of the volume can be",
        on: NO_UNWRITTEN,
        damage: |image| {
            let file = image.system("heartbeat");
            edit_extents(image, &file, |_, _, records| {
                records[0].e_word |= u32::from(ExtentFlags::UNWRITTEN.bits()) << 24;
            });
        },
        found: &["EXTENT_MARKED_UNWRITTEN"],
        c: Same,
    },
    Recipe {
        code: "EXTENT_MARKED_REFCOUNTED",
        name: "an extent is shared, but the file shares nothing",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_extents(image, &image.file(), |_, _, records| {
                records[0].e_word |= u32::from(ExtentFlags::REFCOUNTED.bits()) << 24;
            });
        },
        found: &["EXTENT_MARKED_REFCOUNTED"],
        c: Dies(134),
    },
    Recipe {
        code: "EXTENT_ORDER",
        name: "two records of a leaf are exchanged",
        on: ONE_OF_ALL_1K,
        damage: |image| edit_first_leaf(image, |_, records| records.swap(1, 4)),
        found: &["EXTENT_ORDER"],
        c: Differs {
            codes: &["EXTENT_OVERLAP"],
            status: 0,
            why: "It does not see that only the order is wrong.",
        },
    },
    Recipe {
        code: "EXTENT_ORDER",
        name: "two records that point to leaves are exchanged",
        on: ONE_OF_ALL_1K,
        damage: |image| edit_extents(image, &image.tree(1), |_, _, records| records.swap(0, 1)),
        found: &["EXTENT_ORDER"],
        c: Differs {
            codes: &["EXTENT_OVERLAP"],
            status: 0,
            why: "It does not see that only the order is wrong.",
        },
    },
    Recipe {
        code: "EXTENT_OVERLAP",
        name: "an extent begins before the one before it ends",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_extents(image, &two_extents(image), |_, _, records| {
                records[1].e_cpos =
                    Cpos(records[0].e_cpos.0 + u32::from(records[0].e_leaf_clusters()) - 1);
            });
        },
        found: &["EXTENT_OVERLAP"],
        c: Same,
    },
    Recipe {
        code: "NO_HOLES",
        name: "a directory has a hole",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            edit_extents(image, &dir, |_, _, records| records[0].e_cpos = Cpos(1));
        },
        found: &["NO_HOLES"],
        c: Follows(&["DIR_DOTDOT", "INODE_COUNT", "INODE_NOT_CONNECTED", "NO_HOLES"]),
    },
    Recipe {
        code: "INODE_SIZE",
        name: "a directory is longer than its clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            image.edit_dinode(dir.blkno, |dinode, _| dinode.i_size = 2 * 16_384);
        },
        found: &["INODE_SIZE"],
        c: Same,
    },
    Recipe {
        code: "INODE_SIZE",
        name: "a file that can have no holes is longer than its clusters",
        on: NO_SPARSE,
        damage: |image| {
            image.edit_dinode(image.system("heartbeat").blkno, |dinode, _| dinode.i_size += 4096);
        },
        found: &["INODE_SIZE"],
        c: Same,
    },
    Recipe {
        code: "INODE_SIZE",
        name: "a file has a size no file can have",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_size |= 1 << 63),
        found: &["INODE_SIZE"],
        c: Differs { codes: &[], status: 0, why: "It never looks at this." },
    },
    Recipe {
        code: "INODE_SPARSE_SIZE",
        name: "a file is written beyond its end",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.inode("/sizes/bytes-65536");
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_size = 100);
        },
        found: &["INODE_SPARSE_SIZE"],
        c: Same,
    },
    Recipe {
        code: "INODE_CLUSTERS",
        name: "a file that can have no holes has fewer clusters than it states",
        on: NO_SPARSE,
        damage: |image| {
            image.edit_dinode(image.system("heartbeat").blkno, |dinode, _| dinode.i_clusters += 1);
        },
        found: &["INODE_CLUSTERS"],
        c: Same,
    },
    Recipe {
        code: "INODE_SPARSE_CLUSTERS",
        name: "a file has fewer clusters than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_clusters += 1);
        },
        found: &["INODE_SPARSE_CLUSTERS"],
        c: Same,
    },
    Recipe {
        code: "LINK_FAST_DATA",
        name: "a symbolic link in its inode has an extent",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let link = image.inode("/special/slow");
            image.edit_dinode(link.blkno, |dinode, _| dinode.i_clusters = 0);
        },
        found: &["LINK_FAST_DATA"],
        c: Differs { codes: &["CLUSTER_ALLOC_BIT"], status: 0, why: NOT_LOOKED_AT_LINK },
    },
    Recipe {
        code: "LINK_BLOCKS",
        name: "a symbolic link is longer than its cluster",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/special/slow").blkno, |dinode, _| {
                dinode.i_size = 20_000
            });
        },
        found: &["LINK_BLOCKS"],
        c: Differs {
            codes: &["LINK_SIZE"],
            status: 0,
            why: "It believes the target, not the size.",
        },
    },
    Recipe {
        code: "LINK_NULLTERM",
        name: "a symbolic link does not end in its cluster",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let start = image.first_record(&image.inode("/special/slow")).e_blkno;
            image.write(start, &[b'x'; 16_384]);
        },
        found: &["LINK_NULLTERM"],
        c: Follows(&["LINK_BLOCKS", "LINK_NULLTERM", "LINK_SIZE"]),
    },
    Recipe {
        code: "LINK_NULLTERM",
        name: "a symbolic link does not end in its inode",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/special/fast").blkno, |_, id2| id2.fill(b'x'));
        },
        found: &["LINK_NULLTERM"],
        c: Differs { codes: &[], status: 0, why: NOT_LOOKED_AT_LINK },
    },
    Recipe {
        code: "LINK_SIZE",
        name: "a symbolic link in its inode is shorter than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/special/fast").blkno, |dinode, _| dinode.i_size += 1);
        },
        found: &["LINK_SIZE"],
        c: Differs { codes: &[], status: 0, why: NOT_LOOKED_AT_LINK },
    },
    Recipe {
        code: "LINK_SIZE",
        name: "a symbolic link in a cluster is shorter than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/special/slow").blkno, |dinode, _| dinode.i_size += 1);
        },
        found: &["LINK_SIZE"],
        c: Same,
    },
    Recipe {
        code: "LINK_BLOCKS",
        name: "a symbolic link has no block",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let link = image.inode("/special/slow");
            let start = image.first_record(&link).e_blkno;
            image.mark_cluster(image.volume().geometry().cluster_of(start).unwrap(), false);
            edit_extents(image, &link, |_, header, _| header.l_next_free_rec = 0);
        },
        found: &["INODE_SPARSE_CLUSTERS", "LINK_BLOCKS", "QUOTA_USAGE"],
        c: Follows(&["INODE_SPARSE_CLUSTERS", "LINK_BLOCKS", "LINK_NULLTERM", "LINK_SIZE"]),
    },
    Recipe {
        code: "DIR_ZERO",
        name: "a directory has no block",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/dirs/empty").blkno, |dinode, id2| {
                dinode.i_dyn_features = 0;
                dinode.i_size = 0;
                id2.fill(0);
                ocfs2_format::extent::write_extent_list(id2, 0, &[]).unwrap();
            });
        },
        found: &["DIR_ZERO"],
        c: Follows(&["DIR_DOTDOT", "DIR_ZERO", "INODE_COUNT"]),
    },
];
