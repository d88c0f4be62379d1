//! Blocks of metadata that were written to the place of another one.
//!
//! A single wrong number is corrected. If a block's number, bit and group all say that it belongs
//! elsewhere, it does: taken for the block whose place it has, it would show another file's
//! contents under a file's name. Such blocks are put back where they belong, unless that place
//! holds its own block; then they are copies, and what they replaced is lost.

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::{Inode, Volume};

use super::corrected::correct;

/// Blocks in the places of each other that are put back together.
const MOST: usize = 64;

/// What a block states about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Identity {
    signature: [u8; 8],
    blkno: Blkno,
    bit: u16,
    loc: Blkno,
}

/// The chain of blocks that are in each other's places.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Way {
    /// Blocks with the places where they belong.
    pub moves: Vec<(Blkno, Vec<u8>)>,
    /// Set if nothing belongs to the first place, so that its own block is lost: the home of the
    /// last block, which holds its own block, or was empty.
    pub copy_of: Option<Blkno>,
}

/// Returns whether the block at `here` is in the place of another one, which is lost.
pub(crate) fn is_copy(volume: &Volume, here: Blkno) -> bool {
    Way::from(volume, here).is_some_and(|way| way.copy_of.is_some())
}

/// Returns what a block states about itself and its allocation, if it is of an allocator.
pub(crate) fn stated(block: &[u8]) -> Option<Suballocated> {
    let signature: [u8; 8] = block.get(..8)?.try_into().ok()?;
    Some(match signature {
        Dinode::SIGNATURE => (&Dinode::decode(block).ok()?).into(),
        ExtentBlock::SIGNATURE => (&ExtentBlock::decode(block).ok()?).into(),
        XattrBlock::SIGNATURE => (&XattrBlock::decode(block).ok()?).into(),
        RefcountBlock::SIGNATURE => (&RefcountBlock::decode(block).ok()?).into(),
        DxRoot::SIGNATURE => (&DxRoot::decode(block).ok()?).into(),
        _ => return None,
    })
}

/// Returns whether the block at `here` is in the place of another one.
pub(crate) fn is_elsewhere(volume: &Volume, here: Blkno) -> bool {
    Way::from(volume, here).is_some()
}

/// Returns whether a block says that it is the one at `blkno`, and the group that it names has
/// allocated it.
pub(crate) fn is_in_place(volume: &Volume, block: &[u8], blkno: Blkno) -> bool {
    Identity::of(block)
        .filter(|identity| identity.blkno == blkno)
        .is_some_and(|identity| identity.group(volume).is_some_and(|group| group.has(blkno)))
}

/// Returns whether the group that an inode names has the inode's block at its bit.
pub(crate) fn is_of_its_bit(volume: &Volume, inode: &Inode) -> bool {
    let dinode = &inode.dinode;
    let (bit, loc) = (dinode.i_suballoc_bit, dinode.i_suballoc_loc);
    let identity = Identity { signature: dinode.i_signature, blkno: inode.blkno, bit, loc };
    identity.group(volume).is_some()
}

impl Way {
    /// Follows the block at `here` to where it belongs, the block there to where that belongs, and
    /// so on. `None` if the block is in its place, or that is unknown.
    pub fn from(volume: &Volume, here: Blkno) -> Option<Self> {
        let mut moves: Vec<(Blkno, Vec<u8>)> = Vec::new();
        let mut at = here;
        while moves.len() < MOST {
            let bytes = read(volume, at)?;
            let identity = Identity::of(&bytes)?;
            let home = identity.blkno;
            let group = identity.group(volume)?;
            // A block that the allocator has not allocated may be a part of a file.
            let is_inode = identity.signature == Dinode::SIGNATURE;
            if home == at || !is_inode && !group.has(at) {
                return None;
            }
            if home == here {
                moves.push((home, bytes));
                return Some(Self { moves, copy_of: None });
            }
            if moves.iter().any(|(place, _)| *place == home) {
                return None;
            }
            let there = read(volume, home)?;
            if is_own(&there, &identity) {
                return Some(Self { moves, copy_of: Some(home) });
            }
            let is_next = Identity::of(&there).is_some_and(|there| {
                there.signature == identity.signature && there.group(volume).is_some()
            });
            moves.push((home, bytes));
            match is_next {
                true => at = home,
                // The place is empty. Nothing is moved to the first place.
                false if there.iter().all(|byte| *byte == 0) => {
                    return Some(Self { moves, copy_of: Some(home) });
                }
                false => return None,
            }
        }
        None
    }
}

/// Returns whether a block at the place of `identity` is its own, or was before it was deleted.
fn is_own(block: &[u8], identity: &Identity) -> bool {
    if !block.starts_with(&identity.signature) {
        return false;
    }
    match Dinode::decode(block) {
        Ok(dinode) if identity.signature == Dinode::SIGNATURE => dinode.i_blkno == identity.blkno,
        _ => Identity::of(block).is_some_and(|there| there.blkno == identity.blkno),
    }
}

/// Reads a block with a single wrong bit corrected.
fn read(volume: &Volume, blkno: Blkno) -> Option<Vec<u8>> {
    if !volume.geometry().is_valid_block(blkno) {
        return None;
    }
    let mut block = volume.read_block(blkno).ok()?;
    let offset = match block.get(..8).and_then(|it| <[u8; 8]>::try_from(it).ok())? {
        ExtentBlock::SIGNATURE => ExtentBlock::CHECK_OFFSET,
        XattrBlock::SIGNATURE => XattrBlock::CHECK_OFFSET,
        RefcountBlock::SIGNATURE => RefcountBlock::CHECK_OFFSET,
        _ => Dinode::CHECK_OFFSET,
    };
    correct(volume, &mut block, offset);
    Some(block)
}

/// Returns whether the global bitmap has a descriptor there. Its bits are clusters, not blocks.
fn is_of_bitmap(volume: &Volume, group: Blkno) -> bool {
    let geometry = volume.geometry();
    geometry
        .cluster_of(group)
        .is_some_and(|cluster| geometry.group_blkno(geometry.group_of(cluster).0) == group)
}

/// A group of an allocator.
struct Group {
    first: Blkno,
    bits: usize,
    bitmap: Vec<u8>,
}

impl Group {
    /// Returns whether a block of it is allocated.
    fn has(&self, blkno: Blkno) -> bool {
        let bit = blkno.0.checked_sub(self.first.0).and_then(|bit| usize::try_from(bit).ok());
        bit.is_some_and(|bit| {
            (1..self.bits).contains(&bit) && Bitmap::new(&self.bitmap, self.bits).get(bit)
        })
    }
}

impl Identity {
    fn of(block: &[u8]) -> Option<Self> {
        let signature: [u8; 8] = block.get(..8)?.try_into().ok()?;
        let is_one = match signature {
            Dinode::SIGNATURE => Dinode::decode(block).ok()?.flags().contains(InodeFlags::VALID),
            DxRoot::SIGNATURE => false,
            _ => true,
        };
        let Suballocated { blkno, bit, loc, .. } = stated(block).filter(|_| is_one)?;
        Some(Self { signature, blkno, bit, loc })
    }

    /// Returns the group that it names, if that has the stated block at the stated bit. That is
    /// unknown for a discontiguous group.
    fn group(&self, volume: &Volume) -> Option<Group> {
        let bit = u64::from(self.bit);
        let first = match self.loc {
            loc if loc.is_none() => Blkno(self.blkno.0.checked_sub(bit)?),
            loc => loc,
        };
        if !volume.geometry().is_valid_block(first) {
            return None;
        }
        let block = volume.read_block(first).ok()?;
        let desc = GroupDesc::decode(&block).ok()?;
        let is_group = desc.bg_signature == GroupDesc::SIGNATURE
            && desc.bg_blkno == first
            && !is_of_bitmap(volume, first)
            && desc.bg_generation == volume.generation()
            && bit < u64::from(desc.bg_bits)
            && first.0.checked_add(bit) == Some(self.blkno.0);
        let bitmap = block.get(GroupDesc::BITMAP_OFFSET..)?.to_vec();
        let bits = usize::from(desc.bg_bits).min(8 * bitmap.len());
        is_group.then_some(Group { first, bits, bitmap })
    }
}
