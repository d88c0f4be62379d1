//! The possible clusters of a volume: the requested one, the one that runs here, and the one to
//! which the device already belongs.

use ocfs2_cluster::RunningCluster;
use ocfs2_format::feature::{Features, Incompat};
use ocfs2_format::superblock::{ClusterInfo, STACK_O2CB, STACKFLAG_GLOBAL_HEARTBEAT, SuperBlock};

use crate::options::ClusterId;

/// The supported cluster stacks.
pub const STACKS: [&str; 3] = ["o2cb", "pcmk", "cman"];
/// Longest name of a cluster in bytes.
pub const CLUSTER_NAME_BYTES: usize = 16;

/// The reason why a cluster cannot be written to a superblock.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClusterError {
    /// A name or a flag without a stack.
    #[error("--cluster-stack is missing: {0} needs it")]
    NoStack(&'static str),
    /// A stack without the name of a cluster.
    #[error("--cluster-name is missing: stack `{0}` needs it")]
    NoName(String),
    /// Not one of [`STACKS`].
    #[error("unknown cluster stack `{0}`: expected o2cb, pcmk or cman")]
    UnknownStack(String),
    /// A name that is too long, or that o2cb does not accept.
    #[error(
        "`{name}` cannot be the name of a cluster: {length} bytes, expected 1 to 16{}",
        if *alphanumeric { " letters and digits" } else { "" }
    )]
    BadName {
        /// The name.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// Whether only letters and digits are valid.
        alphanumeric: bool,
    },
    /// Only o2cb has a global heartbeat.
    #[error("--global-heartbeat is of stack o2cb, not of {0}")]
    GlobalHeartbeat(String),
}

impl ClusterId {
    /// The requested cluster; `None` if none was requested.
    ///
    /// # Errors
    /// If something is missing or unknown.
    pub fn from_options(
        stack: Option<&str>,
        cluster: Option<&str>,
        global_heartbeat: bool,
    ) -> Result<Option<Self>, ClusterError> {
        let Some(stack) = stack else {
            return match cluster {
                Some(_) => Err(ClusterError::NoStack("--cluster-name")),
                None if global_heartbeat => Err(ClusterError::NoStack("--global-heartbeat")),
                None => Ok(None),
            };
        };
        let label = STACKS
            .contains(&stack)
            .then(|| label_of(stack))
            .flatten()
            .ok_or_else(|| ClusterError::UnknownStack(stack.to_owned()))?;
        let name = cluster.ok_or_else(|| ClusterError::NoName(stack.to_owned()))?;
        let alphanumeric = label == STACK_O2CB;
        let length = name.len();
        let good = !alphanumeric || name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !good || length == 0 || length > CLUSTER_NAME_BYTES {
            return Err(ClusterError::BadName { name: name.to_owned(), length, alphanumeric });
        }
        if global_heartbeat && !alphanumeric {
            return Err(ClusterError::GlobalHeartbeat(stack.to_owned()));
        }
        Ok(Some(Self { stack: label, cluster: name.to_owned(), global_heartbeat }))
    }

    /// The cluster of an existing volume; `None` for classic o2cb, which does not name it.
    pub fn of_superblock(superblock: &SuperBlock) -> Option<Self> {
        if superblock.has(Incompat::LOCAL_MOUNT) {
            return None;
        }
        let info = superblock.cluster_info()?;
        let global = info.ci_stackflags & STACKFLAG_GLOBAL_HEARTBEAT != 0;
        let global_heartbeat = global && info.ci_stack == STACK_O2CB;
        Some(Self { stack: info.ci_stack, cluster: info.cluster(), global_heartbeat })
    }

    /// The cluster that runs here.
    pub fn running() -> Option<Self> {
        let RunningCluster { stack, name, global_heartbeat } = RunningCluster::find()?;
        Some(Self { stack, cluster: name, global_heartbeat })
    }

    /// Its representation in a superblock.
    pub fn info(&self) -> ClusterInfo {
        let mut ci_cluster = [0; CLUSTER_NAME_BYTES];
        for (to, from) in ci_cluster.iter_mut().zip(self.cluster.bytes()) {
            *to = from;
        }
        let ci_stackflags = if self.global_heartbeat { STACKFLAG_GLOBAL_HEARTBEAT } else { 0 };
        ClusterInfo { ci_stack: self.stack, ci_stackflags, ci_reserved: [0; 3], ci_cluster }
    }

    /// Adds the features that a volume of this cluster needs to `features`.
    pub fn add_features(&self, features: &mut Features) {
        features.incompat |= Incompat::EXTENDED_SLOT_MAP;
        if !features.incompat.contains(Incompat::CLUSTERINFO) {
            features.incompat |= match self.stack {
                STACK_O2CB => Incompat::CLUSTERINFO,
                _ => Incompat::USERSPACE_STACK,
            };
        }
    }

    /// Whether volumes name this cluster even if that is not requested. Those of classic o2cb do
    /// not.
    pub(crate) fn is_worth_stating(&self) -> bool {
        self.stack != STACK_O2CB || self.global_heartbeat
    }
}

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stack = self.stack.escape_ascii();
        write!(f, "cluster `{}` of stack {stack}", self.cluster.escape_default())?;
        if self.global_heartbeat { f.write_str(" with global heartbeat") } else { Ok(()) }
    }
}

fn label_of(stack: &str) -> Option<[u8; 4]> {
    stack.as_bytes().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(stack: &str, cluster: &str, global_heartbeat: bool) -> ClusterId {
        let stack = label_of(stack).unwrap();
        ClusterId { stack, cluster: cluster.to_owned(), global_heartbeat }
    }

    #[test]
    fn a_stack_needs_a_cluster_and_a_cluster_a_stack() {
        let ask = ClusterId::from_options;
        assert_eq!(ask(None, None, false), Ok(None));
        assert_eq!(ask(Some("o2cb"), Some("web1"), true), Ok(Some(id("o2cb", "web1", true))));
        assert_eq!(ask(Some("pcmk"), Some("a-b"), false), Ok(Some(id("pcmk", "a-b", false))));
        assert_eq!(ask(None, Some("web"), false), Err(ClusterError::NoStack("--cluster-name")));
        assert_eq!(ask(None, None, true), Err(ClusterError::NoStack("--global-heartbeat")));
        assert_eq!(ask(Some("o2cb"), None, false), Err(ClusterError::NoName("o2cb".to_owned())));
        let unknown = ask(Some("heart"), Some("web"), false);
        assert_eq!(unknown, Err(ClusterError::UnknownStack("heart".to_owned())));
        let global = ask(Some("cman"), Some("web"), true);
        assert_eq!(global, Err(ClusterError::GlobalHeartbeat("cman".to_owned())));
    }

    #[test]
    fn a_name_has_at_most_16_bytes_and_for_o2cb_letters_and_digits_only() {
        let ask = |stack, name| ClusterId::from_options(Some(stack), Some(name), false);
        assert!(ask("o2cb", "abcdefghijklmno1").is_ok());
        for (stack, name) in
            [("o2cb", "a-b"), ("o2cb", ""), ("pcmk", ""), ("pcmk", "abcdefghijklmnopq")]
        {
            assert!(matches!(ask(stack, name), Err(ClusterError::BadName { .. })), "{name}");
        }
        let message = ask("o2cb", "a-b").unwrap_err().to_string();
        assert_eq!(
            message,
            "`a-b` cannot be the name of a cluster: 3 bytes, expected 1 to 16 letters and digits"
        );
    }

    #[test]
    fn clusterinfo_takes_the_place_of_userspace_stack_when_asked_for() {
        let add = |id: ClusterId, before: Incompat| {
            let mut features = Features { incompat: before, ..Default::default() };
            id.add_features(&mut features);
            features.incompat.difference(Incompat::EXTENDED_SLOT_MAP)
        };
        let none = Incompat::empty();
        assert_eq!(add(id("o2cb", "web", false), none), Incompat::CLUSTERINFO);
        assert_eq!(add(id("pcmk", "web", false), none), Incompat::USERSPACE_STACK);
        let asked = Incompat::CLUSTERINFO;
        assert_eq!(add(id("pcmk", "web", false), asked), Incompat::CLUSTERINFO);
    }
}
