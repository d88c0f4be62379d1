//! Blocks of metadata that were written to the place of another one.
//!
//! A single wrong number is corrected. Where a block's number, bit and group all say that it
//! belongs elsewhere, and it or its counterpart is there, that is so: taken for the one whose place it
//! has, it would show under one file's name what is another file's.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Structure, check};
use ocfs2_volume::Volume;

use crate::codes::inodes as codes;
use crate::repair::Repair;
use crate::{Finding, Place};

/// What a block says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Identity {
    signature: [u8; 8],
    blkno: Blkno,
    bit: u16,
    loc: Blkno,
}

/// Which block is in the place that another one belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Home {
    /// That one itself.
    Own,
    /// The one whose place that one has.
    Exchanged,
}

/// The finding that `block`, which is in block `here`, belongs elsewhere; `place` is what it is part
/// of.
pub(crate) fn finding(
    volume: &Volume,
    (structure, here): (&str, Blkno),
    block: &[u8],
    place: Place,
) -> Option<Finding> {
    let identity = Identity::of(block)?;
    let home = identity.blkno;
    let what = match at_home(volume, &identity, here)? {
        Home::Own => format!("is a copy of that in block {home}, in the place of another one"),
        Home::Exchanged => format!("belongs to block {home}, and the one there belongs here"),
    };
    let text = format!("{structure} {here}: {what}");
    let repair = Repair::first_once("misplaced block", here.0.min(home.0), move |editor| {
        let volume = editor.volume();
        let bytes = volume.read_block(here)?;
        // The repair of the other one may have been made.
        let found = Identity::of(&bytes).and_then(|identity| at_home(volume, &identity, here));
        match found {
            None => Ok(()),
            Some(Home::Own) if bytes.starts_with(&Dinode::SIGNATURE) => editor.delete_inode(here),
            // What was in its place is lost, which is found by its being none.
            Some(Home::Own) => editor.block(here, None, |block| block.fill(0)),
            Some(Home::Exchanged) => {
                let other = volume.read_block(home)?;
                volume.write_raw(here, &other)?;
                Ok(volume.write_raw(home, &bytes)?)
            }
        }
    });
    Some(Finding::new(codes::BLOCK_MISPLACED, place, text).repaired_by(repair))
}

/// What is where a block belongs that is in block `here`, if it belongs elsewhere.
fn at_home(volume: &Volume, identity: &Identity, here: Blkno) -> Option<Home> {
    let home = identity.blkno;
    if home == here || !identity.is_consistent(volume) {
        return None;
    }
    let mut block = volume.read_block(home).ok()?;
    if volume.has(Incompat::META_ECC) {
        check::correct(&mut block, identity.check_offset());
    }
    let there = Identity::of(&block).filter(|there| there.signature == identity.signature)?;
    match there.blkno {
        blkno if blkno == home => Some(Home::Own),
        blkno if blkno == here && there.is_consistent(volume) => Some(Home::Exchanged),
        _ => None,
    }
}

impl Identity {
    fn of(block: &[u8]) -> Option<Self> {
        let signature: [u8; 8] = block.get(..8)?.try_into().ok()?;
        let (blkno, bit, loc) = match signature {
            Dinode::SIGNATURE => {
                let inode = Dinode::decode(block).ok()?;
                let in_use = inode.flags().contains(InodeFlags::VALID);
                in_use.then_some((inode.i_blkno, inode.i_suballoc_bit, inode.i_suballoc_loc))?
            }
            ExtentBlock::SIGNATURE => {
                let it = ExtentBlock::decode(block).ok()?;
                (it.h_blkno, it.h_suballoc_bit, it.h_suballoc_loc)
            }
            XattrBlock::SIGNATURE => {
                let it = XattrBlock::decode(block).ok()?;
                (it.xb_blkno, it.xb_suballoc_bit, it.xb_suballoc_loc)
            }
            RefcountBlock::SIGNATURE => {
                let it = RefcountBlock::decode(block).ok()?;
                (it.rf_blkno, it.rf_suballoc_bit, it.rf_suballoc_loc)
            }
            _ => return None,
        };
        Some(Self { signature, blkno, bit, loc })
    }

    fn check_offset(&self) -> usize {
        match self.signature {
            ExtentBlock::SIGNATURE => ExtentBlock::CHECK_OFFSET,
            XattrBlock::SIGNATURE => XattrBlock::CHECK_OFFSET,
            RefcountBlock::SIGNATURE => RefcountBlock::CHECK_OFFSET,
            _ => Dinode::CHECK_OFFSET,
        }
    }

    /// Whether its group has at its bit the block whose number it states. In a group of several
    /// pieces that cannot be told.
    fn is_consistent(&self, volume: &Volume) -> bool {
        let bit = u64::from(self.bit);
        let loc = match self.loc {
            loc if loc.is_none() => self.blkno.0.checked_sub(bit).map(Blkno),
            loc => Some(loc),
        };
        let Some(loc) = loc.filter(|loc| volume.geometry().is_valid_block(*loc)) else {
            return false;
        };
        let group = volume.read_block(loc).ok().and_then(|it| GroupDesc::decode(&it).ok());
        let is_group = group.is_some_and(|group| {
            group.bg_signature == GroupDesc::SIGNATURE
                && group.bg_blkno == loc
                && group.bg_generation == volume.generation()
                && bit < u64::from(group.bg_bits)
        });
        is_group && loc.0.checked_add(bit) == Some(self.blkno.0)
    }
}
