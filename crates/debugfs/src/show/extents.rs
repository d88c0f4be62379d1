//! Extent lists, extent blocks and trees.

use std::io::Write;

use ocfs2_format::extent::{ExtentBlock, ExtentFlags, ExtentList, MAX_TREE_DEPTH};
use ocfs2_format::{Blkno, Block, Structure};

use super::{Out, Shown, block_check};
use crate::error::{Explain, Failure, Problem};
use crate::volume::{Fs, Visited};

const FLAGS: [(ExtentFlags, &str); 2] =
    [(ExtentFlags::UNWRITTEN, "Unwritten"), (ExtentFlags::REFCOUNTED, "Refcounted")];

/// Shows a list with its records.
pub fn list(out: Out<'_>, list: &ExtentList<'_>) -> Shown {
    let header = list.header;
    let (depth, count, used) = (header.l_tree_depth, header.l_count, header.l_next_free_rec);
    writeln!(out, "\tTree Depth: {depth}   Count: {count}   Next Free Rec: {used}")?;
    if used == 0 {
        return Ok(());
    }
    let title = "## Offset        Clusters       Block#";
    if depth > 0 {
        writeln!(out, "\t{title}")?;
        for (index, rec) in list.records().enumerate() {
            let (cpos, clusters) = (rec.e_cpos.0, rec.e_int_clusters());
            writeln!(out, "\t{index:<2} {cpos:<13} {clusters:<14} {}", rec.e_blkno)?;
        }
        return Ok(());
    }
    writeln!(out, "\t{title}          Flags")?;
    for (index, rec) in list.records().enumerate() {
        let (cpos, clusters) = (rec.e_cpos.0, rec.e_leaf_clusters());
        let flags = rec.e_flags();
        let set = FLAGS.iter().filter(|(flag, _)| flags.contains(*flag));
        let mut names: Vec<_> = set.map(|(_, name)| *name).collect();
        if !FLAGS.iter().fold(flags, |left, (flag, _)| left.difference(*flag)).is_empty() {
            names.push("unknown");
        }
        let names = names.join(" ");
        let (blkno, bits) = (rec.e_blkno.0, flags.bits());
        writeln!(out, "\t{index:<2} {cpos:<13} {clusters:<14} {blkno:<13}   {bits:#x} {names}")?;
    }
    Ok(())
}

/// Shows an extent block without its list.
fn header(out: Out<'_>, eb: &ExtentBlock) -> Shown {
    let (bit, slot) = (eb.h_suballoc_bit, eb.h_suballoc_slot);
    write!(out, "\tSubAlloc Bit: {bit}   SubAlloc Slot: {slot}")?;
    allocated_in(out, eb.h_suballoc_loc)?;
    writeln!(out, "\tBlknum: {}   Next Leaf: {}", eb.h_blkno, eb.h_next_leaf_blk)
}

/// Ends a line with the group that something was allocated in, if known.
pub fn allocated_in(out: Out<'_>, group: Blkno) -> Shown {
    if !group.is_none() {
        write!(out, "   SubAlloc Group: {group}")?;
    }
    writeln!(out)
}

/// Shows an extent block of any depth.
pub fn extent_block(out: Out<'_>, block: &[u8], is_checked: bool) -> Result<(), Failure> {
    let decoded = ExtentBlock::decode(block)?;
    out.structure(block, is_checked)?;
    header(out, &decoded)?;
    block_check::<ExtentBlock>(out, block, is_checked)?;
    list(out, &ExtentBlock::list(block)?)?;
    Ok(())
}

/// Shows a list, and the extent blocks below it.
pub fn tree(out: Out<'_>, fs: &Fs, root: &ExtentList<'_>, owner: Blkno) -> Result<(), Failure> {
    list(out, root)?;
    below(out, fs, root, owner)
}

/// Shows the extent blocks below a list.
pub fn below(out: Out<'_>, fs: &Fs, root: &ExtentList<'_>, owner: Blkno) -> Result<(), Failure> {
    let mut visited = Visited::default();
    descend(out, fs, root, owner, &mut visited)
}

fn descend(
    out: Out<'_>,
    fs: &Fs,
    list: &ExtentList<'_>,
    owner: Blkno,
    visited: &mut Visited,
) -> Result<(), Failure> {
    if list.header.l_tree_depth == 0 {
        return Ok(());
    }
    for rec in list.records().filter(|rec| !rec.e_blkno.is_none()) {
        let context = || format!("while traversing inode at block {owner}");
        if !visited.first(rec.e_blkno) {
            let blkno = rec.e_blkno;
            let text = format!("Extent block {blkno} was reached before {}", context());
            return Err(Failure::Failed(text));
        }
        let problem = Problem::BadMagic("extent block");
        let block = fs.signed(rec.e_blkno, &ExtentBlock::SIGNATURE, problem).explain(context)?;
        extent_block(out, &block, fs.has_checks())?;
        let child = ExtentBlock::list(&block).explain(context)?;
        // A block whose depth does not decrease is shown, but not followed.
        if child.header.l_tree_depth < list.header.l_tree_depth.min(MAX_TREE_DEPTH + 1) {
            descend(out, fs, &child, owner, visited)?;
        }
    }
    Ok(())
}
