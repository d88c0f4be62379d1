//! The blocks of a fixture, overlaid with what its journals still contain.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::CharSign;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::{Blkno, BlockSize, Structure};
use ocfs2_testing::fixture;

pub struct Image {
    file: File,
    pub name: &'static str,
    pub super_block: SuperBlock,
    pub super_dinode: Dinode,
    pub block_size: BlockSize,
    pub blocks: u64,
    /// Blocks in the journals that were not written to their places.
    pub logged: HashMap<Blkno, Vec<u8>>,
}

impl Image {
    /// Returns how the kernel that wrote it hashes names.
    pub fn name_hash(&self) -> CharSign {
        match self.name.contains("linux7") {
            true => CharSign::Unsigned,
            false => CharSign::Signed,
        }
    }

    pub fn open(name: &'static str) -> Self {
        let file = File::open(fixture(name)).unwrap();
        let size = file.metadata().unwrap().len();
        let (block_size, block) = BlockSize::ALL
            .into_iter()
            .find_map(|bs| {
                let mut block = vec![0; bs.size()];
                file.read_exact_at(&mut block, 2 * u64::from(bs.bytes())).unwrap();
                block.starts_with(&SUPERBLOCK_SIGNATURE).then_some((bs, block))
            })
            .expect("a superblock");
        let super_dinode = Dinode::decode(&block).unwrap();
        let super_block = SuperBlock::of_block(&block).unwrap();
        super_block.verify(&super_dinode, SUPERBLOCK_BLKNO, block_size).unwrap();
        let blocks = size / u64::from(block_size.bytes());
        let logged = HashMap::new();
        Self { file, name, super_block, super_dinode, block_size, blocks, logged }
    }

    pub fn generation(&self) -> u32 {
        self.super_dinode.i_fs_generation
    }

    pub fn has(&self, feature: Incompat) -> bool {
        self.super_block.has(feature)
    }

    pub fn blocks_per_cluster(&self) -> u64 {
        1 << (self.super_block.s_clustersize_bits - self.super_block.s_blocksize_bits)
    }

    pub fn read(&self, blkno: Blkno) -> Vec<u8> {
        if let Some(block) = self.logged.get(&blkno) {
            return block.clone();
        }
        let mut block = vec![0; self.block_size.size()];
        self.file.read_exact_at(&mut block, blkno.offset_bytes(self.block_size).unwrap()).unwrap();
        block
    }

    pub fn read_run(&self, start: Blkno, count: u64) -> Vec<u8> {
        (0..count).flat_map(|index| self.read(Blkno(start.0 + index))).collect()
    }

    /// Calls `each` with every block that is not zero, as it is on the device.
    pub fn scan(&self, mut each: impl FnMut(Blkno, &[u8])) {
        const PIECE: usize = 1 << 20;
        let mut piece = vec![0; PIECE];
        let size = self.blocks * u64::from(self.block_size.bytes());
        for start in (0..size).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min((size - start) as usize)];
            self.file.read_exact_at(piece, start).unwrap();
            if piece.iter().all(|byte| *byte == 0) {
                continue;
            }
            let first = start / u64::from(self.block_size.bytes());
            for (index, block) in piece.chunks_exact(self.block_size.size()).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    each(Blkno(first + index as u64), block);
                }
            }
        }
    }
}
