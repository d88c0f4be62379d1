//! The output of commands: text or JSON documents.

use std::fmt;
use std::io::{self, Write};

use ocfs2_cli::{Output, terminal};

use crate::record::{Document, Record};
use crate::show::fields;
use crate::show::parts::Shape;

/// The output of commands, and messages about failures. Neither passes control characters on to a
/// terminal.
///
/// With JSON, text is dropped and records make up the document.
pub struct Screen {
    out: Output<Box<dyn Write>>,
    err: Output<Box<dyn Write>>,
    /// Whether the output is JSON.
    is_json: bool,
    /// The current document.
    document: Option<Document>,
}

impl Screen {
    /// Writes to standard output and standard error.
    pub fn standard() -> Self {
        Self { out: Output::buffered(), err: Output::errors(), is_json: false, document: None }
    }

    /// Writes messages about failures to `errors`.
    pub fn with_errors(errors: Box<dyn Write>) -> Self {
        Self { err: Output::new(errors), ..Self::standard() }
    }

    /// Writes to `out` and `err`.
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        Self { out: Output::new(out), err: Output::new(err), is_json: false, document: None }
    }

    /// Writes the output to a pager.
    pub fn paged(pager: impl Write + 'static) -> Self {
        Self { out: Output::new(Box::new(io::BufWriter::new(pager))), ..Self::standard() }
    }

    /// Selects documents instead of text.
    #[must_use]
    pub fn with_json(self, is_json: bool) -> Self {
        Self { is_json, ..self }
    }

    /// Begins a command, and with JSON its document.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn begin(&mut self, command: &[u8]) -> io::Result<()> {
        if self.is_json {
            self.document = Some(Document::default());
            self.out.write_all(Document::head(command)?.as_bytes())?;
        }
        Ok(())
    }

    /// Ends the command with this status.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn end(&mut self, status: u8) -> io::Result<()> {
        if let Some(document) = self.document.take() {
            self.out.write_all(document.end(status)?.as_bytes())?;
        }
        self.out.flush()
    }

    /// Reports a failure, after everything shown so far.
    pub fn say(&mut self, text: &str) {
        if let Some(document) = &mut self.document {
            document.error(&ocfs2_cli::without_error_numbers(text));
        }
        self.note(text);
    }

    /// Reports something that is no failure, on standard error alone: a document has errors only if
    /// its command failed.
    pub fn note(&mut self, text: &str) {
        let text = &ocfs2_cli::without_error_numbers(text);
        // If this cannot be written, nobody can be told.
        let _ = self.out.flush();
        let _ = writeln!(self.err, "{}", terminal(text));
    }

    /// Shows the contents of a file as they are; nothing with JSON.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_json { Ok(()) } else { self.out.raw(bytes) }
    }

    /// Whether text is dropped.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Adds a record to a document; nothing without JSON.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn record(&mut self, kind: &str, fill: impl FnOnce(Record) -> Record) -> io::Result<()> {
        let Some(document) = &mut self.document else { return Ok(()) };
        let text = document.record(&fill(Record::new(kind)))?;
        self.out.write_all(text.as_bytes())
    }

    /// Shows a line of text, or with JSON the record with the same contents.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn row(
        &mut self,
        kind: &str,
        fill: impl FnOnce(Record) -> Record,
        text: fmt::Arguments<'_>,
    ) -> io::Result<()> {
        if self.is_json {
            return self.record(kind, fill);
        }
        self.out.write_fmt(text)?;
        self.out.write_all(b"\n")
    }

    /// Adds the record of a structure, with the fields that the format declares. Its text is up to
    /// the caller.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn structure(&mut self, block: &[u8], is_checked: bool) -> io::Result<()> {
        self.structure_as(Shape::BySignature, block, is_checked)
    }

    /// The same for a block whose contents do not identify it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn structure_as(&mut self, shape: Shape, block: &[u8], is_checked: bool) -> io::Result<()> {
        self.record("structure", |record| fields::record(record, shape, block, is_checked))
    }
}

impl ocfs2_extract::Output for Screen {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::raw(self, bytes)
    }
}

impl Write for Screen {
    /// Writes text; dropped with JSON.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.is_json { Ok(buf.len()) } else { self.out.write(buf) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}
