//! The kernel reads what `ocfs2_volume::edit` puts into a volume, and can go on writing to it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_testing::Scratch;
use ocfs2_testing::vm::Lab;
use ocfs2_volume::edit::{Edit, EditOptions, NewInode, Session};
use ocfs2_volume::{Timestamp, Volume, VolumeOptions};

use crate::filled::{assert_the_kernel_reads, describe, tree};
use crate::volume::{LOCAL, mkfs};

/// Copies a folder into a volume, with a transaction for every few files.
struct Copy {
    session: Session,
    /// Inodes of files with several names, by device and inode number in the source.
    linked: HashMap<(u64, u64), Blkno>,
}

impl Copy {
    fn folder(&mut self, from: &Path, into: Blkno) -> Result<()> {
        let mut names: Vec<_> = fs::read_dir(from)?.collect::<Result<_, _>>()?;
        names.sort_by_key(fs::DirEntry::file_name);
        for names in names.chunks(8) {
            let mut edit = self.session.edit();
            let mut folders = Vec::new();
            for entry in names {
                let (path, name) = (entry.path(), entry.file_name());
                let metadata = fs::symlink_metadata(&path)?;
                let made = self.one(&mut edit, &path, name.as_bytes(), into, &metadata);
                let inode = made.with_context(|| path.display().to_string())?;
                folders.extend(metadata.is_dir().then_some((path, inode, metadata)));
            }
            self.session.commit(edit)?;
            for (path, inode, metadata) in folders {
                self.folder(&path, inode)?;
                let mut edit = self.session.edit();
                set_times(&mut edit, inode, &metadata)?;
                self.session.commit(edit)?;
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        edit: &mut Edit,
        path: &Path,
        name: &[u8],
        into: Blkno,
        metadata: &Metadata,
    ) -> Result<Blkno> {
        let number = (metadata.dev(), metadata.ino());
        if let Some(inode) = self.linked.get(&number).filter(|_| !metadata.is_dir()) {
            edit.hard_link(into, name, *inode)?;
            return Ok(*inode);
        }
        let file_type = metadata.file_type();
        let kind = FileKind::from_mode(metadata.mode() as u16).context("a kind")?;
        let target = match file_type.is_symlink() {
            true => fs::read_link(path)?.into_os_string(),
            false => OsStr::new("").to_owned(),
        };
        let is_device = file_type.is_block_device() || file_type.is_char_device();
        let device = metadata.rdev();
        let rdev = (rustix::fs::major(device), rustix::fs::minor(device));
        let new = NewInode {
            kind,
            permissions: metadata.mode() as u16 & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: if is_device { rdev } else { (0, 0) },
            target: target.as_bytes(),
        };
        let inode = edit.create(into, name, &new)?;
        self.linked.insert(number, inode);
        attributes(edit, path, inode)?;
        if file_type.is_file() {
            contents(edit, path, inode)?;
        }
        set_times(edit, inode, metadata)?;
        Ok(inode)
    }
}

/// Writes everything that is not a hole.
fn contents(edit: &mut Edit, path: &Path, inode: Blkno) -> Result<()> {
    let file = fs::File::open(path)?;
    let len = file.metadata()?.len();
    let mut at = 0;
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data))?;
        let mut bytes = vec![0; (at - data) as usize];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, data)?;
        edit.write_file(inode, data, &bytes)?;
    }
    Ok(edit.truncate(inode, len)?)
}

fn attributes(edit: &mut Edit, path: &Path, inode: Blkno) -> Result<()> {
    let mut list = vec![0; 1 << 16];
    let used = rustix::fs::llistxattr(path, &mut list)?;
    for name in list[..used].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let size = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
        value.truncate(size);
        let prefixes = XattrPrefix::ALL.into_iter();
        let mut found = prefixes
            .filter_map(|prefix| Some((prefix, name.strip_prefix(prefix.as_str().as_bytes())?)));
        let Some((prefix, rest)) = found.next() else { continue };
        let is_list = rest.is_empty();
        // Access control lists are stored without their version.
        let value = if is_list { value.get(4..).unwrap_or_default() } else { &value[..] };
        edit.set_xattr(inode, prefix, rest, value)?;
    }
    Ok(())
}

fn set_times(edit: &mut Edit, inode: Blkno, metadata: &Metadata) -> Result<()> {
    Ok(edit.update_dinode(inode, |dinode, _| {
        dinode.i_mtime = metadata.mtime() as u64;
        dinode.i_mtime_nsec = metadata.mtime_nsec() as u32;
        dinode.i_atime = metadata.mtime() as u64;
        dinode.i_atime_nsec = metadata.mtime_nsec() as u32;
    })?)
}

/// Makes a volume with a copy of the contents of `source`.
fn copied(
    source: &Path,
    lab: &Lab,
    scratch: &Scratch,
    name: &str,
    options: &str,
) -> Result<PathBuf> {
    let all: Vec<_> = options.split_whitespace().chain(LOCAL).chain(["-N", "2"]).collect();
    let image = mkfs(scratch, name, 2 << 30, &all);
    let device = open(&image, &DeviceOptions { write: true, ..DeviceOptions::default() })?;
    let volume = Volume::open(device.clone(), &VolumeOptions::default())?;
    let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
    let options = EditOptions { time, name_hash: lab.name_hash(), ..EditOptions::default() };
    let session = Session::open(&volume, device, options)?;
    let mut copy = Copy { session, linked: HashMap::new() };
    copy.folder(source, volume.superblock().s_root_blkno)?;
    copy.session.close()?;
    Ok(image)
}

#[test]
fn the_kernel_reads_what_edits_have_written() -> Result<()> {
    let kinds =
        ["many=1500", "sizes", "names", "special", "folders=300", "owners", "sparse", "xattrs"];
    let Some(folder) = tree(&kinds) else { return Ok(()) };
    let expected = describe(&folder.path().join("filled"));
    let options =
        ["-b 512 -C 4K", "--fs-features=metaecc", "-b 1K -C 64K --fs-features=noinline-data"];
    assert_the_kernel_reads(&expected, &options, &|lab, scratch, name, options| {
        copied(folder.path(), lab, scratch, name, options)
    })
}
