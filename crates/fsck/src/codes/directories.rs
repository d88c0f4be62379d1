//! Findings about directory entries and indexes.

use super::codes;

codes! {
    DIRENT_DOTTY_DUP {
        pass: Directories,
        default: Yes,
        condition: "a \".\" or \"..\" entry away from the first two places",
        repair: "clear the entry",
    }
    DIRENT_NOT_DOTTY {
        pass: Directories,
        default: Yes,
        condition: "first/second entry is not \".\" / \"..\"",
        repair: "overwrite its name",
    }
    DIRENT_DOT_INODE {
        pass: Directories,
        default: Yes,
        condition: "\".\" does not point to its own directory",
        repair: "fix the inode number",
    }
    DIRENT_DOT_EXCESS {
        pass: Directories,
        default: Yes,
        condition: "\".\" entry longer than needed",
        repair: "split the excess into an empty entry",
    }
    DIR_TRAILER_INODE {
        pass: Directories,
        default: Yes,
        condition: "block trailer's compat inode not 0",
        repair: "zero it",
    }
    DIR_TRAILER_NAME_LEN {
        pass: Directories,
        default: Yes,
        condition: "block trailer's compat name length not 0",
        repair: "zero it",
    }
    DIR_TRAILER_REC_LEN {
        pass: Directories,
        default: Yes,
        condition: "block trailer's compat record length wrong",
        repair: "fix it",
    }
    DIR_TRAILER_BLKNO {
        pass: Directories,
        default: Yes,
        condition: "block trailer's block number wrong",
        repair: "fix it",
    }
    DIR_TRAILER_PARENT_INODE {
        pass: Directories,
        default: Yes,
        condition: "block trailer's owner inode wrong",
        repair: "fix it",
    }
    DIRENT_LENGTH {
        pass: Directories,
        default: Yes,
        condition: "record/name lengths impossible",
        repair: "repair, drop or wipe the rest of the block",
    }
    DIRENT_ZERO {
        pass: Directories,
        default: Yes,
        condition: "entry with an empty name",
        repair: "clear the entry",
    }
    DIRENT_NAME_CHARS {
        pass: Directories,
        default: Yes,
        condition: "name begins with \"/\" or NUL",
        repair: "replace them with \".\"",
    }
    DIRENT_INODE_RANGE {
        pass: Directories,
        default: Yes,
        condition: "inode number outside the volume",
        repair: "clear the entry",
    }
    DIRENT_INODE_FREE {
        pass: Directories,
        default: Yes,
        condition: "inode is not allocated",
        repair: "clear the entry",
    }
    DIRENT_TYPE {
        pass: Directories,
        default: Yes,
        condition: "file type differs from the inode's",
        repair: "rewrite the type",
    }
    DIR_PARENT_DUP {
        pass: Directories,
        default: Ask,
        condition: "a directory is named by a second entry",
        repair: "clear the second entry",
    }
    DIRENT_DUPLICATE {
        pass: Directories,
        default: Yes,
        condition: "same name seen twice",
        repair: "rename by appending/overwriting \"_\"",
    }
    DX_LOOKUP_FAILED {
        pass: Directories,
        default: Yes,
        condition: "index lookup fails or misses the entry",
        repair: "rebuild the index",
    }
    DX_TREE_MISSING {
        pass: Directories,
        default: Yes,
        condition: "non-inline directory without index on an indexed-dirs volume",
        repair: "build the index",
    }
    IV_DX_TREE {
        pass: Directories,
        default: Yes,
        condition: "indexed directory on a volume without the feature",
        repair: "truncate the index",
    }
    BAD_CRC32 {
        pass: Directories,
        default: Yes,
        condition: "directory inode block fails its checksum",
        repair: "recompute checksum and write the block",
    }
}
