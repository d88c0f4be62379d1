//! mkfs.ocfs2: makes an OCFS2 volume.

mod settings;

pub use settings::Settings;
