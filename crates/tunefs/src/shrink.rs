//! Making a volume smaller.

use std::io::{self, Write};

use anyhow::Result;
use ocfs2_cli::human_size;
use ocfs2_format::superblock::Stack;
use ocfs2_users::work::{Piece, Work};
use ocfs2_volume::edit::{Beyond, Contents, EditError, JournalStep, Shared};
use ocfs2_volume::{SystemFile, Volume};

use crate::walk::inodes_that;

/// Sizes in a row that are tried because they are likely the smallest.
const MOST_GUESSES: u32 = 3;

/// What has moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moved {
    journals: u64,
    inodes: u64,
    /// Inodes whose directory blocks, index, attributes or extent blocks have moved.
    metadata: u64,
    /// Files whose contents have moved, and the clusters that were copied for them.
    files: u64,
    clusters: u64,
    /// Clusters that files share.
    shared: u64,
    /// Groups of the allocators of inodes and blocks that were freed.
    groups: usize,
}

impl Moved {
    /// Whether inodes have got other numbers.
    pub fn has_inodes(&self) -> bool {
        self.inodes > 0
    }

    /// Prints what moves if a volume gets `clusters` clusters.
    pub fn print(&self, volume: &Volume, clusters: u32, out: &mut impl Write) -> io::Result<()> {
        let bits = volume.geometry().cluster_size.bits();
        let size = |clusters: u64| human_size(clusters << bits);
        writeln!(out, "Moves to the clusters before {clusters}:")?;
        writeln!(out, "  journals              {:>10}", self.journals)?;
        writeln!(out, "  inodes, renumbered    {:>10}", self.inodes)?;
        writeln!(out, "  inodes, metadata of   {:>10}", self.metadata)?;
        let moved = self.clusters;
        writeln!(out, "  files, contents of    {:>10}", self.files)?;
        writeln!(out, "    clusters of these   {moved:>10}  ({})", size(moved))?;
        writeln!(out, "  clusters, shared      {:>10}  ({})", self.shared, size(self.shared))?;
        writeln!(out, "  allocator groups      {:>10}", self.groups)?;
        let new = u64::from(clusters);
        let old = u64::from(volume.geometry().clusters);
        writeln!(out, "New size: {} instead of {}, {new} clusters", size(new), size(old))
    }
}

/// Moves everything to the first `clusters` clusters, and makes the volume end after them. With
/// `keeps_numbers`, no inode may get another number.
///
/// Journals come first, as commits are written through them. Then come inodes, so that what follows
/// meets each under its final number, and metadata before contents, as it needs room in one piece.
///
/// # Errors
/// [`EditError::NoRoom`] if that is too small; [`EditError::Refused`]; something is damaged; a
/// transaction cannot be committed.
pub(crate) fn shrink(work: &mut Work<'_>, clusters: u32, keeps_numbers: bool) -> Result<Moved> {
    for slot in 0..work.edit.max_slots() {
        work.edit.verify_slot_is_done(slot)?;
    }
    let beyond = work.edit.beyond(clusters)?;
    heartbeat(work, &beyond)?;
    work.edit.set_limit(Some(clusters))?;
    let mut moved = Moved::default();
    journals(work, &beyond, &mut moved)?;
    inodes(work, &beyond, keeps_numbers, &mut moved)?;
    metadata(work, &beyond, &mut moved)?;
    contents(work, &beyond, &mut moved)?;
    shared(work, &beyond, &mut moved)?;
    moved.groups = work.edit.drop_groups(&beyond)?;
    work.flush()?;
    work.edit.verify_nothing_beyond(&beyond)?;
    work.edit.end_after(clusters)?;
    work.flush()?;
    Ok(moved)
}

/// Refuses to move the heartbeat region of a cluster: its nodes know where it begins, and use it
/// without mounting the volume.
fn heartbeat(work: &Work<'_>, beyond: &Beyond) -> Result<()> {
    let is_global = work.edit.superblock().stack() == Stack::O2cb { global_heartbeat: true };
    if !is_global {
        return Ok(());
    }
    let region = work.edit.system_file(SystemFile::Heartbeat)?;
    match work.edit.has_contents_beyond(&region, beyond)? {
        false => Ok(()),
        true => {
            let text = "the heartbeat region of the cluster is in the part that goes";
            Err(EditError::Refused(text.to_owned()).into())
        }
    }
}

fn journals(work: &mut Work<'_>, beyond: &Beyond, moved: &mut Moved) -> Result<()> {
    work.begin("Moving journals", work.edit.max_slots().into());
    for slot in 0..work.edit.max_slots() {
        let mut step = JournalStep::Done;
        loop {
            step = work.edit.move_journal(slot, beyond, &step)?;
            match &step {
                JournalStep::Longer(new) => {
                    moved.journals += 1;
                    work.before.extend(new.iter().cloned().map(Piece::Zero));
                }
                JournalStep::Turned { is_inode_only: true } | JournalStep::Cut => {}
                // Its own journal is no place for that.
                JournalStep::Turned { .. } if work.edit.max_slots() > 1 => {
                    work.not_through = Some(slot);
                }
                JournalStep::Turned { .. } => {
                    return Err(EditError::NoRoom("the journal in so few pieces").into());
                }
                JournalStep::Done => break,
            }
            work.flush()?;
        }
        work.advance(1);
    }
    Ok(())
}

fn inodes(
    work: &mut Work<'_>,
    beyond: &Beyond,
    keeps_numbers: bool,
    moved: &mut Moved,
) -> Result<()> {
    let mut names = work.edit.inodes_beyond(beyond)?;
    let numbers = names.inodes();
    if keeps_numbers && !numbers.is_empty() {
        let text = format!(
            "{} inodes would get other numbers, which --keep-inode-numbers forbids",
            numbers.len()
        );
        return Err(EditError::Refused(text).into());
    }
    work.begin("Moving inodes", numbers.len());
    for blkno in numbers {
        work.edit.move_inode(&mut names, blkno)?;
        moved.inodes += 1;
        work.settle()?;
        work.advance(1);
    }
    work.flush()
}

fn metadata(work: &mut Work<'_>, beyond: &Beyond, moved: &mut Moved) -> Result<()> {
    let volume = work.edit.volume();
    let found = inodes_that(volume, |inode| volume.has_metadata_beyond(inode, beyond))?;
    work.begin("Moving directories and extent blocks", found.len());
    for blkno in &found {
        moved.metadata += 1;
        match work.edit.inode(*blkno)?.is_dir() {
            true => work.edit.move_directory(*blkno, beyond)?,
            false => work.edit.move_tree(*blkno, beyond)?,
        }
        work.settle()?;
        work.advance(1);
    }
    // What the old indexes have left may be taken again, and is then copied to before the
    // transaction.
    work.flush()?;
    work.begin("Moving attributes", found.len());
    for blkno in found {
        loop {
            let (more, copies) = work.edit.move_xattrs(blkno, beyond)?;
            copy(work, copies);
            work.settle()?;
            if !more {
                break;
            }
        }
        work.advance(1);
    }
    work.flush()
}

fn contents(work: &mut Work<'_>, beyond: &Beyond, moved: &mut Moved) -> Result<()> {
    let mut found = Vec::new();
    for inode in work.edit.volume().inodes() {
        let inode = inode?;
        if work.edit.has_contents_beyond(&inode, beyond)? {
            found.push((inode.blkno, work.edit.clusters_beyond(&inode, beyond)?));
        }
    }
    let total: u64 = found.iter().map(|(_, clusters)| clusters).sum();
    work.begin("Moving contents of files, in clusters", total as usize);
    for (blkno, clusters) in found {
        moved.files += 1;
        moved.clusters += clusters;
        let (mut at, mut copied) = (Some(0), 0);
        while let Some(from) = at {
            let (next, copies) = work.edit.move_contents(blkno, beyond, from)?;
            let count = copies.iter().map(count).sum::<u64>();
            copied += count;
            copy(work, copies);
            work.settle()?;
            work.advance(count);
            at = next;
        }
        // What is unwritten is not copied.
        work.advance(clusters.saturating_sub(copied));
    }
    work.flush()
}

fn shared(work: &mut Work<'_>, beyond: &Beyond, moved: &mut Moved) -> Result<()> {
    let trees = work.edit.refcount_users_beyond(beyond)?;
    work.begin("Moving what files share", trees.len());
    for (root, users) in trees {
        let root = work.edit.move_refcounts(root, &users, beyond)?;
        work.settle()?;
        let mut shared = Shared::default();
        loop {
            shared = work.edit.shared_beyond(root, beyond, &shared)?;
            if shared.is_empty() {
                break;
            }
            for user in &users {
                let copies = work.edit.follow_shared(root, *user, &mut shared)?;
                moved.shared += copies.iter().map(count).sum::<u64>();
                copy(work, copies);
                work.settle()?;
            }
        }
        work.advance(1);
    }
    work.flush()
}

fn count(contents: &Contents) -> u64 {
    match contents {
        Contents::Zeros(run) => u64::from(run.end - run.start),
        Contents::Copy { clusters, .. } => u64::from(*clusters),
    }
}

fn copy(work: &mut Work<'_>, copies: Vec<Contents>) {
    work.before.extend(copies.into_iter().map(Piece::from));
}

/// The smallest number of clusters with which `fits` succeeds and with one less does not. It is not
/// called for fewer clusters than what cannot go takes. It returns how many are in use then.
///
/// # Errors
/// Those of `fits` that are not a lack of room; interrupts.
pub(crate) fn least(volume: &Volume, fits: &dyn Fn(u32) -> Result<u32>) -> Result<u32> {
    let bound = volume.bound()?;
    let tried = |clusters: u32| match fits(clusters) {
        Ok(used) => Ok(Some(used)),
        Err(err) if is_no_room(&err) => Ok(None),
        Err(err) => Err(err),
    };
    // Too few, and enough.
    let (mut low, mut high) = (bound.too_few(), volume.geometry().clusters);
    // As a rule there is room for what is in use, and for nothing less. After a few such guesses the
    // rest is halved, so that they cannot go on one by one.
    let (mut guess, mut guesses) = (Some(used(volume)?), 0);
    while high - low > 1 {
        let middle = match guess.take().filter(|_| guesses < MOST_GUESSES) {
            Some(used) => {
                guesses += 1;
                used.clamp(low + 1, high - 1)
            }
            None => {
                guesses = 0;
                low + (high - low) / 2
            }
        };
        let clusters = rounded(volume, middle);
        let used = match clusters > low && bound.allows(clusters) {
            true => tried(clusters)?,
            false => None,
        };
        match used {
            Some(used) => {
                // With as many as are in use, it is full.
                guess = Some(if used == clusters { clusters - 1 } else { used });
                high = clusters;
            }
            None => low = middle,
        }
    }
    Ok(high)
}

/// Clusters of a volume that are in use.
pub(crate) fn used(volume: &Volume) -> Result<u32> {
    Ok(volume.system_file(SystemFile::GlobalBitmap)?.dinode.bitmap().0)
}

/// At most as many clusters, so that the last group has more than its descriptor.
pub(crate) fn rounded(volume: &Volume, clusters: u32) -> u32 {
    let rest = clusters % volume.geometry().clusters_per_group();
    if rest == 1 { clusters - 1 } else { clusters }
}

fn is_no_room(err: &anyhow::Error) -> bool {
    err.downcast_ref::<EditError>().is_some_and(EditError::is_no_room)
}
