//! The owners of a cluster, with or without a refcount.

use std::io::Write;

use ocfs2_format::Cluster;
use ocfs2_format::dinode::{Arm, DynFeatures};
use ocfs2_format::extent::ExtentFlags;
use ocfs2_volume::Inode;

use crate::error::Failure;
use crate::owned::Owned;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::Fs;
use crate::words::number;

/// How an inode uses a cluster.
enum Use {
    /// As this cluster of its contents.
    Contents(u64, ExtentFlags),
    /// For the value of an attribute, or other metadata.
    Other,
}

/// `refcount -o`: all owners of a cluster, and its count in refcount trees.
pub(super) fn owners(shell: &Shell, word: &[u8], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let cluster = number(word).and_then(|it| u32::try_from(it).ok());
    let cluster = cluster.filter(|it| *it < fs.volume.geometry().clusters);
    let none = || Failure::Failed(format!("{} is no cluster", ocfs2_cli::terminal(word)));
    let cluster = cluster.ok_or_else(none)?;
    writeln!(out, "\tInode           Cluster of it   Flags")?;
    let (mut count, mut counted, mut is_whole) = (0_u64, Vec::new(), true);
    for inode in fs.volume.inodes() {
        fs.check()?;
        let Ok(inode) = inode else {
            is_whole = false;
            continue;
        };
        for used in uses(fs, &inode, cluster, &mut is_whole)? {
            count += 1;
            show(out, &inode, &used)?;
        }
        let has_counts = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
        let root = inode.dinode.i_refcount_loc;
        if has_counts && !root.is_none() && !counted.contains(&root) {
            counted.push(root);
            match fs.volume.references(root, cluster) {
                Ok((references, _)) if references > 0 => {
                    out.row(
                        "references",
                        |it| it.put("tree", root.0).put("count", references),
                        format_args!("\tRefcount tree {root} counts {references} references"),
                    )?;
                }
                Ok(_) => {}
                Err(_) => is_whole = false,
            }
        }
    }
    writeln!(out, "\tCluster {cluster}: {count} found")?;
    match is_whole {
        true => Ok(()),
        false => Err(Failure::Failed("What cannot be read is left out".to_owned())),
    }
}

fn uses(fs: &Fs, inode: &Inode, cluster: u32, is_whole: &mut bool) -> Result<Vec<Use>, Failure> {
    let mut found = Vec::new();
    let bits = fs.volume.geometry().bpc_bits();
    let first = fs.volume.geometry().block_of(Cluster(cluster)).0;
    if inode.dinode.arm() == Arm::ExtentList {
        for extent in fs.tree(inode)?.extents() {
            fs.check()?;
            let Ok(extent) = extent else {
                *is_whole = false;
                break;
            };
            let start = extent.blkno.0 >> bits;
            if (start..start + u64::from(extent.clusters)).contains(&u64::from(cluster)) {
                let at = u64::from(extent.cpos.0) + (u64::from(cluster) - start);
                found.push(Use::Contents(at, extent.flags));
            }
        }
    }
    let blocks = first..first + (1 << bits);
    let others = Owned::of(fs, inode);
    let others = others.iter().filter(|it| it.start < blocks.end && blocks.start < it.end);
    found.extend(others.map(|_| Use::Other));
    Ok(found)
}

fn show(out: &mut Screen, inode: &Inode, used: &Use) -> Result<(), Failure> {
    let blkno = inode.blkno.0;
    match used {
        Use::Contents(at, flags) => {
            let (unwritten, shared) =
                (flags.contains(ExtentFlags::UNWRITTEN), flags.contains(ExtentFlags::REFCOUNTED));
            let names = [(unwritten, "unwritten"), (shared, "shared")];
            let names: Vec<_> = names.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
            out.row(
                "cluster_use",
                |it| {
                    let it = it.put("inode", blkno).put("logical", *at);
                    it.put("unwritten", unwritten).put("shared", shared)
                },
                format_args!("\t{blkno:<15} {at:<15} {}", names.join(" ")),
            )?;
        }
        Use::Other => out.row(
            "cluster_use",
            |it| it.put("inode", blkno),
            format_args!("\t{blkno:<15} {:<15} attribute or metadata", "-"),
        )?,
    }
    Ok(())
}
