//! Findings about connectivity, orphans and link counts.

use super::codes;

codes! {
    ROOT_DIR_MISSING {
        pass: Connectivity,
        default: Yes,
        condition: "root inode is not allocated",
        repair: "make a new root and update the primary superblock",
    }
    LOSTFOUND_MISSING {
        pass: Connectivity,
        default: Yes,
        condition: "/lost+found cannot be looked up",
        repair: "create it",
    }
    DIR_NOT_CONNECTED {
        pass: Connectivity,
        default: Yes,
        condition: "directory without a path to the root, or in a cycle",
        repair: "link it into lost+found as #inode",
    }
    DIR_DOTDOT {
        pass: Connectivity,
        default: Yes,
        condition: "\"..\" differs from the directory that holds the entry",
        repair: "rewrite \"..\"",
    }
    ORPHAN_DIR_MISSING {
        pass: Orphans,
        default: Yes,
        condition: "a slot's orphan directory does not exist",
        repair: "create it",
    }
    INODE_ORPHANED {
        pass: Orphans,
        default: Yes,
        condition: "inode listed in an orphan directory",
        repair: "truncate and delete it",
    }
    INODE_NOT_CONNECTED {
        pass: Links,
        default: Yes,
        condition: "inode with no directory entry",
        repair: "link it into lost+found",
    }
    INODE_COUNT {
        pass: Links,
        default: Yes,
        condition: "link count differs from references found",
        repair: "rewrite the link count",
    }
}
