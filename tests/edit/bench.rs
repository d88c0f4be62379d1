//! A volume to change, and its judges.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocfs2_device::{Device, DeviceOptions, open};
use ocfs2_format::Blkno;
use ocfs2_testing::{Run, Scratch, oracle, program};
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::{Timestamp, Volume, VolumeOptions};

/// Number of empty files in the root directory of a new volume.
pub const EMPTY_FILES: usize = 4;

/// A volume that tests change.
pub struct Bench {
    path: PathBuf,
    device: Arc<dyn Device>,
    /// What the C fsck found before any change.
    known: BTreeSet<String>,
    _scratch: Scratch,
}

/// Returns what the C fsck finds. Its exit status does not show it: with `-n` it is 0.
pub fn found_by_c(path: &Path) -> BTreeSet<String> {
    let Some(fsck) = oracle("fsck.ocfs2") else { return BTreeSet::new() };
    let said = Run::new(fsck).arg("-fn").arg(path).output();
    // It knows only the hash of signed bytes in names, and for the second value of a bucket whose
    // tree has extent blocks it expects the depth that it found below the first. Without sparse
    // files it states the size of one file for others.
    let known = ["[XATTR_HASH_INVALID]", "[EXTENT_LIST_DEPTH]", "[INODE_SPARSE_SIZE]"];
    let lines = said.stdout.lines().chain(said.stderr.lines());
    let found = lines.filter(|line| line.starts_with('['));
    found.filter(|line| !known.iter().any(|it| line.starts_with(it))).map(str::to_owned).collect()
}

impl Bench {
    /// Makes a new volume with one file, and some empty ones.
    pub fn new(options: &str, size: &str) -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("edit.img");
        let folder = scratch.join("source");
        std::fs::create_dir(&folder).unwrap();
        // Too long for its inode, and some files without contents.
        std::fs::write(folder.join("file"), vec![7; 100_000]).unwrap();
        for index in 0..EMPTY_FILES {
            std::fs::write(folder.join(format!("empty{index}")), "").unwrap();
        }
        let mkfs = Run::new(program("mkfs.ocfs2")).arg("-q").args(options.split_whitespace());
        let mkfs = mkfs.arg("-d").arg(&folder);
        mkfs.arg(&path).arg(size).success();
        Self::open(path, scratch)
    }

    /// Opens an existing volume, which is in `scratch`.
    pub fn open(path: PathBuf, scratch: Scratch) -> Self {
        let options = DeviceOptions { write: true, ..DeviceOptions::default() };
        let device = open(&path, &options).unwrap();
        let known = found_by_c(&path);
        Self { path, device, known, _scratch: scratch }
    }

    /// Path of the volume.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the volume in its present state.
    pub fn volume(&self) -> Volume {
        Volume::open(Arc::clone(&self.device), &VolumeOptions::default()).unwrap()
    }

    /// Starts a transaction on the volume.
    pub fn edit(&self) -> Edit {
        let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
        Edit::new(&self.volume(), EditOptions { time, ..EditOptions::default() })
    }

    /// Commits a transaction; in place if it is too large for the journal.
    pub fn commit(&self, edit: &Edit) {
        if edit.commit(How::Journal(0), &self.device).is_err() {
            edit.commit(How::InPlace, &self.device).unwrap();
        }
    }

    /// Demands that our fsck finds nothing, and the C fsck nothing that it did not find before.
    pub fn judge(&self) {
        let ours = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&self.path).output();
        ours.expect_status(0);
        let found = found_by_c(&self.path);
        assert!(found.is_subset(&self.known), "{found:#?}");
    }

    /// Device of the volume.
    pub fn device(&self) -> Arc<dyn Device> {
        Arc::clone(&self.device)
    }

    /// Returns the file of 100,000 bytes in the root directory of a new volume.
    pub fn file(&self) -> Blkno {
        self.volume().resolve(b"/file").unwrap().blkno
    }

    /// Returns one of its empty files.
    pub fn empty_file(&self, index: usize) -> Blkno {
        self.volume().resolve(format!("/empty{index}").as_bytes()).unwrap().blkno
    }
}
