//! Journals.

use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::journal::JournalIncompat;
use ocfs2_format::{Blkno, Cluster, Cpos};

use super::CFsck::Repairing;
use super::{ONE_OF_ALL_1K, Recipe, edit_list};

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        code: "JOURNAL_FILE_INVALID",
        name: "the journal of a slot has no magic number",
        on: ONE_OF_ALL_1K,
        damage: |image| {
            image.edit_journal(1, |journal| journal.header.h_magic ^= 1);
        },
        found: &["JOURNAL_FILE_INVALID"],
        c: Repairing,
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
];
