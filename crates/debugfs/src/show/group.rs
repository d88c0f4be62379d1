//! Chain lists and the groups of allocators.

use std::io::Write;

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::chain::ChainList;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure};

use super::{Out, Shown, block_check, extents};
use crate::error::{Explain, Failure, Problem};
use crate::volume::{Fs, Visited};

/// A group, read from its descriptor block.
pub struct Group {
    /// The descriptor.
    pub desc: GroupDesc,
    /// The whole block.
    pub block: Vec<u8>,
}

impl Group {
    /// The group with the descriptor block `block`.
    pub fn of(block: Vec<u8>) -> Result<Self, Problem> {
        Ok(Self { desc: GroupDesc::decode(&block)?, block })
    }

    /// Reads a group.
    pub fn read(fs: &Fs, blkno: Blkno) -> Result<Self, Problem> {
        let problem = Problem::BadMagic("group descriptor");
        Self::of(fs.signed(blkno, &GroupDesc::SIGNATURE, problem)?)
    }

    /// The bits of the group.
    pub fn bitmap(&self) -> Result<Bitmap<'_>, Problem> {
        Ok(self.desc.bitmap(&self.block)?)
    }

    /// The number of used bits by its counters.
    pub fn used(&self) -> u16 {
        self.desc.bg_bits.wrapping_sub(self.desc.bg_free_bits_count)
    }

    /// The longest run of free bits.
    fn longest(&self) -> usize {
        let runs = self.bitmap().ok().map(|bitmap| bitmap.runs(false));
        runs.into_iter().flatten().map(|run| run.len()).max().unwrap_or(0)
    }
}

/// The title of the list of a chain, whose first group is `group`.
pub fn title(out: Out<'_>, group: &Group, is_checked: bool) -> Shown {
    let GroupDesc { bg_chain, bg_parent_dinode, bg_generation, .. } = group.desc;
    writeln!(
        out,
        "\tGroup Chain: {bg_chain}   Parent Inode: {bg_parent_dinode}  Generation: {bg_generation}"
    )?;
    block_check::<GroupDesc>(out, &group.block, is_checked)?;
    writeln!(out, "\t##   Block#            Total    Used     Free     Contig   Size  ")
}

/// Shows a group as a line of that list, with its extents if it is discontiguous.
pub fn row(out: Out<'_>, index: usize, group: &Group, can_be_in_pieces: bool) -> Shown {
    let GroupDesc { bg_blkno, bg_bits, bg_free_bits_count: free, bg_size, .. } = group.desc;
    let (blkno, used, longest) = (bg_blkno.0, group.used(), group.longest());
    writeln!(
        out,
        "\t{index:<2}   {blkno:<15}   {bg_bits:<8} {used:<8} {free:<8} {longest:<8} {bg_size:<6}"
    )?;
    match group.desc.discontiguous(&group.block).filter(|_| can_be_in_pieces) {
        Some(list) => extents::list(out, &list),
        None => Ok(()),
    }
}

/// Shows a group and all after it in its chain.
pub fn chain(out: Out<'_>, fs: &Fs, first: Blkno) -> Result<(), Failure> {
    let mut is_titled = false;
    let mut index = 0;
    each(fs, first, |group| {
        if !is_titled {
            title(out, group, fs.has_checks())?;
            is_titled = true;
        }
        out.structure(&group.block, fs.has_checks())?;
        row(out, index, group, fs.can_have_pieces())?;
        index += 1;
        Ok(())
    })
}

/// Calls `show` for a group and all after it in its chain.
pub fn each(
    fs: &Fs,
    first: Blkno,
    mut show: impl FnMut(&Group) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut visited = Visited::default();
    let mut next = first;
    while !next.is_none() {
        let context = || format!("while reading block group descriptor {next}");
        if !visited.first(next) {
            return Err(Failure::Failed(format!("Group {next} was reached before {}", context())));
        }
        let group = Group::read(fs, next).explain(context)?;
        show(&group)?;
        next = group.desc.bg_next_group;
    }
    Ok(())
}

/// Shows the chains of an allocator.
pub fn chains(out: Out<'_>, list: &ChainList<'_>) -> Shown {
    let header = list.header;
    let (cpg, bpc) = (header.cl_cpg, header.cl_bpc);
    writeln!(out, "\tClusters per Group: {cpg}   Bits per Cluster: {bpc}")?;
    let (count, used) = (header.cl_count, header.cl_next_free_rec);
    writeln!(out, "\tCount: {count}   Next Free Rec: {used}")?;
    if used == 0 {
        return Ok(());
    }
    writeln!(out, "\t##   Total        Used         Free         Block#")?;
    for (index, rec) in list.records().enumerate() {
        let (total, free) = (rec.c_total, rec.c_free);
        let used = total.wrapping_sub(free);
        writeln!(out, "\t{index:<2}   {total:<12} {used:<12} {free:<12} {}", rec.c_blkno)?;
    }
    Ok(())
}
