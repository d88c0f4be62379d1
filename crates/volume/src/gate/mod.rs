//! The gate that all writes to an existing volume go through.
//!
//! A program looks at who uses a volume when it begins, but it writes minutes or, with a question
//! in between, hours later. A [`Gate`] remembers what was seen at the start: which volume it is,
//! who has which slot, what each heartbeat block holds, who uses the device on this machine.
//! [`Gate::open`] looks again, past all caches. Only the [`Pass`] it returns can write; the device
//! the rest of the program works on is [sealed](Gate::sealed). If something has changed, the error
//! names it and nothing is written.
//!
//! The second look does not have to wait. A node that is alive writes its block every two seconds,
//! and one that starts writes it at once and waits for several beats before it mounts: if all
//! blocks are the same as at the start, nobody has come. Nodes that were known at the start do not
//! count: whether to write in spite of them was for a person to decide.
//!
//! A [`Lock`] is held from before the slot map is read until the gate is dropped, after the
//! last write.

mod changed;
mod seen;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use changed::Changed;
use seen::Seen;

use crate::Volume;
use crate::usage::{State, Unknown, Usage};
use ocfs2_device::holders::{Holder, holders};
use ocfs2_device::{Device, OverlayDevice};

/// Something that keeps other nodes from mounting the volume as long as it is held, and that
/// may be lost.
pub trait Lock: Send + Sync {
    /// Checks that it is still held.
    ///
    /// # Errors
    /// Why it is not held any more, as text.
    fn check(&self) -> Result<(), String>;
}

/// Changes that were worked out, and that know what they cover on the device.
pub trait Worked {
    /// See [`OverlayDevice::changed_below`].
    ///
    /// # Errors
    /// What was below cannot be read.
    fn changed_below(&self) -> io::Result<Option<Range<u64>>>;
}

impl<D: Device> Worked for OverlayDevice<D> {
    fn changed_below(&self) -> io::Result<Option<Range<u64>>> {
        Self::changed_below(self)
    }
}

/// What is about to be written.
#[derive(Clone, Copy, Default)]
pub struct Planned<'a> {
    /// The overlays in which it was worked out. What they cover has to be what it was then.
    pub changes: &'a [&'a dyn Worked],
    /// The device as it will be; `None` if nothing is written through this gate later on.
    pub outcome: Option<&'a Arc<dyn Device>>,
}

/// The gate of one device. See the [module](self).
pub struct Gate {
    device: Arc<dyn Device>,
    /// What writes go to, if that is not the device itself.
    writer: Option<Arc<dyn Device>>,
    /// The volume, read past all caches.
    volume: Option<Volume>,
    /// Nodes that were known to use the volume, or that may use it.
    known: BTreeSet<u32>,
    path: Option<PathBuf>,
    /// What the path pointed to, and how many bytes that had.
    identity: Option<Identity>,
    size_bytes: Option<u64>,
    holders: BTreeSet<Holder>,
    lock: Option<Box<dyn Lock>>,
    seen: Mutex<Sides>,
}

/// What is known of the device.
#[derive(Clone, Default)]
struct Sides {
    /// As it was at the last look.
    before: Seen,
    /// As the commit since then makes it. One that failed made it in part, or not at all.
    after: Seen,
}

impl Sides {
    fn allow(&self, now: &Seen, known: &BTreeSet<u32>) -> Result<(), Changed> {
        self.before.compare(&self.after, now, known)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Gate {
    /// Remembers the current state of `volume`, whose users are those in `usage`.
    ///
    /// # Errors
    /// The superblock cannot be read again.
    pub fn of_volume(volume: &Volume, usage: &Usage) -> io::Result<Self> {
        let device = Arc::clone(volume.device());
        let volume = on_fresh(volume, &device);
        // A local volume is used by nobody as far as is known, whatever its slot map says.
        let is_known = |state: &State| {
            !matches!(state, State::Crashed { .. } | State::Unknown(Unknown::Local))
        };
        let known = usage.nodes().filter(|(_, state)| is_known(state));
        let known = known.map(|(node, _)| node).collect();
        let before = Seen::of_volume(&volume)?;
        let seen = Mutex::new(Sides { after: before.clone(), before });
        Ok(Self { known, volume: Some(volume), seen, ..Self::of_device(device) })
    }

    /// A gate of a device on which no volume is known: with [`Gate::with_range`] it remembers
    /// what there is instead.
    pub fn of_device(device: Arc<dyn Device>) -> Self {
        Self {
            device,
            writer: None,
            volume: None,
            known: BTreeSet::new(),
            path: None,
            identity: None,
            size_bytes: None,
            holders: BTreeSet::new(),
            lock: None,
            seen: Mutex::default(),
        }
    }

    /// Remembers what these bytes hold, too; `what` names them in messages.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn with_range(self, what: &str, range: Range<u64>) -> io::Result<Self> {
        let mut seen = self.lock_seen();
        seen.before.add(&self.device, what, range)?;
        seen.after = seen.before.clone();
        drop(seen);
        Ok(self)
    }

    /// Remembers who on this machine uses the device or image `path`.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.holders = holders(path).unwrap_or_default().into_iter().collect();
        self.path = Some(path.to_owned());
        self.identity = identity(path);
        self.size_bytes = size_bytes(path);
        self
    }

    /// Holds `lock`, which was taken before the volume was looked at. Heartbeats are not compared
    /// then: this node beats because of the lock, and others beat while they wait for it in order
    /// to mount.
    #[must_use]
    pub fn holding(mut self, lock: Box<dyn Lock>) -> Self {
        self.lock = Some(lock);
        let mut seen = self.lock_seen();
        seen.before.ignore_beats();
        seen.after.ignore_beats();
        drop(seen);
        self
    }

    /// Directs all writes to `device`, which passes them on to the device of the gate: to save what
    /// is overwritten.
    pub fn write_through(&mut self, device: Arc<dyn Device>) {
        self.writer = Some(device);
    }

    /// The device, which cannot be written through this handle.
    pub fn sealed(&self) -> Arc<dyn Device> {
        Arc::new(Sealed(Arc::clone(&self.device)))
    }

    fn lock_seen(&self) -> std::sync::MutexGuard<'_, Sides> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks again. Returns the pass through which `planned` can be written.
    ///
    /// # Errors
    /// [`Changed`] says what is not as it was; nothing may be written then.
    pub fn open(&self, planned: Planned<'_>) -> Result<Pass<'_>, Changed> {
        if let Some(lock) = &self.lock {
            lock.check().map_err(Changed::Lock)?;
        }
        let mut seen = self.lock_seen();
        // This comes first: a change in between is seen by the comparison below or by the next one.
        let after = planned.outcome.map(|outcome| seen.before.on(outcome, self.volume.as_ref()));
        let after = after.transpose()?;
        let before = seen.before.on(&self.device, self.volume.as_ref())?;
        seen.allow(&before, &self.known)?;
        for changes in planned.changes {
            if let Some(range) = changes.changed_below()? {
                return Err(Changed::Block { range });
            }
        }
        if let Some(path) = &self.path {
            // The open device is still the old one: under the path, nobody would find what is
            // written.
            if self.identity.is_some() && identity(path) != self.identity {
                return Err(Changed::Replaced { path: path.clone() });
            }
            if let (Some(found), Some(expected)) = (size_bytes(path), self.size_bytes)
                && found < expected
            {
                return Err(Changed::Shorter { found, expected });
            }
            let now = holders(path).unwrap_or_default();
            if let Some(new) = now.into_iter().find(|holder| !self.holders.contains(holder)) {
                return Err(Changed::Holder(new));
            }
        }
        *seen = Sides { after: after.unwrap_or_else(|| before.clone()), before };
        drop(seen);
        let device = Arc::clone(self.writer.as_ref().unwrap_or(&self.device));
        Ok(Pass { device, gate: self, looked: Mutex::new(Instant::now()) })
    }
}

/// A device by its number, a file by its device and inode number.
type Identity = (u64, u64);

/// What is at a path; `None` if that is not known.
fn identity(path: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(match metadata.file_type().is_block_device() {
        true => (metadata.rdev(), 0),
        false => (metadata.dev(), metadata.ino()),
    })
}

/// How many bytes an image or a device has now, whatever it had when it was opened; `None` if that
/// is not known.
fn size_bytes(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.file_type().is_block_device() {
        return Some(metadata.len());
    }
    let number = metadata.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let sectors = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/size")).ok()?;
    sectors.trim().parse::<u64>().ok()?.checked_mul(512)
}

/// The volume read past all caches.
fn on_fresh(volume: &Volume, device: &Arc<dyn Device>) -> Volume {
    volume.on(Arc::new(Fresh(Arc::clone(device))))
}

/// Time between two looks while much is written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The permission to write, as long as it is held: for one commit.
pub struct Pass<'g> {
    device: Arc<dyn Device>,
    gate: &'g Gate,
    looked: Mutex<Instant>,
}

impl Pass<'_> {
    /// Checks that nobody came meanwhile: for work that takes several commits. It looks at most
    /// once a second.
    ///
    /// # Errors
    /// [`Changed`]: no further commit may begin.
    pub fn still(&self) -> Result<(), Changed> {
        self.gate.still(&self.looked)
    }
}

/// The permission to write for as long as a volume is in use by this program: it keeps its gate.
pub struct Lasting {
    device: Arc<dyn Device>,
    gate: Gate,
    looked: Mutex<Instant>,
}

impl Lasting {
    /// As [`Pass::still`].
    ///
    /// # Errors
    /// [`Changed`]: nothing may be written any more.
    pub fn still(&self) -> Result<(), Changed> {
        self.gate.still(&self.looked)
    }
}

impl Gate {
    /// Looks again, as [`Gate::open`], and returns a pass that keeps the gate.
    ///
    /// # Errors
    /// [`Changed`] says what is not as it was.
    pub fn lasting(self) -> Result<Lasting, Changed> {
        let device = Arc::clone(&self.open(Planned::default())?.device);
        Ok(Lasting { device, gate: self, looked: Mutex::new(Instant::now()) })
    }

    /// Looks, at most once a second.
    fn still(&self, looked: &Mutex<Instant>) -> Result<(), Changed> {
        let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        *looked = Instant::now();
        if let Some(lock) = &self.lock {
            lock.check().map_err(Changed::Lock)?;
        }
        let Self { device, volume, known, .. } = self;
        let seen = self.lock_seen();
        let now = seen.before.on(device, volume.as_ref())?;
        seen.allow(&now, known)
    }
}

/// Passes sizes and reads on to the inner device.
macro_rules! pass_on {
    ($self:ident . $inner:tt, reads: $read:ident, fresh: $fresh:ident) => {
        fn size_bytes(&$self) -> u64 {
            $self.$inner.size_bytes()
        }
        fn sector_size(&$self) -> u32 {
            $self.$inner.sector_size()
        }
        fn read_at(&$self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            $self.$inner.$read(buf, offset)
        }
        fn read_fresh_at(&$self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            $self.$inner.$fresh(buf, offset)
        }
    };
}

/// Refuses what would write.
macro_rules! no_writes {
    () => {
        fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
            Err(sealed())
        }
        fn zero(&self, _offset: u64, _len: u64) -> io::Result<()> {
            Err(sealed())
        }
        fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
            Err(sealed())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    };
}

fn sealed() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "is only written through its gate")
}

/// Passes everything on to the device.
macro_rules! passes {
    ($($type:ty),*) => {$(impl Device for $type {
    pass_on!(self.device, reads: read_at, fresh: read_fresh_at);

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.device.write_at(buf, offset)
    }

    fn announce(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.device.announce(buf, offset)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.device.reserve(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.device.zero(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.device.discard(offset, len)
    }

    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }
    })*};
}

passes!(Pass<'_>, Lasting);

/// A device that is only read.
struct Sealed(Arc<dyn Device>);

impl Device for Sealed {
    pass_on!(self.0, reads: read_at, fresh: read_fresh_at);
    no_writes!();
}

/// A device that is read past all caches.
struct Fresh(Arc<dyn Device>);

impl Device for Fresh {
    pass_on!(self.0, reads: read_fresh_at, fresh: read_fresh_at);
    no_writes!();
}

#[cfg(test)]
mod tests;
