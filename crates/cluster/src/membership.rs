//! The members of a cluster of corosync, and the volumes they use: what `dlm_tool` and
//! `corosync-cpgtool` print.
//!
//! There is no other way without a library of C: corosync answers through rings in shared memory,
//! dlm_controld through a socket whose protocol belongs to its own release.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::Kernel;

/// The program that asks dlm_controld.
pub(crate) const DLM_TOOL: &str = "dlm_tool";
/// The program that lists the groups of processes of all members.
const CPGTOOL: &str = "corosync-cpgtool";

/// What the cluster knows of a node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Member {
    /// It is a member now.
    pub is_member: bool,
    /// It failed, and the cluster does not know yet that it can do nothing any more.
    pub to_be_fenced: bool,
}

/// The cluster as dlm_controld of this host sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Membership {
    /// The number of this host.
    pub this_node: u32,
    /// Whether enough nodes are members for the cluster to work.
    pub is_quorate: bool,
    /// All nodes that dlm_controld has seen since it started, by number.
    pub nodes: BTreeMap<u32, Member>,
}

/// What keeps a member from using a volume for the moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Not enough nodes are members.
    Quorum,
    /// These nodes failed and have to be fenced.
    Fencing(Vec<u32>),
}

/// The cluster cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The program is not installed.
    #[error("{0} is not installed")]
    NoProgram(&'static str),
    /// The program failed, or did not answer in time.
    #[error("{program}: {cause}")]
    Failed {
        /// The program.
        program: &'static str,
        /// The reason.
        cause: io::Error,
    },
    /// The daemon that the program asks does not run.
    #[error("dlm_controld does not run")]
    NotRunning,
}

impl Membership {
    /// Asks dlm_controld of this host.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub fn find(kernel: &dyn Kernel) -> Result<Self, MembershipError> {
        let text = ask(kernel, DLM_TOOL, &["status", "-v"])?;
        Self::parse(&text).ok_or(MembershipError::NotRunning)
    }

    /// Reads what `dlm_tool status -v` prints: values of the daemon, then those of each node.
    /// `None` if the daemon did not answer, which its status does not show.
    fn parse(text: &str) -> Option<Self> {
        let (mut this_node, mut is_quorate, mut node) = (None, false, None);
        let mut nodes: BTreeMap<u32, Member> = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            let number = |name: &str| line.strip_prefix(name)?.trim().parse::<u32>().ok();
            if let Some(number) = number("our_nodeid ") {
                this_node = Some(number);
            } else if let Some(number) = number("nodeid ") {
                node = Some(number);
                nodes.entry(number).or_default();
            }
            let member = node.and_then(|node| nodes.get_mut(&node));
            match (line.split_once('='), member) {
                (Some(("quorate", value)), None) => is_quorate = value == "1",
                (Some(("member", value)), Some(member)) => member.is_member = value == "1",
                (Some(("need_fencing", value)), Some(member)) => {
                    member.to_be_fenced = value != "0";
                }
                _ => {}
            }
        }
        Some(Self { this_node: this_node?, is_quorate, nodes })
    }

    /// What a member has to wait for before it can use a volume: the kernel waits for it, too, and
    /// cannot be interrupted then.
    pub fn waits_for(&self) -> Option<Wait> {
        if !self.is_quorate {
            return Some(Wait::Quorum);
        }
        let fencing: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, member)| member.to_be_fenced)
            .map(|(node, _)| *node)
            .collect();
        (!fencing.is_empty()).then_some(Wait::Fencing(fencing))
    }
}

/// Returns the nodes that have a volume mounted, are about to mount it or are just unmounting it,
/// or run a program that keeps others from mounting it. Any member sees them. `uuid` is that of the
/// volume, 32 upper-case digits.
///
/// # Errors
/// [`MembershipError`].
pub fn users_of(kernel: &dyn Kernel, uuid: &str) -> Result<BTreeSet<u32>, MembershipError> {
    Ok(group(&ask(kernel, CPGTOOL, &["-d", " "])?, uuid))
}

/// The nodes in the group of a volume: lines such as `dlm:ls:60AF34D9...\x00 188 1`, where the
/// end of the name is shown as an escape, then a process and its node.
fn group(text: &str, uuid: &str) -> BTreeSet<u32> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("dlm:ls:"));
    let nodes = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let is_it =
            name == uuid || name.strip_prefix(uuid).is_some_and(|end| end.starts_with('\\'));
        if is_it { words.nth(1)?.parse().ok() } else { None }
    });
    nodes.collect()
}

fn ask(
    kernel: &dyn Kernel,
    program: &'static str,
    arguments: &[&str],
) -> Result<String, MembershipError> {
    kernel.ask(program, arguments).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => MembershipError::NoProgram(program),
        _ => MembershipError::Failed { program, cause },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{DLM_STATUS, FakeKernel};

    #[test]
    fn the_members_are_those_of_dlm_tool() {
        let members = Membership::parse(DLM_STATUS).unwrap();
        assert_eq!((members.this_node, members.is_quorate), (2, true));
        let member = Member { is_member: true, to_be_fenced: false };
        assert_eq!(members.nodes, BTreeMap::from([(1, member), (2, member)]));
        assert_eq!(members.waits_for(), None);
        assert_eq!(Membership::parse("cannot connect to dlm_controld\n"), None);
        assert_eq!(Membership::parse(""), None);
    }

    #[test]
    fn a_member_waits_for_quorum_and_for_nodes_to_be_fenced() {
        let with =
            |from: &str, to: &str| Membership::parse(&DLM_STATUS.replacen(from, to, 1)).unwrap();
        assert_eq!(with("quorate=1", "quorate=0").waits_for(), Some(Wait::Quorum));
        let failed = with("need_fencing=0", "need_fencing=1");
        assert_eq!(failed.waits_for(), Some(Wait::Fencing(vec![1])));
        assert!(failed.nodes[&1].to_be_fenced && !failed.nodes[&2].to_be_fenced);
        assert!(!with("member=1", "member=0").nodes[&1].is_member);
    }

    #[test]
    fn the_users_of_a_volume_are_the_members_of_its_group() {
        let uuid = "60AF34D9FFB84C07A6EBFF9A7ACB4B82";
        let text = format!(
            "GRP_NAME PID NODEID\ndlm:ls:{uuid}\\x00 188 1\ndlm:ls:{uuid}\\x00 263 2\n\
             dlm:ls:{uuid}0\\x00 263 3\ndlm:ls:00AF34D9FFB84C07A6EBFF9A7ACB4B82\\x00 188 4\n\
             dlm:controld\\x00 188 5\ndlm:ls:{uuid}\\x00 x\n"
        );
        assert_eq!(group(&text, uuid), BTreeSet::from([1, 2]));
        let kernel = FakeKernel::new("a");
        assert!(matches!(users_of(&kernel, uuid), Err(MembershipError::NoProgram(_))));
        kernel.answer("corosync-cpgtool -d  ", &text);
        assert_eq!(users_of(&kernel, uuid).unwrap(), BTreeSet::from([1, 2]));
    }
}
