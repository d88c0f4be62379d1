//! Completion of a word of a line that is being typed: commands, paths, fields.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ocfs2_cli::encode::escaped;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dir::FileType;
use ocfs2_format::extent::ExtentRec;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_format::refcount::RefcountRec;
use ocfs2_format::superblock::SuperBlock;
use ocfs2_format::xattr::XattrEntry;
use ocfs2_format::{Field, Structure};
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::commands::{self, COMMANDS};
use crate::paths::Start;
use crate::show::fields::{STRUCTURES, places};
use crate::show::parts::parts;
use crate::volume::{Entry, Fs};
use crate::words::last_word;

/// The most names of a directory that are looked at, so that a key press does not take minutes.
const MOST_READ: usize = 100_000;
/// The most candidates that are offered.
const MOST: usize = 1000;

/// What words are completed from: the state when the prompt was shown.
#[derive(Default)]
pub struct Known {
    fs: Option<Fs>,
    start: Start,
}

impl Known {
    /// The open volume, and where paths begin on it.
    pub fn new(fs: Option<&Fs>, start: Start) -> Self {
        Self { fs: fs.map(Fs::again), start }
    }
}

/// Completes words for the line editor.
#[derive(Default)]
pub struct Completion {
    /// What to complete from.
    pub known: Known,
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, mut found) = self.known.candidates(line.get(..pos).unwrap_or(line).as_bytes());
        found.sort_unstable();
        found.dedup();
        found.truncate(MOST);
        let pair = |Candidate { text, is_whole }: Candidate| Pair {
            replacement: if is_whole { format!("{text} ") } else { text.clone() },
            display: text,
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

/// A possible word.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Candidate {
    text: String,
    /// Whether the word is complete.
    is_whole: bool,
}

fn whole(text: impl Into<String>) -> Candidate {
    Candidate { text: text.into(), is_whole: true }
}

/// A word as it has to be typed, whatever bytes it has; `None` if it cannot be typed.
fn typed(word: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| matches!(byte, b'!'..=b'~') && !b"'\"\\".contains(byte);
    if word.iter().all(is_plain) {
        return Some(escaped(word));
    }
    let has_quote = word.contains(&b'"');
    (!has_quote).then(|| format!("\"{}\"", escaped(word)))
}

impl Known {
    /// The offset of the last word of a line, and the words it may become.
    fn candidates(&self, line: &[u8]) -> (usize, Vec<Candidate>) {
        let (start, word, before) = last_word(line);
        let Some((name, arguments)) = before.split_first() else {
            return (start, command_names(&word));
        };
        let Some(command) = commands::find(&ocfs2_cli::terminal(name)) else {
            return (start, Vec::new());
        };
        let (kinds, valued) = kinds_of(command.arguments);
        // Options and their values do not count as places; the last place stands for all further
        // words.
        let (mut place, mut words) = (0, arguments.iter());
        while let Some(word) = words.next() {
            if valued.iter().any(|option| option.as_bytes() == word.as_slice()) {
                words.next();
            } else if !word.starts_with(b"-") {
                place += 1;
            }
        }
        let kind = kinds.get(place).or(kinds.last().filter(|kind| kind.ends_with("...")));
        let kind = kind.copied().unwrap_or_default();
        let found = match kind.trim_matches(['[', ']', '<', '>', '.']) {
            "filespec" | "new" => self.paths(&word),
            "filespec>.<field" | "filespec>[.field" => self.paths_and_fields(&word),
            "field" => fields_of(name, &word),
            "structure" => structures(&word),
            "command" => command_names(&word),
            "file" | "outfile" | "outdir" | "device" | "directory" | "infile" => local(&word),
            kinds => {
                let words = kinds.split('|').filter(|_| kinds.contains('|'));
                words.filter(|kind| kind.as_bytes().starts_with(&word)).map(whole).collect()
            }
        };
        (start, found)
    }

    /// The paths whose last component begins like that of `word`.
    fn paths(&self, word: &[u8]) -> Vec<Candidate> {
        let slash = word.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let (dir, name) = word.split_at(slash);
        let mut found = Vec::new();
        let Some(fs) = &self.fs else { return found };
        let at = if dir.is_empty() { Ok(self.start.cwd) } else { self.dir(fs, dir) };
        let Ok(inode) = at.and_then(|at| fs.inode(at)) else { return found };
        let mut read = 0;
        // Of a damaged directory the readable part is offered.
        let _ = fs.dir_blocks::<crate::error::Problem>(&inode, |block| {
            for entry in block.entries().filter(|entry| is_meant(entry, name)) {
                let is_dir = FileType::from_code(entry.file_type) == Some(FileType::Directory);
                let path = [dir, &entry.name].concat();
                let Some(text) = typed(&path) else { continue };
                found.push(match is_dir && !text.starts_with('"') {
                    true => Candidate { text: format!("{text}/"), is_whole: false },
                    false => whole(text),
                });
            }
            read += block.entries().count();
            Ok(read < MOST_READ && found.len() < MOST)
        });
        found
    }

    /// The directory of a path that ends with a slash; a final link is followed.
    fn dir(&self, fs: &Fs, dir: &[u8]) -> Result<ocfs2_format::Blkno, crate::error::Problem> {
        match dir {
            b"/" | b"//" => self.start.find(fs, dir),
            _ => self.start.find(fs, &[dir, b"."].concat()),
        }
    }

    /// Paths, and the fields of an inode after a dot.
    fn paths_and_fields(&self, word: &[u8]) -> Vec<Candidate> {
        let mut found = self.paths(word);
        let dots = word.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        for (dot, _) in dots {
            let (Some(fs), Some((file, field))) = (&self.fs, word.split_at_checked(dot)) else {
                break;
            };
            let Ok(block) = self.start.find(fs, file).and_then(|blkno| fs.block(blkno)) else {
                continue;
            };
            let field = field.get(1..).unwrap_or_default();
            for place in places(&block, &parts(&block)) {
                if !place.name.as_bytes().starts_with(field) {
                    continue;
                }
                let path = [file, b".", place.name.as_bytes()].concat();
                found.extend(typed(&path).map(whole));
            }
        }
        found
    }
}

/// The kinds of the words after a command, and its options with a value, parsed from its help.
fn kinds_of(arguments: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut kinds, mut valued) = (Vec::new(), Vec::new());
    let mut parts = arguments.split(' ').filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        let Some(option) = part.strip_prefix('[').filter(|it| it.starts_with('-')) else {
            kinds.push(part);
            continue;
        };
        if part.ends_with(']') || part.ends_with("]...") {
            continue;
        }
        let value = parts.next();
        // `[--direct [-r]]` are two options without a value.
        if value.is_some_and(|value| !value.starts_with("[-")) {
            valued.push(option);
        }
    }
    (kinds, valued)
}

/// Whether the name of an entry begins so; `.` and `..` only if a dot was typed.
fn is_meant(entry: &Entry, name: &[u8]) -> bool {
    entry.name.starts_with(name) && (!entry.is_dot() || name.starts_with(b"."))
}

fn command_names(word: &[u8]) -> Vec<Candidate> {
    let names = COMMANDS.iter().flat_map(|command| command.names).chain(&["quit", "q"]);
    names.filter(|name| name.as_bytes().starts_with(word)).map(|name| whole(*name)).collect()
}

fn structures(word: &[u8]) -> Vec<Candidate> {
    let names = STRUCTURES.iter().map(|structure| structure.name.replace(' ', "_"));
    names.filter(|name| name.as_bytes().starts_with(word)).map(whole).collect()
}

/// The fields that a command sets, with and without their common prefix.
fn fields_of(command: &[u8], word: &[u8]) -> Vec<Candidate> {
    let (fields, prefix): (&[Field], _) = match command {
        b"set_inode_field" | b"sif" => (Dinode::FIELDS, "i_"),
        b"set_group" | b"set_block_group" | b"set_bg" => (GroupDesc::FIELDS, "bg_"),
        b"set_extent" => (ExtentRec::FIELDS, "e_"),
        b"set_refcount" => (RefcountRec::FIELDS, "r_"),
        b"set_xattr_field" => (XattrEntry::FIELDS, "xe_"),
        b"set_super_value" | b"ssv" => (SuperBlock::FIELDS, "s_"),
        b"set_journal" => (JournalSuperblock::FIELDS, "s_"),
        b"set_quota" => {
            let names = ["bsoftlimit", "bhardlimit", "isoftlimit", "ihardlimit", "btime", "itime"];
            let names = names.into_iter().filter(|name| name.as_bytes().starts_with(word));
            return names.map(whole).collect();
        }
        _ => return Vec::new(),
    };
    let names = fields.iter().map(|field| match word.starts_with(prefix.as_bytes()) {
        true => field.name,
        false => field.name.strip_prefix(prefix).unwrap_or(field.name),
    });
    names.filter(|name| name.as_bytes().starts_with(word)).map(whole).collect()
}

/// Files of this machine.
fn local(word: &[u8]) -> Vec<Candidate> {
    let slash = word.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let (dir, name) = word.split_at(slash);
    let folder = match dir {
        b"" => PathBuf::from("."),
        dir => Path::new(std::ffi::OsStr::from_bytes(dir)).to_owned(),
    };
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let entries = entries.take(MOST_READ).filter(|it| it.file_name().as_bytes().starts_with(name));
    let found = entries.filter_map(|entry| {
        let path = [dir, entry.file_name().as_bytes()].concat();
        let is_dir = entry.file_type().is_ok_and(|it| it.is_dir());
        typed(&path).map(|text| match is_dir && !text.starts_with('"') {
            true => Candidate { text: format!("{text}/"), is_whole: false },
            false => whole(text),
        })
    });
    found.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        let (_, found) = Known::default().candidates(line.as_bytes());
        found.into_iter().map(|candidate| candidate.text).collect()
    }

    #[test]
    fn what_is_not_on_the_volume_is_completed_without_one() {
        assert_eq!(of("slo"), ["slotmap"]);
        assert!(of("").len() > 90 && of("nothing ").is_empty() && of("cat /").is_empty());
        assert_eq!(of("help logc"), ["logclear"]);
        assert_eq!(of("fields dx_l"), ["dx_leaf"]);
        assert_eq!(of("sif /file size"), ["size"]);
        assert_eq!(of("sif -n /file i_siz"), ["i_size"]);
        assert_eq!(of("ssv lab"), ["label"]);
        assert_eq!(of("set_extent /file 0 b"), ["blkno"]);
        assert_eq!(of("set_quota u"), ["user"]);
        assert_eq!(of("set_quota user 7 bs"), ["bsoftlimit"]);
        assert!(of("lcd /pro").contains(&"/proc/".to_owned()));
    }

    #[test]
    fn options_have_no_place_of_their_own() {
        let of = |name: &str| kinds_of(commands::find(name).unwrap().arguments);
        assert_eq!(of("print"), (vec!["<filespec>[.field]"], vec!["-t"]));
        assert_eq!(of("setb"), (vec!["<cluster>", "[count]"], vec![]));
        assert_eq!(of("ls"), (vec!["<filespec>"], vec![]));
        assert_eq!(of("jw").0, ["<slot#>", "[<block#>", "<file>]"]);
    }

    #[test]
    fn a_name_is_offered_as_it_has_to_be_typed() {
        for name in ["plain", "with blank", "back\\slash", "it's", "\u{e4}\n", "a\tb"] {
            let text = typed(name.as_bytes()).unwrap();
            assert_eq!(crate::words::words(text.as_bytes()), [name.as_bytes()], "{text}");
        }
    }
}
