//! Lost contents of files.

use std::cell::RefCell;
use std::ops::Range;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Arm, FileKind};
use ocfs2_format::extent::ExtentList;
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_volume::{Inode, Volume};

use super::mapping::{Mapped, Mapping, Untouched};
use super::ranges::{merged, outside, sum, within};

/// Bytes compared at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// The most extents at one place of a file among which the former owner of a cluster is searched.
const SAME_PLACE: usize = 64;
/// The greatest length of a symbolic link's target, with the zero after it.
const TARGET: u64 = 4097;

/// The contents that a file has lost.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Gone {
    /// Byte ranges of the file, in order; empty if it is not known which.
    pub ranges: Vec<Range<u64>>,
    /// The number of lost bytes.
    pub bytes: u64,
    /// The size the file had, in bytes.
    pub size: u64,
    /// Whether nothing is left.
    pub is_all: bool,
}

/// How the contents of an inode differ.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Difference {
    pub gone: Option<Gone>,
    /// `i_size` before and after, if it changed although nothing is gone.
    pub size: Option<(u64, u64)>,
    /// Whether parts were moved within the file by a guess.
    pub is_moved: bool,
}

/// The volume before and after the repairs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    pub before: &'a Volume,
    pub after: &'a Volume,
    /// Byte ranges of the device that were written to, in order.
    pub written: &'a [Range<u64>],
    /// What is known about extent blocks.
    pub untouched: &'a Untouched,
    /// The last comparison.
    pub last: &'a Last,
}

/// The last comparison, which is used again for files with the same tree.
#[derive(Debug, Default)]
pub(super) struct Last(RefCell<Option<(Vec<u8>, Difference)>>);

impl Last {
    fn of(
        &self,
        before: &Inode,
        after: &Inode,
        compare: impl FnOnce() -> Difference,
    ) -> Difference {
        let mut key = Vec::new();
        for inode in [before, after] {
            let dinode = &inode.dinode;
            key.extend_from_slice(&dinode.i_size.to_le_bytes());
            key.extend_from_slice(&dinode.i_clusters.to_le_bytes());
            key.extend_from_slice(&dinode.i_dyn_features.to_le_bytes());
            key.extend_from_slice(inode.id2());
        }
        if let Some((known, difference)) = &*self.0.borrow()
            && *known == key
        {
            return difference.clone();
        }
        let difference = compare();
        *self.0.borrow_mut() = Some((key, difference.clone()));
        difference
    }
}

/// Compares the contents of an inode that is in use before and after.
pub(super) fn compare(sides: &Sides<'_>, before: &Inode, after: &Inode) -> Difference {
    match after.kind() {
        Some(FileKind::Symlink) => target(sides, before, after),
        Some(FileKind::Regular) if is_untouched(sides, before, after) => Difference::default(),
        Some(FileKind::Regular) => sides.last.of(before, after, || file(sides, before, after)),
        _ => Difference::default(),
    }
}

/// Whether nothing was written to the contents, nor to anything that points to them.
fn is_untouched(sides: &Sides<'_>, before: &Inode, after: &Inode) -> bool {
    let stated = |inode: &Inode| {
        let dinode = &inode.dinode;
        (dinode.i_size, dinode.i_clusters, dinode.i_mode, dinode.i_dyn_features)
    };
    stated(before) == stated(after)
        && before.id2() == after.id2()
        && (after.is_inline() || sides.untouched.is_tree(sides.before, sides.written, after))
}

fn target(sides: &Sides<'_>, before: &Inode, after: &Inode) -> Difference {
    let (was, is) = (target_of(sides.before, before), target_of(sides.after, after));
    if was == is {
        return Difference::default();
    }
    let size = was.map_or(before.size(), |it| it.len() as u64);
    Difference { gone: Some(Gone::whole(size, false)), ..Difference::default() }
}

/// The target of a symbolic link, up to the first zero.
fn target_of(volume: &Volume, inode: &Inode) -> Option<Vec<u8>> {
    let bytes = match inode.dinode.arm() {
        Arm::Symlink => {
            let is_list = ExtentList::new(inode.id2()).is_ok_and(|list| {
                usize::from(list.header.l_count) == list.capacity() && list.records().len() > 0
            });
            match is_list {
                true => first_bytes(volume, inode)?,
                false => inode.id2().to_vec(),
            }
        }
        Arm::InlineData => InlineData::data(inode.id2()).ok()?.to_vec(),
        _ => first_bytes(volume, inode)?,
    };
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Some(bytes.get(..end)?.to_vec())
}

fn first_bytes(volume: &Volume, inode: &Inode) -> Option<Vec<u8>> {
    let first = *Mapping::of(volume, inode).extents.first()?;
    let geometry = volume.geometry();
    let blocks = (first.clusters << geometry.bpc_bits()).min(geometry.blocks_for(TARGET));
    volume.read_blocks(Blkno(first.start << geometry.bpc_bits()), blocks as u32).ok()
}

fn file(sides: &Sides<'_>, before: &Inode, after: &Inode) -> Difference {
    let resized = || {
        let (was, is) = (before.size(), after.size());
        (was != is).then_some((was, is))
    };
    let gone = match (before.is_inline(), after.is_inline()) {
        (true, true) => inline(before, after),
        (true, false) => {
            let left = !Mapping::of(sides.after, after).extents.is_empty();
            (!left && before.size() > 0).then(|| Gone::whole(before.size(), true))
        }
        (false, _) => {
            let (gone, is_moved) = extents(sides, before, after);
            let size = if gone.is_some() { None } else { resized() };
            return Difference { gone, size, is_moved };
        }
    };
    let size = if gone.is_some() { None } else { resized() };
    Difference { gone, size, is_moved: false }
}

fn inline(before: &Inode, after: &Inode) -> Option<Gone> {
    let data = |inode: &Inode| {
        let data = InlineData::data(inode.id2()).unwrap_or_default();
        let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
        data.get(..size).unwrap_or(data).to_vec()
    };
    let (was, is) = (data(before), data(after));
    let shared = was.len().min(is.len());
    if was.get(..shared) == is.get(..shared) && (!is.is_empty() || was.is_empty()) {
        return None;
    }
    Some(Gone::whole(was.len() as u64, is.is_empty()))
}

impl Gone {
    fn whole(size: u64, is_all: bool) -> Self {
        Self { ranges: merged(std::iter::once(0..size).collect()), bytes: size, size, is_all }
    }
}

/// Returns what is gone, and whether something was moved within the file.
fn extents(sides: &Sides<'_>, before: &Inode, after: &Inode) -> (Option<Gone>, bool) {
    let (was, is) = (Mapping::of(sides.before, before), Mapping::of(sides.after, after));
    let geometry = sides.after.geometry();
    let (bits, size) = (geometry.cluster_size.bits(), before.size());
    let used = size.div_ceil(1 << bits);
    let logical = merged(is.extents.iter().map(Mapped::logical).collect());
    let holes = outside(&(0..used), &logical);

    let mut gone = Vec::new();
    let mut is_moved = false;
    let pieces = Pieces::new(sides, &was, &is, &logical);
    let stated = u64::from(before.dinode.i_clusters);
    let is_too_long = was.clusters() > stated && stated == is.clusters();
    for extent in was.extents.iter().filter(|it| it.is_written && it.cpos < used) {
        // The part by which an extent was too long never was its own.
        let is_now = |it: &&Mapped| (it.cpos, it.start) == (extent.cpos, extent.start);
        let shorter = is_too_long.then(|| is.extents.iter().find(is_now)).flatten();
        let clusters = shorter.map_or(extent.clusters, |it| it.clusters.min(extent.clusters));
        let extent = Mapped { clusters, ..*extent };
        pieces.lost(&extent, &mut gone);
        is_moved |= pieces.is_guessed(&extent);
    }
    let missing = stated.saturating_sub(is.clusters());
    let is_plausible = stated <= geometry.clusters.into();
    let mut unknown = 0;
    if stated != is.clusters() {
        let broken = merged(was.broken.clone());
        let lost: Vec<_> = broken.iter().flat_map(|range| within(range, &holes)).collect();
        let evident = !lost.is_empty() || was.is_garbage;
        let hollow = sum(&holes);
        if !lost.is_empty() {
            gone.extend(lost);
        } else if is_plausible && missing > 0 && hollow > 0 {
            let is_sparse = sides.before.has(Incompat::SPARSE_ALLOC);
            match hollow <= missing {
                true if evident || hollow == missing || !is_sparse => gone.extend(holes.clone()),
                true => {}
                false => unknown = missing.saturating_sub(sum(&merged(gone.clone()))),
            }
        } else if was.is_garbage && !is_plausible {
            gone.extend(holes.clone());
        }
    } else if was.is_garbage && stated == 0 && is.extents.is_empty() && !after.is_inline() {
        // There was something else in place of the list: data of the inode itself.
        gone.extend(holes.clone());
    }
    let ranges: Vec<_> = merged(gone)
        .iter()
        .map(|range| range.start << bits..size.min(range.end << bits))
        .filter(|range| range.start < range.end)
        .collect();
    let bytes = sum(&ranges).saturating_add(unknown << bits).min(size);
    if bytes == 0 {
        return (None, is_moved);
    }
    let is_all = is.extents.is_empty() && !after.is_inline();
    (Some(Gone { ranges, bytes, size, is_all }), is_moved)
}

/// Finds the extents of before among those of after.
struct Pieces<'a> {
    sides: &'a Sides<'a>,
    /// In the order of their positions in the file.
    was: Vec<Mapped>,
    /// In the order of their positions in the file.
    is: Vec<Mapped>,
    /// Indexes into `is`, in the order of positions on the volume.
    places: Vec<usize>,
    logical: &'a [Range<u64>],
    physical: Vec<Range<u64>>,
}

impl<'a> Pieces<'a> {
    fn new(
        sides: &'a Sides<'a>,
        was: &'a Mapping,
        is: &'a Mapping,
        logical: &'a [Range<u64>],
    ) -> Self {
        let physical = merged(is.extents.iter().map(Mapped::physical).collect());
        let by_position = |mapping: &Mapping| {
            let mut extents = mapping.extents.clone();
            extents.sort_by_key(|it| it.cpos);
            extents
        };
        let (was, is) = (by_position(was), by_position(is));
        let mut places: Vec<_> = (0..is.len()).collect();
        places.sort_by_key(|index| is.get(*index).map(|it| it.start));
        Self { sides, was, is, places, logical, physical }
    }

    /// Adds the clusters of the file whose contents were in `extent` and are now nowhere.
    fn lost(&self, extent: &Mapped, gone: &mut Vec<Range<u64>>) {
        let position = |at: u64| extent.cpos + (at - extent.start);
        for part in within(&extent.physical(), &self.physical) {
            // At the same place, unless something else was written there.
            self.differing(part.clone(), part.start, position(part.start), gone);
        }
        for part in outside(&extent.physical(), &self.physical) {
            let wanted = position(part.start)..position(part.end);
            gone.extend(outside(&wanted, self.logical));
            for copied in within(&wanted, self.logical) {
                let from = extent.start + (copied.start - extent.cpos);
                self.copied(&copied, from, gone);
            }
        }
    }

    /// Compares clusters of the file that are elsewhere now: they are copies, or another extent was
    /// moved there.
    fn copied(&self, wanted: &Range<u64>, from: u64, gone: &mut Vec<Range<u64>>) {
        let first = self.is.partition_point(|it| it.cpos + it.clusters <= wanted.start);
        for now in self.is.iter().skip(first).take_while(|it| it.cpos < wanted.end) {
            let (start, end) =
                (now.cpos.max(wanted.start), wanted.end.min(now.cpos + now.clusters));
            let to = now.start + (start - now.cpos);
            let had_it = self.had(start).any(|it| it.physical().contains(&to));
            if !had_it && start < end {
                let from = from + (start - wanted.start);
                self.compared(from..from + (end - start), to, start, gone);
            }
        }
    }

    /// The extents that had a cluster of the file.
    fn had(&self, at: u64) -> impl Iterator<Item = &Mapped> {
        let next = self.was.partition_point(|it| it.cpos <= at);
        let before = self.was.get(..next).unwrap_or_default().iter().rev();
        let cpos = before.clone().next().map(|it| it.cpos);
        // Of several at one position each may be the right one.
        before
            .take_while(move |it| Some(it.cpos) == cpos)
            .take(SAME_PLACE)
            .filter(move |it| it.logical().contains(&at))
    }

    /// As [`Self::compared`], but only where something was written.
    fn differing(&self, was: Range<u64>, is: u64, at: u64, gone: &mut Vec<Range<u64>>) {
        let bits = self.sides.after.geometry().cluster_size.bits();
        let bytes = was.start << bits..was.end << bits;
        for part in within(&bytes, self.sides.written) {
            let clusters = part.start >> bits..part.end.div_ceil(1 << bits);
            let skipped = clusters.start - was.start;
            self.compared(clusters, is + skipped, at + skipped, gone);
        }
    }

    /// Adds the clusters of the file from `at` on whose contents differ. They were in the clusters
    /// `was` and are in those from `is` on.
    fn compared(&self, was: Range<u64>, is: u64, at: u64, gone: &mut Vec<Range<u64>>) {
        let geometry = self.sides.after.geometry();
        let bits = geometry.bpc_bits();
        let at_once = (PIECE_BYTES >> geometry.cluster_size.bits()).max(1);
        let size = geometry.cluster_size.bytes() as usize;
        let mut done = 0;
        while done < was.end - was.start {
            let count = at_once.min(was.end - was.start - done);
            let read = |volume: &Volume, first: u64| {
                volume.read_blocks(Blkno((first + done) << bits), (count << bits) as u32).ok()
            };
            let (old, new) = (read(self.sides.before, was.start), read(self.sides.after, is));
            match (old, new) {
                (Some(old), Some(new)) => {
                    let pairs = old.chunks(size).zip(new.chunks(size));
                    for (index, (old, new)) in (0..).zip(pairs) {
                        if old != new {
                            gone.push(at + done + index..at + done + index + 1);
                        }
                    }
                }
                _ => gone.push(at + done..at + done + count),
            }
            done += count;
        }
    }

    /// Whether an extent was moved within the file and its neighbours do not confirm it.
    fn is_guessed(&self, extent: &Mapped) -> bool {
        let same = |it: &Mapped| it.physical().contains(&extent.start);
        // At its old place, or else the nearest on the volume.
        let at = self.is.partition_point(|it| it.cpos <= extent.cpos).checked_sub(1);
        let at = at.filter(|at| self.is.get(*at).is_some_and(same));
        let nearest = || {
            let start = |index: &usize| self.is.get(*index).map_or(0, |it| it.start);
            let next = self.places.partition_point(|index| start(index) <= extent.start);
            let index = *self.places.get(next.checked_sub(1)?)?;
            self.is.get(index).is_some_and(same).then_some(index)
        };
        let Some(index) = at.or_else(nearest) else { return false };
        let Some(now) = self.is.get(index) else { return false };
        let moved = now.cpos + (extent.start - now.start) != extent.cpos;
        let before = index.checked_sub(1).and_then(|before| self.is.get(before));
        let is_tight = before.map_or(now.cpos == 0, |it| it.cpos + it.clusters == now.cpos)
            && self.is.get(index + 1).is_some_and(|next| next.cpos == now.cpos + now.clusters);
        moved && !is_tight
    }
}
