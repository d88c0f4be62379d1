//! A device that ends before the volume, or a volume that states too many clusters.

use ocfs2_cli::human_size;
use ocfs2_volume::Volume;

use super::size::{is_stated, larger_than_its_bitmap, resize};
use crate::codes::start as codes;
use crate::{Context, Finding, Place};

/// A device that ends before the volume.
#[derive(Debug)]
pub(crate) struct Short {
    /// How much is missing, or that the size is wrong.
    pub finding: Finding,
    /// The volume with the size that the global bitmap states, if the device has all of that: then
    /// the superblock is wrong. Or the volume that is left of it.
    pub sized: Option<Volume>,
}

/// Returns what is wrong if the device ends before the volume.
pub(crate) fn short_device(context: &Context<'_>) -> Option<Short> {
    let missing = missing_part(context.volume)?;
    Some(match larger_than_its_bitmap(context) {
        Some((finding, sized)) => Short { finding, sized: Some(sized) },
        None if context.options.salvage => cut(context, &missing),
        None => Short { finding: confirmed(context, missing), sized: None },
    })
}

/// Returns the finding whose repair cuts the volume to its device, and the volume that is left.
fn cut(context: &Context<'_>, missing: &Finding) -> Short {
    let volume = context.volume;
    let clusters = volume.device().size_bytes() >> volume.geometry().cluster_size.bits();
    let clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
    let finding = Finding::new(codes::DEVICE_CUT, missing.place.clone(), missing.text.clone());
    let finding = finding.repaired_by(resize(clusters)).losing(true);
    Short { finding, sized: Some(volume.with_clusters(clusters)) }
}

/// Adds to the finding whether anything but the superblock states the size.
fn confirmed(context: &Context<'_>, missing: Finding) -> Finding {
    if is_stated(context) {
        return missing;
    }
    let text = format!(
        "{}; only the superblock says so, and it may be wrong: the global bitmap, which has that \
         number as well, cannot be read",
        missing.text
    );
    Finding { text, ..missing }
}

/// Returns the finding about the missing part of the volume.
fn missing_part(volume: &Volume) -> Option<Finding> {
    let (volume_bytes, device_bytes) =
        (volume.geometry().size_bytes(), volume.device().size_bytes());
    if volume_bytes <= device_bytes {
        return None;
    }
    let missing = volume_bytes - device_bytes;
    let text = format!(
        "the device ends {missing} bytes ({}) before the volume: it has {device_bytes} bytes, the \
         volume has {volume_bytes}",
        human_size(missing)
    );
    let clusters = device_bytes >> volume.geometry().cluster_size.bits();
    let start = u32::try_from(clusters).unwrap_or(u32::MAX);
    let count = volume.geometry().clusters.saturating_sub(start);
    Some(Finding::new(codes::DEVICE_SHORT, Place::clusters(start, count), text))
}
