//! Findings about directory entries and indexes.

use super::codes;

codes! {
    DIR_INODE_LOST {
        pass: Directories,
        default: Yes,
        condition: "the inode of a directory is gone, and blocks with its entries are left",
        repair: "make the inode again, with these blocks; owner, mode, times and attributes are lost",
    }
    DIRENT_DOTTY_DUP {
        pass: Directories,
        default: Yes,
        condition: "a directory has an entry \".\" or \"..\" that is not its first or second",
        repair: "remove the entry",
    }
    DIRENT_NOT_DOTTY {
        pass: Directories,
        default: Yes,
        condition: "the first entry of a directory is not \".\", or the second not \"..\"",
        repair: "give it that name",
    }
    DIRENT_DOT_INODE {
        pass: Directories,
        default: Yes,
        condition: "the entry \".\" of a directory points to another inode",
        repair: "point it to the directory",
    }
    DIRENT_DOT_EXCESS {
        pass: Directories,
        default: Yes,
        condition: "the entry \".\" of a directory is longer than it has to be",
        repair: "make an empty entry of the rest",
    }
    DIR_TRAILER_INODE {
        pass: Directories,
        default: Yes,
        condition: "the trailer of a directory block has an inode number where there has to be none",
        repair: "set it to 0",
    }
    DIR_TRAILER_NAME_LEN {
        pass: Directories,
        default: Yes,
        condition: "the trailer of a directory block has the length of a name where there has to be none",
        repair: "set it to 0",
    }
    DIR_TRAILER_REC_LEN {
        pass: Directories,
        default: Yes,
        condition: "the trailer of a directory block states another length than it has",
        repair: "set the length",
    }
    DIR_TRAILER_BLKNO {
        pass: Directories,
        default: Yes,
        condition: "the trailer of a directory block says that it is in another block than it is",
        repair: "write its block number into the trailer",
    }
    DIR_TRAILER_PARENT_INODE {
        pass: Directories,
        default: Yes,
        condition: "the trailer of a directory block names another directory than the one it belongs to",
        repair: "write the directory into the trailer",
    }
    DIRENT_LENGTH {
        pass: Directories,
        default: Yes,
        condition: "an entry of a directory has a length, or a length of its name, that is not possible",
        repair: "set the length where it can be determined, else empty the rest of the block",
    }
    DIRENT_ZERO {
        pass: Directories,
        default: Yes,
        condition: "an entry of a directory has an empty name",
        repair: "remove the entry",
    }
    DIRENT_NAME_CHARS {
        pass: Directories,
        default: Yes,
        condition: "a name in a directory contains a slash or a NUL",
        repair: "write underscores in their places",
    }
    DIRENT_INODE_RANGE {
        pass: Directories,
        default: Yes,
        condition: "an entry of a directory points to an inode outside the volume",
        repair: "remove the entry",
    }
    DIRENT_INODE_FREE {
        pass: Directories,
        default: Yes,
        condition: "an entry of a directory points to an inode that is not in use",
        repair: "remove the entry",
    }
    DIRENT_INODE_BIT {
        pass: Directories,
        default: Yes,
        condition: "an entry of a directory leads where it cannot, and one bit makes its number that of the one inode that lacks a name",
        repair: "point it to that inode",
    }
    DIRENT_TYPE {
        pass: Directories,
        default: Yes,
        condition: "an entry of a directory states another type of file than its inode",
        repair: "write the type of the inode into the entry",
    }
    DIRENT_SYSTEM_FILE {
        pass: Directories,
        default: Yes,
        condition: "an entry of another directory than the system directory points to a system file",
        repair: "remove the entry",
    }
    DIR_PARENT_DUP {
        pass: Directories,
        default: Ask,
        condition: "a directory is in two directories",
        repair: "remove the second entry",
    }
    DIRENT_DUPLICATE {
        pass: Directories,
        default: Yes,
        condition: "a directory has a name twice",
        repair: "give the second one a name of its own",
    }
    DIRENT_REPEATED {
        pass: Directories,
        default: Yes,
        condition: "a directory has an entry twice, with the same name and the same inode, which has one name",
        repair: "remove the second one",
    }
    DIR_SIZE_SHORT {
        pass: Directories,
        default: Yes,
        condition: "a directory ends before blocks in its clusters that are its own, by their trailers or its index",
        repair: "set the size to the end of the last of them",
    }
    DIRENT_NAME_BIT {
        pass: Directories,
        default: Yes,
        condition: "a name is not the one its index was made for, and one bit makes it that",
        repair: "put the name back",
    }
    DIRENT_HIDDEN {
        pass: Directories,
        default: Yes,
        condition: "an entry that the index of a directory has is hidden by a wrong length, of the entry before it or of its own name",
        repair: "put the entry back",
    }
    DX_NAME_DIFFERS {
        pass: Directories,
        default: Yes,
        condition: "the index of a directory was made for another name than an entry has, and nothing shows which",
        repair: "keep the name, and rebuild the index",
    }
    DX_LOOKUP_FAILED {
        pass: Directories,
        default: Yes,
        condition: "the index of a directory does not point to one of its entries",
        repair: "rebuild the index",
    }
    DX_TREE_MISSING {
        pass: Directories,
        default: Yes,
        condition: "a directory has no index, on a volume whose directories have one",
        repair: "build the index",
    }
    IV_DX_TREE {
        pass: Directories,
        default: Yes,
        condition: "a directory has an index, on a volume without that feature",
        repair: "drop the index",
    }
    BAD_CRC32 {
        pass: Directories,
        default: Yes,
        condition: "the checksum of a directory's inode does not hold",
        repair: "recompute the checksum, if the contents are sound",
    }
    DIR_TRAILER_SIGNATURE {
        pass: Directories,
        default: Yes,
        condition: "a directory block that should end in a trailer has none",
        repair: "write the trailer",
    }
    ORPHAN_NAME {
        pass: Directories,
        default: Yes,
        condition: "an entry of an orphan directory is not named after its inode",
        repair: "give it the right name",
    }
    DX_LEAF_INVALID {
        pass: Directories,
        default: Yes,
        condition: "a leaf of the index of a directory has a wrong signature, generation or block number, or its list of entries a size that is not possible",
        repair: "rebuild the index",
    }
    DX_ENTRY_LEFT {
        pass: Directories,
        default: Yes,
        condition: "the index of a directory has entries that no name belongs to",
        repair: "rebuild the index",
    }
    DX_COUNT {
        pass: Directories,
        default: Yes,
        condition: "the root of a directory's index states a different number of entries than there are",
        repair: "set the number to the entries found",
        safe: true,
    }
    DX_CLUSTERS {
        pass: Directories,
        default: Yes,
        condition: "the root of a directory's index states other clusters or another last leaf than its tree has",
        repair: "set them to those of the tree",
    }
    DX_FREE_LIST {
        pass: Directories,
        default: Yes,
        condition: "the list of directory blocks with room leads out of the directory, or in a circle",
        repair: "rebuild the list",
        safe: true,
    }
}
