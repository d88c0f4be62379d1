//! Where what commands say goes to: text, or a document of JSON.

use std::fmt;
use std::io::{self, Write};

use ocfs2_cli::{Output, terminal};

use crate::record::{Document, Record};
use crate::show::fields;
use crate::show::parts::Shape;

/// What is shown, and what is said of what failed. What a terminal would obey comes out of neither.
///
/// Where documents are asked for, text is dropped, and records make the document.
pub struct Screen {
    out: Output<Box<dyn Write>>,
    err: Output<Box<dyn Write>>,
    /// Whether documents are asked for.
    is_json: bool,
    /// The one that has begun.
    document: Option<Document>,
}

impl Screen {
    /// On standard output and standard error.
    pub fn standard() -> Self {
        Self { out: Output::buffered(), err: Output::errors(), is_json: false, document: None }
    }

    /// What failed is said elsewhere.
    pub fn with_errors(errors: Box<dyn Write>) -> Self {
        Self { err: Output::new(errors), ..Self::standard() }
    }

    /// On others.
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        Self { out: Output::new(out), err: Output::new(err), is_json: false, document: None }
    }

    /// What is shown goes to a pager instead.
    pub fn paged(pager: impl Write + 'static) -> Self {
        Self { out: Output::new(Box::new(io::BufWriter::new(pager))), ..Self::standard() }
    }

    /// With documents instead of text.
    #[must_use]
    pub fn with_json(self, is_json: bool) -> Self {
        Self { is_json, ..self }
    }

    /// A command begins: so does its document.
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

    /// It has ended with this status.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn end(&mut self, status: u8) -> io::Result<()> {
        if let Some(document) = self.document.take() {
            self.out.write_all(document.end(status)?.as_bytes())?;
        }
        self.out.flush()
    }

    /// Says what failed, after what has been shown.
    pub fn say(&mut self, text: &str) {
        if let Some(document) = &mut self.document {
            document.error(text);
        }
        // Where nobody listens there is nobody to tell.
        let _ = self.out.flush();
        let _ = writeln!(self.err, "{}", terminal(text));
    }

    /// Shows the contents of a file as they are.
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

    /// A record of a document; of text it has no part.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn record(&mut self, kind: &str, fill: impl FnOnce(Record) -> Record) -> io::Result<()> {
        let Some(document) = &mut self.document else { return Ok(()) };
        let text = document.record(&fill(Record::new(kind)))?;
        self.out.write_all(text.as_bytes())
    }

    /// A line of text, or the record that says the same.
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

    /// The record of a structure, by the fields that the format declares; its text is for the caller.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn structure(&mut self, block: &[u8], is_checked: bool) -> io::Result<()> {
        self.structure_as(Shape::BySignature, block, is_checked)
    }

    /// The same of a block that does not say what it is.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn structure_as(&mut self, shape: Shape, block: &[u8], is_checked: bool) -> io::Result<()> {
        self.record("structure", |record| fields::record(record, shape, block, is_checked))
    }
}

impl Write for Screen {
    /// Text.
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
