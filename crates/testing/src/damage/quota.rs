//! Quota files.

use ocfs2_format::quota::{
    GlobalInfo, LeafHeader, LocalInfo, QuotaEntry, QuotaHeader, check_offset, leaf_entries,
    references, tree_depth,
};
use ocfs2_format::{Blkno, BlockCheck, Cpos, Structure};

use super::CFsck::{self, Differs, GivesUp, Same};
use super::image::edit_header;
use super::{Image, ONE_OF_ALL_1K, ONE_OF_ALL_512, Recipe, edit_list};

/// Returns the place of a block of the global file of the users.
fn quota_block(image: &Image, index: u64) -> Blkno {
    let geometry = image.volume().geometry();
    let per_cluster = u64::from(geometry.blocks_per_cluster());
    let cpos = Cpos((index / per_cluster) as u32);
    let inode = image.system("aquota.user");
    let extent = image.volume().tree(&inode).unwrap().map(cpos).unwrap().unwrap();
    let clusters = u64::from(cpos.0 - extent.cpos.0);
    Blkno(extent.blkno.0 + clusters * per_cluster + index % per_cluster)
}

/// Returns the leaves of the tree of the users, in order of their first id.
fn leaves(image: &Image) -> Vec<Blkno> {
    let mut below = vec![1];
    for _ in 0..tree_depth(image.volume().block_size()) {
        let mut next = Vec::new();
        for index in below {
            let block = image.read(quota_block(image, index));
            let found: Vec<_> = references(&block).filter(|index| *index != 0).collect();
            next.extend(found.into_iter().map(u64::from));
        }
        next.dedup();
        below = next;
    }
    let mut seen = Vec::new();
    for index in below {
        let blkno = quota_block(image, index);
        if !seen.contains(&blkno) {
            seen.push(blkno);
        }
    }
    seen
}

/// Makes the block check of a block wrong.
fn break_check(image: &Image, blkno: Blkno) {
    let at = check_offset(image.volume().block_size());
    image.edit_raw(blkno, |block| block[at] ^= 0xff);
}

/// Copies the first entry of one leaf into another leaf, or the same one, with other limits.
fn copy_limits(image: &Image, from: Blkno, to: Blkno) {
    let entry = leaf_entries(&image.read(from)).find(QuotaEntry::is_used).unwrap();
    let mut is_full = false;
    image.edit_quota_block(to, |block| {
        let end = block.len() - BlockCheck::SIZE;
        edit_list(&mut block[..end], |header: &mut LeafHeader, entries: &mut [QuotaEntry]| {
            let free = entries.iter_mut().find(|entry| !entry.is_used()).unwrap();
            *free = QuotaEntry { dqb_bhardlimit: entry.dqb_bhardlimit + (1 << 30), ..entry };
            header.dqdh_entries += 1;
            is_full = entries.iter().all(QuotaEntry::is_used);
        });
    });
    if is_full {
        // It was the only leaf with room.
        image.edit_quota_block(quota_block(image, 0), |block| {
            edit_header(&mut block[QuotaHeader::SIZE..], |info: &mut GlobalInfo, _| {
                info.dqi_free_entry = 0;
            });
        });
    }
}

/// Changes the entry of a user.
fn edit_entry(image: &Image, id: u32, change: impl Fn(&mut QuotaEntry)) {
    let has = |blkno: &Blkno| leaf_entries(&image.read(*blkno)).any(|entry| entry.dqb_id == id);
    let leaf = leaves(image).into_iter().find(has).expect("the id has an entry");
    image.edit_quota_block(leaf, |block| {
        let end = block.len() - BlockCheck::SIZE;
        edit_list(&mut block[..end], |_: &mut LeafHeader, entries: &mut [QuotaEntry]| {
            entries.iter_mut().filter(|entry| entry.dqb_id == id).for_each(&change);
        });
    });
}

/// Changes the header of the users' file of the first slot.
fn edit_local(image: &Image, change: impl FnOnce(&mut QuotaHeader, &mut LocalInfo)) {
    let record = image.first_record(&image.system("aquota.user:0000"));
    image.edit_quota_block(record.e_blkno, |block| {
        edit_header(block, |header: &mut QuotaHeader, rest| {
            edit_header(rest, |info: &mut LocalInfo, _| change(header, info));
        });
    });
}

/// What the C fsck reports about what it does not examine.
const NOT_SEEN: CFsck = Differs { codes: &[], status: 0, why: "It does not look at it." };

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "QMAGIC_INVALID",
        name: "a quota file has another magic number",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_quota_block(quota_block(image, 0), |block| block[0] ^= 1);
        },
        found: &["QMAGIC_INVALID"],
        c: Same,
    },
    Recipe {
        code: "QTREE_BLK_INVALID",
        name: "the root of a quota tree has a wrong block check",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            break_check(image, quota_block(image, 1));
        },
        found: &["QTREE_BLK_INVALID"],
        c: GivesUp,
    },
    Recipe {
        code: "DQBLK_INVALID",
        name: "the limits of ids are in a block with a wrong block check",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            break_check(image, leaves(image)[0]);
        },
        found: &["DQBLK_INVALID"],
        c: Same,
    },
    Recipe {
        code: "DUP_DQBLK_INVALID",
        name: "the second set of limits of an id is in a block with a wrong block check",
        on: ONE_OF_ALL_512,
        damage: |image| {
            let leaves = leaves(image);
            copy_limits(image, leaves[0], leaves[1]);
            break_check(image, leaves[1]);
        },
        found: &["DQBLK_INVALID", "DUP_DQBLK_INVALID"],
        c: Same,
    },
    Recipe {
        code: "DUP_DQBLK_VALID",
        name: "there are two sets of limits of an id",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let leaf = leaves(image)[0];
            copy_limits(image, leaf, leaf);
        },
        found: &["DUP_DQBLK_VALID"],
        c: Same,
    },
    Recipe {
        code: "QTREE_INDEX",
        name: "an entry is of another id than the one the tree points to it for",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            // An entry with only limits, nothing in use.
            edit_entry(image, 2999, |entry| entry.dqb_id = 2998);
        },
        found: &["QTREE_INDEX"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "QTREE_FREE_LIST",
        name: "a leaf with free entries is not listed",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_quota_block(quota_block(image, 0), |block| {
                edit_header(&mut block[QuotaHeader::SIZE..], |info: &mut GlobalInfo, _| {
                    info.dqi_free_entry = 0;
                });
            });
        },
        found: &["QTREE_FREE_LIST"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "QUOTA_USAGE",
        name: "a user has a file less than the quota file says",
        on: ONE_OF_ALL_1K,
        damage: |image| edit_entry(image, 2001, |entry| entry.dqb_curinodes += 1),
        found: &["QUOTA_USAGE"],
        c: Differs { codes: &[], status: 0, why: "It counts again without a word." },
    },
    Recipe {
        code: "QUOTA_LOCAL_INVALID",
        name: "the quota file of a slot has another magic number",
        on: ONE_OF_ALL_1K,
        damage: |image| edit_local(image, |header, _| header.dqh_magic ^= 1),
        found: &["QUOTA_LOCAL_INVALID"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "QUOTA_LOCAL_DIRTY",
        name: "the quota file of a slot is not marked as clean",
        on: ONE_OF_ALL_1K,
        damage: |image| edit_local(image, |_, info| info.dqi_flags = 0),
        found: &["QUOTA_LOCAL_DIRTY"],
        c: NOT_SEEN,
    },
];
