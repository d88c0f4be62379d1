//! What the superblock states about attributes, compared with the inodes of the volume.
//!
//! All hashes of attributes begin with one number, and all inodes reserve the same room for them:
//! one wrong bit of these would make all attributes of the volume wrong.

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::uuid_hash;
use ocfs2_format::superblock::{SuperBlock, XATTR_INLINE_SIZE};
use ocfs2_format::xattr::XattrBlock;
use ocfs2_volume::{Inode, Volume};

use crate::codes::start as codes;
use crate::read::one_bit;
use crate::repair::system;
use crate::{Context, Finding, Place};

/// Inodes with attributes that are compared, and inodes among which they are searched for.
const ASKED: usize = 64;
const SEEN: usize = 1 << 17;

/// Returns what is wrong with either number, if inodes agree on another one and none with the
/// stated one.
pub(crate) fn check(context: &Context<'_>) -> Vec<Finding> {
    let volume = context.volume;
    let superblock = volume.superblock();
    let hash = uuid_hash(&superblock.s_uuid);
    let is_usual =
        superblock.s_xattr_inline_size == XATTR_INLINE_SIZE && superblock.s_uuid_hash == hash;
    if is_usual || !volume.has(Incompat::XATTR) {
        return Vec::new();
    }
    let inodes = volume.inodes().take(SEEN).take_while(|_| !context.interrupt.requested());
    let with = inodes.filter_map(Result::ok).filter(|inode| {
        inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR)
            && !inode.dinode.i_xattr_loc.is_none()
            || inode.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR)
    });
    let asked: Vec<_> = with.take(ASKED).collect();
    let mut findings = Vec::new();
    let room = superblock.s_xattr_inline_size;
    let stated = asked.iter().map(|inode| inode.dinode.i_xattr_inline_size);
    let mut stated = stated.filter(|size| *size > 0).peekable();
    if room != XATTR_INLINE_SIZE
        && stated.peek().is_some()
        && stated.all(|it| it == XATTR_INLINE_SIZE)
    {
        let text = format!("s_xattr_inline_size is {room}, inodes have {XATTR_INLINE_SIZE}");
        findings.push(finding(volume, &text, |it| it.s_xattr_inline_size = XATTR_INLINE_SIZE));
    }
    let now = superblock.s_uuid_hash;
    let areas: Vec<_> = asked.iter().filter_map(|inode| area(volume, inode)).collect();
    let agree = |seed| areas.iter().filter(|area| one_bit::is_sound(area, seed)).count();
    if now != hash && agree(hash) > 0 && agree(now) == 0 {
        let text =
            format!("s_uuid_hash is {now:#010x}, attributes have that of the UUID, {hash:#010x}");
        findings.push(finding(volume, &text, move |it| it.s_uuid_hash = hash));
    }
    findings
}

fn finding(
    volume: &Volume,
    text: &str,
    change: impl Fn(&mut SuperBlock) + Send + Sync + 'static,
) -> Finding {
    let place = Place::block(volume.found_superblock().blkno);
    let repair = system::superblock(move |_, it| change(it));
    Finding::new(codes::SUPERBLOCK_FIELD, place, format!("superblock: {text}")).repaired_by(repair)
}

/// Returns the attributes in an inode, or in its block if they are not in buckets.
fn area(volume: &Volume, inode: &Inode) -> Option<Vec<u8>> {
    if inode.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) {
        let block = inode.block();
        let start = block.len().checked_sub(XATTR_INLINE_SIZE.into())?;
        return block.get(start..).map(<[u8]>::to_vec);
    }
    let block = volume.read_block(inode.dinode.i_xattr_loc).ok()?;
    block.get(XattrBlock::AREA_OFFSET..).map(<[u8]>::to_vec)
}
