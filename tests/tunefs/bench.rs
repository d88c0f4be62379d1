//! A volume with files, and its judges.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_device::{DeviceOptions, open};
use ocfs2_testing::{Outcome, Run, Scratch, c_fsck_run, oracle, program};
use ocfs2_volume::{Volume, VolumeOptions};

/// Block sizes, cluster sizes and features for which different structures are written.
pub const FORMS: [&str; 6] = [
    "-b 512 -C 4K",
    "-b 1K -C 4K --fs-features=noinline-data,noindexed-dirs",
    "-b 2K -C 8K --fs-features=metaecc,usrquota,grpquota",
    "-b 4K -C 4K --fs-feature-level=max-features",
    "-b 4K -C 64K",
    "-b 4K -C 4K --fs-feature-level=max-compat",
];

pub struct Bench {
    pub path: PathBuf,
    pub scratch: Scratch,
    known: BTreeSet<String>,
}

/// Returns the contents of the file `name` of a bench.
pub fn contents(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(70_000).collect()
}

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// Returns what the C fsck finds.
pub fn found_by_c(path: &Path) -> BTreeSet<String> {
    let Some(fsck) = oracle("fsck.ocfs2") else { return BTreeSet::new() };
    let said = c_fsck_run(&fsck, "-fn", path);
    // About a volume that was not recovered it reports only that.
    let lines = said.stdout.lines().chain(said.stderr.lines()).map(str::to_owned);
    lines.filter(|line| line.starts_with('[')).collect()
}

/// Returns what the C fsck finds and did not find before, when that was `known`.
pub fn new_by_c(path: &Path, known: &BTreeSet<String>) -> Vec<String> {
    // It misses an index of the system directory, also on what its own mkfs has made.
    let top = volume_at(path).superblock().s_system_dir_blkno;
    let missing = format!("[DX_TREE_MISSING] Directory {top} ");
    let mut new = found_by_c(path);
    new.retain(|line| !known.contains(line) && !line.starts_with(&missing));
    // Kernels differ in how they hash bytes from 0x80 on, and it knows one way only.
    new.retain(|line| line.is_ascii() || !line.starts_with("[DX_LOOKUP_FAILED]"));
    new.into_iter().collect()
}

/// Returns the codes of what the C fsck finds: numbers of inodes change.
fn codes_by_c(path: &Path) -> BTreeSet<String> {
    let codes = found_by_c(path).into_iter().filter(|line| {
        // It misses an index of the system directory, and knows one way to hash only.
        let top = volume_at(path).superblock().s_system_dir_blkno;
        let misses = format!("[DX_TREE_MISSING] Directory {top} ");
        !line.starts_with(&misses) && (line.is_ascii() || !line.starts_with("[DX_LOOKUP_FAILED]"))
    });
    codes.filter_map(|line| Some(line.split_once(']')?.0.to_owned())).collect()
}

/// Returns the codes of what our fsck finds.
pub fn codes(path: &Path) -> BTreeSet<String> {
    let said = Run::new(program("fsck.ocfs2")).arg("-fn").arg(path).output().stdout;
    let codes = said.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']'));
    codes.map(|(code, _)| format!("ours: {code}")).collect()
}

/// Returns the codes of what both find.
pub fn all_codes(path: &Path) -> BTreeSet<String> {
    codes_by_c(path).into_iter().chain(codes(path)).collect()
}

impl Bench {
    /// Makes a local volume with two slots.
    pub fn new(options: &str, size: &str) -> Self {
        Self::with_slots(options, size, 2)
    }

    pub fn with_slots(options: &str, size: &str, slots: u16) -> Self {
        let scratch = Scratch::in_memory();
        let path = scratch.join("volume.img");
        let folder = scratch.join("source");
        fs::create_dir(&folder).unwrap();
        for name in NAMES {
            fs::write(folder.join(name), contents(name)).unwrap();
        }
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-J", "size=4M"]);
        let mkfs = mkfs.arg("-N").arg(slots.to_string()).args(options.split_whitespace());
        mkfs.arg("-d").arg(&folder).arg(&path).arg(size).success();
        let known = found_by_c(&path);
        Self { path, scratch, known }
    }

    pub fn tunefs(&self, options: &str) -> Outcome {
        let tunefs = Run::new(program("tunefs.ocfs2")).args(options.split_whitespace());
        tunefs.arg(&self.path).output()
    }

    /// Runs ours, which has to succeed and print nothing.
    pub fn done(&self, options: &str) {
        let outcome = self.tunefs(options).expect_status(0);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""), "{options}");
    }

    /// Demands that both fsck find nothing new, and that every file is as before.
    pub fn judge(&self, what: &str) {
        self.judge_at(&self.path, what);
    }

    pub fn judge_at(&self, path: &Path, what: &str) {
        let ours = Run::new(program("fsck.ocfs2")).arg("-fn").arg(path).output();
        assert_eq!(ours.status, 0, "{what}: {ours}");
        let found = new_by_c(path, &self.known);
        assert!(found.is_empty(), "{what}: {found:#?}");
        let volume = volume_at(path);
        for name in NAMES {
            let inode = volume.resolve(format!("/{name}").as_bytes()).unwrap();
            let mut bytes = vec![0; inode.size() as usize];
            volume.file(&inode).unwrap().read_at(&mut bytes, 0).unwrap();
            assert!(bytes == contents(name), "{what}: {name}");
        }
    }

    pub fn volume(&self) -> Volume {
        volume_at(&self.path)
    }

    /// Returns what C debugfs prints about it.
    pub fn debugfs(&self, command: &str) -> Option<String> {
        let debugfs = oracle("debugfs.ocfs2")?;
        Some(Run::new(debugfs).arg("-R").arg(command).arg(&self.path).success().stdout)
    }
}

/// Makes an image larger.
pub fn extend(path: &Path, mib: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(mib << 20).unwrap();
}

pub fn volume_at(path: &Path) -> Volume {
    let device = open(path, &DeviceOptions::default()).unwrap();
    Volume::open(device, &VolumeOptions::default()).unwrap()
}
