//! Directories whose inodes are gone while blocks of them are left.
//!
//! Such a block is in a cluster that is in use and has no owner. Its trailer, or its `.`, states the
//! inode of the directory. If that inode is not in use, and what the block names has no name
//! otherwise, or an entry still leads to the directory, the inode is made again in its place, with
//! the clusters of these blocks.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use ocfs2_format::dinode::{Dinode, FileKind};
use ocfs2_format::dir::FileType;
use ocfs2_format::{Blkno, Cluster, Structure};
use ocfs2_volume::allocator::Suballocated;

use super::{Directories, Known};
use crate::codes::directories as codes;
use crate::read::dir_block::{self, Owned};
use crate::repair::Repair;
use crate::repair::lost_directory::{self, Clusters};
use crate::state::State;
use crate::system_files::SystemFiles;
use crate::tables::inodes::InodeTable;
use crate::tables::suballocs::Suballocs;
use crate::{Context, Finding, Place, Stop};

/// Bytes that are read at once.
const PIECE: u32 = 1 << 20;
/// Blocks that are kept.
const MOST_BLOCKS: usize = 1 << 18;
/// Inodes that blocks of a directory name, of which it is asked whether they lack a name.
const MOST_NAMED: usize = 64;

/// A block of a directory whose inode is gone.
#[derive(Clone, Debug)]
struct Block {
    blkno: Blkno,
    parent: Option<Blkno>,
    /// The first inodes in use that it names.
    named: Vec<Blkno>,
}

/// Directories whose inodes are gone, with their blocks in the order of the volume.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(BTreeMap<Blkno, Vec<Block>>);

/// An entry that leads to a directory whose inode is gone.
#[derive(Debug)]
pub(super) struct Leading {
    pub to: Blkno,
    /// The finding if the directory is not made again.
    pub finding: Finding,
}

impl Lost {
    /// Whether blocks of a directory were found.
    pub fn contains(&self, dir: Blkno) -> bool {
        self.0.contains_key(&dir)
    }

    /// Searches clusters that have no owner. What comes back with a group that is not linked yet is
    /// not searched for.
    ///
    /// # Errors
    /// [`Stop`] if the check was interrupted.
    pub fn search(
        context: &Context<'_>,
        state: &State<'_>,
        (suballocs, inodes, system): (&Suballocs, &InodeTable, &SystemFiles),
        unowned: &[Range<u32>],
    ) -> Result<Self, Stop> {
        let mut lost = Self::default();
        if state.lost_groups || state.unlinked_groups {
            return Ok(lost);
        }
        let volume = context.volume;
        let (geometry, size) = (context.geometry(), volume.block_size().size());
        let most = u64::from(PIECE) / size as u64;
        let mut kept = 0;
        for run in unowned {
            let (mut at, end) =
                (geometry.block_of(Cluster(run.start)).0, geometry.block_of(Cluster(run.end)).0);
            while at < end {
                context.check_interrupt()?;
                let count = u32::try_from((end - at).min(most)).unwrap_or(1);
                let mut bytes = vec![0; size * count as usize];
                if volume.read_into("directory block", Blkno(at), &mut bytes).is_err() {
                    // Each block by itself; what cannot be read stays zeros.
                    bytes.fill(0);
                    for (blkno, block) in (at..).zip(bytes.chunks_exact_mut(size)) {
                        if let Ok(read) = volume.read_block(Blkno(blkno)) {
                            block.copy_from_slice(&read);
                        }
                    }
                }
                for (blkno, block) in (at..).map(Blkno).zip(bytes.chunks_exact_mut(size)) {
                    let Some(owned) = dir_block::owned(volume, blkno, block) else { continue };
                    for entry in dir_block::names(block.get(..owned.area).unwrap_or_default()) {
                        let is_directory = entry.file_type() == Some(FileType::Directory);
                        let inode = entry.header.inode;
                        if is_directory || inodes.find(suballocs, inode).is_some() {
                            context.options.last_names.note(inode, entry.name, owned.dir);
                        }
                    }
                    if kept < MOST_BLOCKS
                        && home(suballocs, owned.dir).is_some()
                        && inodes.find(suballocs, owned.dir).is_none()
                    {
                        kept += 1;
                        lost.add(blkno, owned, block, (suballocs, inodes));
                    }
                }
                at += u64::from(count);
            }
        }
        for blocks in lost.0.values_mut() {
            blocks.sort_unstable_by_key(|block| block.blkno);
            blocks.dedup_by_key(|block| block.blkno);
        }
        // These are made again in another way.
        let system_dir = volume.superblock().s_system_dir_blkno;
        lost.0.retain(|dir, _| *dir != system_dir && !system.names(*dir));
        Ok(lost)
    }

    fn add(
        &mut self,
        blkno: Blkno,
        owned: Owned,
        block: &[u8],
        (suballocs, inodes): (&Suballocs, &InodeTable),
    ) {
        let names = dir_block::names(block.get(..owned.area).unwrap_or_default());
        let named = names.map(|entry| entry.header.inode);
        let named = named.filter(|inode| inodes.find(suballocs, *inode).is_some());
        let named = named.take(MOST_NAMED).collect();
        let block = Block { blkno, parent: owned.parent, named };
        self.0.entry(owned.dir).or_default().push(block);
    }

    /// Reports the directories that are to be made again, and entries that lead to others. Returns
    /// the repair of the root, if it is one of them.
    pub fn settle(
        self,
        context: &Context<'_>,
        state: &mut State<'_>,
        directories: &Directories,
        leading: Vec<Leading>,
    ) -> Option<Repair> {
        let root = context.volume.superblock().s_root_blkno;
        let named: HashSet<Blkno> = leading.iter().map(|it| it.to).collect();
        let waiting: HashSet<Blkno> =
            directories.orphans.iter().map(|orphan| orphan.inode).collect();
        let mut made = BTreeSet::new();
        // What is below a directory that comes back has its name from there.
        let mut again: Vec<(Blkno, Vec<Block>)> = Vec::new();
        for (dir, blocks) in self.0 {
            let blocks = of_one(state, directories, &waiting, blocks);
            let first = blocks.iter().find_map(|block| block.parent);
            let is_missed = blocks
                .iter()
                .flat_map(|block| &block.named)
                .any(|inode| lacks_name(state, directories, &waiting, *inode));
            if is_missed || dir == root || named.contains(&dir) && first.is_some() {
                made.insert(dir);
                again.push((dir, blocks));
            }
        }
        for Leading { to, finding } in leading {
            if !made.contains(&to) {
                state.found(finding);
            }
        }
        let mut of_root = None;
        for (dir, blocks) in again {
            let Some(home) = home(&state.suballocs, dir) else { continue };
            let clusters = clusters(context, &blocks);
            let repair = lost_directory::make(home, clusters);
            if dir == root {
                of_root = Some(repair);
                continue;
            }
            let text = format!(
                "directory {dir}: its inode is gone, blocks with its entries are left: {}",
                blocks.len()
            );
            let finding = Finding::new(codes::DIR_INODE_LOST, Place::inode(dir), text);
            state.found(finding.repaired_by(repair));
        }
        of_root
    }
}

/// Where the inode of a directory is allocated.
fn home(suballocs: &Suballocs, dir: Blkno) -> Option<Suballocated> {
    let at = suballocs.find(dir).filter(|at| at.bit > 0)?;
    let group = suballocs.group(at).filter(|group| group.suballoc.holds_inodes())?;
    let (slot, bit) = (group.suballoc.slot(), u16::try_from(at.bit).ok()?);
    let (structure, loc) = (Dinode::NAME, group.blkno);
    Some(Suballocated { structure, blkno: dir, slot, bit, loc })
}

/// Returns the blocks without those of an older directory of that number: of several first blocks,
/// that one stays which names most of what has no name otherwise.
fn of_one(
    state: &State<'_>,
    directories: &Directories,
    waiting: &HashSet<Blkno>,
    mut blocks: Vec<Block>,
) -> Vec<Block> {
    let firsts = blocks.iter().filter(|block| block.parent.is_some());
    let worth = |block: &&Block| {
        let lacking = block.named.iter();
        lacking.filter(|inode| lacks_name(state, directories, waiting, **inode)).count()
    };
    let Some(best) = firsts.max_by_key(worth).map(|block| block.blkno) else { return blocks };
    blocks.retain(|block| block.parent.is_none() || block.blkno == best);
    blocks
}

/// Whether an inode in use has fewer names than it states.
fn lacks_name(
    state: &State<'_>,
    directories: &Directories,
    waiting: &HashSet<Blkno>,
    inode: Blkno,
) -> bool {
    let Some(at) = state.suballocs.find(inode) else { return false };
    let Some(facts) = state.inodes.get(at).filter(|it| it.in_use && !it.is_system) else {
        return false;
    };
    if waiting.contains(&inode) {
        return false;
    }
    match facts.kind {
        Some(FileKind::Directory) => {
            directories.parents.get(&inode).is_some_and(|parent| parent.entry_in.is_none())
        }
        _ => !facts.claims.is_deleted() && state.references.get(at) < facts.links,
    }
}

/// The clusters of a directory, in an order in which they can be its contents: the one with its
/// first block first, and last the one that its blocks do not fill.
fn clusters(context: &Context<'_>, blocks: &[Block]) -> Clusters {
    let geometry = context.geometry();
    let per_cluster = u64::from(geometry.blocks_per_cluster());
    let mut all: BTreeMap<u32, (bool, u64)> = BTreeMap::new();
    for block in blocks {
        let Some(cluster) = geometry.cluster_of(block.blkno) else { continue };
        let within = block.blkno.0.saturating_sub(geometry.block_of(cluster).0) + 1;
        let entry = all.entry(cluster.0).or_insert((false, 0));
        entry.0 |= block.parent.is_some();
        entry.1 = entry.1.max(within);
    }
    let mut ordered: Vec<_> = all.into_iter().collect();
    ordered
        .sort_by_key(|(cluster, (is_first, filled))| (!is_first, *filled < per_cluster, *cluster));
    let last = ordered.last().map_or(0, |(_, (_, filled))| *filled);
    Clusters { clusters: ordered.into_iter().map(|(cluster, _)| cluster).collect(), last }
}

impl Known<'_> {
    /// Whether an entry leads to a directory whose inode is gone and whose blocks are left.
    pub(super) fn is_lost_directory(&self, target: Blkno, kind: Option<FileKind>) -> bool {
        kind == Some(FileKind::Directory) && self.lost.contains(target)
    }
}
