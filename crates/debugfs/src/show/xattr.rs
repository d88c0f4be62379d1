//! Extended attributes.

use std::io::Write;

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::xattr::{
    BUCKET_SIZE, XattrArea, XattrBlock, XattrEntry, XattrHeader, XattrTreeRoot, XattrValueRoot,
};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::Inode;
use ocfs2_volume::tree::{Extent, Tree};

use super::{Out, extents};
use crate::error::{Explain, Failure, Problem};
use crate::volume::Fs;

/// Shows the attributes of an inode and counts them.
pub struct Attributes<'f> {
    fs: &'f Fs,
    inode: &'f Inode,
    /// Whether each is shown.
    is_verbose: bool,
    total: u32,
}

impl<'f> Attributes<'f> {
    /// For this inode.
    pub fn new(fs: &'f Fs, inode: &'f Inode, is_verbose: bool) -> Self {
        Self { fs, inode, is_verbose, total: 0 }
    }

    /// Shows all attributes.
    pub fn show(mut self, out: Out<'_>) -> Result<(), Failure> {
        let dinode = &self.inode.dinode;
        if !dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            return Ok(());
        }
        if dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) {
            let block = self.inode.block();
            let start = block.len().saturating_sub(dinode.i_xattr_inline_size.into());
            let area = XattrArea::new(block.get(start..).unwrap_or_default())?;
            place(out, "inline", self.inode.blkno, area.header.xh_count)?;
            writeln!(out, "\tExtended Attributes inline: {}", area.header.xh_count)?;
            self.area(out, &area)?;
        } else {
            writeln!(out, "\tExtended Attributes inline: 0")?;
        }
        if !dinode.i_xattr_loc.is_none() {
            self.block(out, dinode.i_xattr_loc)?;
        }
        writeln!(out)?;
        writeln!(out, "\tExtended attributes in total: {}", self.total)?;
        Ok(())
    }

    fn area(&mut self, out: Out<'_>, area: &XattrArea<'_>) -> Result<(), Failure> {
        self.total = self.total.saturating_add(area.header.xh_count.into());
        if !self.is_verbose || area.header.xh_count == 0 {
            return Ok(());
        }
        area_rows(out, area, |out, root| {
            extents::tree(out, self.fs, &XattrValueRoot::list(root)?, self.inode.blkno)
        })
    }

    fn block(&mut self, out: Out<'_>, blkno: Blkno) -> Result<(), Failure> {
        let problem = Problem::BadMagic("extended attribute block");
        let block = self.fs.signed(blkno, &XattrBlock::SIGNATURE, problem);
        let block = block.explain(|| format!("while reading xattr block {blkno}"))?;
        if XattrBlock::decode(&block)?.is_indexed() {
            return self.index(out, blkno, &block);
        }
        let area = XattrBlock::area(&block)?;
        let count = area.header.xh_count;
        place(out, "block", blkno, count)?;
        writeln!(out, "\tExtended Attributes in block #{blkno}: {count}")?;
        self.area(out, &area)
    }

    fn index(&mut self, out: Out<'_>, blkno: Blkno, block: &[u8]) -> Result<(), Failure> {
        let list = XattrTreeRoot::list(block)?;
        let (depth, used) = (list.header.l_tree_depth, list.header.l_next_free_rec);
        writeln!(
            out,
            "\tExtended Attributes extent tree in index block #{blkno}  Depth: {depth}  Records: \
             {used}"
        )?;
        if self.is_verbose {
            extents::list(out, &list)?;
        }
        let tree = Tree::new(&self.fs.volume, blkno, &list).map_err(Problem::from)?;
        let context = || format!("while reading the buckets of xattr block {blkno}");
        let extents: Result<Vec<_>, _> = tree.extents().collect();
        // In the order of the C tool, from the highest hash down.
        extents.explain(context)?.iter().rev().try_for_each(|extent| self.extent(out, extent))
    }

    fn extent(&mut self, out: Out<'_>, extent: &Extent) -> Result<(), Failure> {
        let first = self.bucket(extent.blkno, 0)?;
        let buckets = XattrHeader::decode(&first)?.xh_num_buckets;
        let (blkno, clusters) = (extent.blkno, extent.clusters);
        writeln!(
            out,
            "\tExtended Attributes extent record start at #{blkno}  Has clusters: {clusters}  Has \
             buckets: {buckets}"
        )?;
        let bytes = u64::from(clusters) << self.fs.volume.geometry().cluster_size.bits();
        let room = bytes / BUCKET_SIZE as u64;
        for index in (0..buckets).take_while(|index| u64::from(*index) < room) {
            let bucket = self.bucket(blkno, index)?;
            let area = XattrArea::new(&bucket)?;
            let count = area.header.xh_count;
            place(out, "bucket", blkno, count)?;
            writeln!(out, "\t\tExtended Attributes in bucket #{index}: {count}")?;
            self.area(out, &area)?;
        }
        Ok(())
    }

    fn bucket(&self, first: Blkno, index: u16) -> Result<Vec<u8>, Failure> {
        let blocks = (BUCKET_SIZE / self.fs.volume.block_size().size()) as u32;
        self.fs.check()?;
        let blkno = Blkno(first.0 + u64::from(index) * u64::from(blocks));
        let read = self.fs.volume.read_blocks(blkno, blocks);
        read.explain(|| format!("while reading xattr bucket {blkno}"))
    }
}

/// Adds the record of a place of attributes and their number.
fn place(out: Out<'_>, place: &str, blkno: Blkno, count: u16) -> Result<(), Failure> {
    out.record("attributes", |it| {
        it.put("place", place).put("block", blkno.0).put("count", count)
    })?;
    Ok(())
}

/// Shows the attributes of an area; `value` shows one that is outside, by its root.
pub fn area_rows(
    out: Out<'_>,
    area: &XattrArea<'_>,
    mut value: impl FnMut(Out<'_>, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    writeln!(out, "\t###   Type   Inline  Name Length    Value Length")?;
    for (index, (entry, item)) in area.entries().zip(area.items()).enumerate() {
        let kind = entry.xe_type & !XattrEntry::LOCAL;
        let (is_local, name, size) =
            (u8::from(entry.is_local()), entry.xe_name_len, entry.xe_value_size);
        out.row(
            "attribute_entry",
            |it| {
                let it = it.put("type", kind).put("is_local", entry.is_local());
                it.put("name_length", name).put("value_length", size)
            },
            format_args!("\t#{index:<2}   {kind:<6} {is_local:<7} {name:<14} {size:<13}"),
        )?;
        if let (false, Ok(item)) = (entry.is_local(), item) {
            value(out, item.stored)?;
        }
    }
    Ok(())
}
