//! How a file or directory lies on a volume.

use std::ops::Range;

use ocfs2_format::extent::ExtentFlags;
use ocfs2_volume::tree::Extent;
use ocfs2_volume::{Error, Inode, Volume};

/// Clusters of a file in a row on the volume. In the file, holes may lie between them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    /// Positions in the file, in clusters.
    pub positions: Range<u64>,
    /// The first cluster on the volume.
    pub place: u32,
    pub clusters: u32,
    /// Whether other files may use it, too, so that it stays.
    pub is_fixed: bool,
}

impl Piece {
    /// The cluster after it on the volume.
    pub fn end(&self) -> u32 {
        self.place.saturating_add(self.clusters)
    }
}

/// The pieces of a file or directory in the order of their positions.
///
/// # Errors
/// Its tree is damaged.
pub(crate) fn pieces_of(volume: &Volume, inode: &Inode) -> Result<Vec<Piece>, Error> {
    let extents = volume.tree(inode)?.extents().collect::<Result<Vec<_>, _>>()?;
    Ok(pieces(volume, &extents))
}

/// The pieces that these extents of one file make; neighbours of which one is fixed are two, even in a
/// row.
pub(crate) fn pieces(volume: &Volume, extents: &[Extent]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for extent in extents {
        let place = volume.geometry().cluster_of(extent.blkno).unwrap_or_default().0;
        let clusters = u32::from(extent.clusters);
        let is_fixed = extent.flags.contains(ExtentFlags::REFCOUNTED);
        match pieces.last_mut() {
            Some(last) if last.end() == place && last.is_fixed == is_fixed => {
                last.positions.end = extent.end();
                last.clusters = last.clusters.saturating_add(clusters);
            }
            _ => {
                let positions = extent.cpos.0.into()..extent.end();
                pieces.push(Piece { positions, place, clusters, is_fixed });
            }
        }
    }
    pieces
}

/// Number of places from which the pieces have to be read.
pub(crate) fn count(pieces: &[Piece]) -> usize {
    let jumps = pieces.windows(2).filter(|pair| match pair {
        [one, next] => one.end() != next.place,
        _ => false,
    });
    jumps.count() + usize::from(!pieces.is_empty())
}

/// Number of places from which they would have to be read at best, if as many as `longest` clusters
/// could be free in a row.
pub(crate) fn least(pieces: &[Piece], longest: u32) -> usize {
    let (mut count, mut room, mut was_fixed) = (0, 0, true);
    for piece in pieces {
        if piece.is_fixed || was_fixed || piece.clusters > room {
            count += 1;
            room = longest;
        }
        room = room.saturating_sub(piece.clusters);
        was_fixed = piece.is_fixed;
    }
    count
}
