//! Saving what is overwritten, and putting it back.
//!
//! An undo file begins with a header; then come records, each with its own checksum:
//!
//! ```text
//! header:  "OCFS2UND", version u32, unit u32 (bytes), device size u64, UUID 16 bytes, crc32
//! saved:   'S', offset u64, length u32, crc32, the bytes that were there
//! written: 'W', offset u64, length u32, crc32, crc32 of what is written there
//! ```
//!
//! Numbers are little-endian. A record that is cut ends the file: what it announces was not
//! written yet, since records reach stable storage before the device is touched.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Device, buffer_within};

const MAGIC: &[u8; 8] = b"OCFS2UND";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 4 + 8 + 16 + 4;
const RECORD: usize = 1 + 8 + 4 + 4;

/// A device that saves to a file what is there before it writes.
#[derive(Debug)]
pub struct UndoDevice<D> {
    inner: D,
    unit: usize,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    file: File,
    /// Units that were saved.
    saved: HashSet<u64>,
    /// Units and checksums of what was announced to be written to them.
    announced: HashSet<(u64, u32)>,
}

impl<D: Device> UndoDevice<D> {
    /// Creates the undo file at `path` for the volume with that UUID on `inner`. What is saved
    /// is saved in units of `unit` bytes.
    ///
    /// # Errors
    /// The file exists, or can not be written.
    pub fn create(inner: D, path: &Path, uuid: [u8; 16], unit: u32) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(unit.max(1).to_le_bytes());
        header.extend(inner.size_bytes().to_le_bytes());
        header.extend(uuid);
        header.extend(crc(&header).to_le_bytes());
        file.write_all(&header)?;
        file.sync_all()?;
        let log = Mutex::new(Log { file, saved: HashSet::new(), announced: HashSet::new() });
        Ok(Self { inner, unit: unit.max(1) as usize, log })
    }

    /// Saves what these writes will overwrite, all of it before any of them is made.
    ///
    /// # Errors
    /// The device can not be read or the file not written.
    pub fn announce<'b>(
        &self,
        writes: impl IntoIterator<Item = (u64, &'b [u8])>,
    ) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        let mut added = false;
        for (offset, bytes) in writes {
            self.add(&mut log, offset, bytes, &mut records)?;
            added |= !records.is_empty();
            log.file.write_all(&records).map_err(not_saved)?;
            records.clear();
        }
        if added { log.file.sync_data().map_err(not_saved) } else { Ok(()) }
    }

    fn add(
        &self,
        log: &mut Log,
        offset: u64,
        bytes: &[u8],
        records: &mut Vec<u8>,
    ) -> io::Result<()> {
        let end = buffer_within(self.size_bytes(), offset, bytes)?;
        let unit = self.unit as u64;
        let mut at = offset / unit * unit;
        while at < end {
            let len = unit.min(self.size_bytes() - at) as usize;
            let mut contents = vec![0; len];
            self.inner.read_at(&mut contents, at)?;
            if log.saved.insert(at) {
                record(records, b'S', at, len, crc(&contents));
                records.extend(&contents);
            }
            let (from, to) = (offset.max(at), end.min(at + len as u64));
            let part = contents.get_mut((from - at) as usize..(to - at) as usize);
            let new = bytes.get((from - offset) as usize..(to - offset) as usize);
            if let (Some(part), Some(new)) = (part, new) {
                part.copy_from_slice(new);
            }
            let sum = crc(&contents);
            if log.announced.insert((at, sum)) {
                record(records, b'W', at, len, crc(&sum.to_le_bytes()));
                records.extend(sum.to_le_bytes());
            }
            at += unit;
        }
        Ok(())
    }
}

fn record(records: &mut Vec<u8>, kind: u8, offset: u64, len: usize, sum: u32) {
    records.push(kind);
    records.extend(offset.to_le_bytes());
    records.extend((len as u32).to_le_bytes());
    records.extend(sum.to_le_bytes());
}

fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
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
        self.announce([(offset, buf)])?;
        self.inner.write_at(buf, offset)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; len.min(1 << 20) as usize];
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(zeros.len() as u64);
            self.announce([(offset + done, &zeros[..piece as usize])])?;
            done += piece;
        }
        self.inner.zero(offset, len)
    }

    /// Does nothing: what is there could not be put back.
    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        super::end_within(self.size_bytes(), offset, len).map(|_| false)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Why nothing is put back.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The file can not be read.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The undo file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is none.
    #[error("{path}: is no undo file: {why}", path = .path.display())]
    NotUndo {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The device has another size.
    #[error("is another device: it has {found} bytes, that of the undo file had {expected}")]
    Size {
        /// Bytes of the device.
        found: u64,
        /// Bytes it had.
        expected: u64,
    },
    /// What is on the device is not what was written then.
    #[error("was changed since: {len} bytes at {offset} are not what was written there")]
    Changed {
        /// Byte offset.
        offset: u64,
        /// Bytes.
        len: usize,
    },
    /// The device can not be read or written.
    #[error("{0}")]
    Device(#[source] io::Error),
}

/// What an undo file holds. Contents stay in the file.
#[derive(Debug)]
pub struct Undo {
    path: PathBuf,
    uuid: [u8; 16],
    size: u64,
    units: BTreeMap<u64, Unit>,
}

#[derive(Debug, Default)]
struct Unit {
    saved: Vec<u8>,
    /// Checksums of what may be there now.
    known: HashSet<u32>,
}

impl Undo {
    /// Reads an undo file.
    ///
    /// # Errors
    /// [`UndoError::File`], [`UndoError::NotUndo`].
    pub fn read(path: &Path) -> Result<Self, UndoError> {
        let failed = |source| UndoError::File { path: path.to_owned(), source };
        let not = |why| UndoError::NotUndo { path: path.to_owned(), why };
        let file = File::open(path).map_err(failed)?;
        let mut file = BufReader::new(file);
        let mut header = [0; HEADER];
        if !fill(&mut file, &mut header).map_err(failed)? || !header.starts_with(MAGIC) {
            return Err(not("it does not begin as one"));
        }
        let (head, sum) = header.split_at(HEADER - 4);
        if crc(head).to_le_bytes() != sum {
            return Err(not("its header is damaged"));
        }
        if number(&header, 8, 4) != u64::from(VERSION) {
            return Err(not("it is of another version"));
        }
        let (unit, size) = (number(&header, 12, 4), number(&header, 16, 8));
        let uuid = header.get(24..40).and_then(|uuid| uuid.try_into().ok()).unwrap_or_default();
        let mut units: BTreeMap<u64, Unit> = BTreeMap::new();
        let mut record = [0; RECORD];
        while fill(&mut file, &mut record).map_err(failed)? {
            let (offset, len) = (number(&record, 1, 8), number(&record, 9, 4));
            if len > unit || offset.checked_add(len).is_none_or(|end| end > size) {
                return Err(not("a record is damaged"));
            }
            let mut body = vec![0; if record[0] == b'S' { len as usize } else { 4 }];
            if !fill(&mut file, &mut body).map_err(failed)? {
                break;
            }
            if u64::from(crc(&body)) != number(&record, 13, 4) {
                return Err(not("a record is damaged"));
            }
            let known = units.entry(offset).or_default();
            match record[0] {
                b'S' => {
                    known.known.insert(crc(&body));
                    known.saved = body;
                }
                b'W' => drop(known.known.insert(number(&body, 0, 4) as u32)),
                _ => return Err(not("a record is damaged")),
            }
        }
        Ok(Self { path: path.to_owned(), uuid, size, units })
    }

    /// The UUID of the volume.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that were overwritten.
    pub fn bytes(&self) -> u64 {
        self.units.values().map(|unit| unit.saved.len() as u64).sum()
    }

    /// Puts back what was overwritten. Nothing is written unless everything is as it was left:
    /// as it was before, or as it was written then. Interrupted, it can be done again.
    ///
    /// # Errors
    /// [`UndoError::Size`], [`UndoError::Changed`], [`UndoError::Device`].
    pub fn apply(&self, device: &dyn Device) -> Result<(), UndoError> {
        let found = device.size_bytes();
        if found != self.size {
            return Err(UndoError::Size { found, expected: self.size });
        }
        for (offset, unit) in &self.units {
            let (offset, len) = (*offset, unit.saved.len());
            let mut now = vec![0; len];
            device.read_at(&mut now, offset).map_err(UndoError::Device)?;
            if !unit.known.contains(&crc(&now)) {
                return Err(UndoError::Changed { offset, len });
            }
        }
        for (offset, unit) in &self.units {
            device.write_at(&unit.saved, *offset).map_err(UndoError::Device)?;
        }
        device.flush().map_err(UndoError::Device)
    }
}

/// Fills the buffer; false if the file ends before.
fn fill(file: &mut impl Read, buf: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buf) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(err) => Err(err),
    }
}

/// The little-endian number of `len` bytes at `at`.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let bytes = bytes.get(at..at + len).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// It is not the device that fails: nothing was written to that.
fn not_saved(err: io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("what was there can not be saved for --undo: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    fn before() -> Vec<u8> {
        (0..10_000_u32).map(|at| (at / 7) as u8).collect()
    }

    /// Overwrites some of a device, saving what was there to `path`.
    fn overwrite(path: &Path) -> MemoryDevice {
        let device = MemoryDevice::from_bytes(&before());
        let undo = UndoDevice::create(&device, path, [7; 16], 512).unwrap();
        undo.write_at(&[1; 1000], 300).unwrap();
        undo.write_at(&[2; 10], 9_990).unwrap();
        undo.write_at(&[3; 600], 700).unwrap();
        undo.zero(4_000, 1_100).unwrap();
        device
    }

    #[test]
    fn what_was_overwritten_comes_back() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("undo");
        let device = overwrite(&path);
        let undo = Undo::read(&path).unwrap();
        assert_eq!(undo.uuid(), [7; 16]);
        undo.apply(&device).unwrap();
        assert_eq!(device.to_bytes(), before());
        // And again, as after an interruption.
        undo.apply(&device).unwrap();
        assert_eq!(device.to_bytes(), before());
    }

    #[test]
    fn a_device_that_was_changed_since_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("undo");
        let device = overwrite(&path);
        device.write_at(&[9], 301).unwrap();
        let changed = device.to_bytes();
        let err = Undo::read(&path).unwrap().apply(&device).unwrap_err();
        assert!(matches!(err, UndoError::Changed { offset: 0, .. }), "{err}");
        assert_eq!(device.to_bytes(), changed);
        let longer = MemoryDevice::new(20_000);
        let err = Undo::read(&path).unwrap().apply(&longer).unwrap_err();
        assert!(matches!(err, UndoError::Size { .. }), "{err}");
    }

    #[test]
    fn a_file_that_is_cut_or_damaged_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("undo");
        overwrite(&path);
        let bytes = std::fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert_eq!(Undo::read(&path).is_ok(), len >= HEADER, "{len}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            // Whatever it says, it is no panic; contents are never taken for good.
            if let Ok(undo) = Undo::read(&path) {
                let device = MemoryDevice::from_bytes(&before());
                let _ = undo.apply(&device);
            }
        }
        assert!(UndoDevice::create(MemoryDevice::new(1), &path, [0; 16], 512).is_err());
    }
}
