//! The superblock: what is in block 2, and its copies.

use std::fmt;

use binrw::binrw;
use uuid::Uuid;

use crate::dinode::Dinode;
use crate::error::{expect_eq, expect_signature};
use crate::feature::{Compat, Features, Incompat, RoCompat};
use crate::structure::structure;
use crate::{Blkno, BlockSize, ClusterSize, Invalid, Structure};

/// Block of the superblock, in units of the block size.
pub const SUPERBLOCK_BLKNO: Blkno = Blkno(2);
/// `i_signature` of a superblock.
pub const SUPERBLOCK_SIGNATURE: [u8; 8] = *b"OCFSV2\0\0";
/// Most node slots a volume can have (`OCFS2_MAX_SLOTS`).
pub const MAX_SLOTS: u16 = 255;
/// `s_major_rev_level` and `s_minor_rev_level` of every volume.
pub const REVISION: (u16, u16) = (0, 90);
/// `s_state`: errors were detected.
pub const STATE_ERROR: u16 = 1;
/// `s_tunefs_flag`: a slot removal was interrupted.
pub const TUNEFS_REMOVE_SLOT: u16 = 1;
/// `s_tunefs_flag`: the installation of directory trailers was interrupted.
pub const TUNEFS_DIR_TRAILER: u16 = 2;
/// `s_xattr_inline_size` of a volume with xattrs.
pub const XATTR_INLINE_SIZE: u16 = 256;
/// `ci_stackflags`: o2cb runs one heartbeat for all volumes.
pub const STACKFLAG_GLOBAL_HEARTBEAT: u8 = 1;

structure! {
    "superblock", 0x140;

    /// `struct ocfs2_super_block`: `id2` of the superblock dinode.
    ///
    /// Offsets are from the start of the block. Zero follows up to the end of the block.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Debug, Eq, PartialEq)]
    pub struct SuperBlock {
        /// 0xc0: 0.
        pub s_major_rev_level: u16,
        /// 0xc2: 90.
        pub s_minor_rev_level: u16,
        /// 0xc4: mounts since the last check; not kept up.
        pub s_mnt_count: u16,
        /// 0xc6: mounts after which a check is due; 0 = never.
        pub s_max_mnt_count: u16,
        /// 0xc8: [`STATE_ERROR`] or 0.
        pub s_state: u16,
        /// 0xca: 0.
        pub s_errors: u16,
        /// 0xcc: seconds between checks; 0 = none.
        pub s_checkinterval: u32,
        /// 0xd0: time of the last full check, seconds since 1970.
        pub s_lastcheck: u64,
        /// 0xd8: 0 = Linux.
        pub s_creator_os: u32,
        /// 0xdc: [`Compat`].
        pub s_feature_compat: u32,
        /// 0xe0: [`Incompat`].
        pub s_feature_incompat: u32,
        /// 0xe4: [`RoCompat`].
        pub s_feature_ro_compat: u32,
        /// 0xe8: dinode of the root directory.
        pub s_root_blkno: Blkno,
        /// 0xf0: dinode of the system directory.
        pub s_system_dir_blkno: Blkno,
        /// 0xf8: log2 of the block size, 9 to 12.
        pub s_blocksize_bits: u32,
        /// 0xfc: log2 of the cluster size, 12 to 20.
        pub s_clustersize_bits: u32,
        /// 0x100: node slots, 1 to 255; 0 on a heartbeat device.
        pub s_max_slots: u16,
        /// 0x102: which operation was interrupted; with TUNEFS_INPROG.
        pub s_tunefs_flag: u16,
        /// 0x104: hash of the UUID the volume was made with; seed of the hashes of xattr names.
        pub s_uuid_hash: u32,
        /// 0x108: first group descriptor of the global bitmap.
        pub s_first_cluster_group: Blkno,
        /// 0x110: label, padded with NUL, not necessarily terminated.
        pub s_label: [u8; 64],
        /// 0x150: UUID.
        pub s_uuid: [u8; 16],
        /// 0x160: cluster info; valid with CLUSTERINFO or USERSPACE_STACK.
        pub s_cluster_info: ClusterInfo,
        /// 0x178: bytes reserved in a dinode for xattrs; 256 with xattr, else 0.
        pub s_xattr_inline_size: u16,
        /// 0x17a: reserved.
        pub s_reserved0: u16,
        /// 0x17c: seed of the directory hash; with indexed-dirs.
        pub s_dx_seed: [u32; 3],
        /// 0x188: reserved.
        pub s_reserved2: [u64; 15],
    }
}

structure! {
    "cluster info", 0x18;

    /// `struct ocfs2_cluster_info`: the cluster a volume belongs to.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct ClusterInfo {
        /// 0x00: `o2cb`, `pcmk` or `cman`.
        pub ci_stack: [u8; 4],
        /// 0x04: [`STACKFLAG_GLOBAL_HEARTBEAT`] or 0; with CLUSTERINFO.
        pub ci_stackflags: u8,
        /// 0x05: reserved.
        pub ci_reserved: [u8; 3],
        /// 0x08: name of the cluster, padded with NUL, not necessarily terminated.
        pub ci_cluster: [u8; 16],
    }
}

/// The classic cluster stack, also that of a volume without cluster info.
pub const STACK_O2CB: [u8; 4] = *b"o2cb";

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

impl ClusterInfo {
    /// The info for cluster `name` of a stack; `None` if the name does not have 1 to 16 bytes.
    pub fn new(stack: [u8; 4], name: &str, global_heartbeat: bool) -> Option<Self> {
        let mut ci_cluster = [0; 16];
        ci_cluster
            .get_mut(..name.len())
            .filter(|to| !to.is_empty())?
            .copy_from_slice(name.as_bytes());
        let ci_stackflags = if global_heartbeat { STACKFLAG_GLOBAL_HEARTBEAT } else { 0 };
        Some(Self { ci_stack: stack, ci_stackflags, ci_reserved: [0; 3], ci_cluster })
    }

    /// The stack's label as text; bytes that are not UTF-8 are replaced.
    pub fn stack(&self) -> String {
        String::from_utf8_lossy(until_nul(&self.ci_stack)).into_owned()
    }

    /// The cluster's name as text; bytes that are not UTF-8 are replaced.
    pub fn cluster(&self) -> String {
        String::from_utf8_lossy(until_nul(&self.ci_cluster)).into_owned()
    }
}

impl SuperBlock {
    /// The superblock inside `block`, which starts with its dinode.
    ///
    /// # Errors
    /// [`crate::Truncated`] if the block is too short; 512 bytes are enough.
    pub fn of_block(block: &[u8]) -> Result<Self, crate::Truncated> {
        Self::decode(block.get(Dinode::ID2_OFFSET..).unwrap_or_default())
    }

    /// The three feature fields.
    pub fn features(&self) -> Features {
        Features {
            compat: Compat::from_bits_retain(self.s_feature_compat),
            incompat: Incompat::from_bits_retain(self.s_feature_incompat),
            ro_compat: RoCompat::from_bits_retain(self.s_feature_ro_compat),
        }
    }

    /// Sets the three feature fields.
    pub fn set_features(&mut self, features: Features) {
        self.s_feature_compat = features.compat.bits();
        self.s_feature_incompat = features.incompat.bits();
        self.s_feature_ro_compat = features.ro_compat.bits();
    }

    /// Whether all of `bits` are set in `s_feature_incompat`.
    pub fn has(&self, bits: Incompat) -> bool {
        self.features().incompat.contains(bits)
    }

    /// The block size; `None` if `s_blocksize_bits` is not valid.
    pub fn block_size(&self) -> Option<BlockSize> {
        BlockSize::from_bits(self.s_blocksize_bits)
    }

    /// The cluster size; `None` if `s_clustersize_bits` is not valid.
    pub fn cluster_size(&self) -> Option<ClusterSize> {
        ClusterSize::from_bits(self.s_clustersize_bits)
    }

    /// The label's bytes up to the first NUL.
    pub fn label(&self) -> &[u8] {
        until_nul(&self.s_label)
    }

    /// The UUID, which displays as 36 lower-case characters.
    pub fn uuid(&self) -> Uuid {
        Uuid::from_bytes(self.s_uuid)
    }

    /// The UUID as 32 upper-case digits: the name of DLM domains and heartbeat regions.
    pub fn uuid_string(&self) -> String {
        format!("{:X}", self.uuid().simple())
    }

    /// The cluster info if it is valid; without it, the volume uses classic o2cb.
    pub fn cluster_info(&self) -> Option<&ClusterInfo> {
        let valid = Incompat::CLUSTERINFO | Incompat::USERSPACE_STACK;
        self.features().incompat.intersects(valid).then_some(&self.s_cluster_info)
    }

    /// Who coordinates the nodes that mount the volume.
    pub fn stack(&self) -> Stack {
        if self.has(Incompat::LOCAL_MOUNT) {
            return Stack::Local;
        }
        match self.cluster_info() {
            None => Stack::O2cb { global_heartbeat: false },
            Some(info) if info.ci_stack == STACK_O2CB => Stack::O2cb {
                global_heartbeat: info.ci_stackflags & STACKFLAG_GLOBAL_HEARTBEAT != 0,
            },
            Some(info) => Stack::Userspace(info.ci_stack),
        }
    }

    /// Checks what a volume needs to be opened at all, once all its features are known to be
    /// supported. `dinode` is the one around this superblock, read from `blkno` with `block_size`.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(
        &self,
        dinode: &Dinode,
        blkno: Blkno,
        block_size: BlockSize,
    ) -> Result<(), Invalid> {
        let name = Self::NAME;
        let signature = &dinode.i_signature;
        expect_signature(name, blkno, "i_signature", signature, &SUPERBLOCK_SIGNATURE)?;
        expect_eq(name, blkno, "s_blocksize_bits", self.s_blocksize_bits, block_size.bits())?;
        expect_eq(name, blkno, "i_blkno", dinode.i_blkno, blkno)?;
        let invalid = |field, found: u64, expected: &str| {
            Err(Invalid::new(name, blkno, field, found, expected))
        };
        if self.cluster_size().is_none() {
            let bits = self.s_clustersize_bits.into();
            return invalid("s_clustersize_bits", bits, "12 to 20");
        }
        if self.s_root_blkno.is_none() {
            return invalid("s_root_blkno", 0, "a block");
        }
        if self.s_system_dir_blkno.is_none() {
            return invalid("s_system_dir_blkno", 0, "a block");
        }
        let at_least = u16::from(!self.has(Incompat::HEARTBEAT_DEV));
        if !(at_least..=MAX_SLOTS).contains(&self.s_max_slots) {
            return invalid("s_max_slots", self.s_max_slots.into(), "1 to 255");
        }
        Ok(())
    }
}

/// Who coordinates the nodes that mount a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stack {
    /// Nobody: only one node may mount it.
    Local,
    /// The kernel's own cluster stack.
    O2cb {
        /// One heartbeat for all volumes, instead of one on each.
        global_heartbeat: bool,
    },
    /// A stack in user space, by its label.
    Userspace([u8; 4]),
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("None"),
            Self::O2cb { .. } => f.write_str("o2cb"),
            Self::Userspace(label) => until_nul(label).escape_ascii().fmt(f),
        }
    }
}

/// Byte offsets at which backups of the superblock are kept: 1 GiB times 4 to the i.
pub const BACKUP_OFFSETS: [u64; 6] = [1 << 30, 1 << 32, 1 << 34, 1 << 36, 1 << 38, 1 << 40];

/// The blocks of the backups that a volume of `blocks` blocks has room for.
pub fn backup_blocks(block_size: BlockSize, blocks: u64) -> impl Iterator<Item = Blkno> {
    let blknos = BACKUP_OFFSETS.into_iter().map(move |offset| offset >> block_size.bits());
    blknos.take_while(move |blkno| *blkno < blocks).map(Blkno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<SuperBlock>();
        assert_round_trip::<ClusterInfo>();
    }

    /// The superblock of section 28.2 of the format reference, a volume of 40 MiB.
    fn vector() -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, hex: &str| {
            for (i, pair) in hex.as_bytes().chunks(2).enumerate() {
                let pair = std::str::from_utf8(pair).unwrap();
                block[at + i] = u8::from_str_radix(pair, 16).unwrap();
            }
        };
        put(0x00, "4f434653563200001ed68985ffffffff");
        put(0x15, "28");
        put(0x2c, "31");
        put(0x38, "5f5b036b");
        put(0x40, "5f5b036b");
        put(0x50, "02");
        put(0x60, "1ed68985");
        put(0xc2, "5a00000014");
        put(0xd0, "5f5b036b");
        put(0xdc, "0200000058bf00000100000011");
        put(0xf0, "12");
        put(0xf8, "090000000c00000001000000037a037a08");
        put(0x110, "766563");
        put(0x150, "0123456789abcdef0123456789abcdef");
        put(0x179, "0100004fa4d45d78c38bd54026b608");
        block
    }

    #[test]
    fn a_superblock_of_the_c_mkfs_reads_as_it_was_made() {
        let block = vector();
        let dinode = Dinode::decode(&block).unwrap();
        let sb = SuperBlock::of_block(&block).unwrap();
        sb.verify(&dinode, SUPERBLOCK_BLKNO, BlockSize::MIN).unwrap();
        assert_eq!(dinode.i_clusters, 10240);
        assert_eq!(sb.label(), b"vec");
        assert_eq!(sb.uuid_string(), "0123456789ABCDEF0123456789ABCDEF");
        assert_eq!((sb.s_root_blkno, sb.s_system_dir_blkno), (Blkno(17), Blkno(18)));
        assert_eq!(sb.s_max_slots, 1);
        assert_eq!(sb.stack(), Stack::Local);
        assert_eq!(sb.features().names()[0], "local");
        assert_eq!(sb.s_uuid_hash, 0x7a03_7a03);
        assert_eq!(sb.s_first_cluster_group, Blkno(8));
        assert_eq!(sb.s_xattr_inline_size, XATTR_INLINE_SIZE);

        let misread = sb.verify(&dinode, SUPERBLOCK_BLKNO, BlockSize::MAX).unwrap_err();
        assert_eq!(misread.field, "s_blocksize_bits");
        let wrong = SuperBlock { s_max_slots: 256, ..sb };
        assert_eq!(
            wrong.verify(&dinode, SUPERBLOCK_BLKNO, BlockSize::MIN).unwrap_err().to_string(),
            "superblock 2: s_max_slots is 256, expected 1 to 255"
        );
    }

    #[test]
    fn backups_are_where_the_volume_reaches() {
        let places = |gib: u64| backup_blocks(BlockSize::MAX, gib << 18).count();
        assert_eq!([places(1), places(2), places(5), places(2000)], [0, 1, 2, 6]);
        let story: Vec<_> = backup_blocks(BlockSize::MAX, 1_048_233).collect();
        assert_eq!(story, [Blkno(262_144)]);
    }
}
