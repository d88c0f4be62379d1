//! A file on a mounted volume: the space it occupies, and its status.

use std::fmt::Write;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocfs2_cli::{People, shown};
use ocfs2_ioctl::{Extent, Mounted};

/// Bytes for which the score is calculated.
const SCORED: u32 = 1 << 20;

/// The space of a file, in clusters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Room {
    extents: u64,
    clusters: u64,
    shared: u64,
    unwritten: u64,
    /// Missing clusters before the last extent.
    holes: u64,
}

impl Room {
    fn of(extents: &[Extent], cluster_size: u32) -> Self {
        let size = u64::from(cluster_size.max(1));
        let (mut room, mut end) = (Self::default(), 0);
        for extent in extents {
            room.extents += 1;
            if extent.flags.is_inline() {
                continue;
            }
            let clusters = extent.length.div_ceil(size);
            room.clusters += clusters;
            room.shared += if extent.flags.is_shared() { clusters } else { 0 };
            room.unwritten += if extent.flags.is_unwritten() { clusters } else { 0 };
            room.holes += (extent.logical / size).saturating_sub(end);
            end = extent.logical / size + clusters;
        }
        room
    }
}

/// The answer to `--space-usage`.
///
/// # Errors
/// Those of the kernel.
pub fn space_usage(file: &Mounted, path: &Path) -> Result<String> {
    let room = Room::of(&file.extents()?, file.cluster_size()?);
    let Room { shared, unwritten, holes, .. } = room;
    let blocks = path.metadata()?.blocks();
    Ok(format!(
        "Blocks: {blocks:<10} Shared: {shared:<10}\tUnwritten: {unwritten:<7} Holes: {holes:<6}\n"
    ))
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_file() {
        return if metadata.len() == 0 { "regular empty file" } else { "regular file" };
    }
    if kind.is_dir() {
        "directory"
    } else if kind.is_char_device() {
        "character special file"
    } else if kind.is_block_device() {
        "block special file"
    } else if kind.is_fifo() {
        "FIFO"
    } else if kind.is_socket() {
        "socket"
    } else {
        "symbolic link"
    }
}

/// Permissions in the form of ls(1).
fn permissions(metadata: &Metadata) -> String {
    let mode = metadata.mode();
    let first = if metadata.is_dir() { 'd' } else { '-' };
    let mut text = String::from(first);
    // The letter that replaces `x`, and the bit that makes it do so.
    for (shift, letter, bit) in [(6, 's', 0o4000), (3, 's', 0o2000), (0, 't', 0o1000)] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & bit != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A time in the zone of this machine.
fn time(seconds: i64, nanoseconds: i64) -> String {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default();
    match Timestamp::new(seconds, nanoseconds) {
        Ok(time) => {
            let zoned = time.to_zoned(TimeZone::system());
            zoned.strftime("%Y-%m-%d %H:%M:%S.%9f %z").to_string()
        }
        // The time is outside the calendar.
        Err(_) => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// The answer to `--filestat`.
///
/// # Errors
/// Those of the kernel.
pub fn stat(file: &Mounted, path: &Path) -> Result<String> {
    let (metadata, people) = (path.metadata()?, People::of_this_machine());
    let cluster_size = file.cluster_size()?;
    let room = Room::of(&file.extents()?, cluster_size);
    let Room { extents, clusters, shared, unwritten, holes } = room;
    let percent = if clusters > 1 { 100.0 * extents as f64 / clusters as f64 } else { 0.0 };
    let score = percent * f64::from(SCORED / cluster_size.clamp(1, SCORED));
    let mut text = format!("  File: {}\n", shown(path));
    // The block size of the volume, not the preferred size of reads.
    let (size, blocks, unit) = (metadata.len(), metadata.blocks(), file.block_size()?);
    let (dev, inode, links) = (metadata.dev(), metadata.ino(), metadata.nlink());
    let kind = kind(&metadata);
    let _ = writeln!(text, "  Size: {size:<10}\tBlocks: {blocks:<10} IO Block: {unit:<6} {kind}");
    let _ = writeln!(text, "Device: {dev:x}h/{dev}d\tInode: {inode:<10}  Links: {links}");
    let _ = writeln!(
        text,
        " Frag%: {percent:<10.2}\tClusters: {clusters:<8} Extents: {extents:<6} Score: {score:.0}"
    );
    let _ = writeln!(
        text,
        "Shared: {shared:<10}\tUnwritten: {unwritten:<7} Holes: {holes:<8} Xattr: 0"
    );
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    let (user, group, letters) = (people.user(uid), people.group(gid), permissions(&metadata));
    let _ = writeln!(
        text,
        "Access: ({mode:04o}/{letters})  Uid: ({uid:>5}/{user:>8})   Gid: ({gid:>5}/{group:>8})"
    );
    for (name, seconds, nanoseconds) in [
        ("Access", metadata.atime(), metadata.atime_nsec()),
        ("Modify", metadata.mtime(), metadata.mtime_nsec()),
        ("Change", metadata.ctime(), metadata.ctime_nsec()),
    ] {
        let _ = writeln!(text, "{name}: {}", time(seconds, nanoseconds));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_extents_is_a_hole() {
        let extent = |logical, length| Extent { logical, length, ..Extent::default() };
        let room = Room::of(&[extent(4096, 8192), extent(16384, 100)], 4096);
        let expected = Room { extents: 2, clusters: 3, holes: 2, ..Room::default() };
        assert_eq!(room, expected);
    }

    #[test]
    fn nanoseconds_are_nine_digits() {
        assert!(time(0, 5).contains(":00.000000005 "), "{}", time(0, 5));
        assert_eq!(time(i64::MAX, 0), format!("{}.000000000", i64::MAX));
    }
}
