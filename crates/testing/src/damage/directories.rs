//! Directory entries, trailers, indexes, connectivity, orphans, link counts.

use super::CFsck::Same;
use super::{ONE_OF_ALL_1K, Recipe};

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "DIRENT_TYPE",
        name: "an entry calls a file a pipe",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let root = image.inode("/").blkno;
            image.edit_entry(root, "linked-3", |entry, _| entry.file_type = 5);
        },
        found: &["DIRENT_TYPE"],
        c: Same,
    },
    Recipe {
        code: "INODE_COUNT",
        name: "a file has fewer links than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.inode("/linked-3");
            image.edit_dinode(file.blkno, |dinode, _| dinode.i_links_count += 1);
        },
        found: &["INODE_COUNT"],
        c: Same,
    },
    Recipe {
        code: "DIR_TRAILER_BLKNO",
        name: "the trailer of a directory block states another block as its own",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let dir = image.directory(true);
            image.edit_trailer(image.dir_blocks(&dir)[0], |trailer| trailer.db_blkno.0 += 1);
        },
        found: &["DIR_TRAILER_BLKNO"],
        c: Same,
    },
];
