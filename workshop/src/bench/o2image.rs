//! o2image compared with the C program and e2image: metadata of many files, and everything in use.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ocfs2_testing::{allocated_bytes, c_tool};
use xtask::cargo;

use super::fsck::{AGED, Volume, prepare};
use super::volumes::{Tree, program};
use super::{Options, Row, table};

/// A volume to save.
struct Work {
    title: &'static str,
    volume: Volume,
    /// The same tree on ext4, for e2image.
    ext4: Option<Tree>,
    /// Whether the contents of files are saved too, which the C program cannot do.
    all: bool,
}

const SMALL: Tree = Tree::new(20 << 30, 10_000, 1000);
const MANY: Tree = Tree::new(20 << 30, 100_000, 1000);

const WORKS: [Work; 4] = [
    Work { title: "10,000 files", volume: Volume::Tree(SMALL), ext4: Some(SMALL), all: false },
    Work {
        title: "900,000 files that Linux made",
        volume: Volume::ByKernel(AGED),
        ext4: None,
        all: false,
    },
    Work {
        title: "100,000 files, all that is in use",
        volume: Volume::Tree(MANY),
        ext4: Some(MANY),
        all: true,
    },
    Work {
        title: "900,000 files that Linux made, all that is in use",
        volume: Volume::ByKernel(AGED),
        ext4: None,
        all: true,
    },
];

/// One program, its options and the image it saves.
struct Saver {
    row: Row,
    options: &'static [&'static str],
    from: PathBuf,
}

/// Measures and adds the tables; if `OCFS2_BENCH_SMALL` is set, only those of the first volume.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let count = if std::env::var_os("OCFS2_BENCH_SMALL").is_some() { 1 } else { WORKS.len() };
    for work in WORKS.iter().take(count) {
        let mut savers = savers(work, folder)?;
        eprintln!("o2image, {}, {} x", work.title, options.runs);
        // On a disk like the volumes, not in memory, where there may be too little room.
        let scratch = tempfile::tempdir_in(cargo::target_dir().join("bench"))?;
        for run in 0..options.runs.max(1) {
            // The C program takes minutes for many files.
            let is_slow = |saver: &Saver| saver.row.name.starts_with("C ") && work.ext4.is_none();
            for saver in savers.iter_mut().filter(|saver| run == 0 || !is_slow(saver)) {
                saver.run(&scratch.path().join("image"))?;
            }
        }
        let _ = write!(text, "\n## o2image, {}, from the disk\n\n", work.title);
        let rows: Vec<_> = savers.into_iter().map(|saver| saver.row).collect();
        text.push_str(&table(&rows));
        if work.ext4.is_none() && !work.all {
            text.push_str("\nThe C program ran once.\n");
        }
    }
    Ok(())
}

fn savers(work: &Work, folder: &Path) -> Result<Vec<Saver>> {
    let image = work.volume.ocfs2(folder)?;
    let new = |name, program: &Path, options, from: &Path| Saver {
        row: Row::new(name, program),
        options,
        from: from.to_owned(),
    };
    let ours = folder.join("o2image");
    let mut savers = Vec::new();
    if work.all {
        savers.push(new("ours, -r -a", &ours, &["-q", "-r", "-a"], &image));
    } else {
        let theirs = c_tool("o2image").context("there is no C o2image to compare with")?;
        savers.push(new("ours, -r", &ours, &["-q", "-r"], &image));
        savers.push(new("ours, packed", &ours, &["-q"], &image));
        // Whole journals and free blocks, as the C program saves them.
        let as_c: &[_] = &["-q", "-r", "-A", "--journals", "--free"];
        savers.push(new("ours, as C", &ours, as_c, &image));
        savers.push(new("C 1.8, -r", &theirs, &["-r"], &image));
        savers.push(new("C 1.8, packed", &theirs, &[], &image));
    }
    if let Some(tree) = work.ext4 {
        let (e2image, ext4) = (program("e2image")?, tree.ext4()?);
        let (name, options): (_, &[_]) = match work.all {
            true => ("e2image -r -a, ext4", &["-r", "-a"]),
            false => ("e2image -r, ext4", &["-r"]),
        };
        savers.push(new(name, &e2image, options, &ext4));
    }
    if work.all {
        // The cost of reading and writing everything that is not a hole.
        let copy = program("cp")?;
        savers.push(new("cp --sparse=always", &copy, &["--sparse=always"], &image));
        // The cost of reading it raw, as from a device, which shows no holes.
        let raw = &["-c", "dd if=\"$1\" of=/dev/null bs=1M status=none", "dd"];
        savers.push(new("dd to /dev/null", &program("sh")?, raw, &image));
    }
    Ok(savers)
}

impl Saver {
    /// Saves once, from disk to disk.
    fn run(&mut self, to: &Path) -> Result<()> {
        prepare(&self.from, true)?;
        let mut words: Vec<OsString> = self.options.iter().map(OsString::from).collect();
        words.extend([self.from.clone().into_os_string(), to.to_owned().into_os_string()]);
        let words: Vec<_> = words.iter().map(OsString::as_os_str).collect();
        self.row.run_to(&[0], &words)?;
        if to.exists() {
            self.row.allocated_bytes = allocated_bytes(to);
            fs::remove_file(to)?;
        }
        Ok(())
    }
}
