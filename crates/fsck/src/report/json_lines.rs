//! JSON Lines: one record per line.

use std::io::{self, Write};

use ocfs2_cli::encode::json_line;

use super::{Form, Record};

/// Each record as an object with its `type`.
pub(crate) struct JsonLines;

impl Form for JsonLines {
    fn show(&mut self, out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
        if matches!(record, Record::Answer(_)) {
            return Ok(());
        }
        writeln!(out, "{}", json_line(record)?)
    }
}
