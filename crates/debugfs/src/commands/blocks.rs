//! Commands about a block.

use std::io::Write;

use ocfs2_cli::terminal;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::{Blkno, Block, Structure};

use super::files::inode_of;
use super::{only, option, owners};
use crate::error::{Explain, Failure, Problem};
use crate::paths::block_of;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::group::{self, Group};
use crate::show::{extents, refcount as show};
use crate::volume::{Fs, Visited};
use crate::words::number;

/// Parses `<block>`, which has to be a block of the volume. The brackets may be left out, unlike in
/// the C tool.
pub(super) fn block(fs: &Fs, word: &[u8]) -> Result<Blkno, Failure> {
    let blkno = block_of(word).or_else(|| number(word).map(Blkno)).ok_or_else(|| {
        let is = if word.starts_with(b"/") { "is a path" } else { "is none" };
        let word = terminal(word);
        Failure::Argument(format!("a block is <NUMBER>, <LOCK> or NUMBER, and '{word}' {is}"))
    })?;
    if !fs.is_block(blkno) {
        return Err(Problem::InvalidBlock).explain(|| format!("- {blkno}"));
    }
    Ok(blkno)
}

/// `extent`
pub(super) fn extent(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let blkno = block(fs, only(words)?)?;
    let problem = Problem::BadMagic("extent block");
    let bytes = fs.signed(blkno, &ExtentBlock::SIGNATURE, problem);
    let bytes = bytes.explain(|| format!("while reading extent block {blkno}"))?;
    extents::extent_block(out, &bytes, fs.has_checks())
}

/// `group`
pub(super) fn group(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    group::chain(out, fs, block(fs, only(words)?)?)
}

/// `grpextents`
pub(super) fn grpextents(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    group::each(fs, block(fs, only(words)?)?, |group| free_extents(out, group))
}

fn free_extents(out: &mut Screen, group: &Group) -> Result<(), Failure> {
    let desc = &group.desc;
    let (total, used, free) = (desc.bg_bits, group.used(), desc.bg_free_bits_count);
    writeln!(out, "\tGroup# {}   Total: {total}   Used: {used}   Free: {free}", desc.bg_blkno)?;
    let title = ["###   Start    Length"; 3].join("    ");
    let (mut count, mut longest, mut sum) = (0_usize, 0, 0);
    for run in group.bitmap()?.runs(false) {
        if count == 0 {
            writeln!(out, "\t{title}")?;
        }
        let start = if count % 3 == 0 { "\t" } else { "" };
        count += 1;
        let end = if count % 3 == 0 { "\n" } else { "    " };
        out.record("free_bits", |it| {
            it.put("group", desc.bg_blkno.0).put("first", run.start).put("count", run.len())
        })?;
        write!(out, "{start}{count:<5} {:<8} {:<6}{end}", run.start, run.len())?;
        longest = longest.max(run.len());
        sum += run.len();
    }
    if count % 3 != 0 {
        writeln!(out)?;
    }
    let average = sum.checked_div(count).unwrap_or(0);
    writeln!(out, "\tFree Extent Count: {count}   Longest: {longest}   Average: {average}\n")?;
    Ok(())
}

/// `refcount`
pub(super) fn refcount(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    if let (true, words) = option(words, "-o") {
        return owners::owners(shell, only(words)?, out);
    }
    let (with_extents, words) = option(words, "-e");
    let word = only(words)?;
    let named = block_of(word).filter(|blkno| is_refcount(fs, *blkno));
    let root = match named {
        Some(blkno) => blkno,
        None => {
            let inode = inode_of(shell, fs, word)?;
            inode.dinode.i_refcount_loc
        }
    };
    if root.is_none() {
        let number = shell.find(fs, word)?;
        return Err(Failure::Failed(format!("Inode {number} does not have a refcount tree")));
    }
    refcount_tree(out, fs, root, with_extents)
}

fn is_refcount(fs: &Fs, blkno: Blkno) -> bool {
    refcount_block(fs, blkno).is_ok()
}

fn refcount_block(fs: &Fs, blkno: Blkno) -> Result<Vec<u8>, Problem> {
    fs.signed(blkno, &RefcountBlock::SIGNATURE, Problem::BadMagic("refcount block"))
}

fn refcount_tree(
    out: &mut Screen,
    fs: &Fs,
    root: Blkno,
    with_extents: bool,
) -> Result<(), Failure> {
    let context = || format!("while reading refcount block {root}");
    let bytes = refcount_block(fs, root).explain(context)?;
    show::block(out, &bytes, fs.has_checks())?;
    if !RefcountBlock::decode(&bytes)?.is_tree() {
        return Ok(());
    }
    let list = RefcountBlock::extents(&bytes)?;
    if with_extents {
        let (depth, used) = (list.header.l_tree_depth, list.header.l_next_free_rec);
        writeln!(out, "\tExtent tree in refcount block {root}")?;
        writeln!(out, "\tDepth: {depth}  Records: {used}")?;
        extents::tree(out, fs, &list, root)?;
    }
    let tree = ocfs2_volume::tree::Tree::of_blocks(&fs.volume, root, &list).explain(context)?;
    let leaves: Result<Vec<_>, _> = tree.extents().collect();
    let mut visited = Visited::default();
    for leaf in leaves.explain(context)?.iter().rev() {
        let blkno = leaf.blkno;
        let bytes = refcount_block(fs, blkno);
        let bytes = bytes.explain(|| format!("while reading refcount block {blkno}"))?;
        if visited.first(blkno) {
            show::block(out, &bytes, fs.has_checks())?;
        }
    }
    Ok(())
}
