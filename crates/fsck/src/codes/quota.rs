//! Findings about quota files.

use super::codes;

codes! {
    QMAGIC_INVALID {
        pass: Quota,
        default: No,
        condition: "the header of a quota file is wrong",
        repair: "use what it says nevertheless, instead of defaults",
    }
    QTREE_BLK_INVALID {
        pass: Quota,
        default: No,
        condition: "the checksum of a block of a quota file's tree does not hold, or it refers to a block that cannot be part of the tree",
        repair: "follow its references nevertheless",
    }
    DQBLK_INVALID {
        pass: Quota,
        default: No,
        condition: "a block of a quota file with limits is damaged",
        repair: "use its limits nevertheless",
    }
    DUP_DQBLK_INVALID {
        pass: Quota,
        default: No,
        condition: "a quota file has two sets of limits for an id, the second in a damaged block",
        repair: "use the second set",
    }
    DUP_DQBLK_VALID {
        pass: Quota,
        default: Yes,
        condition: "a quota file has two sets of limits for an id",
        repair: "use the second set",
    }
    QTREE_INDEX {
        pass: Quota,
        default: Yes,
        condition: "the tree of a quota file does not point to one of its entries, or points to one that is not there",
        repair: "rebuild the tree from the entries",
    }
    QTREE_FREE_LIST {
        pass: Quota,
        default: Yes,
        condition: "what is free in a global quota file is not what its lists and counts say",
        repair: "rebuild the lists",
    }
    QUOTA_USAGE {
        pass: Quota,
        default: Yes,
        condition: "space or number of files of a user or group differ from what the quota file has",
        repair: "store what was counted",
        safe: true,
    }
    QUOTA_LOCAL_INVALID {
        pass: Quota,
        default: Yes,
        condition: "header, length, counts or checksum of the quota file of a slot are wrong",
        repair: "recreate the file",
    }
    QUOTA_LOCAL_DIRTY {
        pass: Quota,
        default: Yes,
        condition: "the quota file of a slot holds changes that the global one does not have",
        repair: "add them to the global file",
        safe: true,
    }
}
