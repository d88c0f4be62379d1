//! How a file lies on the volume, and what of it should be moved.

use std::ops::Range;

use ocfs2_ioctl::Extent;

/// How the contents of a file lie on the volume.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Layout {
    /// Number of pieces: a piece is contiguous in the file and on the volume.
    pub pieces: usize,
    /// Ranges of the file, in bytes, that consist of several short pieces.
    pub short: Vec<Range<u64>>,
}

/// A piece of a file.
struct Piece {
    logical: Range<u64>,
    /// Where it ends on the volume.
    end: u64,
    is_fixed: bool,
}

impl Layout {
    /// The layout of a file with these extents, in order. Pieces from `threshold` bytes on are long
    /// enough; unless `shared`, extents that other files share are not moved. Nothing can be moved from
    /// byte `end` on: Linux moves whole clusters before the end of the file.
    pub fn of(extents: &[Extent], threshold: u64, shared: bool, end: u64) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        for extent in extents.iter().filter(|extent| !extent.flags.is_inline()) {
            let logical = extent.logical..extent.logical.saturating_add(extent.length);
            let is_fixed = extent.flags.is_shared() && !shared || logical.start >= end;
            let place = extent.physical.saturating_add(extent.length);
            match pieces.last_mut() {
                Some(last)
                    if last.logical.end == logical.start
                        && last.end == extent.physical
                        && last.is_fixed == is_fixed =>
                {
                    (last.logical.end, last.end) = (logical.end, place);
                }
                _ => pieces.push(Piece { logical, end: place, is_fixed }),
            }
        }
        let mut layout = Self { pieces: 0, short: Vec::new() };
        let (mut run, mut count): (Range<u64>, usize) = (0..0, 0);
        let mut last: Option<&Piece> = None;
        for piece in &pieces {
            let continues = last.is_some_and(|last| last.logical.end == piece.logical.start);
            // What is fixed and what is not may lie in a row.
            let is_one = continues && last.is_some_and(|last| last.end + len(piece) == piece.end);
            layout.pieces += usize::from(!is_one);
            let is_short = !piece.is_fixed && len(piece) < threshold;
            if !(is_short && continues && count > 0) {
                layout.add(run, count);
                (run, count) = (piece.logical.clone(), 0);
            }
            if is_short {
                (run.end, count) = (piece.logical.end, count + 1);
            }
            last = Some(piece);
        }
        layout.add(run, count);
        for range in &mut layout.short {
            range.end = range.end.min(end);
        }
        layout
    }

    fn add(&mut self, run: Range<u64>, count: usize) {
        if count > 1 {
            self.short.push(run);
        }
    }

    /// Bytes that would be moved.
    pub fn short_bytes(&self) -> u64 {
        self.short.iter().map(|range| range.end - range.start).sum()
    }
}

fn len(piece: &Piece) -> u64 {
    piece.logical.end - piece.logical.start
}

#[cfg(test)]
mod tests {
    use ocfs2_ioctl::ExtentFlags;

    use super::*;

    const K: u64 = 1024;

    fn extent(logical: u64, physical: u64, length: u64, flags: u32) -> Extent {
        let [logical, physical, length] = [logical, physical, length].map(|it| it * K);
        Extent { logical, physical, length, flags: ExtentFlags::new(flags) }
    }

    #[test]
    fn short_pieces_next_to_each_other_are_to_be_moved() {
        let of = |extents: &[Extent]| {
            let layout = Layout::of(extents, 64 * K, false, u64::MAX);
            let short: Vec<_> = layout.short.iter().map(|it| (it.start / K, it.end / K)).collect();
            (layout.pieces, short)
        };
        assert_eq!(of(&[]), (0, vec![]));
        assert_eq!(of(&[extent(0, 100, 4, 0x200)]), (0, vec![]));
        // Two records, one piece.
        assert_eq!(of(&[extent(0, 100, 4, 0), extent(4, 104, 4, 0x800)]), (1, vec![]));
        assert_eq!(of(&[extent(0, 100, 4, 0), extent(4, 204, 4, 0)]), (2, vec![(0, 8)]));
        // A hole between them.
        assert_eq!(of(&[extent(0, 100, 4, 0), extent(8, 204, 4, 0)]), (2, vec![]));
        // A short one next to a long one stays, so does a shared one.
        assert_eq!(of(&[extent(0, 100, 4, 0), extent(4, 204, 64, 0)]), (2, vec![]));
        let shared = [extent(0, 100, 4, 0), extent(4, 204, 4, 0x2000), extent(8, 304, 4, 0)];
        assert_eq!(of(&shared), (3, vec![]));
        let own = Layout::of(&shared, 64 * K, true, u64::MAX);
        assert_eq!((own.short.len(), own.short_bytes()), (1, 12 * K));
        let many = [
            extent(0, 100, 4, 0),
            extent(4, 200, 4, 0),
            extent(8, 300, 64, 0),
            extent(72, 400, 4, 0),
            extent(76, 500, 4, 0),
            extent(80, 600, 4, 0),
        ];
        assert_eq!(of(&many), (6, vec![(0, 8), (72, 84)]));
        assert_eq!(Layout::of(&many, 64 * K, false, u64::MAX).short_bytes(), 20 * K);
        // The last cluster is not full.
        assert_eq!(Layout::of(&many, 64 * K, false, 82 * K).short, [0..8 * K, 72 * K..82 * K]);
        let cut = Layout::of(&many, 64 * K, false, 76 * K);
        assert_eq!((cut.short.len(), cut.short_bytes()), (1, 8 * K));
        // Shared and not, in a row: one piece, which cannot be moved as a whole.
        assert_eq!(of(&[extent(0, 100, 4, 0x2000), extent(4, 104, 4, 0)]), (1, vec![]));
    }
}
