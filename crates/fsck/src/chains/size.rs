//! The number of clusters of the volume (S-3).
//!
//! The superblock states it once, and the global bitmap three times: in the clusters of its inode,
//! in its bits and in those of its chains. The places of all groups follow from it, so that it has
//! to be known before anything else.

use ocfs2_format::Structure;
use ocfs2_format::chain::{ChainList, ChainRec};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::{SystemFile, Volume};

use super::list::head;
use crate::codes::{chains as codes, start};
use crate::repair::{Repair, system};
use crate::start::tops;
use crate::state::State;
use crate::system_files::SystemFiles;
use crate::{Context, Finding, Pass, Place};

/// Begins pass 0. Returns the volume with another number of clusters if that of the superblock is
/// wrong.
pub(crate) fn begin(context: &Context<'_>, state: &mut State<'_>) -> Option<Volume> {
    let verdict = judge(context, &state.system);
    let resized = verdict.as_ref().map(|(_, clusters)| context.volume.with_clusters(*clusters));
    let geometry = resized.as_ref().map_or(context.geometry(), Volume::geometry);
    state.begin(Pass::Clusters, geometry.groups().into());
    state.found_all(verdict.map(|(finding, _)| finding));
    resized
}

/// Returns what is wrong with the size of a volume that is larger than its device, and the volume
/// with the right size, if the device has all that the global bitmap states. Nothing else can be
/// found out about the volume before.
pub(super) fn larger_than_its_bitmap(context: &Context<'_>) -> Option<(Finding, Volume)> {
    let judge = |context: &Context<'_>| judge(context, &SystemFiles::read(context).0);
    let (finding, clusters) = judge(context).or_else(|| {
        let volume = &tops::by_found_system_dir(context.volume)?;
        judge(&Context { volume, ..*context })
    })?;
    Some((finding, context.volume.with_clusters(clusters)))
}

/// Returns the finding and the right number, if that is not the superblock's.
fn judge(context: &Context<'_>, system: &SystemFiles) -> Option<(Finding, u32)> {
    stated(context, system)?.judge(context)
}

/// Returns the sizes that the global bitmap states.
fn stated(context: &Context<'_>, system: &SystemFiles) -> Option<Stated> {
    // Where the system directory cannot be read, its first group, which is at the same place on all
    // volumes, names it.
    let by_group = || Some(head(context, context.geometry().first_group)?.bg_parent_dinode);
    Stated::read(context, system.find(SystemFile::GlobalBitmap).or_else(by_group)?)
}

/// Returns whether there is a global bitmap that states the number of clusters.
pub(super) fn is_stated(context: &Context<'_>) -> bool {
    stated(context, &SystemFiles::read(context).0).is_some()
}

/// The sizes that the global bitmap states.
#[derive(Clone, Copy, Debug)]
struct Stated {
    blkno: Blkno,
    inode: u32,
    bits: u32,
    chains: u64,
}

impl Stated {
    fn read(context: &Context<'_>, blkno: Blkno) -> Option<Self> {
        if !context.geometry().is_valid_block(blkno) {
            return None;
        }
        let block = context.read_block::<Dinode>(blkno).ok()?.bytes;
        let dinode = Dinode::decode(&block).ok()?;
        let list = ChainList::new(block.get(Dinode::ID2_OFFSET..)?).ok()?;
        // Groups name their allocator: those of another inode that was written over it name another
        // one.
        let groups = list.records().filter_map(|rec| head(context, rec.c_blkno));
        let named: Vec<_> = groups.map(|group| group.bg_parent_dinode).collect();
        if !named.is_empty() && !named.contains(&blkno) {
            return None;
        }
        let bits = |rec: ChainRec| u64::from(rec.c_total);
        let chains = list.records().map(bits).sum();
        let (inode, bits) = (dinode.i_clusters, dinode.bitmap().1);
        let says_something = (inode, bits, chains) != (0, 0, 0);
        says_something.then_some(Self { blkno, inode, bits, chains })
    }

    /// Returns the finding and the right number, if that is not the superblock's.
    fn judge(self, context: &Context<'_>) -> Option<(Finding, u32)> {
        let geometry = context.geometry();
        let stated = geometry.clusters;
        let Self { inode, bits, chains, blkno } = self;
        let all = [u64::from(inode), bits.into(), chains];
        let votes = |number: u64| all.iter().filter(|other| **other == number).count();
        let other = all.into_iter().find(|number| votes(*number) >= 2)?;
        let other = u32::try_from(other).ok().filter(|other| *other != stated)?;
        let fits = Geometry { clusters: other, ..*geometry };
        if other == 0 || fits.size_bytes() > context.volume.device().size_bytes() {
            return None;
        }
        let text = format!(
            "i_clusters of the superblock is {stated}; of the global bitmap {inode}, its bits are \
             {bits}, those of its chains {chains}"
        );
        if inode != stated {
            let place = Place::block(context.volume.found_superblock().blkno);
            let finding = Finding::new(start::SUPERBLOCK_CLUSTERS, place, text);
            return Some((finding.repaired_by(resize(other)), other));
        }
        // Two against two: the last group decides.
        let decides = has_last_group(context, &fits) && !has_last_group(context, geometry);
        let place = Place::inode(blkno).named(b"global_bitmap");
        decides.then(|| {
            let finding = Finding::new(codes::FIXED_CHAIN_CLUSTERS, place, text);
            (finding.repaired_by(resize(other)), other)
        })
    }
}

/// Writes the number of clusters into the superblock; everything else follows from that.
pub(super) fn resize(clusters: u32) -> Repair {
    system::superblock(move |dinode, _| dinode.i_clusters = clusters)
}

/// Returns whether there is a group where the last one of a volume of this size would be.
fn has_last_group(context: &Context<'_>, geometry: &Geometry) -> bool {
    let last = geometry.groups().saturating_sub(1);
    let volume = context.volume.with_clusters(geometry.clusters);
    let block = volume.read_block(geometry.group_blkno(last)).ok();
    let desc = block.and_then(|block| GroupDesc::decode(&block).ok());
    desc.is_some_and(|desc| {
        desc.bg_signature == GroupDesc::SIGNATURE
            && desc.bg_generation == volume.generation()
            && u32::from(desc.bg_bits) == geometry.group_clusters(last)
    })
}
