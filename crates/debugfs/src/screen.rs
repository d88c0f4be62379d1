//! Where what commands say goes to.

use std::fmt;
use std::io::{self, Write};

use ocfs2_cli::{Output, terminal};

/// What is shown, and what is said of what failed. What a terminal would obey comes out of neither.
pub struct Screen {
    out: Output<Box<dyn Write>>,
    err: Output<Box<dyn Write>>,
}

impl Screen {
    /// On standard output and standard error.
    pub fn standard() -> Self {
        Self { out: Output::buffered(), err: Output::errors() }
    }

    /// On others.
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        Self { out: Output::new(out), err: Output::new(err) }
    }

    /// What is shown goes to a pager instead.
    pub fn paged(pager: impl Write + 'static) -> Self {
        Self { out: Output::new(Box::new(io::BufWriter::new(pager))), ..Self::standard() }
    }

    /// Says what failed, after what has been shown.
    pub fn say(&mut self, text: &str) {
        // Where nobody listens there is nobody to tell.
        let _ = self.out.flush();
        let _ = writeln!(self.err, "{}", terminal(text));
    }

    /// Shows the contents of a file as they are.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.raw(bytes)
    }
}

impl Write for Screen {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf)
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
