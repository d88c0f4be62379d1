//! Where the files of a new volume come from.

mod acl;
mod archive;
mod folder;
mod header;

use std::fs::{File, Metadata};
use std::io::{self, Read};
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
    /// What is at `path`; `-` is standard input.
    ///
    /// # Errors
    /// It cannot be opened, or is neither a folder nor an archive.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            use std::os::fd::AsFd;
            return Ok(Self::Archive(File::from(io::stdin().as_fd().try_clone_to_owned()?)));
        }
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            // Whether it can be read is to be known before anything is written.
            path.read_dir()?;
            return Ok(Self::Folder(path.to_owned()));
        }
        if !(metadata.is_file() || metadata.file_type().is_fifo()) {
            let text = "is neither a folder nor a tar archive";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self::Archive(File::open(path)?))
    }

    /// Writes all the files. `image` is what the volume is made in, which must not be one. An
    /// archive may have much that is passed over: `interrupt` ends that.
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
        // The file that was read then has nothing to do with it.
        interrupt.check().map_err(io::Error::other)?;
        filled
    }
}

/// A reader that a signal ends.
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

/// Device and inode.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
