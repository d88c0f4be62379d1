//! Where a run was interrupted, for the next one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use ocfs2_cli::encode::{escaped, json_document, unescaped};
use ocfs2_cli::state_file;
use serde::{Deserialize, Serialize};

use crate::Cli;

/// The most bytes that are read of a record.
const MOST_BYTES: u64 = 1 << 20;

/// A run that is not complete. Paths are stored so that any bytes in them come back.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    targets: Vec<String>,
    verbose: bool,
    low_io: bool,
    threshold: u64,
    shared: bool,
    threads: u8,
    json: bool,
    /// The target that is not complete, by its index.
    target: usize,
    /// The last file of it that is done.
    after: Option<String>,
}

fn bytes_of(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    escaped(path.as_os_str().as_bytes())
}

fn path_of(text: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(std::ffi::OsString::from_vec(unescaped(text)?).into())
}

fn path() -> Option<PathBuf> {
    state_file("defragfs.json", MOST_BYTES)
}

impl Record {
    /// A run that goes on in the target with this index, after this file.
    pub(crate) fn new(cli: &Cli, target: usize, after: Option<&Path>) -> Self {
        Self {
            targets: cli.targets.iter().map(|target| bytes_of(target)).collect(),
            verbose: cli.verbose,
            low_io: cli.low_io,
            threshold: cli.threshold,
            shared: cli.shared,
            threads: cli.threads,
            json: cli.json,
            target,
            after: after.map(bytes_of),
        }
    }

    /// Stores it. Returns whether there is a place for it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn store(&self) -> io::Result<bool> {
        let Some(path) = path() else { return Ok(false) };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(json_document(self)?.as_bytes())?;
        file.persist(path).map_err(|err| err.error)?;
        Ok(true)
    }

    /// Removes what was stored: the run is complete.
    pub(crate) fn forget() {
        if let Some(path) = path() {
            let _ = fs::remove_file(path);
        }
    }

    /// Returns the command line of the run that was interrupted, the target in which it goes on, and
    /// after which file.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(crate) fn load() -> Result<(Cli, usize, Option<PathBuf>)> {
        let none = || anyhow!("no run was interrupted, so there is nothing to resume");
        let path = path().ok_or_else(none)?;
        let text = match fs::read_to_string(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(none()),
            text => text.with_context(|| ocfs2_cli::shown(&path))?,
        };
        let record: Self = serde_json::from_str(&text).with_context(|| ocfs2_cli::shown(&path))?;
        record.into_cli().with_context(|| format!("{}: a path is damaged", ocfs2_cli::shown(&path)))
    }

    fn into_cli(self) -> Option<(Cli, usize, Option<PathBuf>)> {
        let targets = self.targets.iter().map(|text| path_of(text)).collect::<Option<Vec<_>>>()?;
        let cli = Cli {
            count: false,
            dry_run: false,
            verbose: self.verbose,
            low_io: self.low_io,
            resume: true,
            threshold: self.threshold.clamp(Cli::LEAST_THRESHOLD, Cli::MOST_THRESHOLD),
            shared: self.shared,
            threads: self.threads.clamp(1, Cli::MOST_THREADS),
            offline: false,
            pack: false,
            undo_file: None,
            partition: None,
            progress: None,
            json: self.json,
            targets,
        };
        let after = match self.after {
            Some(text) => Some(path_of(&text)?),
            None => None,
        };
        Some((cli, self.target, after))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use clap::Parser;

    use super::*;

    #[test]
    fn any_path_comes_back() {
        let cli = Cli::parse_from(["x", "-l", "--threads", "3", "-t", "2M", "/mnt", "/a\\b\nc"]);
        let after = Path::new(OsStr::from_bytes(b"/mnt/\xff\\x41"));
        let text = serde_json::to_string(&Record::new(&cli, 1, Some(after))).unwrap();
        let record: Record = serde_json::from_str(&text).unwrap();
        let (again, target, place) = record.into_cli().unwrap();
        assert_eq!((target, place.as_deref()), (1, Some(after)));
        assert_eq!(again.targets, cli.targets);
        assert_eq!((again.low_io, again.threads, again.threshold), (true, 3, 2 << 20));
    }
}
