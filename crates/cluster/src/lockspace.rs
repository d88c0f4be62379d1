//! A lockspace of the kernel's distributed lock manager, through its character devices.
//!
//! The lockspace of a volume has its UUID as name. A node joins it before it mounts the volume, and
//! so does a program that keeps the volume from being mounted: the values of locks have 32 bytes
//! for programs and 64 for the file system, so that the lock manager lets no node join that wants
//! the other kind. On the same node only the locks in it keep the two apart.
//!
//! What is written and read are the structures of `linux/dlm_device.h` for 64 bits.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::{Kernel, membership, program};

/// The major version of the interface.
const VERSION: u32 = 6;
/// Commands of `dlm_write_request`.
const LOCK: u8 = 1;
const CREATE: u8 = 4;
const REMOVE: u8 = 5;
/// An exclusive lock, and the flag that a request fails rather than waits.
const EXCLUSIVE: u8 = 5;
const NO_QUEUE: u32 = 1;
/// Where the status is in a `dlm_lock_result`.
const STATUS_OFFSET: usize = 40;
/// Bytes of the structure up to the name of a lockspace, and room for the longest name.
const SPACE_REQUEST_BYTES: usize = 168;
const LONGEST_NAME: usize = 64;

/// How often to try again what the kernel needs a moment for, and how long to wait in between.
const TRIES: usize = 100;
const BETWEEN: Duration = Duration::from_millis(50);

/// The error of joining a lockspace or taking a lock in it.
#[derive(Debug, thiserror::Error)]
pub enum LockspaceError {
    /// The lock manager has no device.
    #[error("the device {device} of the lock manager cannot be used: {cause}")]
    Device {
        /// Its name below `/dev/misc` or `/dev`.
        device: String,
        /// The error.
        cause: io::Error,
    },
    /// The kernel has another interface.
    #[error("the lock manager has interface version {0}, and this program knows version 6")]
    Version(u32),
    /// Another node is in the lockspace with the file system's kind of locks.
    #[error("another node has the volume mounted")]
    MountedElsewhere,
    /// The kernel refuses to join.
    #[error("joining the lockspace {name}: {cause}")]
    Join {
        /// The lockspace.
        name: String,
        /// The error of the kernel.
        cause: io::Error,
    },
    /// The kernel refuses the lock.
    #[error("lock {name}: {cause}")]
    Lock {
        /// The lock.
        name: String,
        /// The error of the kernel.
        cause: io::Error,
    },
}

/// A device of the lock manager: each write is a request, each read an answer.
trait Channel: Read + Write + Send + Sync {}
impl<T: Read + Write + Send + Sync> Channel for T {}

/// Opens a device of the lock manager by its name.
type Open = dyn Fn(&str) -> io::Result<Box<dyn Channel>> + Send + Sync;

fn open_device(name: &str) -> io::Result<Box<dyn Channel>> {
    // The kernel makes the second one, udev's rules the first.
    let path = Path::new("/dev/misc").join(name);
    let path = if path.exists() { path } else { Path::new("/dev").join(name) };
    Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
}

/// A lockspace that this host has joined. Dropping it leaves the lockspace.
pub struct Lockspace {
    name: String,
    control: Box<dyn Channel>,
    open: Box<Open>,
    minor: u32,
    /// Whether this host was in the lockspace already.
    was_there: bool,
    /// Whether no living program or mount of this host is in it.
    is_ours_alone: bool,
    _survivor: Option<Survivor>,
}

/// An exclusive lock, held until it is dropped.
pub struct Lock(#[expect(dead_code, reason = "its locks end when it is closed")] Box<dyn Channel>);

impl Lockspace {
    /// Joins the lockspace `name`, the UUID of a volume as 32 upper-case digits.
    ///
    /// The kernel waits, and cannot be interrupted, until the cluster is quorate and all failed
    /// nodes are fenced; [`crate::wait_until_ready`] does so before.
    ///
    /// # Errors
    /// [`LockspaceError`].
    pub fn join(kernel: &dyn Kernel, name: &str) -> Result<Self, LockspaceError> {
        let was_there = kernel.exists(&format!("sys/kernel/dlm/{name}"));
        let mut joined = Self::join_by(Box::new(open_device), name, was_there)?;
        joined._survivor = Survivor::start(name);
        Ok(joined)
    }

    fn join_by(open: Box<Open>, name: &str, was_there: bool) -> Result<Self, LockspaceError> {
        let device = |cause| LockspaceError::Device { device: "dlm-control".to_owned(), cause };
        let mut control = open("dlm-control").map_err(device)?;
        let mut version = [0; 12];
        control.read_exact(&mut version).map_err(device)?;
        let version = version.first_chunk().copied().map_or(0, u32::from_ne_bytes);
        if version != VERSION {
            return Err(LockspaceError::Version(version));
        }
        // The result of the write is the minor number of the lockspace's device.
        let minor = control.write(&space_request(CREATE, 0, name)).map_err(|cause| {
            match Errno::from_io_error(&cause) {
                Some(Errno::PROTO) => LockspaceError::MountedElsewhere,
                _ => LockspaceError::Join { name: name.to_owned(), cause },
            }
        })?;
        let minor = u32::try_from(minor).unwrap_or(u32::MAX);
        Ok(Self {
            name: name.to_owned(),
            control,
            open,
            minor,
            was_there,
            is_ours_alone: false,
            _survivor: None,
        })
    }

    /// Takes a lock exclusively; `None` if somebody holds it.
    ///
    /// # Errors
    /// [`LockspaceError::Device`], [`LockspaceError::Lock`].
    pub fn try_exclusive(&self, name: &str) -> Result<Option<Lock>, LockspaceError> {
        // Each has a file of its own: its end is the end of the lock.
        let mut channel = self.open_space()?;
        let failed = |cause| LockspaceError::Lock { name: name.to_owned(), cause };
        channel.write(&lock_request(name)).map_err(failed)?;
        let mut result = [0; 512];
        let length = channel.read(&mut result).map_err(failed)?;
        let status = result.get(..length).and_then(|result| result.get(STATUS_OFFSET..));
        let status = status.and_then(<[u8]>::first_chunk).copied().map(i32::from_ne_bytes);
        match status {
            Some(0) => Ok(Some(Lock(channel))),
            Some(status) if status == -Errno::AGAIN.raw_os_error() => Ok(None),
            Some(status) => {
                Err(failed(io::Error::from_raw_os_error(status.checked_neg().unwrap_or(0))))
            }
            None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Says that all locks of the volume were free: if this host was in the lockspace before, a
    /// program left it behind when it was killed, and no node could mount the volume until the host
    /// leaves it.
    pub fn nobody_else_is_in_it(&mut self) {
        self.is_ours_alone = true;
    }

    fn open_space(&self) -> Result<Box<dyn Channel>, LockspaceError> {
        let device = format!("dlm_{}", self.name);
        let mut last = None;
        for _ in 0..TRIES {
            match (self.open)(&device) {
                Ok(channel) => return Ok(channel),
                Err(err) => last = Some(err),
            }
            thread::sleep(BETWEEN);
        }
        let cause = last.unwrap_or_else(|| io::ErrorKind::NotFound.into());
        Err(LockspaceError::Device { device, cause })
    }
}

impl Drop for Lockspace {
    fn drop(&mut self) {
        let request = space_request(REMOVE, self.minor, &self.name);
        for _ in 0..TRIES {
            match self.control.write(&request) {
                // Each one takes back one join.
                Ok(_) if self.was_there && self.is_ours_alone => {}
                // A lock that was just released may still be there.
                Err(err) if err.kind() == io::ErrorKind::ResourceBusy => thread::sleep(BETWEEN),
                // Otherwise it is left, or there is nobody to whom the error could be reported.
                _ => break,
            }
        }
    }
}

impl std::fmt::Debug for Lockspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lockspace").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

/// The beginning of every request: version, command, 64 bits.
fn request(command: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [VERSION, 0, 0] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend([command, 1, 0, 0]);
    bytes
}

fn space_request(command: u8, minor: u32, name: &str) -> Vec<u8> {
    let mut bytes = request(command);
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(minor.to_ne_bytes());
    bytes.extend(name.bytes().take(LONGEST_NAME));
    bytes.push(0);
    bytes.resize(bytes.len().max(SPACE_REQUEST_BYTES), 0);
    bytes
}

fn lock_request(name: &str) -> Vec<u8> {
    let name = name.as_bytes().get(..LONGEST_NAME).unwrap_or(name.as_bytes());
    let mut bytes = request(LOCK);
    bytes.extend([EXCLUSIVE, name.len() as u8, 0, 0]);
    bytes.extend(NO_QUEUE.to_ne_bytes());
    // Neither an earlier lock nor a parent.
    bytes.extend([0; 8]);
    // Transaction and timeout.
    bytes.extend([0; 16]);
    // Addresses that come back with the result. Without the first ones there would be none; without
    // the next two nothing is said when somebody else wants the lock.
    for address in [1_u64, 1, 0, 0, 1] {
        bytes.extend(address.to_ne_bytes());
    }
    // The value of the lock.
    bytes.extend([0; 32]);
    bytes.extend(name);
    bytes.push(0);
    bytes
}

/// A process that leaves the lockspace if this one is killed: otherwise no node could mount the
/// volume until somebody noticed.
struct Survivor(Child);

impl Survivor {
    /// The end of its input is the end of this process, unless there is a line before.
    const SCRIPT: &str = r#"trap "" HUP INT TERM; read -r line || exec "$0" leave "$1""#;

    fn start(name: &str) -> Option<Self> {
        use std::os::unix::process::CommandExt;
        let tool = program::find(membership::DLM_TOOL)?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", Self::SCRIPT]).arg(tool).arg(name).current_dir("/");
        // A signal of the terminal reaches all processes of a group.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().ok().map(Self)
    }
}

impl Drop for Survivor {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            // If it is gone it does no harm either.
            let _ = stdin.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;

    const UUID: &str = "60AF34D9FFB84C07A6EBFF9A7ACB4B82";

    /// The lock manager: the answers to come, and the requests that were made.
    #[derive(Clone, Default)]
    struct Manager(Arc<Mutex<Script>>);

    #[derive(Default)]
    struct Script {
        writes: VecDeque<Result<usize, Errno>>,
        status: i32,
        requests: Vec<(String, Vec<u8>)>,
    }

    struct Opened(Manager, String);

    impl Read for Opened {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut answer = vec![0; if self.1 == "dlm-control" { 12 } else { 72 }];
            answer[0] = 6;
            if self.1 != "dlm-control" {
                answer[40..44].copy_from_slice(&self.0.0.lock().unwrap().status.to_ne_bytes());
            }
            buffer[..answer.len()].copy_from_slice(&answer);
            Ok(answer.len())
        }
    }

    impl Write for Opened {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut script = self.0.0.lock().unwrap();
            script.requests.push((self.1.clone(), bytes.to_vec()));
            Ok(script.writes.pop_front().unwrap_or(Ok(bytes.len()))?)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Manager {
        fn answering(writes: &[Result<usize, Errno>]) -> Self {
            let manager = Self::default();
            manager.0.lock().unwrap().writes = writes.iter().copied().collect();
            manager
        }

        fn join(&self, was_there: bool) -> Result<Lockspace, LockspaceError> {
            let manager = self.clone();
            let open = move |name: &str| -> io::Result<Box<dyn Channel>> {
                Ok(Box::new(Opened(manager.clone(), name.to_owned())))
            };
            Lockspace::join_by(Box::new(open), UUID, was_there)
        }

        /// The commands that were given to each device.
        fn commands(&self) -> Vec<(String, u8)> {
            let script = self.0.lock().unwrap();
            let requests = script.requests.iter();
            requests.map(|(device, bytes)| (device.clone(), bytes[12])).collect()
        }
    }

    #[test]
    fn a_lockspace_is_joined_and_left_with_the_minor_number_of_its_device() {
        let manager = Manager::answering(&[Ok(120)]);
        let space = manager.join(false).unwrap();
        drop(space.try_exclusive("S1").unwrap().unwrap());
        drop(space);
        let device = format!("dlm_{UUID}");
        let expected = [("dlm-control", CREATE), (&device, LOCK), ("dlm-control", REMOVE)]
            .map(|(d, c)| (d.to_owned(), c));
        assert_eq!(manager.commands(), expected);
        let script = manager.0.lock().unwrap();
        assert_eq!(script.requests[2].1[20..24], 120_u32.to_ne_bytes());
        assert_eq!(script.requests[0].1.len(), 168);
        assert_eq!(&script.requests[0].1[24..57], format!("{UUID}\0").as_bytes());
    }

    #[test]
    fn a_lock_request_is_that_of_the_kernel() {
        let bytes = lock_request("S000000000000000000000200000000");
        assert_eq!(bytes.len(), 16 + 104 + 31 + 1);
        assert_eq!((bytes[12], bytes[13], bytes[16], bytes[17]), (1, 1, 5, 31));
        assert_eq!(bytes[20..24], 1_u32.to_ne_bytes());
        assert_eq!(&bytes[120..], b"S000000000000000000000200000000\0");
    }

    #[test]
    fn what_another_node_has_mounted_is_told_from_other_errors() {
        let join = |errno| Manager::answering(&[Err(errno)]).join(false).unwrap_err();
        assert!(matches!(join(Errno::PROTO), LockspaceError::MountedElsewhere));
        assert!(matches!(join(Errno::NOTCONN), LockspaceError::Join { .. }));
        let manager = Manager::default();
        let space = manager.join(false).unwrap();
        manager.0.lock().unwrap().status = -11;
        assert!(space.try_exclusive("S1").unwrap().is_none());
        manager.0.lock().unwrap().status = -22;
        assert!(matches!(space.try_exclusive("S1"), Err(LockspaceError::Lock { .. })));
        manager.0.lock().unwrap().status = i32::MIN;
        assert!(space.try_exclusive("S1").is_err());
    }

    #[test]
    fn what_a_killed_program_left_is_left_too() {
        let gone = Err(Errno::NOENT);
        let left = |was_there, alone| {
            let manager = Manager::answering(&[Ok(120), Err(Errno::BUSY), Ok(0), Ok(0), gone]);
            let mut space = manager.join(was_there).unwrap();
            if alone {
                space.nobody_else_is_in_it();
            }
            drop(space);
            manager.commands().len() - 1
        };
        assert_eq!(left(false, true), 2, "the first attempt finds it busy");
        assert_eq!(left(true, false), 2, "somebody else of this host is in it");
        assert_eq!(left(true, true), 4);
    }
}
