//! The kernel fills our volumes with files of every kind and finds them again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use ocfs2_testing::vm::{Heartbeat, Lab, Machines};
use ocfs2_testing::{Scratch, program};

use crate::lab::lab;
use crate::volume::{LOCAL, NEW_JOURNAL, O2CB, assert_fsck_is_content_but_of_buckets, mkfs};

/// A volume to fill.
struct Volume {
    name: String,
    options: Vec<String>,
    cluster_size: u64,
    mount_options: &'static str,
    kinds: Vec<&'static str>,
}

/// Attributes come first: when they were set last, the kernel once found no room for a value of
/// several clusters on a nearly empty volume. The cause is unknown; scattered free clusters are
/// suspected.
const ALL_KINDS: [&str; 11] = [
    "xattrs",
    "many=300",
    "sizes",
    "names",
    "special",
    "meta",
    "folders=300",
    "owners",
    "sparse",
    "reflinks",
    "extents=60",
];

impl Volume {
    /// A volume with all features that the geometry allows.
    fn with_geometry(block_size: u64, cluster_size: u64) -> Self {
        // A journal has at least 16 clusters of 1 MiB.
        let journal = if cluster_size == 1 << 20 { "size=16M" } else { "size=8M" };
        let options = ["-b", &block_size.to_string(), "-C", &cluster_size.to_string()]
            .into_iter()
            .chain(["-N", "2", "-J", journal, "--fs-feature-level=max-features"])
            .map(str::to_owned)
            .collect();
        Self {
            name: format!("blocks of {block_size}, clusters of {cluster_size}"),
            options,
            cluster_size,
            mount_options: "-o usrquota,grpquota",
            kinds: ALL_KINDS.to_vec(),
        }
    }

    /// A volume with these optional features, by the names of `--fs-features`, and no others.
    fn with_features(features: &[&str]) -> Self {
        let has = |feature| features.contains(&feature);
        let options = ["-b", "4096", "-C", "4096", "-N", "2", "-J", "size=8M"]
            .into_iter()
            .chain(["--fs-feature-level=max-compat"])
            .map(str::to_owned)
            .chain((!features.is_empty()).then(|| format!("--fs-features={}", features.join(","))))
            .collect();
        let can = |kind: &&str| match *kind {
            "sparse" => has("unwritten"),
            "xattrs" => has("xattr"),
            "reflinks" => has("refcount"),
            "extents=60" => has("refcount") && has("unwritten"),
            _ => true,
        };
        let mount_options = match (has("usrquota"), has("grpquota")) {
            (true, true) => "-o usrquota,grpquota",
            (true, false) => "-o usrquota",
            (false, true) => "-o grpquota",
            (false, false) => "",
        };
        Self {
            name: format!("features {}", features.join(", ")),
            options,
            cluster_size: 4096,
            mount_options,
            kinds: ALL_KINDS.into_iter().filter(can).collect(),
        }
    }
}

/// Mounts, fills and unmounts every volume, and mounts it again to compare its contents; finally
/// the C fsck has to find nothing.
fn fill_and_find_again(volumes: &[Volume], kind: [&str; 2], machines: Machines) -> Result<()> {
    let scratch = Scratch::new();
    let mut images: Vec<PathBuf> = Vec::new();
    let mut script = String::from("set -e\n");
    // A heartbeat takes seconds to start, so all start at the same time.
    if kind == O2CB {
        for letter in ('a'..='z').take(volumes.len()) {
            script += &format!("heartbeat-start /dev/vd{letter} &\n");
        }
        script += "wait\n";
    }
    for (volume, letter) in volumes.iter().zip('a'..) {
        let options: Vec<_> = volume.options.iter().map(String::as_str).chain(kind).collect();
        // Most of it is free: small files take a cluster each, however large it is.
        let size_bytes = (256 << 20) + 700 * volume.cluster_size;
        images.push(mkfs(&scratch, &format!("{letter}.img"), size_bytes, &options));
        let Volume { name, cluster_size, mount_options, kinds, .. } = volume;
        let kinds = kinds.join(" ");
        script += &format!(
            "echo 'volume {letter}: {name}'
            mount-volume {mount_options} /dev/vd{letter} /mnt
            volume-contents fill /mnt/filled {cluster_size} {kinds}
            volume-contents describe /mnt/filled >/tmp/before
            [ ! -e /mnt/filled/sparse ] ||
                echo \"preallocated {letter} $(stat -c %i /mnt/filled/sparse/beyond-eof)\"
            umount /mnt
            mount-volume /dev/vd{letter} /mnt
            volume-contents describe /mnt/filled >/tmp/after
            umount /mnt
            cmp /tmp/before /tmp/after
            [ $(wc -l </tmp/after) -gt 1000 ]\n"
        );
    }
    let run = machines
        .disks(&images)
        .program(program("volume-contents"))
        .script(script)
        .allow(NEW_JOURNAL)
        .timeout(Duration::from_secs(120 + 90 * volumes.len() as u64))
        .run()?;
    run.assert_ok();
    for (image, letter) in images.iter().zip('a'..) {
        let line = format!("preallocated {letter} ");
        let inode = run.output().lines().find_map(|found| found.strip_prefix(&line));
        let inode = inode.map(str::parse).transpose().context("inode number")?;
        assert_fsck_is_content_but_of_buckets(image, inode.as_slice());
    }
    Ok(())
}

fn local(volumes: &[Volume]) -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    // A machine has at most six of the disks, so that the next machine can run on another
    // processor.
    for volumes in volumes.chunks(6) {
        fill_and_find_again(volumes, LOCAL, lab.vm())?;
    }
    Ok(())
}

fn with_a_cluster(lab: &Lab) -> Machines<'_> {
    lab.vm().o2cb(Heartbeat::Local)
}

fn geometries(sizes: &[(u64, u64)]) -> Vec<Volume> {
    sizes.iter().map(|(block, cluster)| Volume::with_geometry(*block, cluster << 10)).collect()
}

#[test]
fn small_blocks_with_clusters_of_several_sizes_are_filled() -> Result<()> {
    local(&geometries(&[(512, 4), (512, 1024), (1024, 8), (1024, 128)]))
}

#[test]
fn large_blocks_with_clusters_of_several_sizes_are_filled() -> Result<()> {
    local(&geometries(&[(2048, 4), (2048, 256), (4096, 4), (4096, 1024)]))
}

#[test]
#[ignore = "slow: run by cargo xtask kernel --all"]
fn every_block_size_with_every_cluster_size_is_filled() -> Result<()> {
    let clusters = || (0..=8).map(|bit| 4 << bit);
    let blocks = [512, 1024, 2048, 4096];
    let all: Vec<_> = blocks
        .into_iter()
        .flat_map(|block| clusters().map(move |cluster| (block, cluster)))
        .collect();
    local(&geometries(&all))
}

#[test]
fn volumes_of_a_cluster_are_filled() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let volumes = geometries(&[(512, 4), (1024, 16), (2048, 512), (4096, 4)]);
    fill_and_find_again(&volumes, O2CB, with_a_cluster(&lab))
}

/// Features by themselves, or with those that they need.
const SETS: [&[&str]; 11] = [
    &[],
    &["sparse"],
    &["sparse", "unwritten"],
    &["inline-data"],
    &["metaecc"],
    &["xattr"],
    &["indexed-dirs"],
    &["usrquota"],
    &["grpquota"],
    &["sparse", "unwritten", "refcount"],
    &["discontig-bg", "sparse", "append-dio"],
];

#[test]
fn each_feature_alone_is_used() -> Result<()> {
    let sets = SETS.into_iter().skip(1).step_by(2);
    local(&sets.map(Volume::with_features).collect::<Vec<_>>())
}

#[test]
#[ignore = "slow: run by cargo xtask kernel --all"]
fn each_other_feature_alone_is_used() -> Result<()> {
    let sets = SETS.into_iter().step_by(2);
    local(&sets.map(Volume::with_features).collect::<Vec<_>>())
}

#[test]
#[ignore = "slow: run by cargo xtask kernel --all"]
fn all_features_but_one_are_used() -> Result<()> {
    const ALL: [&str; 11] = [
        "sparse",
        "unwritten",
        "inline-data",
        "metaecc",
        "xattr",
        "indexed-dirs",
        "usrquota",
        "grpquota",
        "refcount",
        "discontig-bg",
        "append-dio",
    ];
    let without = |left_out: &&str| {
        // Features that need the missing one are left out as well.
        let gone: &[&str] = match *left_out {
            "sparse" => &["sparse", "unwritten", "refcount", "append-dio"],
            "unwritten" => &["unwritten", "refcount"],
            other => &[other],
        };
        let features: Vec<_> = ALL.into_iter().filter(|feature| !gone.contains(feature)).collect();
        Volume::with_features(&features)
    };
    let volumes: Vec<_> = ALL.iter().map(without).collect();
    local(&volumes)
}
