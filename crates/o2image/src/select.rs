//! What of a volume is saved.

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

/// Ranges that are collected before those that touch become one.
const COLLECTED: usize = 1 << 16;

/// What is saved besides what the metadata consists of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct What {
    /// Journals with nothing to replay, and their free part.
    pub journals: bool,
    /// Free blocks of the allocators of inodes and blocks.
    pub free: bool,
    /// All clusters in use: the data of files, too.
    pub data: bool,
    /// Unused parts of blocks as they are, and not as zeros.
    pub unused: bool,
}

/// What was selected.
#[derive(Debug, Default)]
pub struct Selected {
    /// The blocks.
    pub blocks: Blocks,
    /// What could not be read or is wrong, and may have led to more.
    pub problems: Vec<Error>,
    /// What makes the unused parts of blocks zeros.
    pub cleaner: Option<Cleaner>,
}

/// Ranges that grow in number more slowly than what is added.
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

/// Selects the blocks of `volume` to be saved; what tells something in them is left to `scrambler`.
///
/// # Errors
/// [`Interrupted`]. What is wrong with the volume is in [`Selected::problems`]; what can be found
/// besides is selected.
pub fn select(
    volume: &Volume,
    what: What,
    scrambler: Option<Arc<Scrambler>>,
    interrupt: &Interrupt,
) -> Result<Selected, Interrupted> {
    let mut ranges = Ranges::default();
    let mut problems = Vec::new();
    let geometry = volume.geometry();
    // What is before the first group belongs to nobody; boot loaders are there.
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

/// The journals with nothing to replay: their inodes, and their first blocks. One that cannot be
/// read is saved whole.
fn empty_journals(volume: &Volume) -> BTreeMap<Blkno, Blkno> {
    let journals = (0..volume.max_slots()).filter_map(|slot| volume.journal(slot).ok());
    let empty = journals.filter(|journal| journal.superblock.s_start == 0);
    empty.map(|journal| (journal.inode.blkno, journal.blkno)).collect()
}

/// How many blocks of a run are saved. Of an empty log the first block, its superblock, says all.
fn saved(run: &MetadataRun, empty: &BTreeMap<Blkno, Blkno>) -> u64 {
    match empty.get(&run.owner).filter(|_| run.kind == MetadataKind::Journal) {
        Some(first) => u64::from(*first == run.blkno),
        None => run.blocks,
    }
}

/// Adds all blocks of the groups of inodes and blocks; gives what is wrong.
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

/// Adds all clusters that the global bitmap says are in use; gives what is wrong.
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
