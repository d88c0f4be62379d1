//! The output formats.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};

use ocfs2_cli::encode::{caret, udev_encoded, udev_word, value};

use crate::cli::Format;
use crate::entry::{Entry, Value};
use crate::json;

/// How to print the results.
#[derive(Clone, Debug, Default)]
pub struct PrintOptions {
    /// The output format.
    pub format: Format,
    /// The tags to print; if empty, all.
    pub tags: Vec<String>,
    /// Also print the tags of the low-level mode.
    pub low_level: bool,
    /// Encode labels as ASCII, as with `cat -v`.
    pub encode: bool,
}

impl PrintOptions {
    fn tags(&self, entry: &Entry) -> Vec<Value> {
        let mut tags = entry.tags(self.low_level);
        tags.retain(|tag| self.tags.is_empty() || self.tags.iter().any(|name| name == tag.name));
        tags
    }

    fn safe(&self, bytes: &[u8], quoted: &[u8]) -> Vec<u8> {
        if self.encode { caret(bytes, quoted) } else { value(bytes) }
    }
}

/// Prints `entries` to `out`.
///
/// # Errors
/// Those of `out`.
pub fn print(out: &mut impl Write, entries: &[Entry], options: &PrintOptions) -> io::Result<()> {
    match options.format {
        Format::Json => return ocfs2_cli::print_json(out, &json::document(entries)),
        Format::List => return list(out, entries, options),
        _ => {}
    }
    let mut blocks = 0;
    for entry in entries {
        let tags = options.tags(entry);
        let ambivalent = entry.is_ambivalent();
        if ambivalent && !(options.low_level && options.format == Format::Udev) {
            continue;
        }
        if matches!(options.format, Format::Export | Format::Udev) {
            if tags.is_empty() && !ambivalent {
                continue;
            }
            if blocks > 0 {
                writeln!(out)?;
            }
            blocks += 1;
        }
        match options.format {
            Format::Device => writeln!(out, "{}", entry.name)?,
            Format::Value => {
                for tag in &tags {
                    out.write_all(&value(&tag.value))?;
                    writeln!(out)?;
                }
            }
            Format::Export => export(out, entry, &tags, options)?,
            Format::Udev if ambivalent => {
                out.write_all(b"ID_FS_AMBIVALENT=")?;
                // Words in udev's encoding, separated by blanks.
                for (index, candidate) in entry.candidates().iter().enumerate() {
                    out.write_all(if index > 0 { b" " } else { b"" })?;
                    out.write_all(&udev_encoded(candidate))?;
                }
                writeln!(out)?;
            }
            Format::Udev => tags.iter().try_for_each(|tag| udev(out, tag))?,
            _ => full(out, entry, &tags, options)?,
        }
    }
    Ok(())
}

fn full(
    out: &mut impl Write,
    entry: &Entry,
    tags: &[Value],
    options: &PrintOptions,
) -> io::Result<()> {
    if tags.is_empty() {
        // As util-linux does if -s leaves nothing.
        return if options.low_level { writeln!(out) } else { Ok(()) };
    }
    write!(out, "{}:", entry.name)?;
    for tag in tags {
        write!(out, " {}=\"", tag.name)?;
        out.write_all(&options.safe(&tag.value, b"\"\\"))?;
        out.write_all(b"\"")?;
    }
    writeln!(out)
}

fn export(
    out: &mut impl Write,
    entry: &Entry,
    tags: &[Value],
    options: &PrintOptions,
) -> io::Result<()> {
    writeln!(out, "DEVNAME={}", entry.name)?;
    for tag in tags {
        write!(out, "{}=", tag.name)?;
        out.write_all(&options.safe(&tag.value, b" \\\"'$`<>"))?;
        writeln!(out)?;
    }
    Ok(())
}

/// Prints a property for udev. Each line is a property, so every value is encoded.
fn udev(out: &mut impl Write, tag: &Value) -> io::Result<()> {
    let mut line = |key: &str, encoded: &[u8]| {
        write!(out, "{key}=")?;
        out.write_all(encoded)?;
        writeln!(out)
    };
    let (name, encoded) = (tag.name, udev_encoded(&tag.value));
    match name {
        "PTTYPE" => line("ID_PART_TABLE_TYPE", &encoded),
        "PTUUID" => line("ID_PART_TABLE_UUID", &encoded),
        "LABEL" | "UUID" | "UUID_SUB" | "LABEL_FATBOOT" => {
            line(&format!("ID_FS_{name}"), &udev_word(&tag.value))?;
            line(&format!("ID_FS_{name}_ENC"), &encoded)
        }
        _ if name.starts_with("PART_ENTRY_") => line(&format!("ID_{name}"), &encoded),
        _ if name.ends_with("_SIZE") && name != "BLOCK_SIZE" && !name.starts_with("OCFS2") => {
            line(&format!("ID_IOLIMIT_{name}"), &encoded)
        }
        _ => line(&format!("ID_FS_{name}"), &encoded),
    }
}

/// Prints a table; a cell that is too wide takes space from the next.
fn list(out: &mut impl Write, entries: &[Entry], options: &PrintOptions) -> io::Result<()> {
    const NAME_WIDTH: usize = 11;
    /// Where the columns type, label and use end, counted from the end of the name.
    const ENDS: [usize; 3] = [8, 17, 32];
    let uses = Uses::of_this_machine();
    // As in util-linux, a reader of a pipe gets UTF-8 unchanged.
    let encode = ocfs2_cli::is_terminal();
    writeln!(out, "device     fs_type label    mount point    UUID")?;
    let width = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    writeln!(out, "{}", "-".repeat(width))?;
    for entry in entries.iter().filter(|entry| !entry.is_ambivalent()) {
        let tags = entry.tags(false);
        let text = |name: &str| {
            let tag = tags.iter().find(|tag| tag.name == name);
            let bytes = tag.map(|tag| tag.value.as_slice()).unwrap_or_default();
            if encode { options.safe(bytes, b"") } else { value(bytes) }
        };
        let name = &entry.name;
        if name.len() < NAME_WIDTH {
            write!(out, "{name:NAME_WIDTH$}")?;
        } else {
            write!(out, "{name}\n{:NAME_WIDTH$}", "")?;
        }
        let mut at = 0;
        for (cell, end) in [text("TYPE"), text("LABEL"), value(uses.of(entry))].iter().zip(ENDS) {
            let gap = end.saturating_sub(at + cell.len()).max(1);
            out.write_all(cell)?;
            write!(out, "{:gap$}", "")?;
            at += cell.len() + gap;
        }
        out.write_all(&text("UUID"))?;
        writeln!(out)?;
    }
    Ok(())
}

/// What devices are used for: the mount point or `<swap>`, by device.
struct Uses(HashMap<String, String>);

impl Uses {
    fn of_this_machine() -> Self {
        let mut uses = HashMap::new();
        for line in fs::read_to_string("/proc/mounts").unwrap_or_default().lines() {
            let mut words = line.split(' ').map(str::to_owned);
            if let (Some(device), Some(place)) = (words.next(), words.next()) {
                uses.entry(device).or_insert(place);
            }
        }
        for line in fs::read_to_string("/proc/swaps").unwrap_or_default().lines() {
            let device = line.split_whitespace().next().unwrap_or_default();
            uses.insert(device.to_owned(), "<swap>".to_owned());
        }
        Self(uses)
    }

    fn of(&self, entry: &Entry) -> String {
        self.0.get(&entry.name).cloned().unwrap_or_else(|| "(not mounted)".to_owned())
    }
}
