//! Findings about the start of the volume.

use super::codes;

codes! {
    RECOVER_BACKUP_SUPERBLOCK {
        pass: Start,
        default: No,
        condition: "backup superblock N (block size probed 512..4096) opens as a valid superblock",
        repair: "rewrite the primary superblock from it",
    }
    RECOVER_CLUSTER_INFO {
        pass: Start,
        default: No,
        condition: "cluster stack/name/heartbeat mode on disk differs from the running cluster, so the cluster lock cannot be taken",
        repair: "stamp the running cluster's stack, name and flags on disk, then retry the DLM",
    }
    SUPERBLOCK_CLUSTERS {
        pass: Clusters,
        default: Yes,
        condition: "cluster count in the superblock differs from the global bitmap inode",
        repair: "take the global bitmap's value",
    }
}
