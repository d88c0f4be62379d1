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
        condition: "the checksum of a block of a quota file's tree does not hold",
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
}
