//! Bringing a cluster online, and taking it offline.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ocfs2_cluster::{
    ClusterConf, HeartbeatMode, Kernel, Online, OnlineError, References, Registered, Timeouts,
};

use crate::heartbeat::open_region;

/// Brings a cluster online: stack, cluster, nodes, and with global heartbeat its regions. A cluster
/// that is already online is changed to match the configuration as far as the kernel allows; the
/// result lists the differences. After an error nothing is left of a cluster that was not online
/// before.
///
/// `device` finds the device of a region, like [`crate::region_device`].
///
/// # Errors
/// [`OnlineError`], and those of the devices of the regions.
pub fn online(
    kernel: &dyn Kernel,
    conf: &ClusterConf,
    name: &str,
    timeouts: &Timeouts,
    device: impl Fn(&str) -> Result<PathBuf>,
) -> Result<Registered> {
    let online = Online::prepare(kernel)?;
    let was_online = online.cluster().is_some();
    let registered = online.register(conf, name, timeouts)?;
    if online.heartbeat_mode(name) == HeartbeatMode::Global
        && let Err(err) = start_heartbeats(&online, conf, name, device)
    {
        if !was_online {
            // The first error is the one to report.
            let _ = stop_heartbeats(&online, name);
            let _ = online.unregister(name);
        }
        return Err(err);
    }
    Ok(registered)
}

/// Tells the kernel the path of `ocfs2_hb_ctl`, which it runs after a volume is unmounted, if its
/// current path does not exist. `ours` is the program installed next to this one.
///
/// # Errors
/// If the kernel refuses.
pub fn show_hb_ctl(kernel: &dyn Kernel, ours: &str) -> std::io::Result<()> {
    const PATH: &str = "proc/sys/fs/ocfs2/nm/hb_ctl_path";
    let exists = |path: &str| kernel.exists(path.trim().trim_start_matches('/'));
    match kernel.read(PATH) {
        Ok(path) if !exists(&path) && exists(ours) => kernel.write(PATH, ours),
        _ => Ok(()),
    }
}

/// Starts the global heartbeat in all regions of a cluster that is online. Stops it in regions that
/// are no longer in the configuration, unless a mounted volume needs them.
///
/// # Errors
/// If there is no region, or one cannot be started. Those started before keep running.
pub fn start_heartbeats(
    online: &Online<'_>,
    conf: &ClusterConf,
    name: &str,
    device: impl Fn(&str) -> Result<PathBuf>,
) -> Result<()> {
    let regions: Vec<_> = conf.heartbeats_of(name).map(|region| &region.region).collect();
    if regions.is_empty() {
        bail!(
            "cluster `{name}` has global heartbeat and no region in the configuration: \
             o2cb add-heartbeat {name} DEVICE"
        );
    }
    for region in regions {
        let path = device(region)?;
        let open = open_region(&path)?;
        if !open.place.uuid.eq_ignore_ascii_case(region) {
            bail!("{}: has UUID {}, expected {region}", ocfs2_cli::shown(path), open.place.uuid);
        }
        use std::os::fd::AsFd;
        online
            .start_region(name, &open.place, open.device.as_fd())
            .with_context(|| format!("heartbeat region {region} on {}", ocfs2_cli::shown(path)))?;
    }
    let wanted = |region: &str| {
        conf.heartbeats_of(name).any(|wanted| wanted.region.eq_ignore_ascii_case(region))
    };
    for region in online.regions(name).iter().filter(|region| !wanted(region)) {
        match online.stop_region(name, region) {
            Err(OnlineError::Busy { .. }) => {}
            stopped => drop(stopped?),
        }
    }
    Ok(())
}

/// Stops the heartbeat in all regions of a cluster.
///
/// # Errors
/// [`OnlineError::Busy`] if a mounted volume needs one. Those stopped before stay stopped.
pub fn stop_heartbeats(online: &Online<'_>, name: &str) -> Result<(), OnlineError> {
    for region in online.regions(name) {
        online.stop_region(name, &region)?;
    }
    Ok(())
}

/// Takes a cluster offline, by default the one that is online. Returns its name, or `None` if no
/// cluster was online.
///
/// # Errors
/// If volumes are mounted (`mounted` lists their mount points), or another cluster is online.
pub fn offline(
    kernel: &dyn Kernel,
    references: &References,
    name: Option<&str>,
    mounted: &[String],
) -> Result<Option<String>> {
    let Some(online) = Online::find(kernel) else { return Ok(None) };
    let Some(running) = online.cluster() else { return Ok(None) };
    if let Some(name) = name.filter(|name| *name != running) {
        bail!("cluster `{name}` is not online, `{running}` is");
    }
    if !mounted.is_empty() {
        bail!("cluster `{running}` is in use: unmount {} first", mounted.join(", "));
    }
    let regions = online.regions(&running);
    stop_heartbeats(&online, &running)?;
    for region in regions {
        references.forget(&region)?;
    }
    online.unregister(&running)?;
    Ok(Some(running))
}

#[cfg(test)]
mod tests {
    use ocfs2_cluster::fake::FakeKernel;

    use super::*;

    fn conf(mode: &str, region: &str) -> ClusterConf {
        let text = format!(
            "cluster:\n\tname = web\n\tnode_count = 1\n\theartbeat_mode = {mode}\n\n\
             node:\n\tcluster = web\n\tname = a\n\tnumber = 0\n\tip_address = 10.0.0.1\n\
             \tip_port = 7777\n\n{region}"
        );
        ClusterConf::parse(&text).unwrap()
    }

    fn none(_: &str) -> Result<PathBuf> {
        bail!("no such device")
    }

    #[test]
    fn a_cluster_goes_online_and_offline() {
        let kernel = FakeKernel::new("a");
        let dir = tempfile::tempdir().unwrap();
        let references = References::in_folder(dir.path().to_owned());
        let take_offline = |name| offline(&kernel, &references, name, &[]);
        assert_eq!(take_offline(None).unwrap(), None);
        online(&kernel, &conf("local", ""), "web", &Timeouts::default(), none).unwrap();
        assert_eq!(Online::find(&kernel).unwrap().cluster().as_deref(), Some("web"));
        let err = take_offline(Some("other")).unwrap_err().to_string();
        assert_eq!(err, "cluster `other` is not online, `web` is");
        let err = offline(&kernel, &references, None, &["/mnt".to_owned()]).unwrap_err();
        assert_eq!(err.to_string(), "cluster `web` is in use: unmount /mnt first");
        assert_eq!(take_offline(Some("web")).unwrap().as_deref(), Some("web"));
        assert_eq!(take_offline(None).unwrap(), None);
    }

    #[test]
    fn the_kernel_is_told_of_our_hb_ctl_where_it_knows_of_none() {
        let kernel = FakeKernel::new("a");
        show_hb_ctl(&kernel, "/opt/sbin/ocfs2_hb_ctl").unwrap();
        let path = "proc/sys/fs/ocfs2/nm/hb_ctl_path";
        kernel.put(path, Some("/sbin/ocfs2_hb_ctl"));
        show_hb_ctl(&kernel, "/opt/sbin/ocfs2_hb_ctl").unwrap();
        assert!(kernel.take_log().is_empty(), "ours is not there either");
        kernel.put("opt/sbin/ocfs2_hb_ctl", Some(""));
        show_hb_ctl(&kernel, "/opt/sbin/ocfs2_hb_ctl").unwrap();
        assert_eq!(kernel.take_log(), [format!("write {path} /opt/sbin/ocfs2_hb_ctl")]);
        kernel.put("sbin/ocfs2_hb_ctl", Some(""));
        kernel.put(path, Some("/sbin/ocfs2_hb_ctl"));
        show_hb_ctl(&kernel, "/opt/sbin/ocfs2_hb_ctl").unwrap();
        assert!(kernel.take_log().is_empty());
    }

    #[test]
    fn a_global_cluster_without_its_region_stays_offline() {
        let kernel = FakeKernel::new("a");
        let bring = |region: &str| {
            let conf = conf("global", region);
            online(&kernel, &conf, "web", &Timeouts::default(), none).unwrap_err().to_string()
        };
        assert!(bring("").contains("no region in the configuration"));
        let region = format!("heartbeat:\n\tcluster = web\n\tregion = {}\n", "0A".repeat(16));
        assert_eq!(bring(&region), "no such device");
        assert_eq!(Online::find(&kernel).unwrap().cluster(), None);
    }
}
