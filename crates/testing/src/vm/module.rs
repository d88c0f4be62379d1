//! Kernel modules: which ones are loaded, and in which order.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

/// Needed, unless they are built into the kernel.
const NEEDED: [&str; 10] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_net",
    "9pnet_virtio",
    "9p",
    "configfs",
    "ocfs2",
    "ocfs2_stack_o2cb",
    "ocfs2_dlmfs",
];

/// The journal requests the first one by its function, not by its name, and newer kernels do not
/// have it; the other one is for volumes on device mapper.
const WANTED: [&str; 2] = ["crc32c_generic", "dm_mod"];

/// For machines that form a cluster of corosync, in a kernel that has them.
const COROSYNC: [&str; 2] = ["dlm", "ocfs2_stack_user"];

/// The modules of a kernel, each list in the order in which they are loaded.
#[derive(Debug)]
pub struct Selection {
    /// Those of every machine.
    pub all: Vec<Module>,
    /// After these, those of a cluster of corosync; none if the kernel lacks one.
    pub corosync: Vec<Module>,
}

/// A decompressed module.
#[derive(Debug)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its ELF object.
    pub contents: Vec<u8>,
}

/// Returns the modules that machines load from an unpacked `lib/modules/RELEASE`.
pub fn select(folder: &Path) -> Result<Selection> {
    let mut all = All { files: BTreeMap::new(), built_in: Vec::new() };
    collect(&folder.join("kernel"), &mut all.files)?;
    let built_in = folder.join("modules.builtin");
    let built_in = fs::read_to_string(&built_in).with_context(|| built_in.display().to_string())?;
    all.built_in = built_in.lines().map(|line| name(Path::new(line))).collect();
    let mut order = Vec::new();
    for wanted in WANTED.iter().filter(|wanted| all.files.contains_key(**wanted)) {
        all.take(wanted, &mut order)?;
    }
    for needed in NEEDED {
        all.take(needed, &mut order)?;
    }
    let count = order.len();
    let has_all = COROSYNC.iter().all(|name| all.files.contains_key(*name));
    for name in COROSYNC.iter().filter(|_| has_all) {
        all.take(name, &mut order)?;
    }
    let corosync = order.split_off(count);
    Ok(Selection { all: order, corosync })
}

struct All {
    files: BTreeMap<String, PathBuf>,
    built_in: Vec<String>,
}

impl All {
    /// Adds the module `name` to `order`, after all modules it depends on.
    fn take(&self, name: &str, order: &mut Vec<Module>) -> Result<()> {
        let known = |module: &Module| module.name == name;
        if order.iter().any(known) || self.built_in.iter().any(|built_in| built_in == name) {
            return Ok(());
        }
        let path = self.files.get(name);
        let path = path.ok_or_else(|| anyhow!("the kernel has no module {name}"))?;
        let contents = read(path).with_context(|| path.display().to_string())?;
        for dependency in dependencies(&contents) {
            self.take(&dependency, order)?;
        }
        order.push(Module { name: name.to_owned(), contents });
        Ok(())
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.insert(name(&entry.path()), entry.path());
        }
    }
    Ok(())
}

/// Returns `virtio_blk` for `.../virtio-blk.ko.xz`: file names may have dashes, modules never do.
fn name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

/// Returns the names after `depends=` in its section `.modinfo`, which consists of strings that end
/// with a zero byte.
fn dependencies(contents: &[u8]) -> Vec<String> {
    let mut strings = contents.split(|byte| *byte == 0);
    let depends = strings.find_map(|string| string.strip_prefix(b"depends=")).unwrap_or_default();
    let names = String::from_utf8_lossy(depends);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    decompress(&fs::read(path)?)
}

/// Decompresses xz, zstd or gzip; returns anything else as it is.
///
/// Bytes after the compressed stream are ignored.
pub fn decompress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    match bytes {
        [0xfd, b'7', b'z', ..] => {
            lzma_rust2::XzReader::new(bytes, false).read_to_end(&mut plain)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            ruzstd::decoding::StreamingDecoder::new(bytes)?.read_to_end(&mut plain)?;
        }
        [0x1f, 0x8b, ..] => {
            flate2::bufread::GzDecoder::new(bytes).read_to_end(&mut plain)?;
        }
        _ => plain.extend_from_slice(bytes),
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_and_its_dependencies_are_read_from_its_information() {
        assert_eq!(name(Path::new("kernel/drivers/block/virtio-blk.ko.xz")), "virtio_blk");
        let information = b"\x7fELF..\0license=GPL\0depends=jbd2,ocfs2-nodemanager\0name=ocfs2\0";
        assert_eq!(dependencies(information), ["jbd2", "ocfs2_nodemanager"]);
        assert!(dependencies(b"\0depends=\0").is_empty());
    }
}
