//! A directory made again of the blocks that are left of it.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::extent::{ExtentFlags, ExtentRec, write_extent_list};
use ocfs2_format::{Cluster, Cpos};
use ocfs2_volume::allocator::Suballocated;

use super::tree::list_room;
use super::{EditError, Editor, Repair};

/// The clusters of a directory in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Clusters {
    /// The clusters.
    pub clusters: Vec<u32>,
    /// How many blocks of the last one are of the directory.
    pub last: u64,
}

/// Makes the inode of a directory again, with the clusters in which its blocks are. What is wrong
/// with its entries, and the index that it lacks, is then found as in any other directory. It takes
/// nothing, and comes first: otherwise the names above it and its clusters would be given up.
pub fn make(home: Suballocated, clusters: Clusters) -> Repair {
    Repair::first_once("lost directory", home.blkno.0, move |editor| {
        create(editor, home, &clusters)
    })
}

fn create(editor: &mut Editor<'_>, home: Suballocated, found: &Clusters) -> Result<(), EditError> {
    let volume = editor.volume();
    let geometry = *volume.geometry();
    let room = volume.block_size().size().saturating_sub(Dinode::ID2_OFFSET);
    let (records, clusters) = records(editor, &found.clusters, list_room(room));
    let per_cluster = u64::from(geometry.blocks_per_cluster());
    // What has no room in the inode has to be named in lost+found.
    let last = if clusters as usize == found.clusters.len() { found.last } else { per_cluster };
    let blocks = (u64::from(clusters) * per_cluster + last).saturating_sub(per_cluster);
    let superblock = volume.superblock();
    let is_root = home.blkno == superblock.s_root_blkno;
    let (flags, mode) = match is_root {
        true => (InodeFlags::VALID | InodeFlags::SYSTEM, 0o040_755),
        // Whoever may read what is in it is not known.
        false => (InodeFlags::VALID, 0o040_700),
    };
    let dinode = Dinode {
        i_size: blocks << volume.block_size().bits(),
        i_clusters: clusters,
        i_mode: mode,
        i_links_count: 2,
        i_flags: flags.bits(),
        ..editor.new_dinode(&home)
    };
    editor.create(home.blkno, &dinode, |id2| {
        let _ = write_extent_list(id2, 0, &records);
    })
}

/// The first extents of these clusters, at most `room`, and how many clusters they have.
fn records(editor: &Editor<'_>, clusters: &[u32], room: usize) -> (Vec<ExtentRec>, u32) {
    let geometry = editor.volume().geometry();
    let mut runs: Vec<(u32, u16)> = Vec::new();
    for cluster in clusters {
        let has_room = runs.len() < room;
        match runs.last_mut() {
            Some((start, count)) if *start + u32::from(*count) == *cluster && *count < u16::MAX => {
                *count += 1;
            }
            _ if has_room => runs.push((*cluster, 1)),
            _ => break,
        }
    }
    let mut cpos = 0;
    let records = runs.into_iter().map(|(start, count)| {
        let first = geometry.block_of(Cluster(start));
        let record = ExtentRec::leaf(Cpos(cpos), count, ExtentFlags::empty(), first);
        cpos += u32::from(count);
        record
    });
    (records.collect(), cpos)
}
