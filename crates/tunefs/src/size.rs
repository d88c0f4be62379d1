//! The new size of a volume.

use anyhow::{Result, bail};
use ocfs2_cli::human_size;
use ocfs2_format::journal::JournalIncompat;
use ocfs2_volume::Volume;

use crate::Cli;
use crate::cli::{NewSize, Unit};
use crate::shrink::rounded;

/// A new size of a volume, in clusters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Size {
    Larger(u32),
    Smaller(u32),
    /// The smallest possible.
    Least,
}

/// Returns the new size of `volume`, which has the number of clusters that its geometry states;
/// `None` if it has that size already.
///
/// # Errors
/// If the device has no room for so many clusters, or there are too many.
pub(crate) fn target(cli: &Cli, volume: &Volume, unit: Unit) -> Result<Option<Size>> {
    let geometry = volume.geometry();
    let bits = geometry.cluster_size.bits();
    let on_device = volume.device().size_bytes() >> bits;
    let wanted = match cli.new_size {
        Some(NewSize::Least) => return Ok(Some(Size::Least)),
        None => on_device,
        Some(NewSize::Number(0)) => {
            bail!("0 is no size; without one, the volume gets all of the device")
        }
        Some(NewSize::Number(number)) => {
            let bytes = match unit {
                Unit::Bytes => Some(number),
                Unit::Blocks => number.checked_mul(geometry.block_size.bytes().into()),
                Unit::Clusters => number.checked_mul(geometry.cluster_size.bytes().into()),
            };
            bytes.map_or(u64::MAX, |bytes| bytes.div_ceil(1 << bits))
        }
    };
    let Ok(clusters) = u32::try_from(wanted) else {
        bail!("a volume has at most 4294967295 clusters");
    };
    if wanted > on_device {
        bail!(
            "the device cannot hold more than {on_device} clusters ({})",
            human_size(on_device << bits)
        );
    }
    let clusters = if clusters < geometry.clusters { rounded(volume, clusters) } else { clusters };
    if clusters < geometry.clusters {
        if cli.new_size.is_none() {
            bail!(
                "the device has only {clusters} of the volume's {} clusters: to make the volume \
                 smaller, give its new size",
                geometry.clusters
            );
        }
        return Ok(Some(Size::Smaller(clusters)));
    }
    if clusters == geometry.clusters {
        return Ok(None);
    }
    if wanted << geometry.bpc_bits() > u64::from(u32::MAX) {
        for slot in 0..volume.max_slots() {
            let journal = volume.journal(slot)?;
            if !journal.superblock.incompat().contains(JournalIncompat::BIT64) {
                bail!(
                    "the journals have no room for the numbers of more than 4294967295 blocks: \
                     enable block64 first, with -J block64"
                );
            }
        }
    }
    Ok(Some(Size::Larger(clusters)))
}
