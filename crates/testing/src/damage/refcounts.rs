//! Refcount trees, and clusters that several files claim.

use ocfs2_format::dinode::FileKind;
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::refcount::{RefcountBlock, RefcountFlags, RefcountListHeader, RefcountRec};
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};
use ocfs2_volume::Inode;

use super::CFsck::{self, Dies, Differs, Follows, NotCompared, Same};
use super::xattrs::first_bucket;
use super::{CLUSTER_4K, Image, ONE_OF_ALL_1K, ONE_OF_ALL_512, Recipe, edit_list};

const BLIND: CFsck = Differs { codes: &[], status: 0, why: "It never looks at this." };

/// Returns the root of a refcount tree that is as `wanted`.
fn root(image: &Image, wanted: impl Fn(&RefcountBlock) -> bool) -> Blkno {
    let has_one = |inode: &Inode| {
        let blkno = inode.dinode.i_refcount_loc;
        !blkno.is_none() && wanted(&RefcountBlock::decode(&image.read(blkno)).unwrap())
    };
    image.find("refcount tree like that", has_one).dinode.i_refcount_loc
}

/// Returns a refcount tree that consists of one block.
pub(super) fn one_block(image: &Image) -> Blkno {
    root(image, |block| !block.is_tree() && block.rf_count == 3)
}

/// Returns a refcount tree with leaves.
fn tree_root(image: &Image) -> Blkno {
    root(image, RefcountBlock::is_tree)
}

/// Returns the leaves of the [`tree_root`].
fn leaves(image: &Image) -> Vec<Blkno> {
    let block = image.read(tree_root(image));
    RefcountBlock::extents(&block).unwrap().records().map(|record| record.e_blkno).collect()
}

fn first_leaf(image: &Image) -> Blkno {
    leaves(image)[0]
}

/// Adds a leaf at the end of the tree.
fn add_leaf(image: &Image, root: Blkno, leaf: Blkno) {
    image.edit_refcount_block(root, |_, list| {
        edit_list(list, |header: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            let next = usize::from(header.l_next_free_rec);
            records[next] = ExtentRec::interior(Cpos(u32::MAX), 1, leaf);
            header.l_next_free_rec += 1;
        });
    });
}

/// Changes the records of a refcount block.
fn edit_records(
    image: &Image,
    blkno: Blkno,
    change: impl FnOnce(&mut RefcountListHeader, &mut [RefcountRec]),
) {
    image.edit_refcount_block(blkno, |_, list| edit_list(list, change));
}

/// Adds a record to a tree that is [`one_block`].
fn append(image: &Image, record: RefcountRec) {
    edit_records(image, one_block(image), |header, records| {
        records[usize::from(header.rl_used)] = record;
        header.rl_used += 1;
    });
}

/// Gives `file`, which has one cluster, the first one of `other` instead.
fn share(image: &Image, file: &Inode, other: &Inode) {
    take(image, file, image.first_record(other).e_blkno);
}

/// Gives `file`, which has one cluster, the one that begins at `shared` instead.
fn take(image: &Image, file: &Inode, shared: Blkno) {
    let geometry = image.volume().geometry();
    let own = image.first_record(file).e_blkno;
    image.mark_cluster(geometry.cluster_of(own).unwrap(), false);
    image.edit_dinode(file.blkno, |_, id2| {
        edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            records[0] = ExtentRec::leaf(Cpos(0), 1, ExtentFlags::empty(), shared);
        });
    });
}

/// Gives a directory the cluster that begins at `blkno` after its own.
fn go_on_into(image: &Image, path: &str, blkno: Blkno) {
    let dir = image.inode(path);
    image.edit_dinode(dir.blkno, |dinode, id2| {
        let mut end = 0;
        edit_list(id2, |header: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            let used = usize::from(header.l_next_free_rec);
            let last = records[used - 1];
            end = last.e_cpos.0 + u32::from(last.e_leaf_clusters());
            records[used] = ExtentRec::leaf(Cpos(end), 1, ExtentFlags::empty(), blkno);
            header.l_next_free_rec += 1;
        });
        dinode.i_clusters += 1;
        let cluster = u64::from(image.volume().geometry().cluster_size.bytes());
        dinode.i_size = (u64::from(end) + 1) * cluster;
    });
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "REFCOUNT_EXTENT_PLACE",
        name: "a bit of where a shared extent leads is wrong",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/reflink/origin").blkno, |_, id2| {
                edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0].e_blkno.0 ^= 1 << 6;
                });
            });
        },
        found: &["REFCOUNT_EXTENT_PLACE"],
        c: NotCompared("It counts the clusters the extent points to, and the contents are others."),
    },
    Recipe {
        code: "RB_BLKNO",
        name: "a refcount block states another block as its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_refcount_block(one_block(image), |block, _| block.rf_blkno.0 += 1);
        },
        found: &["RB_BLKNO"],
        c: Follows(&["RB_BLKNO", "RB_PARENT"]),
    },
    Recipe {
        code: "RB_GEN",
        name: "a refcount block is of an older volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_refcount_block(one_block(image), |block, _| block.rf_fs_generation ^= 1);
        },
        found: &["RB_GEN", "RB_GEN_FIX"],
        c: Same,
    },
    Recipe {
        code: "RB_GEN_FIX",
        name: "a leaf of a refcount tree is of an older volume",
        on: CLUSTER_4K,
        damage: |image| {
            image.edit_refcount_block(first_leaf(image), |block, _| block.rf_fs_generation ^= 1);
        },
        found: &["RB_GEN", "RB_GEN_FIX"],
        c: Same,
    },
    Recipe {
        code: "RB_PARENT",
        name: "a leaf of a refcount tree states another root",
        on: CLUSTER_4K,
        damage: |image| {
            image.edit_refcount_block(first_leaf(image), |block, _| block.rf_parent.0 += 1);
        },
        found: &["RB_PARENT"],
        c: Same,
    },
    Recipe {
        code: "REFCOUNT_LIST_COUNT",
        name: "a refcount block has room for more records than fit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_records(image, one_block(image), |header, _| header.rl_count += 1);
        },
        found: &["REFCOUNT_LIST_COUNT"],
        c: Same,
    },
    Recipe {
        code: "REFCOUNT_LIST_USED",
        name: "a refcount block has more records than it has room for",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_records(image, one_block(image), |header, _| {
                header.rl_used = header.rl_count + 1;
            });
        },
        found: &["REFCOUNT_LIST_USED"],
        c: Differs {
            codes: &[
                "CLUSTER_ALLOC_BIT",
                "REFCOUNT_CLUSTER_COLLISION",
                "REFCOUNT_CLUSTER_RANGE",
                "REFCOUNT_LIST_USED",
            ],
            status: 8,
            why: "It reads what is after the records as more of them, and gives up.",
        },
    },
    Recipe {
        code: "REFCOUNT_CLUSTER_RANGE",
        name: "a refcount is of clusters outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            append(image, RefcountRec { r_cpos: 1 << 30, r_clusters: 1, r_refcount: 1 });
        },
        found: &["REFCOUNT_CLUSTER_RANGE"],
        c: Follows(&["REFCOUNT_CLUSTER_RANGE", "REFCOUNT_REC_REDUNDANT"]),
    },
    Recipe {
        code: "REFCOUNT_CLUSTER_COLLISION",
        name: "two refcounts are of the same cluster",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_records(image, one_block(image), |header, records| {
                let used = usize::from(header.rl_used);
                let RefcountRec { r_cpos, r_clusters, .. } = records[used - 1];
                let r_cpos = r_cpos + u64::from(r_clusters) - 1;
                records[used] = RefcountRec { r_cpos, r_clusters: 1, r_refcount: 1 };
                header.rl_used += 1;
            });
        },
        found: &["REFCOUNT_CLUSTER_COLLISION"],
        c: Same,
    },
    Recipe {
        code: "REFCOUNT_LIST_EMPTY",
        name: "a leaf of a refcount tree is empty",
        on: CLUSTER_4K,
        damage: |image| {
            let (root, leaf) = (tree_root(image), first_leaf(image));
            let header = RefcountBlock::decode(&image.read(leaf)).unwrap();
            let name = format!("extent_alloc:{:04}", header.rf_suballoc_slot);
            let group = image.groups(&name).remove(0);
            let bit = group.bitmap().next(false, 0).unwrap() as u32;
            let blkno = group.block_of_bit(bit).unwrap();
            image.mark(&name, &group, bit, true);
            image.write(blkno, &image.read(leaf));
            image.edit_refcount_block(blkno, |block, list| {
                block.rf_blkno = blkno;
                block.rf_suballoc_bit = bit as u16;
                block.rf_suballoc_loc = group.blkno;
                block.rf_cpos = u32::MAX;
                edit_list(list, |header: &mut RefcountListHeader, records: &mut [RefcountRec]| {
                    header.rl_used = 0;
                    records.fill(RefcountRec::default());
                });
            });
            image.edit_refcount_block(root, |block, _| block.rf_clusters += 1);
            add_leaf(image, root, blkno);
        },
        found: &["REFCOUNT_LIST_EMPTY"],
        c: Same,
    },
    Recipe {
        code: "REFCOUNT_BLOCK_INVALID",
        name: "a refcount tree goes on at a block that is not a refcount block",
        on: CLUSTER_4K,
        damage: |image| {
            let free = image.free_block();
            image.edit_refcount_block(free, |_, _| ());
            add_leaf(image, tree_root(image), free);
        },
        found: &["REFCOUNT_BLOCK_INVALID"],
        c: Follows(&["REFCOUNT_BLOCK_INVALID", "REFCOUNT_CLUSTERS"]),
    },
    Recipe {
        code: "REFCOUNT_BLOCK_INVALID",
        name: "a refcount tree has its first leaf in the place of its third",
        on: CLUSTER_4K,
        damage: |image| {
            let (root, leaf) = (tree_root(image), first_leaf(image));
            image.edit_refcount_block(root, |_, list| {
                edit_list(list, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[2] = ExtentRec::interior(records[2].e_cpos, 1, leaf);
                });
            });
        },
        found: &["REFCOUNT_BLOCK_INVALID"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "REFCOUNT_CLUSTER_COLLISION", "REFCOUNT_COUNT_INVALID"],
            status: 8,
            why: "It takes the leaf for two.",
        },
    },
    Recipe {
        code: "REFCOUNT_CLUSTERS",
        name: "a refcount tree has fewer leaves than it states",
        on: CLUSTER_4K,
        damage: |image| {
            image.edit_refcount_block(tree_root(image), |block, _| block.rf_clusters += 1);
        },
        found: &["REFCOUNT_CLUSTERS"],
        c: Same,
    },
    Recipe {
        code: "REFCOUNT_ROOT_BLOCK_INVALID",
        name: "a refcount tree has another signature",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_refcount_block(one_block(image), |block, _| {
                block.rf_signature = *b"REFCNT2\0"
            });
        },
        found: &["REFCOUNT_ROOT_BLOCK_INVALID"],
        c: Dies(134),
    },
    Recipe {
        code: "REFCOUNT_REC_REDUNDANT",
        name: "a refcount is of a cluster nobody has",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let last = Cluster(image.volume().geometry().clusters - 2);
            append(image, RefcountRec { r_cpos: last.0.into(), r_clusters: 1, r_refcount: 1 });
        },
        found: &["REFCOUNT_REC_REDUNDANT"],
        c: Same,
    },
    Recipe {
        code: "REFCOUNT_COUNT_INVALID",
        name: "fewer files share clusters than is stated",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_records(image, one_block(image), |_, records| records[0].r_refcount += 1);
        },
        found: &["REFCOUNT_COUNT_INVALID"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "REFCOUNT_COUNT_INVALID"],
            status: 8,
            why: "It tries to write after the answer no, and gives up.",
        },
    },
    Recipe {
        code: "REFCOUNT_COUNT",
        name: "fewer files use a refcount tree than is stated",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_refcount_block(one_block(image), |block, _| block.rf_count += 1);
        },
        found: &["REFCOUNT_COUNT"],
        c: Same,
    },
    Recipe {
        code: "DUP_CLUSTERS_ADD_REFCOUNT",
        name: "two files have the same cluster",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (own, other) = (image.inode("/sizes/bytes-1024"), image.inode("/sizes/bytes-1025"));
            share(image, &own, &other);
        },
        found: &["DUP_CLUSTERS_ADD_REFCOUNT", "DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE"],
        c: Same,
    },
    Recipe {
        code: "DUP_CLUSTERS_ADD_REFCOUNT",
        name: "a file has a cluster of somebody's attributes",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            take(image, &image.inode("/sizes/bytes-1024"), first_bucket(image));
        },
        found: &["DUP_CLUSTERS_ADD_REFCOUNT", "DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE"],
        c: Same,
    },
    Recipe {
        code: "DUP_CLUSTERS_TWICE",
        name: "two extents of a file have the same clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.find("file with two extents", |inode| {
                inode.kind() == Some(FileKind::Regular)
                    && inode.dinode.i_dyn_features == 0
                    && inode.dinode.i_clusters >= 2
                    && inode.extent_list().is_ok_and(|list| {
                        list.header.l_tree_depth == 0 && list.header.l_next_free_rec >= 2
                    })
            });
            let first = image.first_record(&file);
            image.edit_dinode(file.blkno, |_, id2| {
                edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    let (cpos, count) = (records[1].e_cpos, records[1].e_leaf_clusters());
                    assert!(count <= first.e_leaf_clusters());
                    records[1] = ExtentRec::leaf(cpos, count, ExtentFlags::empty(), first.e_blkno);
                });
            });
        },
        found: &["CLUSTER_ALLOC_BIT", "DUP_CLUSTERS_TWICE"],
        c: NotCompared(
            "It lets the file share the clusters with itself, and crashes when it is run again.",
        ),
    },
    Recipe {
        code: "DUP_CLUSTERS_SYSFILE_CLONE",
        name: "a file has a cluster of a system file",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (own, other) = (image.inode("/sizes/bytes-1024"), image.system("slot_map"));
            share(image, &own, &other);
        },
        found: &["DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE", "DUP_CLUSTERS_SYSFILE_CLONE"],
        c: Same,
    },
    Recipe {
        code: "DUP_CLUSTERS_CLONE",
        name: "a file has a cluster of a directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (own, other) = (image.inode("/sizes/bytes-1024"), image.inode("/dirs/oneblock"));
            share(image, &own, &other);
        },
        found: &["DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE"],
        c: Differs {
            codes: &["DUP_CLUSTERS_ADD_REFCOUNT", "DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE"],
            status: 0,
            why: "It offers to share the clusters of a directory, which only files can.",
        },
    },
    Recipe {
        code: "DUP_CLUSTERS_DELETE",
        name: "a file has a cluster of a symbolic link",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (own, other) = (image.inode("/sizes/bytes-1024"), image.inode("/special/slow"));
            share(image, &own, &other);
        },
        found: &["DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE"],
        c: Differs {
            codes: &["DUP_CLUSTERS_ADD_REFCOUNT", "DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE"],
            status: 0,
            why: "It offers to share the clusters of a symbolic link, which only files can.",
        },
    },
    Recipe {
        code: "REFCOUNT_FLAGS",
        name: "a leaf of a refcount tree is not flagged as one",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_refcount_block(first_leaf(image), |block, _| {
                block.rf_flags &= !RefcountFlags::LEAF.bits();
            });
        },
        found: &["REFCOUNT_FLAGS"],
        c: BLIND,
    },
    Recipe {
        code: "REFCOUNT_LEAF_CPOS",
        name: "a leaf of a refcount tree begins at another cluster than the tree says",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_refcount_block(first_leaf(image), |block, _| block.rf_cpos += 1);
        },
        found: &["REFCOUNT_LEAF_CPOS"],
        c: BLIND,
    },
    Recipe {
        code: "REFCOUNT_LAST_EB",
        name: "a refcount tree without extent blocks states a last one",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = tree_root(image);
            image.edit_refcount_block(root, |block, _| block.rf_last_eb_blk = root);
        },
        found: &["REFCOUNT_LAST_EB"],
        c: BLIND,
    },
    Recipe {
        code: "REFCOUNT_REC_EMPTY",
        name: "a refcount is of no cluster",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            append(image, RefcountRec { r_cpos: 18_000, r_clusters: 0, r_refcount: 1 });
        },
        found: &["REFCOUNT_REC_EMPTY"],
        c: BLIND,
    },
    Recipe {
        code: "REFCOUNT_REC_RANGE",
        name: "a refcount is in the leaf before its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (root, leaf) = (tree_root(image), leaves(image)[1]);
            image.edit_refcount_block(root, |_, list| {
                edit_list(list, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[1].e_cpos.0 -= 1;
                });
            });
            image.edit_refcount_block(leaf, |block, _| block.rf_cpos -= 1);
        },
        found: &["REFCOUNT_REC_RANGE"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "REFCOUNT_COUNT_INVALID"],
            status: 8,
            why: "It looks for the refcount in the leaf where it is to be, and gives up.",
        },
    },
    Recipe {
        code: "REFCOUNT_EXTENT_FLAG",
        name: "an extent that is counted is not flagged",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.find("file of such a tree", |inode| {
                inode.dinode.i_refcount_loc == one_block(image)
            });
            image.edit_dinode(file.blkno, |_, id2| {
                edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0].e_word &= 0xffff;
                });
            });
        },
        found: &["REFCOUNT_EXTENT_FLAG"],
        c: Differs {
            codes: &["REFCOUNT_REC_REDUNDANT"],
            status: 0,
            why: "It takes the count for the one that is wrong.",
        },
    },
    Recipe {
        code: "DUP_CLUSTERS_SYSFILE_CLONE",
        name: "the heartbeat region is where inodes are",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let group = image.groups("inode_alloc:0000").remove(0);
            let region = image.system("heartbeat");
            image.edit_dinode(region.blkno, |_, id2| {
                edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0].e_blkno = group.blkno;
                });
            });
        },
        found: &["CLUSTER_ALLOC_BIT", "DUP_CLUSTERS_SYSFILE_CLONE", "HEARTBEAT_BLOCK"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "DUP_CLUSTERS_SYSFILE_CLONE"],
            status: 0,
            why: "It does not look at what is in the region.",
        },
    },
    Recipe {
        code: "DUP_CLUSTERS_DIRECTORY",
        name: "a directory goes on into the clusters of the system directory",
        on: ONE_OF_ALL_512,
        damage: |image| {
            let system = image.volume().system_dir().unwrap();
            go_on_into(image, "/dirs/oneblock", image.first_record(&system).e_blkno);
        },
        found: &[
            "BLOCK_ECC",
            "DIRENT_DOTTY_DUP",
            "DIRENT_LENGTH",
            "DIR_TRAILER_PARENT_INODE",
            "DIR_TRAILER_SIGNATURE",
            "DUP_CLUSTERS_DIRECTORY",
            "DUP_CLUSTERS_SYSFILE_CLONE",
        ],
        c: NotCompared("It does not get to its end."),
    },
    Recipe {
        code: "DUP_CLUSTERS_DIRECTORY",
        name: "a directory goes on into the clusters of another one",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let other = image.inode("/dirs/oneblock");
            go_on_into(image, "/dirs/large", image.first_record(&other).e_blkno);
        },
        found: &[
            "BLOCK_ECC",
            "DIRENT_DOTTY_DUP",
            "DIRENT_LENGTH",
            "DIR_TRAILER_PARENT_INODE",
            "DIR_TRAILER_SIGNATURE",
            "DUP_CLUSTERS_CLONE",
            "DUP_CLUSTERS_DELETE",
            "DUP_CLUSTERS_DIRECTORY",
            "DX_LOOKUP_FAILED",
            "INODE_COUNT",
        ],
        c: NotCompared("It does not get to its end."),
    },
    Recipe {
        code: "DUP_CLUSTERS_METADATA",
        name: "a file has a cluster of an allocator",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let group = image.groups("inode_alloc:0000").remove(0);
            take(image, &image.inode("/sizes/bytes-1024"), group.blkno);
        },
        found: &["DUP_CLUSTERS_DELETE", "DUP_CLUSTERS_METADATA"],
        c: Differs {
            codes: &["DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE"],
            status: 0,
            why: "It makes no difference between files and allocators.",
        },
    },
];
