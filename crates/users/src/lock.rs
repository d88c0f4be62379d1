//! The cluster's lock on a volume: while it is held, no node can mount the volume.
//!
//! A mount first takes the super lock of the volume, and then holds the lock of its journal until
//! the unmount. Whoever holds the super lock and has briefly had the lock of each journal therefore
//! knows that no node has the volume mounted and that none will mount it. Nodes that try to mount
//! it wait.
//!
//! The names of locks follow `ocfs2_lock_type` and the format reference, section 25.7.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ocfs2_cli::{Interrupt, Interrupted, print_note};
use ocfs2_cluster::domain::{self, Domain, DomainError, Lock};
use ocfs2_cluster::{
    HeartbeatMode, Kernel, LockspaceError, Online, OnlineError, ReferenceError, References,
    RegionPlace, RunningKernel, stack,
};
use ocfs2_format::Blkno;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, Stack};
use ocfs2_volume::usage::{Evidence, SlotUse, State, Usage};
use ocfs2_volume::{SystemFile, Volume, gate};

mod corosync;

use corosync::InLockspace;

/// The protection of a volume against other nodes.
#[derive(Debug)]
pub enum Protection {
    /// The cluster's lock.
    Locked(Box<ClusterLock>),
    /// No lock: other nodes can only be observed.
    None(Reason),
}

/// Why no lock was taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The volume is local, or an image: no other host uses it.
    NotShared,
    /// No cluster is online on this host.
    NoCluster,
    /// Another cluster is online on this host.
    OtherCluster {
        /// The name of that cluster.
        online: String,
        /// The cluster of the volume.
        volume: String,
    },
    /// The volume belongs to a cluster of corosync, and this host is not a running member of one.
    NotAMember,
    /// This program of the cluster is not installed, without which the lock cannot be taken.
    NoProgram(&'static str),
    /// The volume is a partition chosen with `--partition` on a whole disk.
    Partition,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotShared => f.write_str("no other host uses the volume"),
            Self::NoCluster => f.write_str("no cluster is online on this host"),
            Self::OtherCluster { online, volume } => {
                let (online, volume) = (online.escape_default(), volume.escape_default());
                write!(f, "cluster {online} is online on this host, not {volume}")
            }
            Self::NotAMember => {
                f.write_str("this host is not a running member of the volume's cluster")
            }
            Self::NoProgram(program) => write!(f, "{program} is not installed on this host"),
            Self::Partition => {
                f.write_str("with --partition no lock is taken: name the partition's own device")
            }
        }
    }
}

/// Describes how other nodes are noticed if no lock is held. `finds_regions` says whether the
/// region of a global heartbeat is looked for on other volumes.
pub fn instead(stack: &Stack, finds_regions: bool) -> String {
    match stack {
        Stack::Userspace(_) => {
            format!("stack {stack} has no heartbeat on the volume, only the slot map tells of them")
        }
        Stack::O2cb { global_heartbeat: true } if !finds_regions => {
            "their heartbeat is not on this volume, only the slot map tells of them".to_owned()
        }
        _ => "their heartbeat is watched instead".to_owned(),
    }
}

/// Describes that other nodes are not locked out, why, and how they are noticed, assuming that no
/// region is looked for on other volumes.
pub fn not_locked(volume: &Volume, why: &Reason) -> String {
    let instead = instead(&volume.superblock().stack(), false);
    format!("other nodes are not locked out ({why}): {instead}")
}

/// The lock of a running cluster could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A node is mounting or unmounting the volume, or another tool changes it.
    #[error("another node is mounting the volume, or a program changes it there or here")]
    SuperLock {
        /// The number of this host, if it wrote a heartbeat to the volume for this attempt.
        this_node: Option<u32>,
    },
    /// A node has the volume mounted.
    #[error("in use: the journal of slot {slot} is locked by a node that has the volume mounted")]
    Mounted {
        /// The slot of that node.
        slot: u16,
        /// The number of this host, if it wrote a heartbeat to the volume for this attempt.
        this_node: Option<u32>,
    },
    /// This host is not a node of the cluster that is online.
    #[error("this host is not a node of cluster {0}")]
    NotANode(String),
    /// The heartbeat on the volume could not be started.
    #[error("the heartbeat cannot be started: {0}")]
    Heartbeat(#[from] ReferenceError),
    /// The heartbeat region or the device could not be used.
    #[error("the heartbeat cannot be started: {0}")]
    Region(String),
    /// The lock manager returned an error.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The lock manager of a cluster of corosync returned an error.
    #[error(transparent)]
    Lockspace(#[from] LockspaceError),
    /// A signal ended the wait for the cluster.
    #[error("interrupted while waiting for the cluster")]
    Interrupted(#[source] Interrupted),
}

impl LockError {
    /// The number of this host if it wrote a heartbeat to the volume for the attempt, so that it is
    /// not mistaken for another user.
    pub fn this_node(&self) -> Option<u32> {
        match self {
            Self::SuperLock { this_node } | Self::Mounted { this_node, .. } => *this_node,
            _ => None,
        }
    }

    /// Whether another node, or another program, uses the volume: what else is known of the nodes
    /// shows which.
    pub fn is_in_use(&self) -> bool {
        matches!(
            self,
            Self::SuperLock { .. }
                | Self::Mounted { .. }
                | Self::Lockspace(LockspaceError::MountedElsewhere)
        )
    }
}

/// The lock, held until it is dropped.
pub struct ClusterLock {
    held: Held,
    node: u32,
}

/// What keeps the other nodes away.
enum Held {
    O2cb(#[expect(dead_code, reason = "it is held until it is dropped")] InDomain),
    Corosync(InLockspace),
}

struct InDomain {
    // The fields are dropped in this order: a domain cannot be left while a lock in it is held, and
    // the domain needs the heartbeat.
    _super_lock: Lock,
    _domain: Domain,
    _heartbeat: Option<Beating>,
}

impl fmt::Debug for ClusterLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterLock").field("node", &self.node).finish_non_exhaustive()
    }
}

impl gate::Lock for ClusterLock {
    /// With o2cb it always passes: a node that loses the cluster is reset by its kernel.
    fn check(&self) -> Result<(), String> {
        match &self.held {
            Held::O2cb(_) => Ok(()),
            Held::Corosync(held) => held.check(),
        }
    }
}

impl ClusterLock {
    /// The number of this host in the cluster. With local heartbeat of o2cb it writes a heartbeat to
    /// the volume while the lock is held.
    pub fn node(&self) -> u32 {
        self.node
    }
}

/// What is needed to take a lock; tests use their own.
#[derive(Debug)]
pub struct Host<K = RunningKernel> {
    /// The kernel's cluster files.
    pub kernel: K,
    /// The reference counts of heartbeats.
    pub references: References,
    /// Says what is waited for.
    pub say: fn(&str),
}

impl Default for Host {
    /// The host this runs on.
    fn default() -> Self {
        Self {
            kernel: RunningKernel::default(),
            references: References::default(),
            say: |what| print_note(what),
        }
    }
}

/// Takes the cluster's lock on the volume of the device `path`, or of a partition on it, if its
/// cluster runs on this host. With o2cb this takes some seconds, because a node counts as alive only
/// after it has written its heartbeat for a while. A cluster of corosync is waited for until it is
/// quorate and has fenced the nodes that failed, or until an `interrupt`.
///
/// # Errors
/// [`LockError`] if a node uses the volume, or if that cannot be ruled out.
pub fn take<K>(
    volume: &Volume,
    path: &Path,
    partition: Option<u32>,
    host: Host<K>,
    interrupt: &Interrupt,
) -> Result<Protection, LockError>
where
    K: Kernel + Clone + Send + Sync + 'static,
{
    let superblock = volume.superblock();
    let global = match superblock.stack() {
        Stack::Local => return Ok(Protection::None(Reason::NotShared)),
        Stack::Userspace(_) => return corosync::take(volume, path, partition, &host, interrupt),
        Stack::O2cb { global_heartbeat } => global_heartbeat,
    };
    if !is_shared(path) {
        return Ok(Protection::None(Reason::NotShared));
    }
    if partition.is_some() {
        return Ok(Protection::None(Reason::Partition));
    }
    let is_o2cb = stack::current(&host.kernel).as_deref() == Some(stack::O2CB);
    let online = Online::find(&host.kernel).filter(|_| is_o2cb);
    let running = online.as_ref().and_then(|online| Some((online, online.cluster()?)));
    let Some((online, cluster)) = running else {
        return Ok(Protection::None(Reason::NoCluster));
    };
    let named = superblock.cluster_info().map(|info| info.cluster().to_string());
    if let Some(volume) = named.filter(|name| !name.is_empty() && *name != cluster) {
        return Ok(Protection::None(Reason::OtherCluster { online: cluster, volume }));
    }
    let nodes = online.nodes(&cluster);
    let node = nodes.iter().find(|(.., local)| *local).map(|(_, number, _)| u32::from(*number));
    let node = node.ok_or_else(|| LockError::NotANode(cluster.clone()))?;
    let is_global = online.heartbeat_mode(&cluster) == HeartbeatMode::Global;
    let heartbeat = match global || is_global {
        true => None,
        false => Some(beat(volume, path, &host, online, &cluster)?),
    };
    let domain = Domain::join(&domain::dlmfs(&host.kernel)?, &superblock.uuid_string())?;
    let super_lock = lock_all(volume, Some(node), |name| Ok(domain.try_exclusive(name)?))?;
    let held = InDomain { _super_lock: super_lock, _domain: domain, _heartbeat: heartbeat };
    Ok(Protection::Locked(Box::new(ClusterLock { held: Held::O2cb(held), node })))
}

/// Whether other hosts can use what is at `path`: not an image.
fn is_shared(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// Takes the super lock, which is returned, and then each journal's for a moment. `this_node` is the
/// number of this host if it writes a heartbeat.
fn lock_all<L>(
    volume: &Volume,
    this_node: Option<u32>,
    try_exclusive: impl Fn(&str) -> Result<Option<L>, LockError>,
) -> Result<L, LockError> {
    let super_lock = try_exclusive(&name('S', SUPERBLOCK_BLKNO, 0))?;
    let super_lock = super_lock.ok_or(LockError::SuperLock { this_node })?;
    for slot in 0..volume.max_slots() {
        // A node cannot have mounted the volume with a journal whose inode cannot be read.
        let Ok(inode) = volume.system_file(SystemFile::Journal(slot)) else { continue };
        let journal = name('M', inode.blkno, inode.dinode.i_generation);
        try_exclusive(&journal)?.ok_or(LockError::Mounted { slot, this_node })?;
    }
    Ok(super_lock)
}

/// Returns the users of a volume whose lock is held: a node that still has a slot has crashed.
///
/// # Errors
/// If the slot map cannot be read.
pub fn usage_while_held(volume: &Volume) -> Result<Usage, ocfs2_volume::Error> {
    let crashed = State::Crashed { last_beat: None, evidence: Evidence::Stopped };
    let slots = volume.taken_slots()?.into_iter();
    let slots = slots
        .map(|taken| SlotUse { slot: taken.slot, node: taken.node, state: crashed.clone() })
        .collect();
    Ok(Usage { slots, ..Usage::default() })
}

/// The name of a lock: type, six padding digits, block number as 16 digits, generation as 8; 31
/// characters.
fn name(kind: char, blkno: Blkno, generation: u32) -> String {
    format!("{kind}000000{:016x}{generation:08x}", blkno.0)
}

/// How often to stop a heartbeat that is still in use, and how long to wait in between.
const TRIES: usize = 20;
const BETWEEN: Duration = Duration::from_millis(250);

/// The heartbeat of this host on the volume, until it is dropped.
struct Beating {
    kernel: Box<dyn Kernel + Send + Sync>,
    references: References,
    cluster: String,
    region: String,
}

impl Drop for Beating {
    fn drop(&mut self) {
        let Self { kernel, references, cluster, region } = self;
        let kernel = &**kernel;
        let Some(online) = Online::find(kernel) else { return };
        // It goes on if someone else needs it. There is nobody to whom an error could be reported.
        let mut stopped = references.stop(kernel, &online, cluster, region).map(drop);
        // The domain that was just left may still use the heartbeat for a moment.
        for _ in 0..TRIES {
            let Err(ReferenceError::Online(OnlineError::Busy { .. })) = stopped else { return };
            thread::sleep(BETWEEN);
            stopped = references.stop_unwanted(kernel, &online, cluster, region);
        }
    }
}

fn beat<K: Kernel + Clone + Send + Sync + 'static>(
    volume: &Volume,
    path: &Path,
    host: &Host<K>,
    online: &Online<'_>,
    cluster: &str,
) -> Result<Beating, LockError> {
    let region = volume.heartbeat_region().map_err(|err| LockError::Region(err.to_string()))?;
    let uuid = volume.superblock().uuid_string();
    let sector = volume.device().sector_size();
    let place = RegionPlace::new(uuid.clone(), region.offset_bytes, region.size_bytes, sector);
    let device = File::options().read(true).write(true).open(path);
    let device = device.map_err(|err| LockError::Region(err.to_string()))?;
    host.references.start(online, cluster, &place, device.as_fd())?;
    Ok(Beating {
        kernel: Box::new(host.kernel.clone()),
        references: host.references.clone(),
        cluster: cluster.to_owned(),
        region: uuid,
    })
}
