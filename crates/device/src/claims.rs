//! Exclusive use of a device, where an image and the loop devices over it count as one.
//!
//! Whoever opens an image locks it and opens the loop devices over it exclusively. Whoever opens a
//! loop device, a partition of it or a device built on it locks the image, and takes the other loop
//! devices over that image.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::holders::{self, Holder, Number, System};
use super::open::OpenCause;

/// Claims whatever shares storage with the regular file or block device `path`, open as `file`: for
/// itself alone to write, together with other readers to read. The claim lasts as long as the
/// result is kept.
pub(super) fn take(
    path: &Path,
    file: &File,
    is_block_device: bool,
    write: bool,
) -> Result<Vec<File>, OpenCause> {
    let system = System::running();
    let mut held = Vec::new();
    if !is_block_device {
        let holders = holders::holders(path).unwrap_or_default();
        if !holders.is_empty() {
            return Err(OpenCause::InUse { holders });
        }
        lock(path, file, write)?;
        take_loops(&system, path, &BTreeSet::new(), write, &mut held)?;
        return Ok(held);
    }
    let Ok(metadata) = file.metadata() else { return Ok(held) };
    // The kernel claims the devices below this one.
    let own = system.made_of(Number::from_rdev(metadata.rdev()));
    for image in own.iter().filter_map(|number| system.image_of(*number)) {
        // An image that is not visible here, or was deleted, cannot be found by anyone else either.
        let Ok(file) = File::open(&image) else { continue };
        if !file.metadata().is_ok_and(|it| it.is_file()) {
            continue;
        }
        lock(&image, &file, write)?;
        held.push(file);
        take_loops(&system, &image, &own, write, &mut held)?;
    }
    Ok(held)
}

/// Opens the loop devices over `image` exclusively, except those in `own`. Does nothing for
/// readers.
fn take_loops(
    system: &System,
    image: &Path,
    own: &BTreeSet<Number>,
    write: bool,
    held: &mut Vec<File>,
) -> Result<(), OpenCause> {
    if !write {
        return Ok(());
    }
    let image = fs::canonicalize(image).unwrap_or_else(|_| image.to_owned());
    for number in system.loops_over(&image).into_iter().filter(|number| !own.contains(number)) {
        let Some(path) = system.name(number) else { continue };
        let flags = OFlags::EXCL.bits() as i32;
        match File::options().read(true).custom_flags(flags).open(&path) {
            Ok(file) => held.push(file),
            Err(err) if err.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                return Err(in_use(path));
            }
            // Without permission to open it, the lock of the image has to do.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Locks the image `path`: exclusively to write, shared to read.
fn lock(path: &Path, file: &File, write: bool) -> Result<(), OpenCause> {
    let how = match write {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    match rustix::fs::flock(file, how) {
        Err(Errno::WOULDBLOCK) => Err(in_use(path.to_owned())),
        // Some file systems have no locks; then nobody else holds one either.
        _ => Ok(()),
    }
}

fn in_use(path: PathBuf) -> OpenCause {
    OpenCause::InUse { holders: vec![Holder::Process { path }] }
}
