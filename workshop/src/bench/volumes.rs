//! The volumes that are checked. They are made once and kept in `target/bench`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ocfs2_testing::populate::{self, populate};
use ocfs2_testing::{Scratch, find_program};

use xtask::cargo;

/// A tree of files: folders below `/many`, files of 4 KiB in them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tree {
    /// Size of the volume in bytes.
    pub size_bytes: u64,
    pub files: u32,
    pub files_per_folder: u32,
    /// Whether directories have indexes.
    pub indexed: bool,
}

impl Tree {
    /// Returns a tree of these files, without directory indexes.
    pub const fn new(size_bytes: u64, files: u32, files_per_folder: u32) -> Self {
        Self { size_bytes, files, files_per_folder, indexed: false }
    }

    /// Returns the same tree with directory indexes, as volumes have them by default.
    pub const fn indexed(self) -> Self {
        Self { indexed: true, ..self }
    }

    /// Returns an OCFS2 volume of two slots with the tree.
    pub fn ocfs2(&self) -> Result<PathBuf> {
        let Self { files, files_per_folder, indexed, .. } = *self;
        let kind = if indexed { "ocfs2-indexed" } else { "ocfs2" };
        self.image(kind, |image| {
            populate(image, populate::Tree { files, files_per_folder, indexed, aged: false });
            Ok(())
        })
    }

    /// Returns an ext4 file system with the same tree.
    pub fn ext4(&self) -> Result<PathBuf> {
        self.image("ext4", |image| {
            let scratch = Scratch::new();
            let tree = scratch.join("tree");
            for (number, folder) in self.folders().enumerate() {
                let path = tree.join(format!("many/folder-{number:04}"));
                fs::create_dir_all(&path)?;
                for file in 0..folder {
                    fs::write(path.join(format!("file-{file:04}")), [1; 4096])?;
                }
            }
            let inodes = (self.files + self.files / 8).to_string();
            let mut mkfs = Command::new(program("mke2fs")?);
            run(mkfs.args(["-q", "-F", "-t", "ext4", "-N", &inodes, "-d"]).args([&tree, image]))
        })
    }

    /// Returns an XFS file system with the same tree.
    pub fn xfs(&self) -> Result<PathBuf> {
        self.image("xfs", |image| {
            let scratch = Scratch::new();
            let (contents, list) = (scratch.join("contents"), scratch.join("list"));
            fs::write(&contents, [1; 4096])?;
            let mut text = "/-\n0 0\nd--755 0 0\nmany d--755 0 0\n".to_owned();
            for (number, folder) in self.folders().enumerate() {
                writeln!(text, "folder-{number:04} d--755 0 0")?;
                for file in 0..folder {
                    writeln!(text, "file-{file:04} ---644 0 0 {}", contents.display())?;
                }
                text.push_str("$\n");
            }
            text.push_str("$\n$\n");
            fs::write(&list, text)?;
            run(Command::new(program("mkfs.xfs")?).args(["-q", "-f", "-p"]).args([&list, image]))
        })
    }

    /// Returns the number of files in each folder.
    fn folders(&self) -> impl Iterator<Item = u32> {
        let Self { files, files_per_folder, .. } = *self;
        let folders = files.div_ceil(files_per_folder);
        (0..folders).map(move |folder| files_per_folder.min(files - folder * files_per_folder))
    }

    fn image(&self, kind: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let Self { size_bytes, files, files_per_folder, .. } = self;
        let name = format!("{kind}-{size_bytes}-{files}-{files_per_folder}.img");
        cached(&name, *size_bytes, make)
    }
}

/// Returns the image of that name. If there is none yet, `make` makes it from a sparse file of
/// `size_bytes`.
pub fn cached(
    name: &str,
    size_bytes: u64,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = cargo::target_dir().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    eprintln!("making {name}");
    let unfinished = folder.join("unfinished");
    let file = File::create(&unfinished)?;
    file.set_len(size_bytes).context("a sparse image of this size")?;
    make(&unfinished)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// Returns the path of a program of this machine.
pub fn program(name: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("there is no {name} on this machine"))
}

/// Runs a program, which has to succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
