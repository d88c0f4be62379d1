//! The destination of an image: a file, in which skipped parts are holes, or a pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ocfs2_cli::shown;

/// Zeros that are written at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An image that is being written.
#[derive(Debug)]
pub struct Sink {
    out: Out,
    /// Bytes so far, including skipped ones.
    at: u64,
}

#[derive(Debug)]
enum Out {
    /// Removed on drop unless it is finished.
    File {
        file: File,
        path: PathBuf,
        is_finished: bool,
    },
    Pipe(io::Stdout),
}

impl Sink {
    /// An image on standard output.
    pub fn stdout() -> Self {
        Self { out: Out::Pipe(io::stdout()), at: 0 }
    }

    /// A new file that only its owner can read, or an existing file, which is emptied.
    ///
    /// # Errors
    /// If it is the device that is saved, is not a regular file, or cannot be created.
    pub fn create(path: &Path, device: &Path) -> Result<Self> {
        if let Ok(there) = path.metadata() {
            let is_source = device
                .metadata()
                .is_ok_and(|source| (source.dev(), source.ino()) == (there.dev(), there.ino()));
            if is_source {
                bail!("{}: is the volume itself", shown(path));
            }
            if !there.is_file() {
                bail!("{}: is not a regular file; -I puts an image onto a device", shown(path));
            }
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.with_context(|| shown(path))?;
        Ok(Self { out: Out::File { file, path: path.to_owned(), is_finished: false }, at: 0 })
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        match &mut self.out {
            Out::File { file, .. } => file.write_all(bytes),
            Out::Pipe(pipe) => pipe.write_all(bytes),
        }
    }

    /// Continues at `offset`, which must not be before the end of what was written. The gap reads
    /// as zeros.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        let mut left = offset.saturating_sub(self.at);
        self.at += left;
        match &mut self.out {
            Out::File { file, .. } => file.seek(SeekFrom::Start(self.at)).map(drop),
            Out::Pipe(pipe) => {
                while left > 0 {
                    let len = left.min(ZEROS.len() as u64);
                    pipe.write_all(ZEROS.get(..len as usize).unwrap_or_default())?;
                    left -= len;
                }
                Ok(())
            }
        }
    }

    /// Ends the image at the present place.
    ///
    /// # Errors
    /// If it cannot be written to the disk.
    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::File { file, is_finished, .. } => {
                file.set_len(self.at)?;
                file.sync_all()?;
                *is_finished = true;
                Ok(())
            }
            Out::Pipe(pipe) => pipe.flush(),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Out::File { path, is_finished: false, .. } = &self.out {
            // An incomplete image is useless, and could be taken for a complete one.
            let _ = std::fs::remove_file(path);
        }
    }
}
