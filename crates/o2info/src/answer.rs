//! The answers as text.

use std::fmt::Write;

use anyhow::{Result, bail};
use ocfs2_format::feature::{FEATURES, Features};
use ocfs2_volume::{SystemFile, Volume};

use crate::{FreeFrag, Request};

/// Bytes of a line of features.
const LINE: usize = 80;

/// The answer to a request.
///
/// # Errors
/// What cannot be read, or what a device cannot answer.
pub fn answer(volume: &Volume, request: Request) -> Result<String> {
    match request {
        Request::FsFeatures => Ok(features("", volume)),
        Request::VolInfo => Ok(info(volume)),
        Request::Mkfs => mkfs(volume),
        Request::FreeInode => free_inodes(volume),
        Request::FreeFrag(kib) => Ok(FreeFrag::find(volume, kib)?.text(volume)),
        Request::SpaceUsage | Request::FileStat => {
            bail!("a file of a mounted volume is needed for this, which is not supported")
        }
    }
}

/// The names of all features: those that hinder nobody, those that hinder any use, those that
/// hinder writing.
fn names(volume: &Volume) -> Vec<&'static str> {
    let all = volume.features();
    let parts = [
        Features { compat: all.compat, ..Default::default() },
        Features { incompat: all.incompat, ..Default::default() },
        Features { ro_compat: all.ro_compat, ..Default::default() },
    ];
    let of = |part: Features| FEATURES.iter().filter(move |feature| part.contains(feature.bit));
    parts.into_iter().flat_map(of).map(|feature| feature.name).collect()
}

/// Lines that begin with `prefix` and hold the features.
fn features(prefix: &str, volume: &Volume) -> String {
    let mut text = prefix.to_owned();
    let mut width = prefix.len();
    for name in names(volume) {
        if width + name.len() + 1 > LINE {
            text.push('\n');
            text.push_str(prefix);
            width = prefix.len();
        }
        text.push_str(name);
        text.push(' ');
        width += name.len() + 1;
    }
    text.push('\n');
    text
}

fn info(volume: &Volume) -> String {
    let sb = volume.superblock();
    let geometry = volume.geometry();
    format!(
        "       Label: {}\n        UUID: {}\n  Block Size: {}\nCluster Size: {}\n  Node Slots: \
         {}\n{}",
        ocfs2_cli::terminal(sb.label()),
        sb.uuid_string(),
        geometry.block_size,
        geometry.cluster_size,
        sb.s_max_slots,
        features("    Features: ", volume),
    )
}

fn mkfs(volume: &Volume) -> Result<String> {
    let sb = volume.superblock();
    let geometry = volume.geometry();
    let journal = volume.system_file(SystemFile::Journal(0))?.size();
    let mut text = format!(
        "-N {} -J size={journal} -b {} -C {} --fs-features {} ",
        sb.s_max_slots,
        geometry.block_size,
        geometry.cluster_size,
        names(volume).join(","),
    );
    // Without a label the C tool has the blank all the same.
    if !sb.label().is_empty() {
        let _ = write!(text, "-L {}", ocfs2_cli::terminal(sb.label()));
    }
    text.push_str(" \n");
    Ok(text)
}

fn free_inodes(volume: &Volume) -> Result<String> {
    let mut text = "Slot\t\tSpace\t\tFree\n".to_owned();
    let (mut all, mut all_free) = (0_u64, 0_u64);
    for slot in 0..volume.max_slots() {
        let inode = volume.system_file(SystemFile::InodeAlloc(slot))?;
        let list = ocfs2_format::chain::ChainList::new(inode.id2())?;
        list.verify(inode.blkno)?;
        let (mut total, mut free) = (0_u64, 0_u64);
        for rec in list.records() {
            total += u64::from(rec.c_total);
            free += u64::from(rec.c_free);
        }
        let _ = writeln!(text, "{slot:>3}\t{total:>13}\t{free:>12}");
        all += total;
        all_free += free;
    }
    let _ = writeln!(text, "Total\t{all:>13}\t{all_free:>12}");
    Ok(text)
}
