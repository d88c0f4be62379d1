//! Deleted files: listed, and restored from what the journals have of them.

use std::collections::BTreeMap;
use std::io::Write;

use ocfs2_cli::terminal;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Arm, FileKind};
use ocfs2_volume::edit::{Edit, NewInode};
use ocfs2_volume::{Inode, Volume};

use super::{Place, refused, say};
use crate::commands::blocks::block;
use crate::error::{Explain, Failure, Problem};
use crate::past::{Deleted, Past};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::time;
use crate::volume::Fs;

/// Bytes copied at a time.
const PIECE: usize = 1 << 20;

/// Deleted files by inode, each with the slot whose journal has it.
type Found = BTreeMap<Blkno, (u16, Deleted)>;

fn find(fs: &Fs, out: &mut Screen) -> Result<Found, Failure> {
    let mut found = Found::new();
    for slot in 0..fs.volume.max_slots() {
        if fs.volume.journal_is_dirty(slot).unwrap_or(false) {
            // What a replay restores is not deleted.
            let why =
                format!("the journal of slot {slot} has to be replayed first: jr, fsck.ocfs2");
            return Err(Failure::Failed(why));
        }
        let deleted = match Past::of_slot(fs, slot).and_then(|past| past.deleted()) {
            Ok(deleted) => deleted,
            Err(Problem::Interrupted(err)) => return Err(err.into()),
            Err(err) => {
                out.say(&format!("journal of slot {slot}: {err}"));
                continue;
            }
        };
        for (blkno, deleted) in deleted {
            let newer = |(_, other): &(u16, Deleted)| other.inode.ctime() >= deleted.inode.ctime();
            if !found.get(&blkno).is_some_and(newer) {
                found.insert(blkno, (slot, deleted));
            }
        }
    }
    Ok(found)
}

/// `lsdel`
pub(in super::super) fn lsdel(
    shell: &mut Shell,
    _: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let found = find(fs, out)?;
    writeln!(out, "{:>12} {:>6} {:>7} {:>14} Deleted", "Inode", "Owner", "Mode", "Size")?;
    for (blkno, (_, deleted)) in &found {
        let dinode = &deleted.inode.dinode;
        let when = match deleted.dtime {
            0 => "not known".to_owned(),
            dtime => time::long(dtime),
        };
        let (owner, mode, size) = (dinode.i_uid, dinode.i_mode, dinode.i_size);
        out.row(
            "deleted",
            |it| {
                let it = it.put("inode", blkno.0).put("uid", owner).put("mode", mode);
                it.put("size", size).put("dtime", deleted.dtime)
            },
            format_args!("{blkno:>12} {owner:>6} {mode:>7o} {size:>14} {when}"),
        )?;
    }
    writeln!(out, "{} deleted files found", found.len())?;
    Ok(())
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
    let found = find(fs, out)?.remove(&blkno);
    let Some((slot, deleted)) = found else {
        return Err(refused(word, "is not in any journal as a file that was deleted"));
    };
    let past = Past::of_slot(fs, slot).of(word)?.volume_of(&deleted).of(word)?;
    let inode = &deleted.inode;
    verify_free(fs, &past, inode, word)?;
    let interrupt = shell.interrupt().clone();
    let ((made, lost), committed) = shell.change(|edit| {
        let made = remake(edit, &past, inode, &place, &|| Ok(interrupt.check()?))?;
        Ok((made, set_attributes(edit, &past, inode, made)?))
    })?;
    let what = format!("{} is inode {made} and has what inode {blkno} had", terminal(to));
    say(out, &what, committed)?;
    if lost {
        out.say("undel: some of its attributes are lost");
        return Err(Failure::Said);
    }
    Ok(())
}

/// Fails unless all clusters of a file are known and free.
fn verify_free(fs: &Fs, past: &Volume, inode: &Inode, word: &[u8]) -> Result<(), Failure> {
    if inode.dinode.arm() != Arm::ExtentList {
        return Ok(());
    }
    let geometry = fs.volume.geometry();
    let (mut runs, mut clusters) = (Vec::new(), 0_u64);
    for extent in past.tree(inode).of(word)?.extents() {
        fs.check()?;
        let extent = extent.of(word)?;
        clusters += u64::from(extent.clusters);
        let first = geometry.cluster_of(extent.blkno).unwrap_or_default().0;
        runs.push(first..first.saturating_add(extent.clusters.into()));
    }
    let expected = inode.dinode.i_clusters;
    if clusters != u64::from(expected) {
        let why =
            format!("had {expected} clusters, of which {clusters} are known: the rest is lost");
        return Err(refused(word, &why));
    }
    let allocator = fs.volume.global_bitmap().of(word)?;
    let mut seen = 0;
    for group in fs.volume.groups(&allocator) {
        fs.check()?;
        let group = group.of(word)?;
        let Some(first) = fs.volume.cluster_of_bit(&group, 0).map(|cluster| cluster.0) else {
            continue;
        };
        let (bits, bitmap) = (u32::from(group.desc.bg_bits), group.bitmap());
        let own = first..first.saturating_add(bits);
        for run in &runs {
            let part = run.start.max(own.start)..run.end.min(own.end);
            if part.is_empty() {
                continue;
            }
            seen += u64::from(part.end - part.start);
            let next = bitmap.next(true, (part.start - first) as usize);
            if let Some(used) = next.filter(|bit| *bit < (part.end - first) as usize) {
                let why = format!("had cluster {}, which is in use again", first as usize + used);
                return Err(refused(word, &why));
            }
        }
    }
    if seen == clusters { Ok(()) } else { Err(refused(word, "had clusters that no group has")) }
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
    inode: &Inode,
    made: Blkno,
) -> Result<bool, Failure> {
    let mut lost = false;
    for xattr in past.xattrs(inode) {
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
