//! Decides whether a report of losses is correct, by the contents of all files of the undamaged
//! volume.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::dinode::FileKind;
use ocfs2_testing::VolumePath;
use ocfs2_volume::{Inode, Volume, VolumeOptions};
use serde_json::Value;

/// A file of a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Item {
    inode: u64,
    is_dir: bool,
    /// Stands for type, size and contents; constant for a directory. `None` if they cannot be read.
    contents: Option<u64>,
    /// Each stands for the name and value of an attribute.
    attributes: BTreeSet<u64>,
}

/// All files of a volume, as far as they can be read.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Contents(BTreeMap<VolumePath, Item>);

impl Contents {
    pub fn of(image: &Path) -> Self {
        let Ok(device) = open(image, &DeviceOptions::default()) else { return Self::default() };
        let options = VolumeOptions { allow_short: true, ..VolumeOptions::default() };
        let Ok(volume) = Volume::open(device, &options) else { return Self::default() };
        let mut files = BTreeMap::new();
        if let Ok(root) = volume.root()
            && let Ok(walk) = volume.walk(&root)
        {
            files.insert(b"/".to_vec(), item(&volume, &root));
            for entry in walk.flatten() {
                let path: VolumePath = [b"/", &entry.path[..]].concat();
                files.insert(path, item(&volume, &entry.inode));
            }
        }
        Self(files)
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn item(volume: &Volume, inode: &Inode) -> Item {
    let mut attributes = BTreeSet::new();
    for xattr in volume.xattrs(inode).flatten() {
        if let Ok(value) = volume.xattr_value(&xattr) {
            attributes.insert(hash(&(&xattr.name, value)));
        }
    }
    let is_dir = inode.is_dir();
    let contents = if is_dir { Some(0) } else { contents(volume, inode) };
    Item { inode: inode.blkno.0, is_dir, contents, attributes }
}

fn contents(volume: &Volume, inode: &Inode) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let kind = inode.kind()?;
    (kind as u8).hash(&mut hasher);
    match kind {
        FileKind::Regular => {
            inode.size().hash(&mut hasher);
            let file = volume.file(inode).ok()?;
            let mut at = 0;
            let mut buf = vec![0; 1 << 16];
            while let Some(data) = file.next_data(at).ok()? {
                at = data.start;
                while at < data.end {
                    let len = buf.len().min((data.end - at) as usize);
                    let len = file.read_at(&mut buf[..len], at).ok()?;
                    for (index, page) in buf[..len].chunks(512).enumerate() {
                        if page.iter().any(|byte| *byte != 0) {
                            (at + index as u64 * 512, page).hash(&mut hasher);
                        }
                    }
                    at += len as u64;
                }
            }
        }
        FileKind::Symlink => volume.symlink_target(inode).ok()?.hash(&mut hasher),
        _ => {}
    }
    Some(hasher.finish())
}

/// Returns a path and the paths of all directories that it is in, the innermost first.
fn way_up(path: &VolumePath) -> impl Iterator<Item = VolumePath> {
    let path = path.clone();
    let mut at = Some(path.len());
    std::iter::from_fn(move || {
        let end = at?;
        at = path[..end].iter().rposition(|byte| *byte == b'/').filter(|_| end > 0);
        Some(if end == 0 { b"/".to_vec() } else { path[..end].to_vec() })
    })
}

/// The undamaged, the damaged and the repaired volume, and the report.
pub struct Case<'a> {
    pub sound: &'a Contents,
    pub damaged: &'a Contents,
    pub repaired: &'a Contents,
    pub report: &'a Value,
}

impl Case<'_> {
    /// Returns what is wrong in the report.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let lost = self.report["lost"].as_array().unwrap();
        let path_of = |loss: &Value| loss["path"].as_str().map(|path| path.as_bytes().to_vec());
        let mut paths: HashMap<Vec<u8>, &Value> = HashMap::new();
        let mut inodes: HashMap<u64, &Value> = HashMap::new();
        for loss in lost {
            if let Some(path) = path_of(loss) {
                paths.insert(path, loss);
            }
            inodes.insert(loss["inode"].as_u64().unwrap(), loss);
        }
        let named: BTreeSet<u64> = self.report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|it| [it["place"]["inode"].as_u64(), it["place"]["block"].as_u64()])
            .flatten()
            .collect();
        let mut harmed = BTreeSet::new();
        for (path, was) in &self.sound.0 {
            if !self.is_harmed(path, was) {
                continue;
            }
            harmed.insert(path.clone());
            let inode_of = |path: &VolumePath| self.sound.0.get(path).map(|it| it.inode);
            let is_told = way_up(path).any(|it| {
                paths.contains_key(&it[..])
                    || inode_of(&it).is_some_and(|inode| inodes.contains_key(&inode))
            });
            // Invisible damage: it reads as before.
            let is_silent = self.damaged.0.get(path).is_some_and(|damaged| {
                self.repaired.0.get(path).is_some_and(|repaired| damaged == repaired)
            });
            let is_found =
                way_up(path).any(|it| inode_of(&it).is_some_and(|inode| named.contains(&inode)));
            if !is_told && !is_silent && is_found {
                faults.push(format!("{} is harmed, and not told", path.escape_ascii()));
            }
        }
        for loss in lost.iter().filter(|loss| !loss["lost"].as_array().unwrap().is_empty()) {
            let Some(path) = path_of(loss) else { continue };
            let Some(was) = self.sound.0.get(&path) else { continue };
            // Nothing shows that a damaged lost+found was empty and had no names to lose. If it is
            // no longer a directory, another one is made.
            let has_lost_names = loss["lost"] == serde_json::json!(["names"]);
            let is_another = loss["file_type"] != "directory" && loss["new_path"] != loss["path"];
            if path == b"/lost+found" && (has_lost_names || is_another) {
                continue;
            }
            let is_below = |it: &VolumePath| it.starts_with(&[&path[..], b"/"].concat());
            let is_dir_harmed = was.is_dir && harmed.iter().any(is_below);
            if !harmed.contains(&path) && !is_dir_harmed {
                faults.push(format!("{} is unharmed, and told: {loss}", path.escape_ascii()));
            }
        }
        let told = lost.iter().filter(|loss| !loss["lost"].as_array().unwrap().is_empty()).count();
        if self.report["summary"]["lost"] != told {
            faults.push(format!("{told} are listed of {}", self.report["summary"]["lost"]));
        }
        faults
    }

    fn is_harmed(&self, path: &VolumePath, was: &Item) -> bool {
        let Some(is) = self.repaired.0.get(path) else { return true };
        let is_same = if was.is_dir { is.is_dir } else { was.contents == is.contents };
        !is_same || !was.attributes.is_subset(&is.attributes)
    }
}
