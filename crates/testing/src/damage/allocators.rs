//! Damage to allocators that the C fsck never notices.

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::extent::{ExtentListHeader, ExtentRec};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::truncate_log::{TruncateLogHeader, TruncateRec};
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Cluster, Structure};
use ocfs2_volume::allocator::Group;

use super::CFsck::{self, Differs, NotCompared, Repairing};
use super::{CLUSTER_4K, Image, ONE_OF_ALL_1K, ONE_OF_ALL_512, Recipe, edit_list};

const BLIND: CFsck = Differs { codes: &[], status: 0, why: "It never looks at this." };

/// Returns the group of the global bitmap that covers the end of the volume.
fn last_group(image: &Image) -> Group {
    let groups = image.groups("global_bitmap");
    groups.into_iter().max_by_key(|group| group.blkno).unwrap()
}

/// Changes the list of a discontiguous group of inodes.
fn edit_pieces(image: &Image, change: impl FnOnce(&mut ExtentListHeader, &mut [ExtentRec])) {
    let groups = image.groups("inode_alloc:0001");
    let group = groups.iter().find(|group| group.is_discontiguous()).unwrap();
    image.edit_group(group.blkno, |_, rest| {
        edit_list(&mut rest[GroupDesc::LIST_OFFSET - GroupDesc::SIZE..], change);
    });
}

/// Makes a block look like one more group of an allocator, at the end of its last chain.
fn add_group(image: &Image, allocator: &str, blkno: Blkno) {
    let model = image.groups(allocator).pop().unwrap();
    image.write(blkno, model.block());
    image.edit_group(blkno, |group, _| group.bg_blkno = blkno);
    image.edit_group(model.blkno, |group, _| group.bg_next_group = blkno);
}

/// Returns the first leaf of a file that has several.
fn first_leaf(image: &Image) -> Blkno {
    image.first_record(&image.tree(1)).e_blkno
}

/// Returns the extent allocator and the group that contain a block, and its bit there.
fn extent_bit(image: &Image, blkno: Blkno) -> (String, Group, u32) {
    let allocators = (0..image.volume().max_slots()).map(|slot| format!("extent_alloc:{slot:04}"));
    let mut found = allocators.flat_map(|name| {
        let groups = image.groups(&name).into_iter();
        groups.filter_map(move |group| {
            let bit = group.bit_of_block(blkno)?;
            Some((name.clone(), group, bit))
        })
    });
    found.next().unwrap_or_else(|| panic!("block {blkno} is of no extent allocator"))
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "GROUP_EXPECTED_DESC",
        name: "a group of the bitmap is lost, and a cluster of it is still to be freed",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let group = last_group(image);
            let last = image.volume().geometry().clusters - 1;
            image.mark_cluster(Cluster(last), true);
            image.edit_dinode(image.system("truncate_log:0000").blkno, |_, id2| {
                edit_list(id2, |header: &mut TruncateLogHeader, records: &mut [TruncateRec]| {
                    header.tl_used = 1;
                    records[0] = TruncateRec { t_start: last, t_clusters: 1 };
                });
            });
            image.edit_raw(group.blkno, |block| block.fill(0));
        },
        found: &["CHAIN_LINK_MAGIC", "GROUP_EXPECTED_DESC"],
        c: NotCompared("It gives up."),
    },
    Recipe {
        code: "FIXED_CHAIN_CLUSTERS",
        name: "superblock and bitmap have a cluster less than the chains",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_superblocks(|dinode, _| dinode.i_clusters -= 1);
            image.edit_chains("global_bitmap", |dinode, _, _| dinode.i_clusters -= 1);
        },
        found: &["CHAIN_I_CLUSTERS", "FIXED_CHAIN_CLUSTERS"],
        c: Repairing,
    },
    Recipe {
        code: "CHAIN_BPC",
        name: "an allocator has half the bits for a cluster",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_chains("inode_alloc:0000", |_, header, _| header.cl_bpc /= 2),
        found: &["CHAIN_BPC"],
        c: Differs {
            codes: &["CHAIN_I_CLUSTERS", "CHAIN_I_SIZE"],
            status: 0,
            why: "It believes the number, and counts clusters by it.",
        },
    },
    Recipe {
        code: "CHAIN_REC_BEYOND",
        name: "a chain that is not used has bits",
        on: CLUSTER_4K,
        damage: |image| {
            image.edit_chains("inode_alloc:0001", |_, header, chains| {
                chains[usize::from(header.cl_next_free_rec)].c_total = 5;
            });
        },
        found: &["CHAIN_REC_BEYOND"],
        c: BLIND,
    },
    Recipe {
        code: "CHAIN_REC_BEYOND",
        name: "the last chain of an allocator is not counted",
        on: CLUSTER_4K,
        damage: |image| {
            image.edit_chains("inode_alloc:0001", |_, header, _| header.cl_next_free_rec -= 1);
        },
        found: &["CHAIN_REC_BEYOND"],
        c: NotCompared("It throws the chain away, with all inodes in it."),
    },
    Recipe {
        code: "DISCONTIG_BG_CPOS",
        name: "a piece of a group is at another position",
        on: CLUSTER_4K,
        damage: |image| edit_pieces(image, |_, records| records[1].e_cpos.0 += 1),
        found: &["DISCONTIG_BG_CPOS"],
        c: Differs { codes: &[], status: 134, why: "It crashes without a word." },
    },
    Recipe {
        code: "DISCONTIG_BG_START",
        name: "the first piece of a group begins somewhere else",
        on: CLUSTER_4K,
        damage: |image| edit_pieces(image, |_, records| records[0].e_blkno.0 += 1),
        found: &["DISCONTIG_BG_START"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "DUP_CLUSTERS_CLONE", "DUP_CLUSTERS_DELETE"],
            status: 0,
            why: "It takes the clusters of others for those of the group.",
        },
    },
    Recipe {
        code: "GROUP_SIZE",
        name: "the bitmap of a group is smaller than it has to be",
        on: ONE_OF_ALL_512,
        damage: |image| {
            image.edit_group(last_group(image).blkno, |group, _| group.bg_size -= 8);
        },
        found: &["GROUP_SIZE"],
        c: BLIND,
    },
    Recipe {
        code: "GROUP_BITS",
        name: "a group of inodes has fewer bits than its clusters",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0001");
            image.edit_group(groups[1].blkno, |group, _| group.bg_bits -= 1);
        },
        found: &["GROUP_BITS"],
        c: Differs {
            codes: &["CHAIN_BITS", "CHAIN_GROUP_BITS", "CHAIN_I_CLUSTERS", "CHAIN_I_SIZE"],
            status: 134,
            why: "It believes the group, whatever its size has to be, and crashes.",
        },
    },
    Recipe {
        code: "GROUP_BITMAP_TAIL",
        name: "a bit past the end of the volume is set",
        on: ONE_OF_ALL_512,
        damage: |image| {
            image.edit_group(last_group(image).blkno, |group, bitmap| {
                bitmap[usize::from(group.bg_bits) / 8 + 1] |= 1;
            });
        },
        found: &["GROUP_BITMAP_TAIL"],
        c: BLIND,
    },
    Recipe {
        code: "GROUP_FREE_BITS_LOW",
        name: "a group has more free bits than it states",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0001");
            image.edit_group(groups[4].blkno, |group, _| group.bg_free_bits_count -= 1);
        },
        found: &["GROUP_FREE_BITS_LOW"],
        c: Differs {
            codes: &["CHAIN_BITS", "CHAIN_GROUP_BITS"],
            status: 0,
            why: "It believes the group, and not its bitmap.",
        },
    },
    Recipe {
        code: "GROUP_DESC_BIT",
        name: "the descriptor of a group is free",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0001");
            image.mark("inode_alloc:0001", &groups[1], 0, false);
        },
        found: &["GROUP_DESC_BIT"],
        c: BLIND,
    },
    Recipe {
        code: "GROUP_PLACE",
        name: "a chain goes on at a group that begins within a cluster",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let block = Blkno(image.free_block().0 + 1);
            add_group(image, "extent_alloc:0000", block);
        },
        found: &["GROUP_PLACE"],
        c: NotCompared("It takes the group for a good one, with all that follows."),
    },
    Recipe {
        code: "GROUP_UNLINKED",
        name: "an allocator of inodes is as it was before it had groups",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let inode = image.system("inode_alloc:0000").blkno;
            image.edit_dinode(inode, |dinode, id2| {
                (dinode.i_clusters, dinode.i_size) = (0, 0);
                dinode.set_bitmap(0, 0);
                edit_list::<ChainListHeader, ChainRec>(id2, |list, records| {
                    list.cl_next_free_rec = 0;
                    records.fill(ChainRec::default());
                });
            });
        },
        found: &["GROUP_UNLINKED"],
        c: NotCompared("It takes the inodes to be free, and their names to be wrong."),
    },
    Recipe {
        code: "GROUP_OVERLAP",
        name: "a chain goes on at a group that lies within another one",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("extent_alloc:0000");
            let bit = groups[0].bitmap().next(false, 0).unwrap();
            let block = groups[0].block_of_bit(bit as u32).unwrap();
            add_group(image, "extent_alloc:0000", block);
        },
        found: &["GROUP_OVERLAP"],
        c: NotCompared("It takes the group for a good one, with all that follows."),
    },
    Recipe {
        code: "EXTENT_ALLOC_BIT",
        name: "an extent block is free",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (allocator, group, bit) = extent_bit(image, first_leaf(image));
            image.mark(&allocator, &group, bit, false);
        },
        found: &["EXTENT_ALLOC_BIT"],
        c: BLIND,
    },
    Recipe {
        code: "EXTENT_ALLOC_BIT",
        name: "blocks of nobody are not free",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let group = || image.groups("extent_alloc:0000").remove(0);
            let free = group().bitmap().runs(false).find(|run| run.len() >= 3).unwrap();
            (free.start..free.start + 3)
                .for_each(|bit| image.mark("extent_alloc:0000", &group(), bit as u32, true));
        },
        found: &["EXTENT_ALLOC_BIT"],
        c: BLIND,
    },
    Recipe {
        code: "BLOCK_UNALLOCATED",
        name: "an extent block is in a cluster nobody has allocated",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (old, new) = (first_leaf(image), image.free_block());
            image.write(new, &image.read(old));
            image.edit_extent_block(new, |eb, _| eb.h_blkno = new);
            image.edit_dinode(image.tree(1).blkno, |_, id2| {
                edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0].e_blkno = new;
                });
            });
            let (allocator, group, bit) = extent_bit(image, old);
            image.mark(&allocator, &group, bit, false);
        },
        found: &["BLOCK_UNALLOCATED"],
        c: BLIND,
    },
    Recipe {
        code: "BLOCK_SHARED",
        name: "a file has the xattr block of another one",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let other = image.find("file with an xattr block", |inode| {
                // An inode without clusters: those would be shared as well.
                let block = inode.dinode.i_xattr_loc;
                !block.is_none() && {
                    let block = image.read(block);
                    let is_indexed = XattrBlock::decode(&block).unwrap().is_indexed();
                    let mut entries = XattrBlock::area(&block).unwrap().entries();
                    !is_indexed && entries.all(|entry| entry.is_local())
                }
            });
            image.edit_dinode(image.file().blkno, |dinode, _| {
                dinode.i_xattr_loc = other.dinode.i_xattr_loc;
                dinode.i_dyn_features |= DynFeatures::HAS_XATTR.bits();
            });
        },
        found: &["BLOCK_SHARED"],
        c: BLIND,
    },
    Recipe {
        code: "BLOCK_SUBALLOC",
        name: "an extent block states another slot",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_extent_block(first_leaf(image), |eb, _| eb.h_suballoc_slot ^= 1);
        },
        found: &["BLOCK_SUBALLOC"],
        c: BLIND,
    },
    Recipe {
        code: "BLOCK_SUBALLOC_BIT",
        name: "an extent block states another bit",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_extent_block(first_leaf(image), |eb, _| eb.h_suballoc_bit += 1);
        },
        found: &["BLOCK_SUBALLOC_BIT"],
        c: BLIND,
    },
    Recipe {
        code: "BLOCK_ECC",
        name: "reserved bytes of a group are wrong, and its block check says so",
        on: CLUSTER_4K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0001");
            image.edit_raw(groups[1].blkno, |block| block[0x38..0x40].fill(0xa5));
        },
        found: &["BLOCK_ECC"],
        c: NotCompared("It gives up pass 0 with \"Bad CRC32\" and exit status 8, without a code."),
    },
];
