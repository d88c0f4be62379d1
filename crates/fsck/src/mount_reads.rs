//! A short look at what a mount reads, where no check is due.
//!
//! Reads a few blocks per slot. Dirty journals were recovered before, as far as possible.

use ocfs2_format::Structure;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::truncate_log::{TruncateLog, TruncateLogHeader};
use ocfs2_volume::{SystemFile, Volume};

use crate::chains::short_device;
use crate::start::journals;
use crate::system_files::{SystemFiles, lost_slots};
use crate::{Context, Finding};

/// Returns the first thing that is wrong, as the rest of a sentence that begins with the device. In
/// slots that are in use files only have to exist: what is in them may be changing.
pub(crate) fn wrong(context: &Context<'_>, in_use: impl Fn(u16) -> bool) -> Option<String> {
    let volume = context.volume;
    if short_device(context).is_some() {
        return Some("is larger than its device".to_owned());
    }
    let (files, unreadable) = SystemFiles::read(context);
    if let Some(finding) = unreadable.first() {
        return Some(of(finding));
    }
    let mut expected = SystemFile::expected(volume, volume.max_slots());
    if let Some(file) = expected.find(|file| files.inode(context, *file).is_none()) {
        return Some(format!("has no usable {}", file.name()));
    }
    if let Some(finding) = lost_slots(context, &files) {
        return Some(of(&finding));
    }
    let root = volume.inode(volume.superblock().s_root_blkno);
    if let Err(err) = root.and_then(|root| root.expect(FileKind::Directory, "a directory")) {
        return Some(format!("has no usable root directory ({err})"));
    }
    let is_idle = |finding: &&Finding| !finding.place.slot.is_some_and(&in_use);
    let journals = journals::check(context, &files);
    if let Some(finding) = journals.iter().find(is_idle) {
        return Some(of(finding));
    }
    (0..volume.max_slots()).filter(|slot| !in_use(*slot)).find_map(|slot| {
        let space = space(context, &files, slot).map(|why| format!("has a wrong {why}"));
        space.or_else(|| orphans(volume, slot))
    })
}

fn of(finding: &Finding) -> String {
    format!("has a problem that a mount meets ([{}] {})", finding.code, finding.text)
}

/// Returns what is wrong with the local alloc or the truncate log of a slot.
fn space(context: &Context<'_>, files: &SystemFiles, slot: u16) -> Option<String> {
    let volume = context.volume;
    if let Err(err) = volume.leftovers(slot) {
        return Some(format!("local alloc or truncate log of slot {slot} ({err})"));
    }
    let alloc = files.inode(context, SystemFile::LocalAlloc(slot))?;
    let (used, total) = alloc.dinode.bitmap();
    let size = LocalAlloc::decode(alloc.id2()).map(|alloc| alloc.la_size).unwrap_or_default();
    let set = LocalAlloc::bitmap(alloc.id2(), total).map(|bits| bits.count_ones());
    if size == 0 || !set.is_ok_and(|set| set == used as usize) {
        return Some(format!("local alloc of slot {slot} (la_size {size}, i_used {used})"));
    }
    let log = files.inode(context, SystemFile::TruncateLog(slot))?;
    let count = TruncateLog::new(log.id2()).map(|log| log.header.tl_count).unwrap_or_default();
    let expected = TruncateLogHeader::capacity(volume.block_size());
    (count != expected).then(|| format!("truncate log of slot {slot} (tl_count {count})"))
}

/// Returns what is wrong with the orphan directory of a slot: an entry is, as some kernels leave
/// orphans there forever.
fn orphans(volume: &Volume, slot: u16) -> Option<String> {
    let dir = volume.system_file(SystemFile::OrphanDir(slot));
    let first = dir.and_then(|dir| {
        volume.entries(&dir)?.find(|entry| !matches!(entry, Ok(it) if it.is_dot())).transpose()
    });
    match first {
        Ok(None) => None,
        Ok(Some(_)) => {
            Some(format!("has removed files waiting in the orphan directory of slot {slot}"))
        }
        Err(err) => Some(format!("has a wrong orphan directory of slot {slot} ({err})")),
    }
}
