//! The places of the contents of files, and who shares them.

use std::io::Write;
use std::ops::Range;

use ocfs2_format::dinode::{Arm, DynFeatures};
use ocfs2_format::extent::ExtentFlags;
use ocfs2_volume::Inode;

use super::files::inode_of;
use super::only;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::Fs;

/// Numbers per line.
const IN_A_LINE: usize = 10;

/// `extents`
pub(super) fn extents(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let inode = inode_of(shell, fs, only(words)?)?;
    let context = || format!("while traversing inode at block {}", inode.blkno);
    let bits = fs.volume.geometry().bpc_bits();
    let mut count = 0_u64;
    if inode.dinode.arm() == Arm::ExtentList {
        writeln!(out, "\t##    Logical         Physical        Blocks     Flags")?;
        for extent in fs.tree(&inode).explain(context)?.extents() {
            fs.check()?;
            let extent = extent.explain(context)?;
            let mut flags = Vec::new();
            if extent.flags.contains(ExtentFlags::UNWRITTEN) {
                flags.push("unwritten");
            }
            if extent.flags.contains(ExtentFlags::REFCOUNTED) {
                flags.push("shared");
            }
            let logical = u64::from(extent.cpos.0) << bits;
            let (physical, blocks) = (extent.blkno.0, u64::from(extent.clusters) << bits);
            let flags = flags.join(" ");
            out.row(
                "extent",
                |it| {
                    let it = it.put("logical", logical).put("physical", physical);
                    let it = it.put("blocks", blocks);
                    let is = |flag| extent.flags.contains(flag);
                    let it = it.put("unwritten", is(ExtentFlags::UNWRITTEN));
                    it.put("shared", is(ExtentFlags::REFCOUNTED))
                },
                format_args!("\t{count:<5} {logical:<15} {physical:<15} {blocks:<10} {flags}"),
            )?;
            count += 1;
        }
    }
    let end = if count == 1 { "" } else { "s" };
    writeln!(out, "Inode {}: {count} extent{end}", inode.blkno)?;
    Ok(())
}

/// `blocks`
pub(super) fn blocks(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let inode = inode_of(shell, fs, only(words)?)?;
    let context = || format!("while traversing inode at block {}", inode.blkno);
    if inode.dinode.arm() != Arm::ExtentList {
        return Ok(());
    }
    let (bits, mut count) = (fs.volume.geometry().bpc_bits(), 0);
    for extent in fs.tree(&inode).explain(context)?.extents() {
        let extent = extent.explain(context)?;
        let first = extent.blkno.0;
        let blocks = u64::from(extent.clusters) << bits;
        out.record("blocks", |it| it.put("first", first).put("count", blocks))?;
        let listed = if out.is_json() { 0 } else { blocks };
        for blkno in first..first + listed {
            fs.check()?;
            count += 1;
            let end = if count % IN_A_LINE == 0 { "\n" } else { " " };
            write!(out, "{blkno}{end}")?;
        }
    }
    if count % IN_A_LINE != 0 {
        writeln!(out)?;
    }
    Ok(())
}

/// The clusters of an inode that may be shared, in order.
fn shared(fs: &Fs, inode: &Inode) -> Result<Vec<Range<u64>>, Failure> {
    let mut found = Vec::new();
    if inode.dinode.arm() != Arm::ExtentList {
        return Ok(found);
    }
    let bits = fs.volume.geometry().bpc_bits();
    for extent in fs.tree(inode)?.extents() {
        fs.check()?;
        let extent = extent?;
        if extent.flags.contains(ExtentFlags::REFCOUNTED) {
            let first = extent.blkno.0 >> bits;
            found.push(first..first + u64::from(extent.clusters));
        }
    }
    found.sort_unstable_by_key(|range| range.start);
    Ok(found)
}

/// The number of clusters in both lists, which have to be in order.
fn common(one: &[Range<u64>], other: &[Range<u64>]) -> u64 {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut sum = 0;
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        sum += a.end.min(b.end).saturating_sub(a.start.max(b.start));
        if a.end <= b.end {
            one.next();
        } else {
            other.next();
        }
    }
    sum
}

/// `sharers`
pub(super) fn sharers(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let inode = inode_of(shell, fs, only(words)?)?;
    let (blkno, root) = (inode.blkno, inode.dinode.i_refcount_loc);
    let has_counts = |inode: &Inode| {
        inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT)
            && inode.dinode.i_refcount_loc == root
    };
    if root.is_none() || !has_counts(&inode) {
        return Err(Failure::Failed(format!("Inode {blkno} does not have a refcount tree")));
    }
    let own = shared(fs, &inode)?;
    writeln!(out, "\tInode           Number of clusters it shares with inode {blkno}")?;
    let mut is_whole = true;
    for other in fs.volume.inodes() {
        fs.check()?;
        let Ok(other) = other else {
            is_whole = false;
            continue;
        };
        if other.blkno != blkno && has_counts(&other) {
            match shared(fs, &other) {
                Ok(clusters) => {
                    let (other, clusters) = (other.blkno.0, common(&own, &clusters));
                    if clusters == 0 {
                        continue;
                    }
                    out.row(
                        "sharer",
                        |it| it.put("inode", other).put("clusters", clusters),
                        format_args!("\t{other:<15} {clusters}"),
                    )?;
                }
                Err(Failure::Failed(_)) => is_whole = false,
                Err(err) => return Err(err),
            }
        }
    }
    match is_whole {
        true => Ok(()),
        false => Err(Failure::Failed("Inodes that cannot be read are left out".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::common;

    #[test]
    fn what_is_in_both_is_counted_once() {
        assert_eq!(common(&[0..4, 10..20], &[2..11, 15..16, 18..30]), 2 + 1 + 1 + 2);
        assert_eq!(common(&[0..4, 5..6], &[]), 0);
    }
}
