//! Findings about connectivity, orphans and link counts.

use super::codes;

codes! {
    ROOT_DIR_MISSING {
        pass: Connectivity,
        default: Yes,
        condition: "there is no root directory",
        repair: "make a new one",
    }
    LOSTFOUND_MISSING {
        pass: Connectivity,
        default: Yes,
        condition: "there is no lost+found in the root directory",
        repair: "make it",
    }
    DIR_NOT_CONNECTED {
        pass: Connectivity,
        default: Yes,
        condition: "a directory cannot be reached from the root directory",
        repair: "put it into lost+found, named by its last known name and its inode number",
    }
    DIR_DOTDOT {
        pass: Connectivity,
        default: Yes,
        condition: "the entry \"..\" of a directory leads elsewhere than to the directory it is in",
        repair: "point it to that directory",
    }
    ORPHAN_DIR_MISSING {
        pass: Orphans,
        default: Yes,
        condition: "a slot has no orphan directory",
        repair: "make it",
    }
    INODE_ORPHANED {
        pass: Orphans,
        default: Yes,
        condition: "an inode was removed while it was open, and waits in an orphan directory to be deleted",
        repair: "delete it",
        safe: true,
    }
    INODE_NOT_CONNECTED {
        pass: Links,
        default: Yes,
        condition: "an inode is in no directory",
        repair: "put it into lost+found, named by its last known name and its inode number",
    }
    INODE_COUNT {
        pass: Links,
        default: Yes,
        condition: "an inode has more or fewer links than it says",
        repair: "set the number to the links found",
        safe: true,
    }
    INODE_NAMES {
        pass: Links,
        default: Yes,
        condition: "an inode has more names than it says, and another one of its type has fewer, so that one of the names may be that one's; nothing shows which",
        repair: "leave it the names, and set the number to them",
    }
    ORPHAN_DIO {
        pass: Orphans,
        default: Yes,
        condition: "a direct write that was to make a file longer was interrupted, and an orphan directory still lists the file",
        repair: "free what is allocated past the end of the file, and remove the entry",
    }
    ORPHAN_FLAG {
        pass: Links,
        default: Yes,
        condition: "an inode says that it is in an orphan directory, and is in none",
        repair: "clear the flag",
        safe: true,
    }
}
