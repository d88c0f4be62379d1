//! A description of a volume as the kernel shows it: names, attributes, contents. It leaves out the
//! places on disk and the inode numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Digest of a file's contents, in hexadecimal.
type Digester = fn(&Path) -> Result<String>;

/// Contents of larger files are not read: such a file is nearly empty, and reading it takes long.
const READ_SIZE_BYTES: u64 = 200 << 20;

/// Prints the whole description, with CRC-32 of the contents: SHA-256 is slow on an emulated
/// processor.
pub fn print(folder: &Path) -> Result<()> {
    let Description { list, digests, links, xattrs } = describe(folder, crc32)?;
    print!("{list}{digests}{links}{xattrs}");
    Ok(())
}

/// Writes the parts of the description to `PREFIX.list`, `.sha256`, `.links` and `.xattrs`.
pub fn write(folder: &Path, prefix: &str) -> Result<()> {
    let Description { list, digests, links, xattrs } = describe(folder, sha256)?;
    let parts = [("list", list), ("sha256", digests), ("links", links), ("xattrs", xattrs)];
    for (name, text) in parts {
        fs::write(format!("{prefix}.{name}"), text)?;
    }
    Ok(())
}

#[derive(Default)]
struct Description {
    /// One line each: `type|mode|uid|gid|links|size|mtime|major:minor|name`, sorted by name. The
    /// size of a folder is `-`, device numbers are hexadecimal.
    list: String,
    /// Digests of the regular files, as sha256sum prints them.
    digests: String,
    /// `'./NAME' -> 'TARGET'`, one line each.
    links: String,
    /// Extended attributes, as `getfattr --dump --encoding=hex` prints them.
    xattrs: String,
}

fn describe(folder: &Path, digest: Digester) -> Result<Description> {
    let mut all = BTreeMap::new();
    collect(folder, Path::new("."), &mut all)?;
    let mut description = Description::default();
    for (name, meta) in &all {
        let path = folder.join(name);
        description.add(name, &path, meta, digest).with_context(|| name.display().to_string())?;
    }
    Ok(description)
}

fn collect(root: &Path, name: &Path, all: &mut BTreeMap<PathBuf, Metadata>) -> Result<()> {
    let path = root.join(name);
    let meta = path.symlink_metadata().with_context(|| path.display().to_string())?;
    if meta.is_dir() {
        for entry in path.read_dir()? {
            collect(root, &name.join(entry?.file_name()), all)?;
        }
    }
    all.insert(name.to_owned(), meta);
    Ok(())
}

impl Description {
    fn add(&mut self, name: &Path, path: &Path, meta: &Metadata, digest: Digester) -> Result<()> {
        let kind = meta.file_type();
        let (mode, size) = (meta.mode() & 0o7777, meta.len());
        let kind_name = match meta {
            _ if kind.is_dir() => "directory",
            _ if kind.is_symlink() => "symbolic link",
            _ if kind.is_char_device() => "character special file",
            _ if kind.is_block_device() => "block special file",
            _ if kind.is_fifo() => "fifo",
            _ if kind.is_socket() => "socket",
            _ if size == 0 => "regular empty file",
            _ => "regular file",
        };
        let size = if kind.is_dir() { "-".into() } else { size.to_string() };
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        writeln!(
            self.list,
            "{kind_name}|{mode:o}|{}|{}|{}|{size}|{}|{major:x}:{minor:x}|{}",
            meta.uid(),
            meta.gid(),
            meta.nlink(),
            time(meta),
            name.display(),
        )?;
        if kind.is_symlink() {
            let target = fs::read_link(path)?;
            writeln!(self.links, "'{}' -> '{}'", name.display(), target.display())?;
        }
        if kind.is_file() && meta.len() < READ_SIZE_BYTES {
            let name = name.display().to_string();
            // sha256sum marks a line with an escaped name in this way.
            let (mark, name) = match name.contains('\\') {
                true => ("\\", name.replace('\\', "\\\\")),
                false => ("", name),
            };
            writeln!(self.digests, "{mark}{}  {name}", digest(path)?)?;
        }
        self.add_xattrs(name, path)
    }

    fn add_xattrs(&mut self, name: &Path, path: &Path) -> Result<()> {
        let mut names = vec![0; 1 << 16];
        let length = match rustix::fs::llistxattr(path, &mut names) {
            // The volume does not support attributes.
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        names.truncate(length);
        let mut names: Vec<_> = names.split(|byte| *byte == 0).collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        let mut values = String::new();
        for name in names {
            let mut value = vec![0; 1 << 16];
            let length = match rustix::fs::lgetxattr(path, name, &mut value) {
                // Linux lists those of users on links and devices, and gives nobody their values.
                Err(rustix::io::Errno::NODATA) => continue,
                length => length?,
            };
            let hex = hex(value.get(..length).unwrap_or_default());
            writeln!(values, "{}=0x{hex}", String::from_utf8_lossy(name))?;
        }
        if !values.is_empty() {
            let name = name.strip_prefix(".").unwrap_or(name);
            writeln!(self.xattrs, "# file: {}\n{values}", name.display())?;
        }
        Ok(())
    }
}

/// Returns the time in seconds with nine decimals, as coreutils print it.
fn time(meta: &Metadata) -> String {
    let (seconds, nanoseconds) = (meta.mtime(), meta.mtime_nsec());
    if seconds < 0 && nanoseconds > 0 {
        return format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds);
    }
    format!("{seconds}.{nanoseconds:09}")
}

fn sha256(path: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    read(path, |bytes| digest.update(bytes))?;
    Ok(hex(&digest.finalize()))
}

fn crc32(path: &Path) -> Result<String> {
    let mut digest = crc32fast::Hasher::new();
    read(path, |bytes| digest.update(bytes))?;
    Ok(format!("{:08x}", digest.finalize()))
}

fn read(path: &Path, mut take: impl FnMut(&[u8])) -> Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        take(buffer.get(..length).unwrap_or_default());
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        hex.extend(
            [byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?')),
        );
    }
    hex
}
