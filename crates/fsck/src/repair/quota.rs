//! The quota files of a kind, rewritten with the known limits and the counted usage.

use std::collections::BTreeMap;

use ocfs2_format::extent::ExtentRec;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::quota::{
    GlobalInfo, LocalChunk, LocalInfo, QuotaEntry, QuotaHeader, QuotaKind, check_offset,
    local_blocks_per_chunk, local_chunk_block, local_entries_per_block,
};
use ocfs2_format::quota_tree::{add_free_blocks, pack_global};
use ocfs2_format::{Blkno, Structure};

use super::{EditError, Editor, tree};
use crate::clusters::ClusterSet;
use crate::read::holds::Holds;

/// What the quota files of a kind are to contain.
#[derive(Clone, Debug)]
pub struct QuotaFiles {
    /// Users or groups.
    pub kind: QuotaKind,
    /// The inode of the global file.
    pub global: Option<Blkno>,
    /// The inodes of the local files, one per slot.
    pub locals: Vec<Blkno>,
    /// Grace times and flags.
    pub info: GlobalInfo,
    /// The entries, by id.
    pub entries: BTreeMap<u32, QuotaEntry>,
}

/// Blocks kept beyond those that are needed: each has to be written, as a free one.
const MOST_SPARE: usize = 1 << 10;

impl QuotaFiles {
    /// Writes the local files, then the global one.
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
        let entries = self.entries.iter().map(|(id, it)| QuotaEntry { dqb_id: *id, ..*it });
        let entries: Vec<_> = entries.collect();
        let mut contents = pack_global(block_size, self.kind, self.info, &entries);
        let homes = blocks(editor, inode, contents.len())?;
        add_free_blocks(&mut contents, homes.len() as u32);
        write(editor, &homes, &contents)
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

/// The extents of a file up to the first one that shares a cluster with an earlier one.
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

/// The blocks of a quota file, at least `needed` ones: missing clusters are added. Of a file that
/// states many more, at most [`MOST_SPARE`] more are kept.
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
            // The length of an extent has 16 bits.
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
        editor.put_metadata(*blkno, block, offset)?;
    }
    Ok(())
}
