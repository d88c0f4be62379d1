//! A judge that agrees to all repairs.

use ocfs2_fsck::plan::Judge;
use ocfs2_fsck::{Found, Pass};

/// Answers yes to everything.
#[derive(Debug)]
pub struct Yes;

impl Judge for Yes {
    fn round(&mut self, _round: u32) {}

    fn pass(&mut self, _pass: Pass, _total: u64) {}

    fn answer(&mut self, _found: Found<'_>) -> bool {
        true
    }
}
