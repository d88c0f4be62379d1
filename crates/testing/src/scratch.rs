//! A folder for a test, and images in it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new, empty one.
    #[expect(clippy::new_without_default, reason = "it does I/O")]
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("ocfs2-test-").tempdir().unwrap())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
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

/// The bytes a file occupies, as `du` counts them.
pub fn allocated_bytes(path: impl AsRef<Path>) -> u64 {
    // st_blocks counts units of 512 bytes whatever the file system.
    path.as_ref().metadata().unwrap().blocks() * 512
}

#[cfg(test)]
mod tests {
    use super::*;

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
