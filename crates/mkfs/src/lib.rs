//! mkfs.ocfs2: makes an OCFS2 volume.
//!
//! [`Settings`] determine a volume; [`Plan::new`] decides where everything goes, in
//! memory, and is where a volume that does not fit is refused; [`Plan::write`] writes it.

mod cluster_map;
mod contents;
mod directory;
mod file;
mod plan;
mod quota;
mod settings;
mod suballocator;
mod system_file;
mod write;

pub use plan::{Plan, PlanError};
pub use settings::Settings;
pub use write::{Progress, Stage, WriteOptions};
