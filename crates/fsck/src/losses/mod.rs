//! What a run of repairs has lost, by path.
//!
//! Not told by the repairs, each of which knows only what it changes, but found by comparing the
//! volume before the first one with the volume after the last: for each inode that a finding was
//! about, or whose block was written, its contents, attributes and names. What could not be read
//! before is lost where nothing has taken its place.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ocfs2_cli::{Interrupt, encode};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::dir::FileType;
use ocfs2_format::hash::{CharSign, dx_hash};
use ocfs2_format::quota::QuotaKind;
use ocfs2_volume::{Inode, SystemFile, Volume};

mod attributes;
mod contents;
mod mapping;
mod paths;
mod ranges;
mod raw;
mod touched;

pub use attributes::GoneAttributes;
pub use contents::Gone;
pub use paths::Paths;
use touched::Name;
pub(crate) use touched::Touched;

use crate::Stop;
use crate::repair::dx;
use crate::repair::lost_found::Named;
use contents::{Difference, Sides};
use raw::Entries;

/// Blocks of a directory that are compared: those of some ten million entries.
const DIRECTORY_BLOCKS: u64 = 1 << 20;
/// The directory lost inodes are put into.
const LOST_FOUND: &[u8] = b"lost+found";

/// What is not there any more of a file, or may be wrong in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loss {
    /// Its inode.
    pub inode: Blkno,
    /// What it is, or was.
    pub kind: Option<FileKind>,
    /// Where it was; `None` if nothing shows.
    pub path: Option<Vec<u8>>,
    /// The directory it was in, where only that is known.
    pub was_in: Option<Vec<u8>>,
    /// Where it is now; `None` if it is nowhere.
    pub now: Option<Vec<u8>>,
    /// There is nothing left of it.
    pub is_gone: bool,
    /// The name is gone.
    pub name: bool,
    /// Contents that are gone.
    pub contents: Option<Gone>,
    /// Attributes that are gone.
    pub attributes: Option<GoneAttributes>,
    /// Names in this directory are gone that are not known.
    pub names: bool,
    /// What the size was and is, which was corrected.
    pub size: Option<(u64, u64)>,
    /// Its type was unknown, and guessed.
    pub is_guessed: bool,
    /// It is the journal of this slot, and what it held for others.
    pub journal: Option<u16>,
    /// It is what only the superblock knew.
    pub superblock: bool,
    /// Why it may be wrong although nothing is known to be gone.
    pub doubt: Option<Doubt>,
}

/// Why something may be wrong that is as it was.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Doubt {
    /// A checksum did not hold, and more than a bit was wrong.
    Checksum,
    /// Its clusters were claimed by something else as well, which may have written to them.
    Shared,
    /// Something else in the same block was wrong.
    Beside,
    /// Parts of its contents were put where they fit.
    Moved,
    /// The index of its directory was made for another name.
    Name,
    /// By its number and its bit a block of it belongs elsewhere.
    Elsewhere,
    /// It has a name too many, and another inode a name too few.
    Names,
    /// It counted more names than it has.
    Fewer,
    /// It had the same clusters in several places.
    Twice,
    /// It was recreated, with what was found of it.
    Made,
    /// The name of one of its attributes, or the size of its value, is not the one it had.
    Attributes,
    /// Its mode was garbage.
    Mode,
    /// Its clusters were free, and others that were in use are nobody's.
    Free,
    /// A quota file, in which limits of users or groups cannot be read.
    Limits,
}

impl Doubt {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Checksum => "a checksum did not hold",
            Self::Shared => "its clusters were claimed by another owner, too",
            Self::Beside => "something else in the same block was wrong",
            Self::Moved => "parts of it were put where they fit",
            Self::Name => {
                "the index of its directory, or a second entry of that name, speaks against it"
            }
            Self::Elsewhere => "a block of it says that it belongs elsewhere",
            Self::Twice => "it had the same clusters in several places",
            Self::Made => {
                "it was recreated with the names that were found, and has another owner, other \
                 permissions and no attributes"
            }
            Self::Attributes => "its attributes may not be those it had",
            Self::Mode => "its type or its permissions may be others",
            Self::Free => "its clusters were free, and as many others were nobody's",
            Self::Fewer => "by its count of links it had more names",
            Self::Limits => "limits that it had may be gone or others",
            Self::Names => "one of its names may be that of another inode, which lacks one",
        }
    }
}

impl Loss {
    /// Whether something is gone, rather than that it may be wrong.
    pub fn is_certain(&self) -> bool {
        self.is_gone
            || self.journal.is_some()
            || self.superblock
            || self.name
            || self.names
            || self.is_guessed
            || self.contents.is_some()
            || self.attributes.is_some()
    }

    fn is_any(&self) -> bool {
        self.is_certain() || self.size.is_some() || self.doubt.is_some()
    }
}

/// The volume before and after repairs.
pub(crate) struct Comparison<'a> {
    sides: Sides<'a>,
    touched: &'a Touched,
    interrupt: &'a Interrupt,
    was: Paths,
    is: Paths,
    /// Inodes whose entries in `lost+found` are new, and their names there.
    found: BTreeMap<Blkno, Vec<u8>>,
    lost_found: Option<Blkno>,
    /// A name that was removed, by its directory, of what is known to be in `lost+found`.
    moved: Option<(Blkno, Vec<u8>)>,
}

impl<'a> Comparison<'a> {
    /// Of two volumes of which `touched` says what may differ.
    pub fn new(
        before: &'a Volume,
        after: &'a Volume,
        touched: &'a Touched,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self {
            sides: Sides {
                before,
                after,
                written: &touched.written,
                untouched: &touched.untouched,
                last: &touched.last,
            },
            touched,
            interrupt,
            was: Paths::new(before, interrupt),
            is: Paths::new(after, interrupt),
            found: BTreeMap::new(),
            lost_found: None,
            moved: None,
        }
    }

    /// Tells `each` what is lost.
    ///
    /// # Errors
    /// [`Stop`] if that was asked for.
    pub fn find(&mut self, each: &mut dyn FnMut(Loss)) -> Result<(), Stop> {
        let mut told = HashSet::new();
        self.find_all(&mut |loss: Loss| {
            told.insert(loss.inode);
            each(loss);
        })?;
        for blkno in self.touched.with_fewer_names.iter().filter(|it| !told.contains(it)) {
            if let Some(inode) = raw::inode(self.sides.after, *blkno) {
                let (kind, doubt) = (inode.kind(), Some(Doubt::Fewer));
                let (path, now) = (self.was.path(*blkno), self.is.path(*blkno));
                each(Loss { inode: *blkno, kind, path, now, doubt, ..Loss::default() });
            }
        }
        Ok(())
    }

    fn find_all(&mut self, each: &mut dyn FnMut(Loss)) -> Result<(), Stop> {
        self.arrivals();
        let mut led = self.led_back();
        self.was.lead(led.clone());
        if let Some((inode, dir, name)) = self.moved() {
            self.moved = Some((dir, name.clone()));
            led.insert(inode, (dir, name));
            self.was.lead(led);
        }
        let inodes: BTreeSet<_> =
            self.touched.inodes.iter().chain(self.found.keys()).copied().collect();
        for blkno in &inodes {
            if self.interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            let before = raw::inode(self.sides.before, *blkno);
            let after = raw::inode(self.sides.after, *blkno);
            if let Some(inode) = before.iter().chain(&after).find(|inode| self.is_system(inode)) {
                self.quota_file(inode, each);
                continue;
            }
            let Some(loss) = self.of_inode(*blkno, before.as_ref(), after.as_ref()) else {
                continue;
            };
            if loss.doubt == Some(Doubt::Names) {
                self.each_name(&loss, each);
            }
            each(loss);
        }
        self.adrift(each)?;
        self.without_block(each)?;
        self.erased(each);
        // Names last: what was put into lost+found has been told by then. What was in a directory
        // that went with another one is told after it.
        let mut left: Vec<_> = inodes.into_iter().rev().collect();
        let mut told = HashSet::new();
        while let Some(blkno) = left.pop() {
            if self.interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            if told.insert(blkno)
                && let Some(was) = self.directory_before(blkno)
            {
                self.names(blkno, &was, each, &mut left);
            }
        }
        Ok(())
    }

    /// Tells of the names of an inode but the first that each may be another one's.
    fn each_name(&mut self, loss: &Loss, each: &mut dyn FnMut(Loss)) {
        let Loss { inode, kind, doubt, .. } = loss.clone();
        for (dir, name) in self.is.entries(inode) {
            let path = self.is.of_entry(dir, &name);
            if path.is_some() && path != loss.path {
                each(Loss { inode, kind, path: path.clone(), now: path, doubt, ..Loss::default() });
            }
        }
    }

    /// Tells of limits that may be gone: by what was found in a quota file, or with blocks of it.
    fn quota_file(&self, inode: &Inode, each: &mut dyn FnMut(Loss)) {
        let (blkno, kind) = (inode.blkno, inode.kind());
        let doubt = Some(Doubt::Limits);
        let is_cut = || {
            let [before, after] =
                [self.sides.before, self.sides.after].map(|volume| raw::inode(volume, blkno));
            let Some((before, after)) = before.zip(after) else { return true };
            contents::compare(&self.sides, &before, &after).gone.is_some()
        };
        if self.touched.doubts.get(&blkno).copied() != doubt
            && !(self.touched.with_extents.contains(&blkno) && is_cut())
        {
            return;
        }
        let kinds = [QuotaKind::User, QuotaKind::Group];
        let files = kinds.map(SystemFile::Quota);
        let is_it = |file: &&SystemFile| {
            self.sides.after.system_file(**file).is_ok_and(|inode| inode.blkno == blkno)
        };
        let Some(file) = files.iter().find(is_it) else { return };
        let path = Some(format!("//{}", file.name()).into_bytes());
        each(Loss { inode: blkno, kind, path: path.clone(), now: path, doubt, ..Loss::default() });
    }

    /// Tells of files that have clusters which were free, where others are nobody's: one of their
    /// extents may point to the wrong ones.
    fn adrift(&mut self, each: &mut dyn FnMut(Loss)) -> Result<(), Stop> {
        let adrift = &self.touched.adrift;
        if adrift.is_empty() {
            return Ok(());
        }
        let before = self.sides.before;
        for inode in before.inodes().filter_map(Result::ok) {
            if self.interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            let geometry = before.geometry();
            let Ok(tree) = before.tree(&inode) else { continue };
            let has_some = tree.extents().map_while(Result::ok).any(|extent| {
                let start = geometry.cluster_of(extent.blkno).unwrap_or_default().0;
                let end = start.saturating_add(extent.clusters.into());
                adrift.iter().any(|range| range.start < end && start < range.end)
            });
            let (blkno, kind, doubt) = (inode.blkno, inode.kind(), Some(Doubt::Free));
            if has_some && !self.is_system(&inode) && !self.touched.doubts.contains_key(&blkno) {
                let path = self.was.path(blkno);
                let now = self.is.path(blkno);
                each(Loss { inode: blkno, kind, path, now, doubt, ..Loss::default() });
            }
        }
        Ok(())
    }

    /// Tells of files of which one may have had a block of attributes that was freed as nobody's.
    fn without_block(&mut self, each: &mut dyn FnMut(Loss)) -> Result<(), Stop> {
        if !self.touched.frees_blocks {
            return Ok(());
        }
        for inode in attributes::without_block(&self.sides, self.interrupt)? {
            let (blkno, kind, doubt) = (inode.blkno, inode.kind(), Some(Doubt::Attributes));
            if !self.is_system(&inode) && !self.touched.inodes.contains(&blkno) {
                let (path, now) = (self.was.path(blkno), self.is.path(blkno));
                each(Loss { inode: blkno, kind, path, now, doubt, ..Loss::default() });
            }
        }
        Ok(())
    }

    /// Tells of names of which nothing but the index of their directory knows.
    fn erased(&mut self, each: &mut dyn FnMut(Loss)) {
        let touched = self.touched;
        for (dir, names) in &touched.names {
            for (name, _) in names.iter().filter(|(_, state)| **state == Name::Erased) {
                let name = encode::unescaped(name).unwrap_or_else(|| name.clone().into_bytes());
                let path = self.was.of_entry(*dir, &name);
                each(Loss { path, name: true, ..Loss::default() });
            }
        }
    }

    /// What was in a directory of users.
    fn directory_before(&self, blkno: Blkno) -> Option<Entries> {
        let before = self.sides.before;
        match raw::inode(before, blkno) {
            Some(inode) if inode.is_dir() && !self.is_system(&inode) => {
                Some(Self::entries(before, &inode))
            }
            None if blkno != before.superblock().s_system_dir_blkno => {
                raw::wreck(before, blkno, &mut Self::most_blocks(before))
            }
            _ => None,
        }
    }

    /// Files of which nothing is left, with all their names.
    ///
    /// # Errors
    /// [`Stop`] if that was asked for.
    pub fn emptied(&mut self) -> Result<Vec<Named>, Stop> {
        let mut emptied = Vec::new();
        for blkno in &self.touched.inodes {
            if self.interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            let before = raw::inode(self.sides.before, *blkno);
            let after = raw::inode(self.sides.after, *blkno);
            let (Some(before), Some(after)) = (before, after) else { continue };
            let is_file = after.kind() == Some(FileKind::Regular) && !self.is_system(&after);
            if !is_file || after.size() == 0 || self.touched.declined.contains(blkno) {
                continue;
            }
            let gone = contents::compare(&self.sides, &before, &after).gone;
            if gone.is_some_and(|gone| gone.is_all) {
                let names = self.is.entries(*blkno);
                emptied.push((*blkno, names));
            }
        }
        Ok(emptied)
    }

    fn is_system(&self, inode: &Inode) -> bool {
        is_of_system(self.sides.after, inode)
    }

    fn most_blocks(volume: &Volume) -> u64 {
        volume.geometry().blocks().min(DIRECTORY_BLOCKS)
    }

    fn entries(volume: &Volume, dir: &Inode) -> Entries {
        raw::entries(volume, dir, &mut Self::most_blocks(volume))
    }

    /// Finds out what was put into `lost+found`.
    fn arrivals(&mut self) {
        let Sides { before, after, .. } = self.sides;
        let Some(root) = raw::inode(after, after.superblock().s_root_blkno) else { return };
        let entries = Self::entries(after, &root).entries;
        let Some(home) = entries.into_iter().find(|entry| entry.name == LOST_FOUND) else { return };
        self.lost_found = Some(home.inode);
        let Some(home) = raw::inode(after, home.inode) else { return };
        let were = raw::inode(before, home.blkno).filter(Inode::is_dir);
        let were = were.map(|home| Self::entries(before, &home).entries).unwrap_or_default();
        let were: HashSet<_> = were.into_iter().map(|it| (it.name, it.inode)).collect();
        for entry in Self::entries(after, &home).entries {
            if !were.contains(&(entry.name.clone(), entry.inode)) {
                self.found.insert(entry.inode, entry.name);
            }
        }
    }

    /// Where inodes were by the names that were put back, or that point to them again.
    fn led_back(&self) -> HashMap<Blkno, (Blkno, Vec<u8>)> {
        let mut led = HashMap::new();
        let is_right = |name: &Name| matches!(name, Name::Restored | Name::LedBack);
        let dirs = self.touched.names.iter().filter(|(_, names)| names.values().any(is_right));
        for (dir, _) in dirs {
            let of = |volume| raw::inode(volume, *dir).filter(Inode::is_dir);
            let (Some(was), Some(is)) = (of(self.sides.before), of(self.sides.after)) else {
                continue;
            };
            let was = Self::entries(self.sides.before, &was).entries;
            let has = |entry: &raw::Entry, state| self.name_state(*dir, &entry.name) == Some(state);
            let restored: HashSet<_> =
                was.iter().filter(|it| has(it, Name::Restored)).map(|it| it.inode).collect();
            let old: HashSet<_> = was.iter().map(|it| (&it.name, it.inode)).collect();
            for entry in Self::entries(self.sides.after, &is).entries {
                let is_new = !old.contains(&(&entry.name, entry.inode));
                if is_new && (restored.contains(&entry.inode) || has(&entry, Name::LedBack)) {
                    led.insert(entry.inode, (*dir, entry.name));
                }
            }
        }
        led
    }

    /// What was put into `lost+found`, with the directory and the name it had, if it is the only one of
    /// which nothing else tells the name, and one name was removed as it pointed to a directory instead.
    fn moved(&mut self) -> Option<(Blkno, Blkno, Vec<u8>)> {
        let removed = self.touched.names.iter().flat_map(|(dir, names)| {
            let removed = names.iter().filter(|(_, state)| **state == Name::Removed);
            removed.map(|(name, _)| (*dir, name.clone()))
        });
        let removed: Vec<_> = removed.take(2).collect();
        let [(dir, escaped)] = &removed[..] else { return None };
        let found: Vec<_> = self.found.keys().copied().collect();
        let nameless = found.into_iter().filter(|inode| self.was.path(*inode).is_none());
        let nameless: Vec<_> = nameless.take(2).collect();
        let [inode] = nameless[..] else { return None };
        let was = raw::inode(self.sides.before, *dir)?;
        let was = Self::entries(self.sides.before, &was).entries;
        let entry = was.into_iter().find(|it| encode::escaped(&it.name) == *escaped)?;
        let is_dir = raw::inode(self.sides.after, inode)?.is_dir();
        (entry.may_be_dir == is_dir).then_some((inode, *dir, entry.name))
    }

    /// Whether something has lost a name that is not known: `lost+found` itself, mostly empty, has
    /// else lost nothing with its blocks.
    fn is_any_nameless(&mut self) -> bool {
        let found: Vec<_> = self.found.keys().copied().collect();
        found.into_iter().any(|inode| self.was.path(inode).is_none())
    }

    fn of_inode(
        &mut self,
        blkno: Blkno,
        before: Option<&Inode>,
        after: Option<&Inode>,
    ) -> Option<Loss> {
        let kind = after.or(before).and_then(Inode::kind);
        let mut loss = Loss { inode: blkno, kind, ..Loss::default() };
        if let Some(name) = self.found.get(&blkno).cloned() {
            loss.name = true;
            loss.now = Some([b"/lost+found/", &name[..]].concat());
        }
        match (before, after) {
            (Some(before), Some(after)) => {
                let is_same = before.size() == after.size()
                    && before.dinode.i_clusters == after.dinode.i_clusters;
                let difference = match is_same && self.touched.led_back.contains(&blkno) {
                    true => Difference::default(),
                    false => contents::compare(&self.sides, before, after),
                };
                (loss.contents, loss.size) = (difference.gone, difference.size);
                let is_any = self.lost_found != Some(blkno) || self.is_any_nameless();
                loss.names = before.is_dir()
                    && (is_any && self.has_unknown_names(before, after)
                        || self.touched.repeated.contains(&blkno) && self.is_any_nameless());
                loss.attributes = attributes::compare(&self.sides, self.touched, before, after);
                loss.is_guessed =
                    before.kind() != after.kind() && !self.was_stated(blkno, after.kind());
                let moved = difference.is_moved.then_some(Doubt::Moved);
                loss.doubt = self.touched.doubts.get(&blkno).copied().or(moved);
            }
            // Of what has a name the directory tells.
            (Some(before), None) if !waits(before) => {
                loss.is_gone = self.was.path(blkno).is_none();
                loss.name = false;
            }
            (None, Some(_)) => loss.doubt = self.touched.doubts.get(&blkno).copied(),
            _ => {}
        }
        if !loss.is_any() {
            return None;
        }
        loss.path = self.was.path(blkno);
        if loss.path.is_none() {
            let parent = before.filter(|it| it.is_dir()).and_then(|dir| {
                Self::entries(self.sides.before, dir).parent.filter(|parent| *parent != blkno)
            });
            loss.was_in = parent.and_then(|parent| self.was.path(parent));
            if loss.now.is_none() {
                loss.path = self.is.path(blkno).or_else(|| {
                    // Under its last name, where its directory is now.
                    let (dir, name) = self.was.first_entry(blkno)?;
                    self.is.of_entry(dir, &name)
                });
            }
        }
        if loss.now.is_none() && !loss.is_gone {
            loss.now = self.is.path(blkno);
        }
        Some(loss)
    }

    /// Whether an entry said that an inode is of that kind.
    fn was_stated(&mut self, inode: Blkno, kind: Option<FileKind>) -> bool {
        let (before, code) = (self.sides.before, kind.map(|kind| FileType::from(kind).code()));
        self.was.entries(inode).into_iter().any(|(dir, name)| {
            let read = raw::directory(before, dir, &mut Self::most_blocks(before));
            let entries = read.map(|read| read.entries).unwrap_or_default();
            entries
                .iter()
                .any(|it| it.inode == inode && it.name == name && Some(it.file_type) == code)
        })
    }

    /// What was found out about a name.
    fn name_state(&self, dir: Blkno, name: &[u8]) -> Option<Name> {
        self.touched.names.get(&dir)?.get(&encode::escaped(name)).copied()
    }

    /// A name that may be wrong.
    fn doubted(&mut self, dir: Blkno, entry: &raw::Entry) -> Loss {
        let path = self.was.of_entry(dir, &entry.name);
        let kind = raw::inode(self.sides.after, entry.inode).as_ref().and_then(Inode::kind);
        let doubt = Some(Doubt::Name);
        Loss { inode: entry.inode, kind, now: path.clone(), path, doubt, ..Loss::default() }
    }

    /// Whether a directory may have had names that nobody knows. Its index has an entry for each it
    /// had: where all are those of names that are known there were no others.
    fn has_unknown_names(&self, before: &Inode, after: &Inode) -> bool {
        // By what says how they are stored, once that is right.
        let mut mended = before.clone();
        let (from, to) = (&after.dinode, &mut mended.dinode);
        (to.i_dyn_features, to.i_mode, to.i_flags) =
            (from.i_dyn_features, from.i_mode, from.i_flags);
        let was = Self::entries(self.sides.before, &mended);
        if !was.is_incomplete {
            return false;
        }
        let is = Self::entries(self.sides.after, after);
        let seed = self.sides.before.superblock().s_dx_seed;
        let names = was.entries.iter().chain(&is.entries).map(|entry| &entry.name[..]);
        let names = names.chain([&b"."[..], b".."]);
        let hashes = names.flat_map(|name| CharSign::ALL.map(|sign| dx_hash(name, seed, sign)));
        !dx::is_within(self.sides.before, before, &hashes.collect())
    }

    /// Whether an entry was in a block of another directory that is back in its place.
    fn is_back(&mut self, dir: Blkno, entry: &raw::Entry) -> bool {
        let exchanged = &self.touched.exchanged;
        exchanged.contains(&dir)
            && self.is.entries(entry.inode).iter().any(|(other, name)| {
                *other != dir && exchanged.contains(other) && *name == entry.name
            })
    }

    /// The names a directory does not have any longer; adds to `below` what may be directories that
    /// went with it.
    fn names(
        &mut self,
        dir: Blkno,
        was: &Entries,
        each: &mut dyn FnMut(Loss),
        below: &mut Vec<Blkno>,
    ) {
        let after = raw::inode(self.sides.after, dir).filter(Inode::is_dir);
        let is = after.as_ref().map(|dir| Self::entries(self.sides.after, dir));
        let is = is.unwrap_or_default();
        let there: HashSet<_> = is.entries.iter().map(|it| (&it.name[..], it.inode)).collect();
        let old: HashSet<_> = was.entries.iter().map(|it| (&it.name[..], it.inode)).collect();
        let mut renamed: HashMap<Blkno, Vec<&[u8]>> = HashMap::new();
        for entry in is.entries.iter().filter(|it| !old.contains(&(&it.name[..], it.inode))) {
            renamed.entry(entry.inode).or_default().push(&entry.name);
        }
        let mut seen = HashSet::new();
        for entry in &was.entries {
            let is_first = seen.insert((&entry.name[..], entry.inode));
            let name = self.name_state(dir, &entry.name);
            if there.contains(&(&entry.name[..], entry.inode))
                && (is_first || !renamed.contains_key(&entry.inode))
            {
                if is_first && name == Some(Name::Doubted) {
                    each(self.doubted(dir, entry));
                }
                continue;
            }
            if name == Some(Name::LedBack) && is.entries.iter().any(|it| it.name == entry.name) {
                continue;
            }
            let is_it = |(of, name): &(Blkno, Vec<u8>)| *of == dir && *name == entry.name;
            if self.moved.as_ref().is_some_and(is_it) {
                // Told with what it was the name of.
                continue;
            }
            let path = self.was.of_entry(dir, &entry.name);
            let mut loss = Loss { inode: entry.inode, path, name: true, ..Loss::default() };
            let target = raw::inode(self.sides.after, entry.inode);
            let new_name = renamed.get_mut(&entry.inode).and_then(Vec::pop);
            match (&target, new_name) {
                // It never was its name.
                (Some(_), Some(_)) if name == Some(Name::Restored) => continue,
                (Some(target), Some(name)) => {
                    loss.kind = target.kind();
                    loss.now = self.is.of_entry(dir, name);
                }
                // Told with what else it has lost.
                (Some(_), None) if self.found.contains_key(&entry.inode) => continue,
                // What is there as it was had another name, and this one was that of something else.
                (Some(_), None)
                    if name == Some(Name::Removed)
                        && self.was.path(entry.inode) == self.is.path(entry.inode) => {}
                (Some(_), None) if self.is_back(dir, entry) => continue,
                (Some(target), None) => {
                    loss.kind = target.kind();
                    loss.now = self.is.path(entry.inode);
                }
                // What it pointed to is not known, and may be in another place.
                (None, _) if !self.sides.before.geometry().is_valid_block(entry.inode) => {}
                (None, _) => {
                    let was = raw::inode(self.sides.before, entry.inode);
                    loss.kind = was.as_ref().and_then(Inode::kind);
                    (loss.is_gone, loss.name) = (true, false);
                    // What is in it is gone with it, and named nowhere else.
                    if entry.may_be_dir && was.as_ref().is_none_or(Inode::is_dir) {
                        below.push(entry.inode);
                    }
                }
            }
            each(loss);
        }
    }
}

/// Whether an inode waits to be deleted.
fn waits(inode: &Inode) -> bool {
    inode.dinode.flags().contains(InodeFlags::ORPHANED) || inode.dinode.i_links_count == 0
}

fn is_of_system(volume: &Volume, inode: &Inode) -> bool {
    let superblock = volume.superblock();
    let is_root = inode.blkno == superblock.s_root_blkno;
    let is_top = inode.blkno == superblock.s_system_dir_blkno;
    is_top || !is_root && inode.dinode.flags().contains(InodeFlags::SYSTEM)
}

/// Whether an inode is one of the system's.
pub(crate) fn is_system(volume: &Volume, inode: Blkno) -> bool {
    raw::inode(volume, inode).is_some_and(|inode| is_of_system(volume, &inode))
}
