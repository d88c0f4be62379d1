//! Refcount trees.

use std::io::Write;

use ocfs2_format::Structure;
use ocfs2_format::refcount::{RefcountBlock, RefcountFlags};

use super::{Out, block_check, extents};
use crate::error::Failure;

/// Shows a refcount block without its list.
pub fn head(out: Out<'_>, bytes: &[u8], is_checked: bool) -> Result<(), Failure> {
    let block = RefcountBlock::decode(bytes)?;
    out.structure(bytes, is_checked)?;
    let (bit, slot) = (block.rf_suballoc_bit, block.rf_suballoc_slot);
    write!(out, "\tSubAlloc Bit: {bit}   SubAlloc Slot: {slot}")?;
    extents::allocated_in(out, block.rf_suballoc_loc)?;
    let generation = block.rf_fs_generation;
    writeln!(out, "\tFS Generation: {generation} ({generation:#x})")?;
    writeln!(out, "\tBlknum: {}   Parent: {}", block.rf_blkno, block.rf_parent)?;
    let (cpos, last) = (block.rf_cpos, block.rf_last_eb_blk);
    writeln!(out, "\tCpos: {cpos}   Last Leaf block: {last}")?;
    let (count, clusters) = (block.rf_count, block.rf_clusters);
    writeln!(out, "\tReftree Count: {count}   Ref clusters: {clusters}")?;
    let names = [(RefcountFlags::LEAF, "Leaf"), (RefcountFlags::TREE, "Tree")];
    let set = names.iter().filter(|(flag, _)| block.flags().contains(*flag));
    let names = set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
    writeln!(out, "\tFlags: {:#x} {names}", block.rf_flags)?;
    Ok(block_check::<RefcountBlock>(out, bytes, is_checked)?)
}

/// Shows a refcount block with its records, but not what it points to.
pub fn block(out: Out<'_>, bytes: &[u8], is_checked: bool) -> Result<(), Failure> {
    head(out, bytes, is_checked)?;
    if RefcountBlock::decode(bytes)?.is_tree() {
        return Ok(());
    }
    let records = RefcountBlock::records(bytes)?;
    let (count, used) = (records.header.rl_count, records.header.rl_used);
    writeln!(out, "\tRefcount records: {count}   Used: {used}")?;
    writeln!(out, "\t### Physical cpos          Clusters       Reference count")?;
    for (index, rec) in records.records().enumerate() {
        let (cpos, clusters, count) = (rec.r_cpos, rec.r_clusters, rec.r_refcount);
        writeln!(out, "\t{index:<3} {cpos:<22} {clusters:<14} {count}")?;
    }
    Ok(())
}
