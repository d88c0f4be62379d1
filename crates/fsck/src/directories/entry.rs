//! The entries of a directory, in order.

use ocfs2_cli::encode;
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::dir::{
    self, BadEntry, DirEntry, DirEntryHeader, DirTrailer, FileType, entry_size,
};
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::Inode;
use ocfs2_volume::dir::Barren;

use super::astray::{self, Astray, Found};
use super::index::Expected;
use super::lost::Leading;
use super::names::{Names, Seen};
use super::{Known, Orphan, Read};
use crate::codes::Code;
use crate::codes::directories as codes;
use crate::inodes::shape;
use crate::repair::directory;
use crate::tables::suballocs::Bit;
use crate::{Finding, Place, finding};

/// The length of the entry `.`, in bytes.
const DOT_LEN: u16 = 16;

/// Entries of one directory whose original targets are searched for.
const MOST_ASTRAY: usize = 256;

/// Reads the entries of a directory, block by block.
pub(super) struct Reader<'a> {
    known: &'a Known<'a>,
    dir: Blkno,
    is_root: bool,
    /// Its slot, if it is an orphan directory.
    orphans_of: Option<u16>,
    names: Names,
    /// Whether its size is larger than its clusters: blocks that are not directory blocks are then
    /// after its end.
    pub is_too_long: bool,
    /// Consecutive blocks without an entry, up to the last one that was read.
    pub barren: Barren,
    /// What the index has to contain, if there is one.
    index: Option<Expected>,
    /// Entries so far, used or not: the first two are `.` and `..`.
    count: u64,
    /// Inodes that are not in use and to which entries point.
    free: directory::Unwanted,
}

impl<'a> Reader<'a> {
    pub fn new(known: &'a Known<'a>, inode: &Inode, is_inline: bool) -> Self {
        let dir = inode.blkno;
        let volume = known.context.volume;
        let is_indexed = !is_inline && volume.is_indexed(inode);
        let is_root = dir == volume.superblock().s_root_blkno;
        let orphans_of = known.orphan_dirs.get(&dir).copied();
        Self {
            known,
            dir,
            is_root,
            orphans_of,
            names: Names::default(),
            is_too_long: false,
            barren: Barren::default(),
            index: is_indexed.then(|| Expected::new(volume.superblock().s_dx_seed)),
            count: 0,
            free: directory::Unwanted::default(),
        }
    }

    /// Notes a block that cannot be read. If it is the first one, `.` and `..` were in it.
    pub fn lost_block(&mut self, blkno: Blkno) {
        self.count = self.count.max(2);
        self.unknown_entries(blkno);
    }

    /// Notes a block with unknown entries.
    fn unknown_entries(&mut self, blkno: Blkno) {
        if let Some(index) = &mut self.index {
            index.lost_block(blkno);
        }
    }

    /// Returns whether the directory has an index and any entry is there twice.
    pub fn has_repeated(&self) -> bool {
        self.index.is_some() && self.names.has_repeated()
    }

    /// Ignores what the index says of a block most of whose entries are in another block, too: one
    /// of the two is a copy of the other. The index has entries for the names that the copy has
    /// replaced, and for those that are there now only where they were before.
    pub fn copied(&mut self, blkno: Blkno, block: &[u8]) {
        let area = block.get(..DirTrailer::offset(block.len())).unwrap_or_default();
        let is_dots = |name: &[u8]| name == b"." || name == b"..";
        let (mut all, mut again) = (0_u64, 0_u64);
        for entry in dir::entries(area).map_while(Result::ok) {
            if entry.is_used() && !is_dots(entry.name) {
                all += 1;
                again += u64::from(self.names.is_repeated(entry.name, entry.header.inode));
            }
        }
        if again * 2 > all
            && let Some(index) = &mut self.index
        {
            index.copied_block(blkno);
        }
    }

    /// Notes that the directory states `stated` blocks, and which blocks, with their numbers,
    /// follow its end in the cluster in which it ends.
    pub fn beyond(&mut self, stated: u64, blocks: impl Iterator<Item = (Blkno, u64)>) {
        if let Some(index) = &mut self.index {
            (index.stated, index.beyond) = (stated, blocks.collect());
        }
    }

    /// Notes that there are more blocks that cannot be found.
    pub fn incomplete(&mut self) {
        if let Some(index) = &mut self.index {
            index.incomplete();
        }
    }

    /// Notes a block with its trailer.
    pub fn block(&mut self, blkno: Blkno, trailer: &DirTrailer) {
        if trailer.db_signature != DirTrailer::SIGNATURE {
            return self.unknown_entries(blkno);
        }
        if let Some(index) = &mut self.index {
            index.block(blkno, trailer);
        }
    }

    /// Ends after the last block. Returns what the index has to contain, if there is one.
    pub fn end(self, read: &mut Read) -> Option<Expected> {
        // Each directory refers once to itself, whatever its first entry says.
        read.references.extend(self.known.suballocs.find(self.dir));
        self.index
    }

    fn found(
        &self,
        code: &'static Code,
        at: &At<'_>,
        text: impl std::fmt::Display,
        read: &mut Read,
    ) {
        read.found(self.finding(code, at, text));
    }

    fn finding(&self, code: &'static Code, at: &At<'_>, text: impl std::fmt::Display) -> Finding {
        let name = encode::escaped(at.entry.name);
        let place = Place::block(at.blkno).of(self.dir).named(at.entry.name);
        let text = format!("directory {}: entry \"{name}\" {text}", self.dir);
        Finding::new(code, place, text).repaired_by(directory::rewrite(self.dir))
    }

    /// Notes an entry that cannot point where it does, until it is known whether an inode lacks a
    /// name to which it may have pointed. If no inode comes into question, reports `finding`
    /// instead; the entry then refers to `otherwise`. Returns whether the entry waits.
    fn astray(
        &self,
        at: &At<'_>,
        finding: Finding,
        otherwise: Option<Found>,
        read: &mut Read,
    ) -> bool {
        let leads_to = at.entry.header.inode;
        let system_dir = self.known.context.volume.superblock().s_system_dir_blkno;
        let is_of_users = self.orphans_of.is_none() && self.dir != system_dir;
        let candidates = match is_of_users && read.astray.len() < MOST_ASTRAY {
            true => astray::candidates(self.known, leads_to, stated_kind(at)),
            false => Vec::new(),
        };
        if candidates.is_empty() {
            read.found(finding);
            return false;
        }
        let (dir, name) = (self.dir, at.entry.name.to_vec());
        read.astray.push(Astray { dir, name, leads_to, candidates, finding, otherwise });
        true
    }

    fn entry(&mut self, at: &At<'_>, read: &mut Read) {
        let number = self.count;
        self.count += 1;
        let wrong = |read: &Read| {
            let waiting = read.astray.len() + read.leading.len();
            read.found + waiting as u64
        };
        let before = wrong(read);
        match number {
            0 => self.dot(at, read),
            1 => self.dotdot(at, read),
            _ if at.entry.is_used() => self.other(at, read),
            _ => {}
        }
        let Some(index) = &mut self.index else { return };
        if wrong(read) > before {
            index.unsure_entry(at.blkno, at.entry.name);
        } else if at.entry.is_used() {
            index.entry(at.blkno, at.entry.name);
        }
    }

    fn dot(&mut self, at: &At<'_>, read: &mut Read) {
        if at.entry.name != b"." || !at.entry.is_used() {
            self.found(codes::DIRENT_NOT_DOTTY, at, "is the first, where \".\" is expected", read);
        } else if at.entry.header.inode != self.dir {
            let text = format!("points to inode {}", at.entry.header.inode);
            self.found(codes::DIRENT_DOT_INODE, at, text, read);
        }
        self.dots_type(at, read);
        if at.entry.header.rec_len > DOT_LEN {
            let text = format!("has rec_len {}, expected {DOT_LEN}", at.entry.header.rec_len);
            self.found(codes::DIRENT_DOT_EXCESS, at, text, read);
        }
    }

    fn dotdot(&mut self, at: &At<'_>, read: &mut Read) {
        if at.entry.name != b".." || !at.entry.is_used() {
            self.found(
                codes::DIRENT_NOT_DOTTY,
                at,
                "is the second, where \"..\" is expected",
                read,
            );
        }
        self.dots_type(at, read);
        // Pass 3 checks that, when all directories have been read.
        read.dotdot = Some(at.entry.header.inode);
    }

    /// Checks that `.` and `..` state the type of directories.
    fn dots_type(&self, at: &At<'_>, read: &mut Read) {
        let is_dots = at.entry.is_used() && matches!(at.entry.name, b"." | b"..");
        if is_dots && stated_kind(at) != Some(FileKind::Directory) {
            let code = at.entry.header.file_type;
            let text = format!("states type {code}, it is of a directory");
            self.found(codes::DIRENT_TYPE, at, text, read);
        }
    }

    fn other(&mut self, at: &At<'_>, read: &mut Read) {
        let (name, target) = (at.entry.name, at.entry.header.inode);
        if name == b"." || name == b".." {
            self.found(codes::DIRENT_DOTTY_DUP, at, "is not among the first two", read);
            return;
        }
        if name.is_empty() {
            self.found(codes::DIRENT_ZERO, at, format!("of inode {target} has no name"), read);
            return;
        }
        let Some((bit, kind)) = self.target(at, read) else { return };
        let seen = self.names.insert(name, target);
        // An inode with several names may have had another one here.
        let is_linked_once = kind == Some(FileKind::Directory)
            || self.known.inodes.get(bit).is_some_and(|facts| facts.links <= 1);
        if seen == Seen::Repeated && is_linked_once {
            let text = format!("is there a second time, and points to inode {target} again");
            self.found(codes::DIRENT_REPEATED, at, text, read);
            return;
        }
        if name.contains(&b'/') || name.contains(&0) {
            self.found(codes::DIRENT_NAME_CHARS, at, "contains a slash or a NUL", read);
        }
        let is_again = seen != Seen::New;
        if is_again {
            self.found(codes::DIRENT_DUPLICATE, at, "is there a second time", read);
        }
        if let Some(kind) = kind.filter(|kind| stated_kind(at) != Some(*kind)) {
            let finding = self.wrong_type(at, kind);
            if is_again {
                read.found(finding);
            } else if self.astray(at, finding, Some((bit, target)), read) {
                return;
            }
        }
        if kind == Some(FileKind::Directory) {
            read.directories.push((bit, target, name.to_vec()));
            read.has_lost_found |= self.is_lost_found(name);
        } else if self.orphans_of.is_none() {
            // Orphans have no links, and the entry of a direct write does not count as one.
            read.references.push(bit);
        }
        if let Some(slot) = self.orphans_of {
            self.orphan(slot, at, read);
        }
    }

    fn is_lost_found(&self, name: &[u8]) -> bool {
        self.is_root && name == b"lost+found"
    }

    /// Returns the inode in use that an entry points to: one of a user if the entry is.
    fn target(&mut self, at: &At<'_>, read: &mut Read) -> Option<(Bit, Option<FileKind>)> {
        let target = at.entry.header.inode;
        let geometry = self.known.context.geometry();
        if !geometry.is_valid_block(target) {
            let text =
                format!("points to inode {target}, the volume has {} blocks", geometry.blocks());
            self.astray(at, self.finding(codes::DIRENT_INODE_RANGE, at, text), None, read);
            return None;
        }
        let bit = self.known.suballocs.find(target);
        if bit.is_none() && self.known.lost_groups {
            // It may be in a lost group, and come back with it.
            read.has_lost_found |= self.is_lost_found(at.entry.name);
            return None;
        }
        let facts = bit.and_then(|bit| Some((bit, self.known.inodes.get(bit)?)));
        let Some((bit, facts)) = facts.filter(|(_, facts)| facts.in_use) else {
            let text = format!("points to inode {target}, which is not in use");
            self.free.add(target);
            let mut finding = self.finding(codes::DIRENT_INODE_FREE, at, text);
            finding.repair = Some(directory::without(self.dir, &self.free));
            if self.known.is_lost_directory(target, stated_kind(at)) {
                read.has_lost_found |= self.is_lost_found(at.entry.name);
                read.leading.push(Leading { to: target, finding });
                return None;
            }
            // An inode that is allocated was destroyed itself; the entry is right.
            if bit.is_some_and(|bit| self.was_given_out(bit)) {
                read.found(finding);
            } else {
                self.astray(at, finding, None, read);
            }
            return None;
        };
        if self.leads_to_system(target) {
            let text = format!("points to inode {target}, a system file");
            let mut finding = self.finding(codes::DIRENT_SYSTEM_FILE, at, text);
            finding.repair = Some(directory::remove(self.dir, at.entry.name.to_vec(), target));
            self.astray(at, finding, None, read);
            return None;
        }
        Some((bit, facts.kind))
    }

    /// Returns whether a block is allocated by its inode allocator.
    fn was_given_out(&self, bit: Bit) -> bool {
        let group = self.known.suballocs.group(bit).filter(|it| it.suballoc.holds_inodes());
        let at = usize::try_from(bit.bit).ok();
        group.zip(at).is_some_and(|(group, at)| group.bitmap().get(at))
    }

    /// Returns the finding that an entry states another type than its inode has. The inode may have
    /// the wrong type, or be the wrong inode, unless one wrong bit of the entry explains the
    /// difference and the inode has the contents of its type.
    fn wrong_type(&self, at: &At<'_>, kind: FileKind) -> Finding {
        let (code, target) = (at.entry.header.file_type, at.entry.header.inode);
        let text = format!("states type {code}, inode {target} is {}", kind_name(Some(kind)));
        let inode = self.known.context.volume.inode(target).ok();
        let by_entry = inode
            .zip(stated_kind(at))
            .and_then(|(inode, stated)| shape::by_entry(self.known.context.volume, &inode, stated));
        if let Some(finding) = by_entry {
            return finding;
        }
        let is_bit = (code ^ FileType::from(kind).code()).is_power_of_two();
        let is_sure = is_bit
            && stated_kind(at).is_none_or(|stated| {
                let inode = self.known.context.volume.inode(target);
                inode.is_ok_and(|inode| is_rather(&inode, kind, stated))
            });
        self.finding(codes::DIRENT_TYPE, at, text).losing(!is_sure)
    }

    /// Returns whether an entry of a user's directory points to an inode that the system directory
    /// names and that says it is of the system. Otherwise the entry of the system directory may be
    /// the wrong one.
    fn leads_to_system(&self, target: Blkno) -> bool {
        let volume = self.known.context.volume;
        let is_named =
            self.dir != volume.superblock().s_system_dir_blkno && self.known.system.names(target);
        is_named
            && volume
                .inode(target)
                .is_ok_and(|inode| inode.dinode.flags().contains(InodeFlags::SYSTEM))
    }

    fn orphan(&mut self, slot: u16, at: &At<'_>, read: &mut Read) {
        let (name, inode) = (at.entry.name, at.entry.header.inode);
        let plain = name.strip_prefix(b"dio-");
        let number = plain.unwrap_or(name);
        let expected = format!("{:016x}", inode.0);
        if number != expected.as_bytes() {
            let text = format!("of an orphan directory points to inode {inode}");
            self.found(codes::ORPHAN_NAME, at, text, read);
        }
        read.orphans.push(Orphan { slot, inode, is_direct_write: plain.is_some() });
    }
}

/// An entry and its block.
struct At<'a> {
    blkno: Blkno,
    entry: DirEntry<'a>,
}

/// Checks all entries in `bytes`, which is the area for entries of block `blkno`.
pub(super) fn check_all(reader: &mut Reader<'_>, blkno: Blkno, bytes: &[u8], read: &mut Read) {
    let (from, before) = (read.findings.len(), reader.count);
    check_each(reader, blkno, bytes, read);
    let entries = usize::try_from(reader.count.saturating_sub(before)).unwrap_or(usize::MAX);
    finding::sum_up(&mut read.findings, from, entries, |_| true);
}

fn check_each(reader: &mut Reader<'_>, blkno: Blkno, bytes: &[u8], read: &mut Read) {
    let mut start = 0;
    while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
        let mut bad = None;
        for entry in dir::entries(rest) {
            match entry {
                Ok(entry) => reader.entry(&At { blkno, entry }, read),
                Err(err) => bad = Some(err),
            }
        }
        let Some(bad) = bad else { return };
        let at = start + bad.offset;
        let text = format!("directory {}: block {blkno}: {}", reader.dir, at_offset(bad, at));
        let place = Place::block(blkno).of(reader.dir);
        let finding = Finding::new(codes::DIRENT_LENGTH, place, text);
        read.found(finding.repaired_by(directory::rewrite(reader.dir)));
        reader.unknown_entries(blkno);
        let Some(rest) = bytes.get(at..) else { return };
        let next = next_entry(rest, reader);
        if let Some(entry) = mended(rest, next) {
            reader.entry(&At { blkno, entry }, read);
        } else {
            reader.count += 1;
        }
        start = at + next;
    }
}

fn at_offset(bad: BadEntry, offset: usize) -> BadEntry {
    BadEntry { offset, ..bad }
}

/// Returns the distance from the bad entry at the start of `rest` to the first entry from which on
/// all are sound, in bytes; to the end if there is none.
fn next_entry(rest: &[u8], reader: &Reader<'_>) -> usize {
    let is_start = |at: &usize| {
        let tail = rest.get(*at..).unwrap_or_default();
        let first = DirEntryHeader::decode(tail).ok();
        first.is_some_and(|header| {
            let used = reader.known.inodes.find(reader.known.suballocs, header.inode);
            header.inode.is_none() || header.name_len > 0 && used.is_some()
        })
    };
    dir::sound_from(rest).find(is_start).unwrap_or(rest.len())
}

/// Returns the bad entry at the start of `rest` as if it ended at `end`; `None` if its name does
/// not fit.
fn mended(rest: &[u8], end: usize) -> Option<DirEntry<'_>> {
    let header = DirEntryHeader::decode(rest).ok()?;
    let needed = if header.inode.is_none() { 0 } else { usize::from(header.name_len) };
    let rec_len = u16::try_from(end).ok().filter(|_| entry_size(needed) <= end)?;
    let name = rest.get(DirEntryHeader::SIZE..)?.get(..needed)?;
    Some(DirEntry { offset: 0, header: DirEntryHeader { rec_len, ..header }, name })
}

/// Returns whether an inode has what type `kind` has and type `other` has not. That is contents,
/// which a directory and a symbolic link always have.
fn is_rather(inode: &Inode, kind: FileKind, other: FileKind) -> bool {
    let may_have =
        |kind| matches!(kind, FileKind::Regular | FileKind::Directory | FileKind::Symlink);
    match inode.size() > 0 || inode.dinode.i_clusters > 0 {
        true => may_have(kind) && !may_have(other),
        false => !may_have(kind) && matches!(other, FileKind::Directory | FileKind::Symlink),
    }
}

/// Returns the type that an entry states.
fn stated_kind(at: &At<'_>) -> Option<FileKind> {
    at.entry.file_type().and_then(FileType::kind)
}

fn kind_name(kind: Option<FileKind>) -> &'static str {
    match kind {
        Some(FileKind::Regular) => "a regular file",
        Some(FileKind::Directory) => "a directory",
        Some(FileKind::Symlink) => "a symbolic link",
        Some(FileKind::CharDevice) => "a character device",
        Some(FileKind::BlockDevice) => "a block device",
        Some(FileKind::Fifo) => "a pipe",
        Some(FileKind::Socket) => "a socket",
        None => "of no type",
    }
}
