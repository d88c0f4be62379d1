//! Contents of regular files, symbolic links and device nodes.

use std::io;
use std::ops::Range;

use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Cpos, Structure};

use super::attributes::Stored;
use super::{Attributes, Files, FillError};
use crate::file::{FileData, list_capacity};
use crate::suballocator::Suballocated;

/// The contents of a regular file.
pub trait Contents {
    /// Size of the file in bytes.
    fn size(&self) -> u64;

    /// The parts that are not holes, as ranges of bytes in ascending order.
    ///
    /// # Errors
    /// If they cannot be determined.
    fn data(&mut self) -> io::Result<Vec<Range<u64>>>;

    /// Fills `buf` from `offset`. Holes read as zero. Offsets of successive calls are ascending.
    ///
    /// # Errors
    /// If the contents cannot be read.
    /// They cannot be read.
    fn read(&mut self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Contents in memory.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Contents for Bytes<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn data(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(std::iter::once(0..self.size()).collect())
    }

    fn read(&mut self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = self.0.get(offset as usize..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Bytes that are read and written at a time, unless a cluster is larger.
const CHUNK: usize = 1 << 20;
/// Data is written up to a multiple of this, with zeros after the end of the file.
const PAGE: usize = 4096;
/// Longest target of a link that the kernel reads.
const MOST_TARGET: usize = 4095;

impl Files<'_> {
    pub(super) fn write_regular(
        &mut self,
        place: Suballocated,
        attributes: &Attributes,
        contents: &mut dyn Contents,
    ) -> Result<(), FillError> {
        let xattrs = self.store_xattrs(&attributes.xattrs, true)?;
        let mut dinode = self.new_dinode(place, attributes, FileKind::Regular, &xattrs);
        let mut id2 = vec![0; self.id2_size(&xattrs)];
        let size = contents.size();
        dinode.i_size = size;
        let room = id2.len() - InlineData::SIZE;
        if self.plan.layout.has(Incompat::INLINE_DATA) && size > 0 && size <= room as u64 {
            InlineData { id_count: room as u16, ..Default::default() }.encode(&mut id2)?;
            let data = &mut id2[InlineData::SIZE..][..size as usize];
            contents.read(data, 0).map_err(FillError::Read)?;
            dinode.i_dyn_features |= DynFeatures::INLINE_DATA.bits();
        } else {
            let mut data = self.copy(contents)?;
            self.put_tree(&mut data, &mut id2)?;
            dinode.i_clusters = data.clusters();
            dinode.i_last_eb_blk = data.last_leaf(&self.plan.layout, list_capacity(&id2));
        }
        self.put_inode(place, &dinode, &id2, &xattrs)
    }

    pub(super) fn write_symlink(
        &mut self,
        place: Suballocated,
        attributes: &Attributes,
        target: &[u8],
    ) -> Result<(), FillError> {
        if target.is_empty() || target.len() > MOST_TARGET {
            return Err(FillError::Target { bytes: target.len() });
        }
        if target.contains(&0) {
            return Err(FillError::BadTarget);
        }
        // If the target fits into the inode only without attributes, they are stored elsewhere.
        let fits = |xattrs: &Stored, files: &Self| target.len() < files.id2_size(xattrs);
        let is_short = target.len() + self.inline_xattr_size() < self.id2_size(&Stored::default());
        let xattrs = self.store_xattrs(&attributes.xattrs, is_short)?;
        let mut dinode = self.new_dinode(place, attributes, FileKind::Symlink, &xattrs);
        dinode.i_size = target.len() as u64;
        let mut id2 = vec![0; self.id2_size(&xattrs)];
        if fits(&xattrs, self) {
            id2[..target.len()].copy_from_slice(target);
        } else {
            let mut bytes = target.to_vec();
            bytes.push(0);
            let mut data = self.write_clusters(bytes)?;
            self.put_tree(&mut data, &mut id2)?;
            dinode.i_clusters = data.clusters();
            dinode.i_last_eb_blk = data.last_leaf(&self.plan.layout, list_capacity(&id2));
        }
        self.put_inode(place, &dinode, &id2, &xattrs)
    }

    pub(super) fn write_special(
        &mut self,
        place: Suballocated,
        attributes: &Attributes,
        kind: FileKind,
        (major, minor): (u32, u32),
    ) -> Result<(), FillError> {
        let xattrs = self.store_xattrs(&attributes.xattrs, true)?;
        let mut dinode = self.new_dinode(place, attributes, kind, &xattrs);
        if matches!(kind, FileKind::CharDevice | FileKind::BlockDevice) {
            if major > 0xfff || minor > 0xf_ffff {
                return Err(FillError::DeviceNumber { major, minor });
            }
            dinode.id1 = u64::from(minor & 0xff | major << 8 | (minor & !0xff) << 12);
        }
        let mut id2 = vec![0; self.id2_size(&xattrs)];
        self.put_tree(&mut FileData::default(), &mut id2)?;
        self.put_inode(place, &dinode, &id2, &xattrs)
    }

    /// Copies contents to clusters.
    fn copy(&mut self, contents: &mut dyn Contents) -> Result<FileData, FillError> {
        let size = contents.size();
        let cluster = self.plan.layout.cluster_size();
        if size.div_ceil(cluster) > u64::from(u32::MAX) {
            return Err(FillError::TooLarge { bytes: size });
        }
        let sparse = self.plan.layout.features.ro_compat.contains(RoCompat::UNWRITTEN)
            || self.plan.layout.has(Incompat::SPARSE_ALLOC);
        let ranges = match sparse {
            true => contents.data().map_err(FillError::Read)?,
            false => std::iter::once(0..size).collect(),
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut file = FileData::default();
        for range in whole_clusters(&ranges, cluster, size) {
            let chunk = CHUNK.max(cluster as usize) as u64;
            let mut start = range.start;
            while start < range.end {
                let len = chunk.min(range.end - start);
                buffer.clear();
                buffer.resize(len.next_multiple_of(cluster) as usize, 0);
                let data = &mut buffer[..len.min(size - start) as usize];
                contents.read(data, start).map_err(FillError::Read)?;
                let used = data.len();
                self.put_data(&mut file, Cpos((start / cluster) as u32), &buffer, used)?;
                self.tell()?;
                start += len;
            }
        }
        self.buffer = buffer;
        Ok(file)
    }

    /// Writes whole clusters, of which the first `used` bytes are data.
    fn put_data(
        &mut self,
        file: &mut FileData,
        mut cpos: Cpos,
        mut bytes: &[u8],
        used: usize,
    ) -> Result<(), FillError> {
        let cluster = self.plan.layout.cluster_size() as usize;
        let mut used = used.next_multiple_of(PAGE);
        while !bytes.is_empty() {
            let (start, count) = self.new_clusters((bytes.len() / cluster) as u32)?;
            let (part, rest) = bytes.split_at(count as usize * cluster);
            let offset = self.offset_of(start);
            self.data.put(offset, &part[..used.min(part.len())])?;
            used = used.saturating_sub(part.len());
            file.append_at(&self.plan.layout, cpos, start, count);
            cpos.0 += count;
            bytes = rest;
        }
        Ok(())
    }

    /// Writes bytes to clusters.
    pub(super) fn write_clusters(&mut self, mut bytes: Vec<u8>) -> Result<FileData, FillError> {
        let used = bytes.len();
        bytes.resize(used.next_multiple_of(self.plan.layout.cluster_size() as usize), 0);
        let mut file = FileData::default();
        self.put_data(&mut file, Cpos(0), &bytes, used)?;
        Ok(file)
    }

    /// Allocates the extent blocks of a tree whose root occupies `list`, and writes the tree.
    pub(super) fn put_tree(
        &mut self,
        data: &mut FileData,
        list: &mut [u8],
    ) -> Result<(), FillError> {
        let root = list_capacity(list);
        while data.tree_blocks.len() < data.tree_blocks_needed(&self.plan.layout, root) {
            let place = self.new_block()?;
            data.tree_blocks.push(place);
        }
        let blocks = data.write_tree(&self.plan.layout, list)?;
        for (place, (_, mut block)) in data.tree_blocks.iter().zip(blocks) {
            self.plan.stamp::<ExtentBlock>(&mut block);
            self.blocks.put(*place, &block)?;
        }
        Ok(())
    }
}

/// The ranges extended to whole clusters and joined, up to the end of the file.
fn whole_clusters(ranges: &[Range<u64>], cluster: u64, size: u64) -> Vec<Range<u64>> {
    let end_of_file = size.div_ceil(cluster) * cluster;
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|range| range.start < range.end.min(size)) {
        let start = range.start / cluster * cluster;
        let end = (range.end.min(size).div_ceil(cluster) * cluster).min(end_of_file);
        match joined.last_mut().filter(|last| start <= last.end) {
            Some(last) => last.end = last.end.max(end),
            None => joined.push(start..end),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_widened_to_clusters_and_ends_with_the_file() {
        let ranges = [0..1, 4000..5000, 20_000..20_001, 20_480..30_000, 90_000..95_000];
        let joined = whole_clusters(&ranges, 4096, 29_000);
        assert_eq!(joined, [0..8192, 16_384..32_768]);
        assert_eq!(whole_clusters(&ranges, 1 << 20, 29_000).first(), Some(&(0..1 << 20)));
        assert_eq!(whole_clusters(&[], 4096, 29_000), []);
    }
}
