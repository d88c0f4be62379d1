//! The superblock, its backups, system files, the slot map, the heartbeat region.

use ocfs2_format::Blkno;
use ocfs2_format::extent::{ExtentListHeader, ExtentRec};
use ocfs2_format::feature::Incompat;
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::superblock::{STATE_ERROR, SUPERBLOCK_BLKNO, TUNEFS_REMOVE_SLOT};

use super::CFsck::{self, Differs, NotCompared};
use super::{Base, EMPTY, Image, ONE_OF_ALL_1K, Recipe, edit_list};

/// Large enough for a backup of the superblock.
const LARGE: Base = Base::Made(&["-M", "local", "-N", "1", "-b", "4K", "-C", "4K"], "1100M");

/// Two slots, nothing else.
const TWO_SLOTS: Base = Base::Made(&["-M", "local", "-N", "2", "-b", "4K", "-C", "4K"], "64M");

/// What the C fsck reports about most of this.
const NOT_SEEN: CFsck = Differs { codes: &[], status: 0, why: "It does not look at it." };

/// What it reports about a file that is shorter than its clusters.
const SIZE_ONLY: CFsck = Differs {
    codes: &["INODE_SPARSE_SIZE"],
    status: 0,
    why: "It does not know what the file is for.",
};

/// What it reports about lost system files.
const STOPS: CFsck =
    Differs { codes: &[], status: 8, why: "It does not find the file, and gives up." };

/// What it reports about a volume without a usable superblock or backup.
const NO_VOLUME: CFsck =
    Differs { codes: &[], status: 8, why: "It does not look for anything else, and gives up." };

fn zero(image: &Image, blkno: Blkno) {
    image.edit_raw(blkno, |block| block.fill(0));
}

/// Returns the first block of a system file.
fn first_block(image: &Image, name: &str) -> Blkno {
    image.first_record(&image.system(name)).e_blkno
}

/// Writes a node number into the first slot.
fn take_slot(image: &Image, node: u32) {
    image.edit_raw(first_block(image, "slot_map"), |map| {
        assert!(SlotMapFormat::Extended.set(map, 0, Some(node)));
    });
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "RECOVER_BACKUP_SUPERBLOCK",
        name: "the superblock has no signature",
        on: LARGE,
        damage: |image| {
            image.edit_superblock(SUPERBLOCK_BLKNO, |dinode, _| dinode.i_signature = *b"NOTHING\0");
        },
        found: &["RECOVER_BACKUP_SUPERBLOCK"],
        c: Differs {
            codes: &[],
            status: 8,
            why: "It does not look for a backup of its own accord, and gives up.",
        },
    },
    Recipe {
        code: "SUPERBLOCK_LOST",
        name: "the superblock is zeroed, and there is no backup",
        on: EMPTY,
        damage: |image| image.edit_raw(SUPERBLOCK_BLKNO, |block| block.fill(0)),
        found: &["SUPERBLOCK_LOST"],
        c: NO_VOLUME,
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock states blocks of a size that there is not",
        on: EMPTY,
        damage: |image| {
            image.edit_superblock(SUPERBLOCK_BLKNO, |_, it| it.s_blocksize_bits = 200);
        },
        found: &["SUPERBLOCK_FIELD"],
        c: NO_VOLUME,
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock has features that nobody knows, dozens of them",
        on: EMPTY,
        damage: |image| {
            image.edit_superblock(SUPERBLOCK_BLKNO, |_, it| it.s_feature_incompat = 0xa5a5_f00d);
        },
        found: &["SUPERBLOCK_FIELD"],
        c: NO_VOLUME,
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock leaves no room for inline attributes",
        on: EMPTY,
        damage: |image| image.edit_superblocks(|_, superblock| superblock.s_xattr_inline_size = 0),
        found: &["SUPERBLOCK_FIELD"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock names another root directory",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_superblocks(|_, superblock| superblock.s_root_blkno.0 += 200),
        found: &["ROOT_DIR_MISSING", "SUPERBLOCK_FIELD"],
        c: Differs {
            codes: &["LOSTFOUND_MISSING", "ROOT_DIR_MISSING"],
            status: 8,
            why: "It would make a new root directory.",
        },
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock names another system directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_superblocks(|_, superblock| superblock.s_system_dir_blkno.0 += 200);
        },
        found: &["SUPERBLOCK_FIELD", "SYSTEM_DIR_INVALID"],
        c: STOPS,
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock names another system directory, and is of another generation",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_superblocks(|dinode, superblock| {
                dinode.i_fs_generation ^= 8;
                superblock.s_system_dir_blkno.0 <<= 8;
            });
        },
        found: &["SUPERBLOCK_FIELD", "SYSTEM_DIR_INVALID"],
        c: NotCompared("It takes the superblock to be right."),
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock states larger clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_superblocks(|_, superblock| superblock.s_clustersize_bits += 1);
        },
        found: &["SUPERBLOCK_FIELD"],
        c: NotCompared("It takes the superblock to be right."),
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock states smaller clusters",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_superblocks(|_, superblock| superblock.s_clustersize_bits -= 1);
        },
        found: &["SUPERBLOCK_FIELD"],
        c: NotCompared("It takes the superblock to be right."),
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock is of another generation than all else",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_superblocks(|dinode, _| dinode.i_fs_generation ^= 1),
        found: &[
            "CHAIN_LINK_GEN",
            "DX_TREE_CORRUPT",
            "EB_GEN",
            "EB_GEN_FIX",
            "GROUP_GEN",
            "INODE_UNMARKED",
            "RB_GEN",
            "RB_GEN_FIX",
            "SUPERBLOCK_FIELD",
            "SYSTEM_DIR_INVALID",
            "SYSTEM_FILE_INVALID",
            "XB_GEN",
        ],
        c: Differs {
            codes: &["CHAIN_LINK_GEN", "CLUSTER_ALLOC_BIT", "GROUP_GEN", "INODE_ALLOC_REPAIR"],
            status: 8,
            why: "It takes the superblock to be right, and gives up.",
        },
    },
    Recipe {
        code: "SUPERBLOCK_FIELD",
        name: "the superblock has unwritten extents without sparse files",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_superblocks(|_, superblock| {
                superblock.s_feature_incompat &= !Incompat::SPARSE_ALLOC.bits();
            });
        },
        found: &["FEATURE_LACKING", "INODE_SIZE", "SUPERBLOCK_FIELD"],
        c: Differs {
            codes: &["EXTENT_MARKED_UNWRITTEN", "INODE_CLUSTERS", "INODE_SIZE"],
            status: 0,
            why: "It takes the features to be right.",
        },
    },
    Recipe {
        code: "SUPERBLOCK_UUID_HASH",
        name: "the superblock has no hash of the UUID",
        on: EMPTY,
        damage: |image| image.edit_superblocks(|_, superblock| superblock.s_uuid_hash = 0),
        found: &["SUPERBLOCK_UUID_HASH"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "SUPERBLOCK_INPROG",
        name: "the removal of a slot was interrupted",
        on: LARGE,
        damage: |image| {
            image.edit_superblock(SUPERBLOCK_BLKNO, |_, superblock| {
                superblock.s_feature_incompat |= Incompat::TUNEFS_INPROG.bits();
                superblock.s_tunefs_flag = TUNEFS_REMOVE_SLOT;
            });
        },
        found: &["SUPERBLOCK_INPROG"],
        c: Differs { codes: &[], status: 0, why: "It clears the marks without a word." },
    },
    Recipe {
        code: "SUPERBLOCK_STATE",
        name: "the superblock says that errors were detected",
        on: EMPTY,
        damage: |image| image.edit_superblocks(|_, superblock| superblock.s_state |= STATE_ERROR),
        found: &["SUPERBLOCK_STATE"],
        c: Differs { codes: &[], status: 0, why: "It checks because of it, and leaves it." },
    },
    Recipe {
        code: "SYSTEM_FILE_SURPLUS",
        name: "a second slot was begun, and there was no room for its journal",
        on: TWO_SLOTS,
        damage: |image| {
            image.edit_superblock(SUPERBLOCK_BLKNO, |_, it| it.s_max_slots = 1);
            image.edit_dinode(image.system("journal:0001").blkno, |dinode, id2| {
                (dinode.i_clusters, dinode.i_size) = (0, 0);
                edit_list(id2, |header: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    header.l_next_free_rec = 0;
                    records[0] = ExtentRec::default();
                });
            });
        },
        found: &["CLUSTER_ALLOC_BIT", "SYSTEM_FILE_SURPLUS"],
        c: NotCompared("It does not look at files of slots that the superblock has not."),
    },
    Recipe {
        code: "SUPERBLOCK_SLOTS",
        name: "the superblock has a slot less than there are files",
        on: TWO_SLOTS,
        damage: |image| image.edit_superblocks(|_, superblock| superblock.s_max_slots = 1),
        found: &["SUPERBLOCK_SLOTS"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "DEVICE_SHORT",
        name: "the device lacks the last megabyte of the volume",
        on: EMPTY,
        damage: |image| image.raw().set_len(63 << 20).unwrap(),
        found: &["DEVICE_SHORT"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "BACKUP_SUPERBLOCK_MISSING",
        name: "where a backup of the superblock should be is something else",
        on: LARGE,
        damage: |image| image.edit_raw(image.backups()[0], |block| block.fill(0x5a)),
        found: &["BACKUP_SUPERBLOCK_MISSING"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "BACKUP_SUPERBLOCK_STALE",
        name: "a backup of the superblock has an old label",
        on: LARGE,
        damage: |image| {
            image.edit_superblock(image.backups()[0], |_, superblock| superblock.s_label[0] = b'x');
        },
        found: &["BACKUP_SUPERBLOCK_STALE"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "SYSTEM_DIR_INVALID",
        name: "the system directory is a regular file",
        on: EMPTY,
        damage: |image| {
            let dir = image.volume().superblock().s_system_dir_blkno;
            image.edit_dinode(dir, |dinode, _| dinode.i_mode = 0o100_755);
        },
        found: &["SYSTEM_DIR_INVALID"],
        c: Differs { codes: &[], status: 8, why: "It finds no system file, and gives up." },
    },
    Recipe {
        code: "SYSTEM_DIR_INVALID",
        name: "the inode of the system directory is zeroed",
        on: ONE_OF_ALL_1K,
        damage: |image| zero(image, image.volume().superblock().s_system_dir_blkno),
        found: &["SYSTEM_DIR_INVALID"],
        c: STOPS,
    },
    Recipe {
        code: "SYSTEM_DIR_INVALID",
        name: "the inodes from the system directory to the global bitmap are zeroed",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.volume().superblock().s_system_dir_blkno;
            let bitmap = image.system("global_bitmap").blkno;
            (dir.0..=bitmap.0).for_each(|blkno| zero(image, Blkno(blkno)));
        },
        found: &["SYSTEM_DIR_INVALID"],
        c: STOPS,
    },
    Recipe {
        code: "SYSTEM_FILE_MISSING",
        name: "the inode of the global bitmap is also in the place of another system file",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let place = image.system("bad_blocks").blkno;
            image.write(place, &image.read(image.system("global_bitmap").blkno));
            image.edit_dinode(place, |dinode, _| dinode.i_blkno = place);
        },
        found: &["INODE_SUBALLOC_BIT", "SYSTEM_FILE_MISSING"],
        c: NotCompared("It takes the groups for what the file holds."),
    },
    Recipe {
        code: "SYSTEM_FILE_MISSING",
        name: "the inode of an allocator of inodes is zeroed",
        on: ONE_OF_ALL_1K,
        damage: |image| zero(image, image.system("inode_alloc:0000").blkno),
        found: &[
            "CHAIN_BPC",
            "CHAIN_COUNT",
            "CHAIN_CPG",
            "DIRENT_INODE_FREE",
            "GROUP_UNLINKED",
            "INODE_ALLOC_REPAIR",
            "SYSTEM_FILE_MISSING",
        ],
        c: STOPS,
    },
    Recipe {
        code: "SYSTEM_FILE_MISSING",
        name: "the inode of the allocator of the system's inodes is zeroed",
        on: ONE_OF_ALL_1K,
        damage: |image| zero(image, image.system("global_inode_alloc").blkno),
        found: &[
            "CHAIN_BPC",
            "CHAIN_COUNT",
            "CHAIN_CPG",
            "GROUP_UNLINKED",
            "ROOT_DIR_MISSING",
            "SYSTEM_FILE_MISSING",
        ],
        c: STOPS,
    },
    Recipe {
        code: "SYSTEM_FILE_MISSING",
        name: "the allocator of the system's inodes has another name, and its group the bitmap's",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.volume().superblock().s_system_dir_blkno;
            let group = image.groups("global_inode_alloc").remove(0);
            let bitmap = image.system("global_bitmap").blkno;
            image.edit_group(group.blkno, |group, _| group.bg_parent_dinode = bitmap);
            image.edit_entry(dir, "global_inode_alloc", |_, name| name[8] = b'j');
        },
        found: &["INODE_COUNT", "ROOT_DIR_MISSING", "SYSTEM_FILE_MISSING"],
        c: STOPS,
    },
    Recipe {
        code: "SYSTEM_FILE_MISSING",
        name: "a slot has no truncate log",
        on: TWO_SLOTS,
        damage: |image| {
            let dir = image.volume().superblock().s_system_dir_blkno;
            let file = image.system("truncate_log:0001");
            let group = image.groups("global_inode_alloc")[0].clone();
            let bit = group.bit_of_block(file.blkno).unwrap();
            image.edit_entry(dir, "truncate_log:0001", |entry, _| entry.inode = Blkno(0));
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_flags = 0);
            image.mark("global_inode_alloc", &group, bit, false);
        },
        found: &["SYSTEM_FILE_MISSING"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "SYSTEM_FILE_ENTRY",
        name: "the entry of an allocator of inodes points to that of extent blocks",
        on: ONE_OF_ALL_1K,
        damage: |image| lead(image, &[("inode_alloc:0000", "extent_alloc:0000")]),
        found: &["INODE_COUNT", "INODE_NOT_CONNECTED", "SYSTEM_FILE_ENTRY"],
        c: Differs {
            codes: &[
                "CLUSTER_ALLOC_BIT",
                "INODE_ALLOC_REPAIR",
                "INODE_COUNT",
                "INODE_NOT_CONNECTED",
            ],
            status: 0,
            why: "It takes the file the entry points to for the one that is named.",
        },
    },
    Recipe {
        code: "SYSTEM_FILE_ENTRY",
        name: "the entries of two allocators are exchanged",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let names = ["inode_alloc:0000", "extent_alloc:0000"];
            lead(image, &[(names[0], names[1]), (names[1], names[0])]);
        },
        found: &["SYSTEM_FILE_ENTRY"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "INODE_ALLOC_REPAIR", "INODE_COUNT"],
            status: 0,
            why: "It takes the file the entry points to for the one that is named.",
        },
    },
    Recipe {
        code: "SYSTEM_FILE_ENTRY",
        name: "the entry of a truncate log points to the root directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (dir, root) = {
                let volume = image.volume();
                let superblock = volume.superblock();
                (superblock.s_system_dir_blkno, superblock.s_root_blkno)
            };
            image.edit_entry(dir, "truncate_log:0000", |entry, _| entry.inode = root);
        },
        found: &["DIRENT_TYPE", "DIR_PARENT_DUP", "INODE_NOT_CONNECTED", "SYSTEM_FILE_ENTRY"],
        c: Differs {
            codes: &["DIRENT_TYPE", "DIR_PARENT_DUP", "INODE_COUNT", "INODE_NOT_CONNECTED"],
            status: 0,
            why: "It takes the file the entry points to for the one that is named.",
        },
    },
    Recipe {
        code: "SYSTEM_FILE_ENTRY",
        name: "the entry of the bitmap of clusters points to a file",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.volume().superblock().s_system_dir_blkno;
            let file = image.file().blkno;
            image.edit_entry(dir, "global_bitmap", |entry, _| entry.inode = file);
        },
        found: &["INODE_COUNT", "INODE_NOT_CONNECTED", "SYSTEM_FILE_ENTRY"],
        c: STOPS,
    },
    Recipe {
        code: "SYSTEM_FILE_INVALID",
        name: "the list of bad blocks has the flag of a heartbeat region",
        on: EMPTY,
        damage: |image| {
            let heartbeat = image.system("heartbeat").dinode.i_flags;
            let file = image.system("bad_blocks");
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_flags = heartbeat);
        },
        found: &["SYSTEM_FILE_INVALID"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "SLOT_MAP_SIZE",
        name: "the slot map is empty",
        on: EMPTY,
        damage: |image| {
            let file = image.system("slot_map");
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_size = 0);
        },
        found: &["SLOT_MAP_SIZE"],
        c: SIZE_ONLY,
    },
    Recipe {
        code: "SLOT_MAP_TAKEN",
        name: "a slot is held that was unmounted cleanly",
        on: EMPTY,
        damage: |image| take_slot(image, 0),
        found: &["SLOT_MAP_TAKEN"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "SLOT_MAP_NODE",
        name: "a node of a cluster holds the slot of a local volume",
        on: EMPTY,
        damage: |image| take_slot(image, 7),
        found: &["SLOT_MAP_NODE"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "HEARTBEAT_SIZE",
        name: "the heartbeat region has room for few nodes",
        on: EMPTY,
        damage: |image| {
            let file = image.system("heartbeat");
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_size = 16 << 10);
        },
        found: &["HEARTBEAT_SIZE"],
        c: SIZE_ONLY,
    },
    Recipe {
        code: "HEARTBEAT_BLOCK",
        name: "the heartbeat block of a node has a wrong checksum",
        on: EMPTY,
        damage: |image| image.edit_raw(first_block(image, "heartbeat"), |block| block[0] = 1),
        found: &["HEARTBEAT_BLOCK"],
        c: NOT_SEEN,
    },
];

/// Makes entries of the system directory point to the inodes of others.
fn lead(image: &Image, entries: &[(&str, &str)]) {
    let dir = image.volume().superblock().s_system_dir_blkno;
    let inodes: Vec<_> = entries.iter().map(|(_, to)| image.system(to).blkno).collect();
    for ((name, _), inode) in entries.iter().zip(inodes) {
        image.edit_entry(dir, name, |entry, _| entry.inode = inode);
    }
}
