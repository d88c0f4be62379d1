//! Blocks that say themselves which directory they are of.

use ocfs2_format::Blkno;
use ocfs2_format::dir::{DirEntry, DirTrailer, entries};
use ocfs2_volume::Volume;

use super::corrected::correct;

/// What a block says of its directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owned {
    /// The directory.
    pub dir: Blkno,
    /// What its `..` points to, if it is the first block.
    pub parent: Option<Blkno>,
    /// Bytes of entries.
    pub area: usize,
}

/// Returns which directory a block is of, by its trailer or, as the first one of a directory, by its
/// `.`. A single wrong bit is corrected in `block`.
pub fn owned(volume: &Volume, blkno: Blkno, block: &mut [u8]) -> Option<Owned> {
    let size = block.len();
    let has_signature = |block: &[u8]| {
        DirTrailer::of_block(block).ok().filter(|it| it.db_signature == DirTrailer::SIGNATURE)
    };
    let mut trailer = has_signature(block);
    if trailer.is_none() && dots(block).is_none() {
        return None;
    }
    if trailer.is_some() {
        correct(volume, block, DirTrailer::check_offset(size));
        trailer = has_signature(block);
    }
    let dots = dots(block);
    match trailer {
        Some(trailer) if trailer.db_blkno == blkno => {
            let dir = trailer.db_parent_dinode;
            let parent = dots.filter(|(own, _)| *own == dir).map(|(_, parent)| parent);
            Some(Owned { dir, parent, area: DirTrailer::offset(size) })
        }
        // A copy in a journal or a file.
        Some(_) => None,
        None => dots.map(|(dir, parent)| Owned { dir, parent: Some(parent), area: size }),
    }
}

/// What `.` and `..` at the beginning of a block point to.
pub fn dots(block: &[u8]) -> Option<(Blkno, Blkno)> {
    let mut entries = entries(block).map_while(Result::ok);
    let (own, parent) = (entries.next()?, entries.next()?);
    let are_dots = own.name == b"." && parent.name == b"..";
    are_dots.then_some((own.header.inode, parent.header.inode))
}

/// The used entries of a block besides `.` and `..`, up to the first impossible one.
pub fn names(area: &[u8]) -> impl Iterator<Item = DirEntry<'_>> {
    let all = entries(area).map_while(Result::ok);
    all.filter(|it| it.is_used() && it.name != b"." && it.name != b"..")
}
