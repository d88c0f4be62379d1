//! The answers as text.

use std::fmt::Write;

use anyhow::Result;
use ocfs2_format::feature::{FEATURES, Features};

use crate::Request;
use crate::source::{Source, Traits};

/// Longest line of features in bytes.
const LINE: usize = 80;

/// Returns the answer to a request.
///
/// # Errors
/// If something cannot be read, or the request needs a file and none was named.
pub fn answer(source: &Source, request: Request) -> Result<String> {
    match request {
        Request::FsFeatures => Ok(features("", source.features()?)),
        Request::VolInfo => Ok(info(&source.traits()?)),
        Request::Mkfs => Ok(mkfs(&source.traits()?, source.journal_size()?)),
        Request::FreeInode => free_inodes(source),
        Request::FreeFrag(kib) => Ok(source.free_frag(kib)?.text()),
        Request::SpaceUsage => Ok(source.file()?.space_usage()),
        Request::FileStat => Ok(source.file()?.text()),
    }
}

/// The names of all features: compat, then incompat, then ro_compat.
fn names(all: Features) -> Vec<&'static str> {
    let parts = [
        Features { compat: all.compat, ..Default::default() },
        Features { incompat: all.incompat, ..Default::default() },
        Features { ro_compat: all.ro_compat, ..Default::default() },
    ];
    let of = |part: Features| FEATURES.iter().filter(move |feature| part.contains(feature.bit));
    parts.into_iter().flat_map(of).map(|feature| feature.name).collect()
}

/// Lines of feature names, each line starting with `prefix`.
fn features(prefix: &str, all: Features) -> String {
    let mut text = prefix.to_owned();
    let mut width = prefix.len();
    for name in names(all) {
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

fn info(volume: &Traits) -> String {
    let Traits { label, uuid, block_size, cluster_size, slots, features: all } = volume;
    format!(
        "       Label: {}\n        UUID: {uuid}\n  Block Size: {block_size}\nCluster Size: \
         {cluster_size}\n  Node Slots: {slots}\n{}",
        ocfs2_cli::terminal(label),
        features("    Features: ", *all),
    )
}

fn mkfs(volume: &Traits, journal: u64) -> String {
    let Traits { label, block_size, cluster_size, slots, features, .. } = volume;
    let mut text = format!(
        "-N {slots} -J size={journal} -b {block_size} -C {cluster_size} --fs-features {} ",
        names(*features).join(","),
    );
    // The C tool prints the blank even without a label.
    if !label.is_empty() {
        let _ = write!(text, "-L {}", ocfs2_cli::terminal(label));
    }
    text.push_str(" \n");
    text
}

fn free_inodes(source: &Source) -> Result<String> {
    let mut text = "Slot\t\tSpace\t\tFree\n".to_owned();
    let (mut all, mut all_free) = (0_u64, 0_u64);
    for (slot, room) in source.inode_room()?.into_iter().enumerate() {
        let _ = writeln!(text, "{slot:>3}\t{:>13}\t{:>12}", room.total, room.free);
        all += room.total;
        all_free += room.free;
    }
    let _ = writeln!(text, "Total\t{all:>13}\t{all_free:>12}");
    Ok(text)
}
