//! What a volume contains, whatever its places are.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use ocfs2_format::dinode::FileKind;
use ocfs2_volume::{Error, Inode, Volume};

use crate::walk;

/// What stands for the contents of a file, whether its zeros are stored or not.
#[derive(Default)]
pub struct Contents(DefaultHasher);

impl Contents {
    /// Adds bytes; the offset is a multiple of 512.
    pub fn add(&mut self, at: u64, bytes: &[u8]) {
        for (index, piece) in bytes.chunks(512).enumerate() {
            let len = piece.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if len > 0 {
                (at + index as u64 * 512, &piece[..len]).hash(&mut self.0);
            }
        }
    }

    /// The digest of a file of this size.
    pub fn of_size(self, size: u64) -> u64 {
        let Self(mut hasher) = self;
        (FileKind::Regular.mode_bits(), size).hash(&mut hasher);
        hasher.finish()
    }

    /// The digest of a file on a volume.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn digest(volume: &Volume, inode: &Inode) -> Result<u64, Error> {
        let (file, mut contents) = (volume.file(inode)?, Self::default());
        let (mut bytes, mut at) = (vec![0; 1 << 20], 0);
        // Files may have holes of terabytes.
        while let Some(data) = file.next_data(at)? {
            at = data.start;
            while at < data.end {
                let most = bytes.len().min((data.end - at) as usize);
                let len = file.read_at(&mut bytes[..most], at)?;
                contents.add(at, &bytes[..len]);
                at += len as u64;
                if len < most {
                    break;
                }
            }
            at = data.end;
        }
        Ok(contents.of_size(inode.size()))
    }
}

/// What is at each path: kind, owner, links, size and contents, and attributes if `xattrs`.
pub fn listed(volume: &Volume, xattrs: bool) -> BTreeMap<String, String> {
    let mut listed = BTreeMap::new();
    for (path, inode) in walk(volume) {
        let dinode = &inode.dinode;
        let mut text = format!("{:o} {}:{}", dinode.i_mode, dinode.i_uid, dinode.i_gid);
        text += &format!(" {} {:?}", volume.links_count(&inode), inode.mtime());
        match inode.kind() {
            Some(FileKind::Regular) => {
                let digest = Contents::digest(volume, &inode).unwrap();
                text += &format!(" {} {digest}", inode.size());
            }
            Some(FileKind::Symlink) => {
                text += &format!(" {:?}", volume.symlink_target(&inode).unwrap());
            }
            _ => {}
        }
        if xattrs {
            for xattr in volume.sorted_xattrs(&inode).unwrap() {
                let value = volume.xattr_value(&xattr).unwrap();
                text += &format!(" {}={:?}", xattr.name.escape_ascii(), value);
            }
        }
        let (dir, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], &path[..]),
        };
        if !name.is_empty() && listed.len() % 40 < 8 {
            // A lookup uses the index. Without one, looking for all would take long.
            let dir = volume.resolve(&[b"/", dir].concat()).unwrap();
            let found = volume.lookup(&dir, name).unwrap().unwrap();
            assert_eq!(found.inode, inode.blkno, "{}", path.escape_ascii());
        }
        listed.insert(path.escape_ascii().to_string(), text);
    }
    listed
}
