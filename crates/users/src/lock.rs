//! The cluster's lock on a volume: while it is held no node can mount it.
//!
//! A mount takes the super lock of the volume first, and then holds the lock of its journal
//! until the unmount. Whoever holds the super lock and has had each journal's lock for a moment
//! therefore knows that no node has the volume mounted and that none will. Nodes that try to
//! mount it wait.
//!
//! The names of locks are those of `ocfs2_lock_type` and the format reference, section 25.7.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ocfs2_cluster::domain::{self, Domain, DomainError, Lock};
use ocfs2_cluster::{
    HeartbeatMode, Kernel, Online, OnlineError, ReferenceError, References, RegionPlace,
    RunningKernel, stack,
};
use ocfs2_format::Blkno;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, Stack};
use ocfs2_volume::usage::{Evidence, SlotUse, State, Usage};
use ocfs2_volume::{SystemFile, Volume, gate};

/// What keeps other nodes from a volume.
#[derive(Debug)]
pub enum Protection {
    /// The cluster's lock.
    Locked(Box<ClusterLock>),
    /// Nothing: what other nodes do is seen by looking.
    None(Reason),
}

/// Why there is no lock to be taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A local volume, or an image: no other host has it.
    NotShared,
    /// No cluster is online on this host.
    NoCluster,
    /// Another cluster is.
    OtherCluster {
        /// Its name.
        online: String,
        /// The cluster of the volume.
        volume: String,
    },
    /// The locks of this stack are not known here.
    Stack(String),
    /// `--partition` on a whole disk.
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
            Self::Stack(stack) => {
                write!(f, "locks of the stack {} are not supported", stack.escape_default())
            }
            Self::Partition => {
                f.write_str("with --partition no lock is taken: name the partition's own device")
            }
        }
    }
}

/// What tells of other nodes where no lock is held. `finds_regions` says whether the region of a
/// global heartbeat is looked for on other volumes.
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

/// That other nodes can come, why, and what tells of them; without the heartbeat of other volumes.
pub fn not_locked(volume: &Volume, why: &Reason) -> String {
    let instead = instead(&volume.superblock().stack(), false);
    format!("other nodes are not locked out ({why}): {instead}")
}

/// The lock of a running cluster was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A node is mounting or unmounting it, or another tool changes it.
    #[error("another node is mounting the volume, or a program changes it there")]
    SuperLock {
        /// The number of this host, which has beaten on the volume for this try.
        this_node: u32,
    },
    /// A node has it mounted.
    #[error("in use: the journal of slot {slot} is locked by a node that has the volume mounted")]
    Mounted {
        /// The slot.
        slot: u16,
        /// The number of this host, which has beaten on the volume for this try.
        this_node: u32,
    },
    /// This host is not a node of the cluster that is online.
    #[error("this host is not a node of cluster {0}")]
    NotANode(String),
    /// The heartbeat of the volume does not start.
    #[error("the heartbeat cannot be started: {0}")]
    Heartbeat(#[from] ReferenceError),
    /// The place of the heartbeat, or the device.
    #[error("the heartbeat cannot be started: {0}")]
    Region(String),
    /// The lock manager.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl LockError {
    /// The number of this host, if it has beaten on the volume for the try: not to be taken for
    /// another user of it.
    pub fn this_node(&self) -> Option<u32> {
        match self {
            Self::SuperLock { this_node } | Self::Mounted { this_node, .. } => Some(*this_node),
            _ => None,
        }
    }
}

/// The lock, held until this is dropped.
pub struct ClusterLock {
    // Dropped in this order: a domain cannot be left while a lock in it is held, and the
    // heartbeat is wanted by the domain.
    _super_lock: Lock,
    _domain: Domain,
    _heartbeat: Option<Beating>,
    node: u32,
}

impl fmt::Debug for ClusterLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterLock").field("node", &self.node).finish_non_exhaustive()
    }
}

impl gate::Lock for ClusterLock {
    /// Always held: a node that loses the cluster is reset by its kernel.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl ClusterLock {
    /// The number of this host in the cluster: it beats on the volume while the lock is held.
    pub fn node(&self) -> u32 {
        self.node
    }
}

/// What locks are taken with; other things in tests.
#[derive(Debug)]
pub struct Host<K = RunningKernel> {
    /// The kernel's cluster files.
    pub kernel: K,
    /// Who wants heartbeats.
    pub references: References,
}

impl Default for Host {
    /// This machine.
    fn default() -> Self {
        Self { kernel: RunningKernel::default(), references: References::default() }
    }
}

/// Takes the cluster's lock on the volume of the device `path`, or of a partition on it, where its
/// cluster runs on this host. It takes some seconds, for a node is believed only when it has beaten for a while.
///
/// # Errors
/// [`LockError`]: a node uses the volume, or that cannot be ruled out.
pub fn take<K>(
    volume: &Volume,
    path: &Path,
    partition: Option<u32>,
    host: Host<K>,
) -> Result<Protection, LockError>
where
    K: Kernel + Clone + Send + Sync + 'static,
{
    let superblock = volume.superblock();
    let global = match superblock.stack() {
        Stack::Local => return Ok(Protection::None(Reason::NotShared)),
        stack @ Stack::Userspace(_) => {
            let reason = match stack::current(&host.kernel) {
                Some(_) => Reason::Stack(stack.to_string()),
                None => Reason::NoCluster,
            };
            return Ok(Protection::None(reason));
        }
        Stack::O2cb { global_heartbeat } => global_heartbeat,
    };
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(Protection::None(Reason::NotShared));
    };
    if !metadata.file_type().is_block_device() {
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
    let super_name = name('S', SUPERBLOCK_BLKNO, 0);
    let super_lock =
        domain.try_exclusive(&super_name)?.ok_or(LockError::SuperLock { this_node: node })?;
    for slot in 0..volume.max_slots() {
        // Whose inode cannot be read has not been mounted with it either.
        let Ok(inode) = volume.system_file(SystemFile::Journal(slot)) else { continue };
        let journal = name('M', inode.blkno, inode.dinode.i_generation);
        domain.try_exclusive(&journal)?.ok_or(LockError::Mounted { slot, this_node: node })?;
    }
    let lock =
        ClusterLock { _super_lock: super_lock, _domain: domain, _heartbeat: heartbeat, node };
    Ok(Protection::Locked(Box::new(lock)))
}

/// Who uses a volume whose lock is held: whoever has a slot has crashed.
///
/// # Errors
/// The slot map cannot be read.
pub fn usage_while_held(volume: &Volume) -> Result<Usage, ocfs2_volume::Error> {
    let crashed = State::Crashed { last_beat: None, evidence: Evidence::Stopped };
    let slots = volume.taken_slots()?.into_iter();
    let slots = slots
        .map(|taken| SlotUse { slot: taken.slot, node: taken.node, state: crashed.clone() })
        .collect();
    Ok(Usage { slots, ..Usage::default() })
}

/// A type, the block number as 16 digits, the generation as 8: 31 characters with the padding.
fn name(kind: char, blkno: Blkno, generation: u32) -> String {
    format!("{kind}000000{:016x}{generation:08x}", blkno.0)
}

/// How often a heartbeat is stopped that is still held, and how long to wait in between.
const TRIES: usize = 20;
const BETWEEN: Duration = Duration::from_millis(250);

/// The heartbeat of this host on the volume, until this is dropped.
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
        // It goes on for whoever else wants it; there is nobody to be told of an error.
        let mut stopped = references.stop(kernel, &online, cluster, region).map(drop);
        // The domain that was just left may still hold on to it for a moment.
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
