//! What a volume contains, whatever its places are.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use ocfs2_format::dinode::FileKind;
use ocfs2_volume::{Inode, Volume};

use crate::walk;

/// A hash of what a file contains, whether its zeros are stored or not.
fn digest(volume: &Volume, inode: &Inode) -> u64 {
    let (file, mut hasher) = (volume.file(inode).unwrap(), DefaultHasher::new());
    let (mut bytes, mut at) = (vec![0; 1 << 20], 0);
    while let Some(range) = file.next_data(at).unwrap() {
        at = range.start;
        while at < range.end {
            let read = file.read_at(&mut bytes, at).unwrap().min((range.end - at) as usize);
            for (index, piece) in bytes[..read].chunks(512).enumerate() {
                if piece.iter().any(|byte| *byte != 0) {
                    (at + index as u64 * 512, piece).hash(&mut hasher);
                }
            }
            at += read as u64;
        }
    }
    hasher.finish()
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
                text += &format!(" {} {}", inode.size(), digest(volume, &inode));
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
