//! Extended attributes.

use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::extent::{ExtentListHeader, ExtentRec};
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::{
    BUCKET_SIZE, XattrArea, XattrBlock, XattrEntry, XattrHeader, XattrPrefix, XattrTreeRoot,
    XattrValueRoot,
};
use ocfs2_format::{Blkno, Structure};

use super::CFsck::{self, Differs, GivesUp, Same};
use super::image::edit_header;
use super::inodes::exchange;
use super::{Image, ONE_OF_ALL_1K, Recipe, edit_list};

const BLIND: CFsck = Differs { codes: &[], status: 0, why: "It never looks at this." };

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

/// Changes the entry and the root of an inode's first value that is in clusters.
fn edit_value(image: &Image, change: impl FnOnce(&mut XattrEntry, &mut XattrValueRoot)) {
    let inode = image.find("inode with a long value", |inode| {
        let features = inode.dinode.dyn_features();
        let first = image.volume().xattrs(inode).next();
        features.contains(DynFeatures::INLINE_XATTR)
            && first.is_some_and(|xattr| !xattr.unwrap().entry.is_local())
    });
    image.edit_dinode(inode.blkno, |dinode, id2| {
        let start = id2.len() - usize::from(dinode.i_xattr_inline_size);
        let area = &mut id2[start..];
        let (first, root) = area[XattrHeader::SIZE..].split_at_mut(XattrEntry::SIZE);
        edit_header(first, |entry: &mut XattrEntry, _| {
            let name = usize::from(entry.xe_name_len).next_multiple_of(4);
            let at = usize::from(entry.xe_name_offset) + name;
            let root = &mut root[at - XattrHeader::SIZE - XattrEntry::SIZE..];
            edit_header(root, |root, _| change(entry, root));
        });
    });
}

/// Returns the block with the root of a tree of buckets.
fn indexed_block(image: &Image) -> Blkno {
    image.inode("/xattr/bucket").dinode.i_xattr_loc
}

/// Moves the name and value of a bucket's entry into free room that begins in one block and ends in
/// the next.
fn move_across_blocks(image: &Image) {
    let size = image.volume().block_size().size();
    let buckets =
        (0..5).map(|index| Blkno(first_bucket(image).0 + index * (BUCKET_SIZE / size) as u64));
    for blkno in buckets {
        let mut bytes = Vec::new();
        for block in 0..(BUCKET_SIZE / size) as u64 {
            bytes.extend(image.read(Blkno(blkno.0 + block)));
        }
        let area = XattrArea::new(&bytes).unwrap();
        let entries: Vec<_> = area.entries().collect();
        let range = |entry: &XattrEntry| {
            let start = usize::from(entry.xe_name_offset);
            start..start + entry.storage_size().unwrap()
        };
        let len = range(&entries[0]).len();
        let lowest = usize::from(area.header.xh_free_start);
        let places = (size..BUCKET_SIZE).step_by(size).map(|boundary| boundary - 8);
        let is_free = |start: &usize| {
            let overlaps =
                |range: std::ops::Range<usize>| range.start < start + len && *start < range.end;
            *start >= lowest && !entries.iter().map(range).any(overlaps)
        };
        let Some(start) = places.into_iter().find(is_free) else { continue };
        image.edit_bucket(blkno, |_, rest| {
            let from = range(&entries[0]);
            let moved = bytes[from].to_vec();
            let at = start - XattrHeader::SIZE;
            rest[at..at + len].copy_from_slice(&moved);
            edit_header(rest, |entry: &mut XattrEntry, _| entry.xe_name_offset = start as u16);
        });
        return;
    }
    panic!("no bucket has room across two blocks");
}

/// Changes the first record that points to buckets.
fn edit_first_extent(image: &Image, change: impl FnOnce(&mut ExtentRec)) {
    image.edit_xattr_block(indexed_block(image), |_, root| {
        let list = &mut root[XattrTreeRoot::LIST_OFFSET - XattrBlock::SIZE..];
        edit_list(list, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            change(&mut records[0]);
        });
    });
}

/// Returns the first bucket of an inode whose attributes are in buckets.
pub(super) fn first_bucket(image: &Image) -> Blkno {
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
            image.edit_xattr_block(block, |header, _| header.xb_signature = *b"OTHER02\0");
        },
        found: &["XATTR_BLOCK_INVALID"],
        c: Differs {
            codes: &[],
            status: 8,
            why: "Its library refuses to read the block, and it gives up.",
        },
    },
    Recipe {
        code: "BLOCK_SIGNATURE",
        name: "two bits of the signature of an xattr block are wrong",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let block = image.inode("/xattr/block").dinode.i_xattr_loc;
            image.edit_raw(block, |bytes| bytes[2] ^= 0x11);
        },
        found: &["BLOCK_SIGNATURE"],
        c: Differs {
            codes: &[],
            status: 8,
            why: "Its library refuses to read the block, and it gives up.",
        },
    },
    Recipe {
        code: "XATTR_LOC_INVALID",
        name: "an inode names a block of attributes, and all it has are in it",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.inode("/xattr/inline").blkno;
            image.edit_dinode(file, |dinode, _| dinode.i_xattr_loc = Blkno(1 << 40));
        },
        found: &["XATTR_LOC_INVALID"],
        c: Differs { codes: &[], status: 8, why: "It cannot read the block, and gives up." },
    },
    Recipe {
        code: "XATTR_BUCKET_COUNT_INVALID",
        name: "more buckets of attributes are stated than an extent can have",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_bucket(first_bucket(image), |header, _| header.xh_num_buckets ^= 1 << 13);
        },
        found: &["XATTR_BUCKET_COUNT_INVALID"],
        c: GivesUp,
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
    Recipe {
        code: "XATTR_FLAGS",
        name: "a link with attributes is not flagged as having any",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let link = image.find("link with attributes", |inode| {
                inode.kind() == Some(FileKind::Symlink)
                    && inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR)
            });
            image.edit_dinode(link.blkno, |dinode, _| {
                dinode.i_dyn_features &= !DynFeatures::HAS_XATTR.bits();
            });
        },
        found: &["XATTR_FLAGS"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_INLINE_SIZE",
        name: "the attributes in an inode have another size than all others",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let inode = image.inode("/xattr/inline");
            image.edit_dinode(inode.blkno, |dinode, _| dinode.i_xattr_inline_size = 128);
        },
        found: &["XATTR_INLINE_SIZE"],
        c: Differs {
            codes: &["INLINE_DATA_COUNT_INVALID"],
            status: 0,
            why: "It looks only at the data before the attributes.",
        },
    },
    Recipe {
        code: "XATTR_LOC_INVALID",
        name: "the attributes of a folder are in a block outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let folder = image.find("folder with an xattr block", |inode| {
                inode.is_dir() && !inode.dinode.i_xattr_loc.is_none()
            });
            image.edit_dinode(folder.blkno, |dinode, _| dinode.i_xattr_loc = Blkno(1 << 40));
        },
        found: &["XATTR_LOC_INVALID"],
        c: Differs { codes: &[], status: 8, why: "It cannot read the block, and gives up." },
    },
    Recipe {
        code: "XB_BLKNO",
        name: "an xattr block states another block as its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_xattr_block(indexed_block(image), |header, _| header.xb_blkno.0 += 1);
        },
        found: &["XB_BLKNO"],
        c: BLIND,
    },
    Recipe {
        code: "BLOCK_MISPLACED",
        name: "the xattr blocks of two files were exchanged",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let of = |path| image.inode(path).dinode.i_xattr_loc;
            exchange(image, [of("/xattr/bucket"), of("/xattr/block")]);
        },
        found: &["BLOCK_MISPLACED", "BLOCK_SUBALLOC_BIT"],
        c: BLIND,
    },
    Recipe {
        code: "XB_GEN",
        name: "an xattr block is of an older volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_xattr_block(indexed_block(image), |header, _| header.xb_fs_generation ^= 1);
        },
        found: &["XB_GEN"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_PREFIX",
        name: "an attribute is of a kind that does not exist",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |_, entries| {
                // No prefix is one bit away.
                entries[0].xe_type = XattrEntry::LOCAL | 24;
            });
        },
        found: &["XATTR_PREFIX"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_NAME_INVALID",
        name: "an access list has a name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |_, entries| {
                entries[0].xe_type = XattrEntry::LOCAL | XattrPrefix::PosixAclAccess.code();
            });
        },
        found: &["XATTR_NAME_INVALID"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_DUPLICATE",
        name: "an inode has an attribute twice",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/xattr/block").blkno, |dinode, id2| {
                let start = id2.len() - usize::from(dinode.i_xattr_inline_size);
                let area = &mut id2[start..];
                let names: Vec<_> = XattrArea::new(area)
                    .unwrap()
                    .entries()
                    .map(|entry| entry.xe_name_offset)
                    .collect();
                let (from, to) = (usize::from(names[0]), usize::from(names[1]));
                area.copy_within(from..from + 8, to);
                edit_list(area, |_: &mut XattrHeader, entries: &mut [XattrEntry]| {
                    entries[1].xe_name_hash = entries[0].xe_name_hash;
                });
            });
        },
        found: &["XATTR_DUPLICATE"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_VALUE_LONG",
        name: "a value is longer than any can be",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_value(image, |entry, _| entry.xe_value_size = 65_537);
        },
        found: &["XATTR_VALUE_LONG"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_VALUE_SIZE",
        name: "a value is longer than its clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_value(image, |entry, _| entry.xe_value_size = 65_536);
        },
        found: &["XATTR_VALUE_SIZE"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_CLUSTERS",
        name: "a value has fewer clusters than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_value(image, |_, root| root.xr_clusters += 1);
        },
        found: &["XATTR_CLUSTERS"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_LAST_EB",
        name: "a value without extent blocks states a last one",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_value(image, |_, root| root.xr_last_eb_blk = Blkno(5000));
        },
        found: &["XATTR_LAST_EB"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_BLOCK_BOUNDARY",
        name: "the name of an attribute and its value are in two blocks of a bucket",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            move_across_blocks(image);
        },
        found: &["XATTR_BLOCK_BOUNDARY"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_ENTRY_ORDER",
        name: "two attributes of a bucket are exchanged",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_bucket(first_bucket(image), |header, rest| {
                let (first, last) = (0, usize::from(header.xh_count) - 1);
                let at = |index: usize| index * XattrEntry::SIZE..(index + 1) * XattrEntry::SIZE;
                let entry = rest[at(first)].to_vec();
                rest.copy_within(at(last), 0);
                rest[at(last)].copy_from_slice(&entry);
            });
        },
        found: &["XATTR_ENTRY_ORDER"],
        c: Differs {
            codes: &["XATTR_COUNT_INVALID"],
            status: 0,
            why: "It takes the second entry for the end of the list.",
        },
    },
    Recipe {
        code: "XATTR_BUCKET_ORDER",
        name: "two buckets of attributes are exchanged",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let size = image.volume().block_size().size();
            let first = first_bucket(image);
            let second = Blkno(first.0 + (BUCKET_SIZE / size) as u64);
            let mut contents = Vec::new();
            image.edit_bucket(second, |header, rest| contents.push((*header, rest.to_vec())));
            image.edit_bucket(first, |header, rest| {
                contents.push((*header, rest.to_vec()));
                let (new, bytes) = &contents[0];
                *header = XattrHeader { xh_num_buckets: header.xh_num_buckets, ..*new };
                rest.copy_from_slice(bytes);
            });
            image.edit_bucket(second, |header, rest| {
                let (new, bytes) = &contents[1];
                *header = XattrHeader { xh_num_buckets: 0, ..*new };
                rest.copy_from_slice(bytes);
            });
        },
        found: &["XATTR_BUCKET_ORDER"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_HASH_RANGE",
        name: "buckets are found by hashes above theirs",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let mut hash = 0;
            image.edit_bucket(first_bucket(image), |_, rest| {
                hash = XattrEntry::decode(rest).unwrap().xe_name_hash;
            });
            image.edit_xattr_block(indexed_block(image), |_, root| {
                let list = &mut root[XattrTreeRoot::LIST_OFFSET - XattrBlock::SIZE..];
                edit_list(list, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0].e_cpos.0 = hash + 1;
                });
            });
        },
        found: &["XATTR_HASH_RANGE"],
        c: Differs {
            codes: &[],
            status: 8,
            why: "It looks for the buckets by hashes they cannot be found by, and gives up.",
        },
    },
    Recipe {
        code: "XATTR_HASH_RANGE",
        name: "the first buckets are found by hashes from 1 on",
        on: ONE_OF_ALL_1K,
        damage: |image| edit_first_extent(image, |rec| rec.e_cpos.0 = 1),
        found: &["XATTR_HASH_RANGE"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_EXTENT_LENGTH",
        name: "an extent of buckets is longer than any can be",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_first_extent(image, |rec| {
                *rec = ExtentRec::leaf(rec.e_cpos, 1 << 14, rec.e_flags(), rec.e_blkno);
            });
        },
        found: &["XATTR_EXTENT_LENGTH"],
        c: Differs {
            codes: &["EXTENT_CLUSTERS_OVERRUN"],
            status: 1,
            why: "It only sees that the extent goes beyond the volume.",
        },
    },
    Recipe {
        code: "XATTR_EXTENT_LENGTH",
        name: "an extent of buckets has no clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_first_extent(image, |rec| {
                *rec = ExtentRec::leaf(rec.e_cpos, 0, rec.e_flags(), rec.e_blkno);
            });
        },
        found: &["XATTR_EXTENT_LENGTH"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "XATTR_BUCKET_COUNT_INVALID"],
            status: 0,
            why: "It takes the clusters for unused ones.",
        },
    },
    Recipe {
        code: "XATTR_BUCKETS_LOST",
        name: "buckets of attributes that are stated are not there",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let size = image.volume().block_size().size();
            let first = first_bucket(image);
            let mut stated = 0;
            image.edit_bucket(first, |header, _| stated = header.xh_num_buckets.into());
            let per_bucket = (BUCKET_SIZE / size) as u64;
            for block in 2 * per_bucket..stated * per_bucket {
                image.write(Blkno(first.0 + block), &vec![0; size]);
            }
        },
        found: &["XATTR_BUCKETS_LOST"],
        c: Differs {
            codes: &["XATTR_BUCKET_COUNT_INVALID"],
            status: 8,
            why: "It does not ask what was in them, and does not go on after the answer no.",
        },
    },
    Recipe {
        code: "XATTR_BUCKET_COUNT_INVALID",
        name: "there are more buckets of attributes than are stated",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_bucket(first_bucket(image), |header, _| {
                header.xh_num_buckets -= 1 << header.xh_num_buckets.ilog2();
            });
        },
        found: &["XATTR_BUCKET_COUNT_INVALID"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_COUNT_INVALID",
        name: "a bucket has more attributes than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_bucket(first_bucket(image), |header, _| {
                header.xh_count -= 1 << header.xh_count.ilog2();
            });
        },
        found: &["XATTR_COUNT_INVALID"],
        c: Differs {
            codes: &["XATTR_FREE_START_INVALID", "XATTR_VALUE_LEN_INVALID"],
            status: 0,
            why: "It believes the number, and cuts off what is behind.",
        },
    },
    Recipe {
        code: "XATTR_ENTRY_BIT",
        name: "one bit of where the name of an attribute is has changed",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |_, entries| entries[0].xe_name_offset ^= 1 << 6);
        },
        found: &["XATTR_ENTRY_BIT"],
        c: Differs {
            codes: &["XATTR_HASH_INVALID"],
            status: 0,
            why: "It takes the hash for wrong, and not where the name is.",
        },
    },
    Recipe {
        code: "XATTR_ENTRY_BIT",
        name: "one bit of the kind of an attribute has changed",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_inline(image, "/xattr/inline", |_, entries| entries[0].xe_type ^= 1 << 5);
        },
        found: &["XATTR_ENTRY_BIT"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_ENTRY_BIT",
        name: "one bit of the name of an attribute makes it no text",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/xattr/inline").blkno, |dinode, id2| {
                let start = id2.len() - usize::from(dinode.i_xattr_inline_size);
                let area = &mut id2[start..];
                let entry = XattrArea::new(area).unwrap().entries().next().unwrap();
                area[usize::from(entry.xe_name_offset) + 1] ^= 1 << 7;
            });
        },
        found: &["XATTR_ENTRY_BIT"],
        c: Differs {
            codes: &["XATTR_HASH_INVALID"],
            status: 0,
            why: "It takes the hash for wrong, and not the name.",
        },
    },
    Recipe {
        code: "XATTR_LOC_MISSING",
        name: "a file points to no attributes, and says that it has some",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_dinode(image.inode("/xattr/dir").blkno, |dinode, _| {
                dinode.i_xattr_loc = Blkno(0);
            });
        },
        found: &["EXTENT_ALLOC_BIT", "XATTR_FLAGS", "XATTR_LOC_MISSING"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_LOC_SHARED",
        name: "two directories have the attributes of one of them",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let loc = image.inode("/xattr/dir").dinode.i_xattr_loc;
            image.edit_dinode(image.inode("/xattr/acldir").blkno, |dinode, _| {
                dinode.i_xattr_loc = loc;
            });
        },
        found: &["BLOCK_SHARED", "EXTENT_ALLOC_BIT", "XATTR_LOC_SHARED"],
        c: BLIND,
    },
    Recipe {
        code: "XATTR_FREE_START_INVALID",
        name: "a bucket in the middle has its free space after its end",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let size = image.volume().block_size().size();
            let second = Blkno(first_bucket(image).0 + (BUCKET_SIZE / size) as u64);
            image.edit_bucket(second, |header, _| header.xh_free_start ^= 1 << 14);
        },
        found: &["XATTR_FREE_START_INVALID"],
        c: Same,
    },
];
