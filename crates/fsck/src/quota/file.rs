//! A quota file, read block by block.

use ocfs2_format::quota;
use ocfs2_format::{Blkno, BlockSize};
use ocfs2_volume::tree::Extent;
use ocfs2_volume::{Inode, SystemFile};

use crate::clusters::ClusterSet;
use crate::codes::{Code, inodes as codes};
use crate::repair::Repair;
use crate::system_files::{block_of, extents_of};
use crate::{Context, Finding, Place};

/// A quota file. Its blocks are numbered from 0.
pub struct QuotaFile<'a> {
    context: &'a Context<'a>,
    inode: Inode,
    extents: Vec<Extent>,
    name: String,
    slot: Option<u16>,
}

/// A block of a quota file.
pub struct QuotaBlock {
    pub blkno: Blkno,
    pub bytes: Vec<u8>,
    /// Why the checksum does not hold; `None` if it does.
    pub bad_check: Option<String>,
}

impl<'a> QuotaFile<'a> {
    pub fn new(context: &'a Context<'a>, file: SystemFile, inode: Inode) -> Self {
        // No cluster twice: otherwise blocks that are the same would have different numbers.
        let (mut seen, bits) = (ClusterSet::default(), context.geometry().bpc_bits());
        let mut extents = extents_of(context, &inode);
        extents.retain(|extent| {
            let Ok(start) = u32::try_from(extent.blkno.0 >> bits) else { return false };
            let mut is_new = true;
            let end = start.saturating_add(extent.clusters.into());
            seen.insert(start..end, |_| is_new = false);
            is_new
        });
        Self { context, inode, extents, name: file.name(), slot: file.slot() }
    }

    pub fn block_size(&self) -> BlockSize {
        self.context.volume.block_size()
    }

    /// Returns the bytes per cluster.
    pub fn cluster_bytes(&self) -> i64 {
        self.context.geometry().cluster_size.bytes().into()
    }

    /// Returns the number of blocks by the size of the file, at most up to the end of its last
    /// extent, and at most twice those that are stored. A quota file has no holes: with the second
    /// limit a wrong position does not add millions of blocks.
    pub fn blocks(&self) -> u32 {
        let bits = self.context.geometry().bpc_bits();
        let end = self.extents.last().map_or(0, Extent::end) << bits;
        let stored = self.extents.iter().map(|it| u64::from(it.clusters) << bits).sum::<u64>();
        let size = self.inode.dinode.i_size >> self.block_size().bits();
        let blocks = size.min(end).min(stored.saturating_mul(2));
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    /// Returns the finding that the file is shorter than `blocks`, for which it has clusters.
    pub fn cut(&self, blocks: u32) -> Option<Finding> {
        let (inode, size) = (self.inode.blkno, self.inode.dinode.i_size);
        let bits = self.context.geometry().bpc_bits();
        let stored = self.extents.iter().map(|it| u64::from(it.clusters) << bits).sum::<u64>();
        let expected = u64::from(blocks) << self.block_size().bits();
        if size >= expected || u64::from(blocks) > stored {
            return None;
        }
        let text = format!("i_size is {size}, it has {blocks} blocks by its header");
        let finding = self.finding(codes::INODE_SIZE, None, text);
        let repair = Repair::dinode(inode, move |dinode, _| dinode.i_size = expected);
        Some(finding.repaired_by(repair))
    }

    /// Reads a block; `None` if the file has none there, or it cannot be read, which is a finding.
    pub fn read(&self, index: u32, findings: &mut Vec<Finding>) -> Option<QuotaBlock> {
        let blkno = block_of(self.context, &self.extents, index.into())?;
        let check_offset = quota::check_offset(self.block_size());
        match self.context.read("quota block", blkno, check_offset) {
            Ok(block) => Some(QuotaBlock { blkno, bytes: block.bytes, bad_check: block.bad_check }),
            Err(finding) => {
                let place = finding.place.clone().of(self.inode.blkno);
                findings.push(Finding { place, ..finding });
                None
            }
        }
    }

    /// A finding about the file or one of its blocks.
    pub fn finding(
        &self,
        code: &'static Code,
        blkno: Option<Blkno>,
        text: impl std::fmt::Display,
    ) -> Finding {
        let mut place = Place::inode(self.inode.blkno).named(self.name.as_bytes());
        place.block = blkno.map(|blkno| blkno.0);
        place.slot = self.slot;
        Finding::new(code, place, format_args!("{}: {text}", self.name))
    }
}
