//! Findings about refcount trees and shared clusters.

use super::codes;

codes! {
    RB_BLKNO {
        pass: Inodes,
        default: Yes,
        condition: "refcount block's own block number is wrong",
        repair: "rewrite it",
    }
    RB_GEN {
        pass: Inodes,
        default: Yes,
        condition: "refcount block has another fs generation",
        repair: "treat as invalid",
    }
    RB_GEN_FIX {
        pass: Inodes,
        default: Yes,
        condition: "something of another generation is to be kept",
        repair: "set the generation",
    }
    RB_PARENT {
        pass: Inodes,
        default: Yes,
        condition: "refcount leaf names the wrong root",
        repair: "rewrite it",
    }
    REFCOUNT_LIST_COUNT {
        pass: Inodes,
        default: Yes,
        condition: "refcount list capacity too large",
        repair: "clamp",
    }
    REFCOUNT_LIST_USED {
        pass: Inodes,
        default: Yes,
        condition: "refcount list used > capacity",
        repair: "clamp",
    }
    REFCOUNT_CLUSTER_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "refcount record outside the volume",
        repair: "remove the record",
    }
    REFCOUNT_CLUSTER_COLLISION {
        pass: Inodes,
        default: Yes,
        condition: "refcount record overlaps the previous one",
        repair: "remove the record",
    }
    REFCOUNT_LIST_EMPTY {
        pass: Inodes,
        default: Yes,
        condition: "refcount leaf without records",
        repair: "remove the leaf",
    }
    REFCOUNT_BLOCK_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "tree points at a block that is not a refcount block",
        repair: "remove the pointer",
    }
    REFCOUNT_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "rf_clusters differs from what was walked",
        repair: "rewrite it",
    }
    REFCOUNT_ROOT_BLOCK_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "inode's refcount root is invalid",
        repair: "remove the tree and clear the inode's flag",
    }
    REFCOUNT_REC_REDUNDANT {
        pass: Inodes,
        default: Yes,
        condition: "refcount records without any extent behind them",
        repair: "remove them",
    }
    REFCOUNT_COUNT_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "stored refcount differs from the number of files sharing the clusters",
        repair: "rewrite the count",
    }
    REFCOUNT_COUNT {
        pass: Inodes,
        default: Yes,
        condition: "rf_count differs from the number of files using the tree",
        repair: "rewrite it",
    }
    DUP_CLUSTERS_ADD_REFCOUNT {
        pass: SharedClusters,
        default: Yes,
        condition: "clusters claimed by several files, refcount volume, no system file, one tree at most",
        repair: "share the clusters through a refcount tree",
    }
    DUP_CLUSTERS_SYSFILE_CLONE {
        pass: SharedClusters,
        default: Yes,
        condition: "a (non-chain) system file shares clusters",
        repair: "copy its data to new clusters",
    }
    DUP_CLUSTERS_CLONE {
        pass: SharedClusters,
        default: Yes,
        condition: "a file shares clusters",
        repair: "copy its data to new clusters",
    }
    DUP_CLUSTERS_DELETE {
        pass: SharedClusters,
        default: No,
        condition: "shared clusters of a file are not cloned",
        repair: "delete the file",
    }
}
