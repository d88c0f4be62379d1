//! What was found on a volume, and done.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ocfs2_cli::encode::{json_path, json_path_escaped};
use ocfs2_cli::{human_size, shown};
use ocfs2_format::Blkno;
use ocfs2_volume::Volume;
use ocfs2_volume::allocator::FreeMap;
use serde::Serialize;

use super::arrange::{Census, Found};
use crate::Cli;

/// Number of files with most pieces that `-c` shows.
const WORST: usize = 5;

/// How free space lies.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Free {
    clusters: u64,
    bytes: u64,
    runs: usize,
    longest_bytes: u64,
    /// By the power of two of their size: at least so many bytes, less than twice as many.
    by_size: Vec<Row>,
}

/// Free runs of about one size.
#[derive(Clone, Debug, Serialize)]
struct Row {
    bytes_from: u64,
    runs: u64,
    bytes: u64,
}

impl Free {
    /// # Errors
    /// The global bitmap is damaged.
    pub fn of(volume: &Volume) -> Result<Self> {
        let (map, bits) = (FreeMap::of(volume)?, volume.geometry().cluster_size.bits());
        let rows = map.by_size().into_iter().map(|(power, (runs, clusters))| Row {
            bytes_from: 1 << (power + bits),
            runs,
            bytes: clusters << bits,
        });
        Ok(Self {
            clusters: map.clusters(),
            bytes: map.clusters() << bits,
            runs: map.runs(),
            longest_bytes: u64::from(map.longest()) << bits,
            by_size: rows.collect(),
        })
    }

    fn text(&self) -> String {
        let (all, longest) = (human_size(self.bytes), human_size(self.longest_bytes));
        let (runs, s) = (self.runs, if self.runs == 1 { "" } else { "s" });
        format!("{all} in {runs} run{s}, the longest {longest}")
    }
}

/// A file or directory that had more pieces than necessary.
#[derive(Debug, Serialize)]
struct Named {
    /// Its path on the volume; `None` if it has no name.
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_escaped: Option<String>,
    inode: u64,
    is_directory: bool,
    pieces_before: usize,
    pieces_after: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip)]
    text: String,
}

impl Named {
    fn new(found: &Found, path: Option<&PathBuf>) -> Self {
        Self {
            path: path.map(|path| json_path(path)),
            path_escaped: path.and_then(|path| json_path_escaped(path)),
            inode: found.blkno.0,
            is_directory: found.is_dir,
            pieces_before: found.before,
            pieces_after: found.after,
            problem: found.problem.clone(),
            text: path.map_or_else(|| format!("inode {}", found.blkno), shown),
        }
    }
}

/// What a run has found and done.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    files: u64,
    directories: u64,
    /// Those of both with more pieces than necessary, before.
    fragmented: usize,
    /// Files of which something stays, as other files may use it, too.
    shared: u64,
    /// Pieces of all files and directories.
    pieces_before: u64,
    pieces_after: u64,
    moved_bytes: u64,
    free_before: Free,
    free_after: Free,
    /// Those with more pieces than necessary, those with most first.
    found: Vec<Named>,
}

impl Report {
    /// # Errors
    /// The names of files cannot be read.
    pub fn new(volume: &Volume, census: &Census, moved: u64, before: Free) -> Result<Self> {
        let names = names(volume, &census.found)?;
        let gone: u64 =
            census.found.iter().map(|it| it.before.saturating_sub(it.after) as u64).sum();
        let found = census.found.iter().map(|it| Named::new(it, names.get(&it.blkno)));
        Ok(Self {
            files: census.files,
            directories: census.directories,
            fragmented: census.found.len(),
            shared: census.shared,
            pieces_before: census.pieces,
            pieces_after: census.pieces.saturating_sub(gone),
            moved_bytes: moved << volume.geometry().cluster_size.bits(),
            free_before: before,
            free_after: Free::of(volume)?,
            found: found.collect(),
        })
    }

    /// Whether nothing failed.
    pub fn is_good(&self) -> bool {
        self.found.iter().all(|found| found.problem.is_none())
    }

    /// Prints it, the counts first as the C tool does.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(&self, cli: &Cli, device: &Path, out: &mut impl Write) -> io::Result<()> {
        let Self { files, directories, fragmented, pieces_before, pieces_after, shared, .. } = self;
        if cli.count {
            writeln!(out, "{fragmented:8} files should be defraged in [{}]", shown(device))?;
            writeln!(
                out,
                "{files} files and {directories} directories have {pieces_before} pieces; {shared} \
                 files share contents, which stay where they are"
            )?;
            for found in self.found.iter().take(WORST) {
                writeln!(out, "{:8} pieces: {}", found.pieces_before, found.text)?;
            }
            writeln!(out, "Free: {}", self.free_before.text())?;
            for Row { bytes_from, runs, bytes } in &self.free_before.by_size {
                let (from, bytes) = (human_size(*bytes_from), human_size(*bytes));
                writeln!(out, "{runs:8} runs from {from}: {bytes}")?;
            }
            return Ok(());
        }
        for Named { text, pieces_before, pieces_after, problem, .. } in &self.found {
            match problem {
                Some(problem) => writeln!(out, "{text}: {pieces_before} pieces: {problem}")?,
                None if cli.verbose => {
                    writeln!(out, "{text}: {pieces_before} pieces, now {pieces_after}")?;
                }
                None => {}
            }
        }
        let then = if cli.dry_run { "would have" } else { "have" };
        writeln!(
            out,
            "{files} files and {directories} directories had {pieces_before} pieces and {then} \
             {pieces_after}; {} moved",
            human_size(self.moved_bytes)
        )?;
        let (before, after) = (self.free_before.text(), self.free_after.text());
        writeln!(out, "Free before: {before}\nFree after:  {after}")?;
        if cli.dry_run { writeln!(out, "Nothing was changed") } else { Ok(()) }
    }
}

/// A path for each inode that was found.
fn names(volume: &Volume, found: &[Found]) -> Result<BTreeMap<Blkno, PathBuf>> {
    let mut wanted: BTreeSet<_> = found.iter().map(|found| found.blkno).collect();
    let (root, mut names) = (volume.root()?, BTreeMap::new());
    if wanted.remove(&root.blkno) {
        names.insert(root.blkno, PathBuf::from("/"));
    }
    if wanted.is_empty() {
        return Ok(names);
    }
    for entry in volume.walk(&root)? {
        let entry = entry?;
        if wanted.remove(&entry.inode.blkno) {
            let path = Path::new("/").join(OsStr::from_bytes(&entry.path));
            names.insert(entry.inode.blkno, path);
        }
        if wanted.is_empty() {
            break;
        }
    }
    Ok(names)
}
