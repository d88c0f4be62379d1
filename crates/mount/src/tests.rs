//! Mounting volumes made by the kernel, with a fake kernel that records the calls.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ocfs2_cluster::fake::{DLM_STATUS, FakeKernel};
use ocfs2_cluster::{ClusterConf, Online, Patience, References, Timeouts};
use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_testing::damage::{Base, Image};
use ocfs2_testing::{Scratch, fixture_copy};
use ocfs2_volume::{Volume, VolumeOptions};
use rustix::io::Errno;

use crate::mount::mount_volume;
use crate::{Machine, MountError, MountOptions, Options, Outcome, Request, mount};

/// Nobody who would wait.
struct Nobody;

impl Patience for Nobody {
    fn say(&self, _: &str) {}

    fn pause(&self, _: Duration) -> bool {
        false
    }
}

/// A host, a volume, and the kernel's answer to mount(2).
struct Host {
    kernel: FakeKernel,
    scratch: Scratch,
    image: PathBuf,
    answer: Result<(), Errno>,
    calls: RefCell<Vec<Request>>,
    /// Regions that existed when the kernel was asked to mount.
    beating: RefCell<Vec<String>>,
}

impl Host {
    fn new(fixture: &str) -> Self {
        let scratch = Scratch::new();
        let image = fixture_copy(fixture, &scratch);
        Self {
            kernel: FakeKernel::new("ovs001"),
            scratch,
            image,
            answer: Ok(()),
            calls: RefCell::default(),
            beating: RefCell::default(),
        }
    }

    fn online(self, cluster: &str) -> Self {
        let conf = format!(
            "cluster:\n\tname = {cluster}\n\tnode_count = 1\n\nnode:\n\tcluster = {cluster}\n\
             \tname = ovs001\n\tnumber = 0\n\tip_address = 10.0.0.1\n\tip_port = 7777\n"
        );
        let conf = ClusterConf::parse(&conf).unwrap();
        let online = Online::prepare(&self.kernel).unwrap();
        online.register(&conf, cluster, &Timeouts::default()).unwrap();
        self
    }

    fn regions(&self) -> Vec<String> {
        let online = Online::find(&self.kernel);
        online.map(|online| online.regions("ovscluster")).unwrap_or_default()
    }

    fn mount(&self, options: &str, mountinfo: &str) -> Result<Outcome, MountError> {
        let references = References::in_folder(self.scratch.join("references"));
        let ask = |request: &Request| {
            self.calls.borrow_mut().push(request.clone());
            self.beating.replace(self.regions());
            self.answer.map_err(io::Error::from)
        };
        let machine = Machine {
            kernel: &self.kernel,
            references: &references,
            mount: &ask,
            mountinfo: &|| mountinfo.to_owned(),
            patience: &Nobody,
        };
        let options = Options {
            source: self.image.clone(),
            target: self.scratch.path().to_owned(),
            mount: MountOptions::parse(options, false)?,
            fake: false,
        };
        let device = open(&self.image, &DeviceOptions::default())?;
        let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
        let number = rustix::fs::makedev(8, 1);
        mount_volume(&options, &machine, &volume, self.image.clone(), Some(number))
    }
}

#[test]
fn the_heartbeat_runs_before_the_kernel_is_asked_and_goes_on() {
    let host = Host::new("clean-4k-o2cb").online("ovscluster");
    let outcome = host.mount("noatime,acl", "").unwrap();
    assert_eq!(outcome.request.data, "acl,heartbeat=local");
    assert_eq!(host.calls.borrow().len(), 1);
    assert_eq!(host.beating.borrow().len(), 1);
    assert_eq!(host.regions(), *host.beating.borrow());
}

#[test]
fn a_heartbeat_is_stopped_when_the_kernel_refuses() {
    let mut host = Host::new("clean-4k-o2cb").online("ovscluster");
    host.answer = Err(Errno::INVAL);
    let err = host.mount("", "").unwrap_err();
    assert_eq!(err.status(), 32);
    assert!(err.to_string().contains("dmesg may say more"), "{err}");
    assert_eq!(host.beating.borrow().len(), 1);
    assert!(host.regions().is_empty());
}

#[test]
fn damage_that_stops_the_kernel_is_told_with_what_repairs_it() {
    for answer in [Errno::ROFS, Errno::UCLEAN] {
        let mut host = Host::new("clean-1k-local");
        host.answer = Err(answer);
        let err = host.mount("", "").unwrap_err();
        let told = format!("the volume is damaged: fsck.ocfs2 -f {}", host.image.display());
        assert!(err.status() == 32 && err.to_string().contains(&told), "{err}");
    }
}

#[test]
fn a_second_mount_on_this_host_counts_nothing() {
    let host = Host::new("clean-4k-o2cb").online("ovscluster");
    host.mount("", "").unwrap();
    host.kernel.take_log();
    host.mount("", "30 1 8:1 / /mnt rw - ocfs2 /dev/sda1 rw,heartbeat=local").unwrap();
    host.mount("remount,ro", "").unwrap();
    assert!(host.calls.borrow()[2].remount);
    assert!(host.kernel.take_log().is_empty());
    let counts: Vec<_> = fs::read_dir(host.scratch.join("references")).unwrap().flatten().collect();
    assert_eq!(counts.len(), 1);
    assert_eq!(fs::read_to_string(counts[0].path()).unwrap(), "1\n");
}

#[test]
fn a_volume_is_only_mounted_by_its_own_cluster() {
    let host = Host::new("clean-4k-o2cb").online("other");
    let err = host.mount("", "").unwrap_err().to_string();
    assert!(
        err.contains("belongs to cluster `ovscluster`, and cluster `other` is online"),
        "{err}"
    );
    let host = Host::new("clean-4k-o2cb");
    let err = host.mount("", "").unwrap_err();
    let told = "Unable to access cluster service while trying initialize cluster";
    assert!(err.to_string().contains(told) && err.status() == 32, "{err}");
    assert!(host.calls.borrow().is_empty());
}

#[test]
fn a_heartbeat_that_does_not_start_keeps_the_volume_unmounted() {
    let host = Host::new("clean-4k-o2cb").online("ovscluster");
    let device = open(&host.image, &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    let uuid = volume.superblock().uuid_string();
    let region = format!("sys/kernel/config/cluster/ovscluster/heartbeat/{uuid}");
    host.kernel.refuse(&format!("{region}/dev"), Errno::IO);
    let err = host.mount("", "").unwrap_err().to_string();
    assert!(err.contains("the heartbeat could not be started"), "{err}");
    assert!(host.calls.borrow().is_empty() && host.regions().is_empty());
}

#[test]
fn what_is_said_of_the_heartbeat_has_to_be_right() {
    let host = Host::new("clean-4k-o2cb").online("ovscluster");
    host.mount("heartbeat=local,cluster_stack=o2cb", "").unwrap();
    for (options, told) in [
        (
            "heartbeat=global",
            "heartbeat=global does not fit the volume, which takes heartbeat=local",
        ),
        ("cluster_stack=pcmk", "cluster_stack=pcmk does not fit the volume"),
    ] {
        let err = host.mount(options, "").unwrap_err().to_string();
        assert!(err.contains(told), "{err}");
    }
}

#[test]
fn a_read_only_device_is_mounted_read_only_and_only_if_it_is_clean() {
    let host = Host::new("clean-4k-o2cb");
    host.kernel.put("sys/dev/block/8:1/ro", Some("1"));
    assert!(matches!(host.mount("", ""), Err(MountError::ReadOnlyDevice { .. })));
    assert_eq!(host.mount("ro", "").unwrap().request.data, "heartbeat=none");
    let host = Host::new("crashed-4k-o2cb");
    host.kernel.put("sys/dev/block/8:1/ro", Some("1"));
    let err = host.mount("ro", "").unwrap_err().to_string();
    assert!(err.contains("the journals of slots 0, 1 have to be replayed"), "{err}");
}

#[test]
fn a_node_that_crashed_is_told_when_it_mounts_again() {
    let host = Host::new("crashed-4k-o2cb").online("ovscluster");
    let notes = host.mount("", "").unwrap().notes;
    assert!(notes[0].starts_with("the volume was not unmounted cleanly by this node"), "{notes:?}");
}

#[test]
fn a_program_missing_at_unmount_is_told_at_mount() {
    let host = Host::new("clean-4k-o2cb").online("ovscluster");
    host.kernel.put("proc/sys/fs/ocfs2/nm/hb_ctl_path", Some("/sbin/ocfs2_hb_ctl"));
    let notes = host.mount("", "").unwrap().notes;
    assert!(notes[0].starts_with("/sbin/ocfs2_hb_ctl is not there"), "{notes:?}");
    let host = Host::new("clean-4k-o2cb").online("ovscluster");
    host.kernel.put("proc/sys/fs/ocfs2/nm/hb_ctl_path", Some("/sbin/ocfs2_hb_ctl"));
    host.kernel.put("sbin/ocfs2_hb_ctl", Some(""));
    assert!(host.mount("", "").unwrap().notes.is_empty());
}

#[test]
fn what_can_not_be_mounted_at_all_is_said_before_the_kernel_is_asked() {
    let host = Host::new("clean-4k-o2cb");
    let references = References::in_folder(host.scratch.join("references"));
    let machine = Machine {
        kernel: &host.kernel,
        references: &references,
        mount: &|_| panic!("the kernel was asked"),
        mountinfo: &String::new,
        patience: &Nobody,
    };
    let try_mount = |source: PathBuf, target: PathBuf| {
        let options = Options { source, target, mount: MountOptions::default(), fake: false };
        mount(&options, &machine).unwrap_err()
    };
    let folder = host.scratch.path().to_owned();
    let err = try_mount(host.image.clone(), folder.join("none")).to_string();
    assert!(err.ends_with("none: does not exist"), "{err}");
    let err = try_mount(host.image.clone(), host.image.clone()).to_string();
    assert!(err.ends_with("is not a directory"), "{err}");
    let err = try_mount(host.image.clone(), folder.clone()).to_string();
    assert!(err.contains("an image is mounted with -o loop"), "{err}");
    let err = try_mount(folder.join("no-such-device"), folder.clone());
    assert_eq!(err.status(), 2);
    let uuid = "UUID=00000000-0000-0000-0000-00000000000f".into();
    assert!(try_mount(uuid, folder).to_string().contains("no block device of this machine"));
}

/// A member of a cluster of corosync, node 2, and a volume of that cluster that it left when it
/// crashed, and so did node 0.
fn member() -> (Host, Image) {
    let image = Base::Fixture("crashed-4k-o2cb").image();
    image.edit_superblock(SUPERBLOCK_BLKNO, |_, superblock| {
        superblock.s_feature_incompat &= !Incompat::CLUSTERINFO.bits();
        superblock.s_feature_incompat |= Incompat::USERSPACE_STACK.bits();
        superblock.s_cluster_info.ci_stack = *b"pcmk";
    });
    let mut host = Host::new("clean-1k-local");
    host.image = image.path().to_owned();
    host.kernel.join_dlm("ovscluster", 1, &[1, 2]);
    host.kernel.answer("dlm_tool status -v", DLM_STATUS);
    (host, image)
}

#[test]
fn a_member_of_a_cluster_of_corosync_mounts_its_volumes() {
    let (host, _image) = member();
    let outcome = host.mount("noatime", "").unwrap();
    assert_eq!(outcome.request.data, "cluster_stack=pcmk");
    let replayed =
        "was not unmounted cleanly by this node: the kernel replays the journal of slot 1";
    assert!(outcome.notes.iter().any(|note| note.contains(replayed)), "{:?}", outcome.notes);
}

#[test]
fn the_kernel_is_not_asked_before_the_cluster_is_ready() {
    let (host, _image) = member();
    for (from, to) in [("quorate=1", "quorate=0"), ("need_fencing=0", "need_fencing=1")] {
        host.kernel.answer("dlm_tool status -v", &DLM_STATUS.replacen(from, to, 1));
        let err = host.mount("", "").unwrap_err();
        assert!(err.to_string().ends_with("interrupted while waiting for the cluster"), "{err}");
    }
    host.kernel.answer("dlm_tool status -v", "cannot connect to dlm_controld\n");
    let err = host.mount("", "").unwrap_err();
    assert!(err.to_string().contains("this host is not a member of a running cluster"), "{err}");
    assert!(host.calls.borrow().is_empty());
    // What is mounted here already needs nothing of that.
    host.mount("remount,ro", "").unwrap();
    assert_eq!(host.calls.borrow().len(), 1);
}

#[test]
fn the_errors_of_the_lock_manager_are_explained() {
    for (answer, hint) in [
        (Errno::EXIST, "is at work on it on this host"),
        (Errno::PROTO, "is at work on it on another node"),
        (Errno::UNATCH, "dlm_controld does not run on this host"),
        (Errno::BADR, "belongs to another cluster than the one that runs here"),
        (Errno::NOTCONN, "this host is not a member of a running cluster"),
        (Errno::INVAL, "an option or the volume is not as the kernel wants it"),
    ] {
        let (mut host, _image) = member();
        host.answer = Err(answer);
        let err = host.mount("", "").unwrap_err();
        assert!(err.status() == 32 && err.to_string().contains(hint), "{err}");
    }
    let mut o2cb = Host::new("clean-4k-o2cb").online("ovscluster");
    o2cb.answer = Err(Errno::NOTCONN);
    assert!(o2cb.mount("", "").unwrap_err().to_string().contains("is port 7777 open"));
}
