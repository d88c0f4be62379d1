//! The inode of an allocator: its chain list.

use ocfs2_format::chain::{ChainList, ChainListHeader, ChainRec, suballocator_cpg};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure};

use super::rebuild::{self, Inodes};
use crate::codes::Code;
use crate::codes::chains as codes;
use crate::read::system_group::{clusters, most_clusters, system_cpg};
use crate::tables::suballocs::Suballoc;
use crate::{Context, Finding, Place};

/// An allocator with its chains, as if its chain list had been mended.
#[derive(Clone, Debug)]
pub(super) struct Allocator {
    /// Which one; `None` is the global bitmap.
    pub suballoc: Option<Suballoc>,
    /// The block of its inode.
    pub blkno: Blkno,
    pub dinode: Dinode,
    /// Clusters per group.
    pub cpg: u32,
    /// Its chains by their index.
    pub chains: Vec<ChainRec>,
    /// Whether the number of chains was guessed, so that empty chains mean nothing.
    pub guessed: bool,
    /// All allocators, which are mended together.
    all: Inodes,
}

impl Allocator {
    /// Reads the list in the inode `blkno`, whatever its flags and signature are.
    pub fn load(
        context: &Context<'_>,
        suballoc: Option<Suballoc>,
        blkno: Blkno,
        all: &Inodes,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        if !context.geometry().is_valid_block(blkno) {
            return None;
        }
        let block = context.read_block::<Dinode>(blkno).ok()?.bytes;
        let dinode = Dinode::decode(&block).ok()?;
        let list = block.get(Dinode::ID2_OFFSET..)?;
        let (chains, all) = (Vec::new(), Inodes::clone(all));
        let mut allocator = Self { suballoc, blkno, dinode, cpg: 0, chains, guessed: false, all };
        let header = ChainListHeader::decode(list).ok()?;
        allocator.records(context, list, findings)?;
        allocator.sizes(context, header, findings);
        Some(allocator)
    }

    /// Returns its name in the system directory.
    pub fn name(&self) -> String {
        self.suballoc.map_or_else(|| "global_bitmap".to_owned(), Suballoc::file_name)
    }

    /// A finding about its inode.
    pub fn finding(&self, code: &'static Code, text: impl std::fmt::Display) -> Finding {
        let name = self.name();
        let place = Place::inode(self.blkno).named(name.as_bytes());
        let finding = Finding::new(code, place, format_args!("{name}: {text}"));
        finding.repaired_by(rebuild::repair(&self.all))
    }

    /// A finding about a block of one of its groups.
    pub fn group_finding(
        &self,
        code: &'static Code,
        group: Blkno,
        text: impl std::fmt::Display,
    ) -> Finding {
        let name = self.name();
        let place = Place::block(group).of(self.blkno).named(name.as_bytes());
        let finding = Finding::new(code, place, format_args!("group {group} of {name}: {text}"));
        finding.repaired_by(rebuild::repair(&self.all))
    }

    /// Returns all allocators.
    pub fn all(&self) -> &Inodes {
        &self.all
    }

    /// Returns the right `cl_bpc`.
    pub fn bits_per_cluster(&self, context: &Context<'_>) -> u32 {
        self.suballoc.map_or(1, |_| context.geometry().blocks_per_cluster())
    }

    /// Returns the bits of a group of an allocator of blocks, at most those that fit a descriptor.
    pub fn bits_per_group(&self, context: &Context<'_>) -> u32 {
        let most = GroupDesc::max_bits(context.volume.block_size());
        self.cpg.saturating_mul(self.bits_per_cluster(context)).min(most.into())
    }

    fn records(
        &mut self,
        context: &Context<'_>,
        bytes: &[u8],
        findings: &mut Vec<Finding>,
    ) -> Option<()> {
        let list = ChainList::new(bytes).ok()?;
        let ChainListHeader { cl_count, cl_next_free_rec, .. } = list.header;
        let capacity = list.capacity();
        let (mut count, used) = (usize::from(cl_count), usize::from(cl_next_free_rec));
        if count != capacity {
            let text = format!("cl_count is {count}, {capacity} fit");
            findings.push(self.finding(codes::CHAIN_COUNT, text));
            count = capacity;
        }
        let all = bytes.get(ChainListHeader::SIZE..)?.chunks_exact(ChainRec::SIZE).take(count);
        let mut all: Vec<_> = all.filter_map(|bytes| ChainRec::decode(bytes).ok()).collect();
        if used > count {
            let text = format!("cl_next_free_rec is {used}, cl_count is {count}");
            findings.push(self.finding(codes::CHAIN_NEXT_FREE, text));
            self.guessed = true;
        }
        let used = used.min(count);
        let filled = all.iter().rposition(|rec| *rec != ChainRec::default());
        let filled = filled.map_or(0, |last| last + 1);
        if filled > used {
            let text = format!(
                "cl_next_free_rec is {used}, there is something in chain record {}",
                filled - 1
            );
            findings.push(self.finding(codes::CHAIN_REC_BEYOND, text));
            // They count if they point to a group that says it belongs to the chain.
            let belongs = |index: usize, rec: &ChainRec| self.owns(context, index, rec.c_blkno);
            let beyond = all.iter().enumerate().skip(used);
            let last = beyond.filter(|(index, rec)| belongs(*index, rec)).map(|(index, _)| index);
            all.truncate(last.max().map_or(used, |last| last + 1));
            self.guessed = true;
        } else {
            all.truncate(if self.guessed { filled } else { used });
        }
        self.chains = all;
        Some(())
    }

    /// Returns whether a block is a group that says it belongs to this chain.
    fn owns(&self, context: &Context<'_>, chain: usize, blkno: Blkno) -> bool {
        head(context, blkno).is_some_and(|desc| {
            desc.bg_parent_dinode == self.blkno && usize::from(desc.bg_chain) == chain
        })
    }

    /// Checks the clusters per group and the bits per cluster.
    fn sizes(
        &mut self,
        context: &Context<'_>,
        header: ChainListHeader,
        findings: &mut Vec<Finding>,
    ) {
        let geometry = context.geometry();
        let (cpg, bpc) = (u32::from(header.cl_cpg), u32::from(header.cl_bpc));
        let expected = self.bits_per_cluster(context);
        if bpc != expected {
            let text = format!("cl_bpc is {bpc}, expected {expected}");
            findings.push(self.finding(codes::CHAIN_BPC, text));
        }
        let heads = || self.chains.iter().filter_map(|chain| head(context, chain.c_blkno));
        // The clusters of the first group that can be read.
        let first = || heads().next().and_then(|desc| clusters(geometry, &desc));
        let fixed: u32 = suballocator_cpg(geometry.block_size, geometry.cluster_size).into();
        let right = match self.suballoc {
            None => geometry.clusters_per_group(),
            // Volumes of another age may have groups of another size. It counts if the first group
            // agrees with it.
            Some(Suballoc::Inodes(_) | Suballoc::Extents(_)) if cpg == fixed => fixed,
            Some(_) if cpg > 0 && first() == Some(cpg) => cpg,
            Some(Suballoc::Inodes(_) | Suballoc::Extents(_)) => fixed,
            // Its size was chosen when the volume was made.
            Some(Suballoc::GlobalInodes) => {
                let all = self.dinode.i_clusters;
                let found = || first().or_else(|| system_cpg(context.volume, self.blkno));
                let is_likely = cpg > 0 && cpg <= all && all.is_multiple_of(cpg);
                let is_one_group = |clusters: &u32| *clusters == all;
                match is_likely {
                    true => first().filter(is_one_group).unwrap_or(cpg),
                    false => found().unwrap_or(cpg.clamp(1, most_clusters(geometry))),
                }
            }
        };
        if cpg != right {
            let text = format!("cl_cpg is {cpg}, expected {right}");
            findings.push(self.finding(codes::CHAIN_CPG, text));
        }
        self.cpg = right;
    }
}

/// Returns the descriptor in a block, if it has the signature of one.
pub(super) fn head(context: &Context<'_>, blkno: Blkno) -> Option<GroupDesc> {
    if !context.geometry().is_valid_block(blkno) {
        return None;
    }
    let block = context.volume.read_block(blkno).ok()?;
    let desc = GroupDesc::decode(&block).ok()?;
    (desc.bg_signature == GroupDesc::SIGNATURE).then_some(desc)
}
