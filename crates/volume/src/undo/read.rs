//! Reading an undo file, and putting back what it holds.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{
    END, HEADER, MAGIC, MAX_UNIT, RECORD, SAVED, VERSION, WRITTEN, contents_sum, record_sum,
};
use ocfs2_device::{Device, shown};

/// Why nothing is put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UndoError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = shown::path(.path))]
    File {
        /// The undo file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is not an undo file.
    #[error("{path}: is not an undo file: {why}", path = shown::path(.path))]
    NotUndo {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The end of the file is missing.
    #[error("{path}: is cut: {why}", path = shown::path(.path))]
    Cut {
        /// The file.
        path: PathBuf,
        /// How that is known.
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
    /// The device cannot be read or written.
    #[error("{0}")]
    Device(#[source] io::Error),
    /// It was interrupted.
    #[error(
        "was interrupted{}",
        if *is_begun { " when a part was put back; --undo again puts back the rest" } else { "" }
    )]
    Interrupted {
        /// Whether something was written.
        is_begun: bool,
    },
}

/// Asked now and then whether to stop.
type Interrupted<'a> = &'a dyn Fn() -> bool;

fn go_on(interrupted: Interrupted<'_>, is_begun: bool) -> Result<(), UndoError> {
    if interrupted() { Err(UndoError::Interrupted { is_begun }) } else { Ok(()) }
}

/// What an undo file holds. Contents stay in the file.
#[derive(Debug)]
pub struct Undo {
    path: PathBuf,
    file: File,
    uuid: [u8; 16],
    unit: u64,
    size: u64,
    /// By offset, each once.
    saved: Vec<Saved>,
    /// Offsets, and the checksums of what may be there now; sorted.
    known: Vec<(u64, u32)>,
    missing: Option<&'static str>,
}

/// A unit that was saved.
#[derive(Clone, Copy, Debug)]
struct Saved {
    /// Bytes from the start of the device.
    offset: u64,
    /// Where its contents are in the file.
    place: u64,
}

impl Undo {
    /// Reads an undo file, which has to be complete. Stops when `interrupted` returns true.
    ///
    /// # Errors
    /// [`UndoError::File`], [`UndoError::NotUndo`], [`UndoError::Cut`], [`UndoError::Interrupted`].
    pub fn read(path: &Path, interrupted: Interrupted<'_>) -> Result<Self, UndoError> {
        let undo = Self::read_beginning(path, interrupted)?;
        match undo.missing {
            Some(why) => Err(UndoError::Cut { path: undo.path, why }),
            None => Ok(undo),
        }
    }

    /// Reads an undo file as far as it goes: see [`Undo::missing`]. What was overwritten after its
    /// last record cannot be put back.
    ///
    /// # Errors
    /// [`UndoError::File`], [`UndoError::NotUndo`], [`UndoError::Interrupted`].
    pub fn read_beginning(path: &Path, interrupted: Interrupted<'_>) -> Result<Self, UndoError> {
        let failed = |source| UndoError::File { path: path.to_owned(), source };
        let not = |why| UndoError::NotUndo { path: path.to_owned(), why };
        let file = File::open(path).map_err(failed)?;
        let mut reader = BufReader::new(file.try_clone().map_err(failed)?);
        let mut header = [0; HEADER];
        if !fill(&mut reader, &mut header).map_err(failed)? || !header.starts_with(MAGIC) {
            return Err(not("it does not begin as one"));
        }
        let (head, sum) = header.split_at(HEADER - 4);
        if crc32fast::hash(head).to_le_bytes() != sum {
            return Err(not("its header is damaged"));
        }
        if number(&header, 8, 4) != u64::from(VERSION) {
            return Err(not("it is of another version"));
        }
        let unit = number(&header, 12, 4);
        if unit == 0 || unit > u64::from(MAX_UNIT) {
            return Err(not("its header has an impossible unit"));
        }
        let mut undo = Self {
            path: path.to_owned(),
            file,
            uuid: header.get(24..40).and_then(|uuid| uuid.try_into().ok()).unwrap_or_default(),
            unit,
            size: number(&header, 16, 8),
            saved: Vec::new(),
            known: Vec::new(),
            missing: None,
        };
        undo.missing = undo.records(&mut reader, interrupted).map_err(failed)?.err();
        go_on(interrupted, false)?;
        undo.sort().map_err(not)?;
        Ok(undo)
    }

    /// Reads all records. The inner error is the reason if the file ends too early.
    fn records(
        &mut self,
        reader: &mut impl Read,
        interrupted: Interrupted<'_>,
    ) -> io::Result<Result<(), &'static str>> {
        const DAMAGED: &str = "a record is damaged";
        let mut head = [0; RECORD];
        let mut body = Vec::new();
        let (mut place, mut count) = (HEADER as u64, 0_u64);
        while !interrupted() && fill(reader, &mut head)? {
            let (kind, offset, len) = (head[0], number(&head, 1, 8), number(&head, 9, 4));
            if !self.is_possible(kind, offset, len) {
                return Ok(Err(DAMAGED));
            }
            body.resize(len as usize, 0);
            if !fill(reader, &mut body)? {
                return Ok(Err("it ends within a record"));
            }
            let sum = u64::from(record_sum(head.get(..RECORD - 4).unwrap_or_default(), &body));
            if sum != number(&head, 13, 4) {
                return Ok(Err(DAMAGED));
            }
            match kind {
                SAVED => {
                    self.saved.push(Saved { offset, place: place + RECORD as u64 });
                    self.known.push((offset, contents_sum(self.unit, offset, &body)));
                }
                WRITTEN => self.known.push((offset, number(&body, 0, 4) as u32)),
                _ if number(&body, 0, 8) != count => return Ok(Err("records are missing")),
                _ if fill(reader, &mut [0])? => return Ok(Err("it goes on after its end")),
                _ => return Ok(Ok(())),
            }
            count += 1;
            place += RECORD as u64 + len;
        }
        Ok(Err("the record that ends it is not there"))
    }

    /// Whether there can be such a record.
    fn is_possible(&self, kind: u8, offset: u64, len: u64) -> bool {
        let in_place = offset.is_multiple_of(self.unit) && offset < self.size;
        match kind {
            SAVED => in_place && len == self.len_at(offset),
            WRITTEN => in_place && len == 4,
            END => offset == 0 && len == 8,
            _ => false,
        }
    }

    /// Bytes of the unit at `offset`: the last one may be cut by the end of the device.
    fn len_at(&self, offset: u64) -> u64 {
        self.unit.min(self.size.saturating_sub(offset))
    }

    fn sort(&mut self) -> Result<(), &'static str> {
        self.saved.sort_unstable_by_key(|saved| saved.offset);
        self.known.sort_unstable();
        self.known.dedup();
        if self.saved.windows(2).any(|pair| pair[0].offset == pair[1].offset) {
            return Err("it has saved something twice");
        }
        let is_saved =
            |offset| self.saved.binary_search_by_key(&offset, |saved| saved.offset).is_ok();
        if !self.known.iter().all(|(offset, _)| is_saved(*offset)) {
            return Err("something was written that was not saved before");
        }
        Ok(())
    }

    /// The UUID of the volume.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why the file may not have everything that was overwritten; `None` for a complete file.
    pub fn missing(&self) -> Option<&'static str> {
        self.missing
    }

    /// Number of bytes that were saved.
    pub fn bytes(&self) -> u64 {
        self.saved.iter().map(|saved| self.len_at(saved.offset)).sum()
    }

    /// Puts back what was overwritten. Nothing is written unless everything still is as it was
    /// before, or as it was written then. This cannot be checked for a file that is cut, since
    /// later writes may be missing in it. After an interruption it can be done again. Returns the
    /// number of bytes of units that were not as before.
    ///
    /// # Errors
    /// [`UndoError::Size`], [`UndoError::Changed`], [`UndoError::Device`],
    /// [`UndoError::Interrupted`]; [`UndoError::File`] or [`UndoError::NotUndo`] if the file was
    /// changed since it was read.
    pub fn apply(
        &self,
        device: &dyn Device,
        interrupted: Interrupted<'_>,
    ) -> Result<u64, UndoError> {
        self.verify(device, interrupted)?;
        let (mut buffer, mut now) = (Vec::new(), Vec::new());
        let mut put_back = 0;
        for saved in &self.saved {
            go_on(interrupted, put_back > 0)?;
            let contents = self.contents(*saved, &mut buffer)?;
            now.resize(contents.len(), 0);
            device.read_at(&mut now, saved.offset).map_err(UndoError::Device)?;
            if now != contents {
                device.write_at(contents, saved.offset).map_err(UndoError::Device)?;
                put_back += contents.len() as u64;
            }
        }
        device.flush().map_err(UndoError::Device)?;
        Ok(put_back)
    }

    /// Checks that everything is as it was left, and that the saved contents can be read.
    fn verify(&self, device: &dyn Device, interrupted: Interrupted<'_>) -> Result<(), UndoError> {
        let found = device.size_bytes();
        if found != self.size {
            return Err(UndoError::Size { found, expected: self.size });
        }
        let (mut buffer, mut now) = (Vec::new(), Vec::new());
        for saved in &self.saved {
            go_on(interrupted, false)?;
            self.contents(*saved, &mut buffer)?;
            let len = self.len_at(saved.offset) as usize;
            now.resize(len, 0);
            device.read_at(&mut now, saved.offset).map_err(UndoError::Device)?;
            // The part that is missing may record that it was written once more.
            if self.missing.is_none() && !self.is_known(saved.offset, &now) {
                return Err(UndoError::Changed { offset: saved.offset, len });
            }
        }
        Ok(())
    }

    /// Whether the unit at `offset` is as the run left it that this file is of, which may have given
    /// the volume another UUID.
    ///
    /// # Errors
    /// [`UndoError::Device`].
    pub fn has_left(&self, device: &dyn Device, offset: u64) -> Result<bool, UndoError> {
        let mut now = vec![0; self.len_at(offset) as usize];
        device.read_at(&mut now, offset).map_err(UndoError::Device)?;
        Ok(self.is_known(offset, &now))
    }

    /// Whether these contents were there before, or were written then.
    fn is_known(&self, offset: u64, contents: &[u8]) -> bool {
        let sum = contents_sum(self.unit, offset, contents);
        self.known.binary_search(&(offset, sum)).is_ok()
    }

    fn contents<'b>(&self, saved: Saved, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], UndoError> {
        let failed = |source| UndoError::File { path: self.path.clone(), source };
        buffer.resize(self.len_at(saved.offset) as usize, 0);
        self.file.read_exact_at(buffer, saved.place).map_err(failed)?;
        if !self.is_known(saved.offset, buffer) {
            let why = "it was changed while it was read";
            return Err(UndoError::NotUndo { path: self.path.clone(), why });
        }
        Ok(buffer)
    }
}

/// Fills the buffer. Returns false if the file ends before.
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
