//! Rewrites allocators from the groups that exist.
//!
//! Whatever is wrong with chains and descriptors, the groups of an allocator and their bitmaps are
//! reliable. They are gathered as the check does it, for all allocators at once, since a group that
//! two of them have is given to one. Then descriptors, chains and counts are written as they follow
//! from the groups.
//!
//! Missing groups of the global bitmap are recreated with all their clusters in use; the next check
//! finds out which of them are. Where a file has the place of such a group, its data is moved
//! first. Groups of blocks that no chain points to are searched for. If their descriptors are lost
//! as well, they are recreated from what was allocated from them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::chain::{ChainListHeader, ChainRec, write_chain_list};
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::extent::{ExtentFlags, ExtentRec, write_extent_list};
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Structure};

use super::chain::{Chains, Judge, Member};
use super::graph::Graph;
use super::group::{Seen, examine};
use super::list::Allocator;
use super::lost::{Linked, Named};
use super::places::Places;
use crate::context::{Context, Options};
use crate::repair::{EditError, Editor, Repair};
use crate::state::Taken;
use crate::tables::suballocs::Suballoc;

/// The inodes of all allocators.
#[derive(Clone, Debug)]
pub(super) struct Inodes {
    all: Arc<[(Option<Suballoc>, Blkno)]>,
    taken: Taken,
}

impl Inodes {
    pub fn new(all: impl Iterator<Item = (Option<Suballoc>, Blkno)>, taken: &Taken) -> Self {
        Self { all: all.collect(), taken: Arc::clone(taken) }
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Option<Suballoc>, Blkno)> {
        self.all.iter()
    }

    fn is_taken(&self, cluster: u32) -> bool {
        self.taken.get().is_some_and(|taken| taken.contains(cluster))
    }
}

/// Returns the repair of everything that is wrong with allocators. It searches for groups that no
/// chain points to if an allocator states more than it has.
pub(super) fn repair(inodes: &Inodes) -> Repair {
    rebuilding(inodes, false, &Arc::default())
}

/// The same, where it is known that some groups are in no chain. If a survey has found `suspects`,
/// clusters are searched as well that are free by the global bitmap: it may be that of a newer volume.
pub(super) fn search_and_repair(inodes: &Inodes, suspects: &Arc<Vec<u32>>) -> Repair {
    rebuilding(inodes, true, suspects)
}

fn rebuilding(inodes: &Inodes, has_lost: bool, suspects: &Arc<Vec<u32>>) -> Repair {
    let (inodes, suspects) = (inodes.clone(), Arc::clone(suspects));
    Repair::first_once("allocators", has_lost.into(), move |editor| {
        let (suspects, interrupt) = (Arc::clone(&suspects), editor.interrupt());
        let options = Options { suspects, ..Options::default() };
        let context = Context { volume: editor.volume(), options: &options, interrupt };
        rebuild(&context, editor, &inodes, has_lost)
    })
}

fn rebuild(
    context: &Context<'_>,
    editor: &mut Editor<'_>,
    inodes: &Inodes,
    has_lost: bool,
) -> Result<(), EditError> {
    let mut ignored = Vec::new();
    let load = |(suballoc, blkno): &(Option<Suballoc>, Blkno)| {
        Allocator::load(context, *suballoc, *blkno, inodes, &mut ignored)
    };
    let allocators: Vec<_> = inodes.all.iter().filter_map(load).collect();
    let stopped = |_| EditError::Interrupted;
    let graph = Graph::build(context, &allocators, &mut |_| {}).map_err(stopped)?;
    let mut places = Places::default();
    let (mut all, mut broken) = (Vec::new(), Vec::new());
    let mut known = HashSet::new();
    let mut waiting = 0;
    for (index, allocator) in allocators.iter().enumerate() {
        let mut judge = Judge {
            context,
            allocators: &allocators,
            index,
            allocator,
            graph: &graph,
            places: &mut places,
            findings: Vec::new(),
            keeps_members: true,
        };
        let Chains { mut members, groups, incomplete, broken: ends, .. } = judge.chains();
        known.extend(groups.iter().copied());
        let link = |(chain, blkno)| Linked { allocator: index, chain: Some(chain), blkno };
        broken.extend(ends.into_iter().map(link).filter(|_| allocator.suballoc.is_some()));
        broken.extend(own_group(allocator).filter(|it| !known.contains(it)).map(|blkno| Linked {
            allocator: index,
            chain: None,
            blkno,
        }));
        if allocator.suballoc.is_none() {
            waiting = missing(context, index, allocator, (&groups, inodes), &mut members);
        }
        all.push((allocator, members, incomplete));
    }
    if has_lost || all.iter().any(states_more) {
        search(context, &allocators, &mut all, (&known, &broken), &mut places);
    }
    editor.check_interrupt()?;
    for (allocator, members, _) in all {
        let waiting = if allocator.suballoc.is_none() { waiting } else { 0 };
        write(context, editor, allocator, members, waiting)?;
    }
    Ok(())
}

/// Adds the groups that the global bitmap has to have and no chain points to. Returns the bits of
/// those that have to wait.
fn missing(
    context: &Context<'_>,
    index: usize,
    allocator: &Allocator,
    (groups, inodes): (&HashSet<Blkno>, &Inodes),
    members: &mut Vec<Member>,
) -> u32 {
    let geometry = context.geometry();
    let mut waiting = 0;
    for group in 0..geometry.groups() {
        let blkno = geometry.group_blkno(group);
        if context.interrupt.requested() || !context.is_on_device(blkno) {
            return waiting;
        }
        if groups.contains(&blkno) {
            continue;
        }
        let node = match examine(context, index, allocator, blkno) {
            Seen::Unreadable(_) => continue,
            Seen::Group(node) if node.familiar => Some(node),
            // It waits until the data in its place was moved.
            Seen::Group(_) | Seen::NoGroup if inodes.is_taken(geometry.group_start(group).0) => {
                waiting += geometry.group_clusters(group);
                continue;
            }
            Seen::Group(_) | Seen::NoGroup => None,
        };
        let stated = node.as_ref().map(|node| usize::from(node.chain));
        let chains = chains(context, allocator);
        let chain = stated.filter(|chain| *chain < chains).unwrap_or(group as usize % chains);
        members.push(Member { chain, blkno, node, made: None });
    }
    waiting
}

/// Returns the group from which the allocator of the system's inodes says its own inode comes.
fn own_group(allocator: &Allocator) -> Option<Blkno> {
    let loc = allocator.dinode.i_suballoc_loc;
    (allocator.suballoc == Some(Suballoc::GlobalInodes) && !loc.is_none()).then_some(loc)
}

/// Returns whether an allocator of blocks has lost groups, by what it states.
fn states_more((allocator, members, incomplete): &(&Allocator, Vec<Member>, bool)) -> bool {
    let bits: u64 =
        members.iter().filter_map(|it| it.node.as_ref()).map(|it| u64::from(it.bits)).sum();
    let stated = u64::from(allocator.dinode.bitmap().1);
    allocator.suballoc.is_some() && (*incomplete || bits < stated)
}

/// Searches for groups of blocks that no chain points to. `known` are the groups in chains,
/// `broken` the blocks where chains break off.
fn search(
    context: &Context<'_>,
    allocators: &[Allocator],
    all: &mut [(&Allocator, Vec<Member>, bool)],
    (known, broken): (&HashSet<Blkno>, &[Linked]),
    places: &mut Places,
) {
    let generation = context.volume.generation();
    let mut named = Named::new(context, allocators);
    each_cluster(context, |blkno, blocks| {
        if known.contains(&blkno) {
            return;
        }
        // If the first block of a cluster is a descriptor, the next block was allocated from its
        // group.
        if let Some(block) = blocks.get(1) {
            named.see(Blkno(blkno.0.saturating_add(1)), block);
        }
        let Some(block) = blocks.first() else { return };
        if !block.starts_with(&GroupDesc::SIGNATURE) {
            named.see(blkno, block);
            return;
        }
        let Ok(desc) = GroupDesc::decode(block) else { return };
        let parent = allocators.iter().position(|it| it.blkno == desc.bg_parent_dinode);
        let Some(index) = parent.filter(|_| desc.bg_generation == generation) else { return };
        let Some((allocator, members, _)) = all.get_mut(index) else { return };
        let Seen::Group(node) = examine(context, index, allocator, blkno) else { return };
        let usable = node.familiar
            && allocator.suballoc.is_some()
            && node.group.as_ref().is_some_and(|group| places.take(context, group));
        if usable {
            let last = chains(context, allocator).saturating_sub(1);
            let chain = usize::from(node.chain).min(last);
            members.push(Member { chain, blkno, node: Some(node), made: None });
        }
    });
    complete(context, all, &named, places);
    let there = all.iter().flat_map(|(_, members, _)| members).map(|it| it.blkno).collect();
    for (link, group) in named.groups(broken, &there, places) {
        let Some((allocator, members, _)) = all.get_mut(link.allocator) else { continue };
        let chain = chain_for(context, allocator, link.chain, members);
        members.push(Member { chain, blkno: link.blkno, node: None, made: Some(group) });
    }
}

/// Searches for lost pieces of groups.
fn complete(
    context: &Context<'_>,
    all: &mut [(&Allocator, Vec<Member>, bool)],
    named: &Named<'_>,
    places: &mut Places,
) {
    for (index, (_, members, _)) in all.iter_mut().enumerate() {
        let nodes = members.iter_mut().filter_map(|member| member.node.as_mut());
        for group in nodes.filter_map(|node| node.group.as_deref_mut()) {
            if group.runs.iter().map(|run| run.bits).sum::<u32>() >= group.bits {
                continue;
            }
            let Some(runs) = named.runs(index, group.blkno, &group.runs) else { continue };
            let mut whole = group.clone();
            whole.runs = runs;
            places.give_back(group);
            if places.take(context, &whole) {
                *group = whole;
            } else {
                places.take(context, group);
            }
        }
    }
}

/// Returns the chain for a group: the one that pointed to it, or else the shortest, which may be a
/// new one.
fn chain_for(
    context: &Context<'_>,
    allocator: &Allocator,
    wanted: Option<usize>,
    members: &[Member],
) -> usize {
    let mut lengths: BTreeMap<_, usize> = (0..room(context).max(1)).map(|it| (it, 0)).collect();
    for member in members {
        *lengths.entry(member.chain).or_default() += 1;
    }
    let shortest = || lengths.iter().min_by_key(|(_, length)| **length).map(|(chain, _)| *chain);
    let is_chain = |chain: &usize| *chain < chains(context, allocator);
    wanted.filter(is_chain).or_else(shortest).unwrap_or(0)
}

/// Returns the number of chains that fit an inode.
fn room(context: &Context<'_>) -> usize {
    let list = context.volume.block_size().size().saturating_sub(Dinode::ID2_OFFSET);
    list.saturating_sub(ChainListHeader::SIZE) / ChainRec::SIZE
}

/// Returns the number of chains of an allocator. One that was recreated has none; the groups state
/// theirs then, and there may be as many as fit the inode.
fn chains(context: &Context<'_>, allocator: &Allocator) -> usize {
    if allocator.chains.is_empty() { room(context).max(1) } else { allocator.chains.len() }
}

/// Bytes per read of consecutive small clusters.
const PIECE_BYTES: u64 = 1 << 20;
/// Blocks of a cluster up to which all of it is read, rather than only the wanted blocks.
const SMALL: u64 = 16;

/// Calls `visit` with the first two blocks, or the only one, of every cluster that is in use or
/// whose group is unknown. Ends at the end of the device, or when a signal comes.
fn each_cluster(context: &Context<'_>, mut visit: impl FnMut(Blkno, &[&[u8]])) {
    let (geometry, volume) = (context.geometry(), context.volume);
    let on_device = volume.device().size_bytes() >> geometry.cluster_size.bits();
    let end = u32::try_from(on_device).unwrap_or(u32::MAX).min(geometry.clusters);
    let size = volume.block_size().size();
    let bpc = u64::from(geometry.blocks_per_cluster());
    let wanted = bpc.min(2) as usize;
    // Small clusters are read as a whole; of large ones only the wanted blocks.
    let (at_once, each) = match bpc <= SMALL {
        true => ((PIECE_BYTES >> geometry.cluster_size.bits()).max(1) as u32, bpc),
        false => (1, wanted as u64),
    };
    for range in (0..geometry.groups()).flat_map(|group| in_use(context, group, end)) {
        let mut at = range.start;
        while at < range.end {
            if context.interrupt.requested() {
                return;
            }
            let count = at_once.min(range.end - at);
            let first = geometry.block_of(Cluster(at));
            at += count;
            let mut piece = |first: Blkno, clusters: u32, bytes: &[u8]| {
                let clusters = (0..u64::from(clusters)).map(|index| Blkno(first.0 + index * bpc));
                for (blkno, bytes) in clusters.zip(bytes.chunks(size * each as usize)) {
                    let blocks: Vec<_> = bytes.chunks_exact(size).take(wanted).collect();
                    visit(blkno, &blocks);
                }
            };
            match volume.read_blocks(first, count * each as u32) {
                Ok(bytes) => piece(first, count, &bytes),
                // One bad block must not hide the others.
                Err(_) => {
                    for index in 0..u64::from(count) {
                        let first = Blkno(first.0 + index * bpc);
                        let read = volume.read_blocks(first, wanted as u32);
                        let read = read.or_else(|_| volume.read_block(first));
                        if let Ok(bytes) = read {
                            piece(first, 1, &bytes);
                        }
                    }
                }
            }
        }
    }
}

/// Returns the clusters of a group that are in use, up to `end`; all of them if its descriptor
/// cannot be used, or may not be that of this volume.
fn in_use(context: &Context<'_>, group: u32, end: u32) -> Vec<std::ops::Range<u32>> {
    let geometry = context.geometry();
    let start = geometry.group_start(group).0;
    if start >= end {
        return Vec::new();
    }
    let bits = geometry.group_clusters(group).min(end - start) as usize;
    let blkno = geometry.group_blkno(group);
    let read = context.read_block::<GroupDesc>(blkno).ok();
    let signed = read.filter(|block| block.bytes.starts_with(&GroupDesc::SIGNATURE));
    let bitmap = signed.as_ref().and_then(|block| block.bytes.get(GroupDesc::BITMAP_OFFSET..));
    let bitmap = bitmap.filter(|_| context.options.suspects.is_empty());
    let runs = |bytes| Bitmap::new(bytes, bits).runs(true).collect::<Vec<_>>();
    let whole = std::iter::once(0..bits).collect::<Vec<_>>();
    let runs = bitmap.map_or(whole, runs).into_iter();
    runs.map(|run| start + run.start as u32..start + run.end as u32).collect()
}

/// Writes the descriptors, the chains and the counts of an allocator. The inode counts `waiting`
/// bits more than its groups have: otherwise the volume would seem to be smaller.
fn write(
    context: &Context<'_>,
    editor: &mut Editor<'_>,
    allocator: &Allocator,
    members: Vec<Member>,
    waiting: u32,
) -> Result<(), EditError> {
    let mut chains: BTreeMap<usize, Vec<Blkno>> = BTreeMap::new();
    for member in &members {
        chains.entry(member.chain).or_default().push(member.blkno);
    }
    let by_block: BTreeMap<_, _> =
        members.into_iter().map(|member| (member.blkno, (member.node, member.made))).collect();
    let mut records = Vec::new();
    for (number, groups) in chains.values().enumerate() {
        let mut record =
            ChainRec { c_blkno: groups.first().copied().unwrap_or(Blkno(0)), ..Default::default() };
        for (index, blkno) in groups.iter().enumerate() {
            let next = groups.get(index + 1).copied().unwrap_or(Blkno(0));
            let (node, made) = by_block
                .get(blkno)
                .map_or((None, None), |(node, made)| (node.as_ref(), made.as_ref()));
            let bits = match (allocator.suballoc, context.geometry().cluster_of(*blkno)) {
                (None, Some(cluster)) => {
                    let (group, _) = context.geometry().group_of(cluster);
                    context.geometry().group_clusters(group)
                }
                _ => made.map_or_else(|| node.map_or(0, |it| it.bits.into()), |group| group.bits),
            };
            let group = made.or_else(|| node?.group.as_deref());
            let runs = group.map(|group| &group.runs[..]);
            let mut free = 0;
            if node.is_none() {
                // The block is not read, as it may be unreadable.
                editor.create(*blkno, &GroupDesc::default(), |_| {})?;
            }
            editor.block(*blkno, Some(GroupDesc::CHECK_OFFSET), |block| {
                let pieces = runs.filter(|runs| runs.len() > 1 || is_listed(context, block));
                let is_short = pieces.is_some() || node.is_none() && is_short(context, bits);
                let size = size(context, allocator, block, is_short);
                let mut desc = GroupDesc::decode(block).unwrap_or_default();
                desc.bg_signature = GroupDesc::SIGNATURE;
                desc.bg_generation = context.volume.generation();
                desc.bg_parent_dinode = allocator.blkno;
                (desc.bg_blkno, desc.bg_next_group, desc.bg_chain) = (*blkno, next, number as u16);
                (desc.bg_size, desc.bg_bits) = (size, bits as u16);
                let room = usize::from(size);
                let map = block.get_mut(GroupDesc::BITMAP_OFFSET..).unwrap_or_default();
                let map = map.get_mut(..room).unwrap_or_default();
                if node.is_none() {
                    map.fill(0xff);
                }
                let mut all = ocfs2_format::bitmap::BitmapMut::new(map, room * 8);
                all.clear_range(bits as usize, (room * 8).saturating_sub(bits as usize));
                if allocator.suballoc.is_some() {
                    all.set_range(0, 1);
                }
                let bitmap = Bitmap::new(map, bits as usize);
                free = (bitmap.len() - bitmap.count_ones()) as u32;
                if desc.bg_free_bits_count != free as u16 {
                    desc.bg_contig_free_bits = 0;
                }
                desc.bg_free_bits_count = free as u16;
                let _ = desc.encode(block);
                if let Some(runs) = pieces {
                    list(context, block, runs);
                }
            })?;
            record.c_total = record.c_total.saturating_add(bits);
            record.c_free = record.c_free.saturating_add(free);
        }
        records.push(record);
    }
    inode(context, editor, allocator, &records, waiting)
}

/// Returns whether the group has a list of its pieces.
fn is_listed(context: &Context<'_>, block: &[u8]) -> bool {
    let list = block.get(GroupDesc::LIST_OFFSET..).unwrap_or_default();
    let list = ocfs2_format::extent::ExtentList::new(list).ok();
    context.volume.has(Incompat::DISCONTIG_BG)
        && GroupDesc::decode(block).is_ok_and(|desc| {
            desc.bg_size == GroupDesc::DISCONTIG_BITMAP_SIZE
                && list.is_some_and(|list| list.header.l_next_free_rec > 0)
        })
}

/// Returns whether a new group of blocks leaves room for a list of pieces.
fn is_short(context: &Context<'_>, bits: u32) -> bool {
    let most = u32::from(GroupDesc::DISCONTIG_BITMAP_SIZE) * 8;
    context.volume.has(Incompat::DISCONTIG_BG) && bits <= most
}

/// Returns the room of the bitmap, in bytes.
fn size(context: &Context<'_>, allocator: &Allocator, block: &[u8], is_short: bool) -> u16 {
    let (whole, short) =
        (GroupDesc::bitmap_size(context.volume.block_size()), GroupDesc::DISCONTIG_BITMAP_SIZE);
    let stated = GroupDesc::decode(block).map_or(0, |desc| desc.bg_size);
    match allocator.suballoc {
        Some(_) if is_short || stated == short => short,
        _ => whole,
    }
}

/// Writes the list of the pieces of a group.
fn list(context: &Context<'_>, block: &mut [u8], runs: &[ocfs2_volume::allocator::Run]) {
    let bits = context.geometry().bpc_bits();
    let record = |run: &ocfs2_volume::allocator::Run| {
        let clusters = (run.bits >> bits) as u16;
        ExtentRec::leaf(Cpos(run.bit >> bits), clusters, ExtentFlags::empty(), run.blkno)
    };
    let records: Vec<_> = runs.iter().map(record).collect();
    let bytes = block.get_mut(GroupDesc::LIST_OFFSET..).unwrap_or_default();
    bytes.get_mut(ocfs2_format::extent::ExtentListHeader::SIZE..).unwrap_or_default().fill(0);
    let _ = write_extent_list(bytes, 0, &records);
}

/// Writes the chains and the counts into the inode.
fn inode(
    context: &Context<'_>,
    editor: &mut Editor<'_>,
    allocator: &Allocator,
    records: &[ChainRec],
    waiting: u32,
) -> Result<(), EditError> {
    let geometry = *context.geometry();
    let total = records.iter().map(|rec| rec.c_total).fold(waiting, u32::saturating_add);
    let free = records.iter().map(|rec| rec.c_free).fold(0, u32::saturating_add);
    let bpc = allocator.bits_per_cluster(context);
    let cpg = match allocator.suballoc {
        None => GroupDesc::max_bits(geometry.block_size),
        Some(_) => allocator.cpg as u16,
    };
    editor.dinode(allocator.blkno, |dinode, id2| {
        dinode.i_signature = Dinode::SIGNATURE;
        dinode.i_flags |=
            (InodeFlags::VALID | InodeFlags::SYSTEM | InodeFlags::BITMAP | InodeFlags::CHAIN)
                .bits();
        dinode.set_bitmap(total.saturating_sub(free), total);
        dinode.i_clusters = total / bpc.max(1);
        dinode.i_size = u64::from(dinode.i_clusters) << geometry.cluster_size.bits();
        let after = records.len() * ChainRec::SIZE + ChainListHeader::SIZE;
        id2.get_mut(after..).unwrap_or_default().fill(0);
        let _ = write_chain_list(id2, cpg, bpc as u16, records);
    })
}
