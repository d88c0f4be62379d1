//! Quota: what a slot had not yet told the global files, and what deleted inodes used.
//!
//! Only entries that are there are changed. A node has made one for every id it counts before it
//! counts, so that one that is missing is damage, and left to a check.

use ocfs2_format::bitmap::{Bitmap, BitmapMut};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::RoCompat;
use ocfs2_format::quota::{
    LeafHeader, LocalChunk, LocalEntry, LocalInfo, QuotaEntry, QuotaHeader, QuotaKind,
    check_offset, leaf_entries, local_blocks_per_chunk, local_chunk_block, local_entries_per_block,
    references, tree_depth, tree_index,
};
use ocfs2_format::{Blkno, Cpos, Structure};

use super::RecoveryError;
use super::stage::Stage;
use crate::tree::Tree;
use crate::{Error, Inode, Volume};

/// Changes of a slot that are merged in one step: each may change a block of its own.
const STEP: usize = 32;

/// More or less of what an id uses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Change {
    inodes: i64,
    bytes: i64,
}

/// A quota file, block by block.
struct QuotaFile<'v> {
    volume: &'v Volume,
    inode: Inode,
    tree: Tree<'v>,
}

impl<'v> QuotaFile<'v> {
    fn new(volume: &'v Volume, name: &str) -> Result<Self, Error> {
        let inode = volume.system_file(name)?;
        let tree = volume.tree(&inode)?;
        Ok(Self { volume, inode, tree })
    }

    fn blocks(&self) -> u32 {
        let blocks = self.inode.size() >> self.volume.block_size().bits();
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    fn read(&mut self, index: u32) -> Result<(Blkno, Vec<u8>), Error> {
        let bits = self.volume.geometry().bpc_bits();
        let extent = self.tree.map(Cpos(index >> bits))?.filter(|_| index < self.blocks());
        let extent = extent
            .ok_or_else(|| self.inode.invalid("l_next_free_rec", index, "no hole at this block"))?;
        let within = u64::from(index) - (u64::from(extent.cpos.0) << bits);
        let blkno = Blkno(extent.blkno.0 + within);
        let check = check_offset(self.volume.block_size());
        Ok((blkno, self.volume.read_metadata("quota block", blkno, check)?))
    }

    fn write(&self, blkno: Blkno, block: &[u8]) -> Result<(), Error> {
        self.volume.write_metadata(blkno, block, check_offset(self.volume.block_size()))
    }

    /// The leaf with the entry of an id, and where in it that is; for a global file.
    fn find(&mut self, id: u32) -> Result<(Blkno, Vec<u8>, usize), Error> {
        let size = self.volume.block_size();
        let mut at = 1;
        for level in 0..tree_depth(size) {
            let (_, block) = self.read(at)?;
            let digit = tree_index(size, id, level) as usize;
            at = references(&block).nth(digit).unwrap_or(0);
            if at <= 1 {
                return Err(self.inode.invalid("dqb_id", "missing", id));
            }
        }
        let (blkno, block) = self.read(at)?;
        let index = leaf_entries(&block).position(|entry| entry.is_used() && entry.dqb_id == id);
        let index = index.ok_or_else(|| self.inode.invalid("dqb_id", "missing", id))?;
        Ok((blkno, block, LeafHeader::SIZE + index * QuotaEntry::SIZE))
    }

    /// Changes what an id uses, which is never less than nothing; for a global file.
    fn add(&mut self, id: u32, change: Change) -> Result<(), Error> {
        if change == Change::default() {
            return Ok(());
        }
        let (blkno, mut block, offset) = self.find(id)?;
        let bytes = block.get_mut(offset..).unwrap_or_default();
        let mut entry = QuotaEntry::decode(bytes).map_err(Error::truncated(blkno))?;
        entry.dqb_curinodes = entry.dqb_curinodes.saturating_add_signed(change.inodes);
        entry.dqb_curspace = entry.dqb_curspace.saturating_add_signed(change.bytes);
        if !entry.is_used() {
            // All zero would mean that there is none.
            entry.dqb_itime = 1;
        }
        entry.encode(bytes).map_err(Error::truncated(blkno))?;
        self.write(blkno, &block)
    }
}

impl Volume {
    fn quota_kinds(&self) -> impl Iterator<Item = QuotaKind> + use<> {
        let features = self.features().ro_compat;
        let kinds = [(RoCompat::USRQUOTA, QuotaKind::User), (RoCompat::GRPQUOTA, QuotaKind::Group)];
        kinds.into_iter().filter(move |(feature, _)| features.contains(*feature)).map(|(_, k)| k)
    }

    /// Takes what an inode no longer has from its owner and its group. Where the quota files
    /// are damaged nothing is done.
    pub(super) fn discharge(
        &self,
        dinode: &Dinode,
        inodes: u32,
        clusters: u32,
    ) -> Result<(), Error> {
        let bytes = i64::from(clusters) << self.geometry().cluster_size.bits();
        let change = Change { inodes: -i64::from(inodes), bytes: -bytes };
        for kind in self.quota_kinds() {
            let id = match kind {
                QuotaKind::User => dinode.i_uid,
                QuotaKind::Group => dinode.i_gid,
            };
            let file = QuotaFile::new(self, kind.file_name());
            let added = file.and_then(|mut file| file.add(id, change));
            if let Err(err @ Error::Write { .. }) = added {
                return Err(err);
            }
        }
        Ok(())
    }

    /// Whether the quota file of a slot is as large as it says: it has each of its clusters once.
    fn verify_quota_extents(&self, slot: u16, kind: QuotaKind) -> Result<(), Error> {
        let inode = self.slot_file(kind.file_name(), slot)?;
        let mut clusters = 0_u64;
        for extent in self.tree(&inode)?.extents() {
            clusters += u64::from(extent?.clusters);
        }
        let bytes = clusters << self.geometry().cluster_size.bits();
        if inode.size() > bytes {
            return Err(inode.invalid("i_size", inode.size(), format!("at most {bytes}")));
        }
        Ok(())
    }

    /// Merges some of the changes in the quota file of a slot into the global one, from
    /// `next_chunk` on, which is moved on; says whether that were all, and the file is marked as clean.
    fn merge_quota(
        &self,
        slot: u16,
        kind: QuotaKind,
        next_chunk: &mut u32,
    ) -> Result<bool, RecoveryError> {
        let mut local = QuotaFile::new(self, &format!("{}:{slot:04}", kind.file_name()))?;
        let (blkno, mut block) = local.read(0)?;
        let header = QuotaHeader::decode(&block).map_err(Error::truncated(blkno))?;
        header.verify(blkno, kind.local_magic()).map_err(Error::from)?;
        let info = block.get_mut(QuotaHeader::SIZE..).unwrap_or_default();
        let mut local_info = LocalInfo::decode(info).map_err(Error::truncated(blkno))?;
        if local_info.dqi_flags & LocalInfo::CLEAN != 0 {
            return Ok(true);
        }
        let verified = local_info.verify(blkno, self.block_size(), local.blocks());
        verified.map_err(Error::from)?;
        let mut global = QuotaFile::new(self, kind.file_name())?;
        let mut room = STEP;
        for chunk in *next_chunk..local_info.dqi_chunks {
            *next_chunk = chunk;
            room -= self.merge_chunk(&mut local, &mut global, chunk, room)?;
            if room == 0 {
                return Ok(false);
            }
        }
        local_info.dqi_flags |= LocalInfo::CLEAN;
        local_info.encode(info).map_err(Error::truncated(blkno))?;
        local.write(blkno, &block)?;
        Ok(true)
    }

    /// Merges at most `room` changes of a chunk and says how many there were.
    fn merge_chunk(
        &self,
        local: &mut QuotaFile<'_>,
        global: &mut QuotaFile<'_>,
        chunk: u32,
        room: usize,
    ) -> Result<usize, Error> {
        let size = self.block_size();
        let start = u32::try_from(local_chunk_block(size, chunk)).unwrap_or(u32::MAX);
        let (blkno, mut block) = local.read(start)?;
        let per_block = local_entries_per_block(size);
        let data = local.blocks().saturating_sub(start.saturating_add(1));
        let bits = (data.min(local_blocks_per_chunk(size)) * per_block) as usize;
        let mut header = LocalChunk::decode(&block).map_err(Error::truncated(blkno))?;
        let bitmap = Bitmap::new(block.get(LocalChunk::SIZE..).unwrap_or_default(), bits);
        let used: Vec<usize> = bitmap.runs(true).flatten().take(room).collect();
        for bit in &used {
            let index = start + 1 + *bit as u32 / per_block;
            let (blkno, block) = local.read(index)?;
            let entry = block.get(bit % per_block as usize * LocalEntry::SIZE..);
            let entry = LocalEntry::decode(entry.unwrap_or_default());
            let entry = entry.map_err(Error::truncated(blkno))?;
            let id = u32::try_from(entry.dqb_id);
            let id = id.map_err(|_| local.inode.invalid("dqb_id", entry.dqb_id, "32 bits"))?;
            let change = Change { inodes: entry.dqb_inodemod, bytes: entry.dqb_spacemod };
            global.add(id, change)?;
        }
        if !used.is_empty() {
            let bytes = block.get_mut(LocalChunk::SIZE..).unwrap_or_default();
            let mut bitmap = BitmapMut::new(bytes, bits);
            used.iter().for_each(|bit| bitmap.clear_range(*bit, 1));
            header.dqc_free = header.dqc_free.saturating_add(used.len() as u32);
            header.encode(&mut block).map_err(Error::truncated(blkno))?;
            local.write(blkno, &block)?;
        }
        Ok(used.len())
    }
}

impl Stage<'_> {
    /// Merges what the quota files of a slot hold. Damaged ones stay as they are.
    pub fn merge_quota(
        &mut self,
        slot: u16,
        volume: &Volume,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), RecoveryError> {
        for kind in volume.quota_kinds() {
            if volume.verify_quota_extents(slot, kind).is_err() {
                continue;
            }
            let mut next_chunk = 0;
            // Each step takes some changes away, so that it ends.
            loop {
                if interrupted() {
                    self.write()?;
                    return Err(RecoveryError::Interrupted);
                }
                match self.step(|volume| volume.merge_quota(slot, kind, &mut next_chunk)) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(err) if err.is_fatal() => return Err(err),
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }
}
