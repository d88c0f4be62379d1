//! Bits of allocators: their places, their states, and the owners of what they stand for.

use std::ops::Range;

use ocfs2_format::dinode::Arm;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, backup_blocks};
use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::{Inode, SystemFile};

use super::change::refused;
use super::only;
use crate::error::{Explain, Failure};
use crate::owned::Owned;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::group::Group;
use crate::volume::Fs;
use crate::words::number_of;

/// Consecutive bits of a group.
#[derive(Clone, Debug)]
pub struct Bits {
    /// The allocator.
    pub file: SystemFile,
    /// The block of the group's descriptor.
    pub group: Blkno,
    /// The range of bits.
    pub bits: Range<u32>,
}

/// Which allocators a block may belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Of {
    /// The allocators of inodes.
    Inodes,
    /// The allocators of inodes and of other metadata.
    Any,
}

/// Parses a range of clusters: the first one, and optionally their number.
pub fn clusters(fs: &Fs, words: &[Vec<u8>]) -> Result<Range<u32>, Failure> {
    let (first, count) = match words {
        [first] => (first, None),
        [first, count] => (first, Some(count)),
        _ => return Err(Failure::Usage),
    };
    let start = number_of::<u32>(first)?;
    let end = start.checked_add(count.map_or(Ok(1), |count| number_of(count))?);
    let is_there = |end: &u32| start < *end && *end <= fs.volume.geometry().clusters;
    let end = end.filter(is_there);
    Ok(start..end.ok_or_else(|| refused(first, "is not followed by so many clusters"))?)
}

/// The bits of clusters, by group.
pub fn bits_of(fs: &Fs, clusters: &Range<u32>) -> Vec<Bits> {
    let (geometry, mut all) = (fs.volume.geometry(), Vec::new());
    let mut start = clusters.start;
    while start < clusters.end {
        let (index, bit) = geometry.group_of(Cluster(start));
        let room = geometry.group_clusters(index).saturating_sub(bit).max(1);
        let count = room.min(clusters.end - start);
        let (file, group) = (SystemFile::GlobalBitmap, geometry.group_blkno(index));
        all.push(Bits { file, group, bits: bit..bit + count });
        start += count;
    }
    all
}

/// Finds the bit of a block of metadata.
pub fn bit_of(fs: &Fs, blkno: Blkno, of: Of) -> Result<Bits, Failure> {
    for file in allocators(fs, of) {
        let allocator = fs.volume.allocator(fs.volume.system_file(file)?)?;
        for group in fs.volume.groups(&allocator) {
            fs.check()?;
            // Damaged groups are for a check to find.
            let Ok(group) = group else { continue };
            if let Some(bit) = group.bit_of_block(blkno) {
                return Ok(Bits { file, group: group.blkno, bits: bit..bit + 1 });
            }
        }
    }
    let what = if of == Of::Inodes { "inodes" } else { "blocks of metadata" };
    Err(Failure::Failed(format!("Block {blkno} is in no group of {what}")))
}

fn allocators(fs: &Fs, of: Of) -> Vec<SystemFile> {
    let slots = || 0..fs.volume.max_slots();
    let inodes = std::iter::once(SystemFile::GlobalInodeAlloc);
    let inodes = inodes.chain(slots().map(SystemFile::InodeAlloc));
    let blocks = slots().filter(|_| of == Of::Any).map(SystemFile::ExtentAlloc);
    inodes.chain(blocks).collect()
}

/// Whether each of the bits is set, in order.
pub fn are_set(fs: &Fs, bits: &Bits) -> Result<Vec<bool>, Failure> {
    let context = || format!("while reading group {}", bits.group);
    let group = Group::read(fs, bits.group).explain(context)?;
    let bitmap = group.bitmap().explain(context)?;
    Ok(bits.bits.clone().map(|bit| bitmap.get(bit as usize)).collect())
}

/// Finds the owner of one of these blocks. Fails if something cannot be read, since that may be the
/// owner. Groups of allocators own all their blocks only `with_groups`.
pub fn user_of(fs: &Fs, blocks: &Range<u64>, with_groups: bool) -> Result<Option<String>, Failure> {
    let geometry = *fs.volume.geometry();
    let meets = |range: &Range<u64>| range.start < blocks.end && blocks.start < range.end;
    let whole = |blkno: Blkno| {
        let first = geometry.cluster_of(blkno).map_or(blkno, |it| geometry.block_of(it));
        first.0..first.0 + u64::from(geometry.blocks_per_cluster())
    };
    let backups = backup_blocks(geometry.block_size, geometry.blocks());
    if meets(&(0..whole(SUPERBLOCK_BLKNO).end)) || backups.map(whole).any(|it| meets(&it)) {
        return Ok(Some("the superblock or a backup of it".to_owned()));
    }
    if with_groups {
        if (0..geometry.groups()).any(|index| meets(&whole(geometry.group_blkno(index)))) {
            return Ok(Some("a group of the global bitmap".to_owned()));
        }
        for file in allocators(fs, Of::Any) {
            let allocator = fs.volume.allocator(fs.volume.system_file(file)?)?;
            for group in fs.volume.groups(&allocator) {
                fs.check()?;
                let runs = group?.runs;
                let runs = runs.iter().map(|run| run.blkno.0..run.blkno.0 + u64::from(run.bits));
                if runs.into_iter().any(|it| meets(&it)) {
                    return Ok(Some(file.name()));
                }
            }
        }
    }
    for inode in fs.volume.inodes() {
        fs.check()?;
        let inode = inode?;
        let has_one = blocks.contains(&inode.blkno.0)
            || Owned::of(fs, &inode).iter().any(meets)
            || contents(fs, &inode)?.iter().any(meets);
        if has_one {
            return Ok(Some(format!("inode {}", inode.blkno)));
        }
    }
    Ok(None)
}

/// The blocks of the contents of an inode, and of its tree.
fn contents(fs: &Fs, inode: &Inode) -> Result<Vec<Range<u64>>, Failure> {
    if inode.dinode.arm() != Arm::ExtentList {
        return Ok(Vec::new());
    }
    let (tree, bits) = (fs.tree(inode)?, fs.volume.geometry().bpc_bits());
    let (mut extents, mut found) = (tree.extents(), Vec::new());
    for extent in extents.by_ref() {
        fs.check()?;
        let extent = extent?;
        found.push(extent.blkno.0..extent.blkno.0 + (u64::from(extent.clusters) << bits));
    }
    found.extend(extents.extent_blocks().map(|blkno| blkno.0..blkno.0 + 1));
    Ok(found)
}

/// `testb`
pub(super) fn testb(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let wanted = clusters(fs, words)?;
    let mut set = Vec::new();
    for bits in bits_of(fs, &wanted) {
        set.extend(are_set(fs, &bits)?);
    }
    let mut cluster = wanted.start;
    for run in set.chunk_by(|one, next| one == next) {
        let state = if run.first() == Some(&true) { "in use" } else { "free" };
        let end = cluster + run.len() as u32;
        let text = match run.len() {
            1 => format!("Cluster {cluster} is {state}"),
            _ => format!("Clusters {cluster} to {} are {state}", end - 1),
        };
        let is_used = run.first() == Some(&true);
        out.row(
            "clusters",
            |it| it.put("first", cluster).put("last", end - 1).put("in_use", is_used),
            format_args!("{text}"),
        )?;
        cluster = end;
    }
    Ok(())
}

/// `testi`
pub(super) fn testi(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = only(words)?;
    let blkno = shell.find(fs, word).of(word)?;
    let is_set = are_set(fs, &bit_of(fs, blkno, Of::Any)?)?.contains(&true);
    let state = if is_set { "in use" } else { "free" };
    out.row(
        "block",
        |it| it.put("block", blkno.0).put("in_use", is_set),
        format_args!("Block {blkno} is {state}"),
    )?;
    Ok(())
}

/// `ffb`
pub(super) fn ffb(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let of = |word: Option<&Vec<u8>>, default| word.map_or(Ok(default), |word| number_of(word));
    let (count, goal) = (of(words.first(), 1)?, of(words.get(1), 0)?);
    let geometry = fs.volume.geometry();
    let goal = Cluster(u32::try_from(goal).unwrap_or(u32::MAX).min(geometry.clusters));
    for index in geometry.group_of(goal).0..geometry.groups() {
        let blkno = geometry.group_blkno(index);
        let group = Group::read(fs, blkno).explain(|| format!("while reading group {blkno}"))?;
        let start = geometry.group_start(index).0;
        let least = goal.0.saturating_sub(start) as usize;
        for run in group.bitmap()?.runs(false) {
            let first = run.start.max(least);
            if run.end.saturating_sub(first) as u64 >= count.max(1) {
                let first = u64::from(start) + first as u64;
                let last = first + count.max(1) - 1;
                let text = match count {
                    0 | 1 => format!("Free cluster found: {first}"),
                    _ => format!("Free clusters found: {first} to {last}"),
                };
                out.row(
                    "clusters",
                    |it| it.put("first", first).put("last", last).put("in_use", false),
                    format_args!("{text}"),
                )?;
                return Ok(());
            }
        }
    }
    Err(Failure::Failed(format!("There are no {count} free clusters in a row")))
}

/// `ffi`
pub(super) fn ffi(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let slot: u64 = words.first().map_or(Ok(0), |word| number_of(word))?;
    let slot = u16::try_from(slot).ok().filter(|slot| *slot < fs.volume.max_slots());
    let slot = slot.ok_or_else(|| Failure::Failed("Invalid node slot number".to_owned()))?;
    let file = SystemFile::InodeAlloc(slot);
    let allocator = fs.volume.allocator(fs.volume.system_file(file)?)?;
    for group in fs.volume.groups(&allocator) {
        fs.check()?;
        let group = group?;
        let free = group.bitmap().next(false, 0).and_then(|bit| group.block_of_bit(bit as u32));
        if let Some(blkno) = free {
            out.row(
                "block",
                |it| it.put("block", blkno.0).put("in_use", false),
                format_args!("Free inode found: {blkno}"),
            )?;
            return Ok(());
        }
    }
    Err(Failure::Failed(format!("No group of {} has a free inode", file.name())))
}

/// `imap`
pub(super) fn imap(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = only(words)?;
    let blkno = shell.find(fs, word).of(word)?;
    let Bits { file, group, bits } = bit_of(fs, blkno, Of::Any)?;
    let at = blkno.offset_bytes(fs.volume.block_size()).unwrap_or_default();
    let (bit, name) = (bits.start, file.name());
    out.row(
        "bit",
        |it| {
            let it = it.put("block", blkno.0).put("bit", bit).put("group", group.0);
            it.put("allocator", name.as_str()).put("byte", at)
        },
        format_args!("Block {blkno} is bit {bit} of group {group} of {name}, at byte {at:#x}"),
    )?;
    Ok(())
}
