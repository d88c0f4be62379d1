//! Parts of volumes, made for tests.

use std::sync::Arc;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::{Compat, Features, Incompat, RoCompat};
use ocfs2_format::superblock::{REVISION, SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::{Blkno, Block, BlockSize, Structure};

use crate::{Volume, VolumeOptions};
use ocfs2_device::{Device, MemoryDevice};

/// Generation of a volume made here.
pub const GENERATION: u32 = 7;

/// A superblock of a volume with clusters of 4096 bytes.
pub fn superblock(
    block_size: BlockSize,
    clusters: u32,
    blkno: Blkno,
    edit: &dyn Fn(&mut SuperBlock),
) -> Vec<u8> {
    let mut block = vec![0; block_size.size()];
    let dinode = Dinode {
        i_signature: SUPERBLOCK_SIGNATURE,
        i_generation: GENERATION,
        i_fs_generation: GENERATION,
        i_clusters: clusters,
        i_blkno: blkno,
        i_flags: 0x31,
        ..Default::default()
    };
    dinode.encode(&mut block).unwrap();
    let mut superblock = SuperBlock::decode(&[0; SuperBlock::SIZE]).unwrap();
    superblock.s_minor_rev_level = REVISION.1;
    superblock.s_root_blkno = Blkno(17);
    superblock.s_system_dir_blkno = Blkno(18);
    superblock.s_blocksize_bits = block_size.bits();
    superblock.s_clustersize_bits = 12;
    superblock.s_max_slots = 4;
    superblock.s_first_cluster_group = Blkno(8);
    superblock.set_features(Features {
        compat: Compat::BACKUP_SB,
        incompat: Incompat::META_ECC | Incompat::SPARSE_ALLOC,
        ro_compat: RoCompat::UNWRITTEN,
    });
    edit(&mut superblock);
    superblock.encode(&mut block[Dinode::ID2_OFFSET..]).unwrap();
    Dinode::stamp(&mut block);
    block
}

/// A volume with nothing on it: 16 MiB, blocks of 512 and clusters of 4096 bytes, no block
/// checks. Also its device, to put something there.
pub fn volume() -> (Volume, Arc<MemoryDevice>) {
    let device = Arc::new(MemoryDevice::new(16 << 20));
    let no_checks = |sb: &mut SuperBlock| sb.s_feature_incompat &= !Incompat::META_ECC.bits();
    let block = superblock(BlockSize::MIN, 4096, SUPERBLOCK_BLKNO, &no_checks);
    device.write_at(&block, 1024).unwrap();
    let volume = Volume::open(Arc::clone(&device) as _, &VolumeOptions::default()).unwrap();
    (volume, device)
}
