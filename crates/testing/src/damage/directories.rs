//! Directory entries, trailers, indexes, connectivity, orphans, link counts.

use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::dir::{DirEntryHeader, DirTrailer, FileType, write_entry};
use ocfs2_format::dx::{DxEntry, DxEntryListHeader, DxLeaf, DxRoot};
use ocfs2_format::extent::{ExtentListHeader, ExtentRec};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::Inode;

use super::CFsck::{self, Differs, Follows, GivesUp, NotCompared, Repairing, Same};
use super::{Base, EMPTY, Image, ONE_OF_ALL_1K, Recipe, edit_list};

/// Without inline data and indexes.
const NO_INDEX: Base = Base::Made(
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

/// Changes an entry of the root directory that is one of three links to a file. The file then
/// states the number of links that are left.
fn edit_link(image: &Image, change: impl FnOnce(&mut DirEntryHeader, &mut [u8])) {
    image.edit_dinode(image.inode("/linked-3").blkno, |dinode, _| dinode.i_links_count -= 1);
    image.edit_entry(image.inode("/").blkno, "linked-3", change);
}

/// The C fsck never examines this.
const BLIND: CFsck = Differs { codes: &[], status: 0, why: "It never looks at this." };

/// Adds an entry to the empty orphan directory of the first slot.
fn add_orphan(image: &Image, inode: Blkno, name: &str) {
    let dir = image.system("orphan_dir:0000").blkno;
    image.edit_entries(dir, "..", |bytes, offset| {
        let rest = bytes.len() - offset - 16;
        bytes[offset + 8..offset + 10].copy_from_slice(&16_u16.to_le_bytes());
        let entry = &mut bytes[offset + 16..];
        write_entry(entry, inode, rest as u16, FileType::Regular, name.as_bytes()).unwrap();
    });
}

/// Makes a file an orphan of the first slot, without links.
fn make_orphan(image: &Image, inode: Blkno) {
    image.edit_dinode(inode, |dinode, _| {
        dinode.i_flags |= InodeFlags::ORPHANED.bits();
        dinode.i_orphaned_slot = 0;
        dinode.i_links_count = 0;
    });
}

/// Returns the directory and the name of an inode with one link or of a directory, and an inode
/// whose number differs from it in one bit, where both are as `wanted`.
fn beside(image: &Image, wanted: impl Fn(&Inode, &Inode) -> bool) -> (Blkno, String, Blkno) {
    let volume = image.volume();
    for dir in ["/", "/dirs", "/dirs/oneblock", "/dirs/large", "/names", "/sizes"] {
        let dir = image.inode(dir);
        for entry in volume.entries(&dir).unwrap().map(Result::unwrap) {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let inode = volume.inode(entry.inode).unwrap();
            let is_linked_once = inode.is_dir() || inode.dinode.i_links_count == 1;
            if name.starts_with('.') || name == "lost+found" || !is_linked_once {
                continue;
            }
            let others = (0..32).map(|bit| Blkno(entry.inode.0 ^ 1 << bit));
            let other = others.into_iter().find(|other| {
                let other = volume.geometry().is_valid_block(*other).then(|| volume.inode(*other));
                let is_one = |other: &Inode| {
                    let flags = other.dinode.flags();
                    !flags.contains(InodeFlags::SYSTEM) && flags.contains(InodeFlags::VALID)
                };
                other.is_some_and(|it| it.is_ok_and(|it| is_one(&it) && wanted(&inode, &it)))
            });
            if let Some(other) = other {
                return (dir.blkno, name, other);
            }
        }
    }
    panic!("there are no such inodes in {}", image.path().display())
}

/// Removes an entry, and nothing else.
fn remove(image: &Image, dir: &str, name: &str) {
    image.edit_entry(image.inode(dir).blkno, name, |entry, _| entry.inode = Blkno(0));
}

/// Returns the first leaf of the index of a directory that has entries.
pub(super) fn first_leaf(image: &Image, dir: &str) -> Blkno {
    let root = image.read(image.inode(dir).dinode.i_dx_root);
    assert!(!DxRoot::decode(&root).unwrap().is_inline());
    let first = DxRoot::extents(&root).unwrap().record(0).unwrap().e_blkno;
    let has_entries = |blkno: &Blkno| {
        let leaf = image.read(*blkno);
        DxLeaf::entries(&leaf).unwrap().header.de_num_used > 0
    };
    let blocks = 0..u64::from(image.volume().geometry().blocks_per_cluster());
    blocks.map(|index| Blkno(first.0 + index)).find(has_entries).unwrap()
}

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "DIR_INODE_LOST",
        name: "the inode of a directory is zeroed, and its blocks are left",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let inode = image.inode("/dirs/oneblock").blkno;
            image.edit_raw(inode, |block| block.fill(0));
        },
        found: &[
            "CLUSTER_ALLOC_BIT",
            "DIR_INODE_LOST",
            "EXTENT_ALLOC_BIT",
            "INODE_ALLOC_REPAIR",
            "INODE_COUNT",
            "INODE_NOT_CONNECTED",
            "QUOTA_USAGE",
        ],
        c: NotCompared("It gives the directory up, and finds the rest as its consequences."),
    },
    Recipe {
        code: "DIRENT_DOTTY_DUP",
        name: "a directory has a third entry called .",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_link(image, |entry, name| {
                entry.name_len = 1;
                name[0] = b'.';
            });
        },
        found: &["DIRENT_DOTTY_DUP"],
        c: Follows(&[
            "DIRENT_DOTTY_DUP",
            "DIRENT_DOT_EXCESS",
            "DIRENT_DOT_INODE",
            "DIRENT_DUPLICATE",
            "DIRENT_NOT_DOTTY",
            "INODE_COUNT",
        ]),
    },
    Recipe {
        code: "DIRENT_NOT_DOTTY",
        name: "the first entry of a directory is not .",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_entry(image.inode("/names").blkno, ".", |_, name| name[0] = b'x');
        },
        found: &["DIRENT_NOT_DOTTY"],
        c: Same,
    },
    Recipe {
        code: "DIRENT_NOT_DOTTY",
        name: "the entry .. of a directory has a NUL in its name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_entry(image.inode("/names").blkno, "..", |entry, _| entry.name_len = 4);
        },
        found: &["DIRENT_NOT_DOTTY"],
        c: Same,
    },
    Recipe {
        code: "DIRENT_NAME_BIT",
        name: "a bit of a name is wrong, and the index has the right one",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock").blkno;
            image.edit_entry(dir, "name-of-some-length-3", |_, name| name[5] ^= 2);
        },
        found: &["DIRENT_NAME_BIT"],
        c: Differs { codes: &["DX_LOOKUP_FAILED"], status: 0, why: "It takes the name for right." },
    },
    Recipe {
        code: "DX_NAME_DIFFERS",
        name: "a name is another one than that in the index",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock").blkno;
            image.edit_entry(dir, "name-of-some-length-3", |_, name| name[..4].fill(b'x'));
        },
        found: &["DX_NAME_DIFFERS"],
        c: Differs { codes: &["DX_LOOKUP_FAILED"], status: 0, why: "It takes the name for right." },
    },
    Recipe {
        code: "DIR_SIZE_SHORT",
        name: "a directory ends a cluster before its last block",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/large").blkno;
            image.edit_dinode(dir, |dinode, _| dinode.i_size -= 2 * 16_384);
        },
        found: &["DIR_SIZE_SHORT"],
        c: NotCompared("It takes the names in the last blocks for lost."),
    },
    Recipe {
        code: "DIRENT_DOT_INODE",
        name: "the entry . of a directory leads elsewhere",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let other = image.inode("/sizes").blkno;
            image.edit_entry(image.inode("/names").blkno, ".", |entry, _| entry.inode = other);
        },
        found: &["DIRENT_DOT_INODE"],
        c: Follows(&["DIRENT_DOT_INODE", "INODE_COUNT"]),
    },
    Recipe {
        code: "DIRENT_DOT_EXCESS",
        name: "the entry . of a directory is longer than it has to be",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/empty").blkno;
            let parent = image.inode("/dirs").blkno;
            image.edit_entries(dir, ".", |bytes, _| {
                let rest = bytes.len() as u16 - 32;
                write_entry(bytes, dir, 32, FileType::Directory, b".").unwrap();
                write_entry(&mut bytes[32..], parent, rest, FileType::Directory, b"..").unwrap();
            });
        },
        found: &["DIRENT_DOT_EXCESS"],
        c: Follows(&[
            "DIRENT_DOTTY_DUP",
            "DIRENT_DOT_EXCESS",
            "DIRENT_DOT_INODE",
            "DIRENT_NOT_DOTTY",
            "DIR_DOTDOT",
            "DIR_PARENT_DUP",
        ]),
    },
    Recipe {
        code: "DIR_TRAILER_INODE",
        name: "the trailer of a directory block points to an inode",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            image.edit_trailer(image.dir_blocks(&dir)[0], |trailer| trailer.db_compat_inode = 33);
        },
        found: &["DIR_TRAILER_INODE"],
        c: Same,
    },
    Recipe {
        code: "DIR_TRAILER_NAME_LEN",
        name: "the trailer of a directory block has a name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            image.edit_trailer(image.dir_blocks(&dir)[0], |trailer| trailer.db_compat_name_len = 5);
        },
        found: &["DIR_TRAILER_NAME_LEN"],
        c: Same,
    },
    Recipe {
        code: "DIR_TRAILER_REC_LEN",
        name: "the trailer of a directory block is not as long as a trailer",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            image.edit_trailer(image.dir_blocks(&dir)[0], |trailer| trailer.db_compat_rec_len = 60);
        },
        found: &["DIR_TRAILER_REC_LEN"],
        c: Same,
    },
    Recipe {
        code: "DIR_TRAILER_BLKNO",
        name: "the trailer of a directory block states another block as its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            image.edit_trailer(image.dir_blocks(&dir)[0], |trailer| trailer.db_blkno.0 += 1);
        },
        found: &["DIR_TRAILER_BLKNO"],
        c: Same,
    },
    Recipe {
        code: "DIR_TRAILER_PARENT_INODE",
        name: "the trailer of a directory block states another directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            image
                .edit_trailer(image.dir_blocks(&dir)[0], |trailer| trailer.db_parent_dinode.0 += 1);
        },
        found: &["DIR_TRAILER_PARENT_INODE"],
        c: Same,
    },
    Recipe {
        code: "DIRENT_LENGTH",
        name: "an entry not in use has an impossible length",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/empty").blkno;
            image.edit_entries(dir, "..", |bytes, offset| {
                let rest = &mut bytes[offset..];
                rest[8..10].copy_from_slice(&16_u16.to_le_bytes());
                let unused = DirEntryHeader { rec_len: 6, ..Default::default() };
                unused.encode(&mut rest[16..]).unwrap();
            });
        },
        found: &["DIRENT_LENGTH"],
        c: Same,
    },
    Recipe {
        code: "DIRENT_ZERO",
        name: "an entry has no name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_link(image, |entry, _| entry.name_len = 0);
        },
        found: &["DIRENT_ZERO"],
        c: Follows(&["DIRENT_ZERO", "INODE_COUNT"]),
    },
    Recipe {
        code: "DIRENT_NAME_CHARS",
        name: "a name begins with a slash",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_entry(image.inode("/names").blkno, "linked", |_, name| name[0] = b'/');
        },
        found: &["DIRENT_NAME_CHARS"],
        c: Same,
    },
    Recipe {
        code: "DIRENT_NAME_CHARS",
        name: "there is a slash in a name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_entry(image.inode("/names").blkno, "linked", |_, name| name[3] = b'/');
        },
        found: &["DIRENT_NAME_CHARS"],
        c: Differs { codes: &[], status: 0, why: "It looks at the first bytes of a name only." },
    },
    Recipe {
        code: "DIRENT_INODE_RANGE",
        name: "an entry leads outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            edit_link(image, |entry, _| entry.inode = Blkno(1 << 40));
        },
        found: &["DIRENT_INODE_RANGE"],
        c: Follows(&["DIRENT_INODE_RANGE", "DIR_DOTDOT", "DIR_NOT_CONNECTED", "INODE_COUNT"]),
    },
    Recipe {
        code: "DIRENT_INODE_FREE",
        name: "an entry points to an inode not in use",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let groups = image.groups("inode_alloc:0000");
            let group = groups.iter().find(|group| group.free_bits() > 0).unwrap();
            let free = group.block_of_bit(group.bitmap().next(false, 0).unwrap() as u32).unwrap();
            edit_link(image, |entry, _| entry.inode = free);
        },
        found: &["DIRENT_INODE_FREE"],
        c: Follows(&["DIRENT_INODE_FREE", "INODE_COUNT"]),
    },
    Recipe {
        code: "DIRENT_INODE_BIT",
        name: "a bit of the inode of a name is wrong, so that it leads outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock").blkno;
            image.edit_entry(dir, "name-of-some-length-3", |entry, _| entry.inode.0 ^= 1 << 40);
        },
        found: &["DIRENT_INODE_BIT"],
        c: Follows(&["DIRENT_INODE_RANGE", "INODE_COUNT", "INODE_NOT_CONNECTED"]),
    },
    Recipe {
        code: "DIRENT_INODE_BIT",
        name: "a bit of the inode of a directory's name is wrong, so that it leads outside the volume",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs").blkno;
            image.edit_entry(dir, "oneblock", |entry, _| entry.inode.0 ^= 1 << 40);
        },
        found: &["DIRENT_INODE_BIT"],
        c: Follows(&["DIRENT_INODE_RANGE", "DIR_DOTDOT", "DIR_NOT_CONNECTED", "INODE_COUNT"]),
    },
    Recipe {
        code: "DIRENT_INODE_BIT",
        name: "the name of a directory points to a file, a bit from the directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (dir, name, other) = beside(image, |inode, other| {
                inode.is_dir() && other.kind() == Some(FileKind::Regular)
            });
            image.edit_entry(dir, &name, |entry, _| entry.inode = other);
        },
        found: &["DIRENT_INODE_BIT"],
        c: Follows(&["DIRENT_TYPE", "DIR_DOTDOT", "DIR_NOT_CONNECTED", "INODE_COUNT"]),
    },
    Recipe {
        code: "INODE_NAMES",
        name: "a name points to another file, a bit from its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let (dir, name, other) = beside(image, |inode, other| {
                let is_file = |inode: &Inode| inode.kind() == Some(FileKind::Regular);
                is_file(inode) && is_file(other)
            });
            image.edit_entry(dir, &name, |entry, _| entry.inode = other);
        },
        found: &["INODE_NAMES", "INODE_NOT_CONNECTED"],
        c: Follows(&["INODE_COUNT", "INODE_NOT_CONNECTED"]),
    },
    Recipe {
        code: "INODE_NAMES",
        name: "a name points to another file, many bits from its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let own = image.inode("/sizes/bytes-1024").blkno;
            let others = ["bytes-1025", "bytes-4095", "bytes-4096", "bytes-4097"];
            let others = others.map(|name| image.inode(&format!("/sizes/{name}")).blkno);
            let is_far = |other: &Blkno| (own.0 ^ other.0).count_ones() > 1;
            let other = others.into_iter().find(is_far).unwrap();
            let dir = image.inode("/sizes").blkno;
            image.edit_entry(dir, "bytes-1024", |entry, _| entry.inode = other);
        },
        found: &["INODE_NAMES", "INODE_NOT_CONNECTED"],
        c: Follows(&["INODE_COUNT", "INODE_NOT_CONNECTED"]),
    },
    Recipe {
        code: "DIRENT_REPEATED",
        name: "a block of a directory has the entries of another one of its blocks",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let blocks = image.dir_blocks(&image.inode("/dirs/large"));
            let model = image.read(blocks[1]);
            image.edit_dir_block(blocks[2], |block| {
                let end = DirTrailer::offset(block.len());
                block[..end].copy_from_slice(&model[..end]);
            });
        },
        found: &["DIRENT_REPEATED", "INODE_NOT_CONNECTED"],
        c: NotCompared("It gives what is there twice other names."),
    },
    Recipe {
        code: "DIRENT_HIDDEN",
        name: "the name of an entry is said to be longer than the entry",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock").blkno;
            image.edit_entry(dir, "name-of-some-length-3", |entry, _| entry.name_len ^= 0x40);
        },
        found: &["DIRENT_HIDDEN", "DIRENT_LENGTH"],
        c: NotCompared("It empties the rest of the block."),
    },
    Recipe {
        code: "DIRENT_HIDDEN",
        name: "an entry is so long that it covers those after it",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock").blkno;
            image.edit_entries(dir, "name-of-some-length-3", |bytes, offset| {
                let length = |at: usize| u16::from_le_bytes([bytes[at + 8], bytes[at + 9]]);
                let first = length(offset);
                let both = first + length(offset + usize::from(first));
                bytes[offset + 8..offset + 10].copy_from_slice(&both.to_le_bytes());
            });
        },
        found: &["DIRENT_HIDDEN"],
        c: NotCompared("It takes the names that are covered for lost."),
    },
    Recipe {
        code: "DIRENT_TYPE",
        name: "an entry calls a file a pipe",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_entry(image.inode("/").blkno, "linked-3", |entry, _| entry.file_type = 5);
        },
        found: &["DIRENT_TYPE"],
        c: Same,
    },
    Recipe {
        code: "DIRENT_SYSTEM_FILE",
        name: "a name of a user points to a journal",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let journal = image.system("journal:0000").blkno;
            edit_link(image, |entry, _| entry.inode = journal);
        },
        found: &["DIRENT_SYSTEM_FILE"],
        c: Differs {
            codes: &["INODE_COUNT"],
            status: 0,
            why: "It lets the name point to what only the kernel may write to.",
        },
    },
    Recipe {
        code: "DIRENT_SYSTEM_FILE",
        name: "a name of a user points to an orphan directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.system("orphan_dir:0000").blkno;
            edit_link(image, |entry, _| {
                entry.inode = dir;
                entry.file_type = FileType::Directory.code();
            });
        },
        found: &["DIRENT_SYSTEM_FILE"],
        c: Follows(&["DIR_DOTDOT", "DIR_PARENT_DUP", "INODE_COUNT"]),
    },
    Recipe {
        code: "DIR_PARENT_DUP",
        name: "two entries point to the same directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/sizes").blkno;
            edit_link(image, |entry, _| {
                entry.inode = dir;
                entry.file_type = FileType::Directory.code();
            });
        },
        found: &["DIR_PARENT_DUP"],
        c: Follows(&["DIR_PARENT_DUP", "INODE_COUNT"]),
    },
    Recipe {
        code: "DIR_PARENT_DUP",
        name: "a name points to the directory it is in",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock").blkno;
            image.edit_entry(dir, "name-of-some-length-3", |entry, _| entry.inode = dir);
        },
        found: &["DIRENT_TYPE", "DIR_PARENT_DUP", "INODE_NOT_CONNECTED"],
        c: Follows(&["DIRENT_TYPE", "DIR_PARENT_DUP", "INODE_COUNT", "INODE_NOT_CONNECTED"]),
    },
    Recipe {
        code: "DIRENT_DUPLICATE",
        name: "two files of a directory have the same name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image
                .edit_entry(image.inode("/names").blkno, "linked-2", |entry, _| entry.name_len = 6);
        },
        found: &["DIRENT_DUPLICATE"],
        c: Same,
    },
    Recipe {
        code: "DX_LOOKUP_FAILED",
        name: "the index of a directory lacks an entry",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = image.inode("/dirs/oneblock").dinode.i_dx_root;
            image.edit_dx_root(root, |_, list| {
                edit_list(list, |_: &mut DxEntryListHeader, entries: &mut [DxEntry]| {
                    entries[5].dx_minor_hash ^= 1;
                });
            });
        },
        found: &["DX_LOOKUP_FAILED"],
        c: Same,
    },
    Recipe {
        code: "DX_TREE_CORRUPT",
        name: "the index of a directory has another signature",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = image.inode("/dirs/oneblock").dinode.i_dx_root;
            image.edit_dx_root(root, |root, _| root.dr_signature = *b"DXDIR02\0");
        },
        found: &["DX_TREE_CORRUPT"],
        c: GivesUp,
    },
    Recipe {
        code: "DX_TREE_MISSING",
        name: "a directory has no index",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            let root = dir.dinode.i_dx_root;
            let group = image.groups("extent_alloc:0000").remove(0);
            image.mark("extent_alloc:0000", &group, group.bit_of_block(root).unwrap(), false);
            image.edit_dinode(dir.blkno, |dinode, _| {
                dinode.i_dyn_features &= !DynFeatures::INDEXED_DIR.bits();
                dinode.i_dx_root = Blkno(0);
            });
        },
        found: &["DX_TREE_MISSING"],
        c: Same,
    },
    Recipe {
        code: "IV_DX_TREE",
        name: "a directory has an index, but none of the volume can",
        on: NO_INDEX,
        damage: |image| {
            let dir = image.inode("/lost+found");
            image.edit_dinode(dir.blkno, |dinode, _| {
                dinode.i_dyn_features |= DynFeatures::INDEXED_DIR.bits();
            });
        },
        found: &["IV_DX_TREE"],
        c: Same,
    },
    Recipe {
        code: "BAD_CRC32",
        name: "the block check of a directory is wrong",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_raw(image.inode("/dirs/empty").blkno, |block| {
                block[Dinode::CHECK_OFFSET] ^= 0xff
            });
        },
        found: &["BAD_CRC32"],
        c: Same,
    },
    Recipe {
        code: "ROOT_DIR_MISSING",
        name: "the root directory is not in use",
        on: EMPTY,
        damage: |image| {
            let root = image.inode("/").blkno;
            let groups = image.groups("global_inode_alloc");
            let bit = groups[0].bit_of_block(root).unwrap();
            image.mark("global_inode_alloc", &groups[0], bit, false);
            image.edit_dinode(root, |dinode, _| dinode.i_flags &= !InodeFlags::VALID.bits());
        },
        found: &["ROOT_DIR_MISSING"],
        c: Differs {
            codes: &["DIRENT_INODE_FREE", "ROOT_DIR_MISSING"],
            status: 8,
            why: "It goes on without a root, and gives up.",
        },
    },
    Recipe {
        code: "LOSTFOUND_MISSING",
        name: "the directory for what is found has another name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_entry(image.inode("/").blkno, "lost+found", |_, name| name[4] = b'-');
        },
        found: &["LOSTFOUND_MISSING"],
        c: Same,
    },
    Recipe {
        code: "DIR_NOT_CONNECTED",
        name: "no entry points to a directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            remove(image, "/dirs", "empty");
            let parent = image.inode("/dirs").blkno;
            image.edit_dinode(parent, |dinode, _| dinode.i_links_count -= 1);
        },
        found: &["DIR_NOT_CONNECTED"],
        c: Follows(&["DIR_DOTDOT", "DIR_NOT_CONNECTED", "INODE_COUNT"]),
    },
    Recipe {
        code: "DIR_DOTDOT",
        name: "the entry .. of a directory leads elsewhere",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let other = image.inode("/sizes").blkno;
            image
                .edit_entry(image.inode("/dirs/empty").blkno, "..", |entry, _| entry.inode = other);
        },
        found: &["DIR_DOTDOT"],
        c: Follows(&["DIR_DOTDOT", "INODE_COUNT"]),
    },
    Recipe {
        code: "ORPHAN_DIR_MISSING",
        name: "a slot has no directory for orphans",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let system = image.volume().superblock().s_system_dir_blkno;
            image.edit_entry(system, "orphan_dir:0001", |_, name| name[0] = b'x');
        },
        found: &["ORPHAN_DIR_MISSING"],
        c: Same,
    },
    Recipe {
        code: "INODE_ORPHANED",
        name: "a file is an orphan",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.inode("/sizes/bytes-1024").blkno;
            remove(image, "/sizes", "bytes-1024");
            add_orphan(image, file, &format!("{:016x}", file.0));
            make_orphan(image, file);
        },
        found: &["INODE_ORPHANED"],
        c: Repairing,
    },
    Recipe {
        code: "INODE_NOT_CONNECTED",
        name: "no entry points to a file",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            remove(image, "/sizes", "bytes-1024");
        },
        found: &["INODE_NOT_CONNECTED"],
        c: Follows(&["INODE_COUNT", "INODE_NOT_CONNECTED"]),
    },
    Recipe {
        code: "INODE_COUNT",
        name: "a file has fewer links than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image
                .edit_dinode(image.inode("/linked-3").blkno, |dinode, _| dinode.i_links_count += 1);
        },
        found: &["INODE_COUNT"],
        c: Same,
    },
    Recipe {
        code: "DIR_TRAILER_SIGNATURE",
        name: "a directory block has no trailer",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            image.edit_trailer(image.dir_blocks(&dir)[0], |trailer| trailer.db_signature = [0; 8]);
        },
        found: &["DIR_TRAILER_SIGNATURE"],
        c: Differs {
            codes: &["DIR_DOTDOT", "INODE_COUNT", "INODE_NOT_CONNECTED"],
            status: 0,
            why: "It takes the directory for an empty one.",
        },
    },
    Recipe {
        code: "DX_ENTRY_LEFT",
        name: "the index of a directory has an entry without a name",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/oneblock");
            let block = image.dir_blocks(&dir)[0];
            image.edit_dx_root(dir.dinode.i_dx_root, |root, list| {
                root.dr_num_entries += 1;
                edit_list(list, |header: &mut DxEntryListHeader, entries: &mut [DxEntry]| {
                    entries[usize::from(header.de_num_used)] =
                        DxEntry { dx_major_hash: 1, dx_minor_hash: 2, dx_dirent_blk: block };
                    header.de_num_used += 1;
                });
            });
        },
        found: &["DX_ENTRY_LEFT"],
        c: BLIND,
    },
    Recipe {
        code: "DX_LEAF_INVALID",
        name: "a leaf of the index of a directory has another signature",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let leaf = first_leaf(image, "/dirs/large");
            image.edit_dx_leaf(leaf, |leaf, _| leaf.dl_signature = *b"DXLEAF2\0");
        },
        found: &["DX_LEAF_INVALID"],
        c: NotCompared("Its library refuses to read the leaf, without a code."),
    },
    Recipe {
        code: "DX_LEAF_INVALID",
        name: "a leaf of the index of a directory states another block as its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let leaf = first_leaf(image, "/dirs/large");
            image.edit_dx_leaf(leaf, |leaf, _| leaf.dl_blkno.0 += 1);
        },
        found: &["DX_LEAF_INVALID"],
        c: BLIND,
    },
    Recipe {
        code: "DX_LEAF_INVALID",
        name: "a leaf of the index of a directory has more entries than it has room for",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let leaf = first_leaf(image, "/dirs/large");
            image.edit_dx_leaf(leaf, |_, list| {
                edit_list(list, |header: &mut DxEntryListHeader, _: &mut [DxEntry]| {
                    header.de_num_used = header.de_count + 1;
                });
            });
        },
        found: &["DX_LEAF_INVALID"],
        c: NotCompared("It reads past the end of the leaf."),
    },
    Recipe {
        code: "DX_LOOKUP_FAILED",
        name: "an entry is in a leaf of the index where nobody looks for it",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let blkno = first_leaf(image, "/dirs/large");
            image.edit_dx_leaf(blkno, |_, list| {
                edit_list(list, |_: &mut DxEntryListHeader, entries: &mut [DxEntry]| {
                    // `.` and `..` have no hash, and the C fsck does not look them up.
                    let entry = entries.iter_mut().find(|entry| entry.dx_minor_hash != 0);
                    // Lookups of the next hash end in the next leaf.
                    entry.unwrap().dx_minor_hash += 1;
                });
            });
        },
        found: &["DX_LOOKUP_FAILED"],
        c: Same,
    },
    Recipe {
        code: "DX_LOOKUP_FAILED",
        name: "two directories have the clusters of one's index",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let [one, other] =
                ["/dirs/large", "/dirs/thinned"].map(|dir| image.inode(dir).dinode.i_dx_root);
            let of_one = DxRoot::extents(&image.read(one)).unwrap().record(0).unwrap();
            image.edit_dx_root(other, |_, list| {
                edit_list(list, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0].e_blkno = of_one.e_blkno;
                });
            });
        },
        found: &[
            "CLUSTER_ALLOC_BIT",
            "DUP_CLUSTERS_CLONE",
            "DUP_CLUSTERS_DELETE",
            "DX_LOOKUP_FAILED",
        ],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "DX_LOOKUP_FAILED"],
            status: 0,
            why: "It does not see that indexes have the same clusters.",
        },
    },
    Recipe {
        code: "DX_TREE_CORRUPT",
        name: "the index of a directory belongs to another directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = image.inode("/dirs/oneblock").dinode.i_dx_root;
            image.edit_dx_root(root, |root, _| root.dr_dir_blkno.0 += 1);
        },
        found: &["DX_TREE_CORRUPT"],
        c: BLIND,
    },
    Recipe {
        code: "DX_TREE_CORRUPT",
        name: "the leaves of the index of a directory do not begin at the first hash",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = image.inode("/dirs/large").dinode.i_dx_root;
            image.edit_dx_root(root, |_, list| {
                edit_list(list, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    assert_eq!(records[0].e_cpos.0, 0);
                    records[0].e_cpos.0 = 1;
                });
            });
        },
        found: &["DX_TREE_CORRUPT"],
        c: Differs {
            codes: &["DIR_DOTDOT", "INODE_COUNT", "INODE_NOT_CONNECTED"],
            status: 0,
            why: "It takes the directory for an empty one.",
        },
    },
    Recipe {
        code: "DX_COUNT",
        name: "the index of a directory has fewer entries than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = image.inode("/dirs/oneblock").dinode.i_dx_root;
            image.edit_dx_root(root, |root, _| root.dr_num_entries += 1);
        },
        found: &["DX_COUNT"],
        c: BLIND,
    },
    Recipe {
        code: "DX_CLUSTERS",
        name: "the index of a directory has fewer clusters than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = image.inode("/dirs/large").dinode.i_dx_root;
            image.edit_dx_root(root, |root, _| root.dr_clusters += 1);
        },
        found: &["DX_CLUSTERS"],
        c: BLIND,
    },
    Recipe {
        code: "DX_FREE_LIST",
        name: "the list of directory blocks with room leads out of the directory",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let free = image.free_block();
            let root = image.inode("/dirs/large").dinode.i_dx_root;
            image.edit_dx_root(root, |root, _| root.dr_free_blk = free);
        },
        found: &["DX_FREE_LIST"],
        c: BLIND,
    },
    Recipe {
        code: "DX_FREE_LIST",
        name: "the list of directory blocks with room is a circle",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.inode("/dirs/thinned");
            let block = image.dir_blocks(&dir)[0];
            image.edit_dx_root(dir.dinode.i_dx_root, |root, _| root.dr_free_blk = block);
            image.edit_trailer(block, |trailer| trailer.db_free_next = block);
        },
        found: &["DX_FREE_LIST"],
        c: BLIND,
    },
    Recipe {
        code: "ORPHAN_DIO",
        name: "a direct write to a file was interrupted",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.inode("/sizes/bytes-1024").blkno;
            add_orphan(image, file, &format!("dio-{:016x}", file.0));
            image.edit_dinode(file, |dinode, _| {
                dinode.i_flags |= InodeFlags::DIO_ORPHANED.bits();
                dinode.i_dio_orphaned_slot = 0;
            });
        },
        found: &["ORPHAN_DIO"],
        c: Differs {
            codes: &["INODE_COUNT"],
            status: 0,
            why: "It takes the entry of the write for a link.",
        },
    },
    Recipe {
        code: "ORPHAN_FLAG",
        name: "a file says that it is an orphan, and is none",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.inode("/sizes/bytes-1024").blkno;
            let orphaned = InodeFlags::ORPHANED.bits();
            image.edit_dinode(file, |dinode, _| dinode.i_flags |= orphaned);
        },
        found: &["ORPHAN_FLAG"],
        c: BLIND,
    },
    Recipe {
        code: "ORPHAN_NAME",
        name: "an orphan has another name than that of its inode",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.inode("/sizes/bytes-1024").blkno;
            remove(image, "/sizes", "bytes-1024");
            add_orphan(image, file, "0000000000000001");
            make_orphan(image, file);
        },
        found: &["INODE_ORPHANED", "ORPHAN_NAME"],
        c: BLIND,
    },
];
