//! Chain allocators, their groups, and the bitmap of clusters.

use ocfs2_format::extent::{ExtentListHeader, ExtentRec};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Cluster, Structure};
use ocfs2_volume::allocator::Group;

use super::CFsck::{Dies, Differs, Follows, GivesUp, Same};
use super::{CLUSTER_4K, DISKS_1M, EMPTY, Image, ONE_OF_ALL_1K, ONE_OF_ALL_512, Recipe, edit_list};

/// Returns the second and last group of a chain.
fn second_group(image: &Image) -> Group {
    let groups = image.groups("global_bitmap");
    let last = groups.windows(2).find(|pair| pair[0].chain == pair[1].chain);
    last.expect("there is a chain of two groups")[1].clone()
}

/// Returns the group before a [`second_group`].
fn first_group(image: &Image) -> Group {
    let second = second_group(image);
    image.groups("global_bitmap").into_iter().find(|group| group.chain == second.chain).unwrap()
}

/// Makes the last group of an allocator point to `next`.
fn link(image: &Image, allocator: &str, next: Blkno) {
    let last = image.groups(allocator).pop().unwrap();
    image.edit_group(last.blkno, |group, _| group.bg_next_group = next);
}

/// Writes a group that looks like one of the global bitmap, but has no bits, into a free cluster.
fn empty_group(image: &Image, change: impl FnOnce(&mut GroupDesc)) -> Blkno {
    let blkno = image.free_block();
    let model = image.groups("global_bitmap").pop().unwrap();
    image.write(blkno, model.block());
    image.edit_group(blkno, |group, bitmap| {
        group.bg_blkno = blkno;
        group.bg_bits = 0;
        group.bg_free_bits_count = 0;
        group.bg_contig_free_bits = 0;
        group.bg_next_group = Blkno(0);
        bitmap.fill(0);
        change(group);
    });
    blkno
}

/// Changes the list of a discontiguous group of inodes.
pub(super) fn edit_pieces(
    image: &Image,
    change: impl FnOnce(&mut ExtentListHeader, &mut [ExtentRec]),
) {
    let groups = image.groups("inode_alloc:0001");
    let group = groups.iter().find(|group| group.is_discontiguous());
    image.edit_group(group.expect("there is a group in pieces").blkno, |_, rest| {
        edit_list(&mut rest[GroupDesc::LIST_OFFSET - GroupDesc::SIZE..], change);
    });
}

/// Gives a record of a discontiguous group `clusters` clusters.
fn set_clusters(record: &mut ExtentRec, clusters: u32) {
    record.e_word = clusters;
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "CHAIN_CPG",
        name: "the only group of the bitmap has another size than it should have",
        on: EMPTY,
        damage: |image| image.edit_chains("global_bitmap", |_, header, _| header.cl_cpg -= 8),
        found: &["CHAIN_CPG"],
        c: Same,
    },
    Recipe {
        code: "SUPERBLOCK_CLUSTERS",
        name: "the superblock has a cluster less than the bitmap",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_superblocks(|dinode, _| dinode.i_clusters -= 1),
        found: &["SUPERBLOCK_CLUSTERS"],
        c: Same,
    },
    Recipe {
        code: "GROUP_EXPECTED_DESC",
        name: "a group of the bitmap is in no chain",
        on: ONE_OF_ALL_512,
        damage: |image| {
            let first = first_group(image);
            image.edit_group(first.blkno, |group, _| group.bg_next_group = Blkno(0));
        },
        found: &["GROUP_EXPECTED_DESC"],
        c: Follows(&[
            "CHAIN_BITS",
            "CHAIN_GROUP_BITS",
            "CHAIN_I_CLUSTERS",
            "CHAIN_I_SIZE",
            "CLUSTER_ALLOC_BIT",
            "GROUP_EXPECTED_DESC",
        ]),
    },
    Recipe {
        code: "GROUP_UNEXPECTED_DESC",
        name: "a chain of the bitmap has a group where none can be",
        on: ONE_OF_ALL_512,
        damage: |image| {
            let group = empty_group(image, |_| ());
            link(image, "global_bitmap", group);
        },
        found: &["GROUP_UNEXPECTED_DESC"],
        c: Follows(&["CLUSTER_ALLOC_BIT", "GROUP_UNEXPECTED_DESC"]),
    },
    Recipe {
        code: "CHAIN_LINK_RANGE",
        name: "a chain of the bitmap goes on outside the volume",
        on: ONE_OF_ALL_512,
        damage: |image| link(image, "global_bitmap", Blkno(1 << 40)),
        found: &["CHAIN_LINK_RANGE"],
        c: GivesUp,
    },
    Recipe {
        code: "CHAIN_LINK_RANGE",
        name: "a chain of inodes goes on outside the volume",
        on: CLUSTER_4K,
        damage: |image| link(image, "inode_alloc:0001", Blkno(1 << 40)),
        found: &["CHAIN_LINK_RANGE"],
        c: GivesUp,
    },
    Recipe {
        code: "CHAIN_LINK_MAGIC",
        name: "a chain goes on at a block that is not a group",
        on: DISKS_1M,
        damage: |image| link(image, "global_bitmap", image.free_block()),
        found: &["CHAIN_LINK_MAGIC"],
        c: Same,
    },
    Recipe {
        code: "CHAIN_LINK_GEN",
        name: "a chain goes on at a group of an older volume",
        on: ONE_OF_ALL_512,
        damage: |image| {
            let group = empty_group(image, |group| group.bg_generation ^= 1);
            link(image, "global_bitmap", group);
        },
        found: &["CHAIN_LINK_GEN", "GROUP_GEN"],
        c: Follows(&["CHAIN_LINK_GEN", "CLUSTER_ALLOC_BIT", "GROUP_GEN", "GROUP_UNEXPECTED_DESC"]),
    },
    Recipe {
        code: "GROUP_GEN",
        name: "a group of inodes states another generation",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0001");
            image.edit_group(groups[1].blkno, |group, _| group.bg_generation ^= 1);
        },
        found: &["CHAIN_LINK_GEN", "GROUP_GEN"],
        c: Same,
    },
    Recipe {
        code: "GROUP_DUPLICATE",
        name: "a chain goes on at a group of another allocator",
        on: CLUSTER_4K,
        damage: |image| {
            let other = image.groups("inode_alloc:0000")[0].blkno;
            link(image, "inode_alloc:0001", other);
        },
        found: &["GROUP_DUPLICATE"],
        c: Differs {
            codes: &[
                "CHAIN_BITS",
                "CHAIN_GROUP_BITS",
                "CHAIN_I_CLUSTERS",
                "CHAIN_I_SIZE",
                "GROUP_CHAIN",
                "GROUP_CHAIN_LOOP",
                "GROUP_DUPLICATE",
                "GROUP_PARENT",
            ],
            status: 8,
            why: "It takes the group for one of the allocator, with all that follows.",
        },
    },
    Recipe {
        code: "GROUP_PARENT",
        name: "a group states an allocator it is not in",
        on: CLUSTER_4K,
        damage: |image| {
            let other = image.system("inode_alloc:0000").blkno;
            let groups = image.groups("inode_alloc:0001");
            image.edit_group(groups[1].blkno, |group, _| group.bg_parent_dinode = other);
        },
        found: &["GROUP_PARENT"],
        c: Same,
    },
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
        code: "GROUP_CHAIN",
        name: "a group states another chain",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0001");
            image.edit_group(groups[2].blkno, |group, _| group.bg_chain += 1);
        },
        found: &["GROUP_CHAIN"],
        c: GivesUp,
    },
    Recipe {
        code: "GROUP_FREE_BITS",
        name: "a group has fewer free bits than it states",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0001");
            image.edit_group(groups[4].blkno, |group, _| group.bg_free_bits_count += 1);
        },
        found: &["GROUP_FREE_BITS"],
        c: Follows(&["CHAIN_BITS", "CHAIN_GROUP_BITS", "GROUP_FREE_BITS"]),
    },
    Recipe {
        code: "GROUP_CHAIN_LOOP",
        name: "the last group of a chain goes on at its first",
        on: ONE_OF_ALL_512,
        damage: |image| {
            let (first, last) = (first_group(image), second_group(image));
            image.edit_group(last.blkno, |group, _| group.bg_next_group = first.blkno);
        },
        found: &["GROUP_CHAIN_LOOP"],
        c: Follows(&[
            "CHAIN_BITS",
            "CHAIN_GROUP_BITS",
            "CHAIN_I_CLUSTERS",
            "CHAIN_I_SIZE",
            "CLUSTER_ALLOC_BIT",
            "GROUP_CHAIN_LOOP",
        ]),
    },
    Recipe {
        code: "DISCONTIG_BG_DEPTH",
        name: "the list of a group in pieces has a depth",
        on: CLUSTER_4K,
        damage: |image| edit_pieces(image, |header, _| header.l_tree_depth = 1),
        found: &["DISCONTIG_BG_DEPTH"],
        c: Same,
    },
    Recipe {
        code: "DISCONTIG_BG_COUNT",
        name: "the list of a group in pieces has more room than there is",
        on: CLUSTER_4K,
        damage: |image| edit_pieces(image, |header, _| header.l_count += 1),
        found: &["DISCONTIG_BG_COUNT"],
        c: Same,
    },
    Recipe {
        code: "DISCONTIG_BG_REC_RANGE",
        name: "a piece of a group is outside the volume",
        on: CLUSTER_4K,
        damage: |image| {
            // No inode in this piece is in use.
            let groups = image.groups("inode_alloc:0001");
            let group = groups.iter().rfind(|group| group.is_discontiguous()).unwrap();
            image.edit_group(group.blkno, |_, rest| {
                let list = &mut rest[GroupDesc::LIST_OFFSET - GroupDesc::SIZE..];
                edit_list(list, |header: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    let last = usize::from(header.l_next_free_rec) - 1;
                    records[last].e_blkno = Blkno(1 << 40);
                });
            });
        },
        found: &["DISCONTIG_BG_REC_RANGE"],
        c: Dies(1),
    },
    Recipe {
        code: "DISCONTIG_BG_CORRUPT_LEAVES",
        name: "two pieces of a group are larger than the group",
        on: CLUSTER_4K,
        damage: |image| {
            edit_pieces(image, |_, records| {
                set_clusters(&mut records[1], 1025);
                set_clusters(&mut records[2], 1026);
            });
        },
        found: &["DISCONTIG_BG_CORRUPT_LEAVES"],
        c: Dies(134),
    },
    Recipe {
        code: "DISCONTIG_BG_CLUSTERS",
        name: "the pieces of a group are more than the group",
        on: CLUSTER_4K,
        damage: |image| edit_pieces(image, |_, records| set_clusters(&mut records[1], 33)),
        found: &["DISCONTIG_BG_CLUSTERS"],
        c: Dies(134),
    },
    Recipe {
        code: "DISCONTIG_BG_LESS_CLUSTERS",
        name: "the pieces of a group are less than the group",
        on: CLUSTER_4K,
        damage: |image| edit_pieces(image, |_, records| set_clusters(&mut records[1], 31)),
        found: &["DISCONTIG_BG_LESS_CLUSTERS"],
        c: Dies(134),
    },
    Recipe {
        code: "DISCONTIG_BG_NEXT_FREE_REC",
        name: "a group has a piece less than it states",
        on: CLUSTER_4K,
        damage: |image| edit_pieces(image, |header, _| header.l_next_free_rec += 1),
        found: &["DISCONTIG_BG_NEXT_FREE_REC"],
        c: Same,
    },
    Recipe {
        code: "DISCONTIG_BG_LIST_CORRUPT",
        name: "a group has a piece less than it states, and one that is too large",
        on: CLUSTER_4K,
        damage: |image| {
            edit_pieces(image, |header, records| {
                header.l_next_free_rec += 1;
                set_clusters(&mut records[1], 1025);
            });
        },
        found: &["DISCONTIG_BG_LIST_CORRUPT"],
        c: Differs {
            codes: &["DISCONTIG_BG_LEAF_CLUSTERS", "DISCONTIG_BG_NEXT_FREE_REC"],
            status: 134,
            why: "It says that the records appear to be correct, then that one is not, and crashes.",
        },
    },
    Recipe {
        code: "DISCONTIG_BG_REC_CORRUPT",
        name: "a piece of a group is too large, and the others fill it",
        on: CLUSTER_4K,
        damage: |image| {
            edit_pieces(image, |_, records| {
                set_clusters(&mut records[1], 1025);
                set_clusters(&mut records[2], 64);
            });
        },
        found: &["DISCONTIG_BG_REC_CORRUPT"],
        c: Dies(134),
    },
    Recipe {
        code: "DISCONTIG_BG_LEAF_CLUSTERS",
        name: "a piece of a group is larger than the group",
        on: CLUSTER_4K,
        damage: |image| edit_pieces(image, |_, records| set_clusters(&mut records[1], 1025)),
        found: &["DISCONTIG_BG_LEAF_CLUSTERS"],
        c: Dies(134),
    },
    Recipe {
        code: "CHAIN_COUNT",
        name: "an allocator has room for more chains than fit",
        on: CLUSTER_4K,
        damage: |image| image.edit_chains("inode_alloc:0001", |_, header, _| header.cl_count += 1),
        found: &["CHAIN_COUNT"],
        c: Same,
    },
    Recipe {
        code: "CHAIN_NEXT_FREE",
        name: "the bitmap has more chains than it has room for",
        on: ONE_OF_ALL_512,
        damage: |image| {
            image.edit_chains("global_bitmap", |_, header, _| header.cl_next_free_rec += 1);
        },
        found: &["CHAIN_NEXT_FREE"],
        c: Same,
    },
    Recipe {
        code: "CHAIN_HEAD_LINK_RANGE",
        name: "a chain begins outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_chains("global_bitmap", |_, header, chains| {
                chains[usize::from(header.cl_next_free_rec)].c_blkno = Blkno(1 << 40);
                header.cl_next_free_rec += 1;
            });
        },
        found: &["CHAIN_HEAD_LINK_RANGE"],
        c: Differs {
            codes: &["CHAIN_HEAD_LINK_RANGE", "CHAIN_LINK_RANGE"],
            status: 8,
            why: "It asks about the same reference again, and gives up.",
        },
    },
    Recipe {
        code: "CHAIN_EMPTY",
        name: "a chain of clusters has no group",
        on: CLUSTER_4K,
        damage: |image| {
            image.edit_chains("global_bitmap", |_, header, _| header.cl_next_free_rec += 1);
        },
        found: &["CHAIN_EMPTY"],
        c: Differs { codes: &[], status: 0, why: "It looks at the chains of blocks only." },
    },
    Recipe {
        code: "CHAIN_BITS",
        name: "a chain has fewer free bits than it states",
        on: CLUSTER_4K,
        damage: |image| {
            image.edit_chains("inode_alloc:0001", |_, _, chains| chains[4].c_free += 1);
        },
        found: &["CHAIN_BITS"],
        c: Same,
    },
    Recipe {
        code: "CHAIN_GROUP_BITS",
        name: "an allocator has fewer used bits than it states",
        on: CLUSTER_4K,
        damage: |image| image.edit_chains("inode_alloc:0001", |dinode, _, _| dinode.id1 += 1),
        found: &["CHAIN_GROUP_BITS"],
        c: Same,
    },
    Recipe {
        code: "CHAIN_I_CLUSTERS",
        name: "an allocator has fewer clusters than it states",
        on: CLUSTER_4K,
        damage: |image| {
            image.edit_chains("inode_alloc:0001", |dinode, _, _| dinode.i_clusters += 1)
        },
        found: &["CHAIN_I_CLUSTERS"],
        c: Same,
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
    Recipe {
        code: "CLUSTER_ALLOC_BIT",
        name: "a cluster of a file is free",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let blkno = image.first_record(&image.file()).e_blkno;
            image.mark_cluster(image.volume().geometry().cluster_of(blkno).unwrap(), false);
        },
        found: &["CLUSTER_ALLOC_BIT"],
        c: Same,
    },
    Recipe {
        code: "CLUSTER_ALLOC_BIT",
        name: "clusters of nobody are used",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let Cluster(first) = image.free_clusters(3);
            (first..first + 3).for_each(|cluster| image.mark_cluster(Cluster(cluster), true));
        },
        found: &["CLUSTER_ALLOC_BIT"],
        c: Same,
    },
];
