//! A regular file or a block device.

use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{Advice, FallocateFlags, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::{AlignedBuffer, Device, buffer_within, end_within};

/// Alignment of offset and length for direct I/O on files: no file system needs more.
const FILE_ALIGN: u64 = AlignedBuffer::ALIGN as u64;
/// Bytes read to find out whether contents are in the page cache.
const PROBE: usize = 4096;
/// At most this many reads bypass the page cache before it is probed again.
const MOST_UNASKED: u32 = 64;
/// Bytes moved at once through a buffer of our own.
const CHUNK: usize = 1 << 20;

/// A regular file or a block device.
///
/// In direct mode reads and writes bypass the page cache of this machine as far as the file system
/// allows; unaligned ones go through aligned buffers.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    /// The same file opened for direct I/O, when first needed; `None` where that is not possible.
    uncached: OnceLock<Option<File>>,
    /// Guards writes that have to read the rest of a sector first.
    partial_writes: Mutex<()>,
    size: u64,
    sector_size: u32,
    is_block_device: bool,
    writable: bool,
    caching: Caching,
    /// Consecutive reads that missed the page cache or did not probe it.
    misses: AtomicU32,
    /// Claims on other files that last as long as this device is open.
    _held: Vec<File>,
}

/// What the page cache of this machine is used for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Caching {
    /// All reads and writes.
    #[default]
    Cached,
    /// Reads take what is in the cache and bypass it for the rest, which suits a program that reads
    /// much, nothing twice, in pieces of its own choice. Writes go through the cache.
    ReadOnce,
    /// Nothing, as far as the file system allows.
    Direct,
}

impl FileDevice {
    /// Takes an open regular file or block device.
    ///
    /// # Errors
    /// If the size cannot be determined.
    pub(super) fn new(file: File, writable: bool, caching: Caching) -> io::Result<Self> {
        use io::Seek;
        use std::os::unix::fs::FileTypeExt;

        let size = (&file).seek(io::SeekFrom::End(0))?;
        let is_block_device = file.metadata()?.file_type().is_block_device();
        let sector_size = match rustix::fs::ioctl_blksszget(&file) {
            Ok(size) if is_block_device && size.is_power_of_two() && size >= 512 => size,
            _ => 512,
        };
        if is_block_device && writable {
            // This machine may have cached old contents of a shared device.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
        if caching == Caching::ReadOnce {
            // Otherwise probing the cache would make the kernel read ahead into it.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Random);
        }
        Ok(Self {
            file,
            uncached: OnceLock::new(),
            partial_writes: Mutex::default(),
            size,
            sector_size,
            is_block_device,
            writable,
            caching,
            misses: AtomicU32::new(0),
            _held: Vec::new(),
        })
    }

    /// The same device, which keeps `held` open as long as it is open itself.
    pub(super) fn holding(self, held: Vec<File>) -> Self {
        Self { _held: held, ..self }
    }

    /// Whether this is a block device, not a regular file.
    pub fn is_block_device(&self) -> bool {
        self.is_block_device
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether a regular file still has the size with which it was opened.
    fn has_its_size(&self) -> bool {
        self.is_block_device || self.file.metadata().is_ok_and(|it| it.len() >= self.size)
    }

    fn align(&self) -> u64 {
        if self.is_block_device { u64::from(self.sector_size) } else { FILE_ALIGN }
    }

    fn uncached(&self) -> Option<&File> {
        let open = || {
            // Not by its path, which may name another file by now. A second exclusive open would
            // also find the device in use.
            std::fs::OpenOptions::new()
                .read(true)
                .write(self.writable)
                .custom_flags(OFlags::DIRECT.bits() as i32)
                .open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
                .ok()
        };
        self.uncached.get_or_init(open).as_ref()
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::new(ErrorKind::PermissionDenied, "opened read-only"))
    }

    /// The smallest aligned range that contains `len` bytes at `offset`, as (offset, length).
    fn aligned(&self, offset: u64, len: usize) -> (u64, usize) {
        let align = self.align();
        let start = offset - offset % align;
        let len = (offset - start + len as u64).next_multiple_of(align);
        (start, len as usize)
    }

    /// Reads the start of `buf` as far as it is in the page cache. Returns how many bytes that was.
    fn read_if_cached(&self, buf: &mut [u8], offset: u64) -> usize {
        let len = buf.len();
        let misses = self.misses.load(Ordering::Relaxed);
        // A probe that misses costs an extra read.
        if !misses.is_power_of_two() && !misses.is_multiple_of(MOST_UNASKED) {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        let mut read = |range: std::ops::Range<usize>| {
            let at = offset + range.start as u64;
            let part = &mut [IoSliceMut::new(&mut buf[range])];
            preadv2(&self.file, part, at, ReadWriteFlags::NOWAIT).unwrap_or(0)
        };
        let probe = PROBE.min(len);
        let mut done = read(0..probe);
        if done < probe {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return done;
        }
        while done < len {
            let more = read(done..len);
            if more == 0 {
                break;
            }
            done += more;
        }
        self.misses.store(0, Ordering::Relaxed);
        done
    }

    fn read_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(uncached) = self.uncached() else {
            return self.file.read_exact_at(buf, offset);
        };
        let done = self.read_if_cached(buf, offset);
        let (rest, at) = (&mut buf[done..], offset + done as u64);
        match self.read_uncached(uncached, rest, at) {
            Err(err) if is_misaligned(&err) => self.file.read_exact_at(rest, at),
            result => result,
        }
    }

    fn read_uncached(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let align = self.align();
        let is_aligned = |number: u64| number.is_multiple_of(align);
        if AlignedBuffer::is_aligned(buf) && is_aligned(offset) && is_aligned(buf.len() as u64) {
            return file.read_exact_at(buf, offset);
        }
        let mut bounce = AlignedBuffer::default();
        for (index, part) in buf.chunks_mut(CHUNK).enumerate() {
            let offset = offset + (index * CHUNK) as u64;
            let (start, len) = self.aligned(offset, part.len());
            let bytes = bounce.get(len);
            let skip = (offset - start) as usize;
            let mut filled = 0;
            // The end of a file may lie within the aligned range.
            while filled < skip + part.len() {
                match file.read_at(&mut bytes[filled..], start + filled as u64) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(read) => filled += read,
                    Err(err) if err.kind() == ErrorKind::Interrupted => {}
                    Err(err) => return Err(err),
                }
            }
            part.copy_from_slice(&bytes[skip..skip + part.len()]);
        }
        Ok(())
    }

    fn write_uncached(&self, file: &File, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bounce = AlignedBuffer::default();
        for (index, part) in buf.chunks(CHUNK).enumerate() {
            let offset = offset + (index * CHUNK) as u64;
            let (start, len) = self.aligned(offset, part.len());
            if start + len as u64 > self.size {
                // An aligned write would make the file longer. The kernel keeps cached and uncached
                // writes of one file in order.
                self.file.write_all_at(part, offset)?;
                continue;
            }
            let bytes = bounce.get(len);
            let partial = (start, len) != (offset, part.len());
            let _guard = self.partial_writes.lock().unwrap_or_else(PoisonError::into_inner);
            if partial {
                file.read_exact_at(bytes, start)?;
            }
            let skip = (offset - start) as usize;
            bytes[skip..skip + part.len()].copy_from_slice(part);
            file.write_all_at(bytes, start)?;
        }
        Ok(())
    }

    fn fallocate(&self, flags: FallocateFlags, offset: u64, len: u64) -> io::Result<Done> {
        loop {
            return match rustix::fs::fallocate(&self.file, flags, offset, len) {
                Ok(()) => Ok(Done::Yes),
                Err(Errno::INTR) => continue,
                Err(err) if is_unsupported(err) => Ok(Done::Unsupported),
                Err(err) => Err(err.into()),
            };
        }
    }

    /// The part of a range that consists of whole sectors, as (start, end).
    fn whole_sectors(&self, offset: u64, end: u64) -> Option<(u64, u64)> {
        let sector = if self.is_block_device { u64::from(self.sector_size) } else { 1 };
        let start = offset.checked_next_multiple_of(sector)?;
        let end = end - end % sector;
        (start < end).then_some((start, end))
    }

    fn write_zeros(&self, mut offset: u64, end: u64) -> io::Result<()> {
        let zeros = vec![0; CHUNK.min((end - offset) as usize)];
        while offset < end {
            let len = (end - offset).min(zeros.len() as u64);
            self.write_at(&zeros[..len as usize], offset)?;
            offset += len;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Done {
    Yes,
    Unsupported,
}

/// Whether an error of `fallocate` means that the operation is not supported here.
fn is_unsupported(err: Errno) -> bool {
    // Block devices return EINVAL for unknown flags, sealed or unusual files EPERM.
    [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::PERM, Errno::NODEV].contains(&err)
}

fn is_misaligned(err: &io::Error) -> bool {
    err.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

impl Device for FileDevice {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.caching == Caching::Direct {
            return self.read_fresh_at(buf, offset);
        }
        buffer_within(self.size, offset, buf)?;
        match self.caching {
            Caching::ReadOnce => self.read_once(buf, offset),
            _ => self.file.read_exact_at(buf, offset),
        }
    }

    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buffer_within(self.size, offset, buf)?;
        if let Some(uncached) = self.uncached() {
            match self.read_uncached(uncached, buf, offset) {
                Err(err) if is_misaligned(&err) => {}
                result => return result,
            }
        }
        // Second best: ask the kernel to forget its copy first.
        let len = NonZeroU64::new(buf.len() as u64);
        let _ = rustix::fs::fadvise(&self.file, offset, len, Advice::DontNeed);
        self.file.read_exact_at(buf, offset)
    }

    fn next_data(&self, offset: u64) -> Range<u64> {
        let end = self.size.max(offset);
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            // No data from there to the end. Where a file was cut, the end comes too early: what
            // is gone is no hole, reads fail there.
            Err(Errno::NXIO) if self.has_its_size() => return end..end,
            // A file system or a device that does not know.
            Err(_) => return offset..end,
        };
        let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(start));
        start.min(end)..hole.map_or(end, |hole| hole.min(end))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        buffer_within(self.size, offset, buf)?;
        if let Some(uncached) = self.uncached().filter(|_| self.caching == Caching::Direct) {
            match self.write_uncached(uncached, buf, offset) {
                Err(err) if is_misaligned(&err) => {}
                result => return result,
            }
        }
        self.file.write_all_at(buf, offset)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        end_within(self.size, offset, len)?;
        if self.is_block_device || len == 0 {
            return Ok(());
        }
        self.fallocate(FallocateFlags::KEEP_SIZE, offset, len).map(drop)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let end = end_within(self.size, offset, len)?;
        let Some((start, stop)) = self.whole_sectors(offset, end) else {
            return self.write_zeros(offset, end);
        };
        // On a block device both guarantee that zeros are read; the second may write them.
        let ways = [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE];
        let mut done = Done::Unsupported;
        for way in ways {
            done = self.fallocate(way | FallocateFlags::KEEP_SIZE, start, stop - start)?;
            if done == Done::Yes {
                break;
            }
        }
        if done == Done::Unsupported {
            return self.write_zeros(offset, end);
        }
        self.write_zeros(offset, start)?;
        self.write_zeros(stop, end)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.check_writable()?;
        let end = end_within(self.size, offset, len)?;
        let Some((start, stop)) = self.whole_sectors(offset, end) else { return Ok(false) };
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.is_block_device {
            // A real discard, which recent kernels no longer offer this way.
            let flags = punch | FallocateFlags::NO_HIDE_STALE;
            if self.fallocate(flags, start, stop - start)? == Done::Yes {
                return Ok(false);
            }
        }
        let punched = self.fallocate(punch, start, stop - start)? == Done::Yes;
        Ok(punched && (start, stop) == (offset, end))
    }

    fn flush(&self) -> io::Result<()> {
        if self.writable { self.file.sync_data() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn device(len: usize, caching: Caching) -> FileDevice {
        // Not in /tmp, which may be a tmpfs without direct I/O.
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all_at(&vec![0xaa; len], 0).unwrap();
        FileDevice::new(file, true, caching).unwrap()
    }

    fn contents(device: &FileDevice) -> Vec<u8> {
        let mut bytes = vec![0; device.size_bytes() as usize];
        device.file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(device.file.metadata().unwrap().len(), device.size_bytes(), "it grew");
        bytes
    }

    #[test]
    fn what_is_reserved_takes_room_and_reads_as_zero() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(1 << 40).unwrap();
        let device = FileDevice::new(file, true, Caching::Cached).unwrap();
        device.reserve(1 << 39, 4096).unwrap();
        let sectors = device.file.metadata().unwrap().blocks();
        assert!((8..64).contains(&sectors), "{sectors} sectors");
        let mut bytes = [1; 4096];
        device.read_at(&mut bytes, 1 << 39).unwrap();
        assert_eq!(bytes, [0; 4096]);
        assert!(device.reserve(1 << 40, 1).is_err());
    }

    #[test]
    fn holes_are_skipped() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(b"x", 1 << 20).unwrap();
        let device = FileDevice::new(file, false, Caching::Cached).unwrap();
        let data = device.next_data(0);
        assert!((1..=1 << 20).contains(&data.start), "{data:?}");
        assert!((1 << 20) < data.end && data.end < 1 << 21, "{data:?}");
        assert_eq!(device.next_data(1 << 20).start, 1 << 20);
        assert_eq!(device.next_data(1 << 29), 1 << 30..1 << 30);
        assert!(device.next_data(1 << 40).is_empty());
        let slice = crate::SliceDevice::new(&device, 1 << 19, 1 << 25).unwrap();
        assert_eq!(slice.next_data(0), data.start - (1 << 19)..data.end - (1 << 19));
        assert_eq!(slice.next_data(1 << 21), 1 << 25..1 << 25);
        // What was cut off is no hole.
        device.file.set_len(1 << 29).unwrap();
        assert_eq!(device.next_data(1 << 28).start, 1 << 28);
        assert!(device.read_at(&mut [0; 512], 1 << 29).is_err());
    }

    #[test]
    fn any_range_can_be_read_and_written_directly_or_not() {
        for caching in [Caching::Cached, Caching::ReadOnce, Caching::Direct] {
            let size = 3 * CHUNK + 700;
            let device = device(size, caching);
            let mut expected = vec![0xaa; size];
            for (from, to, byte) in [
                (0, 4096, 1),
                (100, 101, 2),
                (4000, CHUNK + 5000, 3),
                (8192, 8192 + 2 * CHUNK, 4),
                (size - 1000, size, 5),
                (size - 1, size, 6),
                (77, 77, 7),
            ] {
                expected[from..to].fill(byte);
                device.write_at(&vec![byte; to - from], from as u64).unwrap();
                let mut back = vec![0; to - from];
                device.read_at(&mut back, from as u64).unwrap();
                assert_eq!(back, expected[from..to], "{caching:?}, {from}..{to}");
                device.read_fresh_at(&mut back, from as u64).unwrap();
                assert_eq!(back, expected[from..to], "{caching:?}, {from}..{to}");
            }
            device.flush().unwrap();
            assert!(contents(&device) == expected, "{caching:?}");
            assert!(device.read_at(&mut [0; 2], size as u64 - 1).is_err());
            assert!(device.write_at(&[0; 2], size as u64 - 1).is_err());
        }
    }

    #[test]
    fn direct_io_is_really_used_where_the_tests_run() {
        if device(8192, Caching::Direct).uncached().is_none() {
            eprintln!("skipped: no direct I/O in {}", env!("CARGO_MANIFEST_DIR"));
            assert!(std::env::var_os("CI").is_none(), "skipped although CI is set");
        }
    }

    #[test]
    fn what_is_read_once_stays_out_of_the_cache_and_is_taken_from_it() {
        let device = device(4 * CHUNK, Caching::ReadOnce);
        let mut bytes = vec![0; CHUNK];
        assert_eq!(device.read_if_cached(&mut bytes, CHUNK as u64), CHUNK);
        assert!(bytes.iter().all(|byte| *byte == 0xaa));

        device.flush().unwrap();
        // The kernel does not drop pages that something else is using at that moment.
        let is_dropped = (0..1000).any(|_| {
            rustix::fs::fadvise(&device.file, 0, None, Advice::DontNeed).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1));
            device.read_if_cached(&mut bytes, 0) == 0
        });
        assert!(is_dropped);
        for chunk in 0..4 {
            bytes.fill(0);
            device.read_at(&mut bytes, chunk * CHUNK as u64).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0xaa));
        }
        // No more than was asked for came into the cache.
        device.misses.store(0, Ordering::Relaxed);
        assert_eq!(device.read_if_cached(&mut bytes, 2 * CHUNK as u64 + 65536), 0);
    }

    #[test]
    fn zeroing_frees_the_space_and_keeps_the_neighbours() {
        let device = device(4 * CHUNK, Caching::Cached);
        let before = device.file.metadata().unwrap().blocks();
        device.zero(4097, 3 * CHUNK as u64).unwrap();
        let bytes = contents(&device);
        assert!(bytes[..4097].iter().all(|byte| *byte == 0xaa));
        assert!(bytes[4097..4097 + 3 * CHUNK].iter().all(|byte| *byte == 0));
        assert!(bytes[4097 + 3 * CHUNK..].iter().all(|byte| *byte == 0xaa));
        let after = device.file.metadata().unwrap().blocks();
        assert!(after < before / 2, "{after} of {before} blocks are still allocated");

        device.zero(10, 5).unwrap();
        device.zero(10, 0).unwrap();
        assert_eq!(contents(&device)[9..16], [0xaa, 0, 0, 0, 0, 0, 0xaa]);
        assert!(device.zero(0, 4 * CHUNK as u64 + 1).is_err());
        device.discard(0, CHUNK as u64).unwrap();
        contents(&device);
    }

    #[test]
    fn writing_zeros_is_the_same_as_punching_them() {
        let device = device(2 * CHUNK + 100, Caching::Cached);
        device.write_zeros(50, 2 * CHUNK as u64).unwrap();
        let bytes = contents(&device);
        assert!(bytes[50..2 * CHUNK].iter().all(|byte| *byte == 0));
        assert_eq!((bytes[49], bytes[2 * CHUNK]), (0xaa, 0xaa));
    }

    #[test]
    fn a_read_only_device_is_not_written() {
        let mut device = device(4096, Caching::Cached);
        device.writable = false;
        for result in
            [device.write_at(&[0], 0), device.zero(0, 1), device.discard(0, 4096).map(drop)]
        {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
        device.flush().unwrap();
        assert_eq!(contents(&device), [0xaa; 4096]);
    }
}
