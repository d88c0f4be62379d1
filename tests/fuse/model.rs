//! What a mounted volume has to contain, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    Directory,
    /// Contents.
    File(Arc<Vec<u8>>),
    /// Target.
    Symlink(PathBuf),
    Fifo,
}

/// An inode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    pub body: Body,
    pub mode: u32,
    /// Attributes with the prefix `user.`.
    pub attributes: BTreeMap<String, Vec<u8>>,
}

/// The number of an inode of the model.
pub type Number = u64;

/// A whole volume.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Model {
    pub names: BTreeMap<PathBuf, Number>,
    pub nodes: BTreeMap<Number, Node>,
}

/// What can be compared of a path: its inode, and how many names that has.
pub type Shown = BTreeMap<PathBuf, (Node, u64)>;

impl Model {
    /// All paths with what is there.
    pub fn shown(&self) -> Shown {
        let shown = |(path, number): (&PathBuf, &Number)| {
            let node = self.nodes[number].clone();
            let links = match node.body {
                Body::Directory => 2 + self.subfolders(path),
                _ => self.names.values().filter(|other| *other == number).count() as u64,
            };
            (path.clone(), (node, links))
        };
        self.names.iter().map(shown).collect()
    }

    fn subfolders(&self, path: &Path) -> u64 {
        let below = self.names.iter().filter(|(name, _)| name.parent() == Some(path));
        below.filter(|(_, number)| self.nodes[*number].body == Body::Directory).count() as u64
    }

    pub fn is_folder(&self, path: &Path) -> bool {
        let number = self.names.get(path);
        path == Path::new("")
            || number.is_some_and(|number| self.nodes[number].body == Body::Directory)
    }

    pub fn is_empty(&self, path: &Path) -> bool {
        !self.names.keys().any(|name| name.parent() == Some(path))
    }

    /// Moves a path with all below it.
    pub fn rename(&mut self, from: &Path, to: &Path) {
        let moved: Vec<_> =
            self.names.keys().filter(|name| name.starts_with(from)).cloned().collect();
        for name in moved {
            let number = self.names.remove(&name).unwrap();
            let rest = name.strip_prefix(from).unwrap();
            let new = if rest == Path::new("") { to.to_owned() } else { to.join(rest) };
            self.names.insert(new, number);
        }
    }
}

/// Reads what is below a folder of a mounted volume.
pub fn read(folder: &Path) -> Shown {
    let mut shown = Shown::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(folder.join(&at)).unwrap() {
            let entry = entry.unwrap();
            let path = at.join(entry.file_name());
            if path == Path::new("lost+found") {
                continue;
            }
            let full = entry.path();
            let metadata = full.symlink_metadata().unwrap();
            let kind = metadata.file_type();
            assert_eq!(entry.file_type().unwrap(), kind);
            let body = if kind.is_dir() {
                folders.push(path.clone());
                Body::Directory
            } else if kind.is_symlink() {
                Body::Symlink(fs::read_link(&full).unwrap())
            } else if kind.is_fifo() {
                Body::Fifo
            } else {
                let bytes = fs::read(&full).unwrap();
                assert_eq!(bytes.len() as u64, metadata.len());
                Body::File(Arc::new(bytes))
            };
            let mode = if kind.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 };
            let attributes = attributes(&full);
            shown.insert(path, (Node { body, mode, attributes }, metadata.nlink()));
        }
    }
    shown
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut list).unwrap();
    let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| String::from_utf8(name.to_vec()).unwrap());
    names
        .filter(|name| name.starts_with("user."))
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let len = rustix::fs::lgetxattr(path, name.as_str(), &mut value).unwrap();
            value.truncate(len);
            (name, value)
        })
        .collect()
}

/// Fails with the first path that differs.
pub fn compare(found: &Shown, expected: &Shown, what: &str) {
    for path in found.keys().chain(expected.keys()) {
        let (found, expected) = (found.get(path), expected.get(path));
        if found != expected {
            panic!("{what}: {}: {} instead of {}", path.display(), brief(found), brief(expected));
        }
    }
}

fn brief(shown: Option<&(Node, u64)>) -> String {
    let Some((node, links)) = shown else { return "nothing".to_owned() };
    let body = match &node.body {
        Body::File(bytes) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    };
    let names: Vec<_> = node.attributes.iter().map(|(name, value)| (name, value.len())).collect();
    format!("{body}, mode {:o}, {links} links, {names:?}", node.mode)
}
