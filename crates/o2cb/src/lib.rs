//! `o2cb`: the cluster's configuration, and the cluster in the kernel; `ocfs2_hb_ctl`, which the
//! kernel runs after a volume is unmounted; `o2cb_ctl`, which old agents call;
//! `o2hbmonitor`, which watches the heartbeat of this node.
//!
//! The operations on files and the kernel are in `ocfs2-cluster`; the commands are here.
#![deny(missing_docs)]

mod attributes;
mod check;
mod cli;
mod configure;
mod corosync;
pub mod ctl;
mod ctl_list;
mod edit;
pub mod hb_ctl;
mod heartbeat;
mod list;
pub mod monitor;
mod program;
mod status;
mod sysconfig;
mod up;

pub use cli::{Cli, command};
pub use heartbeat::{OpenRegion, open_region, region_device};
pub use program::run;
pub use status::Status;
pub use sysconfig::Sysconfig;
pub use up::{offline, online, start_heartbeats, stop_heartbeats};

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}
