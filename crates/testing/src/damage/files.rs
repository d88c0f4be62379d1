//! What is in a volume, to see what a repair has lost of it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;

use ocfs2_format::dinode::FileKind;
use ocfs2_volume::device::{DeviceOptions, open};
use ocfs2_volume::{Inode, Volume, VolumeOptions};

use crate::VolumePath;

/// The paths of a volume, with a number that stands for all a person sees of each: what it is,
/// whose it is, when it was changed, its contents and attributes.
#[derive(Clone, Debug, Default)]
pub struct Files(pub BTreeMap<VolumePath, u64>);

impl Files {
    /// What can be read of the volume in an image.
    pub fn of(image: &Path) -> Self {
        let Ok(device) = open(image, &DeviceOptions::default()) else { return Self::default() };
        let options = VolumeOptions { allow_short: true, ..VolumeOptions::default() };
        Volume::open(device, &options).map_or_else(|_| Self::default(), |it| Self::of_volume(&it))
    }

    /// What can be read of a volume.
    pub fn of_volume(volume: &Volume) -> Self {
        let mut files = BTreeMap::new();
        if let Ok(root) = volume.root()
            && let Ok(walk) = volume.walk(&root)
        {
            for entry in walk.flatten() {
                if let Some(stands_for) = fingerprint(volume, &entry.inode) {
                    files.insert(entry.path, stands_for);
                }
            }
        }
        Self(files)
    }

    /// What is in none of the places of `after`, and was in one before. Directories count only
    /// as names.
    pub fn lost(&self, after: &Self) -> Vec<String> {
        let mut elsewhere: HashMap<u64, usize> = HashMap::new();
        for (path, file) in &after.0 {
            if self.0.get(path) != Some(file) {
                *elsewhere.entry(*file).or_default() += 1;
            }
        }
        let mut lost = Vec::new();
        for (path, file) in &self.0 {
            if after.0.get(path) == Some(file) {
                continue;
            }
            match elsewhere.get_mut(file) {
                Some(count) if *count > 0 => *count -= 1,
                _ => lost.push(path.escape_ascii().to_string()),
            }
        }
        lost
    }
}

/// `None` if it can not be read in full.
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
        FileKind::Regular => {
            let mut file = volume.file(inode).ok()?;
            let mut buf = vec![0; 1 << 18];
            loop {
                match file.read(&mut buf).ok()? {
                    0 => break,
                    len => buf.get(..len)?.hash(&mut hasher),
                }
            }
        }
        FileKind::Symlink => volume.symlink_target(inode).ok()?.hash(&mut hasher),
        _ => dinode.rdev().hash(&mut hasher),
    }
    Some(hasher.finish())
}
