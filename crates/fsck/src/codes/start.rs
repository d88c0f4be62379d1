//! Findings about the start of the volume: superblock, system files, slots.

use super::codes;

codes! {
    RECOVER_BACKUP_SUPERBLOCK {
        pass: Start,
        default: Yes,
        condition: "the superblock cannot be used, and the volume was opened by one of its backups",
        repair: "rewrite the superblock from the backup",
    }
    RECOVER_CLUSTER_INFO {
        pass: Start,
        default: No,
        condition: "the cluster that runs here is not the one the volume says it belongs to, so that the volume cannot be locked against other nodes",
        repair: "write stack, name and flags of the running cluster into the superblock",
    }
    SUPERBLOCK_CLUSTERS {
        pass: Clusters,
        default: Yes,
        condition: "the superblock has another number of clusters than the global bitmap",
        repair: "take the number of the global bitmap",
    }
    SUPERBLOCK_FIELD {
        pass: Start,
        default: Yes,
        condition: "a field of the superblock has a value that it has on no volume, or not on this one: signature, sizes, numbers of root and system directory, revision, flags of its inode, first group, size of inline attributes",
        repair: "write the value that belongs there",
    }
    SUPERBLOCK_LOST {
        pass: Start,
        default: Yes,
        condition: "there is neither a superblock nor a backup of it, and the system files show what was in it",
        repair: "make a new one; the label, the cluster and the seed of the indexes are lost, and indexes are built again",
    }
    SUPERBLOCK_UUID_HASH {
        pass: Start,
        default: Yes,
        condition: "the superblock has no hash of its UUID, from which the hashes of all names of attributes start",
        repair: "compute it from the UUID",
        safe: true,
    }
    SUPERBLOCK_INPROG {
        pass: Start,
        default: Yes,
        condition: "a resize, the removal of a slot or the installation of directory trailers was interrupted; the kernel does not mount the volume",
        repair: "clear the marks once everything else is repaired",
    }
    SUPERBLOCK_STATE {
        pass: Start,
        default: Yes,
        condition: "the superblock says that errors were detected",
        repair: "clear the mark once everything else is repaired",
        safe: true,
    }
    SUPERBLOCK_SLOTS {
        pass: Start,
        default: No,
        condition: "the superblock has more or fewer slots than there are whose files exist",
        repair: "take the number of slots that have files",
    }
    SYSTEM_FILE_SURPLUS {
        pass: Start,
        default: Yes,
        condition: "there are files of more slots than the superblock has, not all of those that a slot needs: nothing is in them, or they are those of other slots under wrong names",
        repair: "remove them; take away the wrong names, the files get theirs again",
    }
    DEVICE_SHORT {
        pass: Start,
        default: No,
        condition: "the device ends before the volume does, as the superblock and the global bitmap say",
        repair: "nothing; make the device as long as it was, nothing else is checked before",
    }
    DEVICE_CUT {
        pass: Start,
        default: No,
        condition: "the device ends before the volume does, and --salvage was given",
        repair: "cut the volume to the device; what lay beyond is lost",
    }
    BACKUP_SUPERBLOCK_MISSING {
        pass: Start,
        default: Yes,
        condition: "where a backup of the superblock should be there is none that can be used",
        repair: "write the backup",
    }
    BACKUP_SUPERBLOCK_STALE {
        pass: Start,
        default: Yes,
        condition: "a backup of the superblock is not equal to it",
        repair: "rewrite the backup",
    }
    SYSTEM_DIR_INVALID {
        pass: Start,
        default: No,
        condition: "the inode the superblock names is not that of a directory, so that no system file is found",
        repair: "recreate the system directory from the system files that can be recognised",
    }
    SYSTEM_FILE_MISSING {
        pass: Start,
        default: Yes,
        condition: "the system directory has no such file, or its entry does not point to an inode",
        repair: "recreate the file",
    }
    SYSTEM_FILE_ENTRY {
        pass: Start,
        default: Yes,
        condition: "the entry of a system file points to another inode than the one that has the place of the file",
        repair: "point the entry to the inode of the file",
    }
    SYSTEM_FILE_INVALID {
        pass: Start,
        default: Yes,
        condition: "the type or the flags of a system file are not those of its purpose",
        repair: "set type and flags to those of its purpose",
    }
    SLOT_MAP_SIZE {
        pass: Start,
        default: Yes,
        condition: "the slot map has no room for all slots",
        repair: "make it as large as it has to be, with all slots free",
    }
    SLOT_MAP_TAKEN {
        pass: Start,
        default: Yes,
        condition: "a node holds a slot whose journal is clean, so that there is nothing it could be needed for",
        repair: "free the slot",
        safe: true,
    }
    SLOT_MAP_NODE {
        pass: Start,
        default: Yes,
        condition: "the entry of a slot holds what no node writes: a number no node has, or one that holds another slot already",
        repair: "free the slot",
    }
    HEARTBEAT_SIZE {
        pass: Start,
        default: Yes,
        condition: "the heartbeat region is not in one piece, or too small for all nodes",
        repair: "allocate a new region",
    }
    HEARTBEAT_BLOCK {
        pass: Start,
        default: Yes,
        condition: "the blocks of some nodes in the heartbeat region are damaged",
        repair: "fill those blocks with zeros",
    }
}
