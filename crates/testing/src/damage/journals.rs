//! Journals.

use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::journal::{
    BlockType, CommitBlock, JournalHeader, JournalIncompat, JournalSuperblock,
};
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};

use super::CFsck::{self, Differs, Repairing};
use super::{ONE_OF_ALL_1K, Recipe, edit_list};

/// What the C fsck reports about what it does not examine.
const NOT_SEEN: CFsck = Differs { codes: &[], status: 0, why: "It does not look at it." };

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "JOURNAL_FILE_INVALID",
        name: "the journal of a slot has no magic number",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_journal(1, |journal| journal.header.h_magic = 0);
        },
        found: &["JOURNAL_FILE_INVALID"],
        c: Repairing,
    },
    Recipe {
        code: "JOURNAL_MAGIC",
        name: "two bits of the magic number of a journal are wrong",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_journal(1, |journal| journal.header.h_magic ^= 0x1001);
        },
        found: &["JOURNAL_MAGIC"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "JOURNAL_MAGIC",
        name: "a bit of the length of a journal is wrong",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_journal(1, |journal| journal.s_maxlen ^= 1 << 20),
        found: &["JOURNAL_MAGIC"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "JOURNAL_UNKNOWN_FEATURE",
        name: "the journal of a slot has a feature nobody knows",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_journal(1, |journal| journal.s_feature_incompat |= 1 << 19);
        },
        found: &["JOURNAL_UNKNOWN_FEATURE"],
        c: Repairing,
    },
    Recipe {
        code: "JOURNAL_MISSING_FEATURE",
        name: "the journal of a slot has a feature that the other has not",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_journal(0, |journal| {
                journal.s_feature_incompat ^= JournalIncompat::BIT64.bits();
            });
        },
        found: &["JOURNAL_MISSING_FEATURE"],
        c: Repairing,
    },
    Recipe {
        code: "JOURNAL_TOO_SMALL",
        name: "the journal of a slot is smaller than the other",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let file = image.system("journal:0001");
            let record = image.first_record(&file);
            let left = record.e_leaf_clusters() - 16;
            let end = record.e_blkno.0 + u64::from(left) * 16;
            let first = image.volume().geometry().cluster_of(Blkno(end)).unwrap();
            (first.0..first.0 + 16).for_each(|cluster| image.mark_cluster(Cluster(cluster), false));
            image.edit_journal(1, |journal| journal.s_maxlen = u32::from(left) * 16);
            image.edit_dinode(file.blkno, |dinode, id2| {
                dinode.i_clusters = left.into();
                dinode.i_size = u64::from(left) * 16_384;
                edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0] =
                        ExtentRec::leaf(Cpos(0), left, ExtentFlags::empty(), record.e_blkno);
                });
            });
        },
        found: &["JOURNAL_TOO_SMALL"],
        c: Repairing,
    },
    Recipe {
        code: "JOURNAL_DIRTY",
        name: "a journal that cannot be replayed is dirty",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_journal(1, |journal| journal.s_feature_incompat |= 1 << 19);
            let file = image.system("journal:0001");
            image.edit_dinode(file.blkno, |dinode, _| dinode.set_journal(1, 0));
        },
        found: &["JOURNAL_DIRTY", "JOURNAL_UNKNOWN_FEATURE"],
        c: Differs {
            codes: &[],
            status: 8,
            why: "It gives up because of the feature, in a journal it would not replay with -n.",
        },
    },
    Recipe {
        code: "JOURNAL_ABORTED",
        name: "a journal was given up because of an error",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_journal(0, |journal| journal.s_errno = -5),
        found: &["JOURNAL_ABORTED"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "JOURNAL_LENGTH",
        name: "a journal is a block shorter than its file",
        on: ONE_OF_ALL_1K,
        damage: |image| image.edit_journal(0, |journal| journal.s_maxlen -= 1),
        found: &["JOURNAL_LENGTH"],
        c: NOT_SEEN,
    },
    Recipe {
        code: "JOURNAL_SHARED",
        name: "two slots have the same journal",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let record = image.first_record(&image.system("journal:0000"));
            let second = image.system("journal:0001");
            image.edit_dinode(second.blkno, |_, id2| {
                edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0] = record;
                });
            });
        },
        found: &["CLUSTER_ALLOC_BIT", "DUP_CLUSTERS_SYSFILE_CLONE", "JOURNAL_SHARED"],
        c: Differs {
            codes: &["CLUSTER_ALLOC_BIT", "DUP_CLUSTERS_SYSFILE_CLONE"],
            status: 0,
            why: "It does not say that two logs were written over each other.",
        },
    },
    Recipe {
        code: "JOURNAL_LOG_DAMAGED",
        name: "a transaction of a dirty journal has another checksum than it states",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            let journal = image.volume().journal(1).unwrap();
            let JournalSuperblock { s_first, s_sequence, .. } = journal.superblock;
            image.edit_journal(1, |journal| journal.s_start = s_first);
            let commit = CommitBlock {
                header: JournalHeader::new(BlockType::Commit, s_sequence),
                h_chksum_type: 1,
                h_chksum_size: 4,
                h_chksum: [1; 8],
                ..Default::default()
            };
            let blkno = Blkno(journal.blkno.0 + u64::from(s_first));
            image.edit_raw(blkno, |block| commit.encode(block).unwrap());
            image.edit_dinode(journal.inode.blkno, |dinode, _| dinode.set_journal(1, 0));
        },
        found: &["JOURNAL_LOG_DAMAGED"],
        c: NOT_SEEN,
    },
];
