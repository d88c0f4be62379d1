//! Names in directories: their places, their hashes, and their entries in the index.

use std::collections::HashMap;
use std::io::Write;

use ocfs2_cli::terminal;
use ocfs2_format::Blkno;
use ocfs2_format::dx::{DxEntry, DxLeaf, DxRoot};
use ocfs2_format::hash::{CharSign, dx_hash};
use ocfs2_volume::tree::Tree;

use super::files::inode_of;
use super::indexes::{leaf_block, root_block};
use super::option;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::Fs;
use crate::words::number_of;

/// The signs with which a name may be hashed; one if they make no difference.
fn signs(name: &[u8]) -> &'static [CharSign] {
    if name.is_ascii() { &[CharSign::Unsigned] } else { &CharSign::ALL }
}

/// `dx_hash`
pub(super) fn hash(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let (with_seed, words) = option(words, "-s");
    let (seed, words) = match (with_seed, words) {
        (true, [seed, rest @ ..]) => (seed_of(seed)?, rest),
        _ => (shell.fs()?.volume.superblock().s_dx_seed, words),
    };
    let [name] = words else { return Err(Failure::Usage) };
    for sign in signs(name) {
        let hash = dx_hash(name, seed, *sign);
        let how = match (signs(name), sign) {
            ([_], _) => "",
            (_, CharSign::Signed) => " (Linux before 6.2 on x86)",
            (_, CharSign::Unsigned) => " (Linux from 6.2 on)",
        };
        let (major, minor, shown) = (hash.major, hash.minor, terminal(name));
        out.row(
            "hash",
            |it| it.text("name", name).put("major", major).put("minor", minor),
            format_args!("Hash of {shown}: major {major:#010x}, minor {minor:#010x}{how}"),
        )?;
    }
    Ok(())
}

/// Parses three numbers separated by colons.
fn seed_of(word: &[u8]) -> Result<[u32; 3], Failure> {
    let parts: Result<Vec<u32>, _> = word.split(|byte| *byte == b':').map(number_of).collect();
    parts?.try_into().map_err(|_| {
        Failure::Argument(format!("'{}' is not three numbers with : between them", terminal(word)))
    })
}

/// `dirsearch`
pub(super) fn dirsearch(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let [word, name] = words else { return Err(Failure::Usage) };
    let dir = inode_of(shell, fs, word)?;
    let (mut index, mut found, mut problem) = (0_u64, None, None);
    fs.dir_blocks::<Failure>(&dir, |block| {
        let mut offset = 0_u32;
        for entry in block.all_entries() {
            if entry.name == *name && !entry.inode.is_none() {
                found = Some((index, block.blkno, offset, entry.inode));
                return Ok(false);
            }
            offset += u32::from(entry.rec_len);
        }
        index += 1;
        problem = problem.take().or_else(|| block.problem());
        Ok(true)
    })?;
    let none = || match problem {
        Some(problem) => Failure::from(problem),
        None => Failure::Failed(format!("{} is not in inode {}", terminal(name), dir.blkno)),
    };
    let (index, blkno, offset, inode) = found.ok_or_else(none)?;
    out.row(
        "entry_place",
        |it| {
            let it = it.put("inode", inode.0).put("index", index).put("block", blkno.0);
            it.put("byte", offset)
        },
        format_args!("Entry of inode {inode} in block {index}, which is {blkno}, at byte {offset}"),
    )?;
    Ok(())
}

/// The names of a directory by hash and block.
type Names = HashMap<(u32, u32, Blkno), Vec<Vec<u8>>>;

/// `htree`
pub(super) fn htree(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = super::only(words)?;
    let dir = inode_of(shell, fs, word)?;
    if !fs.is_indexed(&dir) {
        return Err(Failure::Failed(format!("Inode {} is not indexed", dir.blkno)));
    }
    let (seed, mut names) = (fs.volume.superblock().s_dx_seed, Names::new());
    fs.dir_blocks::<Failure>(&dir, |block| {
        fs.check()?;
        for entry in block.entries() {
            for sign in signs(&entry.name) {
                let hash = dx_hash(&entry.name, seed, *sign);
                let key = (hash.major, hash.minor, block.blkno);
                names.entry(key).or_default().push(entry.name.clone());
            }
        }
        Ok(true)
    })?;
    let root = dir.dinode.i_dx_root;
    let bytes = root_block(fs, root)?;
    writeln!(out, "Index of inode {} in block {root}", dir.blkno)?;
    writeln!(out, "\tMajor      Minor      Block           Name")?;
    let list = DxRoot::entries(&bytes)?;
    if ocfs2_format::Structure::decode(&bytes).is_ok_and(|it: DxRoot| it.is_inline()) {
        return list.records().try_for_each(|entry| row(out, &names, &entry));
    }
    leaves(fs, root, &bytes, |blkno, bytes| {
        writeln!(out, "Leaf {blkno}:")?;
        DxLeaf::entries(bytes)?.records().try_for_each(|entry| row(out, &names, &entry))
    })
}

fn leaves(
    fs: &Fs,
    root: Blkno,
    bytes: &[u8],
    mut each: impl FnMut(Blkno, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let context = || format!("while reading dx dir root block {root}");
    let list = DxRoot::extents(bytes)?;
    let bits = fs.volume.geometry().bpc_bits();
    for extent in Tree::new(&fs.volume, root, &list).explain(context)?.extents() {
        let extent = extent.explain(context)?;
        for index in 0..u64::from(extent.clusters) << bits {
            let blkno = Blkno(extent.blkno.0 + index);
            each(blkno, &leaf_block(fs, blkno)?)?;
        }
    }
    Ok(())
}

fn row(out: &mut Screen, names: &Names, entry: &DxEntry) -> Result<(), Failure> {
    let DxEntry { dx_major_hash: major, dx_minor_hash: minor, dx_dirent_blk: blkno } = *entry;
    let found = names.get(&(major, minor, blkno)).map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<_> = found.iter().map(terminal).collect();
    let shown = match shown.is_empty() {
        true => "no name in this block has this hash".to_owned(),
        false => shown.join("   "),
    };
    out.row(
        "index_entry",
        |it| {
            let names: Vec<_> = found.iter().map(ocfs2_cli::encode::json_text).collect();
            let it = it.put("major", major).put("minor", minor).put("block", blkno.0);
            it.put("names", names)
        },
        format_args!("\t{major:#010x} {minor:#010x} {:<15} {shown}", blkno.0),
    )?;
    Ok(())
}
