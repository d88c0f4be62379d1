//! The owner of a block.

use std::collections::HashSet;
use std::io::Write;

use ocfs2_format::chain::ChainList;
use ocfs2_format::dinode::Arm;
use ocfs2_format::{Blkno, Cpos};
use ocfs2_volume::Inode;

use super::only;
use crate::error::{Explain, Failure, Problem};
use crate::owned::Owned;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::group::{self, Group};
use crate::volume::Fs;
use crate::words::number;

/// The most words of a command, as in the C tool.
const MOST_WORDS: usize = 50;

/// The owner of a block, as far as it is known.
#[derive(Clone, Copy)]
enum Owner {
    /// Not found yet.
    Unknown,
    /// Its cluster is not allocated.
    Unused,
    /// This inode, but not in its contents.
    Inode(Blkno),
    /// The contents of this inode, with the number of the block in them.
    Contents(Blkno, u64),
}

/// `icheck`
pub(super) fn icheck(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    only(words)?;
    let (mut found, mut is_answered) = (Vec::new(), true);
    for word in words.iter().take(MOST_WORDS) {
        match number(word).map(Blkno).filter(|blkno| blkno.0 < fs.volume.geometry().blocks()) {
            Some(blkno) => found.push((blkno, Owner::Unknown)),
            None => {
                is_answered = false;
                let (problem, word) = (Problem::InvalidBlock, ocfs2_cli::terminal(word));
                out.say(&format!("icheck: {problem} - {word}"));
            }
        }
    }
    if found.is_empty() {
        return Err(Failure::Said);
    }
    quick(fs, &mut found)?;
    if found.iter().any(|(_, owner)| matches!(owner, Owner::Unknown)) {
        scan(fs, &mut found)?;
    }
    writeln!(out, "\t{:<15}   {:<15}   {:<15}", "Block#", "Inode", "Block Offset")?;
    for (blkno, owner) in found {
        let (inode, offset) = match owner {
            Owner::Unknown => ("Unknown".to_owned(), String::new()),
            Owner::Unused => ("Unused".to_owned(), String::new()),
            Owner::Inode(inode) => (inode.to_string(), String::new()),
            Owner::Contents(inode, offset) => (inode.to_string(), offset.to_string()),
        };
        out.row(
            "owner",
            |it| {
                let it = it.put("block", blkno.0);
                match owner {
                    Owner::Unknown => it.put("state", "unknown"),
                    Owner::Unused => it.put("state", "unused"),
                    Owner::Inode(inode) => it.put("state", "owned").put("inode", inode.0),
                    Owner::Contents(inode, offset) => {
                        it.put("state", "owned").put("inode", inode.0).put("offset", offset)
                    }
                }
            },
            format_args!("\t{:<15}   {inode:<15}   {offset:<15}", blkno.0),
        )?;
    }
    if is_answered { Ok(()) } else { Err(Failure::Said) }
}

/// Finds owners without reading all inodes.
fn quick(fs: &Fs, found: &mut [(Blkno, Owner)]) -> Result<(), Failure> {
    let context = || "while looking up the global bitmap".to_owned();
    let geometry = *fs.volume.geometry();
    let system = fs.inode(fs.volume.superblock().s_system_dir_blkno).explain(context)?;
    let bitmap = fs.lookup(&system, b"global_bitmap").explain(context)?;
    for (blkno, owner) in found {
        let Some(cluster) = geometry.cluster_of(*blkno) else { continue };
        let (index, bit) = geometry.group_of(cluster);
        if blkno.0 <= 2 || blkno.0 < geometry.blocks_per_cluster().into() {
            *owner = Owner::Inode(Blkno(2));
            continue;
        }
        let group = Group::read(fs, geometry.group_blkno(index));
        let group = group.explain(|| format!("while reading the group of block {blkno}"))?;
        let is_used = group.bitmap()?.get(bit as usize);
        // The cluster of a group's descriptor belongs to the bitmap.
        if geometry.cluster_of(geometry.group_blkno(index)) == Some(cluster) {
            *owner = Owner::Inode(bitmap);
        } else if !is_used {
            *owner = Owner::Unused;
        }
    }
    Ok(())
}

/// Searches all inodes in use.
fn scan(fs: &Fs, found: &mut [(Blkno, Owner)]) -> Result<(), Failure> {
    for inode in fs.volume.inodes() {
        fs.check()?;
        // Damaged inodes are skipped.
        let Ok(inode) = inode else { continue };
        claim(fs, &inode, found);
        if !found.iter().any(|(_, owner)| matches!(owner, Owner::Unknown)) {
            break;
        }
    }
    Ok(())
}

/// Marks the blocks of an inode, unless they already have an owner.
fn claim(fs: &Fs, inode: &Inode, found: &mut [(Blkno, Owner)]) {
    let mut mark = |owner: &dyn Fn(Blkno) -> Option<Owner>| {
        let unknown = found.iter_mut().filter(|(_, owner)| matches!(owner, Owner::Unknown));
        for (blkno, place) in unknown {
            if let Some(owner) = owner(*blkno) {
                *place = owner;
            }
        }
    };
    let number = inode.blkno;
    mark(&|blkno| (blkno == number).then_some(Owner::Inode(number)));
    let owned = Owned::of(fs, inode);
    mark(&|blkno| {
        let is_owned = owned.iter().any(|range| range.contains(&blkno.0));
        is_owned.then_some(Owner::Inode(number))
    });
    match inode.dinode.arm() {
        Arm::ExtentList => {
            let Ok(tree) = fs.tree(inode) else { return };
            let mut extents = tree.extents();
            let bits = fs.volume.geometry().bpc_bits();
            for extent in extents.by_ref().filter_map(Result::ok) {
                let Cpos(cpos) = extent.cpos;
                let end = extent.blkno.0 + (u64::from(extent.clusters) << bits);
                mark(&|blkno| {
                    let offset = blkno.0.checked_sub(extent.blkno.0).filter(|_| blkno.0 < end)?;
                    Some(Owner::Contents(number, (u64::from(cpos) << bits) + offset))
                });
            }
            let blocks: HashSet<_> = extents.extent_blocks().collect();
            mark(&|blkno| blocks.contains(&blkno).then_some(Owner::Inode(number)));
        }
        Arm::Chain => {
            let Ok(list) = ChainList::new(inode.id2()) else { return };
            let mut groups = HashSet::new();
            for rec in list.records() {
                let _ = group::each(fs, rec.c_blkno, |group| {
                    groups.insert(group.desc.bg_blkno);
                    Ok(())
                });
            }
            mark(&|blkno| groups.contains(&blkno).then_some(Owner::Inode(number)));
        }
        _ => {}
    }
}
