//! What structures are, read as far as they can be read: the same for the check and for repairs,
//! which else undo each other's work.
//!
//! Nothing here makes a finding, asks, or changes a volume.

pub(crate) mod corrected;
pub(crate) mod dx_root;
pub(crate) mod extent_order;
pub(crate) mod holds;
pub(crate) mod misplaced;
pub(crate) mod one_bit;
pub(crate) mod reach;
pub(crate) mod seen;
pub(crate) mod system;
pub(crate) mod system_group;
