//! The cluster of corosync that runs on this host, as dlm_controld has told the kernel.

use crate::{CorosyncConf, Kernel};

const CLUSTER: &str = "sys/kernel/config/dlm/cluster";

/// A cluster in the kernel's lock manager. Its files stay if dlm_controld is killed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DlmCluster {
    /// Its name, which the kernel compares with that of a volume.
    pub name: String,
    /// The number of this host; `None` for about a second after dlm_controld has started.
    pub this_node: Option<u32>,
    /// The nodes that are members now, ascending.
    pub members: Vec<u32>,
}

impl DlmCluster {
    /// Returns the cluster of this host; `None` if there is none.
    pub fn find(kernel: &dyn Kernel) -> Option<Self> {
        let stated = kernel.read(&format!("{CLUSTER}/cluster_name")).ok();
        let stated = stated.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let name = stated.or_else(|| {
            // dlm_controld names the cluster only if corosync does.
            let conf = CorosyncConf::read(kernel)?;
            kernel.exists(CLUSTER).then_some(conf.cluster?)
        })?;
        let comms = format!("{CLUSTER}/comms");
        let mut members: Vec<u32> =
            kernel.folders(&comms).iter().filter_map(|name| name.parse().ok()).collect();
        members.sort_unstable();
        let is_local = |node: &u32| {
            kernel.read(&format!("{comms}/{node}/local")).is_ok_and(|text| text.trim() == "1")
        };
        let this_node = members.iter().copied().find(is_local);
        Some(Self { name, this_node, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeKernel;

    #[test]
    fn the_cluster_is_in_configfs() {
        let kernel = FakeKernel::new("a");
        assert_eq!(DlmCluster::find(&kernel), None);
        kernel.put("sys/kernel/config/dlm/cluster/cluster_name", Some("hac"));
        let found = DlmCluster::find(&kernel).unwrap();
        assert_eq!((found.name.as_str(), found.this_node), ("hac", None));
        kernel.put("sys/kernel/config/dlm/cluster/comms/10/local", Some("1"));
        kernel.put("sys/kernel/config/dlm/cluster/comms/2/local", Some("0"));
        let found = DlmCluster::find(&kernel).unwrap();
        assert_eq!((found.this_node, &found.members[..]), (Some(10), &[2, 10][..]));
    }
}
