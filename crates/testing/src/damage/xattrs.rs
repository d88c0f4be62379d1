//! Extended attributes.

use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::{XattrEntry, XattrHeader, XattrTreeRoot};
use ocfs2_format::{Blkno, Structure};

use super::CFsck::{Differs, GivesUp, Same};
use super::{Image, ONE_OF_ALL_1K, Recipe, edit_list};

/// Changes the attributes in an inode.
fn edit_inline(
    image: &Image,
    path: &str,
    change: impl FnOnce(&mut XattrHeader, &mut [XattrEntry]),
) {
    image.edit_dinode(image.inode(path).blkno, |dinode, id2| {
        let start = id2.len() - usize::from(dinode.i_xattr_inline_size);
        edit_list(&mut id2[start..], change);
    });
}

/// The first bucket of an inode whose attributes are in buckets.
fn first_bucket(image: &Image) -> Blkno {
    let block = image.read(image.inode("/xattr/bucket").dinode.i_xattr_loc);
    XattrTreeRoot::list(&block).unwrap().record(0).unwrap().e_blkno
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "XATTR_BLOCK_INVALID",
        name: "an xattr block has another signature",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let block = image.inode("/xattr/block").dinode.i_xattr_loc;
            image.edit_xattr_block(block, |header, _| header.xb_signature = *b"XATTR02\0");
        },
        found: &["CLUSTER_ALLOC_BIT", "EXTENT_ALLOC_BIT", "XATTR_BLOCK_INVALID"],
        c: Differs {
            codes: &[],
            status: 8,
            why: "Its library refuses to read the block, and it gives up.",
        },
    },
    Recipe {
        code: "XATTR_COUNT_INVALID",
        name: "an inode has fewer attributes than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |header, _| header.xh_count = u16::MAX);
        },
        found: &["XATTR_COUNT_INVALID"],
        c: Same,
    },
    Recipe {
        code: "XATTR_ENTRY_INVALID",
        name: "the name of an attribute is where the next entry is",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let seed = image.volume().superblock().s_uuid_hash;
            edit_inline(image, "/xattr/inline", |_, entries| {
                let mut name = [0; XattrEntry::SIZE];
                entries[1].encode(&mut name).unwrap();
                let name = &name[..entries[0].xe_name_len.into()];
                entries[0].xe_name_hash = xattr_hash(name, seed, CharSign::Signed);
                entries[0].xe_name_offset = 32;
            });
        },
        found: &["XATTR_ENTRY_INVALID"],
        c: Same,
    },
    Recipe {
        code: "XATTR_NAME_OFFSET_INVALID",
        name: "the name of an attribute is outside its area",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |_, entries| entries[0].xe_name_offset = 5000);
        },
        found: &["XATTR_NAME_OFFSET_INVALID"],
        c: Same,
    },
    Recipe {
        code: "XATTR_LOCATION_INVALID",
        name: "a long value of an attribute is beside its name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |_, entries| entries[0].xe_value_size = 81);
        },
        found: &["XATTR_LOCATION_INVALID"],
        c: Same,
    },
    Recipe {
        code: "XATTR_VALUE_INVALID",
        name: "two attributes have the same place",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |_, entries| entries[1] = entries[0]);
        },
        found: &["XATTR_VALUE_INVALID"],
        c: Same,
    },
    Recipe {
        code: "XATTR_HASH_INVALID",
        name: "the hash of an attribute is not that of its name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |_, entries| entries[0].xe_name_hash ^= 1);
        },
        found: &["XATTR_HASH_INVALID"],
        c: Same,
    },
    Recipe {
        code: "XATTR_FREE_START_INVALID",
        name: "a bucket of attributes has less room than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_bucket(first_bucket(image), |header, _| header.xh_free_start += 4);
        },
        found: &["XATTR_FREE_START_INVALID"],
        c: Same,
    },
    Recipe {
        code: "XATTR_VALUE_LEN_INVALID",
        name: "a bucket of attributes has less in it than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_bucket(first_bucket(image), |header, _| header.xh_name_value_len += 4);
        },
        found: &["XATTR_VALUE_LEN_INVALID"],
        c: Same,
    },
    Recipe {
        code: "XATTR_BUCKET_COUNT_INVALID",
        name: "there are fewer buckets of attributes than are stated",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_bucket(first_bucket(image), |header, _| header.xh_num_buckets = u16::MAX);
        },
        found: &["XATTR_BUCKET_COUNT_INVALID"],
        c: GivesUp,
    },
];
