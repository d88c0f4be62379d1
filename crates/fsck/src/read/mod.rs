//! What structures are, read as far as possible. Shared by the check and by repairs, as otherwise
//! each would undo the other's work.
//!
//! Nothing here makes a finding, asks, or changes a volume.

pub(crate) mod corrected;
pub(crate) mod dir_block;
pub(crate) mod dx_root;
pub(crate) mod extent_order;
pub(crate) mod holds;
pub(crate) mod misplaced;
pub(crate) mod one_bit;
pub(crate) mod reach;
pub(crate) mod seen;
pub(crate) mod system;
pub(crate) mod system_group;
