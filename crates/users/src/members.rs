//! Who uses a volume, completed by what a cluster of corosync knows: its nodes write no heartbeat.

use std::collections::BTreeSet;

use ocfs2_cluster::{DlmCluster, Kernel, Membership, RunningKernel, users_of};
use ocfs2_device::Device;
use ocfs2_format::superblock::{Stack, SuperBlock};
use ocfs2_volume::usage::{Clock, Evidence, Region, SampleOptions, State, Unknown, Usage};
use ocfs2_volume::{Error, Volume};

/// Like [`Usage::of_volume`]; where this host is a member of the volume's cluster of corosync, the
/// cluster is asked as well.
///
/// # Errors
/// As [`Usage::of_volume`].
pub fn usage_of(
    volume: &Volume,
    shared: Option<(&dyn Device, Region)>,
    options: &SampleOptions,
    clock: &dyn Clock,
) -> Result<Usage, Error> {
    let usage = Usage::of_volume(volume, shared, options, clock)?;
    let kernel = RunningKernel::default();
    Ok(completed(usage, volume.superblock(), options.without_slot, &kernel))
}

/// Puts what the cluster knows in the place of what the volume does not show. With `without_slot`
/// nodes are added that use the volume and hold no slot.
pub(crate) fn completed(
    mut usage: Usage,
    superblock: &SuperBlock,
    without_slot: bool,
    kernel: &dyn Kernel,
) -> Usage {
    let Some((members, users)) = known(superblock, kernel) else { return usage };
    for used in &mut usage.slots {
        if used.state != State::Live {
            used.state = state(used.node, &members, users.contains(&used.node));
        }
    }
    let has_slot = |node: &u32| usage.slots.iter().any(|used| used.node == *node);
    let others = users.iter().filter(|node| without_slot && !has_slot(node));
    usage.without_slot.retain(|(node, _)| !users.contains(node));
    usage.without_slot.extend(others.map(|node| (*node, State::Live)));
    usage
}

/// The members of the volume's cluster, and those that use it, if this host is one.
fn known(superblock: &SuperBlock, kernel: &dyn Kernel) -> Option<(Membership, BTreeSet<u32>)> {
    if !matches!(superblock.stack(), Stack::Userspace(_)) {
        return None;
    }
    let cluster = DlmCluster::find(kernel)?;
    let named = superblock.cluster_info().map(|info| info.cluster());
    if named.is_some_and(|name| !name.is_empty() && name != cluster.name) {
        return None;
    }
    // In this order: a node that fails in between is then one that has to be fenced.
    let users = users_of(kernel, &superblock.uuid_string()).ok()?;
    Some((Membership::find(kernel).ok()?, users))
}

fn state(node: u32, members: &Membership, uses_it: bool) -> State {
    match members.nodes.get(&node) {
        _ if uses_it => State::Live,
        _ if !members.is_quorate => State::Unknown(Unknown::NotQuorate),
        // dlm_controld has not seen it since it started.
        None => State::Unknown(Unknown::Userspace),
        Some(member) if member.to_be_fenced => State::Unknown(Unknown::ToBeFenced),
        Some(_) => State::Crashed { last_beat: None, evidence: Evidence::Cluster },
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_cluster::fake::{DLM_STATUS, FakeKernel};
    use ocfs2_format::feature::Incompat;
    use ocfs2_format::superblock::ClusterInfo;
    use ocfs2_volume::usage::SlotUse;

    use super::*;

    fn superblock(cluster: &str) -> SuperBlock {
        let mut superblock = SuperBlock::of_block(&[0; 512]).unwrap();
        superblock.s_feature_incompat = Incompat::USERSPACE_STACK.bits();
        let mut ci_cluster = [0; 16];
        ci_cluster[..cluster.len()].copy_from_slice(cluster.as_bytes());
        superblock.s_cluster_info =
            ClusterInfo { ci_stack: *b"pcmk", ci_stackflags: 0, ci_reserved: [0; 3], ci_cluster };
        superblock
    }

    /// Nodes 1 to 3 hold slots; node 2 is this host, node 4 has no slot yet.
    fn states(kernel: &FakeKernel, cluster: &str) -> (Vec<State>, Vec<u32>) {
        let unknown = || State::Unknown(Unknown::Userspace);
        let slot = |slot: u16| SlotUse { slot, node: u32::from(slot) + 1, state: unknown() };
        let usage = Usage { slots: (0..3).map(slot).collect(), ..Usage::default() };
        let usage = completed(usage, &superblock(cluster), true, kernel);
        let without = usage.without_slot.iter().map(|(node, _)| *node).collect();
        (usage.slots.into_iter().map(|slot| slot.state).collect(), without)
    }

    #[test]
    fn the_cluster_tells_live_nodes_from_crashed_ones() {
        let kernel = FakeKernel::new("a");
        let unknown = || State::Unknown(Unknown::Userspace);
        let nothing = (vec![unknown(), unknown(), unknown()], vec![]);
        assert_eq!(states(&kernel, "hac"), nothing);
        kernel.join_dlm("hac", 2, &[1, 2]);
        kernel.answer("dlm_tool status -v", DLM_STATUS);
        assert_eq!(states(&kernel, "hac"), nothing, "nobody knows the groups");
        let uuid = "0".repeat(32);
        let group =
            format!("GRP_NAME PID NODEID\ndlm:ls:{uuid}\\x00 9 1\ndlm:ls:{uuid}\\x00 9 4\n");
        kernel.answer("corosync-cpgtool -d  ", &group);
        let crashed = || State::Crashed { last_beat: None, evidence: Evidence::Cluster };
        let known = (vec![State::Live, crashed(), unknown()], vec![4]);
        assert_eq!(states(&kernel, "hac"), known);
        assert_eq!(states(&kernel, ""), known);
        assert_eq!(states(&kernel, "other"), nothing);
    }

    #[test]
    fn a_node_is_not_dead_before_it_was_fenced() {
        let kernel = FakeKernel::new("a");
        kernel.join_dlm("hac", 2, &[2]);
        kernel.answer("corosync-cpgtool -d  ", "GRP_NAME PID NODEID\n");
        let first = |from: &str, to: &str| {
            kernel.answer("dlm_tool status -v", &DLM_STATUS.replacen(from, to, 1));
            states(&kernel, "hac").0.remove(0)
        };
        let fence = first("need_fencing=0", "need_fencing=1");
        assert_eq!(fence, State::Unknown(Unknown::ToBeFenced));
        assert_eq!(first("quorate=1", "quorate=0"), State::Unknown(Unknown::NotQuorate));
    }
}
