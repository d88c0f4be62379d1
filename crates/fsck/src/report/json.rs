//! A single JSON document, written while the check runs: findings are not kept.

use std::io::{self, Write};

use ocfs2_cli::encode::{json_document, json_line};
use serde::Serialize;

use super::{Form, Record};

/// The parts of the document that are not written yet, as JSON.
#[derive(Default)]
pub(crate) struct Json {
    volume: Option<String>,
    slots: Vec<String>,
    notes: Vec<String>,
    summary: Option<String>,
    lost: Vec<String>,
    missing: Vec<String>,
    rescued: Option<String>,
    /// The list of findings has begun.
    in_findings: bool,
    /// The list has an entry.
    has_findings: bool,
}

impl Json {
    /// Writes everything up to the findings.
    fn begin_findings(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.in_findings {
            return Ok(());
        }
        self.in_findings = true;
        write!(out, ",\n  \"volume\": {}", self.volume.as_deref().unwrap_or("null"))?;
        out.write_all(b",\n  \"findings\": [")
    }
}

impl Form for Json {
    fn show(&mut self, out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Start(start) => {
                let text = json_document(start)?;
                // The closing brace is written at the end.
                out.write_all(text.trim_end_matches(['}', '\n']).as_bytes())
            }
            Record::Volume(volume) => {
                self.volume = Some(indented(volume)?);
                Ok(())
            }
            Record::Note { text } => {
                self.notes.push(json_line(text)?);
                Ok(())
            }
            Record::Slot(slot) => {
                self.slots.push(json_line(slot)?);
                Ok(())
            }
            Record::Pass { .. } | Record::Answer(_) => Ok(()),
            Record::Finding(finding) => {
                self.begin_findings(out)?;
                let comma = if std::mem::replace(&mut self.has_findings, true) { "," } else { "" };
                write!(out, "{comma}\n    {}", json_line(finding)?)
            }
            Record::Lost(loss) => {
                self.lost.push(json_line(loss)?);
                Ok(())
            }
            Record::Missing(missing) => {
                self.missing.push(json_line(missing)?);
                Ok(())
            }
            Record::Rescued(rescued) => {
                self.rescued = Some(indented(rescued)?);
                Ok(())
            }
            Record::Summary(summary) => {
                self.summary = Some(indented(summary)?);
                Ok(())
            }
            Record::End(end) => {
                self.begin_findings(out)?;
                out.write_all(if self.has_findings { b"\n  ]" } else { b"]" })?;
                // Not earlier, since something may be found before the slots.
                write!(out, ",\n  \"slots\": {}", list(&self.slots))?;
                write!(out, ",\n  \"lost\": {}", list(&self.lost))?;
                if let Some(rescued) = &self.rescued {
                    write!(out, ",\n  \"missing\": {}", list(&self.missing))?;
                    write!(out, ",\n  \"rescued\": {rescued}")?;
                }
                write!(out, ",\n  \"notes\": {}", list(&self.notes))?;
                write!(out, ",\n  \"summary\": {}", self.summary.as_deref().unwrap_or("null"))?;
                write!(out, ",\n  \"error\": {}", json_line(&end.error)?)?;
                writeln!(out, ",\n  \"exit_status\": {}\n}}", end.exit_status)
            }
        }
    }
}

/// Indented for its place in the document.
fn indented(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(json_document(value)?.replace('\n', "\n  "))
}

/// A list with one entry per line.
fn list(entries: &[String]) -> String {
    if entries.is_empty() {
        return "[]".to_owned();
    }
    format!("[\n    {}\n  ]", entries.join(",\n    "))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::Mode;
    use crate::codes::general;
    use crate::report::{End, FindingOutcome, FindingRecord, Start};
    use crate::{Finding, Pass, Place};

    fn document(findings: usize, error: Option<&str>) -> Value {
        let (mut json, mut out) = (Json::default(), Vec::new());
        let device = "a } b\n}";
        let finding = Finding::new(general::IO_ERROR, Place::slot(3), "a\nb");
        let left = FindingOutcome::Left;
        let finding = FindingRecord::new(Pass::Start, &finding, false, left);
        let (program, mode) = ("fsck.ocfs2", Mode::ReadOnly);
        let start = Start { program, version: "1", device, device_escaped: None, mode };
        let mut show = |record| json.show(&mut out, &record).unwrap();
        show(Record::Start(start));
        show(Record::Note { text: "say \"so\"" });
        (0..findings).for_each(|_| show(Record::Finding(&finding)));
        show(Record::End(End { error, exit_status: 4 }));
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["device"], device);
        value
    }

    #[test]
    fn it_is_whole_whatever_there_was_to_tell() {
        for findings in [0, 1, 3] {
            let value = document(findings, None);
            assert_eq!(value["findings"].as_array().unwrap().len(), findings);
            assert_eq!(value["findings"][0].is_null(), findings == 0);
            assert_eq!((&value["volume"], &value["error"]), (&Value::Null, &Value::Null));
            assert_eq!(value["notes"][0], "say \"so\"");
            assert_eq!(value["exit_status"], 4);
        }
        let value = document(2, Some("it\tbroke"));
        assert_eq!(value["error"], "it\tbroke");
        assert_eq!(value["findings"][1]["text"], "a\nb");
        assert_eq!(value["findings"][1]["place"]["slot"], 3);
    }
}
