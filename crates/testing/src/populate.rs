//! Volumes of many files, made in seconds by the library of `mkfs.ocfs2`: a kernel in a virtual
//! machine would need an hour.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ocfs2_device::{Device, DeviceOptions, open};
use ocfs2_format::feature::FeatureRequest;
use ocfs2_mkfs::{
    Attributes, Contents, DirectoryId, Facts, Files, FillError, Options, Plan, Random,
    WriteOptions, resolve,
};
use ocfs2_volume::Timestamp;

/// Default number of files per folder.
pub const FILES_PER_FOLDER: u32 = 1000;

/// Size in bytes of most files: one cluster.
const FILE_BYTES: u64 = 4096;

/// The contents of a volume: folders in `/many`, with files of 4 KiB in them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tree {
    /// Number of files, including those of which an aged tree has deleted a tenth.
    pub files: u32,
    /// Number of files per folder.
    pub files_per_folder: u32,
    /// Whether directories have indexes.
    pub indexed: bool,
    /// Whether it looks used: a tenth of the files was deleted, and there are small and large
    /// files, hard and symbolic links, holes and attributes among the others.
    pub aged: bool,
}

/// Makes a volume of two slots in the new, sparse file `image`. All contents are zero, and none of
/// them are written: what the file has allocated is the metadata.
///
/// # Panics
/// If it does not fit.
pub fn populate(image: &Path, tree: Tree) {
    let features = if tree.indexed { "" } else { "noindexed-dirs" };
    let options = Options {
        slots: Some(2),
        features: FeatureRequest::parse(features).unwrap(),
        ..Options::default()
    };
    let device_options = DeviceOptions { write: true, ..Default::default() };
    let device = NewFile(open(image, &device_options).unwrap());
    let facts = Facts {
        size_bytes: device.size_bytes(),
        sector_size: device.sector_size(),
        running: None,
        on_disk: None,
        time: 1_700_000_000,
        random: Random::from_seed(1),
    };
    let mut plan = Plan::new(&resolve(&options, &facts).unwrap()).unwrap();
    let write = WriteOptions { discard: true };
    let mut fill = |files: &mut Files<'_>| tree.fill(files);
    plan.write_with(&device, write, &mut fill, &mut |_| Ok(())).unwrap();
}

impl Tree {
    fn fill(&self, files: &mut Files<'_>) -> Result<(), FillError> {
        if self.files == 0 {
            return Ok(());
        }
        let many = files.directory(Files::ROOT, b"many", attributes(0o755))?;
        let folders = self.files.div_ceil(self.files_per_folder);
        for folder in 0..folders {
            let name = format!("folder-{folder:04}");
            let directory = files.directory(many, name.as_bytes(), attributes(0o755))?;
            let count = self.files_per_folder.min(self.files - folder * self.files_per_folder);
            for number in 0..count {
                let name = format!("file-{number:04}");
                match self.aged {
                    true => aged_file(files, directory, &name, folder, number)?,
                    false => zeros(files, directory, &name, FILE_BYTES)?,
                }
            }
            files.finish(directory)?;
        }
        Ok(())
    }
}

fn attributes(permissions: u16) -> Attributes {
    let mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
    Attributes { permissions, uid: 1000, gid: 1000, mtime, xattrs: Vec::new() }
}

fn zeros(
    files: &mut Files<'_>,
    directory: DirectoryId,
    name: &str,
    size: u64,
) -> Result<(), FillError> {
    let mut contents = Zeros { size, data: std::iter::once(0..size).collect() };
    files.regular(directory, name.as_bytes(), &attributes(0o644), &mut contents).map(drop)
}

/// Makes a file as time may have left it.
fn aged_file(
    files: &mut Files<'_>,
    directory: DirectoryId,
    name: &str,
    folder: u32,
    number: u32,
) -> Result<(), FillError> {
    let bytes = name.as_bytes();
    // Shifts the kinds by seven places from folder to folder.
    let kind = (number + folder * 7) % 100;
    match kind {
        // Deleted: its inode is free, and so are one to four clusters.
        0..10 => files.leave_free(1 + kind % 4),
        10..14 => {
            let target = "target/".repeat(if kind == 13 { 570 } else { 5 });
            files.symlink(directory, bytes, &attributes(0o777), target.as_bytes()).map(drop)
        }
        14..16 => {
            let mut contents = Zeros { size: 0, data: Vec::new() };
            let file = files.regular(directory, bytes, &attributes(0o644), &mut contents)?;
            files.link(directory, format!("{name}-again").as_bytes(), file)
        }
        // A few KiB with holes between them; one file in a thousand needs a tree.
        16..20 => {
            let parts = if number.is_multiple_of(1000) { 600 } else { 3 };
            let data = (0..parts).map(|part| part << 16..(part << 16) + 4096).collect();
            let mut contents = Zeros { size: parts << 16, data };
            files.regular(directory, bytes, &attributes(0o600), &mut contents).map(drop)
        }
        // Small enough for the inode.
        20..35 => zeros(files, directory, name, 1000 + u64::from(number)),
        35..40 => zeros(files, directory, name, 1 << 17),
        40..50 => {
            let label = b"system_u:object_r:default_t:s0\0".to_vec();
            let xattrs = vec![(b"security.selinux".to_vec(), label)];
            let attributes = Attributes { xattrs, ..attributes(0o644) };
            let mut contents =
                Zeros { size: FILE_BYTES, data: std::iter::once(0..FILE_BYTES).collect() };
            files.regular(directory, bytes, &attributes, &mut contents).map(drop)
        }
        _ => zeros(files, directory, name, FILE_BYTES),
    }
}

/// Contents that are zero, with holes.
struct Zeros {
    size: u64,
    data: Vec<Range<u64>>,
}

impl Contents for Zeros {
    fn size(&self) -> u64 {
        self.size
    }

    fn data(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(self.data.clone())
    }

    fn read(&mut self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
        buf.fill(0);
        Ok(())
    }
}

/// A file that is one hole: zeros need not be written.
struct NewFile(Arc<dyn Device>);

const PAGE: usize = 4096;

impl Device for NewFile {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
        let mut at = offset;
        // Consecutive pages of the same kind together.
        let pages = |buf: &[u8]| buf.chunks(PAGE).map(is_zero).collect::<Vec<_>>();
        let mut rest = buf;
        for run in pages(buf).chunk_by(|a, b| a == b) {
            let (part, behind) = rest.split_at((run.len() * PAGE).min(rest.len()));
            if !run[0] {
                self.0.write_at(part, at)?;
            }
            at += part.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn zero(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(true)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ocfs2_format::dinode::FileKind;
    use ocfs2_volume::{Volume, VolumeOptions};

    use super::*;
    use crate::{Scratch, allocated_bytes};

    #[test]
    fn an_aged_volume_has_what_time_leaves() {
        let scratch = Scratch::new();
        let image = scratch.join("disk.img");
        File::create_new(&image).unwrap().set_len(1 << 30).unwrap();
        populate(&image, Tree { files: 3000, files_per_folder: 1000, indexed: true, aged: true });
        // Inodes, and little else.
        assert!(allocated_bytes(&image) < 20 << 20);
        let device = open(&image, &DeviceOptions::default()).unwrap();
        let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
        let (mut names, mut links, mut linked, mut sparse, mut labels) = (0, 0, 0, 0, 0);
        for entry in volume.walk(&volume.root().unwrap()).unwrap() {
            let inode = entry.unwrap().inode;
            names += 1;
            links += u32::from(inode.kind() == Some(FileKind::Symlink));
            linked += u32::from(
                inode.kind() == Some(FileKind::Regular) && volume.links_count(&inode) == 2,
            );
            sparse += u32::from(inode.dinode.i_mode == 0o100_600);
            labels += volume.sorted_xattrs(&inode).unwrap().len();
        }
        // 300 were deleted, 60 have a second name; the other five are `/many`, three folders and
        // lost+found.
        assert_eq!((names, links, linked, sparse, labels), (2700 + 60 + 5, 120, 120, 120, 300));
    }
}
