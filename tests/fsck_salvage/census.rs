//! What is on a volume, where each part of it is, and how much of that is still there afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_testing::VolumePath;
use ocfs2_tests::Contents;
use ocfs2_volume::{Inode, Volume};

/// Bytes of the device.
type Places = Vec<Range<u64>>;

/// A file, a directory or anything else that has a name.
#[derive(Clone, Debug)]
pub struct Item {
    pub inode: u64,
    pub kind: FileKind,
    /// Stands for its contents.
    pub digest: u64,
    /// Where inode, tree and contents are.
    places: Places,
    /// Where its name and those of the directories above it are.
    names: Places,
}

/// Everything on a volume, by path.
#[derive(Clone, Debug, Default)]
pub struct Census {
    pub items: BTreeMap<VolumePath, Item>,
}

/// How much of what survives a damage was saved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rates {
    /// Items whose inode, tree and contents survive.
    pub savable: usize,
    /// Those of them that are there again with the same contents.
    pub saved: usize,
    /// Savable items whose name survives.
    pub nameable: usize,
    /// Those of them that have their name, and below the same directories, up to the first one whose
    /// name does not survive: their path, where all names do.
    pub named: usize,
}

impl Rates {
    pub fn add(&mut self, other: Self) {
        self.savable += other.savable;
        self.saved += other.saved;
        self.nameable += other.nameable;
        self.named += other.named;
    }

    pub fn saved_percent(&self) -> f64 {
        percent(self.saved, self.savable)
    }

    pub fn named_percent(&self) -> f64 {
        percent(self.named, self.nameable)
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl Census {
    /// Reads a volume; what cannot be read is not counted.
    pub fn of(volume: &Volume) -> Self {
        let mut items = BTreeMap::new();
        let mut names: BTreeMap<VolumePath, Places> = BTreeMap::new();
        let Ok(root) = volume.root() else { return Self::default() };
        let Ok(walk) = volume.walk(&root) else { return Self::default() };
        let size = u64::from(volume.block_size().bytes());
        for found in walk.flatten() {
            let at = found.entry.blkno.0 * size;
            let above = found.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            let mut own = names.get(&found.path[..above]).cloned().unwrap_or_default();
            own.push(at..at + size);
            if found.inode.is_dir() {
                names.insert(found.path.clone(), own.clone());
            }
            let Some(kind) = found.inode.kind() else { continue };
            let Some(digest) = digest(volume, &found.inode) else { continue };
            let places = places(volume, &found.inode);
            let inode = found.inode.blkno.0;
            items.insert(found.path, Item { inode, kind, digest, places, names: own });
        }
        Self { items }
    }

    /// Compares with the volume after the damage to these bytes was repaired.
    pub fn after_repair(&self, damage: &[Range<u64>], after: &Self) -> Rates {
        let mut by_inode: BTreeMap<u64, Vec<&VolumePath>> = BTreeMap::new();
        for (path, item) in &after.items {
            by_inode.entry(item.inode).or_default().push(path);
        }
        self.rates(damage, |path, item| {
            let is_same = |now: &Item| {
                now.inode == item.inode && now.digest == item.digest && now.kind == item.kind
            };
            if after.items.get(path).is_some_and(is_same) {
                return vec![path.clone()];
            }
            let paths = by_inode.get(&item.inode).into_iter().flatten();
            paths
                .filter(|path| after.items.get(**path).is_some_and(is_same))
                .cloned()
                .cloned()
                .collect()
        })
    }

    /// Compares with the folder to which files were rescued.
    pub fn after_rescue(&self, damage: &[Range<u64>], folder: &Path) -> Rates {
        let mut there = BTreeMap::new();
        read_folder(folder, b"", &mut there);
        let by_inode: BTreeMap<u64, &VolumePath> =
            self.items.iter().map(|(path, item)| (item.inode, path)).collect();
        // What is in lost+found has the number of an inode and the path below that.
        let mut elsewhere = BTreeMap::new();
        for (path, digest) in &there {
            let Some(rest) = path.strip_prefix(b"lost+found/#") else { continue };
            let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let number = std::str::from_utf8(&rest[..end]).ok().and_then(|it| it.parse().ok());
            let Some(top) = number.and_then(|number: u64| by_inode.get(&number)) else { continue };
            elsewhere.insert([&top[..], &rest[end..]].concat(), (path.clone(), *digest));
        }
        self.rates(damage, |path, item| {
            if there.get(path) == Some(&item.digest) {
                return vec![path.clone()];
            }
            let found = elsewhere.get(path).filter(|(_, digest)| *digest == item.digest);
            found.map(|(path, _)| path.clone()).into_iter().collect()
        })
    }

    /// `found` returns the paths at which an item is, with its contents.
    fn rates(
        &self,
        damage: &[Range<u64>],
        found: impl Fn(&VolumePath, &Item) -> Vec<VolumePath>,
    ) -> Rates {
        let is_hit = |place: &Range<u64>| {
            damage.iter().any(|hit| hit.start < place.end && place.start < hit.end)
        };
        let mut rates = Rates::default();
        for (path, item) in self.items.iter().filter(|(path, _)| &path[..] != b"lost+found") {
            if item.places.iter().any(is_hit) {
                continue;
            }
            let now = found(path, item);
            rates.savable += 1;
            rates.saved += usize::from(!now.is_empty());
            let names = item.names.iter().rev().take_while(|place| !is_hit(place)).count();
            if names > 0 {
                let parts: Vec<_> = path.split(|byte| *byte == b'/').collect();
                let kept = parts[parts.len() - names..].join(&b'/');
                rates.nameable += 1;
                rates.named += usize::from(now.iter().any(|now| now.ends_with(&kept)));
            }
        }
        rates
    }
}

/// The paths in a folder, each with what stands for its contents.
fn read_folder(folder: &Path, path: &[u8], found: &mut BTreeMap<VolumePath, u64>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        let path = match path {
            b"" => name.as_bytes().to_vec(),
            path => [path, b"/", name.as_bytes()].concat(),
        };
        let kind = entry.file_type().unwrap();
        let digest = if kind.is_dir() {
            read_folder(&entry.path(), &path, found);
            hash(FileKind::Directory, &[])
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            hash(FileKind::Symlink, target.as_os_str().as_bytes())
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            let mut contents = Contents::default();
            contents.add(0, &bytes);
            contents.of_size(bytes.len() as u64)
        } else {
            hash(FileKind::Fifo, &[])
        };
        found.insert(path, digest);
    }
}

fn hash(kind: FileKind, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind.mode_bits(), bytes).hash(&mut hasher);
    hasher.finish()
}

fn digest(volume: &Volume, inode: &Inode) -> Option<u64> {
    let kind = inode.kind()?;
    Some(match kind {
        FileKind::Regular => Contents::digest(volume, inode).ok()?,
        FileKind::Symlink => hash(kind, &volume.symlink_target(inode).ok()?),
        FileKind::Directory => hash(kind, &[]),
        _ => hash(FileKind::Fifo, &[]),
    })
}

/// Where an inode, its tree and its contents are. Of a directory, only the inode counts: its blocks
/// are the names of others.
fn places(volume: &Volume, inode: &Inode) -> Places {
    let geometry = volume.geometry();
    let size = u64::from(volume.block_size().bytes());
    let block = |blkno: Blkno| blkno.0 * size..(blkno.0 + 1) * size;
    let mut places = vec![block(inode.blkno)];
    if inode.is_dir() {
        return places;
    }
    let Ok(tree) = volume.tree(inode) else { return places };
    let mut extents = tree.extents();
    for extent in extents.by_ref().flatten().filter(|it| !it.is_unwritten()) {
        let start = extent.blkno.0 * size;
        places.push(start..start + (u64::from(extent.clusters) << geometry.cluster_size.bits()));
    }
    places.extend(extents.extent_blocks().map(block));
    places
}
