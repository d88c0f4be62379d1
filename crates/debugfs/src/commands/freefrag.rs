//! Fragmentation of the free space of a volume.

use std::io::Write;

use super::option;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::group::Group;
use crate::words::number_of;

/// Free runs with lengths from one power of two to the next.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    runs: u64,
    clusters: u64,
}

/// The free space, counted.
#[derive(Debug, Default)]
struct Free {
    /// The runs by the binary logarithm of their length.
    classes: [Class; 32],
    shortest: Option<u64>,
    longest: u64,
    /// Number of chunks that are completely free.
    whole_chunks: u64,
}

impl Free {
    fn add(&mut self, first: u64, clusters: u64, chunk: u64) {
        let class = clusters.checked_ilog2().unwrap_or_default() as usize;
        if let Some(class) = self.classes.get_mut(class) {
            class.runs += 1;
            class.clusters += clusters;
        }
        self.shortest = Some(self.shortest.map_or(clusters, |it| it.min(clusters)));
        self.longest = self.longest.max(clusters);
        let (start, end) = (first.div_ceil(chunk), (first + clusters) / chunk);
        self.whole_chunks += end.saturating_sub(start);
    }
}

/// `freefrag`
pub(super) fn freefrag(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (geometry, size) = (fs.volume.geometry(), fs.volume.geometry().cluster_size.bytes());
    let kib = u64::from(size >> 10);
    let chunk = match option(words, "-c") {
        (true, [word]) => match number_of::<u64>(word)? {
            chunk if chunk.is_power_of_two() && chunk >= kib.max(1) => chunk / kib,
            chunk => {
                let text = format!("{chunk} is not a power of 2 from {kib} (a cluster) on");
                return Err(Failure::Argument(text));
            }
        },
        (false, []) => kib.max(1024) / kib,
        _ => return Err(Failure::Usage),
    };
    let mut free = Free::default();
    for index in 0..geometry.groups() {
        fs.check()?;
        let blkno = geometry.group_blkno(index);
        let group = Group::read(fs, blkno).explain(|| format!("while reading group {blkno}"))?;
        let start = u64::from(geometry.group_start(index).0);
        // Each group begins with its descriptor, so that no run crosses into the next one.
        for run in group.bitmap()?.runs(false) {
            free.add(start + run.start as u64, run.len() as u64, chunk);
        }
    }
    show(out, &free, geometry.clusters, (kib, chunk))?;
    Ok(())
}

fn show(
    out: &mut Screen,
    free: &Free,
    total: u32,
    (kib, chunk): (u64, u64),
) -> std::io::Result<()> {
    let sum = free.classes.iter().fold(Class::default(), |sum, class| Class {
        runs: sum.runs + class.runs,
        clusters: sum.clusters + class.clusters,
    });
    let percent = |part: u64, all: u64| 100.0 * part as f64 / (all as f64).max(1.0);
    let shortest = free.shortest.unwrap_or_default();
    out.record("free_room", |it| {
        let it = it.put("clusters", total).put("free", sum.clusters).put("runs", sum.runs);
        let it = it.put("shortest", shortest).put("longest", free.longest);
        it.put("chunk_clusters", chunk).put("whole_chunks", free.whole_chunks)
    })?;
    let (clusters, share) = (sum.clusters, percent(sum.clusters, total.into()));
    writeln!(out, "Clusters: {total} of {kib} KiB   Free: {clusters} ({share:.1}%)")?;
    let average = sum.clusters.checked_div(sum.runs).unwrap_or_default();
    writeln!(
        out,
        "Free extents: {}   Shortest: {shortest}   Longest: {}   Average: {average}",
        sum.runs, free.longest
    )?;
    let chunks = u64::from(total).div_ceil(chunk);
    writeln!(
        out,
        "Chunks of {} KiB: {chunks}   Wholly free: {} ({:.1}%)",
        chunk * kib,
        free.whole_chunks,
        percent(free.whole_chunks, chunks)
    )?;
    writeln!(out, "\tClusters in a row       Extents    Free clusters  Percent")?;
    for (log, class) in free.classes.iter().enumerate().filter(|(_, class)| class.runs > 0) {
        let (first, last) = (1_u64 << log, (2_u64 << log) - 1);
        let (runs, clusters) = (class.runs, class.clusters);
        let range = format!("{first} to {last}");
        let share = percent(clusters, sum.clusters);
        out.row(
            "free_runs",
            |it| {
                let it = it.put("from", first).put("to", last);
                it.put("runs", runs).put("clusters", clusters)
            },
            format_args!("\t{range:<23} {runs:<10} {clusters:<14} {share:.2}%"),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_whole_chunks_are_counted() {
        let mut free = Free::default();
        free.add(1, 3, 4);
        free.add(4, 4, 4);
        free.add(6, 11, 4);
        assert_eq!((free.shortest, free.longest, free.whole_chunks), (Some(3), 11, 1 + 2));
        assert_eq!((free.classes[1].runs, free.classes[2].clusters), (1, 4));
        assert_eq!(free.classes[3].clusters, 11);
    }
}
