//! What passes find out and hand to each other.

pub(crate) mod collected;
pub(crate) mod inodes;
pub(crate) mod lacking;
pub(crate) mod suballocs;
pub(crate) mod surplus;
pub(crate) mod usage;
pub(crate) mod visits;
