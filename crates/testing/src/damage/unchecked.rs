//! Damage to inodes and extent trees that the C fsck never notices.

use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Structure};

use super::CFsck::{self, Differs, NotCompared};
use super::{CLUSTER_4K, Image, ONE_OF_ALL_1K, Recipe, edit_list};

const BLIND: CFsck = Differs { codes: &[], status: 0, why: "It never looks at this." };

/// Changes the extent list in the first extent block of a file.
fn edit_first_leaf(image: &Image, change: impl FnOnce(&mut ExtentListHeader, &mut [ExtentRec])) {
    let blkno = image.first_record(&image.tree(1)).e_blkno;
    image.edit_extent_block(blkno, |_, list| edit_list(list, change));
}

/// Changes the extent list of a file that has a level of extent blocks.
fn edit_root(image: &Image, change: impl FnOnce(&mut ExtentListHeader, &mut [ExtentRec])) {
    image.edit_dinode(image.tree(1).blkno, |_, id2| edit_list(id2, change));
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "INODE_ECC",
        name: "two bytes of a file's inode are wrong, and its block check says so",
        on: CLUSTER_4K,
        damage: |image| {
            // The times of a file, which are not compared with anything else.
            image.edit_raw(image.file().blkno, |block| {
                block[0x38..0x3a].copy_from_slice(b"\xa5\x5a")
            });
        },
        found: &["INODE_ECC"],
        c: BLIND,
    },
    Recipe {
        code: "BLOCK_ECC",
        name: "reserved bytes of an extent block are wrong, and its block check says so",
        on: CLUSTER_4K,
        damage: |image| {
            let blkno = image.first_record(&image.tree(1)).e_blkno;
            image.edit_raw(blkno, |block| block[0x38..0x40].fill(0xa5));
        },
        found: &["BLOCK_ECC"],
        c: NotCompared("It gives up pass 1 with \"Bad CRC32\" and exit status 8, without a code."),
    },
    Recipe {
        code: "INODE_SIGNATURE",
        name: "a bit of a file's signature is wrong, and its block check does not tell",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_signature[2] ^= 4);
        },
        found: &["INODE_SIGNATURE"],
        c: NotCompared("It takes the file for deleted, and then loses what is after its entry."),
    },
    Recipe {
        code: "INODE_SUBALLOC_BIT",
        name: "a file states another bit than its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_suballoc_bit += 1);
        },
        found: &["INODE_SUBALLOC_BIT"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_FLAGS",
        name: "a file says that it is a journal, and no system file",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let journal = InodeFlags::JOURNAL.bits();
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_flags |= journal);
        },
        found: &["INODE_FLAGS"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_FLAGS",
        name: "a file has a dynamic feature that does not exist",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.file().blkno, |dinode, _| dinode.i_dyn_features |= 0x4000);
        },
        found: &["INODE_FLAGS"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_LAST_EB",
        name: "a file does not name its rightmost leaf",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let tree = image.tree(1);
            let first = image.first_record(&tree).e_blkno;
            assert_ne!(tree.dinode.i_last_eb_blk, first);
            image.edit_dinode(tree.blkno, |dinode, _| dinode.i_last_eb_blk = first);
        },
        found: &["INODE_LAST_EB"],
        c: NotCompared("It gives up pass 1 with an attempt to write, exit status 8 and no code."),
    },
    Recipe {
        code: "INLINE_DATA_TAIL",
        name: "inline data goes on past the end of its file",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let inline = image.find("inline file", |inode| {
                inode.kind() == Some(FileKind::Regular)
                    && inode.dinode.dyn_features() == DynFeatures::INLINE_DATA
                    && inode.size() < 100
            });
            image.edit_dinode(inline.blkno, |_, id2| id2[InlineData::SIZE + 100] = b'x');
        },
        found: &["INLINE_DATA_TAIL"],
        c: BLIND,
    },
    Recipe {
        code: "EB_NEXT_LEAF",
        name: "the first leaf of a file does not point to the second",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let blkno = image.first_record(&image.tree(1)).e_blkno;
            image.edit_extent_block(blkno, |eb, _| eb.h_next_leaf_blk = Blkno(12_345));
        },
        found: &["EB_NEXT_LEAF"],
        c: BLIND,
    },
    Recipe {
        code: "EXTENT_RANGE",
        name: "a record above a leaf covers too little",
        on: ONE_OF_ALL_1K,
        damage: |image| edit_root(image, |_, records| records[0].e_word -= 1),
        found: &["EXTENT_RANGE"],
        c: BLIND,
    },
    Recipe {
        code: "EXTENT_LOOP",
        name: "two records of a file point to the same leaf",
        on: ONE_OF_ALL_1K,
        damage: |image| edit_root(image, |_, records| records[1].e_blkno = records[0].e_blkno),
        found: &["EXTENT_LOOP"],
        c: NotCompared("It counts the clusters of the leaf twice, and those of the other not."),
    },
    Recipe {
        code: "EXTENT_EMPTY",
        name: "an empty record is after the others",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            // The last leaf has room.
            let blkno = image.tree(1).dinode.i_last_eb_blk;
            image.edit_extent_block(blkno, |_, list| {
                edit_list(list, |header: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[usize::from(header.l_next_free_rec)] = ExtentRec::default();
                    header.l_next_free_rec += 1;
                });
            });
        },
        found: &["EXTENT_EMPTY"],
        c: NotCompared("It takes the empty record for one outside the volume."),
    },
    Recipe {
        code: "EXTENT_FLAGS",
        name: "an extent has a flag that does not exist",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_first_leaf(image, |_, records| {
                records[0].e_word |= u32::from(ExtentFlags::from_bits_retain(0x40).bits()) << 24;
            });
        },
        found: &["EXTENT_FLAGS"],
        c: BLIND,
    },
    Recipe {
        code: "INODE_MODE",
        name: "the mode of a file is not a valid file type",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            // No single bit makes a valid type of this.
            image.edit_dinode(image.file().blkno, |dinode: &mut Dinode, _| {
                dinode.i_mode |= 0o170_000;
            });
        },
        found: &["INODE_MODE"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "DIRENT_TYPE", "INODE_ALLOC_REPAIR", "INODE_COUNT"],
            status: 0,
            why: "It takes the inode for a free one, and would throw away what it holds.",
        },
    },
];
