//! Findings about refcount trees and shared clusters.

use super::codes;

codes! {
    RB_BLKNO {
        pass: Inodes,
        default: Yes,
        condition: "a refcount block says that it is in another block than it is",
        repair: "write its block number into the refcount block",
    }
    RB_GEN {
        pass: Inodes,
        default: Yes,
        condition: "a refcount block is of another generation, and may be left from an older volume",
        repair: "do without the refcount block, and what it points to",
    }
    RB_GEN_FIX {
        pass: Inodes,
        default: Yes,
        condition: "a refcount block of another generation is to be kept",
        repair: "set the generation of the refcount block to that of the volume",
    }
    RB_PARENT {
        pass: Inodes,
        default: Yes,
        condition: "a leaf of a refcount tree names another root than the one it belongs to",
        repair: "write the root into the leaf",
    }
    REFCOUNT_LIST_COUNT {
        pass: Inodes,
        default: Yes,
        condition: "a list of refcounts states room for more or fewer records than fit",
        repair: "set it to what fits",
    }
    REFCOUNT_LIST_USED {
        pass: Inodes,
        default: Yes,
        condition: "a list of refcounts uses more records than it has room for",
        repair: "set the number of used records to the room there is",
    }
    REFCOUNT_CLUSTER_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "a refcount record is about clusters outside the volume",
        repair: "remove the record",
    }
    REFCOUNT_CLUSTER_COLLISION {
        pass: Inodes,
        default: Yes,
        condition: "a refcount record is about clusters that the one in front of it is about, too",
        repair: "remove the record",
    }
    REFCOUNT_LIST_EMPTY {
        pass: Inodes,
        default: Yes,
        condition: "a leaf of a refcount tree has no records",
        repair: "remove the leaf",
    }
    REFCOUNT_BLOCK_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "a refcount tree points to a block that is not a refcount block",
        repair: "remove the record that points there",
        hides: true,
    }
    REFCOUNT_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "a refcount tree states a different number of clusters than it has",
        repair: "set the number of clusters",
    }
    REFCOUNT_ROOT_BLOCK_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "the root of an inode's refcount tree is not a refcount block",
        repair: "do without the tree; the inode shares no clusters any more",
        hides: true,
    }
    REFCOUNT_REC_REDUNDANT {
        pass: Inodes,
        default: Yes,
        condition: "a refcount tree counts clusters that no extent of its files has",
        repair: "remove those records",
    }
    REFCOUNT_EXTENT_PLACE {
        pass: Inodes,
        default: Yes,
        condition: "a shared extent points to other clusters than those its refcount tree counts, and one bit makes it right",
        repair: "point the extent to the clusters that are counted",
    }
    REFCOUNT_COUNT_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "clusters are shared by more or fewer extents than their refcount says",
        repair: "set the refcount to the extents found",
    }
    REFCOUNT_COUNT {
        pass: Inodes,
        default: Yes,
        condition: "a refcount tree is used by more or fewer inodes than it says",
        repair: "set the number to the inodes found",
    }
    DUP_CLUSTERS_ADD_REFCOUNT {
        pass: SharedClusters,
        default: Yes,
        condition: "several files have the same clusters, and could share them through a refcount tree",
        repair: "let the files share the clusters",
    }
    DUP_CLUSTERS_SYSFILE_CLONE {
        pass: SharedClusters,
        default: Yes,
        condition: "a system file has clusters that another file has, too",
        repair: "give the system file a copy of its own",
    }
    DUP_CLUSTERS_CLONE {
        pass: SharedClusters,
        default: Yes,
        condition: "a file has clusters that another file has, too",
        repair: "give the file a copy of its own",
    }
    DUP_CLUSTERS_DELETE {
        pass: SharedClusters,
        default: No,
        condition: "a file has clusters that another file has, too, and is to get no copy of its own",
        repair: "delete the file",
    }
    REFCOUNT_FLAGS {
        pass: Inodes,
        default: Yes,
        condition: "a refcount block's flags do not suit its place in the tree",
        repair: "set the flags",
    }
    REFCOUNT_LEAF_CPOS {
        pass: Inodes,
        default: Yes,
        condition: "a refcount leaf states another first cluster than the tree",
        repair: "set it to the one of the tree",
    }
    REFCOUNT_LAST_EB {
        pass: Inodes,
        default: Yes,
        condition: "a refcount tree states another last extent block than it has",
        repair: "set it to the last one of the tree",
    }
    REFCOUNT_REC_EMPTY {
        pass: Inodes,
        default: Yes,
        condition: "a refcount record is about no clusters",
        repair: "remove the record",
    }
    REFCOUNT_REC_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "a refcount record is in another leaf than the one the tree points to",
        repair: "move the record",
    }
    REFCOUNT_EXTENT_FLAG {
        pass: SharedClusters,
        default: Yes,
        condition: "clusters of an inode are counted by its refcount tree, and its extent is not flagged as refcounted",
        repair: "mark the extent as shared",
    }
    DUP_CLUSTERS_DIRECTORY {
        pass: SharedClusters,
        default: Yes,
        condition: "clusters of a directory are also those of another owner, and hold nothing of the directory",
        repair: "take them out of the directory",
    }
    DUP_CLUSTERS_TWICE {
        pass: SharedClusters,
        default: Yes,
        condition: "a file has the same clusters in several places, and nobody else has them",
        repair: "leave them where they fit best, and make holes in the other places",
    }
    DUP_CLUSTERS_METADATA {
        pass: SharedClusters,
        default: Yes,
        condition: "clusters of a file are those of an allocator, the superblock or one of its backups",
        repair: "copy the file's data to new clusters; where there is no room, take these out of the file",
    }
}
