//! The superblock.

use std::io::{self, Write};

use ocfs2_format::feature::{FEATURES, Features};
use ocfs2_format::superblock::{
    STACK_O2CB, STACKFLAG_GLOBAL_HEARTBEAT, SuperBlock, TUNEFS_DIR_TRAILER, TUNEFS_REMOVE_SLOT,
};

use crate::time;

/// The names of `features`, separated by blanks.
fn names(features: Features) -> String {
    let known = FEATURES.iter().filter(|feature| features.contains(feature.bit));
    let mut text: String = known.map(|feature| format!("{} ", feature.name)).collect();
    if features.unknown() != Features::default() {
        text.push_str("unknown ");
    }
    // The last blank.
    text.pop();
    text
}

/// Writes all fields of a superblock, as `stats` of `debugfs.ocfs2`.
///
/// # Errors
/// Those of `out`.
pub fn superblock(out: &mut dyn Write, sb: &SuperBlock) -> io::Result<()> {
    let features = sb.features();
    writeln!(out, "\tRevision: {}.{}", sb.s_major_rev_level, sb.s_minor_rev_level)?;
    let (count, most) = (sb.s_mnt_count, sb.s_max_mnt_count);
    writeln!(out, "\tMount Count: {count}   Max Mount Count: {most}")?;
    writeln!(out, "\tState: {}   Errors: {}", sb.s_state, sb.s_errors)?;
    let (interval, last) = (sb.s_checkinterval, time::long(sb.s_lastcheck));
    writeln!(out, "\tCheck Interval: {interval}   Last Check: {last}")?;
    writeln!(out, "\tCreator OS: {}", sb.s_creator_os)?;
    let compat = names(Features { compat: features.compat, ..Default::default() });
    writeln!(out, "\tFeature Compat: {} {compat}", sb.s_feature_compat)?;
    let incompat = names(Features { incompat: features.incompat, ..Default::default() });
    writeln!(out, "\tFeature Incompat: {} {incompat}", sb.s_feature_incompat)?;
    let flags = [(TUNEFS_REMOVE_SLOT, "remove-slot"), (TUNEFS_DIR_TRAILER, "dir-trailer")];
    let set = flags.iter().filter(|(flag, _)| sb.s_tunefs_flag & flag != 0);
    let flags = set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
    writeln!(out, "\tTunefs Incomplete: {} {flags}", sb.s_tunefs_flag)?;
    let ro_compat = names(Features { ro_compat: features.ro_compat, ..Default::default() });
    writeln!(out, "\tFeature RO compat: {} {ro_compat}", sb.s_feature_ro_compat)?;
    places(out, sb)?;
    cluster(out, sb)
}

fn places(out: &mut dyn Write, sb: &SuperBlock) -> io::Result<()> {
    let (root, system) = (sb.s_root_blkno, sb.s_system_dir_blkno);
    writeln!(out, "\tRoot Blknum: {root}   System Dir Blknum: {system}")?;
    writeln!(out, "\tFirst Cluster Group Blknum: {}", sb.s_first_cluster_group)?;
    let (block, cluster) = (sb.s_blocksize_bits, sb.s_clustersize_bits);
    writeln!(out, "\tBlock Size Bits: {block}   Cluster Size Bits: {cluster}")?;
    writeln!(out, "\tMax Node Slots: {}", sb.s_max_slots)?;
    writeln!(out, "\tExtended Attributes Inline Size: {}", sb.s_xattr_inline_size)?;
    writeln!(out, "\tLabel: {}", ocfs2_cli::terminal(sb.label()))?;
    writeln!(out, "\tUUID: {}", sb.uuid_string())?;
    writeln!(out, "\tHash: {} ({:#x})", sb.s_uuid_hash, sb.s_uuid_hash)?;
    let [a, b, c] = sb.s_dx_seed;
    writeln!(out, "\tDX Seeds: {a} {b} {c} ({a:#010x} {b:#010x} {c:#010x})")
}

fn cluster(out: &mut dyn Write, sb: &SuperBlock) -> io::Result<()> {
    match sb.cluster_info() {
        None => writeln!(out, "\tCluster stack: classic o2cb")?,
        Some(info) => {
            writeln!(out, "\tCluster stack: {}", ocfs2_cli::terminal(info.stack()))?;
            writeln!(out, "\tCluster name: {}", ocfs2_cli::terminal(info.cluster()))?;
        }
    }
    let flags = sb.s_cluster_info.ci_stackflags;
    let is_o2cb = sb.cluster_info().is_some_and(|info| info.ci_stack == STACK_O2CB);
    let is_global = is_o2cb && flags & STACKFLAG_GLOBAL_HEARTBEAT != 0;
    let name = if is_global { "Globalheartbeat" } else { "" };
    writeln!(out, "\tCluster flags: {flags} {name}")
}
