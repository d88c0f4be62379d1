//! Quotas.

use anyhow::Result;
use ocfs2_format::feature::Features;
use ocfs2_format::quota::QuotaKind;
use ocfs2_users::work::Work;

/// Makes the quota files of a kind and counts what is used, or removes them, in the transaction
/// that changes the feature: files without it look as if the superblock had lost it.
pub(super) fn set(work: &mut Work<'_>, bit: Features, kind: QuotaKind, on: bool) -> Result<()> {
    if on {
        let usage = work.edit.volume().quota_usage(kind, true)?;
        work.edit.create_quota_files(kind, &usage)?;
    }
    if work.edit.features().contains(bit) != on {
        work.edit.update_superblock(|superblock| {
            let features = superblock.features();
            superblock.set_features(match on {
                true => features.union(bit),
                false => features.difference(bit),
            });
        })?;
    }
    if !on {
        work.edit.remove_quota_files(kind)?;
    }
    Ok(())
}
