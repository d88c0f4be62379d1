//! The cluster stack of a volume as `o2cluster` writes it: `default` or `stack,cluster,mode`.

use std::fmt;
use std::str::FromStr;

use ocfs2_cluster::{RunningCluster, check_cluster_name};
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::{ClusterInfo, Stack, SuperBlock};

use crate::{StampError, stamped};

/// Who mounts a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Some cluster of o2cb with local heartbeat: the volume does not say which.
    Default,
    /// This cluster.
    Cluster(RunningCluster),
}

/// What is wrong with the description of a cluster.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// It does not have three parts.
    #[error("Cluster details should be in the format \"<stack>,<cluster>,<hbmode>\"")]
    Format,
    /// There is no such stack.
    #[error("Cluster stack is invalid ; unknown cluster stack '{}'", .0.escape_debug())]
    Stack(String),
    /// The name is not valid.
    #[error("Cluster name is invalid ; max 16 {0}")]
    Name(&'static str),
    /// The mode of the heartbeat is not valid.
    #[error("Heartbeat mode is invalid ; {0}")]
    Mode(String),
}

impl Target {
    /// Who mounts the volume with this superblock; `None` if it is local.
    pub fn of(superblock: &SuperBlock) -> Option<Self> {
        if superblock.stack() == Stack::Local {
            return None;
        }
        let Some(info) = superblock.cluster_info() else { return Some(Self::Default) };
        Some(Self::Cluster(RunningCluster {
            stack: info.ci_stack,
            name: info.cluster(),
            global_heartbeat: superblock.stack() == (Stack::O2cb { global_heartbeat: true }),
        }))
    }

    /// Returns the superblock changed so that these mount the volume.
    ///
    /// # Errors
    /// As [`stamped`].
    pub fn stamp(&self, superblock: &SuperBlock) -> Result<SuperBlock, StampError> {
        match self {
            Self::Cluster(cluster) => stamped(superblock, cluster),
            Self::Default if superblock.stack() == Stack::Local => Err(StampError::Local),
            Self::Default => {
                let mut stamped = superblock.clone();
                let mut features = superblock.features();
                features.incompat -= Incompat::CLUSTERINFO | Incompat::USERSPACE_STACK;
                stamped.set_features(features);
                stamped.s_cluster_info = ClusterInfo::default();
                Ok(stamped)
            }
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let [stack, name, mode] = text.split(',').collect::<Vec<_>>()[..] else {
            return Err(TargetError::Format);
        };
        let label = match stack {
            "o2cb" => *b"o2cb",
            "pcmk" => *b"pcmk",
            "cman" => *b"cman",
            _ => return Err(TargetError::Stack(stack.to_owned())),
        };
        let is_o2cb = stack == "o2cb";
        if is_o2cb && check_cluster_name(name).is_err() {
            return Err(TargetError::Name("alpha-numeric characters"));
        }
        if !matches!(name.len(), 1..=16) || name.contains(char::is_control) {
            return Err(TargetError::Name("characters"));
        }
        let global_heartbeat = match mode {
            "local" if is_o2cb => false,
            "global" if is_o2cb => true,
            "none" if !is_o2cb => false,
            _ if !is_o2cb => {
                let text = "heartbeat mode must be 'none' for this cluster stack";
                return Err(TargetError::Mode(text.to_owned()));
            }
            _ => {
                let mode = mode.escape_debug();
                return Err(TargetError::Mode(format!("unknown heartbeat mode '{mode}'")));
            }
        };
        let name = name.to_owned();
        Ok(Self::Cluster(RunningCluster { stack: label, name, global_heartbeat }))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Cluster(cluster) = self else { return f.write_str("default") };
        let stack: Vec<u8> = cluster.stack.into_iter().filter(|byte| *byte != 0).collect();
        let mode = match (cluster.is_o2cb(), cluster.global_heartbeat) {
            (true, true) => "global",
            (true, false) => "local",
            (false, _) => "none",
        };
        write!(f, "{},{},{mode}", stack.escape_ascii(), cluster.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_it_is_written() {
        let texts =
            ["default", "o2cb,web,local", "o2cb,Web1,global", "pcmk,a-b,none", "cman,c,none"];
        for text in texts {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_by_the_c_tool() {
        for (text, expected) in [
            ("x", "Cluster details should be in the format \"<stack>,<cluster>,<hbmode>\""),
            ("o2cb,x", "Cluster details should be in the format \"<stack>,<cluster>,<hbmode>\""),
            ("xx,x,none", "Cluster stack is invalid ; unknown cluster stack 'xx'"),
            ("o2cb,a-b,local", "Cluster name is invalid ; max 16 alpha-numeric characters"),
            ("o2cb,,local", "Cluster name is invalid ; max 16 alpha-numeric characters"),
            ("pcmk,abcdefghijklmnopq,none", "Cluster name is invalid ; max 16 characters"),
            (
                "pcmk,x,local",
                "Heartbeat mode is invalid ; heartbeat mode must be 'none' for this cluster stack",
            ),
            ("o2cb,x,none", "Heartbeat mode is invalid ; unknown heartbeat mode 'none'"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap_err().to_string(), expected, "{text}");
        }
    }
}
