//! The answers as text.

use std::fmt::Write;

use anyhow::Result;
use ocfs2_cli::encode::quoted;
use ocfs2_format::feature::{FEATURES, Features};
use ocfs2_format::superblock::{ClusterInfo, STACKFLAG_GLOBAL_HEARTBEAT};

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
        Request::Mkfs => {
            let cluster = source.cluster_info()?;
            Ok(mkfs(&source.traits()?, source.journal_size()?, cluster.as_ref()))
        }
        Request::FreeInode => free_inodes(source),
        Request::FreeFrag(kib) => Ok(source.free_frag(kib)?.text()),
        Request::SpaceUsage => Ok(source.file()?.space_usage()),
        Request::FileStat => Ok(source.file()?.text()),
    }
}

/// The names of all features: compat, then incompat, then ro_compat.
pub(crate) fn names(all: Features) -> Vec<&'static str> {
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

/// The line of the C tool as far as mkfs takes it, completed to an equivalent volume: without features
/// that cannot be asked for, against those that a new volume would have, and with the cluster.
pub(crate) fn mkfs(volume: &Traits, journal: u64, cluster: Option<&ClusterInfo>) -> String {
    let Traits { label, block_size, cluster_size, slots, features, .. } = volume;
    let can_be_set = |name: &str| FEATURES.iter().any(|it| it.name == name && it.selectable);
    let set = names(*features).into_iter().filter(|name| can_be_set(name)).map(str::to_owned);
    let lacking = names(Features::DEFAULT.difference(*features));
    let lacking = lacking.into_iter().filter(|name| can_be_set(name));
    let all: Vec<_> = set.chain(lacking.map(|name| format!("no{name}"))).collect();
    let mut text = format!(
        "-N {slots} -J size={journal} -b {block_size} -C {cluster_size} --fs-features {} ",
        all.join(","),
    );
    if let Some(cluster) = cluster {
        let (stack, name) = (until_nul(&cluster.ci_stack), until_nul(&cluster.ci_cluster));
        let (stack, name) = (quoted(stack), quoted(name));
        let _ = write!(text, "--cluster-stack={stack} --cluster-name={name} ");
        if cluster.ci_stackflags & STACKFLAG_GLOBAL_HEARTBEAT != 0 {
            text.push_str("--global-heartbeat ");
        }
    }
    // The C tool prints the blank even without a label.
    match label.first() {
        None => {}
        // It would be taken for another option.
        Some(b'-') => {
            let _ = write!(text, "--label={}", quoted(label));
        }
        Some(_) => {
            let _ = write!(text, "-L {}", quoted(label));
        }
    }
    text.push_str(" \n");
    text
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
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
