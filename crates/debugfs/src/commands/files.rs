//! Commands about one file.

use ocfs2_format::Cpos;
use ocfs2_format::dinode::{Arm, FileKind};
use ocfs2_volume::Inode;

use super::{only, option};
use crate::error::{Explain, Failure, Problem};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::inode;
use crate::show::xattr::Attributes;
use crate::volume::Fs;
use crate::words::number;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Reads the inode that a word names.
pub(super) fn inode_of(shell: &Shell, fs: &Fs, word: &[u8]) -> Result<Inode, Failure> {
    let blkno = shell.find(fs, word).of(word)?;
    fs.inode(blkno).explain(|| format!("while reading inode {blkno}"))
}

/// `stat`
pub(super) fn stat(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (is_short, words) = option(words, "-T");
    let (_, words) = option(words, "-t");
    let found = inode_of(shell, fs, only(words)?)?;
    inode::head(out, &found, shell.people(), fs.has_checks())?;
    if is_short { Ok(()) } else { inode::contents(out, fs, &found) }
}

/// `cat`
pub(super) fn cat(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = only(words)?;
    let found = inode_of(shell, fs, word)?;
    if found.kind() != Some(FileKind::Regular) {
        return Err(Failure::Failed("Not a regular file".to_owned()));
    }
    let file = fs.contents().file(&found).of(word)?;
    let mut buf = vec![0; PIECE];
    let mut at = 0;
    loop {
        fs.check()?;
        let len = file.read_at(&mut buf, at).of(word)?;
        let Some(bytes) = buf.get(..len).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        out.record("contents", |it| it.put("offset", at).text("text", bytes))?;
        out.raw(bytes)?;
        at += len as u64;
    }
}

/// `bmap`
pub(super) fn bmap(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let [word, logical, ..] = words else { return Err(Failure::Usage) };
    let found = inode_of(shell, fs, word)?;
    let logical = number(logical);
    let logical = logical.ok_or_else(|| Failure::Failed("Invalid block number".to_owned()))?;
    let physical = block_at(fs, &found, logical).of(word)?;
    out.row(
        "mapping",
        |it| it.put("inode", found.blkno.0).put("logical", logical).put("physical", physical),
        format_args!("\t{physical}"),
    )?;
    Ok(())
}

/// The block of a file's contents on the volume; 0 if there is none.
fn block_at(fs: &Fs, inode: &Inode, logical: u64) -> Result<u64, Problem> {
    let bits = fs.volume.geometry().bpc_bits();
    // If the last block is full, the C tool also finds the one after it.
    let last = inode.size() >> fs.volume.block_size().bits();
    if inode.dinode.arm() != Arm::ExtentList || logical > last {
        return Ok(0);
    }
    let Ok(cpos) = u32::try_from(logical >> bits) else { return Ok(0) };
    let Some(extent) = fs.tree(inode)?.map(Cpos(cpos))? else { return Ok(0) };
    Ok(extent.blkno.0 + (logical - (u64::from(extent.cpos.0) << bits)))
}

/// `frag`
pub(super) fn frag(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let found = inode_of(shell, fs, only(words)?)?;
    let blkno = found.blkno;
    let mut extents = 0_u64;
    if matches!(found.dinode.arm(), Arm::Chain | Arm::LocalAlloc | Arm::TruncateLog) {
        let none = Err::<(), _>(Problem::NoExtents);
        return none.explain(|| format!("while traversing inode at block {blkno}"));
    }
    if found.dinode.arm() == Arm::ExtentList {
        let tree =
            fs.tree(&found).explain(|| format!("while traversing inode at block {blkno}"))?;
        for extent in tree.extents() {
            fs.check()?;
            extent.explain(|| format!("while traversing inode at block {blkno}"))?;
            extents += 1;
        }
    }
    let clusters = found.dinode.i_clusters;
    let percent = match clusters {
        0 | 1 => 0.0,
        _ => 100.0 * extents as f64 / f64::from(clusters),
    };
    let per_mib = f64::from((1_u32 << 20) / fs.volume.geometry().cluster_size.bytes());
    let score = percent * per_mib;
    out.row(
        "fragmentation",
        |it| {
            let it = it.put("inode", blkno.0).put("percent", percent).put("clusters", clusters);
            it.put("extents", extents).put("score", score)
        },
        format_args!(
            "Inode: {blkno}\t% fragmented: {percent:.2}\tclusters: {clusters}\textents: \
             {extents}\tscore: {score:.0}"
        ),
    )?;
    Ok(())
}

/// `xattr`
pub(super) fn xattr(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (is_verbose, words) = option(words, "-v");
    let found = inode_of(shell, fs, only(words)?)?;
    Attributes::new(fs, &found, is_verbose).show(out)
}
