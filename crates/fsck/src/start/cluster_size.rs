//! The size of a cluster (S-3).
//!
//! Every position on the volume follows from it, and everything that is read by a wrong one is
//! wrong. That is why it is compared with what the allocators were made with before anything else.

use ocfs2_format::Structure;
use ocfs2_format::chain::ChainListHeader;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::{Blkno, Block, ClusterSize};
use ocfs2_volume::SystemFile;

use crate::codes::start as codes;
use crate::repair::system;
use crate::system_files::SystemFiles;
use crate::{Context, Finding, Place};

/// Returns what is wrong with it, if all allocators agree on another size.
pub(crate) fn check(context: &Context<'_>) -> Option<Finding> {
    let stated = context.geometry().cluster_size;
    let (files, _) = SystemFiles::read(context);
    let bitmap = files.find(SystemFile::GlobalBitmap);
    let other = match bitmap.filter(|bitmap| allocator(context, *bitmap).is_some()) {
        Some(bitmap) => by_files(context, &files, bitmap)?,
        // No entry points to an allocator that states it.
        None => context.volume.cluster_size_of_allocators()?,
    };
    if other == stated {
        return None;
    }
    let text = format!(
        "superblock: s_clustersize_bits is {}, clusters of the allocators have {} bytes",
        stated.bits(),
        other.bytes()
    );
    let place = Place::block(context.volume.found_superblock().blkno);
    let bits = other.bits();
    let repair = system::superblock(move |_, it| it.s_clustersize_bits = bits);
    Some(Finding::new(codes::SUPERBLOCK_FIELD, place, text).repaired_by(repair))
}

/// Returns the size that the global bitmap and an allocator of inodes or extent blocks agree on, if
/// none of these has that of the superblock.
fn by_files(context: &Context<'_>, files: &SystemFiles, bitmap: Blkno) -> Option<ClusterSize> {
    let geometry = context.geometry();
    let (bitmap, _) = allocator(context, bitmap)?;
    let other = bitmap.cluster_size_of_allocator()?;
    let fits = bitmap.i_size <= context.volume.device().size_bytes();
    let others = [SystemFile::GlobalInodeAlloc, SystemFile::InodeAlloc(0)];
    let others = others.into_iter().chain([SystemFile::ExtentAlloc(0)]);
    let made: Vec<_> = others
        .filter_map(|file| allocator(context, files.find(file)?))
        .map(|(_, list)| u32::from(list.cl_bpc))
        .collect();
    let blocks = |size: ClusterSize| size.bytes() >> geometry.block_size.bits();
    let agrees = made.contains(&blocks(other)) && !made.contains(&blocks(geometry.cluster_size));
    (fits && agrees).then_some(other)
}

/// Returns the inode of an allocator and the header of its chain list.
fn allocator(context: &Context<'_>, blkno: Blkno) -> Option<(Dinode, ChainListHeader)> {
    let block = context.read_block::<Dinode>(blkno).ok()?.bytes;
    let dinode = Dinode::decode(&block).ok()?;
    let is_one = dinode.i_signature == Dinode::SIGNATURE
        && dinode.flags().contains(InodeFlags::CHAIN | InodeFlags::VALID);
    let list = ChainListHeader::decode(block.get(Dinode::ID2_OFFSET..)?).ok()?;
    is_one.then_some((dinode, list))
}
