//! Selection of the blocks to save.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ocfs2_cli::{Interrupt, Interrupted};
use ocfs2_format::feature::Compat;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, backup_blocks};
use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::metadata::{MetadataKind, MetadataRun};
use ocfs2_volume::{Error, SystemFile, Volume};

use crate::{Blocks, Cleaner, Scrambler};

/// Ranges that are collected before adjacent ones are merged.
const COLLECTED: usize = 1 << 16;

/// What is saved in addition to the metadata.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct What {
    /// All of the journals with nothing to replay, instead of only their superblocks.
    pub journals: bool,
    /// Free blocks of the allocators of inodes and metadata blocks.
    pub free: bool,
    /// All clusters in use, including the data of files.
    pub data: bool,
    /// The contents of unused parts of blocks, instead of zeros.
    pub unused: bool,
}

/// The result of the selection.
#[derive(Debug, Default)]
pub struct Selected {
    /// The blocks to save.
    pub blocks: Blocks,
    /// What could not be read or is damaged, and might have led to more blocks.
    pub problems: Vec<Error>,
    /// Zeros the unused parts of blocks.
    pub cleaner: Option<Cleaner>,
}

/// A list of ranges that is compacted while it grows.
#[derive(Default)]
struct Ranges(Vec<Range<u64>>);

impl Ranges {
    fn add(&mut self, first: Blkno, blocks: u64) {
        let range = first.0..first.0.saturating_add(blocks);
        match self.0.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => self.0.push(range),
        }
        if self.0.len().is_multiple_of(COLLECTED) {
            self.0 = Blocks::of(std::mem::take(&mut self.0), u64::MAX).ranges().to_vec();
        }
    }
}

/// Selects the blocks of `volume` to save. Revealing text in them is left to `scrambler`.
///
/// # Errors
/// [`Interrupted`]. Damage of the volume is reported in [`Selected::problems`]; everything else
/// that can be found is selected.
pub fn select(
    volume: &Volume,
    what: What,
    scrambler: Option<Arc<Scrambler>>,
    interrupt: &Interrupt,
) -> Result<Selected, Interrupted> {
    let mut ranges = Ranges::default();
    let mut problems = Vec::new();
    let geometry = volume.geometry();
    // The space before the first group belongs to no file; boot loaders are there.
    ranges.add(Blkno(0), volume.superblock().s_first_cluster_group.0.max(SUPERBLOCK_BLKNO.0) + 1);
    if volume.features().compat.contains(Compat::BACKUP_SB) {
        backup_blocks(geometry.block_size, geometry.blocks()).for_each(|at| ranges.add(at, 1));
    }
    let empty = if what.journals { BTreeMap::new() } else { empty_journals(volume) };
    let mut cleaner = (!what.unused).then(|| Cleaner::new(volume, scrambler));
    for run in volume.metadata() {
        interrupt.check()?;
        match run {
            Ok(run) => {
                ranges.add(run.blkno, saved(&run, &empty));
                if let Some(cleaner) = &mut cleaner {
                    cleaner.add(&run);
                }
            }
            Err(err) => problems.push(err),
        }
    }
    if what.free {
        problems.extend(add_groups(volume, &mut ranges));
    }
    if what.data {
        problems.extend(add_clusters(volume, &mut ranges, interrupt)?);
    }
    if let Some(cleaner) = &mut cleaner {
        cleaner.finish();
    }
    Ok(Selected { blocks: Blocks::of(ranges.0, geometry.blocks()), problems, cleaner })
}

/// Journals with nothing to replay: their inodes, with their first blocks. A journal that cannot be
/// read is saved entirely.
fn empty_journals(volume: &Volume) -> BTreeMap<Blkno, Blkno> {
    let journals = (0..volume.max_slots()).filter_map(|slot| volume.journal(slot).ok());
    let empty = journals.filter(|journal| journal.superblock.s_start == 0);
    empty.map(|journal| (journal.inode.blkno, journal.blkno)).collect()
}

/// Number of blocks of a run that are saved. For an empty log the first block, its superblock, is
/// enough.
fn saved(run: &MetadataRun, empty: &BTreeMap<Blkno, Blkno>) -> u64 {
    match empty.get(&run.owner).filter(|_| run.kind == MetadataKind::Journal) {
        Some(first) => u64::from(*first == run.blkno),
        None => run.blocks,
    }
}

/// Adds all blocks of the groups of inodes and metadata blocks. Returns the problems found.
fn add_groups(volume: &Volume, ranges: &mut Ranges) -> Vec<Error> {
    let of_slots = |slot| [SystemFile::InodeAlloc(slot), SystemFile::ExtentAlloc(slot)];
    let files = (0..volume.max_slots()).flat_map(of_slots);
    let mut problems = Vec::new();
    for file in std::iter::once(SystemFile::GlobalInodeAlloc).chain(files) {
        let file = volume.system_file(file);
        let allocator = match file.and_then(|inode| volume.allocator(inode)) {
            Ok(allocator) => allocator,
            Err(err) => {
                problems.push(err);
                continue;
            }
        };
        for group in volume.groups(&allocator) {
            match group {
                Ok(group) => {
                    group.runs.iter().for_each(|run| ranges.add(run.blkno, run.bits.into()))
                }
                Err(err) => problems.push(err),
            }
        }
    }
    problems
}

/// Adds all clusters that are in use according to the global bitmap. Returns the problems found.
fn add_clusters(
    volume: &Volume,
    ranges: &mut Ranges,
    interrupt: &Interrupt,
) -> Result<Vec<Error>, Interrupted> {
    let geometry = volume.geometry();
    let allocator = match volume.global_bitmap() {
        Ok(allocator) => allocator,
        Err(err) => return Ok(vec![err]),
    };
    let mut problems = Vec::new();
    for group in volume.groups(&allocator) {
        interrupt.check()?;
        let group = match group {
            Ok(group) => group,
            Err(err) => {
                problems.push(err);
                continue;
            }
        };
        let bitmap = group.bitmap();
        let used = (0..u32::from(group.desc.bg_bits)).filter(|bit| bitmap.get(*bit as usize));
        let clusters = used.filter_map(|bit| volume.cluster_of_bit(&group, bit));
        for Cluster(cluster) in clusters {
            let first = u64::from(cluster) << geometry.bpc_bits();
            ranges.add(Blkno(first), geometry.blocks_per_cluster().into());
        }
    }
    Ok(problems)
}
