//! Findings about quota files.

use super::codes;

codes! {
    QMAGIC_INVALID {
        pass: Quota,
        default: No,
        condition: "global quota header/info fails checks",
        repair: "use its contents anyway",
    }
    QTREE_BLK_INVALID {
        pass: Quota,
        default: No,
        condition: "quota tree block fails its checksum",
        repair: "follow its references anyway",
    }
    DQBLK_INVALID {
        pass: Quota,
        default: No,
        condition: "limits found in a corrupt quota block",
        repair: "use those limits",
    }
    DUP_DQBLK_INVALID {
        pass: Quota,
        default: No,
        condition: "second set of limits for an id, found in a corrupt block",
        repair: "use the new limits",
    }
    DUP_DQBLK_VALID {
        pass: Quota,
        default: Yes,
        condition: "second set of limits for an id, found in a good block",
        repair: "use the new limits",
    }
}
