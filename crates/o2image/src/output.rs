//! The destination of an image: a file, in which skipped parts are holes, or a pipe.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ocfs2_cli::{Output, shown};
use tempfile::NamedTempFile;

/// Bytes that are looked at for zeros together: a block of most file systems.
const PIECE: usize = 4096;

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
    /// Under another name until it is finished, so that an older image of that name stays if this
    /// one cannot be completed. Removed on drop.
    File {
        file: Option<NamedTempFile>,
        path: PathBuf,
    },
    Pipe(Output),
}

impl Sink {
    /// An image on standard output.
    pub fn stdout() -> Self {
        Self { out: Out::Pipe(Output::stdout()), at: 0 }
    }

    /// A new file that only its owner can read, in place of an existing one if there is one.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let mut path = path.to_owned();
        if path.exists() {
            // A link stays a link.
            path = path.canonicalize().with_context(|| shown(&path))?;
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
        let file = file.map_err(without_other_name).with_context(|| shown(&path))?;
        Ok(Self { out: Out::File { file: Some(file), path }, at: 0 })
    }

    /// Writes the next bytes. In a file, pieces of zeros become holes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.out {
            Out::File { file, .. } => write_sparsely(in_progress(file)?, bytes)?,
            Out::Pipe(pipe) => pipe.raw(bytes)?,
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Continues at `offset`, which must not be before the end of what was written. The gap reads
    /// as zeros.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        self.skip(offset.saturating_sub(self.at))
    }

    /// Leaves out `len` bytes, which read as zeros.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn skip(&mut self, len: u64) -> io::Result<()> {
        let mut left = len;
        self.at += left;
        match &mut self.out {
            Out::File { file, .. } => in_progress(file)?.seek(SeekFrom::Start(self.at)).map(drop),
            Out::Pipe(pipe) => {
                while left > 0 {
                    let len = left.min(ZEROS.len() as u64);
                    pipe.raw(ZEROS.get(..len as usize).unwrap_or_default())?;
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
            Out::File { file, path } => {
                let written = file.take().ok_or_else(finished)?;
                written.as_file().set_len(self.at)?;
                written.as_file().sync_all()?;
                written.persist(path).map(drop).map_err(|err| err.error)
            }
            Out::Pipe(pipe) => pipe.flush(),
        }
    }
}

/// Writes bytes to a new file, and skips pieces of zeros.
fn write_sparsely(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    let is_zero = |piece: &[u8]| ZEROS.get(..piece.len()) == Some(piece);
    let alike = |bytes: &[u8], zero: bool| -> usize {
        let pieces = bytes.chunks(PIECE).take_while(|piece| is_zero(piece) == zero);
        pieces.map(<[u8]>::len).sum()
    };
    while !bytes.is_empty() {
        let (zeros, rest) = bytes.split_at(alike(bytes, true));
        if !zeros.is_empty() {
            file.seek(SeekFrom::Current(zeros.len() as i64))?;
        }
        let (data, rest) = rest.split_at(alike(rest, false));
        file.write_all(data)?;
        bytes = rest;
    }
    Ok(())
}

fn in_progress(file: &mut Option<NamedTempFile>) -> io::Result<&mut File> {
    file.as_mut().map(NamedTempFile::as_file_mut).ok_or_else(finished)
}

fn finished() -> io::Error {
    io::Error::other("the image is complete already")
}

/// The error of the system, without the name that the file has until it is finished, which tempfile
/// appends.
fn without_other_name(err: io::Error) -> io::Error {
    let text = err.to_string();
    let cause = text.rsplit_once(" at path ").map_or(text.as_str(), |(cause, _)| cause);
    io::Error::new(err.kind(), cause)
}
