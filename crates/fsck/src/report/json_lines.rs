//! JSON, a record a line.

use std::io::{self, Write};

use super::{Form, Record};

/// Each record as an object with its `type`.
pub(crate) struct JsonLines;

impl Form for JsonLines {
    fn show(&mut self, out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
        if matches!(record, Record::Answer(_)) {
            return Ok(());
        }
        serde_json::to_writer(&mut *out, record)?;
        out.write_all(b"\n")
    }
}
