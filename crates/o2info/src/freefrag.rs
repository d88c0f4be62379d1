//! Fragmentation of free space.

use std::fmt::Write;

use anyhow::{Result, ensure};
use ocfs2_ioctl::Mounted;
use ocfs2_volume::Volume;
use ocfs2_volume::allocator::Group;
use serde::Serialize;

/// Number of rows, by powers of two of the extent size.
const ROWS: usize = 32;

/// Free extents of one power of two.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Row {
    extents: u64,
    clusters: u64,
}

/// The fragmentation of free space, for JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FreeFragFacts {
    block_size: u32,
    cluster_size: u32,
    clusters: u64,
    free_clusters: u64,
    shortest_bytes: Option<u64>,
    longest_bytes: u64,
    average_bytes: u64,
    chunk_bytes: Option<u64>,
    chunks: Option<u64>,
    free_chunks: Option<u64>,
    extents: Vec<FreeExtents>,
}

/// The free extents from a size on to its double.
#[derive(Clone, Debug, Serialize)]
struct FreeExtents {
    from_bytes: u64,
    extents: u64,
    clusters: u64,
}

/// The free extents of a volume.
///
/// If a chain has several groups, the C tool counts some extents twice. It also reports one chunk
/// too many if chunks divide the volume evenly. The kernel counts extents twice as well; its answer
/// is shown as it is.
#[derive(Clone, Debug, Default)]
pub struct FreeFrag {
    block_size: u32,
    cluster_size: u32,
    /// KiB per chunk; 0 if none were asked for.
    kib: u64,
    /// Clusters per chunk.
    chunk: u64,
    total: u64,
    free: u64,
    shortest: Option<u64>,
    longest: u64,
    average: u64,
    free_chunks: u64,
    rows: [Row; ROWS],
}

impl FreeFrag {
    /// Starts with empty counts. `kib` is the size of a chunk in KiB.
    ///
    /// # Errors
    /// If a chunk would be smaller than a cluster.
    pub fn new(block_size: u32, cluster_size: u32, kib: u64) -> Result<Self> {
        let cluster = u64::from(cluster_size.max(1));
        let bytes = if kib == 0 { cluster.max(1 << 20) } else { kib.saturating_mul(1024) };
        ensure!(bytes >= cluster, "a chunk is smaller than a cluster of {cluster} bytes");
        Ok(Self { block_size, cluster_size, kib, chunk: bytes / cluster, ..Self::default() })
    }

    /// Counts the free extents of all groups of the global bitmap.
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn of_volume(mut self, volume: &Volume) -> Result<Self> {
        let bitmap = volume.global_bitmap()?;
        let (used, total) = bitmap.inode.dinode.bitmap();
        (self.total, self.free) = (total.into(), total.saturating_sub(used).into());
        for group in volume.groups(&bitmap) {
            self.count(&group?);
        }
        let (extents, clusters) = self.rows.iter().fold((0, 0), |(extents, clusters), row| {
            (extents + row.extents, clusters + row.clusters)
        });
        self.average = u64::checked_div(clusters, extents).unwrap_or(0);
        Ok(self)
    }

    /// Takes the counts from the kernel.
    ///
    /// # Errors
    /// Those of the kernel, or if a chunk has more clusters than there can be.
    pub fn of_kernel(mut self, kernel: &Mounted) -> Result<Self> {
        let chunk = u32::try_from(self.chunk);
        ensure!(chunk.is_ok(), "a chunk has more clusters than there can be");
        let found = kernel.fragments(chunk.unwrap_or(u32::MAX))?;
        (self.total, self.free) = (found.clusters.into(), found.free_clusters.into());
        (self.shortest, self.longest) = (Some(found.shortest.into()), found.longest.into());
        (self.average, self.free_chunks) = (found.average.into(), found.free_chunks.into());
        for (row, found) in self.rows.iter_mut().zip(found.rows) {
            *row = Row { extents: found.extents.into(), clusters: found.clusters.into() };
        }
        Ok(self)
    }

    fn count(&mut self, group: &Group) {
        for run in group.bitmap().runs(false) {
            let clusters = run.len() as u64;
            self.shortest = Some(self.shortest.map_or(clusters, |least| least.min(clusters)));
            self.longest = self.longest.max(clusters);
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

    /// The report as values.
    pub(crate) fn facts(&self) -> FreeFragFacts {
        let bytes = |clusters: u64| clusters.saturating_mul(self.cluster_size.into());
        let is_cut = self.kib != 0;
        let rows = self.rows.iter().enumerate().filter(|(_, row)| row.extents > 0);
        FreeFragFacts {
            block_size: self.block_size,
            cluster_size: self.cluster_size,
            clusters: self.total,
            free_clusters: self.free,
            shortest_bytes: self.shortest.map(bytes),
            longest_bytes: bytes(self.longest),
            average_bytes: bytes(self.average),
            chunk_bytes: is_cut.then_some(self.kib * 1024),
            chunks: is_cut.then(|| self.total.div_ceil(self.chunk.max(1))),
            free_chunks: is_cut.then_some(self.free_chunks),
            extents: rows
                .map(|(power, row)| FreeExtents {
                    from_bytes: bytes(1 << power),
                    extents: row.extents,
                    clusters: row.clusters,
                })
                .collect(),
        }
    }

    /// The report as text.
    pub fn text(&self) -> String {
        let (block, cluster) = (self.block_size, self.cluster_size);
        let kib = |clusters: u64| clusters * u64::from(cluster) / 1024;
        let (total, free) = (self.total, self.free);
        let mut text = format!("Blocksize: {block} bytes\nClustersize: {cluster} bytes\n");
        let _ = writeln!(text, "Total clusters: {total}");
        let _ = writeln!(text, "Free clusters: {free} ({:.1}%)\n", percent(free, total));
        let shortest = kib(self.shortest.unwrap_or(0));
        let _ = writeln!(text, "Min. free extent: {shortest} KB ");
        let _ = writeln!(text, "Max. free extent: {} KB", kib(self.longest));
        let _ = writeln!(text, "Avg. free extent: {} KB\n", kib(self.average));
        if self.kib != 0 {
            let chunk = self.chunk;
            let chunks = total.div_ceil(chunk);
            let bytes = self.kib * 1024;
            let _ = writeln!(text, "Chunksize: {bytes} bytes ({chunk} clusters)");
            let _ = writeln!(text, "Total chunks: {chunks}");
            let free = self.free_chunks;
            let _ = writeln!(text, "Free chunks: {free} ({:.1}%)\n", percent(free, chunks));
        }
        self.histogram(&mut text, u64::from(cluster));
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
