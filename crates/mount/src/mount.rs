//! Mounting: check the volume, start its heartbeat, call the kernel, stop the heartbeat if it
//! refuses.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ocfs2_cli::{argument, shown};
use ocfs2_cluster::{
    DlmCluster, Kernel, Online, OnlineError, Patience, ReferenceError, References, RegionPlace,
    wait_until_ready,
};
use ocfs2_device::{DeviceOptions, OpenError, open};
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::STATE_ERROR;
use ocfs2_volume::find::{FindError, resolve};
use ocfs2_volume::usage::{SampleOptions, State, SystemClock, Usage};
use ocfs2_volume::{OpenVolumeError, Volume, VolumeOptions};
use rustix::io::Errno;

use crate::cluster::{ClusterError, Heartbeat, heartbeat_of};
use crate::options::{Flags, MountOptions, OptionError};

/// What is to be mounted, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// A block device, `UUID=...` or `LABEL=...`.
    pub source: PathBuf,
    /// The mount point.
    pub target: PathBuf,
    /// The options of `-o`.
    pub mount: MountOptions,
    /// Do everything except starting the heartbeat and mounting.
    pub fake: bool,
}

/// A call of mount(2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The block device.
    pub source: PathBuf,
    /// The mount point.
    pub target: PathBuf,
    /// The kernel's flags.
    pub flags: Flags,
    /// Whether to change the options of a mounted volume.
    pub remount: bool,
    /// The options for OCFS2.
    pub data: String,
}

/// Access to the machine; tests use their own.
pub struct Machine<'a> {
    /// The kernel's cluster files.
    pub kernel: &'a dyn Kernel,
    /// The reference counts of heartbeats.
    pub references: &'a References,
    /// mount(2).
    pub mount: &'a dyn Fn(&Request) -> io::Result<()>,
    /// The text of `/proc/self/mountinfo`.
    pub mountinfo: &'a dyn Fn() -> String,
    /// Who waits for a cluster of corosync.
    pub patience: &'a dyn Patience,
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The call that was made, or would have been.
    pub request: Request,
    /// Messages for people about a volume that was mounted.
    pub notes: Vec<String>,
}

/// The error of mounting a volume.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// An option of `-o` is not valid.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The mount point cannot be used.
    #[error("mount point {}: {why}", shown(path))]
    Target {
        /// The mount point.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// There is no volume of that UUID or label, or more than one.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The device, or the list of devices, cannot be read.
    #[error("{}: {cause}", shown(path))]
    Io {
        /// The device.
        path: PathBuf,
        /// The error.
        cause: io::Error,
    },
    /// The source is a regular file.
    #[error("{} is not a block device; an image is mounted with -o loop", shown(.0))]
    NotABlockDevice(PathBuf),
    /// The device cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device holds no volume that can be mounted.
    #[error("{}: {cause}{}", shown(path), behind(hint))]
    Volume {
        /// The device.
        path: PathBuf,
        /// The error of opening the volume.
        cause: Box<OpenVolumeError>,
        /// What the device holds instead, if known.
        hint: String,
    },
    /// A structure of the volume cannot be read.
    #[error("{}: {cause}; fsck.ocfs2 checks the volume", shown(path))]
    Damaged {
        /// The device.
        path: PathBuf,
        /// The error.
        cause: Box<ocfs2_volume::Error>,
    },
    /// A change by tunefs was interrupted.
    #[error(
        "{}: a change of the volume ({what}) was interrupted: run fsck.ocfs2 first",
        shown(path)
    )]
    InProgress {
        /// The device.
        path: PathBuf,
        /// The kind of change.
        what: String,
    },
    /// The device is read-only.
    #[error("{}: the device is read-only, so mount it with -o ro", shown(path))]
    ReadOnlyDevice {
        /// The device.
        path: PathBuf,
    },
    /// The device is read-only, but journals have to be replayed.
    #[error(
        "{}: the journals of slots {} have to be replayed, and the device is read-only: mount it \
         once where it can be written, or run fsck.ocfs2 there",
        shown(path),
        numbers(slots)
    )]
    ReadOnlyDirty {
        /// The device.
        path: PathBuf,
        /// The slots of these journals.
        slots: Vec<u16>,
    },
    /// The volume does not fit the cluster of this host.
    #[error("{}: {cause}", shown(path))]
    Cluster {
        /// The device.
        path: PathBuf,
        /// The reason.
        cause: Box<ClusterError>,
    },
    /// `nocluster` was given while other nodes use the volume.
    #[error("{}: -o nocluster, and the volume is in use by {}", shown(path), users.join(", "))]
    InUse {
        /// The device.
        path: PathBuf,
        /// Nodes that are alive, or may be.
        users: Vec<String>,
    },
    /// The heartbeat could not be started.
    #[error("{}: the heartbeat could not be started: {cause}", shown(path))]
    Heartbeat {
        /// The device.
        path: PathBuf,
        /// The error.
        cause: Box<ReferenceError>,
    },
    /// The kernel refused to mount the volume.
    #[error("mounting {} on {}: {cause}{}", shown(path), shown(target), behind(hint))]
    Kernel {
        /// The device.
        path: PathBuf,
        /// The mount point.
        target: PathBuf,
        /// The error of the kernel.
        cause: io::Error,
        /// What the error means.
        hint: String,
    },
}

impl MountError {
    /// The exit status of mount(8): 1 for an invalid call, 2 for a system error, 32 for a failed
    /// mount.
    pub fn status(&self) -> u8 {
        match self {
            Self::Option(_) => 1,
            Self::Io { .. } | Self::Find(FindError::Io(_)) => 2,
            _ => 32,
        }
    }
}

fn numbers(slots: &[u16]) -> String {
    slots.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn behind(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}

/// Mounts a volume.
///
/// # Errors
/// [`MountError`]; a heartbeat that was started is stopped again.
pub fn mount(options: &Options, machine: &Machine<'_>) -> Result<Outcome, MountError> {
    check_target(&options.target)?;
    let path = resolve(&options.source)?;
    let metadata =
        fs::metadata(&path).map_err(|cause| MountError::Io { path: path.clone(), cause })?;
    if metadata.is_file() {
        return Err(MountError::NotABlockDevice(path));
    }
    let device = open(&path, &DeviceOptions::default())?;
    let volume = Volume::open(device.clone(), &VolumeOptions::default()).map_err(|cause| {
        let is_other = matches!(cause, OpenVolumeError::NotOcfs2 { .. });
        let choose = ", each with a device of its own";
        let instead = is_other.then(|| ocfs2_probe::instead(&device, choose)).flatten();
        let hint = instead.unwrap_or_default();
        MountError::Volume { path: path.clone(), cause: cause.into(), hint }
    })?;
    let number = metadata.file_type().is_block_device().then(|| metadata.rdev());
    mount_volume(options, machine, &volume, path, number)
}

/// Mounts an open volume. `number` is the device number of its block device.
pub(crate) fn mount_volume(
    options: &Options,
    machine: &Machine<'_>,
    volume: &Volume,
    path: PathBuf,
    number: Option<u64>,
) -> Result<Outcome, MountError> {
    let kernel = machine.kernel;
    let told = &options.mount;
    let marks = volume.features().incompat & (Incompat::RESIZE_INPROG | Incompat::TUNEFS_INPROG);
    if !marks.is_empty() {
        let what = if marks.contains(Incompat::TUNEFS_INPROG) { "tunefs" } else { "resize" };
        return Err(MountError::InProgress { path, what: what.to_owned() });
    }
    let name =
        number.map(|number| format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)));
    let read_only_device = name.as_ref().is_some_and(|name| {
        kernel.read(&format!("sys/dev/block/{name}/ro")).is_ok_and(|text| text.trim() == "1")
    });
    let damaged = |cause: ocfs2_volume::Error| MountError::Damaged {
        path: path.clone(),
        cause: cause.into(),
    };
    let dirty = (0..volume.max_slots()).filter_map(|slot| match volume.journal_is_dirty(slot) {
        Ok(false) => None,
        Ok(true) => Some(Ok(slot)),
        Err(err) => Some(Err(err)),
    });
    let dirty: Vec<u16> = dirty.collect::<Result<_, _>>().map_err(damaged)?;
    if read_only_device {
        if !told.flags.is_read_only() {
            return Err(MountError::ReadOnlyDevice { path });
        }
        if !dirty.is_empty() {
            return Err(MountError::ReadOnlyDirty { path, slots: dirty });
        }
    }
    let superblock = volume.superblock();
    let cluster_error =
        |cause: ClusterError| MountError::Cluster { path: path.clone(), cause: cause.into() };
    let heartbeat = if told.nocluster || read_only_device {
        ocfs2_cluster::stack::load_file_system(kernel).map_err(|err| cluster_error(err.into()))?;
        Heartbeat::None
    } else {
        heartbeat_of(kernel, superblock).map_err(cluster_error)?
    };
    check_told(told, &heartbeat).map_err(cluster_error)?;
    if told.nocluster {
        check_alone(volume, &path)?;
    }
    let mounted = name.is_some_and(|name| is_mounted(&(machine.mountinfo)(), &name));
    let is_userspace = matches!(heartbeat, Heartbeat::Userspace(_));
    if is_userspace && !told.remount && !mounted && !options.fake {
        // The kernel would wait as well, in a way that not even a kill ends.
        wait_until_ready(kernel, machine.patience).map_err(|err| cluster_error(err.into()))?;
    }
    let mut notes = Vec::new();
    // A volume that is already mounted here has a dirty journal for that reason.
    if !told.remount && !mounted {
        notes.extend(dirty_note(kernel, volume, &heartbeat, &dirty));
        if superblock.s_state & STATE_ERROR != 0 {
            notes.push(format!(
                "the volume is marked as having errors: unmount it everywhere, and run \
                 fsck.ocfs2 -fy {}",
                argument(&path)
            ));
        }
    }

    let mut data = told.data.clone();
    if told.nocluster {
        data.push("nocluster".to_owned());
    }
    data.push(heartbeat.to_string());
    let request = Request {
        source: path.clone(),
        target: options.target.clone(),
        flags: told.flags,
        remount: told.remount,
        data: data.join(","),
    };
    if options.fake {
        return Ok(Outcome { request, notes });
    }
    let mut started = None;
    if let Heartbeat::Local { cluster } = &heartbeat
        && !told.remount
        && !mounted
    {
        started = Some(start(machine, volume, &path, cluster)?);
    }
    if let Err(cause) = (machine.mount)(&request) {
        if let Some(region) = started
            && let Some(online) = Online::find(kernel)
            && let Some(cluster) = online.cluster()
        {
            // The error to report is the refusal of the kernel.
            let _ = machine.references.stop(kernel, &online, &cluster, &region);
        }
        let nocluster = told.nocluster;
        let state = Tried { path: &path, mounted, nocluster, read_only_device, is_userspace };
        let hint = explain(&cause, volume, &state);
        return Err(MountError::Kernel { path, target: options.target.clone(), cause, hint });
    }
    if started.is_some() {
        notes.extend(hb_ctl_note(kernel));
    }
    Ok(Outcome { request, notes })
}

/// Starts the heartbeat. Returns the UUID of its region.
fn start(
    machine: &Machine<'_>,
    volume: &Volume,
    path: &Path,
    cluster: &str,
) -> Result<String, MountError> {
    let region = volume
        .heartbeat_region()
        .map_err(|cause| MountError::Damaged { path: path.to_owned(), cause: cause.into() })?;
    let uuid = volume.superblock().uuid_string();
    let sector = volume.device().sector_size();
    let place = RegionPlace::new(uuid.clone(), region.offset_bytes, region.size_bytes, sector);
    let failed = |cause: ReferenceError| MountError::Heartbeat {
        path: path.to_owned(),
        cause: cause.into(),
    };
    let device = File::options().read(true).write(true).open(path);
    let device = device.map_err(|cause| MountError::Io { path: path.to_owned(), cause })?;
    let offline = || failed(OnlineError::NotOnline(cluster.to_owned()).into());
    let online = Online::find(machine.kernel).ok_or_else(offline)?;
    machine.references.start(&online, cluster, &place, device.as_fd()).map_err(failed)?;
    Ok(uuid)
}

fn check_target(path: &Path) -> Result<(), MountError> {
    let why = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => "is not a directory".to_owned(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(err) => err.to_string(),
    };
    Err(MountError::Target { path: path.to_owned(), why })
}

/// Checks that `heartbeat=` and `cluster_stack=`, if given, match the volume.
fn check_told(told: &MountOptions, heartbeat: &Heartbeat) -> Result<(), ClusterError> {
    let wanted = heartbeat.to_string();
    if let Some(said) = told.heartbeat.as_ref().map(|said| format!("heartbeat={said}"))
        && said != wanted
    {
        return Err(ClusterError::Told { told: said, wanted });
    }
    let stack = match heartbeat {
        Heartbeat::None => return Ok(()),
        Heartbeat::Local { .. } | Heartbeat::Global => "o2cb",
        Heartbeat::Userspace(stack) => stack,
    };
    match &told.cluster_stack {
        Some(said) if said != stack => Err(ClusterError::Told {
            told: format!("cluster_stack={said}"),
            wanted: format!("cluster_stack={stack}"),
        }),
        _ => Ok(()),
    }
}

/// Checks that no node uses the volume: without a cluster nothing keeps two nodes apart.
fn check_alone(volume: &Volume, path: &Path) -> Result<(), MountError> {
    let options = SampleOptions::before_writing();
    let usage = Usage::of_volume(volume, None, &options, &SystemClock::default())
        .map_err(|cause| MountError::Damaged { path: path.to_owned(), cause: cause.into() })?;
    let crashed = |state: &State| matches!(state, State::Crashed { .. });
    let users: Vec<_> = usage
        .nodes()
        .filter(|(_, state)| !crashed(state))
        .map(|(node, _)| format!("node {node}"))
        .collect();
    if users.is_empty() { Ok(()) } else { Err(MountError::InUse { path: path.to_owned(), users }) }
}

/// A note on journals that this node, or the only one, has left dirty.
fn dirty_note(
    kernel: &dyn Kernel,
    volume: &Volume,
    heartbeat: &Heartbeat,
    dirty: &[u16],
) -> Option<String> {
    let own = match heartbeat {
        Heartbeat::None => dirty.to_vec(),
        // The journals of other nodes that have the volume mounted are dirty for that reason.
        heartbeat => {
            let node = this_node(kernel, heartbeat)?;
            let taken = volume.taken_slots().ok()?;
            let held = taken.iter().filter(|taken| taken.node == node);
            held.map(|taken| taken.slot).filter(|slot| dirty.contains(slot)).collect()
        }
    };
    (!own.is_empty()).then(|| {
        format!(
            "the volume was not unmounted cleanly by this node: the kernel replays the journal of \
             slot {} as it mounts; fsck.ocfs2 checks the volume while no node has it mounted",
            numbers(&own)
        )
    })
}

/// The number of this host in the cluster that runs on it.
fn this_node(kernel: &dyn Kernel, heartbeat: &Heartbeat) -> Option<u32> {
    if let Heartbeat::Userspace(_) = heartbeat {
        return DlmCluster::find(kernel)?.this_node;
    }
    let online = Online::find(kernel)?;
    let nodes = online.nodes(&online.cluster()?);
    nodes.iter().find(|(.., local)| *local).map(|(_, number, _)| u32::from(*number))
}

/// A note if the program that the kernel runs at unmount does not exist.
fn hb_ctl_note(kernel: &dyn Kernel) -> Option<String> {
    let path = kernel.read("proc/sys/fs/ocfs2/nm/hb_ctl_path").ok()?;
    (!kernel.exists(path.trim_start_matches('/'))).then(|| {
        format!(
            "{path} is not there: the kernel runs it at unmount to stop the heartbeat, which will \
             go on until `o2cb offline`"
        )
    })
}

/// Whether the block device `number` is mounted as OCFS2 on this host.
fn is_mounted(mountinfo: &str, number: &str) -> bool {
    mountinfo.lines().any(|line| {
        let same = line.split(' ').nth(2) == Some(number);
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
        same && kind == Some("ocfs2")
    })
}

/// The circumstances of an error of mount(2).
struct Tried<'a> {
    path: &'a Path,
    /// Whether the volume was mounted on this host already.
    mounted: bool,
    nocluster: bool,
    read_only_device: bool,
    /// Whether the volume belongs to a cluster of corosync.
    is_userspace: bool,
}

/// Explains an error of mount(2) for OCFS2.
fn explain(err: &io::Error, volume: &Volume, tried: &Tried<'_>) -> String {
    let Tried { mounted, nocluster, .. } = *tried;
    let slots = volume.max_slots();
    let full = volume.taken_slots().is_ok_and(|taken| taken.len() >= usize::from(slots));
    let errno = err.raw_os_error().map(Errno::from_raw_os_error);
    if let Some(text) = errno.filter(|_| tried.is_userspace).and_then(by_lock_manager) {
        return format!("{text}; dmesg may say more");
    }
    let text = match errno {
        Some(Errno::INVAL) if full && !mounted => {
            return format!(
                "all {slots} node slots of the volume are taken: another node has to unmount it, or \
                 mounted.ocfs2 -f shows one that crashed and fsck.ocfs2 frees its slot"
            );
        }
        Some(Errno::INVAL) if nocluster => "not every kernel knows the option nocluster",
        Some(Errno::INVAL) => "an option or the volume is not as the kernel wants it",
        Some(Errno::NODEV) => "the kernel does not know OCFS2: modprobe ocfs2",
        Some(Errno::BUSY) => "it is mounted there already, or in use by something else",
        Some(Errno::ROFS) if tried.read_only_device => {
            "journals have to be replayed, and the device cannot be written"
        }
        // The device is writable, so the kernel stopped because of what it found.
        Some(Errno::ROFS | Errno::UCLEAN) => {
            let device = argument(tried.path);
            return format!(
                "the volume is damaged: fsck.ocfs2 -f {device} checks and repairs it while no node \
                 has it mounted; dmesg says what the kernel found"
            );
        }
        Some(Errno::PERM | Errno::ACCESS) => return "only root can mount".to_owned(),
        Some(Errno::NOTCONN | Errno::HOSTUNREACH | Errno::HOSTDOWN) => {
            "nodes that have it mounted cannot be reached: is port 7777 open between all nodes, and \
             does `o2cb status` show the right addresses?"
        }
        _ => return "dmesg may say why".to_owned(),
    };
    format!("{text}; dmesg may say more")
}

/// Explains an error of the lock manager of a cluster of corosync, which the kernel passes on.
fn by_lock_manager(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EXIST => {
            "a program such as fsck.ocfs2 or tunefs.ocfs2 is at work on it on this host, or one was \
             killed: the next run of fsck.ocfs2 on this host ends what it has left"
        }
        Errno::PROTO => {
            "a program such as fsck.ocfs2 or tunefs.ocfs2 is at work on it on another node, or one \
             was killed there"
        }
        Errno::UNATCH => "dlm_controld does not run on this host: systemctl start dlm",
        Errno::BADR => "the volume belongs to another cluster than the one that runs here",
        Errno::NOTCONN => {
            "this host is not a member of a running cluster: start corosync and dlm_controld"
        }
        _ => return None,
    })
}

/// Calls mount(2).
///
/// # Errors
/// Those of the kernel.
pub fn system_mount(request: &Request) -> io::Result<()> {
    let data = CString::new(request.data.as_str())?;
    let flags = request.flags.bits();
    if request.remount {
        rustix::mount::mount_remount(&request.target, flags, data.as_c_str())?;
    } else {
        rustix::mount::mount(&request.source, &request.target, "ocfs2", flags, data.as_c_str())?;
    }
    Ok(())
}
