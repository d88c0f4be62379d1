//! Mounting images, and judging them afterwards.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_testing::{Outcome, Run, Scratch, oracle, program, skip};

/// Whether volumes can be mounted here.
pub fn is_possible() -> bool {
    let is_device =
        Path::new("/dev/fuse").metadata().is_ok_and(|it| it.file_type().is_char_device());
    let is_root = rustix::process::geteuid().is_root();
    if !is_device || !is_root {
        skip("mounting by FUSE needs root and /dev/fuse");
    }
    is_device && is_root
}

/// An image mounted read-only, until it is dropped.
pub struct Mount {
    pub folder: PathBuf,
    pub _scratch: Scratch,
}

impl Mount {
    pub fn reading(image: &Path, options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let folder = scratch.join("mnt");
        fs::create_dir(&folder).unwrap();
        let options: Vec<_> = ["-o", "ro"].iter().chain(options).copied().collect();
        mounting(image, &folder, &options).expect_status(0);
        Self { folder, _scratch: scratch }
    }

    pub fn join(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

pub fn mounting(image: &Path, folder: &Path, options: &[&str]) -> Outcome {
    Run::new(program("ocfs2-fuse")).args(options).args([image, folder]).output()
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Run::new("umount").arg(&self.folder).output();
    }
}

/// An image mounted to be written.
pub struct Written {
    pub folder: PathBuf,
    child: Child,
    is_over: bool,
}

impl Written {
    /// Mounts an image on a folder, which is made.
    pub fn new(image: &Path, folder: &Path) -> Self {
        let _ = fs::create_dir(folder);
        let mut child = Command::new(program("ocfs2-fuse"))
            .arg("-f")
            .args([image, folder])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while fs::read_dir(folder).unwrap().next().is_none() {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            assert!(start.elapsed() < Duration::from_secs(60), "it is not mounted");
            thread::sleep(Duration::from_millis(20));
        }
        Self { folder: folder.to_owned(), child, is_over: false }
    }

    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// Ends the program in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let _ = Run::new("umount").arg("-l").arg(&self.folder).output();
        self.is_over = true;
    }

    /// The number of the process.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Unmounts it, and waits until everything is written.
    pub fn unmount(mut self) {
        Run::new("umount").arg(&self.folder).success();
        self.is_over = true;
        self.wait();
    }

    /// Waits until the program has ended well.
    pub fn wait(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.is_over = true;
                return assert!(status.success(), "{status}");
            }
            assert!(start.elapsed() < Duration::from_secs(60), "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = Run::new("umount").arg("-l").arg(&self.folder).output();
        }
    }
}

/// A new volume of the local mount type.
pub fn volume(scratch: &Scratch, options: &str, size: &str) -> PathBuf {
    let image = scratch.join("volume.img");
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "1"]);
    mkfs.args(options.split_whitespace()).arg(&image).arg(size).success();
    image
}

/// Demands that neither our fsck nor that of C finds anything.
pub fn judge(image: &Path) {
    let ours = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image);
    ours.timeout(Duration::from_secs(120)).output().expect_status(0);
    let Some(fsck) = oracle("fsck.ocfs2") else { return };
    let said = Run::new(fsck).arg("-fn").arg(image).output();
    // It wants an index for the system directory, which Linux never makes. It knows only the hash of
    // signed bytes in names. Without sparse files it states the size of
    // one file for others. What is allocated past the end of a file, as fallocate(2) does, it would
    // cut.
    let known = [
        "[DX_TREE_MISSING] Directory 6 ",
        "[XATTR_HASH_INVALID]",
        "[DX_LOOKUP_FAILED]",
        "[EXTENT_LIST_DEPTH]",
        "[INODE_SPARSE_SIZE]",
    ];
    let lines = said.stdout.lines().chain(said.stderr.lines());
    let found: Vec<_> = lines
        .filter(|line| line.starts_with('['))
        .filter(|line| !known.iter().any(|it| line.starts_with(it)))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
