//! The device that saves to a file what is there before it writes.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{
    END, HEADER, MAGIC, MAX_UNIT, RECORD, SAVED, VERSION, WRITTEN, are_same, contents_sum, record,
};
use ocfs2_device::{Device, end_within, shown};

/// Bytes reserved per unit for the records of what is written to it: it may be written more than
/// once.
const RESERVED: u64 = 4 * (RECORD as u64 + 8);

/// A device that saves to a file what is there before it writes.
///
/// The file is complete once [`UndoDevice::finish`] was called.
#[derive(Debug)]
pub struct UndoDevice<D> {
    inner: D,
    unit: usize,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
    /// Bytes of the file that are valid.
    len: u64,
    /// Bytes of it that are on stable storage.
    synced: u64,
    records: u64,
    /// Units that were saved.
    saved: HashSet<u64>,
    /// Units and checksums of what was announced to be written to them.
    announced: HashSet<(u64, u32)>,
    /// Whether more was overwritten than the dates of the superblock.
    matters: bool,
    /// Something could not be saved: nothing more is written to the device.
    failed: bool,
}

impl Log {
    /// Appends records. After a failure there may be a piece of one after them, which
    /// [`UndoDevice::finish`] cuts off.
    fn append(&mut self, bytes: &[u8], records: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len).map_err(|err| self.not_saved(err))?;
        self.len += bytes.len() as u64;
        self.records += records;
        Ok(())
    }

    /// Brings what was appended to stable storage.
    fn sync(&mut self) -> io::Result<()> {
        if self.len > self.synced {
            self.file.sync_data().map_err(|err| self.not_saved(err))?;
            self.synced = self.len;
        }
        Ok(())
    }

    /// Makes clear that the undo file fails and not the device, to which nothing was written.
    fn not_saved(&self, err: io::Error) -> io::Error {
        failed(&self.path, "written", &err)
    }

    /// Reserves room after the records for those of the writes to each saved unit, and for the end.
    /// If the file system cannot do that, there may be no room later.
    fn keep_room(&self) -> io::Result<()> {
        let units = self.saved.len() as u64 + 1;
        let len = units * RESERVED;
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.len, len) {
            Err(Errno::NOSPC) => Err(self.not_saved(Errno::NOSPC.into())),
            _ => Ok(()),
        }
    }
}

impl<D: Device> UndoDevice<D> {
    /// Creates the undo file at `path`, which only its owner can read, for the volume with that
    /// UUID on `inner`. Contents are saved in units of `unit` bytes, at most 1 MiB: the block size
    /// of the volume.
    ///
    /// # Errors
    /// The file exists, or cannot be written.
    pub fn create(inner: D, path: &Path, uuid: [u8; 16], unit: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|err| failed(path, "made", &err))?;
        let begun = Self::begin(inner, file, path, uuid, unit);
        if begun.is_err() {
            // It would be in the way of the next run.
            let _ = fs::remove_file(path);
        }
        begun
    }

    /// Writes the header.
    fn begin(inner: D, file: File, path: &Path, uuid: [u8; 16], unit: u32) -> io::Result<Self> {
        let unit = unit.clamp(1, MAX_UNIT);
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(unit.to_le_bytes());
        header.extend(inner.size_bytes().to_le_bytes());
        header.extend(uuid);
        header.extend(crc32fast::hash(&header).to_le_bytes());
        let mut log = Log {
            file,
            path: path.to_owned(),
            len: 0,
            synced: 0,
            records: 0,
            saved: HashSet::new(),
            announced: HashSet::new(),
            matters: false,
            failed: false,
        };
        log.append(&header, 0)?;
        log.file.sync_all().map_err(|err| log.not_saved(err))?;
        log.synced = log.len;
        // Without this, a power failure may lose the name of the file.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|err| log.not_saved(err))?;
        }
        Ok(Self { inner, unit: unit as usize, log: Mutex::new(log) })
    }

    /// Marks the file as complete, or removes it if nothing was overwritten except perhaps the time
    /// of a check in the superblock. Returns whether the file exists.
    ///
    /// # Errors
    /// The file cannot be written: it stays as if it had been cut.
    pub fn finish(&self) -> io::Result<bool> {
        let mut log = self.log();
        if !log.matters {
            let removed = fs::remove_file(&log.path);
            return removed.map(|()| false).map_err(|err| failed(&log.path, "removed", &err));
        }
        // What was not saved was not overwritten either.
        log.file.set_len(log.len).map_err(|err| log.not_saved(err))?;
        let end = record(END, 0, &log.records.to_le_bytes());
        log.append(&end, 0)?;
        log.failed = true;
        log.file.sync_all().map(|()| true).map_err(|err| log.not_saved(err))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves what a write will overwrite; on stable storage if `is_next`.
    fn save(&self, buf: &[u8], offset: u64, is_next: bool) -> io::Result<()> {
        let mut log = self.log();
        let saved = self.add(&mut log, offset, buf);
        let saved = saved.and_then(|()| if is_next { log.sync() } else { Ok(()) });
        log.failed |= saved.is_err();
        saved
    }

    fn add(&self, log: &mut Log, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = end_within(self.size_bytes(), offset, bytes.len() as u64)?;
        let unit = self.unit as u64;
        let mut at = offset / unit * unit;
        while at < end {
            let len = unit.min(self.size_bytes() - at) as usize;
            let mut contents = vec![0; len];
            self.inner.read_at(&mut contents, at)?;
            let before = contents.clone();
            let (from, to) = (offset.max(at), end.min(at + len as u64));
            let part = contents.get_mut((from - at) as usize..(to - at) as usize);
            let new = bytes.get((from - offset) as usize..(to - offset) as usize);
            if let (Some(part), Some(new)) = (part, new) {
                part.copy_from_slice(new);
            }
            self.add_unit(log, at, &before, &contents)?;
            at += unit;
        }
        Ok(())
    }

    fn add_unit(&self, log: &mut Log, at: u64, before: &[u8], after: &[u8]) -> io::Result<()> {
        let sum = contents_sum(self.unit as u64, at, after);
        if before == after && !log.saved.contains(&at) {
            return Ok(());
        }
        log.matters |= !are_same(self.unit as u64, at, before, after);
        self.save_unit(log, at, before)?;
        if log.announced.insert((at, sum)) {
            log.append(&record(WRITTEN, at, &sum.to_le_bytes()), 1)?;
        }
        Ok(())
    }

    fn save_unit(&self, log: &mut Log, at: u64, before: &[u8]) -> io::Result<()> {
        if log.failed {
            return Err(log.not_saved(io::Error::other("it failed before")));
        }
        if log.saved.insert(at) {
            log.append(&record(SAVED, at, before), 1)?;
        }
        Ok(())
    }

    /// As if there were no room left for the file.
    #[cfg(test)]
    pub(super) fn fail_from_now_on(&self) {
        self.log().failed = true;
    }
}

/// An error of the undo file, which names it, also by its kind: a full file system is not a full
/// volume.
fn failed(path: &Path, what: &str, err: &io::Error) -> io::Error {
    io::Error::other(format!("the undo file {} cannot be {what}: {err}", shown::path(path)))
}

impl<D: Device> Device for UndoDevice<D> {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }

    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_fresh_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.save(buf, offset, true)?;
        self.inner.write_at(buf, offset)
    }

    fn announce(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.save(buf, offset, false)
    }

    /// Saves what is there as well, so that the undo file does not run out of room later.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.reserve(offset, len)?;
        let end = end_within(self.size_bytes(), offset, len)?;
        let unit = self.unit as u64;
        let mut log = self.log();
        let mut at = offset / unit * unit;
        while at < end {
            let mut before = vec![0; unit.min(self.size_bytes() - at) as usize];
            self.inner.read_at(&mut before, at)?;
            self.save_unit(&mut log, at, &before)?;
            at += unit;
        }
        log.keep_room()
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; len.min(1 << 20) as usize];
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(zeros.len() as u64);
            self.save(&zeros[..piece as usize], offset + done, true)?;
            done += piece;
        }
        self.inner.zero(offset, len)
    }

    /// Does nothing: what is there could not be put back.
    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        end_within(self.size_bytes(), offset, len).map(|_| false)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
}
