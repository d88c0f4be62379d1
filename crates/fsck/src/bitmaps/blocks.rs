//! The extent allocators, compared with the blocks of metadata in use other than inodes.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::bitmap::BitmapMut;
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block};

use super::{differences, own_xattrs};
use crate::codes::{Code, chains as codes};
use crate::repair::tree::Sizes;
use crate::repair::{Repair, directory, refcount, share};
use crate::state::State;
use crate::tables::collected::{BlockClaim, BlockUse, TreeUser};
use crate::tables::suballocs::{Bit, Group, Suballoc};
use crate::{Context, Finding, Place};

/// Unused blocks of a finding that are read to see what they hold.
const LOOKED_AT: u32 = 64;

pub(super) fn check(context: &Context<'_>, state: &mut State<'_>) {
    // Nothing needs them later.
    let mut claims = std::mem::take(&mut state.blocks);
    claims.sort_by_key(|claim| claim.blkno);
    let mut findings = Vec::new();
    let mut shared = SharedBlocks::new();
    // The bits in use of each group that has any, without that of the descriptor.
    let mut used: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let movable = Movable {
        sharers: Sharers::of(&claims),
        sizes: Arc::default(),
        users: &state.tree_users,
        adrift: adrift(state, &claims),
    };
    for (index, claim) in claims.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| claims.get(before));
        if let Some(before) = before.filter(|before| before.blkno == claim.blkno) {
            let entry = shared.entry((claim.owner, claim.used_as));
            entry.or_insert((*before, *claim, 0)).2 += 1;
            continue;
        }
        let Some((at, group)) = place(state, claim.blkno) else {
            // It may lie in a group that was lost.
            if !state.lost_groups || state.suballocs.find(claim.blkno).is_some() {
                state.contested.blocks.insert(claim.blkno);
                let text = "lies in no group of an extent allocator";
                let finding = finding(codes::BLOCK_UNALLOCATED, claim, text);
                let repair = movable.moved(claim, None);
                findings.push(finding.repaired_otherwise_by(repair));
            }
            continue;
        };
        let bytes = (group.bits as usize).div_ceil(8);
        let map = used.entry(at.group).or_insert_with(|| vec![0; bytes]);
        BitmapMut::new(map, group.bits as usize).set_range(at.bit as usize, 1);
        suballoc(claim, at, group, &mut findings);
    }
    if !shared.is_empty() && !state.incomplete {
        findings.extend(own_xattrs::findings(context, &state.suballocs, &claims, &used));
    }
    if let ([inode], false) = (&state.without_attributes[..], state.incomplete) {
        findings.extend(own_xattrs::lost(context, &state.suballocs, *inode, &used));
    }
    for (before, claim, count) in shared.values() {
        let repair = movable.moved(claim, Some(before.owner));
        findings.push(shared_finding(before, claim, *count).repaired_otherwise_by(repair));
    }
    for (index, group) in (0..).zip(state.suballocs.groups()) {
        if matches!(group.suballoc, Suballoc::Extents(_)) {
            let used = used.remove(&index);
            compare(context, group, used, state.incomplete, &mut findings);
        }
    }
    state.found_all(findings);
}

/// Returns the group of an extent allocator that has a block, and the bit of the block.
fn place<'a>(state: &'a State<'_>, blkno: Blkno) -> Option<(Bit, &'a Group)> {
    let at = state.suballocs.find(blkno).filter(|at| at.bit > 0)?;
    let group = state.suballocs.group(at)?;
    matches!(group.suballoc, Suballoc::Extents(_)).then_some((at, group))
}

/// Returns the blocks of refcount trees that are in no group of an extent allocator, by tree.
fn adrift(state: &State<'_>, claims: &[BlockClaim]) -> BTreeMap<Blkno, Vec<Blkno>> {
    let mut adrift: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let of_trees = claims.iter().filter(|claim| claim.used_as == BlockUse::RefcountBlock);
    for claim in of_trees.filter(|claim| place(state, claim.blkno).is_none()) {
        adrift.entry(claim.owner).or_default().push(claim.blkno);
    }
    adrift
}

fn finding(code: &'static Code, claim: &BlockClaim, text: impl std::fmt::Display) -> Finding {
    let BlockClaim { owner, blkno, used_as, .. } = claim;
    let text = format!("{} {blkno}: {text}", used_as.name());
    Finding::new(code, Place::block(*blkno).of(*owner), text)
}

/// Blocks with several owners, by the later owner and their use: the first of them with the claim
/// before it, and how many more there are.
type SharedBlocks = BTreeMap<(Blkno, BlockUse), (BlockClaim, BlockClaim, u64)>;

/// The largest number of owners, itself included, that any block of an inode has. Inodes that share
/// nothing are not in it.
struct Sharers(HashMap<Blkno, u64>);

impl Sharers {
    /// Counts the owners by `claims`, which are in the order of blocks.
    fn of(claims: &[BlockClaim]) -> Self {
        let mut sharers = HashMap::new();
        for same in claims.chunk_by(|one, next| one.blkno == next.blkno) {
            for claim in same.iter().filter(|_| same.len() > 1) {
                let most: &mut u64 = sharers.entry(claim.owner).or_default();
                *most = (*most).max(same.len() as u64);
            }
        }
        Self(sharers)
    }

    fn of_inode(&self, owner: Blkno) -> u64 {
        self.0.get(&owner).copied().unwrap_or(1)
    }
}

fn shared_finding(first: &BlockClaim, second: &BlockClaim, count: u64) -> Finding {
    let mut text = format!(
        "is used by inode {}, and by inode {} as {}",
        second.owner,
        first.owner,
        first.used_as.name()
    );
    if count > 1 {
        text += &format!("; so are {} more of inode {}", count - 1, second.owner);
    }
    finding(codes::BLOCK_SHARED, second, text)
}

/// Compares where a block says it was allocated from with where it is.
fn suballoc(claim: &BlockClaim, at: Bit, group: &Group, findings: &mut Vec<Finding>) {
    let (slot, bit, loc) = claim.suballoc;
    let expected = group.suballoc.slot();
    if slot != expected {
        let text = format!("states slot {slot}, is from that of {}", group.suballoc.file_name());
        let repair = restamp(claim, expected, at, group);
        findings.push(finding(codes::BLOCK_SUBALLOC, claim, text).repaired_by(repair));
    }
    let misled = u32::from(bit) != at.bit || !loc.is_none() && loc != group.blkno;
    // Without `suballoc_loc` the bit alone identifies the block, but only in a contiguous group.
    let lost = loc.is_none() && group.runs.len() > 1;
    if misled || lost {
        let text =
            format!("states bit {bit} of group {loc}, is {} of group {}", at.bit, group.blkno);
        let repair = restamp(claim, expected, at, group);
        findings.push(finding(codes::BLOCK_SUBALLOC_BIT, claim, text).repaired_by(repair));
    }
}

/// What is needed to give the owner of a block another block.
struct Movable<'a> {
    sharers: Sharers,
    sizes: Arc<Sizes>,
    /// The users of refcount trees, by tree.
    users: &'a [TreeUser],
    /// The blocks of refcount trees that are in no group, by tree.
    adrift: BTreeMap<Blkno, Vec<Blkno>>,
}

impl Movable<'_> {
    /// Returns the repair that gives the owner of a block another one. `other` is the other owner,
    /// if there is one.
    fn moved(&self, claim: &BlockClaim, other: Option<Blkno>) -> Option<Repair> {
        let owner = claim.owner;
        match claim.used_as {
            BlockUse::ExtentBlock => {
                let (owners, sizes) = (self.sharers.of_inode(owner), Arc::clone(&self.sizes));
                Some(share::new_extent_blocks(owner, other, owners, sizes))
            }
            BlockUse::XattrBlock => Some(share::new_xattr_block(owner)),
            BlockUse::DxRoot => Some(directory::drop_index(owner)),
            BlockUse::RefcountBlock => {
                // Its blocks are claimed by its root, to which all its users point.
                let users = self.users_of(owner).iter().map(|user| user.inode).collect();
                let adrift = self.adrift.get(&owner).filter(|_| other.is_none());
                let olds = adrift.map_or([claim.blkno].into(), |all| all[..].into());
                Some(refcount::move_blocks(owner, users, olds))
            }
        }
    }

    fn users_of(&self, tree: Blkno) -> &[TreeUser] {
        let start = self.users.partition_point(|user| user.tree < tree);
        let end = self.users.partition_point(|user| user.tree <= tree);
        self.users.get(start..end).unwrap_or_default()
    }
}

/// Writes into a block where it was allocated from.
fn restamp(claim: &BlockClaim, slot: u16, at: Bit, group: &Group) -> Repair {
    let (blkno, bit, loc) = (claim.blkno, at.bit as u16, group.blkno);
    match claim.used_as {
        BlockUse::ExtentBlock => Repair::extent_block(blkno, move |block, _| {
            (block.h_suballoc_slot, block.h_suballoc_bit, block.h_suballoc_loc) = (slot, bit, loc);
        }),
        BlockUse::DxRoot => Repair::header(blkno, move |root: &mut DxRoot, _| {
            (root.dr_suballoc_slot, root.dr_suballoc_bit, root.dr_suballoc_loc) = (slot, bit, loc);
        }),
        BlockUse::XattrBlock => Repair::header(blkno, move |block: &mut XattrBlock, _| {
            (block.xb_suballoc_slot, block.xb_suballoc_bit, block.xb_suballoc_loc) =
                (slot, bit, loc);
        }),
        BlockUse::RefcountBlock => Repair::header(blkno, move |block: &mut RefcountBlock, _| {
            (block.rf_suballoc_slot, block.rf_suballoc_bit, block.rf_suballoc_loc) =
                (slot, bit, loc);
        }),
    }
}

/// Compares the bitmap of a group with the blocks of it that are in use.
fn compare(
    context: &Context<'_>,
    group: &Group,
    used: Option<Vec<u8>>,
    incomplete: bool,
    findings: &mut Vec<Finding>,
) {
    let bits = group.bits as usize;
    let mut expected = used.unwrap_or_else(|| vec![0; bits.div_ceil(8)]);
    let mut map = BitmapMut::new(&mut expected, bits);
    map.set_range(0, 1);
    let mut stored = vec![0; bits.div_ceil(8)];
    let mut copy = BitmapMut::new(&mut stored, bits);
    for run in group.bitmap().runs(true) {
        copy.set_range(run.start, run.len());
    }
    // Pass 0 checked the descriptor's own bit.
    copy.set_range(0, 1);
    let wrong = differences(&stored, &expected, bits, 0);
    for wrong in wrong.into_iter().filter(|wrong| !wrong.is_set || !incomplete) {
        let first = group.block_of_bit(wrong.start).unwrap_or(group.blkno);
        let file = group.suballoc.file_name();
        let what = match wrong.end - wrong.start {
            1 => format!("block {first}, bit {} of group {}, is", wrong.start, group.blkno),
            count => format!(
                "{count} blocks from {first} on, bits {} to {} of group {}, are",
                wrong.start,
                wrong.end - 1,
                group.blkno
            ),
        };
        let how = match wrong.is_set {
            true => format!("set in {file} and used by nobody"),
            false => format!("in use and clear in {file}"),
        };
        let place = Place::block(first).named(file.as_bytes());
        let (blkno, bits, set) = (group.blkno, wrong.start..wrong.end, !wrong.is_set);
        let repair = Repair::new(move |editor| editor.change_bits(blkno, &bits, set));
        let finding = Finding::new(codes::EXTENT_ALLOC_BIT, place, format!("{what} {how}"));
        let may_lose = wrong.is_set && holds_metadata(context, group, wrong.start..wrong.end);
        findings.push(finding.repaired_by(repair).losing(may_lose));
    }
}

/// Returns whether some of the blocks may be in use after all, as what pointed to them may be
/// damaged: they look like metadata, cannot be read, or are too many to be read.
fn holds_metadata(context: &Context<'_>, group: &Group, bits: Range<u32>) -> bool {
    let signatures = [
        ExtentBlock::SIGNATURE,
        XattrBlock::SIGNATURE,
        DxRoot::SIGNATURE,
        RefcountBlock::SIGNATURE,
    ];
    let looks_used = |bit| {
        let block = group.block_of_bit(bit).map(|blkno| context.volume.read_block(blkno));
        let Some(Ok(block)) = block else { return true };
        signatures.iter().any(|signature| block.starts_with(signature))
    };
    bits.len() > LOOKED_AT as usize || bits.into_iter().any(looks_used)
}
