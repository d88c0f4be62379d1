//! Volumes that the Linux kernel wrote, from the folder `fixtures`.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::{Run, Scratch};

/// Fixtures that kernels filled and unmounted.
pub const CLEAN: [&str; 6] = [
    "clean-1k-linux7-local",
    "clean-1k-local",
    "clean-1m-global",
    "clean-2k-local",
    "clean-4k-o2cb",
    "clean-512-local",
];

/// Fixtures that kernels left in the middle of their work.
pub const CRASHED: [&str; 5] = [
    "crashed-512-local",
    "crashed-512-o2cb",
    "crashed-1k-o2cb",
    "crashed-4k-o2cb",
    "crashed-4k-linux7-local",
];

/// Number of bytes that are copied at once.
const COPIED_AT_ONCE: usize = 1 << 20;

/// Returns the path of the image of that name, such as `clean-4k-o2cb`. It is unpacked, and only to
/// be read.
///
/// It is unpacked once, sparsely, into `target/fixtures`, and its checksum is compared.
///
/// # Panics
/// If there is no such fixture, it is damaged, or `xz` or `sha256sum` is missing.
pub fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let packed = root.join("fixtures").join(format!("{name}.img.xz"));
    let expected = fs::read_to_string(packed.with_extension("sha256"))
        .unwrap_or_else(|err| panic!("{}: {err}", packed.display()));
    let digest = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    // A recreated fixture has another digest, so an old copy is not used.
    let cache = root.join("target/fixtures").join(digest(&expected));
    let image = cache.join(format!("{name}.img"));
    if image.exists() {
        return image;
    }
    fs::create_dir_all(&cache).unwrap();
    // Several tests may get here at once: each unpacks its own copy, the last one stays.
    let folder = tempfile::tempdir_in(&cache).unwrap();
    let unpacked = folder.path().join("image");
    let status = Command::new("xz")
        .arg("--decompress")
        .stdin(File::open(&packed).unwrap_or_else(|err| panic!("{}: {err}", packed.display())))
        // xz writes sparsely only to a file.
        .stdout(File::create(&unpacked).unwrap())
        .stderr(Stdio::inherit())
        .status()
        .expect("xz starts");
    assert!(status.success(), "{} cannot be unpacked", packed.display());

    let found = Run::new("sha256sum").arg(&unpacked).success().stdout;
    assert_eq!(digest(&found), digest(&expected), "{name} is damaged");

    fs::set_permissions(&unpacked, Permissions::from_mode(0o444)).unwrap();
    fs::rename(&unpacked, &image).unwrap();
    image
}

/// Makes a copy of a [`fixture`] that may be changed.
///
/// # Panics
/// Like [`fixture`], or if `cp` fails.
pub fn fixture_copy(name: &str, scratch: &Scratch) -> PathBuf {
    let copy = scratch.join(format!("{name}.img"));
    copy_data(&fixture(name), &copy).unwrap();
    copy
}

/// Copies the data between the holes of a file.
fn copy_data(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::create_new(to)?);
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut buf = vec![0; COPIED_AT_ONCE];
    let mut end = 0;
    while end < size {
        let mut at = match seek(&from, SeekFrom::Data(end)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            Err(err) => return Err(err.into()),
        };
        end = seek(&from, SeekFrom::Hole(at))?;
        while at < end {
            let len = COPIED_AT_ONCE.min((end - at) as usize);
            from.read_exact_at(&mut buf[..len], at)?;
            to.write_all_at(&buf[..len], at)?;
            at += len as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocated_bytes;

    #[test]
    fn a_fixture_is_unpacked_sparsely_and_a_copy_can_be_written() {
        let image = fixture("crashed-512-local");
        assert_eq!(image.metadata().unwrap().len(), 300 << 20);
        assert!(allocated_bytes(&image) < 20 << 20);
        let scratch = Scratch::new();
        let copy = fixture_copy("crashed-512-local", &scratch);
        assert!(allocated_bytes(&copy) < 20 << 20);
        assert!(!copy.metadata().unwrap().permissions().readonly());
    }
}
