//! The size of the journals.

use ocfs2_format::geometry::Geometry;

use crate::options::{Options, Purpose};
use crate::resolve::ResolveError;

/// Smallest size that Linux and the C tools accept (`OCFS2_MIN_JOURNAL_SIZE`).
const LEAST_BYTES: u64 = 4 << 20;
/// Smallest size in clusters.
const LEAST_CLUSTERS: u64 = 9;
/// Blocks that must be left besides the journals.
const LEFT_BLOCKS: u64 = 1024;

/// Returns the size of each journal in bytes, a multiple of the cluster size.
///
/// For volumes of 32768 to 262143 blocks of 512 bytes the default of mkfs.ocfs2 is below 4 MiB,
/// which it then rejects itself. Such defaults are raised to 4 MiB.
pub(crate) fn journal_bytes(
    options: &Options,
    geometry: &Geometry,
    slots: u16,
) -> Result<u64, ResolveError> {
    let block_size = u64::from(geometry.block_size.bytes());
    let cluster_size = u64::from(geometry.cluster_size.bytes());
    let blocks = geometry.blocks();
    let whole_clusters = |size: u64| {
        let whole = size.checked_next_multiple_of(cluster_size);
        whole
            .filter(|size| size / block_size <= u64::from(u32::MAX))
            .ok_or(ResolveError::JournalBlocks { size })
    };
    let clusters = LEAST_CLUSTERS * cluster_size;
    let (size, left) = match options.journal.size {
        Some(asked) => {
            let size = whole_clusters(asked)?;
            let least = LEAST_BYTES.max(clusters);
            if asked < LEAST_BYTES || size < least {
                return Err(ResolveError::JournalTooSmall { size: asked, least });
            }
            (size, LEFT_BLOCKS)
        }
        None => {
            let size = default_blocks(options.purpose, blocks, block_size) * block_size;
            // Only a default that was raised to the minimum in clusters has to leave these blocks.
            let left = if size < clusters { LEFT_BLOCKS } else { 0 };
            (whole_clusters(size.max(clusters).max(LEAST_BYTES))?, left)
        }
    };
    let total = size / block_size * u64::from(slots) + left;
    if total > blocks {
        let (total, volume) = (total.saturating_mul(block_size), geometry.size_bytes());
        return Err(ResolveError::JournalsTooLarge { slots, size, total, volume });
    }
    Ok(size)
}

fn default_blocks(purpose: Option<Purpose>, blocks: u64, block_size: u64) -> u64 {
    match (purpose, blocks) {
        (Some(Purpose::Mail), ..262_144) => 16_384,
        (Some(Purpose::Mail), ..524_288) => 32_768,
        (Some(Purpose::Mail), _) => 65_536,
        (Some(Purpose::Datafiles), _) | (Some(Purpose::VmStore), ..262_144) => 8_192,
        (Some(Purpose::VmStore), ..524_288) => 16_384,
        (Some(Purpose::VmStore), _) => 32_768,
        (None, ..32_768) => LEAST_BYTES / block_size,
        (None, ..262_144) => 4_096,
        (None, _) => (blocks / 160).clamp(16_384, 65_536),
    }
}
