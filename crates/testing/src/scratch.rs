//! A folder for a test, and images in it.

use std::env;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statfs, statvfs};
use tempfile::TempDir;

/// Free memory that is required, in bytes: several cases may have their images at a time.
const ROOM_IN_MEMORY: u64 = 2 << 30;
/// `f_type` of a file system in memory.
const TMPFS_MAGIC: u64 = 0x0102_1994;

fn has_room_in_memory(folder: &Path) -> bool {
    let is_tmpfs = statfs(folder).is_ok_and(|it| it.f_type as u64 == TMPFS_MAGIC);
    is_tmpfs
        && access(folder, Access::WRITE_OK).is_ok()
        && statvfs(folder).is_ok_and(|it| it.f_bavail * it.f_frsize >= ROOM_IN_MEMORY)
}

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes a new, empty folder.
    #[expect(clippy::new_without_default, reason = "it does I/O")]
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("ocfs2-test-").tempdir().unwrap())
    }

    /// Makes it in memory if possible, for files that are written, read and dropped at once:
    /// nothing waits for a disk. `$TMPDIR` takes precedence.
    pub fn in_memory() -> Self {
        let shared = Path::new("/dev/shm");
        let is_told = env::var_os("TMPDIR").is_some();
        if is_told || !has_room_in_memory(shared) {
            return Self::new();
        }
        Self(tempfile::Builder::new().prefix("ocfs2-test-").tempdir_in(shared).unwrap())
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns the path of `name` in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Makes a sparse image of `size_bytes` zeros in it.
    pub fn image(&self, name: &str, size_bytes: u64) -> PathBuf {
        let path = self.join(name);
        File::create_new(&path).unwrap().set_len(size_bytes).unwrap();
        path
    }
}

/// Returns the number of bytes that a file occupies, as `du` counts them.
pub fn allocated_bytes(path: impl AsRef<Path>) -> u64 {
    // st_blocks counts units of 512 bytes whatever the file system.
    path.as_ref().metadata().unwrap().blocks() * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_in_memory_is_a_folder_like_another() {
        let scratch = Scratch::in_memory();
        let image = scratch.image("disk.img", 16 << 30);
        assert_eq!((image.metadata().unwrap().len(), allocated_bytes(&image)), (16 << 30, 0));
    }

    #[test]
    fn an_image_is_sparse_and_goes_with_its_folder() {
        let scratch = Scratch::new();
        let image = scratch.image("disk.img", 16 << 30);
        assert_eq!(image.metadata().unwrap().len(), 16 << 30);
        assert!(allocated_bytes(&image) < 1 << 20);
        drop(scratch);
        assert!(!image.exists());
    }
}
