//! Losses of a run of repairs, by path.
//!
//! A repair knows only what it changes, so the losses are found by a comparison instead: the volume
//! before the first repair with the volume after the last. For each inode that a finding was about,
//! or whose block was written, contents, attributes and names are compared. What could not be read
//! before is lost if nothing has taken its place.

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

/// The most blocks of a directory that are compared: those of some ten million entries.
const DIRECTORY_BLOCKS: u64 = 1 << 20;
/// The directory for inodes that have lost their names.
const LOST_FOUND: &[u8] = b"lost+found";

/// What a file has lost, or what may be wrong in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loss {
    /// Its inode.
    pub inode: Blkno,
    /// Its type of file, now or before.
    pub kind: Option<FileKind>,
    /// Its path before the repairs; `None` if it is not known.
    pub path: Option<Vec<u8>>,
    /// The path of the directory it was in, if only that is known.
    pub was_in: Option<Vec<u8>>,
    /// Its path after the repairs; `None` if it has none.
    pub now: Option<Vec<u8>>,
    /// Nothing is left of it.
    pub is_gone: bool,
    /// Its name is gone.
    pub name: bool,
    /// Lost contents.
    pub contents: Option<Gone>,
    /// Lost attributes.
    pub attributes: Option<GoneAttributes>,
    /// This directory has lost names that are not known.
    pub names: bool,
    /// The size before and after, if it was corrected.
    pub size: Option<(u64, u64)>,
    /// Its type was unknown and had to be guessed.
    pub is_guessed: bool,
    /// It is the journal of this slot, with the changes of other files in it.
    pub journal: Option<u16>,
    /// It stands for what only the superblock knew.
    pub superblock: bool,
    /// Why it may be wrong, although no loss is known.
    pub doubt: Option<Doubt>,
}

/// Why something may be wrong although it has not lost anything known.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Doubt {
    /// A checksum did not match, and more than one bit was wrong.
    Checksum,
    /// Its clusters were claimed by something else as well, which may have written to them.
    Shared,
    /// Something else in the same block was wrong.
    Beside,
    /// Parts of its contents were moved to where they fit.
    Moved,
    /// The index of its directory was made for another name, or another entry has the same name.
    Name,
    /// One of its blocks belongs elsewhere by its number and its bit.
    Elsewhere,
    /// It has one name too many, and another inode one too few.
    Names,
    /// Its link count was higher than the number of its names.
    Fewer,
    /// It had the same clusters in several places.
    Twice,
    /// It was recreated from what was found of it.
    Made,
    /// One of its attributes has another name, or a value of another size, than it had.
    Attributes,
    /// Its mode was invalid.
    Mode,
    /// Its clusters were marked as free, and others in use have no owner.
    Free,
    /// A quota file in which limits of users or groups cannot be read.
    Limits,
    /// It has clusters that a refcount tree counts less often than they are shared.
    Counted,
    /// A part of it was marked as never written.
    Unwritten,
    /// The superblock, whose checksum did not hold or whose features had to be assumed.
    Superblock,
}

impl Doubt {
    /// The reason in words.
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
            Self::Counted => {
                "clusters of it are shared more often than counted, so that it may have those of \
                 another file"
            }
            Self::Unwritten => {
                "a part of it was marked as never written, and shows now what is on the disk there"
            }
            Self::Superblock => {
                "what nothing else on the volume repeats may be wrong: label, cluster, quota, \
                 whether one node or a cluster mounts it"
            }
        }
    }
}

impl Loss {
    /// Whether something is known to be gone, rather than possibly wrong.
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
    /// Inodes that are new in `lost+found`, with their names there.
    found: BTreeMap<Blkno, Vec<u8>>,
    lost_found: Option<Blkno>,
    /// The directory and the removed name of an inode in `lost+found`, if known.
    moved: Option<(Blkno, Vec<u8>)>,
}

impl<'a> Comparison<'a> {
    /// Compares two volumes; `touched` is what may differ.
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

    /// Calls `each` with every loss.
    ///
    /// # Errors
    /// [`Stop`] on an interrupt.
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
        // Names come last: what was put into lost+found has been reported by then. The contents of
        // a lost directory come after the directory itself.
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

    /// Reports further names of an inode, each of which may be that of another one.
    fn each_name(&mut self, loss: &Loss, each: &mut dyn FnMut(Loss)) {
        let Loss { inode, kind, doubt, .. } = loss.clone();
        for (dir, name) in self.is.entries(inode) {
            let path = self.is.of_entry(dir, &name);
            if path.is_some() && path != loss.path {
                each(Loss { inode, kind, path: path.clone(), now: path, doubt, ..Loss::default() });
            }
        }
    }

    /// Reports limits that may be gone, by the findings about a quota file or because blocks of it
    /// are lost.
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

    /// Reports files with clusters that were marked as free, if other clusters in use have no
    /// owner: an extent of theirs may point to the wrong ones.
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

    /// Reports files of which one may have had an xattr block that was freed because nothing
    /// pointed to it.
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

    /// Reports names that only the index of their directory still knows.
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

    /// The old entries of a directory, unless it is one of the system.
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

    /// Returns the files of which nothing is left, with all their names.
    ///
    /// # Errors
    /// [`Stop`] on an interrupt.
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

    /// Determines what was put into `lost+found`.
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

    /// The places of inodes whose names were restored, or to which entries point again.
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

    /// Returns the inode in `lost+found` whose name must have been the removed one: only if it is
    /// the only one without a known name, and exactly one name was removed since it pointed to a
    /// directory instead.
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

    /// Whether an inode in `lost+found` has lost an unknown name. If not, `lost+found` itself,
    /// which is mostly empty, has lost no names with its blocks.
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
            // Something with a name is reported with its directory.
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
                    // Under its old name, at the present place of its directory.
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

    /// Whether an entry stated that kind for an inode.
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

    /// What the findings said about a name.
    fn name_state(&self, dir: Blkno, name: &[u8]) -> Option<Name> {
        self.touched.names.get(&dir)?.get(&encode::escaped(name)).copied()
    }

    /// A loss for a name that may be wrong.
    fn doubted(&mut self, dir: Blkno, entry: &raw::Entry) -> Loss {
        let path = self.was.of_entry(dir, &entry.name);
        let kind = raw::inode(self.sides.after, entry.inode).as_ref().and_then(Inode::kind);
        let doubt = Some(Doubt::Name);
        Loss { inode: entry.inode, kind, now: path.clone(), path, doubt, ..Loss::default() }
    }

    /// Whether a directory may have had unknown names. Its index has an entry for every name: if
    /// all of them belong to known names, there were no others.
    fn has_unknown_names(&self, before: &Inode, after: &Inode) -> bool {
        // Read with the repaired fields that say how the entries are stored.
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

    /// Whether an entry was in a misplaced block that is now back in another directory.
    fn is_back(&mut self, dir: Blkno, entry: &raw::Entry) -> bool {
        let exchanged = &self.touched.exchanged;
        exchanged.contains(&dir)
            && self.is.entries(entry.inode).iter().any(|(other, name)| {
                *other != dir && exchanged.contains(other) && *name == entry.name
            })
    }

    /// Reports the names that a directory no longer has. Adds to `below` the possible directories
    /// that were lost with it.
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
                // Reported with the inode it was the name of.
                continue;
            }
            let path = self.was.of_entry(dir, &entry.name);
            let mut loss = Loss { inode: entry.inode, path, name: true, ..Loss::default() };
            let target = raw::inode(self.sides.after, entry.inode);
            let new_name = renamed.get_mut(&entry.inode).and_then(Vec::pop);
            match (&target, new_name) {
                // The inode never had that name.
                (Some(_), Some(_)) if name == Some(Name::Restored) => continue,
                (Some(target), Some(name)) => {
                    loss.kind = target.kind();
                    loss.now = self.is.of_entry(dir, name);
                }
                // Reported with the other losses of the inode.
                (Some(_), None) if self.found.contains_key(&entry.inode) => continue,
                // The inode still has its own name: this one was that of something else.
                (Some(_), None)
                    if name == Some(Name::Removed)
                        && self.was.path(entry.inode) == self.is.path(entry.inode) => {}
                (Some(_), None) if self.is_back(dir, entry) => continue,
                (Some(target), None) => {
                    loss.kind = target.kind();
                    loss.now = self.is.path(entry.inode);
                }
                // It is not known what it pointed to, and that may be elsewhere.
                (None, _) if !self.sides.before.geometry().is_valid_block(entry.inode) => {}
                (None, _) => {
                    let was = raw::inode(self.sides.before, entry.inode);
                    loss.kind = was.as_ref().and_then(Inode::kind);
                    (loss.is_gone, loss.name) = (true, false);
                    // Its entries are lost with it and named nowhere else.
                    if entry.may_be_dir && was.as_ref().is_none_or(Inode::is_dir) {
                        below.push(entry.inode);
                    }
                }
            }
            each(loss);
        }
    }
}

/// Whether an inode is to be deleted.
fn waits(inode: &Inode) -> bool {
    inode.dinode.flags().contains(InodeFlags::ORPHANED) || inode.dinode.i_links_count == 0
}

fn is_of_system(volume: &Volume, inode: &Inode) -> bool {
    let superblock = volume.superblock();
    let is_root = inode.blkno == superblock.s_root_blkno;
    let is_top = inode.blkno == superblock.s_system_dir_blkno;
    is_top || !is_root && inode.dinode.flags().contains(InodeFlags::SYSTEM)
}

/// Whether an inode belongs to the system.
pub(crate) fn is_system(volume: &Volume, inode: Blkno) -> bool {
    raw::inode(volume, inode).is_some_and(|inode| is_of_system(volume, &inode))
}
