//! fsck.ocfs2 on sound volumes, and what other programs need for the same files.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{Advice, fadvise};

use super::by_kernel::Contents;
use super::volumes::{Tree, program};
use super::{Options, Row, programs, raw, table};

/// The maker of a volume, and its contents.
#[derive(Clone, Copy)]
pub enum Volume {
    /// The library of our mkfs.
    Tree(Tree),
    /// The kernel.
    ByKernel(Contents),
}

impl Volume {
    /// Returns the image of the volume. `folder` has the programs.
    pub fn ocfs2(self, folder: &Path) -> Result<PathBuf> {
        match self {
            Self::Tree(tree) => tree.ocfs2(),
            Self::ByKernel(contents) => contents.ocfs2(folder),
        }
    }
}

/// A volume to check.
struct Work {
    title: &'static str,
    volume: Volume,
    /// The same tree for the checkers of other file systems, if they are measured.
    others: Option<Tree>,
    /// Whether the C tool runs only once because it takes half a minute.
    once: bool,
}

/// The tree on which the checkers of other file systems are measured as well.
pub const MANY: Tree = Tree::new(20 << 30, 1_000_000, 1000);

/// A volume that has been used for some time.
pub const AGED: Contents = Contents::Aged(1_000_000);

const WORKS: [Work; 11] = [
    Work::new("an almost empty volume of 4 GiB", Tree::new(4 << 30, 0, 1)),
    Work::new("10,000 files", Tree::new(20 << 30, 10_000, 1000)),
    Work::new("100,000 files", Tree::new(20 << 30, 100_000, 1000)),
    Work { others: Some(MANY), ..Work::new("1,000,000 files", MANY) },
    Work::by_kernel("900,000 names, made by Linux", AGED),
    Work::new("100,000 files in 10,000 directories", Tree::new(20 << 30, 100_000, 10)),
    Work::new("500,000 files in one directory", Tree::new(20 << 30, 500_000, 500_000)),
    Work::new(
        "100,000 files in 10,000 indexed directories",
        Tree::new(20 << 30, 100_000, 10).indexed(),
    ),
    Work::new(
        "500,000 files in one indexed directory",
        Tree::new(20 << 30, 500_000, 500_000).indexed(),
    ),
    Work::by_kernel("a disk of 20 GiB in 160,000 pieces, and two clones", Contents::Disk(20)),
    Work { once: true, ..Work::new("an empty volume of 15 TiB", Tree::new(15 << 40, 0, 1)) },
];

impl Work {
    const fn new(title: &'static str, tree: Tree) -> Self {
        Self { title, volume: Volume::Tree(tree), others: None, once: false }
    }

    const fn by_kernel(title: &'static str, contents: Contents) -> Self {
        Self { title, volume: Volume::ByKernel(contents), others: None, once: false }
    }
}

/// A program, its arguments, and the image that it checks.
pub struct Subject {
    pub row: Row,
    pub arguments: Vec<PathBuf>,
    pub image: PathBuf,
}

impl Subject {
    fn new(row: Row, arguments: &[&str], image: &Path, device: &Path) -> Self {
        let arguments = arguments.iter().map(PathBuf::from).chain([device.to_owned()]);
        Self { row, arguments: arguments.collect(), image: image.to_owned() }
    }

    /// Runs it once.
    pub fn run(&mut self) -> Result<()> {
        let arguments = &self.arguments;
        self.row.run(|command| command.args(arguments))
    }
}

/// Returns our program and the C tool on a volume, and a program that only reads its bytes.
/// `device` returns where an image can be read.
pub fn subjects(
    folder: &Path,
    image: &Path,
    device: impl Fn(&Path) -> PathBuf,
) -> Result<Vec<Subject>> {
    let at = device(image);
    let rows = programs(folder, "fsck.ocfs2")?;
    let mut subjects: Vec<_> =
        rows.into_iter().map(|row| Subject::new(row, &["-fn"], image, &at)).collect();
    let reader = Row::new("raw read", &std::env::current_exe()?);
    let of = image.display().to_string();
    subjects.push(Subject::new(reader, &["raw-read", &of], image, &at));
    Ok(subjects)
}

/// Returns the checkers of other file systems on the same tree.
pub fn others(tree: &Tree, device: impl Fn(&Path) -> PathBuf) -> Result<Vec<Subject>> {
    let (ext4, xfs) = (tree.ext4()?, tree.xfs()?);
    let e2fsck = Row::new("e2fsck, ext4", &program("e2fsck")?);
    let xfs_repair = Row::new("xfs_repair, XFS", &program("xfs_repair")?);
    Ok(vec![
        Subject::new(e2fsck, &["-fn"], &ext4, &device(&ext4)),
        Subject::new(xfs_repair, &["-n", "-f"], &xfs, &device(&xfs)),
    ])
}

/// Makes all volumes that do not exist yet.
pub fn prepare_all(folder: &Path) -> Result<()> {
    for work in &WORKS {
        work.volume.ocfs2(folder)?;
        if let Some(tree) = &work.others {
            tree.ext4()?;
            tree.xfs()?;
        }
    }
    Ok(())
}

/// Measures and adds the tables.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let _ = writeln!(
        text,
        "\nCold means that nothing of the image is in the page cache. The raw read is that of all\n\
         bytes that are allocated in the image, which is its metadata, with {} reads of at most\n\
         1 MiB in flight, past the page cache.",
        raw::DEPTH
    );
    for work in &WORKS {
        let image = work.volume.ocfs2(folder)?;
        for cold in [true, false] {
            let state = if cold { "cold" } else { "warm" };
            let runs = options.runs.max(1);
            eprintln!("fsck.ocfs2 -fn, {}, {state}, {runs} x", work.title);
            let mut subjects = subjects(folder, &image, Path::to_owned)?;
            if let Some(tree) = &work.others {
                subjects.extend(others(tree, Path::to_owned)?);
            }
            if !cold {
                // It reads past the cache.
                subjects.retain(|subject| subject.row.name != "raw read");
            }
            for turn in 0..runs {
                for subject in &mut subjects {
                    if turn > 0 && work.once && subject.row.name == "C 1.8" {
                        continue;
                    }
                    prepare(&subject.image, cold)?;
                    subject.run()?;
                }
            }
            let _ = write!(text, "\n## fsck.ocfs2 -fn, {}, {state} cache\n\n", work.title);
            text.push_str(if work.once { "One run of the C tool.\n\n" } else { "" });
            let rows: Vec<_> = subjects.into_iter().map(|subject| subject.row).collect();
            text.push_str(&table(&rows));
        }
    }
    threads(options, folder, text)
}

/// Measures what more threads gain if the volume is in the page cache.
fn threads(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let image = AGED.ocfs2(folder)?;
    let [ours, _] = programs(folder, "fsck.ocfs2")?;
    let counts = [("1 thread", "1"), ("2 threads", "2"), ("8 threads", "8"), ("16 threads", "16")];
    let mut rows = counts.map(|(name, _)| Row::new(name, &ours.program));
    eprintln!("fsck.ocfs2 -fn --threads, {} x", options.runs);
    for _ in 0..options.runs.max(1) {
        for (row, (_, count)) in rows.iter_mut().zip(counts) {
            prepare(&image, false)?;
            row.run(|command| command.args(["-fn", "--threads", count]).arg(&image))?;
        }
    }
    let _ = write!(text, "\n## fsck.ocfs2 -fn --threads, the volume Linux made, warm cache\n\n");
    text.push_str(&table(&rows));
    Ok(())
}

/// Makes sure that the image is in the page cache, or is not if `cold`.
pub fn prepare(image: &Path, cold: bool) -> Result<()> {
    let file = File::open(image)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    if !cold {
        raw::into_cache(image)?;
    }
    Ok(())
}
