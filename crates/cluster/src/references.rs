//! Reference counts of local heartbeat regions, one file per region in `/run/ocfs2/heartbeat`.
//!
//! Every mount of a volume holds one reference, as does everyone who asked for the heartbeat with
//! `ocfs2_hb_ctl -S`. The kernel itself protects the regions of mounted volumes, so a count that is
//! too low does no harm.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use crate::{Kernel, Online, OnlineError, RegionPlace};

/// The reference counts of all regions.
#[derive(Clone, Debug)]
pub struct References {
    folder: PathBuf,
}

/// The error of starting or stopping a region.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The kernel refused.
    #[error(transparent)]
    Online(#[from] OnlineError),
    /// The count could not be read or written.
    #[error("{}: {cause}", path.display())]
    Count {
        /// The file with the count.
        path: PathBuf,
        /// The error of reading or writing it.
        cause: io::Error,
    },
}

impl Default for References {
    /// The counts of this machine.
    fn default() -> Self {
        Self { folder: "/run/ocfs2/heartbeat".into() }
    }
}

/// A count, locked until it is dropped.
struct Count {
    file: File,
    path: PathBuf,
    value: u32,
}

impl References {
    /// The counts in another folder, for tests.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the number of references to a region; 0 while this host does not beat there.
    ///
    /// # Errors
    /// [`ReferenceError::Count`].
    pub fn count(&self, online: &Online<'_>, region: &str) -> Result<u32, ReferenceError> {
        let beats = online.cluster().is_some_and(|cluster| online.pid(&cluster, region) != 0);
        if !beats { Ok(0) } else { self.lock(region).map(|count| count.value) }
    }

    /// Starts the heartbeat in a region unless it is running, and adds a reference. Returns the new
    /// count.
    ///
    /// # Errors
    /// [`ReferenceError`]; nothing has changed if the heartbeat could not be started.
    pub fn start(
        &self,
        online: &Online<'_>,
        cluster: &str,
        place: &RegionPlace,
        device: BorrowedFd<'_>,
    ) -> Result<u32, ReferenceError> {
        let mut count = self.lock(&place.uuid)?;
        if online.start_region(cluster, place, device)? {
            // Discard what is left from an earlier start of the region.
            count.value = 0;
        }
        count.value = count.value.saturating_add(1);
        count.write()?;
        Ok(count.value)
    }

    /// Drops a reference and stops the heartbeat if it was the last one. Returns the new count.
    ///
    /// # Errors
    /// [`OnlineError::Busy`] if a mounted volume still needs the heartbeat.
    pub fn stop(
        &self,
        kernel: &dyn Kernel,
        online: &Online<'_>,
        cluster: &str,
        region: &str,
    ) -> Result<u32, ReferenceError> {
        let mut count = self.lock(region)?;
        count.value = count.value.saturating_sub(1);
        count.write()?;
        count.stop_unwanted(kernel, online, cluster, region)?;
        Ok(count.value)
    }

    /// Stops the heartbeat if there are no references, after a [`References::stop`] that found it
    /// busy.
    ///
    /// # Errors
    /// Those of [`References::stop`].
    pub fn stop_unwanted(
        &self,
        kernel: &dyn Kernel,
        online: &Online<'_>,
        cluster: &str,
        region: &str,
    ) -> Result<(), ReferenceError> {
        self.lock(region)?.stop_unwanted(kernel, online, cluster, region)
    }

    /// Resets the count of a region that was stopped by other means.
    ///
    /// # Errors
    /// [`ReferenceError::Count`].
    pub fn forget(&self, region: &str) -> Result<(), ReferenceError> {
        let mut count = self.lock(region)?;
        count.value = 0;
        count.write()
    }

    fn lock(&self, region: &str) -> Result<Count, ReferenceError> {
        // The name may come from a command line.
        let is_uuid = region.bytes().all(|byte| byte.is_ascii_hexdigit()) && region.len() == 32;
        let path = self.folder.join(if is_uuid { region } else { "other" });
        let lock = || {
            std::fs::create_dir_all(&self.folder)?;
            let options =
                File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let file = options?;
            flock(&file, FlockOperation::LockExclusive)?;
            let mut text = String::new();
            // A file of another origin counts as 0.
            let _ = (&file).take(16).read_to_string(&mut text);
            Ok((file, text.trim().parse().unwrap_or(0)))
        };
        let locked: io::Result<(File, u32)> = lock();
        let (file, value) =
            locked.map_err(|cause| ReferenceError::Count { path: path.clone(), cause })?;
        Ok(Count { file, path, value })
    }
}

impl Count {
    fn write(&mut self) -> Result<(), ReferenceError> {
        let mut write = || {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            writeln!(self.file, "{}", self.value)
        };
        let written: io::Result<()> = write();
        written.map_err(|cause| ReferenceError::Count { path: self.path.clone(), cause })
    }

    fn stop_unwanted(
        &self,
        kernel: &dyn Kernel,
        online: &Online<'_>,
        cluster: &str,
        region: &str,
    ) -> Result<(), ReferenceError> {
        if self.value == 0 && !is_wanted_by_c_tools(kernel, region) {
            online.stop_region(cluster, region)?;
        }
        Ok(())
    }
}

/// Whether the C tools hold references of their own to a region. They count them in a System V
/// semaphore set whose key is the CRC-32 of the region's name. Reading its value would need unsafe
/// code, so while the set exists, stopping the region is left to the C tools.
fn is_wanted_by_c_tools(kernel: &dyn Kernel, region: &str) -> bool {
    let key = crc32fast::hash(region.as_bytes());
    let sets = kernel.read("proc/sysvipc/sem").unwrap_or_default();
    let keys = sets.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    keys.filter_map(|key| key.parse::<i64>().ok()).any(|found| found as u32 == key)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::io::Errno;

    use super::*;
    use crate::fake::FakeKernel;
    use crate::{ClusterConf, Timeouts};

    #[test]
    fn a_region_beats_until_the_last_reference_is_gone() {
        let kernel = FakeKernel::new("a");
        let online = Online::prepare(&kernel).unwrap();
        let conf = "cluster:\n\tname = web\n\tnode_count = 1\n\nnode:\n\tcluster = web\n\tname = a\n\
                    \tnumber = 0\n\tip_address = 10.0.0.1\n\tip_port = 7777\n";
        let conf = ClusterConf::parse(conf).unwrap();
        online.register(&conf, "web", &Timeouts::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let references = References::in_folder(dir.path().join("heartbeat"));
        let device = tempfile::tempfile().unwrap();
        let uuid = "0A".repeat(16);
        let place =
            RegionPlace { uuid: uuid.clone(), block_bytes: 512, start_block: 8, blocks: 255 };
        let start = || references.start(&online, "web", &place, device.as_fd());
        let stop = || references.stop(&kernel, &online, "web", &uuid);
        assert_eq!(references.count(&online, &uuid).unwrap(), 0);
        assert_eq!((start().unwrap(), start().unwrap()), (1, 2));
        assert_eq!(references.count(&online, &uuid).unwrap(), 2);
        assert_eq!(stop().unwrap(), 1);
        assert_eq!(online.regions("web").len(), 1);
        assert_eq!(stop().unwrap(), 0);
        assert!(online.regions("web").is_empty());
        // One stop more than starts has no effect.
        assert_eq!(stop().unwrap(), 0);

        // The count from before the region was removed is discarded.
        start().unwrap();
        start().unwrap();
        online.stop_region("web", &uuid).unwrap();
        assert_eq!(references.count(&online, &uuid).unwrap(), 0);
        assert_eq!(start().unwrap(), 1);

        // The kernel's refusal counts more than any count.
        kernel.refuse(&format!("sys/kernel/config/cluster/web/heartbeat/{uuid}"), Errno::BUSY);
        assert!(matches!(stop(), Err(ReferenceError::Online(OnlineError::Busy { .. }))));
        assert_eq!(online.regions("web").len(), 1);
    }

    #[test]
    fn a_region_the_c_tools_count_is_left_to_them() {
        let kernel = FakeKernel::new("a");
        let region = "0123456789ABCDEF0123456789ABCDEF";
        assert!(!is_wanted_by_c_tools(&kernel, region));
        let key = crc32fast::hash(region.as_bytes()) as i32;
        let line = format!(
            "       key      semid perms      nsems\n{key:>10}          3   600          2\n"
        );
        kernel.put("proc/sysvipc/sem", Some(&line));
        assert!(is_wanted_by_c_tools(&kernel, region));
        assert!(!is_wanted_by_c_tools(&kernel, "0123456789ABCDEF0123456789ABCDE0"));
    }
}
