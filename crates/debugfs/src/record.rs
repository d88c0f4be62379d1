//! The JSON document of a command; docs/debugfs.schema.json describes it.
//!
//! The document begins with the command and ends with its outcome. Records are written one by one
//! in between, so that memory does not grow with what a volume claims to contain.

use ocfs2_cli::encode::{json_escaped, json_line, json_text};
use serde_json::{Map, Value};

/// A record: its kind, with values by name.
pub struct Record(Map<String, Value>);

impl Record {
    /// A record of a kind, without values.
    pub fn new(kind: &str) -> Self {
        Self(Map::from_iter([("kind".to_owned(), kind.into())]))
    }

    /// Adds a value.
    #[must_use]
    pub fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds text of any bytes. If it is not UTF-8, `NAME_escaped` has all of it.
    #[must_use]
    pub fn text(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let record = self.put(name, json_text(bytes));
        match json_escaped(bytes) {
            Some(escaped) => record.put(&format!("{name}_escaped"), escaped),
            None => record,
        }
    }

    /// The record as a value for another one.
    pub fn value(self) -> Value {
        Value::Object(self.0)
    }
}

/// The document of a command.
#[derive(Default)]
pub struct Document {
    records: u64,
    errors: Vec<String>,
}

impl Document {
    /// The part before the first record.
    pub fn head(command: &[u8]) -> serde_json::Result<String> {
        let head = Record(Map::new())
            .put("program", "debugfs.ocfs2")
            .put("version", env!("CARGO_PKG_VERSION"))
            .text("command", command);
        let head = json_line(&head.0)?;
        let open = head.strip_suffix('}').unwrap_or(&head);
        Ok(format!("{open},\"records\":["))
    }

    /// A record, with the separator before it.
    pub fn record(&mut self, record: &Record) -> serde_json::Result<String> {
        let comma = if self.records == 0 { "" } else { "," };
        self.records += 1;
        Ok(format!("{comma}\n{}", json_line(&record.0)?))
    }

    /// Adds the text of an error.
    pub fn error(&mut self, text: &str) {
        self.errors.push(text.to_owned());
    }

    /// The part after the last record.
    pub fn end(self, status: u8) -> serde_json::Result<String> {
        let line = if self.records == 0 { "" } else { "\n" };
        let errors = json_line(&self.errors)?;
        Ok(format!("{line}],\"errors\":{errors},\"exit_status\":{status}}}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_one_however_many_records_it_has() {
        for count in 0..3 {
            let mut document = Document::default();
            let mut text = Document::head(b"ls \xff").unwrap();
            for index in 0..count {
                let record = Record::new("entry").put("index", index).text("name", b"a\xffb");
                text += &document.record(&record).unwrap();
            }
            document.error("ls: no\n");
            text += &document.end(1).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["records"].as_array().unwrap().len(), count);
            assert_eq!(value["errors"][0], "ls: no\n");
            assert_eq!(
                (&value["command_escaped"], &value["exit_status"]),
                (&"ls \\xff".into(), &1.into())
            );
            for record in value["records"].as_array().unwrap() {
                assert_eq!(record["name_escaped"], "a\\xffb");
            }
        }
    }
}
