//! What passes find out and pass on to later ones.

pub(crate) mod collected;
pub(crate) mod inodes;
pub(crate) mod lacking;
pub(crate) mod suballocs;
pub(crate) mod surplus;
pub(crate) mod usage;
pub(crate) mod visits;
