//! Indexes of directories.

use std::io::Write;

use ocfs2_format::Structure;
use ocfs2_format::dx::{DxEntryList, DxLeaf, DxRoot};

use super::{Out, Shown, bits, block_check, extents};
use crate::error::Failure;

/// Shows the root of an index, without what it points to. For an inline one the counts appear
/// twice, as in the C tool.
pub fn root(out: Out<'_>, block: &[u8], is_checked: bool) -> Result<(), Failure> {
    let root = DxRoot::decode(block)?;
    let entries = DxRoot::entries(block)?;
    out.structure(block, is_checked)?;
    let (blkno, generation) = (root.dr_blkno, root.dr_fs_generation);
    writeln!(out, "\tDir Index Root: {blkno}   FS Generation: {generation} ({generation:#x})")?;
    let (clusters, last, dir) = (root.dr_clusters, root.dr_last_eb_blk, root.dr_dir_blkno);
    writeln!(out, "\tClusters: {clusters}   Last Extblk: {last}   Dir Inode: {dir}")?;
    let slot = match root.dr_suballoc_slot {
        u16::MAX => "Invalid Slot".to_owned(),
        slot => slot.to_string(),
    };
    let bit = root.dr_suballoc_bit;
    write!(out, "\tSub Alloc Slot: {slot}   Sub Alloc Bit: {bit}")?;
    extents::allocated_in(out, root.dr_suballoc_loc)?;
    let flags = root.dr_flags;
    writeln!(out, "\tFlags: ({flags:#x}) {}", bits(flags.into(), &[(1, "Inline")]))?;
    writeln!(out, "\tTotal Entry Count: {}", root.dr_num_entries)?;
    block_check::<DxRoot>(out, block, is_checked)?;
    if root.is_inline() {
        counts(out, &entries)?;
    }
    Ok(())
}

fn counts(out: Out<'_>, list: &DxEntryList<'_>) -> Shown {
    let (count, used) = (list.header.de_count, list.header.de_num_used);
    writeln!(out, "\tCount: {count}  Num Used: {used}")
}

/// Shows the entries of a root or a leaf.
pub fn entries(out: Out<'_>, list: &DxEntryList<'_>) -> Shown {
    counts(out, list)?;
    writeln!(out, "\t## Hash (Major Minor)         Dir Block#   ")?;
    for (index, entry) in list.records().enumerate() {
        let (major, minor) = (entry.dx_major_hash, entry.dx_minor_hash);
        let blkno = entry.dx_dirent_blk.0;
        writeln!(out, "\t {index:<2} ({major:#010x} {minor:#010x})    {blkno:<13}")?;
    }
    Ok(())
}

/// Shows a leaf with its entries.
pub fn leaf(out: Out<'_>, block: &[u8], is_checked: bool) -> Result<(), Failure> {
    let leaf = DxLeaf::decode(block)?;
    let list = DxLeaf::entries(block)?;
    out.structure(block, is_checked)?;
    let (blkno, generation) = (leaf.dl_blkno, leaf.dl_fs_generation);
    writeln!(out, "\tDir Index Leaf: {blkno}  FS Generation: {generation} ({generation:#x})")?;
    block_check::<DxLeaf>(out, block, is_checked)?;
    Ok(entries(out, &list)?)
}
