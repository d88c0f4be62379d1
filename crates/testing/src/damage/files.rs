//! The contents of a volume, to find out what a repair has lost.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::dinode::FileKind;
use ocfs2_volume::{Inode, Volume, VolumeOptions};

use crate::VolumePath;

/// Number of bytes that are compared with zero at once.
const PAGE: usize = 4096;

/// The files and attributes of a volume.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Files {
    /// The paths, each with a number that stands for everything a person sees of the file except
    /// its attributes: its type, its owner, its time of change, its contents.
    paths: BTreeMap<VolumePath, u64>,
    /// Each readable attribute, with a number that stands for name and value.
    attributes: BTreeMap<Attribute, u64>,
}

/// Path of a file, and the name of one of its attributes.
type Attribute = (VolumePath, Vec<u8>);

impl Files {
    /// Returns what can be read of the volume in an image.
    pub fn of(image: &Path) -> Self {
        let Ok(device) = open(image, &DeviceOptions::default()) else { return Self::default() };
        let options = VolumeOptions { allow_short: true, ..VolumeOptions::default() };
        Volume::open(device, &options).map_or_else(|_| Self::default(), |it| Self::of_volume(&it))
    }

    /// Returns what can be read of a volume.
    pub fn of_volume(volume: &Volume) -> Self {
        let mut files = Self::default();
        if let Ok(root) = volume.root()
            && let Ok(walk) = volume.walk(&root)
        {
            for entry in walk.flatten() {
                for xattr in volume.xattrs(&entry.inode).flatten() {
                    if let Ok(value) = volume.xattr_value(&xattr) {
                        let stands_for = hash(&(&xattr.name, value));
                        files.attributes.insert((entry.path.clone(), xattr.name), stands_for);
                    }
                }
                if let Some(stands_for) = fingerprint(volume, &entry.inode) {
                    files.paths.insert(entry.path, stands_for);
                }
            }
        }
        files
    }

    /// Returns what was in some place and is in none of the places of `after`. Directories count
    /// only as names.
    pub fn lost(&self, after: &Self) -> Vec<String> {
        let lost = missing(&self.paths, &after.paths).into_iter();
        lost.map(|path| path.escape_ascii().to_string()).collect()
    }

    /// Like [`Self::lost`], but without paths that are the same in `after` and `sound`: what could
    /// be read of these before did not belong to them.
    pub fn lost_unless_mended(&self, after: &Self, sound: &Self) -> Vec<String> {
        let mut rest = self.clone();
        rest.paths.retain(|path, _| {
            let now = after.paths.get(path);
            now.is_none() || now != sound.paths.get(path)
        });
        rest.lost(after)
    }

    /// Returns the attributes that no file has any longer.
    pub fn lost_attributes(&self, after: &Self) -> Vec<String> {
        let lost = missing(&self.attributes, &after.attributes).into_iter();
        let name = |(path, name): &Attribute| {
            format!("{} of {}", name.escape_ascii(), path.escape_ascii())
        };
        lost.map(name).collect()
    }
}

/// Returns what is neither where it was nor anywhere else.
fn missing<'a, K: Ord>(before: &'a BTreeMap<K, u64>, after: &BTreeMap<K, u64>) -> Vec<&'a K> {
    let mut elsewhere: HashMap<u64, usize> = HashMap::new();
    for (place, stands_for) in after {
        if before.get(place) != Some(stands_for) {
            *elsewhere.entry(*stands_for).or_default() += 1;
        }
    }
    let mut lost = Vec::new();
    for (place, stands_for) in before {
        if after.get(place) == Some(stands_for) {
            continue;
        }
        match elsewhere.get_mut(stands_for) {
            Some(count) if *count > 0 => *count -= 1,
            _ => lost.push(place),
        }
    }
    lost
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// `None` if the file cannot be read in full.
fn fingerprint(volume: &Volume, inode: &Inode) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let kind = inode.kind()?;
    let dinode = &inode.dinode;
    (dinode.i_mode, dinode.i_uid, dinode.i_gid).hash(&mut hasher);
    if kind == FileKind::Directory {
        return Some(hasher.finish());
    }
    (inode.mtime().seconds, inode.size()).hash(&mut hasher);
    match kind {
        FileKind::Regular => contents(volume, inode, &mut hasher)?,
        FileKind::Symlink => volume.symlink_target(inode).ok()?.hash(&mut hasher),
        _ => dinode.rdev().hash(&mut hasher),
    }
    Some(hasher.finish())
}

/// Hashes the parts of a file that are not zero: a damaged file may seem to be of any size.
fn contents(volume: &Volume, inode: &Inode, hasher: &mut DefaultHasher) -> Option<()> {
    let file = volume.file(inode).ok()?;
    let mut buf = vec![0; 1 << 18];
    let mut at = 0;
    while let Some(data) = file.next_data(at).ok()? {
        at = data.start;
        while at < data.end {
            let len = buf.len().min((data.end - at).try_into().unwrap_or(usize::MAX));
            let len = file.read_at(buf.get_mut(..len)?, at).ok()?;
            if len == 0 {
                return None;
            }
            for (index, page) in buf.get(..len)?.chunks(PAGE).enumerate() {
                if page.iter().any(|byte| *byte != 0) {
                    (at + (index * PAGE) as u64, page).hash(hasher);
                }
            }
            at += len as u64;
        }
    }
    Some(())
}
