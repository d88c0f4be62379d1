//! Inodes and attributes as FUSE has them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use ocfs2_format::dinode::FileKind;
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_volume::posix::Time;
use ocfs2_volume::{Error, Inode, Timestamp, Volume};

/// Bytes of a unit of `st_blocks`.
const UNIT: u64 = 512;

/// The type of a file.
pub(crate) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}

fn time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = match time.seconds {
        0.. => UNIX_EPOCH.checked_add(whole),
        _ => UNIX_EPOCH.checked_sub(whole),
    };
    let fraction = Duration::from_nanos(u64::from(time.nanoseconds).min(999_999_999));
    whole.and_then(|whole| whole.checked_add(fraction)).unwrap_or(UNIX_EPOCH)
}

/// A time that is to be set.
pub(crate) fn time_of(time: TimeOrNow) -> Time {
    let TimeOrNow::SpecificTime(time) = time else { return Time::Now };
    let (seconds, nanoseconds) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs().cast_signed(), since.subsec_nanos()),
        Err(before) => {
            // The fraction counts upwards from the second before.
            let before = before.duration();
            let (whole, part) = (before.as_secs().cast_signed(), before.subsec_nanos());
            if part == 0 { (-whole, 0) } else { (-whole - 1, 1_000_000_000 - part) }
        }
    };
    Time::At(Timestamp { seconds, nanoseconds })
}

/// The major and the minor number of a device as Linux packs them into 32 bits.
pub(crate) fn rdev(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & !0xff)
}

/// What stat(2) shows of an inode; `None` if it has no type.
pub(crate) fn attributes(volume: &Volume, ino: INodeNo, inode: &Inode) -> Option<FileAttr> {
    let dinode = &inode.dinode;
    let kind = kind(inode.kind()?);
    let clusters = u64::from(dinode.i_clusters);
    let is_device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
    let (major, minor) = if is_device { dinode.rdev() } else { (0, 0) };
    Some(FileAttr {
        ino,
        size: inode.size(),
        blocks: (clusters << volume.geometry().cluster_size.bits()) / UNIT,
        atime: time(inode.atime()),
        mtime: time(inode.mtime()),
        ctime: time(inode.ctime()),
        crtime: UNIX_EPOCH,
        kind,
        perm: dinode.i_mode & 0o7777,
        nlink: volume.links_count(inode),
        uid: dinode.i_uid,
        gid: dinode.i_gid,
        // As Linux packs it into 32 bits.
        rdev: (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12),
        blksize: volume.geometry().cluster_size.bytes(),
        flags: 0,
    })
}

/// The value of an attribute as getxattr(2) returns it; `None` if the inode has none of that name.
pub(crate) fn value(volume: &Volume, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let Some((prefix, rest)) = XattrPrefix::split(name) else { return Ok(None) };
    let Some(xattr) = volume.xattr(inode, prefix, rest)? else { return Ok(None) };
    volume.shown_xattr_value(&xattr).map(Some)
}

/// The names of all attributes, each with a NUL after it, as listxattr(2) returns them. Those of
/// root are left out for others, as Linux does.
pub(crate) fn names(volume: &Volume, inode: &Inode, is_root: bool) -> Result<Vec<u8>, Error> {
    let mut list = Vec::new();
    for xattr in volume.xattrs(inode) {
        let xattr = xattr?;
        if is_root || xattr.prefix != XattrPrefix::Trusted {
            list.extend_from_slice(&xattr.name);
            list.push(0);
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_comes_back() {
        for (seconds, nanoseconds) in [(0, 0), (5, 7), (-1, 0), (-3, 999_999_999), (-3, 1)] {
            let stamp = Timestamp { seconds, nanoseconds };
            let set = match nanoseconds {
                0 => time(stamp),
                _ if seconds < 0 => {
                    let before = Duration::from_secs(seconds.unsigned_abs());
                    UNIX_EPOCH - before + Duration::from_nanos(nanoseconds.into())
                }
                _ => time(stamp),
            };
            assert_eq!(time_of(TimeOrNow::SpecificTime(set)), Time::At(stamp));
        }
        assert_eq!(rdev(0x1234_5678), (0x456, 0x0001_2378));
    }
}
