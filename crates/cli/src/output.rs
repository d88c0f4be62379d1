//! The only way to standard output and standard error.

use std::fs::File;
use std::io::{self, BufWriter, Stderr, Stdout, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use crate::encode;

/// The reader of standard output has exited, as in `blkid | head -1`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("standard output was closed")]
pub struct OutputClosed;

/// Standard output. Where `println!` panics because the reader has exited, this returns an error,
/// which [`crate::run`] turns into a quiet exit.
///
/// What a terminal would obey is encoded like [`crate::terminal`], except line feeds and tabs. So
/// text that a caller forgot to encode can at most start a new line.
///
/// A program that must not stop halfway for lack of a reader (mkfs) ignores the error.
#[derive(Debug)]
pub struct Output<W = Stdout>(W);

impl Output {
    /// Standard output of this process.
    pub fn stdout() -> Self {
        Self(io::stdout())
    }
}

impl Output<Box<dyn Write>> {
    /// Standard output of this process for large amounts of text: written when the buffer is full,
    /// flushed or dropped.
    pub fn buffered() -> Self {
        Self(Box::new(BufWriter::new(io::stdout())))
    }

    /// Standard error of this process.
    pub fn errors() -> Self {
        Self(Box::new(io::stderr()))
    }
}

impl Output<Stderr> {
    /// Standard error of this process.
    pub fn stderr() -> Self {
        Self(io::stderr())
    }
}

impl<W: Write> Output<W> {
    /// Wraps another writer in the same way.
    pub fn new(writer: W) -> Self {
        Self(writer)
    }

    /// Writes bytes unchanged, for the contents of a file that the user asked for.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).map_err(closed)
    }

    /// Sends control codes to the terminal.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn control(&mut self, codes: &'static str) -> io::Result<()> {
        self.0.write_all(codes.as_bytes()).map_err(closed)?;
        self.flush()
    }
}

impl<W: Write> Write for Output<W> {
    /// Writes all of `buf`, which must end at a character boundary.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_all(&encode::terminal_lines(buf)).map_err(closed)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(closed)
    }
}

fn closed(err: io::Error) -> io::Error {
    if err.kind() == io::ErrorKind::BrokenPipe {
        io::Error::new(io::ErrorKind::BrokenPipe, OutputClosed)
    } else {
        err
    }
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stdout())
}

/// Whether standard output and standard error are the same, such as a terminal: what is on one is
/// seen on the other.
pub fn is_shared_output() -> bool {
    let identity = |fd: BorrowedFd<'_>| {
        let file = File::from(fd.try_clone_to_owned().ok()?).metadata().ok()?;
        Some((file.dev(), file.ino()))
    };
    let out = identity(io::stdout().as_fd());
    out.is_some() && out == identity(io::stderr().as_fd())
}

/// Writes `value` as indented JSON and a newline.
///
/// # Errors
/// Those of `out`, or if `value` cannot be represented in JSON.
pub fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    // In one piece, so that a reader never sees half of it if `value` fails.
    let mut text = encode::json_document(value)?;
    text.push('\n');
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_pipe_becomes_output_closed() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let err = Output::new(writer).write_all(b"x").unwrap_err();
        assert!(err.get_ref().is_some_and(|inner| inner.is::<OutputClosed>()));

        let mut full = [0; 1];
        let err = Output::new(full.as_mut_slice()).write_all(b"xy").unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn what_a_terminal_obeys_does_not_come_out_unless_it_is_meant() {
        let mut out = Output::new(Vec::new());
        writeln!(out, "a\x1b[2J\u{9b}\t\u{202e}ä").unwrap();
        out.write_all(b"\xff\r\n").unwrap();
        out.control("\x1b[H").unwrap();
        out.raw(b"\x1b\r").unwrap();
        let expected = "a\\u{1b}[2J\\u{9b}\t\\u{202e}ä\n\\xff\\r\n\x1b[H\x1b\r";
        assert_eq!(String::from_utf8(out.0).unwrap(), expected);
    }

    #[test]
    fn json_ends_with_a_newline() {
        let mut out = Vec::new();
        print_json(&mut out, &[1, 2]).unwrap();
        assert_eq!(out, b"[\n  1,\n  2\n]\n");
    }
}
