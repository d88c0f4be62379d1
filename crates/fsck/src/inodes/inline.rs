//! Contents in the dinode.

use ocfs2_format::Structure;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::dir::entry_size;
use ocfs2_format::inline::InlineData;

use super::dinode::Subject;
use super::guess;
use crate::Context;
use crate::codes::inodes as codes;
use crate::tables::collected::Collected;

/// Bytes that the entries `.` and `..` need.
pub(crate) const LEAST_DIRECTORY: usize = entry_size(1) + entry_size(2);

pub(super) fn check(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) {
    let (dinode, id2) = (subject.dinode(), subject.inode.id2());
    let Ok(inline) = InlineData::decode(id2) else { return };
    let room = id2.len() - InlineData::SIZE;
    // A clone of a file with attributes keeps the count of the original, even if its own attributes
    // are elsewhere.
    let attributes = usize::from(context.volume.superblock().s_xattr_inline_size);
    let count = usize::from(inline.id_count);
    if count != room && count + attributes != room {
        let text = format!("id_count is {}, expected {room}", inline.id_count);
        let repair = subject.repair(move |_, id2| {
            if let Ok(inline) = InlineData::decode(id2) {
                let _ = InlineData { id_count: room as u16, ..inline }.encode(id2);
            }
        });
        out.found(subject.finding(codes::INLINE_DATA_COUNT_INVALID, text).repaired_by(repair));
    }
    if dinode.i_clusters != 0 {
        let text = format!("i_clusters is {}, the data is inline", dinode.i_clusters);
        let repair = subject.repair(|dinode, _| dinode.i_clusters = 0);
        out.found(subject.finding(codes::INODE_INLINE_CLUSTERS, text).repaired_by(repair));
    }
    let size = match usize::try_from(dinode.i_size) {
        Ok(size) if size <= room => size,
        _ => {
            let text = format!("i_size is {}, {room} bytes fit inline", dinode.i_size);
            let repair = subject.repair(move |dinode, _| dinode.i_size = room as u64);
            out.found(subject.finding(codes::INODE_INLINE_SIZE, text).repaired_by(repair));
            return;
        }
    };
    let is_dir = subject.kind == Some(FileKind::Directory);
    if is_dir && size < LEAST_DIRECTORY {
        let text = format!("is a directory of size {size}, which is too small for . and ..");
        let repair = guess::sized_directory(subject.blkno());
        out.found(subject.finding(codes::DIR_SIZE_ZERO, text).repaired_by(repair));
        return;
    }
    // Bytes past the end of a file become visible when the file grows.
    let tail = id2.get(InlineData::SIZE + size..).unwrap_or_default();
    if subject.kind == Some(FileKind::Regular) && tail.iter().any(|byte| *byte != 0) {
        let text = format!("inline data after i_size {size} is not zero");
        let end = InlineData::SIZE + room;
        let repair = subject.repair(move |dinode, id2| {
            let start = InlineData::SIZE.saturating_add(dinode.i_size as usize);
            id2.get_mut(start..end).unwrap_or_default().fill(0);
        });
        out.found(subject.finding(codes::INLINE_DATA_TAIL, text).repaired_by(repair));
    }
}
