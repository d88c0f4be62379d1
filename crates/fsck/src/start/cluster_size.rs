//! The size of a cluster (S-3).
//!
//! All places on the volume follow from it, and nothing that is read by a wrong one is so. That is
//! why it is compared before anything else with what the allocators were made with.

use ocfs2_format::Structure;
use ocfs2_format::chain::ChainListHeader;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::{Blkno, Block, ClusterSize};
use ocfs2_volume::SystemFile;

use crate::codes::start as codes;
use crate::repair::system;
use crate::system_files::SystemFiles;
use crate::{Context, Finding, Place};

/// What is wrong with it, if the allocators have all the same other one.
pub(crate) fn check(context: &Context<'_>) -> Option<Finding> {
    let stated = context.geometry().cluster_size;
    let (files, _) = SystemFiles::read(context);
    let bitmap = files.find(SystemFile::GlobalBitmap);
    let other = match bitmap.filter(|bitmap| allocator(context, *bitmap).is_some()) {
        Some(bitmap) => by_files(context, &files, bitmap)?,
        // No name points to one that says it.
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

/// The size that the global bitmap and an allocator of inodes or extent blocks have, if none has
/// that of the superblock.
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

/// The inode of an allocator, and how it was made.
fn allocator(context: &Context<'_>, blkno: Blkno) -> Option<(Dinode, ChainListHeader)> {
    let block = context.read_block::<Dinode>(blkno).ok()?.bytes;
    let dinode = Dinode::decode(&block).ok()?;
    let is_one = dinode.i_signature == Dinode::SIGNATURE
        && dinode.flags().contains(InodeFlags::CHAIN | InodeFlags::VALID);
    let list = ChainListHeader::decode(block.get(Dinode::ID2_OFFSET..)?).ok()?;
    is_one.then_some((dinode, list))
}
