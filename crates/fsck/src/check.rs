//! The check as a whole: all passes in their order.

use crate::chains::Short;
use crate::repair::Contested;
use crate::state::{Observer, State};
use crate::tables::collected::Totals;
use crate::tables::inodes::InodeTable;
use crate::{
    Context, Pass, Stop, bitmaps, chains, connectivity, directories, inodes, links, quota,
    refcounts, shared_clusters, start,
};

/// The result of a check.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// How many findings there were.
    pub findings: u64,
    /// Counts.
    pub totals: Totals,
    /// Clusters in use.
    pub clusters_in_use: u64,
    /// Whether nothing else was checked because the device ends before the volume.
    pub is_short: bool,
    /// Whether it ended before the inodes were read, so that nothing is known of the contents.
    pub is_partial: bool,
    /// Clusters and blocks that no repair may change until it is known whose they are.
    pub(crate) contested: Contested,
    /// Bytes of memory that the collected facts about the volume took.
    pub known_bytes: u64,
}

/// Checks a volume and reports everything that is wrong to `observer`.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub fn check(context: &Context<'_>, observer: &mut dyn Observer) -> Result<Outcome, Stop> {
    let mut state = State::new(context, observer);
    // Every position on the volume depends on the cluster size.
    if let Some(finding) = start::cluster_size::check(context) {
        state.begin(Pass::Start, 0);
        state.found(finding);
        return Ok(Outcome { findings: state.findings, is_partial: true, ..Outcome::default() });
    }
    let of_attributes = start::attributes::check(context);
    if !of_attributes.is_empty() {
        state.begin(Pass::Start, 0);
        state.found_all(of_attributes);
        return Ok(Outcome { findings: state.findings, is_partial: true, ..Outcome::default() });
    }
    // The missing part may come back: what refers to it must not be taken for damage before.
    let sized = match chains::short_device(context) {
        None => None,
        Some(Short { finding, sized }) => {
            state.begin(Pass::Start, 0);
            // All other findings depend on the right size, so this one comes first.
            state.found(finding);
            let Some(sized) = sized else {
                let findings = state.findings;
                let outcome = Outcome { findings, is_partial: true, ..Outcome::default() };
                return Ok(Outcome { is_short: true, ..outcome });
            };
            Some(sized)
        }
    };
    let context = &Context { volume: sized.as_ref().unwrap_or(context.volume), ..*context };
    start::check(context, &mut state);
    context.check_interrupt()?;
    if state.system.are_gone() {
        // Without the allocators nothing is known of what is there, nor of what is missing.
        return Ok(Outcome { findings: state.findings, is_partial: true, ..Outcome::default() });
    }
    let resized = chains::begin(context, &mut state);
    let context = &Context { volume: resized.as_ref().unwrap_or(context.volume), ..*context };
    chains::check(context, &mut state)?;

    state.begin_inodes(Pass::Inodes);
    state.inodes = InodeTable::new(&state.suballocs);
    let suballocs = std::mem::take(&mut state.suballocs);
    let system = std::mem::take(&mut state.system);
    let scanned = inodes::scan(context, &suballocs, &system, |collected| state.merge(collected));
    (state.suballocs, state.system) = (suballocs, system);
    scanned?;
    let lacking = inodes::lacking::finding(context, &state);
    state.found_all(lacking);
    inodes::settle_surplus(context, &mut state);
    let unsettled = refcounts::check(context, &mut state)?;
    let unowned = bitmaps::check(context, &mut state)?;
    shared_clusters::fixed_places(&mut state);
    shared_clusters::check(context, &mut state, &unsettled)?;

    let directories = directories::check(context, &mut state, &unowned)?;
    connectivity::check(context, &mut state, &directories)?;
    links::check(context, &mut state, &directories)?;
    quota::check(context, &mut state)?;
    context.check_interrupt()?;

    Ok(Outcome {
        findings: state.findings,
        totals: state.totals,
        // The clusters of the bitmap's own descriptors are not claimed, except for the first one.
        clusters_in_use: state.clusters.len()
            + u64::from(context.geometry().groups().saturating_sub(1)),
        is_short: false,
        is_partial: false,
        known_bytes: state.known_bytes(),
        contested: state.contested,
    })
}
