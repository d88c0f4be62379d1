//! The requested changes, in the order in which they are made.

use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use ocfs2_cluster::RunningCluster;
use ocfs2_format::feature::{Compat, Features, Incompat};
use ocfs2_format::quota::QuotaKind;
use ocfs2_users::work::Work;
use ocfs2_volume::Volume;
use uuid::Uuid;

use crate::cli::MountType;
use crate::features::Switch;
use crate::journals::{Journals, set_slots};
use crate::slots::remove_slots;
use crate::{Cli, query, stamped};

/// Longest label in bytes.
const MOST_LABEL: usize = 63;
/// End of the label of a copy.
const CLONED: &[u8] = b"-cloned";

/// A change that goes into the one transaction.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Label(Vec<u8>),
    Uuid(Option<Uuid>),
    Clone(Vec<u8>),
    Stack(RunningCluster),
    Interval(QuotaKind, u32),
    Slots(u16, Journals),
    FewerSlots(u16),
    Journals(Journals),
    Switch(Switch),
}

/// The state of the volume with regard to a change.
pub(crate) enum State {
    /// Already done, with a message that says so.
    Done(String),
    /// Asked without the question mark; with `-i` only, otherwise the answer is yes.
    Ask(String),
    /// Always asked (second), after a message (first).
    Critical(String, String),
}

impl State {
    /// The message or question.
    pub fn text(&self) -> &str {
        match self {
            Self::Done(text) | Self::Ask(text) | Self::Critical(_, text) => text,
        }
    }
}

impl Change {
    /// Returns all changes except that of the size.
    ///
    /// # Errors
    /// If one of them is not possible.
    pub fn all(cli: &Cli, volume: &Volume) -> Result<Vec<Self>> {
        let mut changes = Vec::new();
        if let Some(label) = &cli.label {
            changes.push(Self::Label(label_of(label.as_bytes())?));
        }
        if let Some(label) = &cli.cloned_volume {
            changes.push(Self::Clone(match (label, &cli.label) {
                (Some(_), Some(_)) => bail!("two labels were given, with -L and --cloned-volume"),
                (Some(label), None) => label_of(label.as_bytes())?,
                (None, Some(label)) => label_of(label.as_bytes())?,
                (None, None) => cloned_label(volume.superblock().label()),
            }));
        }
        if let Some(uuid) = cli.uuid_reset {
            changes.push(Self::Uuid(uuid));
        }
        if cli.update_cluster_stack {
            let running = RunningCluster::find().context(
                "no cluster is online on this host that the volume could be given to; `o2cb online` brings one \
                 of o2cb online, systemctl start dlm one of corosync",
            )?;
            changes.push(Self::Stack(running));
        }
        for (kind, ms) in [
            (QuotaKind::User, cli.usrquota_sync_interval),
            (QuotaKind::Group, cli.grpquota_sync_interval),
        ] {
            changes.extend(ms.map(|ms| Self::Interval(kind, ms)));
        }
        if cli.node_slots.is_some() || cli.journal_options.is_some() {
            // Slots that go need no larger journals.
            if let Some(slots) = cli.node_slots.filter(|slots| *slots <= volume.max_slots()) {
                changes.push(Self::FewerSlots(slots));
            }
            let mut journals = Journals::of_volume(volume)?;
            if let Some(options) = &cli.journal_options {
                journals = journals.changed(volume, options)?;
                changes.push(Self::Journals(journals));
            }
            let more = cli.node_slots.filter(|slots| *slots > volume.max_slots());
            changes.extend(more.map(|slots| Self::Slots(slots, journals)));
        }
        let (on, off) = features(cli);
        for switch in Switch::all(on, off) {
            changes.push(Self::Switch(switch));
        }
        Ok(changes)
    }

    /// Returns the state of `volume`, on `device`, with regard to this change.
    ///
    /// # Errors
    /// If the volume cannot be given to the cluster, or a journal cannot be read.
    pub fn state(&self, volume: &Volume, device: &str) -> Result<State> {
        let superblock = volume.superblock();
        let lossy = |bytes: &[u8]| ocfs2_cli::terminal(bytes);
        Ok(match self {
            Self::Label(label) if *label == superblock.label() => {
                let label = lossy(label);
                State::Done(format!(
                    "Device \"{device}\" already has the label \"{label}\"; nothing to do"
                ))
            }
            Self::Label(label) => {
                let (old, new) = (lossy(superblock.label()), lossy(label));
                State::Ask(format!(
                    "Change the label on device \"{device}\" from \"{old}\" to \"{new}\""
                ))
            }
            Self::Uuid(uuid) => {
                let question = format!("Reset the volume UUID on device \"{device}\"");
                match uuid {
                    None => State::Ask(question),
                    Some(_) => State::Critical(
                        "No two volumes that a host can see may have the same UUID.".to_owned(),
                        question,
                    ),
                }
            }
            Self::Clone(_) => State::Critical(
                "Only a copy of a volume should get another UUID and label this way, and no node \
                 may use it."
                    .to_owned(),
                format!("Reset the volume UUID and label on device \"{device}\""),
            ),
            Self::Stack(running) => {
                let then = stamped(superblock, running)?;
                if then == *superblock {
                    return Ok(State::Done(format!("The volume belongs to {running} already")));
                }
                let (now, then) = (query(superblock, "%C")?, query(&then, "%C")?);
                State::Critical(
                    format!("Changing the cluster stack from {now} to {then}"),
                    "No node of the old cluster can mount the volume any more. Proceed".to_owned(),
                )
            }
            Self::Interval(kind, ms) => {
                let kind = if *kind == QuotaKind::User { "user" } else { "group" };
                State::Ask(format!(
                    "Change the {kind} quota sync interval on device \"{device}\" to {ms}"
                ))
            }
            Self::FewerSlots(slots) if *slots == volume.max_slots() => {
                match volume.surplus_slot_files()?.len() {
                    0 => State::Done(format!(
                        "Device \"{device}\" already has {slots} node slots; nothing to do"
                    )),
                    files => State::Ask(format!(
                        "Remove {files} files of node slots that are gone from device \"{device}\""
                    )),
                }
            }
            Self::Slots(slots, _) | Self::FewerSlots(slots) => {
                let now = volume.max_slots();
                State::Ask(format!(
                    "Change the number of node slots on device \"{device}\" from {now} to {slots}"
                ))
            }
            Self::Journals(wanted) => {
                let now = Journals::of_volume(volume)?;
                let bytes = u64::from(wanted.clusters) << volume.geometry().cluster_size.bits();
                if now.clusters != wanted.clusters || now.block64 == wanted.block64 {
                    State::Ask(format!("Resize journals on device \"{device}\" to {bytes}"))
                } else {
                    let name = if wanted.block64 { "block64" } else { "block32" };
                    State::Ask(format!("Enable {name} journal feature on device \"{device}\""))
                }
            }
            Self::Switch(switch) if switch.is_done(volume)? => State::Done(switch.already(device)),
            Self::Switch(switch) => match switch.loss() {
                Some(loss) => State::Critical(loss.to_owned(), switch.question(device)),
                None => State::Ask(switch.question(device)),
            },
        })
    }

    /// The option that requests it; of a feature, its name, with `no` before it if it goes off.
    pub fn name(&self) -> String {
        match self {
            Self::Label(_) => "label".to_owned(),
            Self::Uuid(_) => "uuid-reset".to_owned(),
            Self::Clone(_) => "cloned-volume".to_owned(),
            Self::Stack(_) => "update-cluster-stack".to_owned(),
            Self::Interval(QuotaKind::User, _) => "usrquota-sync-interval".to_owned(),
            Self::Interval(QuotaKind::Group, _) => "grpquota-sync-interval".to_owned(),
            Self::Slots(..) | Self::FewerSlots(_) => "node-slots".to_owned(),
            Self::Journals(_) => "journal-options".to_owned(),
            Self::Switch(switch) => {
                format!("{}{}", if switch.on { "" } else { "no" }, switch.feature.name)
            }
        }
    }

    /// Whether this can take several transactions.
    pub fn is_long(&self) -> bool {
        match self {
            Self::FewerSlots(_) => true,
            Self::Switch(switch) => switch.is_long(),
            _ => false,
        }
    }

    /// Makes the change in `work`.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn apply(&self, work: &mut Work<'_>) -> Result<()> {
        let edit = &mut work.edit;
        match self {
            Self::Label(label) => edit.update_superblock(|it| put_label(it, label))?,
            Self::Uuid(uuid) => {
                let uuid = uuid.unwrap_or_else(Uuid::new_v4);
                edit.update_superblock(|it| it.s_uuid = uuid.into_bytes())?;
            }
            Self::Clone(label) => edit.update_superblock(|it| {
                it.s_uuid = Uuid::new_v4().into_bytes();
                put_label(it, label);
            })?,
            Self::Stack(running) => {
                let then = stamped(edit.superblock(), running)?;
                edit.update_superblock(|it| *it = then)?;
            }
            Self::Interval(kind, ms) => edit.set_quota_interval(*kind, *ms)?,
            Self::Slots(slots, journals) => set_slots(work, *slots, *journals)?,
            Self::FewerSlots(slots) => remove_slots(work, *slots)?,
            Self::Journals(journals) => {
                let slots = edit.max_slots();
                set_slots(work, slots, *journals)?;
            }
            Self::Switch(switch) => switch
                .apply(work)
                .with_context(|| format!("--fs-features: {}", switch.feature.name))?,
        }
        Ok(())
    }
}

/// The features to switch on, and those to switch off.
fn features(cli: &Cli) -> (Features, Features) {
    let request = cli.fs_features.unwrap_or_default();
    let (mut on, mut off) = (request.set, request.clear);
    match cli.mount {
        Some(MountType::Local) => on.incompat |= Incompat::LOCAL_MOUNT,
        Some(MountType::Cluster) => off.incompat |= Incompat::LOCAL_MOUNT,
        None => {}
    }
    if cli.backup_super {
        on.compat |= Compat::BACKUP_SB;
    }
    (on, off)
}

fn label_of(label: &[u8]) -> Result<Vec<u8>> {
    if label.len() > MOST_LABEL {
        bail!("the label has {} bytes, there is room for {MOST_LABEL}", label.len());
    }
    Ok(label.to_vec())
}

/// The label of a copy of a volume.
fn cloned_label(label: &[u8]) -> Vec<u8> {
    if label.ends_with(CLONED) {
        return label.to_vec();
    }
    let kept = label.get(..MOST_LABEL - CLONED.len()).unwrap_or(label);
    [kept, CLONED].concat()
}

fn put_label(superblock: &mut ocfs2_format::superblock::SuperBlock, label: &[u8]) {
    superblock.s_label.fill(0);
    superblock.s_label.iter_mut().zip(label).for_each(|(byte, from)| *byte = *from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_copy_says_so_once_and_fits() {
        assert_eq!(cloned_label(b"data"), b"data-cloned");
        assert_eq!(cloned_label(b"data-cloned"), b"data-cloned");
        let long = cloned_label(&[b'x'; 64]);
        assert_eq!((long.len(), long.ends_with(b"x-cloned")), (63, true));
        assert!(label_of(&[b'x'; 64]).is_err() && label_of(&[b'x'; 63]).is_ok());
    }
}
