//! Reconstruction of the superblock from the rest of the volume: for one that cannot be used as it
//! stands, on a volume that has no good backup of it.
//!
//! Both mkfs put the inodes of the system files among the first blocks. Their places and the block
//! numbers they state give the block size, allocators give the cluster size, the global bitmap the
//! number of clusters, and the system directory the slots.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use ocfs2_device::Device;
use ocfs2_format::check::Checked;
use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::feature::{Compat, Features, Incompat, RoCompat};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::hash::uuid_hash;
use ocfs2_format::heartbeat::MAX_NODES;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::superblock::{
    BACKUP_OFFSETS, MAX_SLOTS, REVISION, STACK_O2CB, SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE,
    SuperBlock, TUNEFS_DIR_TRAILER, TUNEFS_REMOVE_SLOT, XATTR_INLINE_SIZE,
};
use ocfs2_format::{Blkno, Block, BlockCheck, BlockSize, ClusterSize, Invalid, Structure};

use super::FoundSuperblock;
use crate::survey::{self, Remains, Survey};
use crate::{Inode, SystemFile, Volume};

/// Bytes at the start of the device in which system inodes are searched for.
const SEARCHED_BYTES: u64 = 32 << 20;
/// Most system inodes that are kept: those of 255 slots are fewer.
const MOST: usize = 1 << 13;
/// Most directories without a parent that are looked at: the root and the system directory are two.
const MOST_TOPS: usize = 4;
/// Most blocks of the system directory that are read: enough for the files of all slots.
const MOST_BLOCKS: u64 = 512;
/// Most volumes, this one and older ones, whose system inodes are told apart.
const MOST_VOLUMES: usize = 16;
/// Bytes that are read at once during the search.
const PIECE: usize = 1 << 20;
/// Most unknown features that a newer driver may have set. More than that is garbage.
const MOST_UNKNOWN: u32 = 3;
/// Fields of this weight have to agree with the volume for the other fields in the block to be
/// believed.
const AGREEING: u32 = 6;
/// Of these, fields of this weight have to be within the superblock itself: if only the inode
/// around it is left, there is nothing to believe.
const AGREEING_WITHIN: u32 = 3;

/// What was corrected in a superblock.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mended {
    /// The fields, with what they were and what they are.
    pub fields: Vec<String>,
    /// Whether the checksum of the superblock holds with these fields, so that nothing else is
    /// wrong with it. If it does not, what the superblock says of the cluster may be wrong, too.
    pub is_proven: bool,
    /// Whether features were assumed: those that nothing on the volume shows may be others, among
    /// them whether one node or a cluster mounts it.
    pub is_assumed: bool,
    /// Whether nothing was left of the superblock. What only it knows is gone then: the label, the
    /// cluster, the UUID if no journal has it, and the seed of the directory indexes.
    pub is_new: bool,
    /// Whether it is new and made for a cluster, although the volume has only ever been mounted as
    /// one node mounts it: by slot 0 alone, and without a heartbeat. A cluster of which no more than
    /// one node has ever mounted it leaves the same, so that somebody has to be asked.
    pub may_be_local: bool,
}

impl FoundSuperblock {
    /// The same superblock for a volume that one node mounts, or a cluster.
    #[must_use]
    pub fn for_one_node(mut self, is_local: bool) -> Self {
        let mut features = self.superblock.features();
        features.incompat.set(Incompat::LOCAL_MOUNT, is_local);
        self.superblock.set_features(features);
        // The block is long enough: the superblock was decoded from it.
        let _ =
            self.superblock.encode(self.block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default());
        if self.superblock.has(Incompat::META_ECC) {
            Dinode::stamp(&mut self.block);
        }
        if let Ok(dinode) = Dinode::decode(&self.block) {
            self.dinode = dinode;
        }
        self
    }
}

/// Returns the superblock with its wrong fields corrected; `None` if the volume leaves a doubt
/// about them.
pub(crate) fn find(device: &Arc<dyn Device>) -> Option<FoundSuperblock> {
    let mut anchors = anchors(device);
    let mut found = Vec::new();
    for _ in 0..MOST_VOLUMES {
        let Some(first) = anchors.first() else { break };
        let own = (first.block_size, first.dinode.i_fs_generation);
        let (group, others) =
            anchors.into_iter().partition(|it| (it.block_size, it.dinode.i_fs_generation) == own);
        anchors = others;
        found.extend(Surroundings::new(device, own, group, None));
    }
    // The remains of an older volume are no reason to give up the one that the superblock still
    // fits.
    let stated = found.iter().filter(|it| it.superblock_is_of_it()).count();
    let one = match (found.len(), stated) {
        (1, _) => found.pop()?,
        (_, 1) => found.into_iter().find(Surroundings::superblock_is_of_it)?,
        _ => return None,
    };
    one.mended()
}

/// Returns the superblock of a volume of which a survey has found something: a backup of it, or a
/// new one that follows from all that was found.
pub(crate) fn surveyed(
    device: &Arc<dyn Device>,
    survey: &Survey,
    remains: &Remains,
) -> Option<FoundSuperblock> {
    let block_size = remains.block_size;
    let stated = remains.superblocks.iter().filter_map(|(blkno, dinode, superblock)| {
        let mut block = vec![0; block_size.size()];
        device.read_at(&mut block, blkno.offset_bytes(block_size)?).ok()?;
        let is_whole =
            !superblock.has(Incompat::META_ECC) || Dinode::validate(&block) == Checked::Good;
        is_whole.then(|| FoundSuperblock {
            block,
            dinode: dinode.clone(),
            superblock: superblock.clone(),
            blkno: *blkno,
            block_size,
            corrected_bit: None,
            wrong_checksum: None,
            mended: None,
        })
    });
    if let Some(found) = stated.min_by_key(|found| found.blkno) {
        return Some(found);
    }
    let anchor = |dinode: &Dinode| Anchor { block_size, dinode: dinode.clone() };
    let anchors = remains.system.iter().map(anchor).collect();
    let cluster_size = remains.cluster_size()?;
    let others = survey.volumes.iter().filter(|it| it.generation != remains.generation);
    let others: Vec<_> = others.flat_map(|it| &it.superblocks).map(|it| it.2.s_uuid).collect();
    let (usual, system_dir) = usual_root(block_size, cluster_size);
    let root = remains.lost_root(usual);
    let system_dir = root.map_or(system_dir, |root| Blkno(root.0.saturating_add(1)));
    let uuid = survey.uuid(block_size, &others);
    let journals = survey.journals_of(uuid);
    let made = survey::made_with(survey, remains, device, (system_dir, journals));
    let evidence = Evidence {
        cluster_size,
        clusters: remains.clusters(cluster_size, device.size_bytes()),
        slots: remains.slots().max(made.as_ref().map_or(0, |made| made.slots)),
        quotas: made.map(|made| made.quotas).unwrap_or_default(),
        uuid,
        has_checks: remains.has_checks(),
        root,
        time: remains.changed.map_or(0, |(first, _)| first),
        inodes: remains.counts.inodes,
    };
    Surroundings::new(device, (block_size, remains.generation), anchors, Some(evidence))?.mended()
}

/// The size of a cluster that all allocators among the first blocks of a volume agree on.
pub(crate) fn cluster_size(volume: &Volume) -> Option<ClusterSize> {
    let own = (volume.block_size(), volume.generation());
    let anchors = anchors(volume.device());
    let anchors = anchors.iter().filter(|it| (it.block_size, it.dinode.i_fs_generation) == own);
    let mut sizes = anchors.filter_map(Anchor::cluster_size);
    let first = sizes.next()?;
    sizes.all(|size| size == first).then_some(first)
}

/// An inode that came from the allocator of the system's inodes.
struct Anchor {
    block_size: BlockSize,
    dinode: Dinode,
}

impl Anchor {
    /// The size of a cluster, if it is an allocator.
    fn cluster_size(&self) -> Option<ClusterSize> {
        let is_one = self.dinode.flags().contains(InodeFlags::CHAIN | InodeFlags::BITMAP);
        self.dinode.cluster_size_of_allocator().filter(|_| is_one)
    }
}

/// The system inodes among the first blocks.
fn anchors(device: &Arc<dyn Device>) -> Vec<Anchor> {
    let end = device.size_bytes().min(SEARCHED_BYTES);
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < end && found.len() < MOST {
        let len = usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; len];
        // A piece that cannot be read is skipped.
        if device.read_at(&mut piece, offset).is_ok() {
            let sectors = (offset..).step_by(512).zip(piece.chunks(512));
            let inodes = sectors.filter(|(_, sector)| sector.starts_with(&Dinode::SIGNATURE));
            found.extend(inodes.filter_map(|(at, sector)| anchor(sector, at)));
        }
        offset += len as u64;
    }
    found
}

fn anchor(sector: &[u8], offset: u64) -> Option<Anchor> {
    let dinode = Dinode::decode(sector).ok()?;
    let is_one = dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT
        && dinode.flags().contains(InodeFlags::VALID)
        && dinode.i_blkno > SUPERBLOCK_BLKNO;
    let mut sizes = BlockSize::ALL.into_iter().filter(|_| is_one);
    let block_size = sizes.find(|size| dinode.i_blkno.offset_bytes(*size) == Some(offset))?;
    Some(Anchor { block_size, dinode })
}

/// What a survey of the whole device shows of a volume.
#[derive(Clone)]
struct Evidence {
    cluster_size: ClusterSize,
    clusters: u32,
    slots: u16,
    quotas: Vec<QuotaKind>,
    uuid: Option<[u8; 16]>,
    has_checks: bool,
    /// The root, if its inode is gone and directories still name it.
    root: Option<Blkno>,
    time: u64,
    inodes: u64,
}

/// Where mkfs puts the root and the system directory.
fn usual_root(block_size: BlockSize, cluster_size: ClusterSize) -> (Blkno, Blkno) {
    let geometry = Geometry::new(block_size, cluster_size, u32::MAX);
    let group = geometry.first_group.0 + u64::from(geometry.blocks_per_cluster());
    (Blkno(group + 1), Blkno(group + 2))
}

/// What the system inodes of a volume show.
struct Surroundings {
    /// Block 2.
    block: Vec<u8>,
    volume: Volume,
    root: Option<Blkno>,
    system_dir: Option<Blkno>,
    /// The entries of the system directory.
    names: HashMap<Vec<u8>, Blkno>,
    /// Where the inode of the global bitmap is, and how many clusters it has.
    bitmap: Option<(Blkno, u32)>,
    slots: u16,
    /// Whether system directories are inline.
    has_inline: bool,
    /// Whether no system inode has any checksum.
    has_no_checks: bool,
    /// The kinds of quota for which the volume has files.
    quotas: Vec<QuotaKind>,
    uuid: Option<[u8; 16]>,
    /// When the system directory was made, in seconds since 1970.
    time: u64,
    evidence: Option<Evidence>,
}

impl Surroundings {
    fn new(
        device: &Arc<dyn Device>,
        (block_size, generation): (BlockSize, u32),
        anchors: Vec<Anchor>,
        evidence: Option<Evidence>,
    ) -> Option<Self> {
        let mut block = vec![0; block_size.size()];
        let read = device.read_at(&mut block, SUPERBLOCK_BLKNO.offset_bytes(block_size)?);
        read.ok().or(evidence.as_ref().map(|_| ()))?;
        let stated = SuperBlock::of_block(&block).ok()?;
        // The stated size is believed if nothing contradicts it.
        let cluster_size = common(anchors.iter().filter_map(Anchor::cluster_size));
        let cluster_size = cluster_size.or(evidence.as_ref().map(|it| it.cluster_size));
        let cluster_size = cluster_size.or_else(|| stated.cluster_size())?;
        if cluster_size.bits() < block_size.bits() {
            return None;
        }
        let mut features = Incompat::empty();
        let has_checks = match &evidence {
            Some(evidence) => evidence.has_checks,
            None => has_checks(device, block_size, &anchors),
        };
        features.set(Incompat::META_ECC, has_checks);
        let clusters = device.size_bytes() >> cluster_size.bits();
        let clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
        let empty = SuperBlock::of_block(&vec![0; block.len()]).ok()?;
        let superblock = FoundSuperblock {
            block: block.clone(),
            dinode: Dinode { i_fs_generation: generation, ..Dinode::default() },
            superblock: SuperBlock {
                s_feature_incompat: features.bits(),
                s_blocksize_bits: block_size.bits(),
                s_clustersize_bits: cluster_size.bits(),
                s_max_slots: MAX_SLOTS,
                s_uuid: stated.s_uuid,
                ..empty
            },
            blkno: SUPERBLOCK_BLKNO,
            block_size,
            corrected_bit: None,
            wrong_checksum: None,
            mended: None,
        };
        let geometry = Geometry::new(block_size, cluster_size, clusters);
        let volume = Volume::by(Arc::clone(device), superblock, geometry).without_checks();
        let dirs = anchors.iter().filter(|it| it.dinode.kind() == Some(FileKind::Directory));
        let dirs = dirs.filter_map(|it| volume.stated_inode(it.dinode.i_blkno));
        let is_in_itself = |dir: &Inode| {
            let parent = volume.scan_unchecked(dir, b"..", 1);
            parent.is_some_and(|parent| parent.inode == dir.blkno)
        };
        let dirs: Vec<_> = dirs.filter(is_in_itself).take(MOST_TOPS).collect();
        let top = |is_system| {
            let mut all = dirs.iter().filter(|inode| volume.is_top(inode, is_system));
            all.next().filter(|_| all.next().is_none())
        };
        let (root, system_dir) = (top(false).map(|it| it.blkno), top(true));
        let time = evidence.as_ref().map_or(0, |it| it.time);
        let time = system_dir.map_or(time, |it| it.dinode.i_ctime);
        let has_inline = are_inline(anchors.iter().map(|it| &it.dinode));
        let has_no_checks = have_no_checks(&anchors);
        let system_dir = system_dir.map(|it| it.blkno);
        let journals = anchors.iter().filter(|it| it.dinode.flags().contains(InodeFlags::JOURNAL));
        let slots = u16::try_from(journals.count()).unwrap_or(MAX_SLOTS).min(MAX_SLOTS);
        let volume = match system_dir {
            Some(blkno) => volume.with_system_dir(blkno).without_checks(),
            None => volume,
        };
        let names = names(&volume, system_dir);
        let found = Self {
            block,
            volume,
            root,
            system_dir,
            names,
            bitmap: None,
            slots,
            has_inline,
            has_no_checks,
            quotas: Vec::new(),
            uuid: None,
            time,
            evidence: evidence.clone(),
        };
        let mut named = (0..MAX_SLOTS).rev();
        let last = named.find(|slot| found.names(SystemFile::Journal(*slot)));
        let slots = last.map_or(slots, |last| (last + 1).max(slots));
        let slots = evidence.as_ref().map_or(slots, |it| it.slots.max(slots));
        // The first group points to the bitmap, too: the directory may have lost its name.
        let group = found.first_group().map(|group| group.bg_parent_dinode);
        let bitmaps = [found.entry(SystemFile::GlobalBitmap), group].into_iter().flatten();
        let bitmap =
            bitmaps.filter_map(|blkno| anchors.iter().find(|it| it.dinode.i_blkno == blkno));
        let mut bitmap = bitmap.filter(|it| it.cluster_size() == Some(cluster_size));
        let bitmap = bitmap.next().map(|it| (it.dinode.i_blkno, it.dinode.i_clusters));
        let uuids = anchors.iter().filter_map(|it| found.uuid_of_journal(it));
        let uuid = common(uuids.filter(|uuid| *uuid != [0; 16]));
        let uuid = uuid.or(evidence.as_ref().and_then(|it| it.uuid));
        let quotas = anchors.iter().filter_map(|it| found.quota_of(it)).collect();
        let found = Self { bitmap, slots, uuid, quotas, ..found };
        let is_known = found.root.is_some() || found.system_dir.is_some() || evidence.is_some();
        is_known.then_some(found)
    }

    fn geometry(&self) -> Geometry {
        *self.volume.geometry()
    }

    fn generation(&self) -> u32 {
        self.volume.generation()
    }

    fn names(&self, file: SystemFile) -> bool {
        self.entry(file).is_some()
    }

    fn entry(&self, file: SystemFile) -> Option<Blkno> {
        self.names.get(file.name().as_bytes()).copied()
    }

    fn file(&self, file: SystemFile) -> Option<Inode> {
        self.volume.stated_inode(self.entry(file)?)
    }

    /// The descriptor of the bitmap's first group.
    fn first_group(&self) -> Option<GroupDesc> {
        let block = self.volume.read_block(self.geometry().first_group).ok()?;
        GroupDesc::decode(&block).ok().filter(|group| {
            group.bg_signature == GroupDesc::SIGNATURE && group.bg_generation == self.generation()
        })
    }

    /// The UUID in a journal, which is that of the volume.
    fn uuid_of_journal(&self, anchor: &Anchor) -> Option<[u8; 16]> {
        let is_one = anchor.dinode.flags().contains(InodeFlags::JOURNAL);
        let inode = self.volume.stated_inode(anchor.dinode.i_blkno).filter(|_| is_one)?;
        Some(self.volume.journal_superblock(&inode).ok()?.1.s_uuid)
    }

    /// The kind of a global quota file, by its header; `None` for any other file.
    fn quota_of(&self, anchor: &Anchor) -> Option<QuotaKind> {
        let is_one = anchor.dinode.flags().contains(InodeFlags::QUOTA);
        let inode = self.volume.stated_inode(anchor.dinode.i_blkno).filter(|_| is_one)?;
        self.volume.global_quota_of(&inode)
    }

    fn clusters(&self) -> Option<u32> {
        let by_survey = self.evidence.as_ref().map(|it| it.clusters);
        self.bitmap.map(|(_, clusters)| clusters).or(by_survey)
    }

    /// The dinode and the superblock as they stand.
    fn stated(&self) -> Option<(Dinode, SuperBlock)> {
        Some((Dinode::decode(&self.block).ok()?, SuperBlock::of_block(&self.block).ok()?))
    }

    /// Whether block 2 is the superblock of this volume, whatever is wrong with it.
    fn superblock_is_of_it(&self) -> bool {
        let Some((dinode, superblock)) = self.stated() else { return false };
        let geometry = self.geometry();
        let signature = dinode.i_signature.iter().zip(SUPERBLOCK_SIGNATURE);
        let of_dinode = [
            (signature.filter(|(a, b)| **a == *b).count() > 4, 2),
            (dinode.i_fs_generation == self.generation(), 2),
            (dinode.i_blkno == SUPERBLOCK_BLKNO, 1),
            (self.clusters() == Some(dinode.i_clusters), 1),
        ];
        let of_superblock = [
            (self.uuid == Some(superblock.s_uuid), 2),
            (superblock.s_blocksize_bits == geometry.block_size.bits(), 1),
            (superblock.s_clustersize_bits == geometry.cluster_size.bits(), 1),
            (self.root == Some(superblock.s_root_blkno), 1),
            (self.system_dir == Some(superblock.s_system_dir_blkno), 1),
            (superblock.s_first_cluster_group == geometry.first_group, 1),
            (superblock.s_max_slots == self.slots, 1),
            ((superblock.s_major_rev_level, superblock.s_minor_rev_level) == REVISION, 1),
        ];
        let weight = |part: &[(bool, u32)]| -> u32 {
            part.iter().filter(|(agrees, _)| *agrees).map(|(_, weight)| weight).sum()
        };
        let (around, within) = (weight(&of_dinode), weight(&of_superblock));
        around + within >= AGREEING && within >= AGREEING_WITHIN
    }

    /// Returns the superblock as it is to be; `None` if the volume does not show it, or if nothing
    /// has to be corrected.
    fn mended(self) -> Option<FoundSuperblock> {
        let (dinode, superblock, mended) = match self.superblock_is_of_it() {
            true => self.corrected()?,
            false => self.made()?,
        };
        let surroundings = match mended.is_new {
            true => Self { block: vec![0; self.block.len()], ..self },
            false => self,
        };
        let mut block = surroundings.with(&dinode, &superblock);
        if superblock.has(Incompat::META_ECC) {
            Dinode::stamp(&mut block);
        }
        let dinode = Dinode::decode(&block).ok()?;
        Some(FoundSuperblock {
            block,
            dinode,
            superblock,
            blkno: SUPERBLOCK_BLKNO,
            block_size: surroundings.geometry().block_size,
            corrected_bit: None,
            wrong_checksum: None,
            mended: Some(mended),
        })
    }

    /// The contents of the block, with those fields corrected that the volume shows.
    fn corrected(&self) -> Option<(Dinode, SuperBlock, Mended)> {
        let (mut dinode, mut superblock) = self.stated()?;
        let geometry = self.geometry();
        let mut fields = Fields::default();
        if dinode.i_signature != SUPERBLOCK_SIGNATURE {
            let (was, is) = (dinode.i_signature, SUPERBLOCK_SIGNATURE);
            fields.tell("i_signature", was.escape_ascii(), is.escape_ascii());
            dinode.i_signature = is;
        }
        fields.set("i_blkno", &mut dinode.i_blkno, SUPERBLOCK_BLKNO);
        fields.set("i_fs_generation", &mut dinode.i_fs_generation, self.generation());
        if let Some(clusters) = self.clusters().filter(|_| dinode.i_clusters == 0) {
            fields.set("i_clusters", &mut dinode.i_clusters, clusters);
        }
        let bits = geometry.block_size.bits();
        fields.set("s_blocksize_bits", &mut superblock.s_blocksize_bits, bits);
        let bits = geometry.cluster_size.bits();
        fields.set("s_clustersize_bits", &mut superblock.s_clustersize_bits, bits);
        let group = &mut superblock.s_first_cluster_group;
        fields.set("s_first_cluster_group", group, geometry.first_group);
        let (root, system_dir) = self.tops(&superblock)?;
        fields.set("s_root_blkno", &mut superblock.s_root_blkno, root);
        fields.set("s_system_dir_blkno", &mut superblock.s_system_dir_blkno, system_dir);
        // If the stated number is possible, it is found out later whether it is right.
        if !(1..=MAX_SLOTS).contains(&superblock.s_max_slots) {
            fields.set("s_max_slots", &mut superblock.s_max_slots, self.slots);
        }
        let is_assumed = self.correct_features(&mut superblock, &mut fields);
        self.check(&dinode, &superblock, &mut fields);
        let is_proven = superblock.has(Incompat::META_ECC) && self.holds(&dinode, &superblock);
        let (is_new, may_be_local) = (false, false);
        let mended = Mended { fields: fields.0, is_proven, is_assumed, is_new, may_be_local };
        (!mended.fields.is_empty()).then_some((dinode, superblock, mended))
    }

    /// Root and system directory: as found, else as stated if that is possible, else next to the
    /// other one, where both mkfs put it.
    fn tops(&self, stated: &SuperBlock) -> Option<(Blkno, Blkno)> {
        let is_valid = |blkno: &Blkno| self.geometry().is_valid_block(*blkno);
        let possible = |blkno: Blkno, other: Option<Blkno>| {
            Some(blkno).filter(is_valid).filter(|blkno| Some(*blkno) != other)
        };
        let root = self.root.or_else(|| possible(stated.s_root_blkno, self.system_dir));
        let root = root.or_else(|| possible(Blkno(self.system_dir?.0.checked_sub(1)?), None));
        let system = self.system_dir.or_else(|| possible(stated.s_system_dir_blkno, self.root));
        let system = system.or_else(|| possible(Blkno(self.root?.0.checked_add(1)?), None));
        root.zip(system).or_else(|| self.evidence.as_ref().and_then(|it| self.made_tops(it)))
    }

    /// Root and system directory where both are gone: the root where directories name it, else
    /// where mkfs puts it, after the descriptor of the second group.
    fn made_tops(&self, evidence: &Evidence) -> Option<(Blkno, Blkno)> {
        let geometry = self.geometry();
        let (root, _) = usual_root(geometry.block_size, geometry.cluster_size);
        let root = evidence.root.unwrap_or(root);
        let system = Blkno(root.0.checked_add(1)?);
        let is_valid = geometry.is_valid_block(root) && geometry.is_valid_block(system);
        is_valid.then_some((root, system))
    }

    /// Corrects the features. Returns whether some had to be assumed.
    fn correct_features(&self, superblock: &mut SuperBlock, fields: &mut Fields) -> bool {
        let (stated, unknown) = (superblock.features(), superblock.features().unknown());
        let mut features = stated;
        // Its files show that it is a volume.
        features.incompat.remove(Incompat::HEARTBEAT_DEV);
        let made = self.features();
        let is_assumed = self.are_garbage(superblock);
        if is_assumed {
            if !unknown.compat.is_empty() {
                features.compat = made.compat;
            }
            if !unknown.incompat.is_empty() || self.lacks_inline(superblock) {
                features.incompat = made.incompat - Incompat::LOCAL_MOUNT;
                features.incompat |= match (superblock.s_cluster_info.ci_stack, made.incompat) {
                    ([0, ..], made) => made & Incompat::LOCAL_MOUNT,
                    (STACK_O2CB, _) => Incompat::CLUSTERINFO,
                    _ => Incompat::USERSPACE_STACK,
                };
            }
            if !unknown.ro_compat.is_empty() {
                features.ro_compat = made.ro_compat;
            }
        } else if !fields.0.is_empty()
            || superblock.has(Incompat::META_ECC) && Dinode::validate(&self.block) != Checked::Good
        {
            // If something else in the block is wrong, unknown features are not the sign of a newer
            // driver.
            features = features.difference(unknown);
        }
        let flag = superblock.s_tunefs_flag & !(TUNEFS_REMOVE_SLOT | TUNEFS_DIR_TRAILER);
        if flag.count_ones() > MOST_UNKNOWN {
            features.incompat.remove(Incompat::TUNEFS_INPROG);
            fields.set("s_tunefs_flag", &mut superblock.s_tunefs_flag, 0);
        }
        if self.has_no_checks && !has_check(&self.block) {
            features.incompat.remove(Incompat::META_ECC);
        }
        let map = self.start_of(SystemFile::SlotMap, SlotMapFormat::Extended.size(self.slots));
        if is_extended_alone(&map, self.slots) {
            features.incompat |= Incompat::EXTENDED_SLOT_MAP;
        }
        superblock.set_features(features);
        let now = [features.compat.bits(), features.incompat.bits(), features.ro_compat.bits()];
        let was = [stated.compat.bits(), stated.incompat.bits(), stated.ro_compat.bits()];
        let names = ["s_feature_compat", "s_feature_incompat", "s_feature_ro_compat"];
        for ((name, was), now) in names.into_iter().zip(was).zip(now).filter(|it| it.0.1 != it.1) {
            fields.tell(name, format_args!("{was:#x}"), format_args!("{now:#x}"));
        }
        is_assumed
    }

    /// Whether the features are garbage and not those of a newer driver: too many are unknown, or
    /// some that the volume uses are missing.
    fn are_garbage(&self, superblock: &SuperBlock) -> bool {
        let (stated, unknown) = (superblock.features(), superblock.features().unknown());
        let bits = [unknown.compat.bits(), unknown.incompat.bits(), unknown.ro_compat.bits()];
        let has_checks = self.volume.has(Incompat::META_ECC);
        let lacks_checks = has_checks && !stated.incompat.contains(Incompat::META_ECC);
        let is_no_volume = stated.incompat.contains(Incompat::HEARTBEAT_DEV);
        let lacks_inline = self.lacks_inline(superblock);
        bits.iter().map(|bits| bits.count_ones()).sum::<u32>() > MOST_UNKNOWN
            || lacks_inline
            || !unknown.incompat.is_empty() && (lacks_checks || is_no_volume)
    }

    /// Whether the superblock lacks inline-data although the volume uses it.
    fn lacks_inline(&self, superblock: &SuperBlock) -> bool {
        self.has_inline && !superblock.has(Incompat::INLINE_DATA)
    }

    /// Adds a wrong checksum that the corrections do not explain.
    fn check(&self, dinode: &Dinode, superblock: &SuperBlock, fields: &mut Fields) {
        // The checksum may hold over the wrong fields.
        let stood = Dinode::validate(&self.block);
        let is = self.with(dinode, superblock);
        if superblock.has(Incompat::META_ECC)
            && stood != Checked::Good
            && let Checked::Bad { stored, computed } = Dinode::validate(&is)
        {
            let (stored, computed) = (format!("{stored:#010x}"), format!("{computed:#010x}"));
            fields.tell("bc_crc32e", stored, computed);
        }
    }

    /// Whether the checksum is that of these contents.
    fn holds(&self, dinode: &Dinode, superblock: &SuperBlock) -> bool {
        Dinode::validate(&self.with(dinode, superblock)) == Checked::Good
    }

    /// The block with this dinode and this superblock.
    fn with(&self, dinode: &Dinode, superblock: &SuperBlock) -> Vec<u8> {
        let mut block = self.block.clone();
        // It is long enough: both were decoded from it.
        let _ = dinode.encode(&mut block);
        let _ = superblock.encode(block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default());
        block
    }

    /// Makes a new superblock from what the volume shows.
    fn made(&self) -> Option<(Dinode, SuperBlock, Mended)> {
        let geometry = self.geometry();
        let clusters = self.clusters()?;
        let bitmap = self.bitmap.map(|(blkno, _)| blkno);
        let has_group =
            self.first_group().is_some_and(|group| Some(group.bg_parent_dinode) == bitmap);
        // Nothing else shows that this is such a volume, so two of three pieces of evidence are
        // needed.
        let evidence = [self.root.is_some(), has_group, self.uuid.is_some()];
        let is_enough = evidence.iter().filter(|is| **is).count() >= 2 && bitmap.is_some();
        if !(is_enough || self.evidence.is_some()) || self.slots == 0 {
            return None;
        }
        let empty = SuperBlock::of_block(&vec![0; self.block.len()]).ok()?;
        let (root, system_dir) = self.tops(&empty)?;
        let s_uuid = self.uuid.unwrap_or_else(|| self.made_uuid());
        let generation = self.generation();
        let dinode = Dinode {
            i_signature: SUPERBLOCK_SIGNATURE,
            i_generation: generation,
            i_suballoc_slot: Dinode::GLOBAL_SLOT,
            i_suballoc_bit: u16::MAX,
            i_clusters: clusters,
            i_flags: (InodeFlags::VALID | InodeFlags::SYSTEM | InodeFlags::SUPER_BLOCK).bits(),
            i_ctime: self.time,
            i_mtime: self.time,
            i_blkno: SUPERBLOCK_BLKNO,
            i_fs_generation: generation,
            ..Dinode::default()
        };
        let mut superblock = SuperBlock {
            s_major_rev_level: REVISION.0,
            s_minor_rev_level: REVISION.1,
            s_max_mnt_count: 20,
            s_root_blkno: root,
            s_system_dir_blkno: system_dir,
            s_blocksize_bits: geometry.block_size.bits(),
            s_clustersize_bits: geometry.cluster_size.bits(),
            s_max_slots: self.slots,
            s_uuid_hash: uuid_hash(&s_uuid),
            s_first_cluster_group: geometry.first_group,
            s_uuid,
            s_xattr_inline_size: XATTR_INLINE_SIZE,
            ..empty
        };
        superblock.set_features(self.features());
        let local = if superblock.has(Incompat::LOCAL_MOUNT) { ", for one node" } else { "" };
        let whose = if self.uuid.is_some() { "of its journals" } else { "that is new" };
        let source = match &self.evidence {
            Some(Evidence { inodes, .. }) => format!("what is on the device, {inodes} inodes"),
            None => "the system files".to_owned(),
        };
        let text = format!(
            "it is made from {source}: blocks of {} bytes, {clusters} clusters of {} \
             bytes, slots: {}{local}, UUID {} {whose}",
            geometry.block_size.bytes(),
            geometry.cluster_size.bytes(),
            self.slots,
            superblock.uuid(),
        );
        let may_be_local = local.is_empty() && self.was_for_one_node();
        let mended = Mended {
            fields: vec![text],
            is_proven: false,
            is_assumed: true,
            is_new: true,
            may_be_local,
        };
        Some((dinode, superblock, mended))
    }

    /// A UUID for a volume on which none is recorded: always the same for the same volume.
    fn made_uuid(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let parts = [self.generation().to_le_bytes().to_vec(), self.time.to_le_bytes().to_vec()];
        bytes.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().into_bytes()
    }

    /// The features that its files show. Features that only allow something are assumed.
    fn features(&self) -> Features {
        let geometry = self.geometry();
        let mut compat = Compat::JBD2_SB;
        let clusters = self.clusters().unwrap_or(geometry.clusters);
        let size = Geometry { clusters, ..geometry }.size_bytes();
        // On a larger volume, the place of a backup may hold something else by now.
        compat.set(Compat::BACKUP_SB, size <= BACKUP_OFFSETS[0]);
        let mut incompat = Incompat::SPARSE_ALLOC
            | Incompat::INLINE_DATA
            | Incompat::XATTR
            | Incompat::INDEXED_DIRS
            | Incompat::REFCOUNT_TREE
            | Incompat::DISCONTIG_BG
            | Incompat::APPEND_DIO
            | self.volume.features().incompat;
        incompat.set(Incompat::EXTENDED_SLOT_MAP, !self.has_old_slot_map());
        incompat.set(Incompat::LOCAL_MOUNT, self.is_for_one_node());
        let mut ro_compat = RoCompat::UNWRITTEN;
        for kind in [QuotaKind::User, QuotaKind::Group] {
            let made = self.evidence.as_ref().is_some_and(|it| it.quotas.contains(&kind));
            let is_named = self.names(SystemFile::Quota(kind));
            let is_there = is_named || made || self.quotas.contains(&kind);
            ro_compat.set(RoCompat::of_quota(kind), is_there);
        }
        Features { compat, incompat, ro_compat }
    }

    /// Whether the slot map has two bytes per slot: a free slot is -1 there.
    fn has_old_slot_map(&self) -> bool {
        let map = self.start_of(SystemFile::SlotMap, 512);
        let slots = map.chunks_exact(2).take(self.slots.into());
        slots.into_iter().any(|slot| *slot == [0xff, 0xff])
    }

    /// Whether the volume is for one node: it has one slot, no node has ever written its heartbeat,
    /// and no node but 0, the number on a volume without a cluster, holds the slot.
    fn is_for_one_node(&self) -> bool {
        let blocks = usize::from(MAX_SLOTS) * self.geometry().block_size.size();
        let beats = self.start_of(SystemFile::Heartbeat, blocks);
        let map = self.start_of(SystemFile::SlotMap, 8);
        let is_silent = !beats.is_empty() && beats.iter().all(|byte| *byte == 0);
        let is_free = match self.has_old_slot_map() {
            true => map.starts_with(&[0xff, 0xff]),
            false => map.len() == 8 && map.iter().skip(1).all(|byte| *byte == 0),
        };
        self.slots == 1 && is_silent && is_free
    }

    /// Whether all that mounted the volume of several slots may have been one node: no heartbeat was
    /// ever written, no slot has another node than 0, and of all journals only the first was used.
    fn was_for_one_node(&self) -> bool {
        let blocks = usize::from(MAX_SLOTS) * self.geometry().block_size.size();
        let beats = self.start_of(SystemFile::Heartbeat, blocks);
        let map = self.start_of(SystemFile::SlotMap, SlotMapFormat::Extended.size(self.slots));
        let is_free = match self.has_old_slot_map() {
            true => map.chunks_exact(2).take(self.slots.into()).all(|it| it == [0xff, 0xff]),
            false => map.iter().skip(1).all(|byte| *byte == 0),
        };
        let was_used = |slot| {
            let inode = self.file(SystemFile::Journal(slot))?;
            let journal = self.volume.journal_superblock(&inode).ok()?.1;
            Some(journal.s_sequence > 1 || journal.s_start > 0)
        };
        let others = (1..self.slots).all(|slot| was_used(slot) == Some(false));
        let is_silent = beats.iter().all(|byte| *byte == 0);
        !beats.is_empty()
            && !map.is_empty()
            && is_silent
            && is_free
            && self.slots > 1
            && was_used(0) == Some(true)
            && others
    }

    /// The first bytes of a system file; none if they cannot be read.
    fn start_of(&self, file: SystemFile, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = self.file(file).and_then(|inode| {
            let file = self.volume.file(&inode).ok()?.fresh();
            file.read_at(&mut bytes, 0).ok()
        });
        bytes.truncate(read.unwrap_or(0));
        bytes
    }
}

/// The entries of the system directory, whatever its checksums are.
fn names(volume: &Volume, dir: Option<Blkno>) -> HashMap<Vec<u8>, Blkno> {
    let inode = dir.and_then(|dir| volume.stated_inode(dir));
    let blocks = inode.and_then(|inode| volume.dir_blocks(&inode).ok());
    let blocks = blocks.into_iter().flat_map(|blocks| blocks.first(MOST_BLOCKS).unchecked());
    let mut names = HashMap::new();
    for block in blocks.filter_map(Result::ok) {
        let entries = block.entries().map_while(Result::ok);
        names.extend(entries.map(|entry| (entry.name, entry.inode)));
    }
    names
}

/// The fields that are corrected, as messages.
#[derive(Default)]
struct Fields(Vec<String>);

impl Fields {
    fn set<T: PartialEq + Display + Copy>(&mut self, name: &str, field: &mut T, value: T) {
        if *field != value {
            self.tell(name, *field, value);
            *field = value;
        }
    }

    fn tell(&mut self, name: &str, was: impl Display, is: impl Display) {
        self.0.push(format!("{name} is {was}, expected {is}"));
    }
}

/// Inodes after that of the system directory that are looked at: those of its first files.
const LOOKED_AT: u64 = 64;

/// Returns the error about a superblock without inline-data on a volume whose system directories
/// are inline; `None` if there is none.
pub(super) fn lacking_inline(volume: &Volume) -> Option<Invalid> {
    if volume.has(Incompat::INLINE_DATA) {
        return None;
    }
    let superblock = volume.superblock();
    let dir = superblock.s_system_dir_blkno.0;
    let all = (dir..dir.saturating_add(LOOKED_AT)).map(Blkno).chain([superblock.s_root_blkno]);
    let system = all.filter_map(|blkno| volume.stated_inode(blkno));
    let system: Vec<_> = system
        .filter(|it| it.dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT)
        .filter(|it| it.dinode.i_fs_generation == volume.generation())
        .collect();
    are_inline(system.iter().map(|it| &it.dinode)).then(|| {
        let (name, blkno) = (SuperBlock::NAME, volume.found_superblock().blkno);
        let found = format!("{:#x}", superblock.s_feature_incompat);
        Invalid::new(name, blkno, "s_feature_incompat", found, "with inline-data, which there is")
    })
}

/// Whether at least two of them are inline directories: a single one may just have a wrong bit. Those
/// of slots that are gone are left as they were.
fn are_inline<'a>(system: impl Iterator<Item = &'a Dinode>) -> bool {
    let is_one = |it: &&Dinode| {
        it.kind() == Some(FileKind::Directory)
            && it.flags().contains(InodeFlags::VALID)
            && it.dyn_features().contains(DynFeatures::INLINE_DATA)
    };
    system.filter(is_one).take(2).count() == 2
}

/// Returns the error about a superblock without extended-slotmap on a volume whose slot map has
/// that form; `None` if there is none.
pub(super) fn lacking_slot_map(volume: &Volume) -> Option<Invalid> {
    if volume.has(Incompat::EXTENDED_SLOT_MAP) {
        return None;
    }
    let mut map = vec![0; SlotMapFormat::Extended.size(volume.max_slots())];
    let inode = volume.system_file(SystemFile::SlotMap).ok()?;
    let read = volume.file(&inode).ok()?.fresh().read_at(&mut map, 0).ok()?;
    map.truncate(read);
    is_extended_alone(&map, volume.max_slots()).then(|| {
        let found = format!("{:#x}", volume.superblock().s_feature_incompat);
        let (name, blkno) = (SuperBlock::NAME, volume.found_superblock().blkno);
        let expected = "with extended-slotmap, by the slot map";
        Invalid::new(name, blkno, "s_feature_incompat", found, expected)
    })
}

/// Whether a slot map makes sense only in the extended form: in the old one a node would hold
/// several slots.
fn is_extended_alone(map: &[u8], slots: u16) -> bool {
    let mut nodes: Vec<_> = SlotMapFormat::Old.taken(map, slots).map(|taken| taken.node).collect();
    nodes.sort_unstable();
    let entries = map.chunks_exact(SlotMapFormat::Extended.entry_size());
    let is_entry =
        |entry: &[u8]| matches!(entry, [0 | 1, 0, 0, 0, node, 0, 0, 0] if *node < MAX_NODES);
    nodes.windows(2).any(|pair| pair.first() == pair.last())
        && map.len() == SlotMapFormat::Extended.size(slots)
        && entries.into_iter().all(is_entry)
}

/// Whether neither the superblock nor any system inode among the first blocks has a checksum.
pub(crate) fn has_no_checks(volume: &Volume) -> bool {
    let own = (volume.block_size(), volume.generation());
    let mut anchors = anchors(volume.device());
    anchors.retain(|it| (it.block_size, it.dinode.i_fs_generation) == own);
    have_no_checks(&anchors) && !has_check(&volume.found_superblock().block)
}

/// Whether none of at least two system inodes has a checksum.
fn have_no_checks(anchors: &[Anchor]) -> bool {
    anchors.len() > 1 && anchors.iter().all(|it| it.dinode.i_check == BlockCheck::default())
}

/// Whether a superblock has a checksum, right or wrong.
fn has_check(block: &[u8]) -> bool {
    Dinode::decode(block).is_ok_and(|dinode| dinode.i_check != BlockCheck::default())
}

/// Whether most system inodes have a checksum that holds.
fn has_checks(device: &Arc<dyn Device>, block_size: BlockSize, anchors: &[Anchor]) -> bool {
    let mut block = vec![0; block_size.size()];
    let mut holds = |anchor: &&Anchor| {
        let offset = anchor.dinode.i_blkno.offset_bytes(block_size).unwrap_or(u64::MAX);
        anchor.dinode.i_check.bc_crc32e != 0
            && device.read_at(&mut block, offset).is_ok()
            && Dinode::validate(&block) == Checked::Good
    };
    anchors.iter().filter(|anchor| holds(anchor)).count() * 2 > anchors.len()
}

/// The most frequent value; the first of several.
fn common<T: PartialEq + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let values: Vec<_> = values.collect();
    let count = |value: &T| values.iter().filter(|other| *other == value).count();
    values.iter().rev().max_by_key(|value| count(value)).copied()
}
