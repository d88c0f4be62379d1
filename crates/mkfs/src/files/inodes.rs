//! Inodes and other blocks that come from suballocators.

use std::io;

use ocfs2_device::Device;
use ocfs2_format::dinode::{Dinode, FileKind, InodeFlags};
use ocfs2_format::{Blkno, Block};

use super::attributes::Stored;
use super::{Attributes, Files, FillError};
use crate::suballocator::Suballocated;

/// Collects the blocks of one group, which are handed out in order, for a single write. Blocks that
/// arrive later, such as those of directories, are written individually.
pub(super) struct GroupWriter<'a> {
    device: &'a dyn Device,
    block_size: usize,
    /// Descriptor of the group, and the first block in `bytes`.
    group: Blkno,
    start: Blkno,
    bytes: Vec<u8>,
}

impl<'a> GroupWriter<'a> {
    pub(super) fn new(device: &'a dyn Device, block_size: usize) -> Self {
        Self { device, block_size, group: Blkno(0), start: Blkno(0), bytes: Vec::new() }
    }

    pub(super) fn put(&mut self, place: Suballocated, block: &[u8]) -> io::Result<()> {
        if place.loc > self.group {
            self.finish()?;
            (self.group, self.start) = (place.loc, place.blkno);
        }
        if place.loc != self.group || place.blkno < self.start {
            return self.device.write_at(block, place.blkno.0 * self.block_size as u64);
        }
        let at = (place.blkno.0 - self.start.0) as usize * self.block_size;
        let end = at + self.block_size;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(block);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        if !self.bytes.is_empty() {
            let offset = self.start.0 * self.block_size as u64;
            self.device.reserve(offset, self.bytes.len() as u64)?;
            self.device.write_at(&self.bytes, offset)?;
        }
        self.bytes.clear();
        Ok(())
    }
}

impl Files<'_> {
    /// An inode without contents and with one link.
    pub(super) fn new_dinode(
        &self,
        place: Suballocated,
        attributes: &Attributes,
        kind: FileKind,
        xattrs: &Stored,
    ) -> Dinode {
        let layout = &self.plan.layout;
        let mut dinode = Dinode {
            i_signature: Dinode::SIGNATURE,
            i_generation: layout.generation.wrapping_add(place.blkno.0 as u32),
            i_suballoc_slot: 0,
            i_suballoc_bit: place.bit,
            i_suballoc_loc: place.loc,
            i_uid: attributes.uid,
            i_gid: attributes.gid,
            i_mode: kind.mode_bits() | attributes.permissions & 0o7777,
            i_links_count: 1,
            i_flags: InodeFlags::VALID.bits(),
            i_atime: attributes.mtime.seconds as u64,
            i_ctime: layout.time,
            i_mtime: attributes.mtime.seconds as u64,
            i_atime_nsec: attributes.mtime.nanoseconds,
            i_mtime_nsec: attributes.mtime.nanoseconds,
            i_blkno: place.blkno,
            i_fs_generation: layout.generation,
            ..Default::default()
        };
        xattrs.mark(&mut dinode);
        dinode
    }

    /// Bytes for contents in an inode.
    pub(super) fn id2_size(&self, xattrs: &Stored) -> usize {
        self.plan.layout.block_size() - Dinode::ID2_OFFSET - xattrs.inline().len()
    }

    /// Writes an inode. `id2` excludes the attribute area.
    pub(super) fn put_inode(
        &mut self,
        place: Suballocated,
        dinode: &Dinode,
        id2: &[u8],
        xattrs: &Stored,
    ) -> Result<(), FillError> {
        use ocfs2_format::Structure;

        let mut block = vec![0; self.plan.layout.block_size()];
        dinode.encode(&mut block)?;
        block[Dinode::ID2_OFFSET..][..id2.len()].copy_from_slice(id2);
        let start = block.len() - xattrs.inline().len();
        block[start..].copy_from_slice(xattrs.inline());
        self.plan.stamp::<Dinode>(&mut block);
        self.plan.usage.charge(dinode, self.plan.layout.cluster_size());
        self.inodes.put(place, &block)?;
        Ok(())
    }
}
