//! Quotas.

use anyhow::Result;
use ocfs2_format::feature::Features;
use ocfs2_format::quota::QuotaKind;

use crate::work::Work;

/// Makes the quota files of a kind and counts what is used, or removes them. Files are made before
/// the feature is there, and removed after it has gone: without it, they are of no use.
pub(super) fn set(work: &mut Work<'_>, bit: Features, kind: QuotaKind, on: bool) -> Result<()> {
    if on {
        let usage = work.edit.volume().quota_usage(kind, true)?;
        work.edit.create_quota_files(kind, &usage)?;
        work.flush()?;
    }
    if work.edit.features().contains(bit) != on {
        work.edit.update_superblock(|superblock| {
            let features = superblock.features();
            superblock.set_features(match on {
                true => features.union(bit),
                false => features.difference(bit),
            });
        })?;
        work.flush()?;
    }
    if !on {
        work.edit.remove_quota_files(kind)?;
    }
    Ok(())
}
