//! The quota files of a kind, rewritten: the limits that are known, and the usage that was
//! counted.

use std::collections::BTreeMap;

use ocfs2_format::extent::ExtentRec;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::quota::{
    GlobalInfo, LeafHeader, LocalChunk, LocalInfo, QuotaEntry, QuotaHeader, QuotaKind,
    check_offset, local_blocks_per_chunk, local_chunk_block, local_entries_per_block, tree_depth,
    tree_index, usable_size,
};
use ocfs2_format::{Blkno, BlockSize, Structure};

use super::{EditError, Editor, tree};
use crate::clusters::ClusterSet;
use crate::extents::Holds;

/// What the quota files of a kind are to hold.
#[derive(Clone, Debug)]
pub struct QuotaFiles {
    /// Users or groups.
    pub kind: QuotaKind,
    /// The inode of the global file.
    pub global: Option<Blkno>,
    /// The inodes of the files of the slots.
    pub locals: Vec<Blkno>,
    /// Grace times and the like.
    pub info: GlobalInfo,
    /// The entries, by id.
    pub entries: BTreeMap<u32, QuotaEntry>,
}

/// Blocks that are kept beside those that are needed: each is written, as a free one.
const MOST_SPARE: usize = 1 << 10;
/// The first block of the tree.
const ROOT: u32 = 1;

impl QuotaFiles {
    /// Writes them.
    ///
    /// # Errors
    /// There is no room; they cannot be written.
    pub fn write(&self, editor: &mut Editor<'_>) -> Result<(), EditError> {
        for local in &self.locals {
            self.write_local(editor, *local)?;
        }
        self.global.map_or(Ok(()), |global| self.write_global(editor, global))
    }

    fn write_global(&self, editor: &mut Editor<'_>, inode: Blkno) -> Result<(), EditError> {
        let block_size = editor.volume().block_size();
        let mut contents = Global::new(block_size, self);
        let homes = blocks(editor, inode, contents.blocks.len())?;
        contents.finish(homes.len() as u32, self);
        write(editor, &homes, &contents.blocks)
    }

    fn write_local(&self, editor: &mut Editor<'_>, inode: Blkno) -> Result<(), EditError> {
        let block_size = editor.volume().block_size();
        let homes = blocks(editor, inode, 2)?;
        let count = homes.len() as u32;
        let mut contents = vec![vec![0; block_size.size()]; homes.len()];
        let per_chunk = local_blocks_per_chunk(block_size);
        let mut chunks = 0;
        while let Ok(start) = u32::try_from(local_chunk_block(block_size, chunks))
            && start < count
        {
            let data = (count - start - 1).min(per_chunk);
            let dqc_free = data * local_entries_per_block(block_size);
            if let Some(block) = contents.get_mut(start as usize) {
                let _ = LocalChunk { dqc_free }.encode(block);
            }
            chunks += 1;
        }
        if let Some(first) = contents.first_mut() {
            let dqh_magic = self.kind.local_magic();
            let _ = QuotaHeader { dqh_magic, dqh_version: 0 }.encode(first);
            let dqi_flags = LocalInfo::CLEAN;
            let info = LocalInfo { dqi_flags, dqi_chunks: chunks, dqi_blocks: count };
            let _ = info.encode(first.get_mut(QuotaHeader::SIZE..).unwrap_or_default());
        }
        write(editor, &homes, &contents)
    }
}

/// The extents of a file up to the first that has a cluster of one before it.
fn own_extents<'a>(extents: &'a [ExtentRec], geometry: &Geometry) -> &'a [ExtentRec] {
    let mut seen = ClusterSet::default();
    let is_own = |rec: &ExtentRec| {
        let start = geometry.cluster_of(rec.e_blkno).unwrap_or_default().0;
        let mut is_new = true;
        seen.insert(start..start.saturating_add(rec.e_leaf_clusters().into()), |_| is_new = false);
        is_new
    };
    let count = extents.iter().map(is_own).take_while(|it| *it).count();
    extents.get(..count).unwrap_or_default()
}

/// The blocks of a quota file, of which there have to be at least so many. Of a file that says it
/// has many more only some are kept.
fn blocks(editor: &mut Editor<'_>, blkno: Blkno, needed: usize) -> Result<Vec<Blkno>, EditError> {
    let geometry = *editor.volume().geometry();
    loop {
        let inode = editor.inode(blkno)?;
        let gathered = tree::gather(editor.volume(), blkno, inode.id2(), Holds::Dense, false)?;
        let own = own_extents(&gathered.extents, &geometry);
        let stored = own.iter().map(|rec| usize::from(rec.e_leaf_clusters())).sum::<usize>();
        let stored = stored << geometry.bpc_bits();
        if stored >= needed {
            let stated = usize::try_from(inode.size() >> geometry.block_size.bits());
            let most = stored.min(needed + MOST_SPARE);
            let used = stated.unwrap_or(usize::MAX).clamp(needed, most);
            let bytes = (used as u64) << geometry.block_size.bits();
            editor.dinode(blkno, |dinode, _| dinode.i_size = bytes)?;
            let blocks = own.iter().flat_map(|rec| {
                let count = u64::from(rec.e_leaf_clusters()) << geometry.bpc_bits();
                (rec.e_blkno.0..rec.e_blkno.0.saturating_add(count)).map(Blkno)
            });
            return Ok(blocks.take(used).collect());
        }
        if own.len() < gathered.extents.len() {
            let why = "it has a cluster twice, and too little room before that".to_owned();
            return Err(EditError::Impossible(why));
        }
        let missing = (needed - stored).div_ceil(geometry.blocks_per_cluster() as usize);
        for run in editor.take_clusters(missing as u32)? {
            // No extent is longer.
            for start in run.clone().step_by(u16::MAX.into()) {
                let count = u16::try_from(run.end - start).unwrap_or(u16::MAX);
                tree::append(editor, blkno, Holds::Dense, start, count)?;
            }
        }
    }
}

fn write(editor: &mut Editor<'_>, homes: &[Blkno], contents: &[Vec<u8>]) -> Result<(), EditError> {
    let offset = check_offset(editor.volume().block_size());
    for (blkno, block) in homes.iter().zip(contents) {
        editor.volume().write_metadata(*blkno, block, offset)?;
    }
    Ok(())
}

/// The blocks of a global file.
struct Global {
    block_size: BlockSize,
    blocks: Vec<Vec<u8>>,
    /// The leaves, with the entries each has.
    leaves: Vec<(u32, usize)>,
    room: usize,
}

impl Global {
    fn new(block_size: BlockSize, files: &QuotaFiles) -> Self {
        let room = usable_size(block_size).saturating_sub(LeafHeader::SIZE) / QuotaEntry::SIZE;
        let mut global = Self { block_size, blocks: Vec::new(), leaves: Vec::new(), room };
        global.add();
        global.add();
        let mut inner: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let entries: Vec<_> = files.entries.iter().collect();
        for part in entries.chunks(room.max(1)) {
            let leaf = global.add();
            global.leaves.push((leaf, part.len()));
            for (slot, (id, entry)) in part.iter().enumerate() {
                let entry = QuotaEntry { dqb_id: **id, ..**entry };
                let at = LeafHeader::SIZE + slot * QuotaEntry::SIZE;
                if let Some(bytes) = global.block(leaf).get_mut(at..) {
                    let _ = entry.encode(bytes);
                }
                global.refer(**id, leaf, &mut inner);
            }
        }
        global
    }

    fn add(&mut self) -> u32 {
        self.blocks.push(vec![0; self.block_size.size()]);
        self.blocks.len() as u32 - 1
    }

    fn block(&mut self, index: u32) -> &mut [u8] {
        self.blocks.get_mut(index as usize).map(|block| &mut block[..]).unwrap_or_default()
    }

    /// Lets the tree lead from its root to the leaf of an id.
    fn refer(&mut self, id: u32, leaf: u32, inner: &mut BTreeMap<(u32, u32), u32>) {
        let depth = tree_depth(self.block_size);
        let mut at = ROOT;
        for level in 0..depth {
            let digit = tree_index(self.block_size, id, level);
            let next = match level + 1 == depth {
                true => leaf,
                false => match inner.get(&(at, digit)) {
                    Some(next) => *next,
                    None => {
                        let next = self.add();
                        inner.insert((at, digit), next);
                        next
                    }
                },
            };
            let place = digit as usize * 4;
            if let Some(bytes) = self.block(at).get_mut(place..place + 4) {
                bytes.copy_from_slice(&next.to_le_bytes());
            }
            at = next;
        }
    }

    /// Headers and lists, for a file of so many blocks.
    fn finish(&mut self, count: u32, files: &QuotaFiles) {
        let used = self.blocks.len() as u32;
        let with_room: Vec<u32> =
            self.leaves.iter().filter(|(_, used)| *used < self.room).map(|it| it.0).collect();
        for (index, entries) in self.leaves.clone() {
            let at = with_room.iter().position(|leaf| *leaf == index);
            let near =
                |at: Option<usize>| at.and_then(|at| with_room.get(at)).copied().unwrap_or(0);
            let header = LeafHeader {
                dqdh_next_free: near(at.map(|at| at + 1)),
                dqdh_prev_free: near(at.and_then(|at| at.checked_sub(1))),
                dqdh_entries: entries as u16,
                ..LeafHeader::default()
            };
            let _ = header.encode(self.block(index));
        }
        for index in used..count {
            let next = if index + 1 < count { index + 1 } else { 0 };
            let free = self.add();
            let header = LeafHeader { dqdh_next_free: next, ..LeafHeader::default() };
            let _ = header.encode(self.block(free));
        }
        let info = GlobalInfo {
            dqi_blocks: count,
            dqi_free_blk: if used < count { used } else { 0 },
            dqi_free_entry: with_room.first().copied().unwrap_or(0),
            ..files.info
        };
        let first = self.block(0);
        let dqh_magic = files.kind.global_magic();
        let _ = QuotaHeader { dqh_magic, dqh_version: 0 }.encode(first);
        let _ = info.encode(first.get_mut(QuotaHeader::SIZE..).unwrap_or_default());
    }
}
