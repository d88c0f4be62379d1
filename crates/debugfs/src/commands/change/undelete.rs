//! Deleted files: listed, and restored from what journals and freed inodes have of them.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use ocfs2_cli::terminal;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_volume::edit::{Edit, NewInode};
use ocfs2_volume::{Inode, SystemFile, Volume};

use super::reuse::{Clusters, allocated_since, is_later};
use super::{Place, counted, refused, say};
use crate::commands::blocks::block;
use crate::error::{Explain, Failure, Problem};
use crate::past::{self, Deleted, Kept, Past};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::Fs;
use crate::words::number_of;

/// Bytes copied at a time.
const PIECE: usize = 1 << 20;

/// Deleted files by inode, each with the slot whose journal has it.
type Found = BTreeMap<Blkno, (u16, Deleted)>;

/// A deleted file, found in this slot, and the volume in which it was whole.
#[derive(Clone, Copy)]
struct Former<'a> {
    slot: u16,
    deleted: &'a Deleted,
    past: &'a Volume,
}

/// What was found of deleted files.
#[derive(Default)]
struct Search {
    found: Found,
    /// Slots whose journals a replay would bring back: what these restore is not deleted.
    dirty: Vec<u16>,
    /// Whether something could not be read, which was reported.
    has_failed: bool,
}

impl Search {
    fn of(fs: &Fs, slots: Range<u16>, out: &mut Screen) -> Result<Self, Failure> {
        let mut search = Self::default();
        for slot in slots {
            if fs.volume.journal_is_dirty(slot).unwrap_or(false) {
                search.dirty.push(slot);
                continue;
            }
            let logged = Past::of_slot(fs, slot).and_then(|past| past.deleted());
            search.add(slot, "journal", logged, out)?;
            search.add(slot, "inodes", past::freed(fs, slot), out)?;
        }
        Ok(search)
    }

    fn add(
        &mut self,
        slot: u16,
        place: &str,
        deleted: Result<BTreeMap<Blkno, Deleted>, Problem>,
        out: &mut Screen,
    ) -> Result<(), Failure> {
        let deleted = match deleted {
            Ok(deleted) => deleted,
            Err(Problem::Interrupted(err)) => return Err(err.into()),
            Err(err) => {
                self.has_failed = true;
                out.say(&format!("{place} of slot {slot}: {err}"));
                return Ok(());
            }
        };
        for (blkno, deleted) in deleted {
            // Of one file a journal has more: an inode that is freed has lost links and attributes.
            // But what a journal has may be an older version of it.
            let is_better = |(_, other): &(u16, Deleted)| {
                let is_version = deleted.is_version_of(other);
                match (other.kept, deleted.kept) {
                    (Kept::Log(_), Kept::Block) if is_version => true,
                    (Kept::Block, Kept::Log(_)) if is_version => false,
                    _ => other.inode.ctime() >= deleted.inode.ctime(),
                }
            };
            if !self.found.get(&blkno).is_some_and(is_better) {
                self.found.insert(blkno, (slot, deleted));
            }
        }
        Ok(())
    }

    fn not_replayed(&self) -> Result<(), Failure> {
        let Some(slot) = self.dirty.first() else { return Ok(()) };
        let why = format!("the journal of slot {slot} has to be replayed first: jr, fsck.ocfs2");
        Err(Failure::Failed(why))
    }
}

/// `lsdel`: files that wait for their deletion, and deleted ones that can be restored.
pub(in super::super) fn lsdel(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let most = fs.volume.max_slots();
    let slots = match words {
        [] => 0..most,
        [word] => {
            let slot: u64 = number_of(word)?;
            let slot = u16::try_from(slot).ok().filter(|slot| *slot < most);
            let slot = slot.ok_or_else(|| refused(word, &format!("is none of {most} slots")))?;
            slot..slot + 1
        }
        _ => return Err(Failure::Usage),
    };
    writeln!(out, "{:>12} {:>6} {:>7} {:>14} Deleted", "Inode", "Owner", "Mode", "Size")?;
    let (mut orphans, mut has_failed) = (0_u64, false);
    for slot in slots.clone() {
        match list_orphans(fs, slot, out) {
            Ok(count) => orphans += count,
            Err(Failure::Failed(text)) => {
                has_failed = true;
                out.say(&format!("orphans of slot {slot}: {text}"));
            }
            Err(err) => return Err(err),
        }
    }
    let search = Search::of(fs, slots, out)?;
    for (blkno, (slot, deleted)) in &search.found {
        let dinode = &deleted.inode.dinode;
        let when = match deleted.dtime {
            0 => "not known".to_owned(),
            dtime => ocfs2_show::time::long(dtime),
        };
        let kept = if deleted.kept == Kept::Block { "inode" } else { "journal" };
        let (owner, mode, size) = (dinode.i_uid, dinode.i_mode, dinode.i_size);
        out.row(
            "deleted",
            |it| {
                let it = it.put("inode", blkno.0).put("uid", owner).put("mode", mode);
                let it = it.put("size", size).put("dtime", deleted.dtime);
                it.put("slot", *slot).put("kept_in", kept)
            },
            format_args!("{blkno:>12} {owner:>6} {mode:>7o} {size:>14} {when}"),
        )?;
    }
    let total = search.found.len() as u64 + orphans;
    let total = counted(total, "deleted file");
    match orphans {
        0 => writeln!(out, "{total} found")?,
        orphans => {
            writeln!(out, "{total} found, {orphans} of them orphans")?;
            let hint = "dump <INODE> copies an orphan out, before jr or fsck.ocfs2 deletes it";
            out.note(&format!("lsdel: {hint}"));
        }
    }
    search.not_replayed()?;
    if has_failed || search.has_failed { Err(Failure::Said) } else { Ok(()) }
}

/// Lists the orphan directory of a slot; returns the number of orphans.
fn list_orphans(fs: &Fs, slot: u16, out: &mut Screen) -> Result<u64, Failure> {
    let dir = fs.volume.system_file(SystemFile::OrphanDir(slot))?;
    let (mut count, mut failed) = (0, None);
    fs.dir_blocks::<Failure>(&dir, |block| {
        failed = failed.take().or_else(|| block.problem().map(Failure::from));
        for entry in block.entries().filter(|entry| !entry.is_dot()) {
            let blkno = entry.inode;
            let read = fs.inode(blkno).explain(|| format!("while reading inode {blkno}"));
            let inode = match read {
                Ok(inode) => inode,
                Err(err @ Failure::Failed(_)) => {
                    failed = Some(err);
                    continue;
                }
                Err(err) => return Err(err),
            };
            count += 1;
            let dinode = &inode.dinode;
            let (owner, mode, size) = (dinode.i_uid, dinode.i_mode, dinode.i_size);
            out.row(
                "orphan",
                |it| {
                    let it = it.put("inode", blkno.0).put("uid", owner).put("mode", mode);
                    it.put("size", size).put("slot", slot).text("name", &entry.name)
                },
                format_args!(
                    "{blkno:>12} {owner:>6} {mode:>7o} {size:>14} not yet: orphan of slot {slot}"
                ),
            )?;
        }
        Ok(true)
    })?;
    failed.map_or(Ok(count), Err)
}

/// `undel`: makes a file with the contents of the deleted one.
pub(in super::super) fn undel(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word, to] = words else { return Err(Failure::Usage) };
    shell.writer()?;
    let place = Place::of(shell, to)?;
    let fs = shell.fs()?;
    let blkno = block(fs, word)?;
    if fs.inode(blkno).is_ok_and(|inode| inode.dinode.flags().contains(InodeFlags::ORPHANED)) {
        let why = "is an orphan that still has all its contents: dump copies it out";
        return Err(refused(word, why));
    }
    let mut search = Search::of(fs, 0..fs.volume.max_slots(), out)?;
    search.not_replayed()?;
    let Some((slot, deleted)) = search.found.remove(&blkno) else {
        return Err(refused(word, "is not in any journal as a file that was deleted"));
    };
    let past = former(fs, slot, &deleted).of(word)?;
    let inode = &deleted.inode;
    let of = Former { slot, deleted: &deleted, past: &past };
    verify_unused(fs, &search, &of, word)?;
    let interrupt = shell.interrupt().clone();
    let ((made, lost), committed) = shell.change(|edit| {
        let made = remake(edit, &past, inode, &place, &|| Ok(interrupt.check()?))?;
        Ok((made, set_attributes(edit, &past, &deleted, made)?))
    })?;
    let what = format!("{} is inode {made} and has what inode {blkno} had", terminal(to));
    say(out, &what, committed)?;
    if lost {
        out.say("undel: some of its attributes are lost");
        return Err(Failure::Said);
    }
    Ok(())
}

/// Fails if clusters of a deleted file are in use, or were, as far as that shows, after its deletion.
fn verify_unused(fs: &Fs, search: &Search, of: &Former<'_>, word: &[u8]) -> Result<(), Failure> {
    let Former { slot, deleted, past } = *of;
    let inode = &deleted.inode;
    let clusters = Clusters::of(fs, past, inode).of(word)?;
    let bits = clusters.verify_free(fs, inode, word)?;
    if bits.is_empty() {
        return Ok(());
    }
    let logs: Vec<_> = match deleted.kept {
        Kept::Log(sequence) => vec![(slot, Some(sequence))],
        Kept::Block => (0..fs.volume.max_slots()).map(|slot| (slot, None)).collect(),
    };
    for (slot, sequence) in logs {
        let log = Past::of_slot(fs, slot).of(word)?;
        let freed = || log.freed_in(inode).of(word);
        let Some(sequence) = sequence.map_or_else(freed, |it| Ok(Some(it)))? else { continue };
        if let Some(cluster) = allocated_since(fs, &log, sequence, &bits).of(word)? {
            let why = format!("had cluster {cluster}, which was in use again since");
            return Err(refused(word, &why));
        }
    }
    for (other, (slot, deleted)) in &search.found {
        if !is_later(deleted, of.deleted) {
            continue;
        }
        // What is not known of others any more proves nothing.
        let had =
            former(fs, *slot, deleted).and_then(|past| Clusters::of(fs, &past, &deleted.inode));
        let had = match had {
            Err(Problem::Interrupted(err)) => return Err(err.into()),
            had => had.ok(),
        };
        if let Some(cluster) = had.and_then(|had| clusters.overlap(&had)) {
            let why = format!("had cluster {cluster}, which the deleted inode {other} had as well");
            return Err(refused(word, &why));
        }
    }
    Ok(())
}

/// The volume in which the tree of a deleted file was whole.
fn former(fs: &Fs, slot: u16, deleted: &Deleted) -> Result<Volume, Problem> {
    match deleted.kept {
        Kept::Log(sequence) if deleted.has_blocks() => Past::of_slot(fs, slot)?.volume_at(sequence),
        _ => Ok(fs.volume.on(Arc::clone(fs.volume.device()))),
    }
}

/// Makes the file, with contents, owner, permissions and times.
fn remake(
    edit: &mut Edit,
    past: &Volume,
    inode: &Inode,
    place: &Place,
    check: &dyn Fn() -> Result<(), Failure>,
) -> Result<Blkno, Failure> {
    let dinode = &inode.dinode;
    let is_link = inode.kind() == Some(FileKind::Symlink);
    let target = if is_link { past.symlink_target(inode)? } else { Vec::new() };
    let kind = if is_link { FileKind::Symlink } else { FileKind::Regular };
    let new = NewInode::of(kind, dinode.i_mode & 0o7777);
    let new = NewInode { uid: dinode.i_uid, gid: dinode.i_gid, target: &target, ..new };
    let made = edit.create(place.dir, &place.name, &new)?;
    if !is_link {
        let file = past.file(inode)?;
        let mut next = 0;
        // Holes stay holes.
        while let Some(data) = file.next_data(next)? {
            next = data.end;
            let mut at = data.start;
            while at < data.end {
                check()?;
                let mut piece = vec![0; (data.end - at).min(PIECE as u64) as usize];
                let len = file.read_at(&mut piece, at)?;
                if len == 0 {
                    break;
                }
                edit.write_file(made, at, piece.get(..len).unwrap_or_default())?;
                at += len as u64;
            }
        }
        if edit.inode(made)?.size() < inode.size() {
            edit.truncate(made, inode.size())?;
        }
    }
    edit.update_dinode(made, |new, _| {
        (new.i_mtime, new.i_mtime_nsec) = (dinode.i_mtime, dinode.i_mtime_nsec);
        (new.i_atime, new.i_atime_nsec) = (dinode.i_atime, dinode.i_atime_nsec);
    })?;
    Ok(made)
}

/// Sets the attributes that are still known; returns whether others are lost.
fn set_attributes(
    edit: &mut Edit,
    past: &Volume,
    deleted: &Deleted,
    made: Blkno,
) -> Result<bool, Failure> {
    let mut inode = deleted.inode.clone();
    let mut lost = false;
    if deleted.kept == Kept::Block {
        // The block of attributes may belong to another inode by now.
        lost = !inode.dinode.i_xattr_loc.is_none();
        inode.dinode.i_xattr_loc = Blkno(0);
    }
    for xattr in past.xattrs(&inode) {
        // A value outside its entry may have been overwritten.
        let Some(xattr) = xattr.ok().filter(|xattr| xattr.entry.is_local()) else {
            lost = true;
            continue;
        };
        let name = xattr.name.get(xattr.prefix.as_str().len()..).unwrap_or_default();
        edit.set_xattr(made, xattr.prefix, name, &past.xattr_value(&xattr)?)?;
    }
    Ok(lost)
}
