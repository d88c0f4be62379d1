//! Checks before clusters are allocated.

use anyhow::{Result, bail};
use ocfs2_format::superblock::STATE_ERROR;
use ocfs2_volume::Volume;

/// Fails for a volume that is marked as having errors, or if the counts of the global bitmap and
/// its chains are wrong.
///
/// # Errors
/// A description of what is wrong.
pub fn verify_sound(volume: &Volume) -> Result<()> {
    if volume.superblock().s_state & STATE_ERROR != 0 {
        bail!("the volume is marked as having errors: run fsck.ocfs2 -f first");
    }
    let bitmap = volume.global_bitmap()?;
    let mut counted = vec![(0_u64, 0_u64); bitmap.chains.len()];
    for group in volume.groups(&bitmap) {
        let group = group?;
        let (free, stated) = (group.free_bits(), u32::from(group.desc.bg_free_bits_count));
        if free != stated {
            bail!(
                "group {} of the global bitmap has {free} free clusters and states {stated}: run \
                 fsck.ocfs2 -f first",
                group.blkno
            );
        }
        if let Some((total, sum)) = counted.get_mut(usize::from(group.chain)) {
            *total += u64::from(group.desc.bg_bits);
            *sum += u64::from(free);
        }
    }
    for (index, (chain, counted)) in bitmap.chains.iter().zip(&counted).enumerate() {
        if (u64::from(chain.c_total), u64::from(chain.c_free)) != *counted {
            bail!(
                "chain {index} of the global bitmap does not count what its groups have: run \
                 fsck.ocfs2 -f first"
            );
        }
    }
    let total: u64 = counted.iter().map(|(total, _)| total).sum();
    let clusters = volume.geometry().clusters;
    if total != u64::from(clusters) {
        bail!(
            "the global bitmap has {total} clusters, the volume {clusters}: run fsck.ocfs2 -f first"
        );
    }
    Ok(())
}
