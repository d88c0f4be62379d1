//! Findings about blocks that were written to the place of another one.

use ocfs2_format::Blkno;
use ocfs2_volume::Volume;

use crate::codes::inodes as codes;
use crate::read::misplaced::{Way, is_copy};
use crate::repair::Repair;
use crate::{Finding, Place};

/// Returns the finding that the block at `here` belongs elsewhere; `place` is what it is part of.
pub(crate) fn finding(
    volume: &Volume,
    (structure, here): (&str, Blkno),
    place: Place,
) -> Option<Finding> {
    let way = Way::from(volume, here)?;
    let text = match (way.copy_of, way.moves.first()) {
        (Some(home), None) => {
            format!(
                "{structure} {here}: is a copy of that in block {home}, in the place of another"
            )
        }
        (_, Some((home, _))) => format!("{structure} {here}: belongs to block {home}"),
        (None, None) => return None,
    };
    // One repair for all blocks that are in each other's places.
    let first = way.moves.iter().map(|(home, _)| home.0).chain([here.0]).min().unwrap_or(here.0);
    let number = way.copy_of.map_or(first, |home| home.0);
    let repair = Repair::first_once("misplaced block", number, move |editor| {
        let volume = editor.volume();
        let Some(way) = Way::from(volume, here) else { return Ok(()) };
        for (home, bytes) in &way.moves {
            editor.put_blocks(*home, bytes)?;
        }
        // What was here is lost. An empty block lets the next check find that.
        match way.copy_of {
            Some(_) => editor.block(here, None, |block| block.fill(0)),
            None => Ok(()),
        }
    });
    let finding = Finding::new(codes::BLOCK_MISPLACED, place, text).repaired_by(repair);
    Some(finding.losing(way.copy_of.is_some()))
}

/// The same for an inode at `here` that was exchanged with others, so that nothing is lost.
pub(crate) fn exchanged(volume: &Volume, here: Blkno) -> Option<Finding> {
    let finding = || finding(volume, ("inode", here), Place::inode(here));
    if is_copy(volume, here) { None } else { finding() }
}
