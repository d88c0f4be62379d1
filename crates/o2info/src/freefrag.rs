//! How free room is in pieces.

use std::fmt::Write;

use anyhow::{Result, ensure};
use ocfs2_volume::Volume;
use ocfs2_volume::allocator::Group;

/// Sizes of free extents, by powers of two.
const ROWS: usize = 32;

/// Free extents of one power of two.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Row {
    extents: u64,
    clusters: u64,
}

/// The free extents of a volume.
///
/// The C tool counts some of them twice where a chain has several groups, and says one chunk more
/// than there are where they divide the volume evenly.
#[derive(Clone, Debug, Default)]
pub struct FreeFrag {
    /// KiB of a chunk; 0 = none were asked for.
    kib: u64,
    /// Clusters of a chunk.
    chunk: u64,
    total: u64,
    free: u64,
    shortest: Option<u64>,
    longest: u64,
    extents: u64,
    in_extents: u64,
    free_chunks: u64,
    rows: [Row; ROWS],
}

impl FreeFrag {
    /// Looks at all groups of the global bitmap.
    ///
    /// # Errors
    /// Chunks that are smaller than a cluster; what cannot be read.
    pub fn find(volume: &Volume, kib: u64) -> Result<Self> {
        let cluster = u64::from(volume.geometry().cluster_size.bytes());
        let bytes = if kib == 0 { cluster.max(1 << 20) } else { kib.saturating_mul(1024) };
        ensure!(bytes >= cluster, "a chunk is smaller than a cluster of {cluster} bytes");
        let bitmap = volume.global_bitmap()?;
        let (used, total) = bitmap.inode.dinode.bitmap();
        let mut found = Self {
            kib,
            chunk: bytes / cluster,
            total: total.into(),
            free: total.saturating_sub(used).into(),
            ..Self::default()
        };
        for group in volume.groups(&bitmap) {
            found.count(&group?);
        }
        Ok(found)
    }

    fn count(&mut self, group: &Group) {
        for run in group.bitmap().runs(false) {
            let clusters = run.len() as u64;
            self.shortest = Some(self.shortest.map_or(clusters, |least| least.min(clusters)));
            self.longest = self.longest.max(clusters);
            self.extents += 1;
            self.in_extents += clusters;
            if let Some(row) = self.rows.get_mut(clusters.max(1).ilog2() as usize) {
                row.extents += 1;
                row.clusters += clusters;
            }
            // Chunks are counted from the start of the group.
            let first = (run.start as u64).div_ceil(self.chunk);
            let end = run.end as u64 / self.chunk;
            self.free_chunks += end.saturating_sub(first);
        }
    }

    /// The report.
    pub fn text(&self, volume: &Volume) -> String {
        let (block, cluster) = (volume.block_size(), volume.geometry().cluster_size);
        let kib = |clusters: u64| clusters * u64::from(cluster.bytes()) / 1024;
        let (total, free) = (self.total, self.free);
        let mut text = format!("Blocksize: {block} bytes\nClustersize: {cluster} bytes\n");
        let _ = writeln!(text, "Total clusters: {total}");
        let _ = writeln!(text, "Free clusters: {free} ({:.1}%)\n", percent(free, total));
        let average = self.in_extents.checked_div(self.extents).unwrap_or(0);
        let shortest = kib(self.shortest.unwrap_or(0));
        let _ = writeln!(text, "Min. free extent: {shortest} KB ");
        let _ = writeln!(text, "Max. free extent: {} KB", kib(self.longest));
        let _ = writeln!(text, "Avg. free extent: {} KB\n", kib(average));
        if self.kib != 0 {
            let chunk = self.chunk;
            let chunks = total.div_ceil(chunk);
            let bytes = self.kib * 1024;
            let _ = writeln!(text, "Chunksize: {bytes} bytes ({chunk} clusters)");
            let _ = writeln!(text, "Total chunks: {chunks}");
            let free = self.free_chunks;
            let _ = writeln!(text, "Free chunks: {free} ({:.1}%)\n", percent(free, chunks));
        }
        self.histogram(&mut text, u64::from(cluster.bytes()));
        text
    }

    fn histogram(&self, text: &mut String, cluster: u64) {
        let _ = writeln!(text, "HISTOGRAM OF FREE EXTENT SIZES:");
        let _ = writeln!(text, "Extent Size Range :  Free extents  Free Clusters  Percent");
        for (power, row) in self.rows.iter().enumerate().filter(|(_, row)| row.extents > 0) {
            // A cluster has at least 4 KiB.
            let (mut start, mut units) = ((cluster << power) >> 10, "KMGTPE".chars());
            let mut unit = units.next().unwrap_or_default();
            while start >= 1024
                && let Some(next) = units.next()
            {
                (start, unit) = (start >> 10, next);
            }
            let (extents, clusters) = (row.extents, row.clusters);
            let share = percent(clusters, self.free);
            let _ = writeln!(
                text,
                "{start:>5}{unit}...{:>5}{unit}-  :  {extents:>12}  {clusters:>12}  {share:>6.2}%",
                start * 2
            );
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
