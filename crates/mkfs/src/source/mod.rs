//! Sources of the files of a new volume.

mod acl;
mod archive;
mod folder;
mod header;

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ocfs2_cli::Interrupt;

use crate::files::{Files, FillError};

/// A folder or an archive with the files of a new volume.
#[derive(Debug)]
pub enum Source {
    /// The contents of a folder.
    Folder(PathBuf),
    /// A tar archive: a file, a pipe, or standard input.
    Archive(File),
}

impl Source {
    /// Opens the source at `path`; `-` is standard input.
    ///
    /// # Errors
    /// If it cannot be opened, or is neither a folder nor an archive.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            use std::os::fd::AsFd;
            return Ok(Self::Archive(File::from(io::stdin().as_fd().try_clone_to_owned()?)));
        }
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            // Fail before anything is written if it cannot be read.
            path.read_dir()?;
            return Ok(Self::Folder(path.to_owned()));
        }
        if !(metadata.is_file() || metadata.file_type().is_fifo()) {
            let text = "is neither a folder nor a tar archive";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self::Archive(File::open(path)?))
    }

    /// Where the reading of the files begins, if they can be read more than once: not from a pipe.
    pub fn position(&mut self) -> Option<u64> {
        match self {
            Self::Folder(_) => Some(0),
            Self::Archive(file) => {
                let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
                file.stream_position().ok().filter(|_| is_file)
            }
        }
    }

    /// Goes back to that [`Source::position`].
    ///
    /// # Errors
    /// Those of the file.
    pub fn go_back(&mut self, position: u64) -> io::Result<()> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Archive(file) => file.seek(SeekFrom::Start(position)).map(drop),
        }
    }

    /// Writes all files. `image` is the image that is being made, which must not be among the
    /// files. `interrupt` ends the reading, even where an archive has much to skip.
    ///
    /// # Errors
    /// [`FillError`].
    pub fn fill(
        &mut self,
        files: &mut Files<'_>,
        image: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<(), FillError> {
        let image = image.and_then(|path| path.metadata().ok());
        let filled = match self {
            Self::Folder(path) => folder::fill(path, files, image.as_ref().map(identity)),
            Self::Archive(file) => {
                let reader = Interruptible { inner: file, interrupt };
                archive::fill(&mut io::BufReader::with_capacity(1 << 17, reader), files)
            }
        };
        // After an interrupt, the error of the file that was read is irrelevant.
        interrupt.check().map_err(io::Error::other)?;
        filled
    }
}

/// A reader that fails after a signal.
struct Interruptible<'a, R> {
    inner: R,
    interrupt: &'a Interrupt,
}

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.interrupt.check().map_err(io::Error::other)?;
        self.inner.read(buf)
    }
}

/// Device and inode number.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
