//! Losses as they are shown.

use std::fmt::Write;
use std::ops::Range;

use ocfs2_format::dinode::FileKind;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use serde::Serialize;

use super::path::ShownPath;
use crate::losses::Loss;

/// The most ranges, and the most names of attributes, that are listed for a file.
const TOLD: usize = 1000;
/// The same in a line of text.
const TOLD_IN_TEXT: usize = 8;

/// What a file has lost, or what may be wrong in it.
#[derive(Debug, Serialize)]
pub(crate) struct LossRecord {
    pub inode: u64,
    pub file_type: Option<&'static str>,
    /// The path before the repairs.
    pub path: Option<ShownPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_escaped: Option<String>,
    /// The directory it was in, if only that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was_in: Option<ShownPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was_in_escaped: Option<String>,
    /// The path after the repairs.
    pub new_path: Option<ShownPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_path_escaped: Option<String>,
    /// The kinds of losses.
    pub lost: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<ContentsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<AttributesRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeRecord>,
    /// The slot of a journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// Why it may be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<&'static str>,
}

/// Lost contents.
#[derive(Debug, Serialize)]
pub(crate) struct ContentsRecord {
    pub ranges: Vec<RangeRecord>,
    /// The number of further ranges.
    pub ranges_left_off: u64,
    pub bytes: u64,
    pub of_bytes: u64,
}

/// A byte range of a file; `end` is excluded.
#[derive(Debug, Serialize)]
pub(crate) struct RangeRecord {
    pub start: u64,
    pub end: u64,
}

/// Lost attributes.
#[derive(Debug, Serialize)]
pub(crate) struct AttributesRecord {
    pub names: Vec<ShownPath>,
    /// There were more, with unknown names or too many to be listed.
    pub others: bool,
}

/// A size that was corrected.
#[derive(Debug, Serialize)]
pub(crate) struct SizeRecord {
    pub was: u64,
    pub is: u64,
}

impl LossRecord {
    pub fn new(loss: &Loss) -> Self {
        let shown = |path: &Option<Vec<u8>>| path.as_deref().map(ShownPath::new);
        let escaped = |path: &Option<ShownPath>| path.as_ref().and_then(ShownPath::escaped);
        let (path, was_in, new_path) = (shown(&loss.path), shown(&loss.was_in), shown(&loss.now));
        let lost = [
            (loss.is_gone, "file"),
            (loss.name, "name"),
            (loss.contents.is_some(), "contents"),
            (loss.attributes.is_some(), "attributes"),
            (loss.names, "names"),
            (loss.is_guessed, "type"),
            (loss.journal.is_some(), "journal"),
            (loss.superblock, "superblock"),
        ];
        Self {
            inode: loss.inode.0,
            file_type: loss.kind.map(kind_name),
            path_escaped: escaped(&path),
            was_in_escaped: escaped(&was_in),
            new_path_escaped: escaped(&new_path),
            path,
            was_in,
            new_path,
            lost: lost.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect(),
            contents: loss.contents.as_ref().map(|gone| ContentsRecord {
                ranges: gone.ranges.iter().take(TOLD).map(RangeRecord::new).collect(),
                ranges_left_off: gone.ranges.len().saturating_sub(TOLD) as u64,
                bytes: gone.bytes,
                of_bytes: gone.size,
            }),
            attributes: loss.attributes.as_ref().map(|gone| AttributesRecord {
                names: gone.names.iter().take(TOLD).map(|name| ShownPath::new(name)).collect(),
                others: gone.others || gone.names.len() > TOLD,
            }),
            size: loss.size.map(|(was, is)| SizeRecord { was, is }),
            slot: loss.journal,
            doubt: loss.doubt.map(crate::losses::Doubt::text),
        }
    }

    /// Whether something is known to be gone, rather than possibly wrong.
    pub fn is_certain(&self) -> bool {
        !self.lost.is_empty()
    }

    /// The text, on one line.
    pub fn text(&self) -> String {
        if let Some(slot) = self.slot {
            return format!(
                "the journal of slot {slot}: what its node wrote last is gone, and nothing shows \
                 which files that was about"
            );
        }
        if self.lost.contains(&"superblock") {
            return "the superblock: the label, the name of the cluster and the seed of the indexes \
                    are gone; tunefs.ocfs2 -L sets the label, and where the cluster is online \
                    --update-cluster-stack its name"
                .to_owned();
        }
        let mut text = match (&self.path, &self.was_in) {
            _ if self.inode == SUPERBLOCK_BLKNO.0 => "the superblock".to_owned(),
            (Some(path), _) => path.text(),
            (None, Some(dir)) => format!("inode {}, which was in {}", self.inode, dir.text()),
            (None, None) => format!("inode {}, whose name is not known", self.inode),
        };
        let parts = self.parts();
        let _ = write!(text, ": {}", parts.join("; "));
        match &self.new_path {
            Some(now) if Some(now) != self.path.as_ref() => {
                let _ = write!(text, "; it is {} now", now.text());
            }
            _ => {}
        }
        text
    }

    fn parts(&self) -> Vec<String> {
        let mut parts = Vec::new();
        for what in &self.lost {
            match *what {
                "file" => parts.push("all of it is gone".to_owned()),
                "name" => parts.push("its name is gone".to_owned()),
                "names" => parts.push("names in it are gone that are not known".to_owned()),
                "type" => parts.push("its type was lost and guessed".to_owned()),
                _ => {}
            }
        }
        parts.extend(self.contents.as_ref().map(ContentsRecord::text));
        parts.extend(self.attributes.as_ref().map(AttributesRecord::text));
        let size = |size: &SizeRecord| {
            format!("its size was {} and is {}, as far as can be told", size.was, size.is)
        };
        parts.extend(self.size.as_ref().map(size));
        parts.extend(self.doubt.map(|doubt| format!("it may be wrong: {doubt}")));
        parts
    }
}

impl RangeRecord {
    fn new(range: &Range<u64>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl ContentsRecord {
    fn text(&self) -> String {
        let Self { bytes, of_bytes, .. } = self;
        if bytes == of_bytes {
            return format!("all its {bytes} bytes are gone");
        }
        if self.ranges.is_empty() {
            return format!("{bytes} of its {of_bytes} bytes are gone, it is not known which");
        }
        let ranges = self.ranges.iter().take(TOLD_IN_TEXT);
        let ranges = ranges.map(|it| format!("{} to {}", it.start, it.end.saturating_sub(1)));
        let more = if self.ranges.len() > TOLD_IN_TEXT { " and more" } else { "" };
        let ranges = ranges.collect::<Vec<_>>().join(", ");
        format!("bytes {ranges}{more} are gone, {bytes} of {of_bytes}")
    }
}

impl AttributesRecord {
    fn text(&self) -> String {
        if self.names.is_empty() {
            return "attributes are gone whose names are not known".to_owned();
        }
        let names = self.names.iter().take(TOLD_IN_TEXT).map(ShownPath::text);
        let names = names.collect::<Vec<_>>().join(", ");
        let more = self.others || self.names.len() > TOLD_IN_TEXT;
        let more = if more { " and others" } else { "" };
        format!("attributes {names}{more} are gone")
    }
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::CharDevice => "char-device",
        FileKind::BlockDevice => "block-device",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
    }
}
