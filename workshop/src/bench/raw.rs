//! The time it takes to read a device: the limit for every program that has to.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use ocfs2_device::{AlignedBuffer, Caching, Device, DeviceOptions, open};
use rustix::fs::{SeekFrom, seek};

/// Number of reads in flight.
pub const DEPTH: usize = 16;

/// Size of a read in bytes.
const PIECE: u64 = 1 << 20;

/// What to read.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// File whose data, without its holes, is read
    image: PathBuf,
    /// Device or file to read it from
    device: PathBuf,
}

/// Reads everything that is not a hole, past the page cache, [`DEPTH`] reads at a time.
pub fn run(options: &Options) -> Result<()> {
    let caching = Caching::Direct;
    let device = open(&options.device, &DeviceOptions { caching, ..DeviceOptions::default() })?;
    let (next, failed) = (Mutex::new(allocated(&options.image)?.into_iter()), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..DEPTH {
            scope.spawn(|| {
                let mut buffer = AlignedBuffer::default();
                loop {
                    let piece = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((offset, len)) = piece else { return };
                    if let Err(err) = device.read_at(buffer.get(len), offset) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(err);
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(err) => Err(err).with_context(|| options.device.display().to_string()),
        None => Ok(()),
    }
}

/// Reads everything that is not a hole into the page cache.
pub fn into_cache(image: &Path) -> Result<()> {
    let file = File::open(image)?;
    let mut buffer = vec![0; PIECE as usize];
    for (offset, len) in allocated(image)? {
        file.read_exact_at(&mut buffer[..len], offset)?;
    }
    Ok(())
}

/// Returns the byte ranges of a file that are not holes, in pieces of at most [`PIECE`].
fn allocated(path: &Path) -> Result<Vec<(u64, usize)>> {
    let file = File::open(path)?;
    let size = file.metadata()?.size();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let Ok(start) = seek(&file, SeekFrom::Data(at)) else { break };
        let end = seek(&file, SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let len = PIECE.min(end - at);
            pieces.push((at, len as usize));
            at += len;
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_not_read() {
        // Not in /tmp, which may be a tmpfs with holes of another size.
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        file.as_file().write_all_at(&vec![1; 3 << 20], 1 << 30).unwrap();
        file.as_file().sync_all().unwrap();
        let pieces = allocated(file.path()).unwrap();
        assert_eq!(pieces.iter().map(|(_, len)| len).sum::<usize>(), 3 << 20);
        assert_eq!(pieces[0], (1 << 30, 1 << 20));
        let path = || file.path().to_owned();
        run(&Options { image: path(), device: path() }).unwrap();
    }
}
