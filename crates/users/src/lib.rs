//! The nodes of a cluster and a volume: finding them, and keeping them away while it is changed.
//!
//! `ocfs2-volume` knows what is on the disk, `ocfs2-cluster` what runs on this host. What needs
//! both is here.
#![deny(missing_docs)]

mod detect;
mod guard;
mod held;
pub mod holding;
pub mod lock;
mod members;
pub mod name_hash;
mod occupant;
mod opening;
mod recovery;
pub mod regions;
pub mod resize;
mod sound;
mod steps;
pub mod work;

pub use detect::detect;
pub use guard::{Guard, GuardError, Saving};
pub use held::HeldLock;
pub use members::usage_of;
pub use occupant::{Consent, Look, Occupant};
pub use opening::{explained, open_volume};
pub use recovery::{RecoverError, recover};
pub use sound::{verify_end, verify_sound};
pub use steps::{Steps, Writer, forget};
