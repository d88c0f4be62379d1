//! What people write: lists of features, `cluster.conf`.

use ocfs2_cluster::ClusterConf;
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
    if let Ok(conf) = ClusterConf::parse(&String::from_utf8_lossy(bytes)) {
        for cluster in &conf.clusters {
            assert!(conf.nodes_of(&cluster.name).count() <= conf.nodes.len());
        }
    }
}
