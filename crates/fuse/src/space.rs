//! What fallocate(2) asks for.

use ocfs2_volume::posix::Space;

const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 0x10;

/// What a mode of fallocate(2) asks for; `None` for what this program does not do.
pub(crate) fn space(mode: i32) -> Option<Space> {
    let grow = mode & KEEP_SIZE == 0;
    Some(match mode & !KEEP_SIZE {
        0 => Space::Allocated { grow },
        PUNCH_HOLE if !grow => Space::Hole,
        ZERO_RANGE => Space::Zeros { grow },
        _ => return None,
    })
}
