//! The commands that change the configuration.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

use anyhow::{Context, Result, anyhow, bail};
use ocfs2_cli::print_warning;
use ocfs2_cluster::ConfFile;

use crate::cli::Command;
use crate::heartbeat::region_name;

/// Applies `command` to `file`. Returns a description of the change, or `None` if `command` changes
/// nothing.
///
/// # Errors
/// If the change is refused.
pub fn edit(file: &mut ConfFile, command: &Command) -> Result<Option<String>> {
    Ok(Some(match command {
        Command::AddCluster(name) => {
            file.add_cluster(&name.cluster)?;
            format!("cluster {} added", name.cluster)
        }
        Command::RemoveCluster(name) => {
            file.remove_cluster(&name.cluster)?;
            format!("cluster {} removed", name.cluster)
        }
        Command::AddNode { cluster, node, ip, port, number } => {
            file.known_cluster(cluster)?;
            let address = address(node, ip.as_deref())?;
            let number = file.add_node(cluster, node, *number, address, *port)?;
            format!("node {node} added to {cluster}: number {number}, {address}:{port}")
        }
        Command::RemoveNode { cluster, node } => {
            file.remove_node(cluster, node)?;
            format!("node {node} removed from {cluster}")
        }
        Command::AddHeartbeat(region) => {
            file.known_cluster(&region.cluster)?;
            let name = region_name(&region.region)?;
            file.add_heartbeat(&region.cluster, &name)?;
            format!("heartbeat region {name} added to {}", region.cluster)
        }
        Command::RemoveHeartbeat(region) => {
            let name = match region_name(&region.region) {
                Ok(name) => name,
                // A name accepted by the C tool can be removed again.
                Err(_) => region.region.clone(),
            };
            file.remove_heartbeat(&region.cluster, &name)?;
            format!("heartbeat region {name} removed from {}", region.cluster)
        }
        Command::HeartbeatMode { cluster, mode } => {
            file.set_heartbeat_mode(cluster, (*mode).into())?;
            format!("heartbeat mode of {cluster} set")
        }
        _ => return Ok(None),
    }))
}

/// The address of a node: the given one, or the one to which its name resolves.
fn address(node: &str, given: Option<&str>) -> Result<Ipv4Addr> {
    if let Some(text) = given {
        return match text.parse() {
            Ok(IpAddr::V4(address)) => Ok(address),
            Ok(IpAddr::V6(address)) => bail!(
                "--ip {address}: o2cb in the kernel talks IPv4 only, so give the node's IPv4 address"
            ),
            Err(_) => bail!("--ip {text}: expected an IPv4 address like 10.0.0.1"),
        };
    }
    let found = (node, 0).to_socket_addrs();
    let found = found
        .map_err(|err| anyhow!("the address of {node} cannot be found; --ip gives it: {err}"))?;
    let ipv4 = found.filter_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let ipv4: Vec<_> = ipv4.collect();
    // Often the own name of a host is an address within it, too.
    let found = ipv4.iter().find(|address| !address.is_loopback()).or(ipv4.first());
    if let Some(address) = found.filter(|address| address.is_loopback()) {
        print_warning(format_args!(
            "{node} has the address {address}, at which no other host reaches it; --ip gives another"
        ));
    }
    found
        .copied()
        .with_context(|| format!("{node} has no IPv4 address, which o2cb needs; --ip gives one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_ipv4() {
        assert_eq!(address("x", Some("10.0.0.1")).unwrap(), Ipv4Addr::new(10, 0, 0, 1));
        let err = address("x", Some("fd00::1")).unwrap_err().to_string();
        assert!(err.contains("IPv4 only"), "{err}");
        assert!(address("x", Some("ovs001")).is_err());
        assert_eq!(address("localhost", None).unwrap(), Ipv4Addr::LOCALHOST);
    }
}
