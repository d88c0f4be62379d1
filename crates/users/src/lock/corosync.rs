//! The lock of a volume whose cluster is that of corosync.
//!
//! Joining the lockspace proves what nothing on the volume shows: the kernel lets this host in when
//! the cluster is quorate and all failed nodes are fenced, and refuses while another node has the
//! volume mounted. With the locks that a mount on this host or another program would hold, every
//! taken slot belongs to a node that is dead.

use std::path::Path;
use std::thread;
use std::time::Duration;

use ocfs2_cli::{Interrupt, Interrupted};
use ocfs2_cluster::{
    DlmCluster, Kernel, Lockspace, Membership, MembershipError, NotReady, Patience, SpaceLock,
    wait_until_ready,
};
use ocfs2_volume::{Volume, gate};

use super::{ClusterLock, Held, Host, LockError, Protection, Reason, is_shared, lock_all};

/// The lock, held until it is dropped.
pub(super) struct InLockspace {
    // A lockspace cannot be left while a lock in it is held.
    _super_lock: SpaceLock,
    _lockspace: Lockspace,
    kernel: Box<dyn Kernel + Send + Sync>,
}

impl gate::Lock for InLockspace {
    /// Fails if this host may be fenced while it writes.
    fn check(&self) -> Result<(), String> {
        match Membership::find(&*self.kernel) {
            Ok(membership) if membership.is_quorate => Ok(()),
            Ok(_) => Err("the cluster is not quorate any more".to_owned()),
            Err(err) => Err(format!("this host is not a member of the cluster any more: {err}")),
        }
    }
}

/// Says what is waited for, until an interrupt.
struct Waiting<'a> {
    say: fn(&str),
    interrupt: &'a Interrupt,
}

impl Patience for Waiting<'_> {
    fn say(&self, what: &str) {
        (self.say)(what);
    }

    fn pause(&self, time: Duration) -> bool {
        thread::sleep(time);
        !self.interrupt.requested()
    }
}

pub(super) fn take<K>(
    volume: &Volume,
    path: &Path,
    partition: Option<u32>,
    host: &Host<K>,
    interrupt: &Interrupt,
) -> Result<Protection, LockError>
where
    K: Kernel + Clone + Send + Sync + 'static,
{
    let kernel = &host.kernel;
    if !is_shared(path) {
        return Ok(Protection::None(Reason::NotShared));
    }
    if partition.is_some() {
        return Ok(Protection::None(Reason::Partition));
    }
    let Some(cluster) = DlmCluster::find(kernel) else {
        return Ok(Protection::None(Reason::NotAMember));
    };
    let superblock = volume.superblock();
    let named = superblock.cluster_info().map(|info| info.cluster());
    if let Some(volume) = named.filter(|name| !name.is_empty() && *name != cluster.name) {
        return Ok(Protection::None(Reason::OtherCluster { online: cluster.name, volume }));
    }
    match Membership::find(kernel) {
        Ok(_) => {}
        // Whether the kernel would wait without an end is not known.
        Err(MembershipError::NoProgram(program)) => {
            return Ok(Protection::None(Reason::NoProgram(program)));
        }
        // It has left its files in configfs.
        Err(_) => return Ok(Protection::None(Reason::NotAMember)),
    }
    let cluster = match wait_until_ready(kernel, &Waiting { say: host.say, interrupt }) {
        Ok(cluster) => cluster,
        Err(NotReady::Interrupted) => return Err(LockError::Interrupted(Interrupted)),
        Err(NotReady::NotAMember(_)) => return Ok(Protection::None(Reason::NotAMember)),
    };
    let mut lockspace = Lockspace::join(kernel, &superblock.uuid_string())?;
    let super_lock = lock_all(volume, None, |name| Ok(lockspace.try_exclusive(name)?))?;
    lockspace.nobody_else_is_in_it();
    let held = InLockspace {
        _super_lock: super_lock,
        _lockspace: lockspace,
        kernel: Box::new(kernel.clone()),
    };
    let node = cluster.this_node.unwrap_or_default();
    Ok(Protection::Locked(Box::new(ClusterLock { held: Held::Corosync(held), node })))
}
