//! The global bitmap. It is read group by group and never in memory as a whole.

use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::Cluster;
use ocfs2_format::bitmap::{Bitmap, BitmapMut};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::superblock::backup_blocks;

use super::{Wrong, differences};
use crate::clusters::ClusterSet;
use crate::codes::chains as codes;
use crate::repair::{EditError, Editor, Repair};
use crate::state::State;
use crate::{Context, Finding, Place, Stop, parallel};

/// Groups that a thread reads as one piece of work.
const AT_ONCE: usize = 16;
/// Runs of a group that are reported one by one. Of more only the numbers are reported.
const MOST_RUNS: usize = 64;
/// Runs that are kept for the repairs of such groups: 12 MiB. More wait for another round.
const MOST_KEPT: usize = 1 << 20;
/// Runs of clusters without an owner in which lost groups are searched for.
const MOST_LEAKS: usize = 1 << 14;

/// Returns where the bitmap differs from what was found, and the first runs of clusters that are
/// set and have no owner.
pub(super) fn compared(
    context: &Context<'_>,
    state: &State<'_>,
) -> Result<(Vec<Finding>, Vec<Range<u32>>), Stop> {
    let mut shared = ClusterSet::default();
    for claim in &state.shared {
        shared.insert(claim.start..claim.start.saturating_add(claim.count), |_| {});
    }
    let geometry = context.geometry();
    // Old volumes have their bits set, whatever the features say.
    let backups = backup_blocks(geometry.block_size, geometry.blocks());
    let backups: Vec<_> = backups.filter_map(|blkno| Some(geometry.cluster_of(blkno)?.0)).collect();
    let used = Used { clusters: &state.clusters, shared: &shared, backups: &backups };

    let unknown = &state.unknown_groups;
    // Most groups of a large volume are empty, and need no comparison.
    let is_empty = |group| {
        let range = used.range(geometry, group);
        state.unused_groups.contains(group)
            && used.runs(range.start + 1..range.end).next().is_none()
    };
    let groups = (0..geometry.groups()).filter(|group| !unknown.contains(group));
    let groups: Vec<_> = groups.filter(|group| !is_empty(*group)).collect();
    let geometry = *context.geometry();
    let mut report = Report {
        report_unused: !state.incomplete,
        geometry,
        pending: None,
        findings: Vec::new(),
        kept: 0,
        left_out: 0,
        leaks: Vec::new(),
    };
    let work = |groups: &[u32]| -> Vec<(u32, Vec<Wrong>)> {
        groups.iter().map(|group| (*group, compare(context, *group, &used))).collect()
    };
    parallel::ordered(context.options.threads, groups.chunks(AT_ONCE), work, |wrong| {
        wrong.into_iter().for_each(|(group, wrong)| report.group(group, wrong));
        !context.interrupt.requested()
    });
    report.end();
    context.check_interrupt()?;
    Ok((report.findings, report.leaks))
}

/// Returns the clusters without an owner in which a survey has found something.
pub(super) fn suspected(context: &Context<'_>, state: &State<'_>) -> Vec<Range<u32>> {
    let all = context.options.suspects.iter().copied();
    let end = context.geometry().clusters;
    let unowned = all.filter(|it| *it < end && !state.clusters.contains(*it));
    unowned.map(|cluster| cluster..cluster + 1).collect()
}

/// Returns the clusters without an owner of groups whose bits are unknown.
pub(super) fn of_unknown_groups(context: &Context<'_>, state: &State<'_>) -> Vec<Range<u32>> {
    let geometry = context.geometry();
    let mut unowned = Vec::new();
    let mut groups: Vec<_> = state.unknown_groups.iter().copied().collect();
    groups.sort_unstable();
    for group in groups.into_iter().filter(|group| *group < geometry.groups()) {
        let start = geometry.group_start(group).0;
        let end = start.saturating_add(geometry.group_clusters(group));
        let mut at = start;
        for run in state.clusters.runs(start..end) {
            unowned.extend((at < run.start).then_some(at..run.start));
            at = run.end;
        }
        unowned.extend((at < end).then_some(at..end));
    }
    unowned
}

/// Notes who else claims the clusters of the bitmap's own descriptors, which belong to the bitmap.
pub(super) fn descriptors(context: &Context<'_>, state: &mut State<'_>) {
    let geometry = context.geometry();
    let mut taken = ClusterSet::default();
    for group in 1..geometry.groups() {
        let cluster = geometry.group_start(group).0;
        if state.clusters.contains(cluster) {
            state.doubly.insert(cluster..cluster + 1, |_| {});
            taken.insert(cluster..cluster + 1, |_| {});
        }
    }
    for claim in &state.shared {
        let end = claim.start.saturating_add(claim.count);
        let groups = geometry.group_of(Cluster(claim.start)).0..=geometry.group_of(Cluster(end)).0;
        for cluster in groups.map(|group| geometry.group_start(group).0) {
            if (claim.start.max(1)..end).contains(&cluster) {
                taken.insert(cluster..cluster + 1, |_| {});
            }
        }
    }
    let leading = geometry.cluster_of(geometry.first_group).unwrap_or_default().0;
    if state.doubly.contains(leading) {
        taken.insert(0..1, |_| {});
    }
    // Each check has a state of its own, so that it is not set before.
    let _ = state.taken.set(taken);
}

/// The clusters in use.
struct Used<'a> {
    clusters: &'a ClusterSet,
    shared: &'a ClusterSet,
    backups: &'a [u32],
}

impl Used<'_> {
    /// Returns the clusters of a group.
    fn range(&self, geometry: &Geometry, group: u32) -> Range<u32> {
        let (first, count) = (geometry.group_start(group).0, geometry.group_clusters(group));
        first..first.saturating_add(count)
    }

    /// Returns the runs of `range` that are in use.
    fn runs(&self, range: Range<u32>) -> impl Iterator<Item = Range<u32>> {
        self.clusters.runs(range.clone()).chain(self.shared.runs(range))
    }
}

fn compare(context: &Context<'_>, group: u32, used: &Used<'_>) -> Vec<Wrong> {
    let geometry = context.geometry();
    let range = used.range(geometry, group);
    let (first, count) = (range.start, range.end - range.start);
    let blkno = geometry.group_blkno(group);
    // That it cannot be read was reported when its chain was followed.
    let Ok(block) = context.read_block::<GroupDesc>(blkno) else {
        return Vec::new();
    };
    let bytes = (count as usize).div_ceil(8);
    let Some(stored) = block.bytes.get(GroupDesc::BITMAP_OFFSET..).and_then(|map| map.get(..bytes))
    else {
        return Vec::new();
    };
    let mut expected = vec![0; bytes];
    let mut map = BitmapMut::new(&mut expected, count as usize);
    if group > 0 {
        map.set_range(0, 1);
    }
    for run in used.runs(range.clone()) {
        map.set_range((run.start - first) as usize, run.len());
    }
    let stored_map = Bitmap::new(stored, count as usize);
    for backup in used.backups.iter().filter(|backup| range.contains(backup)) {
        let bit = (backup - first) as usize;
        if stored_map.get(bit) {
            map.set_range(bit, 1);
        }
    }
    differences(stored, &expected, count as usize, first)
}

/// How findings describe clusters that are in use and whose bits are clear.
const CLEAR: &str = "in use and clear in the global bitmap";

/// Joins runs that continue in the next group, and collects the findings.
struct Report {
    report_unused: bool,
    geometry: Geometry,
    pending: Option<Wrong>,
    findings: Vec<Finding>,
    /// Runs that are kept, and groups whose runs are not.
    kept: usize,
    left_out: u32,
    /// Runs that are set and have no owner.
    leaks: Vec<Range<u32>>,
}

impl Report {
    /// Adds what is wrong with a group.
    fn group(&mut self, group: u32, mut wrong: Vec<Wrong>) {
        let leaks = wrong.iter().filter(|wrong| wrong.is_set).map(|wrong| wrong.start..wrong.end);
        self.leaks.extend(leaks.take(MOST_LEAKS.saturating_sub(self.leaks.len())));
        wrong.retain(|wrong| self.report_unused || !wrong.is_set);
        if wrong.len() <= MOST_RUNS {
            return wrong.into_iter().for_each(|wrong| self.add(wrong));
        }
        self.flush();
        self.kept += wrong.len();
        // The first group beyond the limit is reported for all others.
        if self.kept > MOST_KEPT {
            self.left_out += 1;
            if self.left_out > 1 {
                return;
            }
        }
        self.findings.push(as_a_whole(&self.geometry, group, &wrong));
    }

    /// Adds what is left after the last group.
    fn end(&mut self) {
        self.flush();
        self.adrift();
        if let Some(last) = self.findings.last_mut().filter(|_| self.left_out > 1) {
            last.text += &format!(", and {} more groups like it", self.left_out - 1);
        }
    }

    /// Where some clusters are in use and clear and others have no owner, an extent may point to
    /// the wrong ones: freeing the others may lose its contents.
    fn adrift(&mut self) {
        if !self.leaks.is_empty() && self.findings.len() > 1 {
            let findings = std::mem::take(&mut self.findings);
            let is_any_clear = findings.iter().any(|it| it.text.ends_with(CLEAR));
            let losing = |it: Finding| it.losing(is_any_clear);
            self.findings = findings.into_iter().map(losing).collect();
        }
    }

    fn add(&mut self, wrong: Wrong) {
        match &mut self.pending {
            Some(last) if last.end == wrong.start && last.is_set == wrong.is_set => {
                last.end = wrong.end;
            }
            _ => {
                self.flush();
                self.pending = Some(wrong);
            }
        }
    }

    fn flush(&mut self) {
        let Some(Wrong { start, end, is_set }) = self.pending.take() else { return };
        let what = match end - start {
            1 => format!("cluster {start} is"),
            count => format!("clusters {start} to {} ({count}) are", end - 1),
        };
        let how = match is_set {
            true => "set in the global bitmap and used by nobody",
            false => CLEAR,
        };
        let place = Place::clusters(start, end - start);
        let geometry = self.geometry;
        let repair = Repair::new(move |editor| change(editor, &geometry, start..end, !is_set));
        let finding = Finding::new(codes::CLUSTER_ALLOC_BIT, place, format!("{what} {how}"));
        self.findings.push(finding.repaired_by(repair));
    }
}

/// Returns the one finding about a group with many differences.
fn as_a_whole(geometry: &Geometry, group: u32, wrong: &[Wrong]) -> Finding {
    let count = |is_set| {
        let runs = wrong.iter().filter(|wrong| wrong.is_set == is_set);
        runs.map(|wrong| wrong.end - wrong.start).sum::<u32>()
    };
    let (blkno, first) = (geometry.group_blkno(group), geometry.group_start(group).0);
    let text = format!(
        "group {blkno} of the global bitmap: {} clusters are set and used by nobody, {} are in use \
         and clear, in {} places",
        count(true),
        count(false),
        wrong.len()
    );
    let bits = |wrong: &Wrong| (wrong.start - first..wrong.end - first, !wrong.is_set);
    let runs: Arc<[_]> = wrong.iter().map(bits).collect();
    let place = Place::clusters(first, geometry.group_clusters(group));
    Finding::new(codes::CLUSTER_ALLOC_BIT, place, text)
        .repaired_by(Repair::new(move |editor| editor.change_runs(blkno, &runs)))
}

/// Sets or clears the bits of clusters, group by group.
fn change(
    editor: &mut Editor<'_>,
    geometry: &Geometry,
    clusters: Range<u32>,
    set: bool,
) -> Result<(), EditError> {
    let mut start = clusters.start;
    while start < clusters.end {
        let (group, bit) = geometry.group_of(Cluster(start));
        let count = geometry.group_clusters(group).saturating_sub(bit).min(clusters.end - start);
        if count == 0 {
            break;
        }
        editor.change_bits(geometry.group_blkno(group), &(bit..bit + count), set)?;
        start += count;
    }
    Ok(())
}
