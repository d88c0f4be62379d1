//! One group descriptor.

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::extent::ExtentList;
use ocfs2_format::feature::Incompat;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::allocator::Run;

use super::discontiguous;
use super::list::Allocator;
use crate::codes::{chains as codes, general};
use crate::read::misplaced;
use crate::repair::Repair;
use crate::tables::suballocs::Group;
use crate::{Context, Finding};

/// Blocks in use of a piece of a group that are asked which group they are of.
const MOST_LOOKS: usize = 4;

/// What a block is.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// It cannot be read.
    Unreadable(Finding),
    /// It is not a group descriptor.
    NoGroup,
    /// It is a group descriptor.
    Group(Node),
}

/// A group as if it had been mended.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The index of the allocator for which it was examined.
    pub allocator: usize,
    /// The next group of its chain.
    pub next: Blkno,
    /// The inode of the allocator that it states.
    pub parent: Blkno,
    /// The chain that it states.
    pub chain: u16,
    pub generation: u32,
    /// The number of bits.
    pub bits: u16,
    /// The number of clear bits.
    pub free: u16,
    /// Whether block number, allocator, generation and place are what they have to be.
    pub familiar: bool,
    /// Whether the global bitmap has no group there.
    pub unexpected: bool,
    /// Whether only the first bit is set.
    pub is_unused: bool,
    /// What is wrong with it, apart from parent, chain and generation.
    pub findings: Vec<Finding>,
    /// What later passes need of a group of blocks; `None` if it cannot be used.
    pub group: Option<Box<Group>>,
}

/// Examines a block as a group of an allocator, whose index is `index`.
pub(super) fn examine(
    context: &Context<'_>,
    index: usize,
    allocator: &Allocator,
    blkno: Blkno,
) -> Seen {
    let block = match context.read_block::<GroupDesc>(blkno) {
        Ok(block) => block,
        Err(finding) => {
            let place = finding.place.clone().of(allocator.blkno);
            return Seen::Unreadable(Finding { place, ..finding });
        }
    };
    let Ok(desc) = GroupDesc::decode(&block.bytes) else { return Seen::NoGroup };
    let place = Place::new(context, allocator, blkno);
    let is_signed = desc.bg_signature == GroupDesc::SIGNATURE;
    let familiar = desc.bg_blkno == blkno
        && desc.bg_parent_dinode == allocator.blkno
        && desc.bg_generation == context.volume.generation()
        && place.is_some();
    if !is_signed && !familiar {
        return Seen::NoGroup;
    }
    let mut findings = Vec::new();
    let finding = |code, text: String| allocator.group_finding(code, blkno, text);
    if !is_signed {
        findings.push(finding(codes::CHAIN_LINK_MAGIC, "has no signature".to_owned()));
    }
    let ecc = block.ecc_finding(GroupDesc::NAME, general::BLOCK_ECC);
    let rewritten = || Repair::block_check::<GroupDesc>(blkno);
    findings.extend(ecc.map(|finding| finding.repaired_by(rewritten())));
    if desc.bg_blkno != blkno {
        findings.push(finding(codes::GROUP_BLKNO, format!("bg_blkno is {}", desc.bg_blkno)));
    }
    let place = place.unwrap_or(Place { bits: desc.bg_bits.into(), is_known: false });
    let mut look = Look { context, allocator, blkno, desc: &desc, block: &block.bytes, findings };
    let free = look.bitmap(place.bits);
    let is_first_set = block.bytes.get(GroupDesc::BITMAP_OFFSET).is_some_and(|byte| byte & 1 != 0);
    let group = allocator.suballoc.and_then(|suballoc| {
        let runs = look.runs(place.bits)?;
        let bitmap = block.bytes.get(GroupDesc::BITMAP_OFFSET..).unwrap_or_default();
        Some(Box::new(Group::new(suballoc, blkno, runs, place.bits, bitmap)))
    });
    Seen::Group(Node {
        allocator: index,
        next: desc.bg_next_group,
        parent: desc.bg_parent_dinode,
        chain: desc.bg_chain,
        generation: desc.bg_generation,
        bits: place.bits as u16,
        free: free as u16,
        familiar,
        unexpected: !place.is_known,
        is_unused: is_first_set && free + 1 == place.bits,
        findings: look.findings,
        group,
    })
}

/// What follows from the place of a group.
struct Place {
    bits: u32,
    is_known: bool,
}

impl Place {
    /// `None` if the global bitmap cannot have a group there.
    fn new(context: &Context<'_>, allocator: &Allocator, blkno: Blkno) -> Option<Self> {
        let geometry = context.geometry();
        let bits = match allocator.suballoc {
            Some(_) => allocator.bits_per_group(context),
            None => geometry.group_clusters(expected_group(geometry, blkno)?),
        };
        Some(Self { bits, is_known: true })
    }
}

/// Returns the number of the group of the global bitmap whose descriptor is in this block.
pub(super) fn expected_group(geometry: &Geometry, blkno: Blkno) -> Option<u32> {
    let (index, _) = geometry.group_of(geometry.cluster_of(blkno)?);
    (geometry.group_blkno(index) == blkno).then_some(index)
}

/// A descriptor that is examined.
struct Look<'a> {
    context: &'a Context<'a>,
    allocator: &'a Allocator,
    blkno: Blkno,
    desc: &'a GroupDesc,
    block: &'a [u8],
    findings: Vec<Finding>,
}

impl<'a> Look<'a> {
    fn found(&mut self, code: &'static crate::codes::Code, text: String) {
        self.findings.push(self.allocator.group_finding(code, self.blkno, text));
    }

    /// Returns the list of its pieces, if it is or should be a discontiguous group.
    fn list(&self) -> Option<ExtentList<'a>> {
        if self.allocator.suballoc.is_none() || !self.context.volume.has(Incompat::DISCONTIG_BG) {
            return None;
        }
        let list = ExtentList::new(self.block.get(GroupDesc::LIST_OFFSET..)?).ok()?;
        // A plausible list counts even if `bg_size` or the number of its records does not.
        let first = list.record(0)?;
        let fits = usize::from(list.header.l_count) == list.capacity()
            && first.e_blkno == self.blkno
            && first.e_leaf_clusters() > 0;
        let stated = self.desc.bg_size == GroupDesc::DISCONTIG_BITMAP_SIZE
            && list.header.l_next_free_rec > 0;
        (fits || stated).then_some(list)
    }

    /// Verifies the bitmap and its counts. Returns the number of clear bits.
    fn bitmap(&mut self, bits: u32) -> u32 {
        let block_size = self.context.volume.block_size();
        let (whole, short) = (GroupDesc::bitmap_size(block_size), GroupDesc::DISCONTIG_BITMAP_SIZE);
        let stated = self.desc.bg_size;
        let size = match self.list() {
            Some(_) => short,
            // Groups of either kind may be older than the last change of the feature.
            None if self.allocator.suballoc.is_some() && stated == short => short,
            None => whole,
        };
        if stated != size {
            self.found(codes::GROUP_SIZE, format!("bg_size is {stated}, expected {size}"));
        }
        if u32::from(self.desc.bg_bits) != bits {
            let text = format!("bg_bits is {}, expected {bits}", self.desc.bg_bits);
            self.found(codes::GROUP_BITS, text);
        }
        let bytes = self.block.get(GroupDesc::BITMAP_OFFSET..).unwrap_or_default();
        let bitmap = Bitmap::new(bytes, bits as usize);
        let room = Bitmap::new(bytes, usize::from(size) * 8);
        if let Some(bit) = room.next(true, bits as usize) {
            let text = format!("bit {bit} is set, there are {bits}");
            self.found(codes::GROUP_BITMAP_TAIL, text);
        }
        let free = (bitmap.len() - bitmap.count_ones()) as u32;
        let stated = self.desc.bg_free_bits_count;
        let text = format!("bg_free_bits_count is {stated}, {free} bits are clear");
        match u32::from(stated).cmp(&free) {
            std::cmp::Ordering::Greater => self.found(codes::GROUP_FREE_BITS, text),
            std::cmp::Ordering::Less => self.found(codes::GROUP_FREE_BITS_LOW, text),
            std::cmp::Ordering::Equal => {}
        }
        if self.allocator.suballoc.is_some() && !bitmap.get(0) {
            let text = "bit 0, which stands for the descriptor, is clear".to_owned();
            self.found(codes::GROUP_DESC_BIT, text);
        }
        free
    }

    /// Returns the pieces that belong to the group. A piece does not if blocks of it name another
    /// group, and none names this one.
    fn own(&mut self, runs: Vec<Run>) -> Vec<Run> {
        let bytes = self.block.get(GroupDesc::BITMAP_OFFSET..).unwrap_or_default();
        let bitmap = Bitmap::new(bytes, bytes.len() * 8);
        let is_others = |run: &Run| {
            let bits = run.bit.max(1)..run.bit.saturating_add(run.bits);
            let used = bits.filter(|bit| bitmap.get(*bit as usize)).take(MOST_LOOKS);
            let mut is_any = false;
            for is_own in used.filter_map(|bit| self.is_own(run, bit)) {
                if is_own {
                    return false;
                }
                is_any = true;
            }
            is_any
        };
        let (others, own): (Vec<_>, Vec<_>) = runs.into_iter().partition(is_others);
        for Run { bit, bits, blkno } in others {
            let text = format!(
                "{bits} blocks from {blkno} on, for its bits from {bit} on, are of another group"
            );
            self.found(codes::DISCONTIG_BG_REC_RANGE, text);
        }
        own
    }

    /// Returns whether the block that a bit stands for names this group; `None` if it names none.
    fn is_own(&self, run: &Run, bit: u32) -> Option<bool> {
        let blkno = Blkno(run.blkno.0.saturating_add(u64::from(bit - run.bit)));
        let block = self.context.volume.read_block(blkno).ok()?;
        let stated =
            misplaced::stated(&block).filter(|it| it.blkno == blkno && !it.loc.is_none())?;
        Some(stated.loc == self.blkno)
    }

    /// Returns the blocks that it covers; `None` if that is unknown.
    fn runs(&mut self, bits: u32) -> Option<Vec<Run>> {
        let geometry = self.context.geometry();
        if let Some(list) = self.list() {
            let cpg = self.allocator.cpg;
            let runs = discontiguous::runs(self.context, self.blkno, cpg, &list, |code, text| {
                self.findings.push(self.allocator.group_finding(code, self.blkno, text));
            });
            let runs = runs.map(|runs| self.own(runs));
            return runs.filter(|runs| runs.first().is_some_and(|first| first.bit == 0));
        }
        let is_aligned = self.blkno.0.is_multiple_of(geometry.blocks_per_cluster().into());
        if !is_aligned || !geometry.is_valid_range(self.blkno, bits.into()) {
            let text = match is_aligned {
                true => format!("has {bits} blocks, the volume ends at {}", geometry.blocks()),
                false => "does not begin with a cluster".to_owned(),
            };
            self.found(codes::GROUP_PLACE, text);
            return None;
        }
        Some(vec![Run { bit: 0, bits, blkno: self.blkno }])
    }
}
