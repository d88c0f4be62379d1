//! Commands about the indexes of directories.

use ocfs2_format::dir::DirTrailer;
use ocfs2_format::dx::{DxLeaf, DxRoot};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::tree::Tree;

use super::blocks::block;
use super::files::inode_of;
use super::only;
use crate::error::{Explain, Failure, Problem};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::parts::Shape;
use crate::show::{dir, dx, extents};
use crate::volume::{Fs, Visited};

pub(super) fn root_block(fs: &Fs, blkno: Blkno) -> Result<Vec<u8>, Failure> {
    let bytes = fs.signed(blkno, &DxRoot::SIGNATURE, Problem::DirCorrupt);
    bytes.explain(|| format!("while reading dx dir root block {blkno}"))
}

pub(super) fn leaf_block(fs: &Fs, blkno: Blkno) -> Result<Vec<u8>, Failure> {
    let bytes = fs.signed(blkno, &DxLeaf::SIGNATURE, Problem::DirCorrupt);
    bytes.explain(|| format!("while reading dx dir leaf block {blkno}"))
}

/// `dx_root`
pub(super) fn dx_root(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let blkno = block(fs, only(words)?)?;
    let bytes = root_block(fs, blkno)?;
    dx::root(out, &bytes, fs.has_checks())?;
    if !DxRoot::decode(&bytes)?.is_inline() {
        extents::tree(out, fs, &DxRoot::extents(&bytes)?, blkno)?;
    }
    Ok(())
}

/// `dx_leaf`
pub(super) fn dx_leaf(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let bytes = leaf_block(fs, block(fs, only(words)?)?)?;
    dx::leaf(out, &bytes, fs.has_checks())
}

/// `dx_dump`
pub(super) fn dx_dump(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let inode = inode_of(shell, fs, only(words)?)?;
    if !fs.is_indexed(&inode) {
        return Ok(());
    }
    let root = inode.dinode.i_dx_root;
    let bytes = root_block(fs, root)?;
    dx::root(out, &bytes, fs.has_checks())?;
    if DxRoot::decode(&bytes)?.is_inline() {
        return Ok(dx::entries(out, &DxRoot::entries(&bytes)?)?);
    }
    let list = DxRoot::extents(&bytes)?;
    let context = || format!("while reading dx dir root block {root}");
    let bits = fs.volume.geometry().bpc_bits();
    for extent in Tree::new(&fs.volume, root, &list).explain(context)?.extents() {
        let extent = extent.explain(context)?;
        for index in 0..u64::from(extent.clusters) << bits {
            let bytes = leaf_block(fs, Blkno(extent.blkno.0 + index))?;
            dx::leaf(out, &bytes, fs.has_checks())?;
        }
    }
    Ok(())
}

/// `dx_space`
pub(super) fn dx_space(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let inode = inode_of(shell, fs, only(words)?)?;
    if !fs.is_indexed(&inode) {
        let blkno = inode.blkno;
        out.row(
            "not_indexed",
            |it| it.put("inode", blkno.0),
            format_args!("Inode {blkno} is not indexed"),
        )?;
        return Ok(());
    }
    let root = DxRoot::decode(&root_block(fs, inode.dinode.i_dx_root)?)?;
    let mut visited = Visited::default();
    let mut next = root.dr_free_blk;
    while !next.is_none() {
        let context = || format!("while reading dir block {next}");
        let bytes = fs.block(next).explain(context)?;
        let trailer = DirTrailer::of_block(&bytes)?;
        if trailer.db_signature != DirTrailer::SIGNATURE || !visited.first(next) {
            return Err(Problem::DirCorrupt).explain(context);
        }
        out.structure_as(Shape::Directory, &bytes, fs.has_checks())?;
        dir::trailer(out, &trailer, &bytes, fs.has_checks())?;
        next = trailer.db_free_next;
    }
    Ok(())
}
