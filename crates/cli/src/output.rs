//! Standard output that may be closed by its reader, and JSON on it.

use std::io::{self, Stdout, Write};

/// The reader of standard output has gone away, as in `blkid | head -1`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("standard output was closed")]
pub struct OutputClosed;

/// Standard output. `println!` panics when its reader has gone away; this gives an error that
/// [`crate::run`] turns into a quiet end.
///
/// A program that must not stop halfway because nobody listens (mkfs) ignores the error.
#[derive(Debug)]
pub struct Output<W = Stdout>(W);

impl Output {
    /// Of this process.
    pub fn stdout() -> Self {
        Self(io::stdout())
    }
}

impl<W: Write> Output<W> {
    /// Another writer, treated the same way.
    pub fn new(writer: W) -> Self {
        Self(writer)
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).map_err(closed)
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

/// Writes `value` as indented JSON and a newline.
///
/// # Errors
/// Those of `out`, and of a value that has no form in JSON.
pub fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    // In one piece: a reader never sees half of it because of an error in `value`.
    let mut text = serde_json::to_string_pretty(value)?;
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
    fn json_ends_with_a_newline() {
        let mut out = Vec::new();
        print_json(&mut out, &[1, 2]).unwrap();
        assert_eq!(out, b"[\n  1,\n  2\n]\n");
    }
}
