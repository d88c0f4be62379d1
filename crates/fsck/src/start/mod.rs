//! Before pass 0: superblock, backups, system files, slot map, journals, heartbeat region.
//!
//! Verifies the invariants S-1 to S-8 and J-1 to J-4. Collects where the system files are
//! (`SystemFiles`), in which later passes look them up, and claims the clusters of the backup
//! superblocks.

pub(crate) mod attributes;
mod backups;
pub(crate) mod cluster_size;
mod heartbeat;
pub(crate) mod journal_marks;
pub(crate) mod journals;
mod recover;
mod slot_map;
mod superblock;
pub(crate) mod tops;

pub(crate) use recover::mended;
pub use recover::restored_superblock;

use ocfs2_cluster::RunningCluster;

use crate::state::State;
use crate::{Context, system_files};

/// Checks everything that the passes start from.
pub(crate) fn check(context: &Context<'_>, state: &mut State<'_>) {
    state.found_all(recover::finding(context.volume));
    state.found_all(mended(context.volume));
    state.found_all(superblock::check(context));
    state.found_all(tops::check(context));
    state.found_all(superblock::cluster(context.volume, RunningCluster::find().as_ref()));
    backups::check(context, state);
    let (system, findings) = system_files::check(context);
    state.system = system;
    state.found_all(findings);
    let findings = slot_map::check(context, &state.system);
    state.found_all(findings);
    let findings = journals::check(context, &state.system);
    state.found_all(findings);
    let findings = heartbeat::check(context, &state.system);
    state.found_all(findings);
}
