//! Parsers of text that people write: lists of features, `cluster.conf`.

use std::net::Ipv4Addr;

use ocfs2_cluster::{ClusterConf, ConfFile, HeartbeatMode};
use ocfs2_format::feature::{FeatureRequest, Features};

pub fn features(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(request) = FeatureRequest::parse(&text) {
        let applied = request.apply(Features::DEFAULT);
        assert!(applied.contains(request.set));
        assert_eq!(applied.intersection(request.clear), Features::default());
        assert!(Features::known().contains(applied));
    }
}

pub fn cluster_conf(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(conf) = ClusterConf::parse(&text) {
        for cluster in &conf.clusters {
            assert!(conf.nodes_of(&cluster.name).count() <= conf.nodes.len());
        }
    }
    if let Ok(file) = ConfFile::parse(text.into_owned()) {
        change(file);
    }
}

/// Asserts that additions are there, and that removing them leaves everything else as it was.
fn change(mut file: ConfFile) {
    const NEW: &str = "fuzzing";
    let before = file.conf().clone();
    if file.add_cluster(NEW).is_ok() {
        assert!(file.conf().cluster(NEW).is_some(), "{}", file.text());
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let number = file.add_node(NEW, "node", None, address, 7777).unwrap();
        assert!(file.conf().nodes_of(NEW).any(|node| node.number == number), "{}", file.text());
        file.add_heartbeat(NEW, "0123456789ABCDEF0123456789ABCDEF").unwrap();
        file.set_heartbeat_mode(NEW, HeartbeatMode::Global).unwrap();
        assert_eq!(file.conf().clusters.last().unwrap().heartbeat_mode, HeartbeatMode::Global);
        file.remove_cluster(NEW).unwrap();
        assert_eq!(*file.conf(), before, "{}", file.text());
    }
    for cluster in before.clusters {
        let mode = HeartbeatMode::Local;
        file.set_heartbeat_mode(&cluster.name, mode).unwrap();
        let found = file.conf().cluster(&cluster.name).map(|cluster| cluster.heartbeat_mode);
        assert_eq!(found, Some(mode), "{}", file.text());
        file.remove_cluster(&cluster.name).unwrap();
    }
    assert!(file.conf().nodes.is_empty() && file.conf().heartbeats.is_empty(), "{}", file.text());
}
