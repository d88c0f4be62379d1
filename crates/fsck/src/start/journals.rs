//! The journals: whether each can be read, agrees with the others, and has nothing left to replay
//! (invariants J-1 and J-2).
//!
//! They are checked as they are after the replay, if there was one: a journal that is still dirty
//! then was not replayed. Pass 1 finds holes in their files, as in all others.

use std::ops::Range;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Incompat;
use ocfs2_format::journal::{JournalIncompat, JournalSuperblock, MIN_JOURNAL_BYTES};
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::replay::{KNOWN_FEATURES, LogEnd};
use ocfs2_volume::tree::Extent;
use ocfs2_volume::{Inode, SystemFile};

use crate::codes::Code;
use crate::codes::journals as codes;
use crate::repair::Repair;
use crate::repair::system::{self, NewJournal};
use crate::start::journal_marks::{self, Mended};
use crate::system_files::{SystemFiles, block_of, extents_of};
use crate::{Context, Finding, Place};

/// Features that depend on how the slot was mounted last.
const OF_MOUNT: JournalIncompat = JournalIncompat::REVOKE.union(JournalIncompat::ASYNC_COMMIT);

/// The journal of a slot, as far as it can be read.
struct Journal {
    slot: u16,
    inode: Inode,
    extents: Vec<Extent>,
    /// The superblock in its first block, or why that cannot be used.
    superblock: Result<JournalSuperblock, String>,
    /// The finding about a wrong mark, which is treated as if it had been mended.
    unmarked: Option<Finding>,
}

impl Journal {
    fn read(context: &Context<'_>, slot: u16, inode: Inode) -> Self {
        let extents = extents_of(context, &inode);
        let mut unmarked = None;
        let superblock = block_of(context, &extents, 0).map_or_else(
            || Err("it has no first block".to_owned()),
            |first| {
                let found = Self::superblock(context, first, clusters(&extents));
                if let Ok((_, Some(mended))) = &found {
                    unmarked = Some(journal_marks::finding(slot, inode.blkno, first, mended));
                }
                found.map(|(superblock, _)| superblock)
            },
        );
        Self { slot, inode, extents, superblock, unmarked }
    }

    /// Returns the superblock with a wrong mark corrected, and the correction.
    fn superblock(
        context: &Context<'_>,
        blkno: Blkno,
        clusters: u64,
    ) -> Result<(JournalSuperblock, Option<Mended>), String> {
        let block = context.volume.read_block(blkno).map_err(|err| err.to_string())?;
        let superblock = JournalSuperblock::decode(&block).map_err(|err| err.to_string())?;
        let blocks = clusters << context.geometry().bpc_bits();
        let block_size = context.volume.block_size();
        if let Some(mended) = journal_marks::mended(&superblock, blkno, block_size, blocks) {
            return Ok((mended.superblock.clone(), Some(mended)));
        }
        let verified = superblock.verify(blkno, block_size, blocks);
        verified.map_err(|err| err.to_string()).map(|()| (superblock, None))
    }

    fn is_dirty(&self) -> bool {
        self.inode.dinode.journal_flags() & Dinode::JOURNAL_DIRTY != 0
    }

    fn finding(&self, code: &'static Code, text: impl std::fmt::Display) -> Finding {
        let slot = self.slot;
        let name = SystemFile::Journal(slot).name();
        let place = Place::inode(self.inode.blkno).in_slot(slot).named(name.as_bytes());
        Finding::new(code, place, format_args!("journal of slot {slot}: {text}"))
    }

    /// Returns the features that all journals should share, if this one can be used.
    fn features(&self) -> JournalIncompat {
        let superblock = self.superblock.as_ref().ok();
        let features = superblock.map_or(JournalIncompat::empty(), JournalSuperblock::incompat);
        (features & KNOWN_FEATURES) - OF_MOUNT
    }

    /// Returns its clusters on the volume.
    fn ranges<'a>(&'a self, context: &Context<'_>) -> impl Iterator<Item = Range<u64>> + 'a {
        let bits = context.geometry().bpc_bits();
        let start = move |extent: &Extent| extent.blkno.0 >> bits;
        self.extents.iter().map(move |at| start(at)..start(at) + u64::from(at.clusters))
    }
}

fn clusters(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| u64::from(extent.clusters)).sum()
}

/// Returns everything that is wrong with the journals.
pub(crate) fn check(context: &Context<'_>, files: &SystemFiles) -> Vec<Finding> {
    if context.volume.has(Incompat::HEARTBEAT_DEV) {
        return Vec::new();
    }
    let journals: Vec<_> = (0..files.slots())
        .filter_map(|slot| {
            let inode = files.inode(context, SystemFile::Journal(slot))?;
            Some(Journal::read(context, slot, inode))
        })
        .collect();
    let good = || journals.iter().filter(|journal| journal.superblock.is_ok());
    let largest = good().map(|journal| clusters(&journal.extents)).max().unwrap_or_default();
    let features = good().fold(JournalIncompat::empty(), |all, one| all | one.features());
    let mut findings = Vec::new();
    let new = |journal: &Journal, elsewhere| {
        let clusters = u32::try_from(largest).unwrap_or(u32::MAX);
        let (slot, blkno) = (journal.slot, journal.inode.blkno);
        system::new_journal(NewJournal { slot, blkno, clusters, features, elsewhere })
    };
    for journal in &journals {
        findings.extend(journal.unmarked.clone());
        match &journal.superblock {
            Ok(superblock) => {
                let alike = alike(context, journal, superblock, largest, features);
                let alike = alike.into_iter().flatten();
                findings
                    .extend(alike.map(|it| it.repaired_otherwise_by(Some(new(journal, false)))));
                findings.extend(left_over(context, journal, superblock));
            }
            Err(why) => {
                let finding = journal.finding(codes::JOURNAL_FILE_INVALID, why);
                // Nothing proves that its clusters are its own: they may belong to another file.
                findings.push(finding.repaired_by(new(journal, true)));
            }
        }
    }
    findings.extend(
        shared(context, &journals)
            .into_iter()
            .map(|(finding, journal)| finding.repaired_by(new(journal, true))),
    );
    findings
}

/// Returns where a journal differs in size and features from the others.
fn alike(
    context: &Context<'_>,
    journal: &Journal,
    superblock: &JournalSuperblock,
    largest: u64,
    features: JournalIncompat,
) -> [Option<Finding>; 4] {
    let geometry = context.geometry();
    let (incompat, ro_compat) =
        (superblock.incompat() - KNOWN_FEATURES, superblock.s_feature_ro_compat);
    let unknown = (!incompat.is_empty() || ro_compat != 0).then(|| {
        let text = format!(
            "features that are not known: incompat {incompat:#x}, ro_compat {ro_compat:#x}"
        );
        journal.finding(codes::JOURNAL_UNKNOWN_FEATURE, text)
    });
    let missing = features - journal.features();
    let missing = (!missing.is_empty()).then(|| {
        let text = format!("lacks incompat {missing:#x}, which other journals have");
        journal.finding(codes::JOURNAL_MISSING_FEATURE, text)
    });
    let clusters = clusters(&journal.extents);
    let bytes = clusters << geometry.cluster_size.bits();
    let small = (clusters < largest || bytes < MIN_JOURNAL_BYTES).then(|| {
        let least = geometry.clusters_for(MIN_JOURNAL_BYTES).map_or(largest, u64::from);
        let text = format!("has {clusters} clusters, expected {}", largest.max(least));
        journal.finding(codes::JOURNAL_TOO_SMALL, text)
    });
    let (size, blocks) = (journal.inode.dinode.i_size, clusters << geometry.bpc_bits());
    let length = (size != bytes || u64::from(superblock.s_maxlen) != blocks).then(|| {
        let text = format!(
            "s_maxlen is {}, i_size {size}, expected {blocks} blocks of {bytes} bytes",
            superblock.s_maxlen
        );
        let finding = journal.finding(codes::JOURNAL_LENGTH, text);
        let (first, inode) = (block_of(context, &journal.extents, 0), journal.inode.blkno);
        finding.repaired_by(Repair::new(move |editor| {
            editor.dinode(inode, |dinode, _| dinode.i_size = bytes)?;
            let Some(first) = first else { return Ok(()) };
            editor.block(first, None, |block| {
                if let Ok(mut superblock) = JournalSuperblock::decode(block) {
                    superblock.s_maxlen = u32::try_from(blocks).unwrap_or(u32::MAX);
                    let _ = superblock.encode(block);
                }
            })
        }))
    });
    [unknown, missing, small, length]
}

/// Returns what a crash or an error has left in a journal.
fn left_over(
    context: &Context<'_>,
    journal: &Journal,
    superblock: &JournalSuperblock,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if journal.is_dirty() {
        let text = "the slot was not unmounted cleanly";
        let repair = system::clean_journal(journal.slot, journal.inode.blkno);
        findings.push(journal.finding(codes::JOURNAL_DIRTY, text).repaired_by(repair));
        let interrupted = || context.interrupt.requested();
        if let Ok(replay) = context.volume.replay_unless(journal.slot, &interrupted)
            && let LogEnd::Damaged { .. } = replay.end
        {
            let text = format!("after {} transactions {}", replay.transactions, replay.end);
            let finding = journal.finding(codes::JOURNAL_LOG_DAMAGED, text);
            let first = block_of(context, &journal.extents, 0);
            let emptied =
                first.map(|at| system::journal_superblock(at, |superblock| superblock.s_start = 0));
            findings.push(finding.repaired_otherwise_by(emptied));
        }
    }
    if superblock.s_errno != 0 {
        let text = format!("s_errno is {}", superblock.s_errno);
        let first = block_of(context, &journal.extents, 0);
        let cleared =
            first.map(|at| system::journal_superblock(at, |superblock| superblock.s_errno = 0));
        let finding = journal.finding(codes::JOURNAL_ABORTED, text);
        findings.push(finding.repaired_otherwise_by(cleared));
    }
    findings
}

/// Returns the journals that share clusters with the journal of a lower slot.
fn shared<'a>(context: &Context<'_>, journals: &'a [Journal]) -> Vec<(Finding, &'a Journal)> {
    let of = |journal| move |range: Range<u64>| (range.start, range.end, journal);
    let mut ranges: Vec<(u64, u64, &'a Journal)> =
        journals.iter().flat_map(|journal| journal.ranges(context).map(of(journal))).collect();
    ranges.sort_unstable_by_key(|(start, end, journal)| (*start, *end, journal.slot));
    let mut findings: Vec<(Finding, &Journal)> = Vec::new();
    let mut last: Option<(u64, &Journal)> = None;
    for (start, end, journal) in ranges {
        if let Some((before, other)) = last
            && start < before
            && other.slot != journal.slot
        {
            let (first, later) =
                if other.slot < journal.slot { (other, journal) } else { (journal, other) };
            let text = format!("shares clusters from {start} on with slot {}", first.slot);
            let finding = later.finding(codes::JOURNAL_SHARED, text);
            // Files that share one extent usually share all: one finding is enough.
            if !findings.iter().any(|(known, _)| known.place == finding.place) {
                findings.push((finding, later));
            }
        }
        if last.is_none_or(|(before, _)| end > before) {
            last = Some((end, journal));
        }
    }
    findings
}
