//! The system files: which exist, where they are, and whether they are valid.
//!
//! The system directory is read once, as far as possible, into [`SystemFiles`], in which all passes
//! look files up. Missing files and wrong types and flags are reported, and then treated as if they
//! had been mended.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use ocfs2_format::chain::{ChainList, ChainListHeader};
use ocfs2_format::dinode::{Dinode, FileKind, InodeFlags};
use ocfs2_format::dir;
use ocfs2_format::inline::InlineData;
use ocfs2_format::superblock::MAX_SLOTS;
use ocfs2_format::truncate_log::TruncateLogHeader;
use ocfs2_format::{Blkno, Block, Structure};
pub use ocfs2_volume::SystemFile;
use ocfs2_volume::tree::Extent;
use ocfs2_volume::{Inode, Volume};

use crate::codes::start as codes;
use crate::extents::{self, TreeRoot};
use crate::read::system::{is_system, is_top};
use crate::repair::salvage::{self, Lost, contradicts};
use crate::repair::system as repair;
use crate::tables::collected::Collected;
use crate::tables::visits::Visits;
use crate::{Context, Finding, Place, misplaced, read};

/// Bytes of the system directory that are read. The entries of all files of all possible slots take
/// a tenth of that.
const MAX_DIR_BYTES: u64 = 1 << 20;

/// Describes what is recreated when a file is missing.
fn contents(file: SystemFile) -> &'static str {
    match file {
        SystemFile::BadBlocks => "an empty file; which clusters are bad is lost",
        SystemFile::GlobalInodeAlloc => "the allocator of the system files' inodes",
        SystemFile::SlotMap => "a map with all slots free",
        SystemFile::Heartbeat => "an empty region",
        SystemFile::GlobalBitmap => "the bitmap of all clusters, from what is in use",
        SystemFile::Quota(_) => "the usage of all ids; their limits are lost",
        SystemFile::OrphanDir(_) => "an empty directory",
        SystemFile::ExtentAlloc(_) => "the allocator, from the groups and blocks that name it",
        SystemFile::InodeAlloc(_) => "the allocator, from the groups and inodes that name it",
        SystemFile::Journal(_) => {
            "an empty journal as large as the largest of the other slots, or of 4 MiB; what it \
             held is lost"
        }
        SystemFile::LocalAlloc(_) => "an empty local alloc",
        SystemFile::TruncateLog(_) => "an empty truncate log",
        SystemFile::LocalQuota(..) => "an empty file",
    }
}

/// Where the system files are, as the system directory states it.
#[derive(Clone, Debug, Default)]
pub struct SystemFiles {
    files: BTreeMap<SystemFile, Blkno>,
    files_by_block: BTreeMap<Blkno, Option<SystemFile>>,
    dir: Blkno,
    slots: u16,
    lost: Lost,
    /// Files that are taken to be in their usual places although their entries point elsewhere.
    misled: Vec<(SystemFile, Blkno)>,
    /// Files whose places hold the inode of another file.
    overwritten: BTreeMap<SystemFile, Blkno>,
    /// Whether a part of the system directory cannot be read.
    is_unreadable: bool,
}

impl SystemFiles {
    /// Reads the system directory as far as possible. Of several entries with one name the first
    /// one counts.
    ///
    /// Also returns the findings about blocks of it that cannot be read.
    pub fn read(context: &Context<'_>) -> (Self, Vec<Finding>) {
        let known: Vec<_> = SystemFile::GLOBAL
            .into_iter()
            .chain((0..MAX_SLOTS).flat_map(SystemFile::of_slot))
            .map(|file| (file.name().into_bytes(), file))
            .collect();
        let known: BTreeMap<_, _> = known.into_iter().collect();
        let mut files = BTreeMap::new();
        let mut renamed = BTreeSet::new();
        let unreadable = each_entry(context, |name, blkno| match known.get(name) {
            Some(file) => {
                files.entry(*file).or_insert(blkno);
            }
            None => {
                renamed.insert(blkno);
            }
        });
        let slots = context.volume.max_slots();
        let lost = Lost::new(context.options.salvage);
        let near = near(context);
        let mut misled = misled(context, &lost, &near, &files);
        misled.retain(|(_, blkno)| !renamed.contains(blkno));
        files.extend(misled.iter().copied());
        let mut regained = regained(context, &lost, &files);
        regained.retain(|(_, blkno)| !renamed.contains(blkno));
        files.extend(regained.iter().copied());
        misled.extend(regained);
        let overwritten = overwritten(context, &files);
        files.retain(|file, blkno| {
            !overwritten.contains_key(file) && !is_others(context, &near, *blkno)
        });
        drop_borrowed(context, &mut files);
        let mut files_by_block = BTreeMap::new();
        for (file, blkno) in &files {
            // An inode with several names is mended for none of them.
            let known = files_by_block.insert(*blkno, Some(*file)).is_some();
            if known {
                files_by_block.insert(*blkno, None);
            }
        }
        let dir = context.volume.superblock().s_system_dir_blkno;
        let is_unreadable = !unreadable.is_empty() || context.volume.read_block(dir).is_err();
        let system =
            Self { files, files_by_block, dir, slots, lost, misled, overwritten, is_unreadable };
        (system, unreadable)
    }

    /// Returns whether no file is known although the system directory can be read.
    pub fn are_gone(&self) -> bool {
        self.files.is_empty() && self.overwritten.is_empty() && !self.is_unreadable
    }

    /// Returns the block of a file's inode, whatever it holds.
    pub fn find(&self, file: SystemFile) -> Option<Blkno> {
        self.files.get(&file).copied()
    }

    /// Returns the block of a file's inode if it holds the inode of another file.
    pub(crate) fn overwritten(&self, file: SystemFile) -> Option<Blkno> {
        self.overwritten.get(&file).copied()
    }

    /// Returns whether an entry of a system file points to that inode.
    pub(crate) fn names(&self, blkno: Blkno) -> bool {
        self.files_by_block.contains_key(&blkno)
            || self.overwritten.values().any(|place| *place == blkno)
    }

    /// Returns the files that can be found without an entry.
    pub(crate) fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// Returns the number of slots: that of the superblock, corrected by the files that exist.
    pub fn slots(&self) -> u16 {
        self.slots
    }

    /// Returns the inode of a file as if its type and flags had been mended; `None` if there is no
    /// inode of the system. Pass 1 reports what else is wrong with it.
    pub fn inode(&self, context: &Context<'_>, file: SystemFile) -> Option<Inode> {
        let inode = read_dinode(context, self.find(file)?);
        let mut inode = inode.filter(is_system)?;
        self.mend(&mut inode);
        Some(inode)
    }

    /// Sets the type and flags that an inode has to have if it is that of a system file or of the
    /// system directory.
    pub fn mend(&self, inode: &mut Inode) {
        let (kind, flags) = match self.files_by_block.get(&inode.blkno) {
            Some(Some(file)) => (file.kind(), file.flags()),
            None if inode.blkno == self.dir => {
                (FileKind::Directory, InodeFlags::VALID | InodeFlags::SYSTEM)
            }
            _ => return,
        };
        inode.dinode.i_flags = flags.bits();
        let permissions = inode.dinode.i_mode & 0o7777;
        inode.dinode.i_mode = kind.mode_bits() | permissions;
    }

    /// Returns the files of these slots that have an entry, with their inodes.
    fn of_slots(&self, slots: Range<u16>) -> Vec<(SystemFile, Blkno)> {
        let files = slots.flat_map(SystemFile::of_slot);
        files.filter_map(|file| Some((file, self.find(file)?))).collect()
    }

    /// Returns whether these slots have all their files, each with its inode.
    fn is_complete(&self, context: &Context<'_>, slots: Range<u16>) -> bool {
        let files = slots.flat_map(SystemFile::of_slot);
        let mut files = files.filter(|file| file.is_expected(context.volume.features()));
        files.all(|file| {
            let inode = self.inode(context, file);
            let is_journal = matches!(file, SystemFile::Journal(_));
            inode.is_some_and(|inode| !is_journal || inode.dinode.i_clusters > 0)
        })
    }

    /// Returns those of the files of these slots that are rather files of a lower slot with a wrong
    /// name: most files of these slots are missing, and a lower slot lacks a file of the kind.
    fn misnamed(
        &self,
        context: &Context<'_>,
        slots: Range<u16>,
        files: &[(SystemFile, Blkno)],
    ) -> Vec<(SystemFile, Blkno)> {
        let expected = slots.clone().flat_map(SystemFile::of_slot);
        let expected = expected.filter(|file| file.is_expected(context.volume.features())).count();
        if files.len() * 2 >= expected {
            return Vec::new();
        }
        let is_missing_below = |file: SystemFile| {
            let of_kind = SystemFile::of_slot(file.slot().unwrap_or_default());
            let kind = of_kind.iter().position(|other| *other == file);
            let below =
                (0..slots.start).filter_map(|slot| SystemFile::of_slot(slot).get(kind?).copied());
            below.into_iter().any(|file| self.find(file).is_none())
        };
        files.iter().filter(|(file, _)| is_missing_below(*file)).copied().collect()
    }

    /// Returns whether a file of a slot holds nothing.
    fn is_idle(&self, context: &Context<'_>, file: SystemFile) -> bool {
        let Some(inode) = self.inode(context, file) else { return false };
        match file {
            SystemFile::ExtentAlloc(_) | SystemFile::InodeAlloc(_) | SystemFile::LocalAlloc(_) => {
                inode.dinode.bitmap() == (0, 0)
            }
            SystemFile::TruncateLog(_) => {
                TruncateLogHeader::decode(inode.id2()).is_ok_and(|log| log.tl_used == 0)
            }
            SystemFile::OrphanDir(_) => {
                let mut entries = 0;
                each_entry_of(context, &inode, |_, _| entries += 1).is_empty() && entries <= 2
            }
            _ => true,
        }
    }

    /// Returns the number of slots up to the last one that has any file.
    fn slots_with_files(&self) -> u16 {
        let slots = self.files.keys().filter_map(|file| file.slot());
        slots.max().map_or(0, |slot| slot + 1)
    }
}

/// Reads the inode in a block if it has the signature of one, with a single wrong bit corrected.
fn read_dinode(context: &Context<'_>, blkno: Blkno) -> Option<Inode> {
    if !context.geometry().is_valid_block(blkno) {
        return None;
    }
    let block = context.read_block::<Dinode>(blkno).ok()?;
    let inode = Inode::decode(blkno, block.bytes).ok()?;
    (inode.dinode.i_signature == Dinode::SIGNATURE).then_some(inode)
}

/// Returns the blocks from the system directory on in which mkfs puts the inodes of its files.
fn near(context: &Context<'_>) -> RangeInclusive<u64> {
    let dir = context.volume.superblock().s_system_dir_blkno.0;
    let files = SystemFile::expected(context.volume, context.volume.max_slots()).count();
    dir..=dir.saturating_add(files as u64)
}

/// Returns whether an inode is the root or the system directory, or known to be of a user. Those
/// that are `near` are not read for that.
fn is_others(context: &Context<'_>, near: &RangeInclusive<u64>, blkno: Blkno) -> bool {
    is_top(context.volume, blkno)
        || !near.contains(&blkno.0)
            && read_dinode(context, blkno).is_some_and(|inode| !is_system(&inode))
}

/// Returns files whose entries point to inodes that cannot be theirs, with the inodes in their
/// usual places, which no other file has. Otherwise a single wrong number would have one allocator
/// taken for another. Files that other tools added after the volume was made have no usual place.
fn misled(
    context: &Context<'_>,
    lost: &Lost,
    near: &RangeInclusive<u64>,
    files: &BTreeMap<SystemFile, Blkno>,
) -> Vec<(SystemFile, Blkno)> {
    // mkfs allocates their inodes in ascending order.
    let in_order: Vec<_> = files.values().collect();
    let is_ascending = in_order.windows(2).all(|pair| pair[0] < pair[1]);
    let is_strange = |(file, blkno): (&SystemFile, &Blkno)| {
        is_others(context, near, *blkno)
            || read_dinode(context, *blkno).is_none_or(|inode| !has_looks_of(&inode, *file))
    };
    if is_ascending && !files.iter().any(is_strange) {
        return Vec::new();
    }
    let volume = context.volume;
    let mut names: BTreeMap<Blkno, usize> = BTreeMap::new();
    for blkno in files.values() {
        *names.entry(*blkno).or_default() += 1;
    }
    let cannot_be = |file: SystemFile, blkno: Blkno| {
        let inode = read_dinode(context, blkno).filter(is_system);
        inode.is_none_or(|inode| contradicts(volume, &inode, file))
    };
    let is_wrong = |file: SystemFile, blkno: Blkno| {
        names.get(&blkno).is_some_and(|names| *names > 1)
            || is_others(context, near, blkno)
            || cannot_be(file, blkno)
    };
    let placed = lost.placed(volume, files);
    let mut misled: BTreeMap<SystemFile, Blkno> = placed
        .into_iter()
        .filter(|(file, place)| {
            let entry = files.get(file).filter(|entry| *entry != place);
            entry.is_some_and(|entry| is_wrong(*file, *entry)) && !cannot_be(*file, *place)
        })
        .collect();
    // A place belongs to the file whose entry points to it, unless that file is misled as well.
    loop {
        let stays = |file: &SystemFile| !misled.contains_key(file);
        let taken = |(file, place): (&SystemFile, &Blkno)| {
            let mut others = files.iter().filter(|(_, blkno)| *blkno == place);
            others.any(|(other, _)| stays(other)).then_some(*file)
        };
        let Some(file) = misled.iter().find_map(taken) else { break };
        misled.remove(&file);
    }
    misled.into_iter().collect()
}

/// Returns the inodes that have several names, with these files.
fn shared(files: &BTreeMap<SystemFile, Blkno>) -> BTreeMap<Blkno, Vec<SystemFile>> {
    let mut names: BTreeMap<Blkno, Vec<SystemFile>> = BTreeMap::new();
    for (file, blkno) in files {
        names.entry(*blkno).or_default().push(*file);
    }
    names.retain(|_, named| named.len() > 1);
    names
}

/// Returns files that share an inode, or whose entries do not point to an inode of the system, with
/// inodes of their own that have no name: for each the next one of its kind in the order of slots,
/// or, for files that share an inode, any that fits.
fn regained(
    context: &Context<'_>,
    lost: &Lost,
    files: &BTreeMap<SystemFile, Blkno>,
) -> Vec<(SystemFile, Blkno)> {
    let volume = context.volume;
    let of_system = |blkno| read_dinode(context, blkno).filter(is_system);
    let shared = shared(files);
    let is_strange = |blkno: Blkno| is_top(volume, blkno) || of_system(blkno).is_none();
    let strange = files.iter().filter(|(_, blkno)| is_strange(**blkno));
    let alone = strange.filter(|(_, blkno)| !shared.contains_key(blkno)).map(|(file, _)| *file);
    let groups = alone.map(|file| (vec![file], 1));
    // One of those that share an inode keeps it.
    let led = |(blkno, named): (&Blkno, &Vec<SystemFile>)| {
        (named.clone(), named.len() - usize::from(!is_strange(*blkno)))
    };
    let groups = shared.iter().map(led).chain(groups);
    let mut taken: BTreeSet<_> = files.values().copied().collect();
    let mut found = Vec::new();
    for (named, most) in groups {
        let known = lost.files(volume);
        let can_be = |file: SystemFile, place: Blkno| {
            let is_its = |inode| !contradicts(volume, &inode, file);
            !taken.contains(&place) && of_system(place).is_some_and(is_its)
        };
        let own = |file: &SystemFile| {
            let place = known.get(file).copied()?;
            can_be(*file, place).then_some((*file, place))
        };
        let mut led: Vec<_> = named.iter().filter_map(own).take(most).collect();
        if let (true, [.., last]) = (led.is_empty() && named.len() > 1, &named[..]) {
            let any = known.values().find(|place| can_be(*last, **place));
            led.extend(any.map(|place| (*last, *place)));
        }
        taken.extend(led.iter().map(|(_, place)| *place));
        found.extend(led);
    }
    found
}

/// Drops files whose entries point to the inode of another file: the entry is wrong, not the inode.
/// The inode belongs to the first of its names that fits its type, flags and contents; if none
/// does, all stay.
fn drop_borrowed(context: &Context<'_>, files: &mut BTreeMap<SystemFile, Blkno>) {
    for (blkno, named) in shared(files) {
        let Some(inode) = read_dinode(context, blkno) else { continue };
        let is_its = |file: &SystemFile| {
            has_looks_of(&inode, *file) && !contradicts(context.volume, &inode, *file)
        };
        if let Some(owner) = named.into_iter().find(is_its) {
            files.retain(|file, at| *at != blkno || *file == owner);
        }
    }
}

/// Returns whether type and flags of an inode are those of a file.
fn has_looks_of(inode: &Inode, file: SystemFile) -> bool {
    inode.dinode.kind() == Some(file.kind()) && inode.dinode.flags() == file.flags()
}

/// Calls `visit` with the name and the inode of every entry of the system directory. Returns the
/// findings about blocks that cannot be read.
fn each_entry(context: &Context<'_>, visit: impl FnMut(&[u8], Blkno)) -> Vec<Finding> {
    let blkno = context.volume.superblock().s_system_dir_blkno;
    let Some(dir) = read_dinode(context, blkno) else { return Vec::new() };
    if is_other_file(&dir) {
        return Vec::new();
    }
    each_entry_of(context, &dir, visit)
}

/// Returns whether the inode in the place of the system directory is one of its files.
fn is_other_file(inode: &Inode) -> bool {
    let (kind, flags) = (inode.dinode.kind(), inode.dinode.flags());
    let mut all = SystemFile::GLOBAL.into_iter().chain(SystemFile::of_slot(0));
    let is_file = all.any(|file| {
        file.kind() != FileKind::Directory && (Some(file.kind()), file.flags()) == (kind, flags)
    });
    // The kind alone may be wrong.
    is_file && flags != InodeFlags::VALID | InodeFlags::SYSTEM
}

/// As [`each_entry`], for any directory.
fn each_entry_of(
    context: &Context<'_>,
    dir: &Inode,
    mut visit: impl FnMut(&[u8], Blkno),
) -> Vec<Finding> {
    let mut unreadable = Vec::new();
    let mut each = |bytes: &[u8]| {
        // A trailer looks like an unused entry.
        for entry in dir::entries(bytes).map_while(Result::ok).filter(dir::DirEntry::is_used) {
            visit(entry.name, entry.header.inode);
        }
    };
    if dir.is_inline() {
        each(dir.id2().get(InlineData::SIZE..).unwrap_or_default());
        return unreadable;
    }
    let bits = context.geometry().bpc_bits();
    let runs = extents_of(context, dir).into_iter();
    let runs = runs.map(|extent| (extent.blkno, u64::from(extent.clusters) << bits));
    // Whatever the tree says, no cluster is read twice, and no more than all files can fill.
    let (seen, mut left) = (Visits::default(), MAX_DIR_BYTES >> context.volume.block_size().bits());
    for (start, blocks) in runs {
        let end = (start.0 + blocks) >> bits;
        if left == 0 || !seen.enter(start.0 >> bits..end) || context.interrupt.requested() {
            continue;
        }
        let blocks = blocks.min(left);
        left -= blocks;
        context.read_each("directory block", start, blocks, |_, block| match block {
            Ok(block) => each(block),
            Err(finding) => unreadable.push(finding),
        });
    }
    unreadable
}

/// Returns the extents of a file as far as they can be read, in order. Nothing is reported: pass 1
/// checks the same tree.
pub(crate) fn extents_of(context: &Context<'_>, inode: &Inode) -> Vec<Extent> {
    let mut found = Vec::new();
    let root = TreeRoot::dense(context, inode);
    extents::walk(context, &root, &mut Collected::default(), |_, extent| found.push(extent));
    found
}

/// Returns the place of block `index` of a file with these extents.
pub(crate) fn block_of(context: &Context<'_>, extents: &[Extent], index: u64) -> Option<Blkno> {
    let bits = context.geometry().bpc_bits();
    let next = extents.partition_point(|extent| u64::from(extent.cpos.0) << bits <= index);
    let extent = extents.get(next.checked_sub(1)?)?;
    let within = index - (u64::from(extent.cpos.0) << bits);
    (within < u64::from(extent.clusters) << bits).then(|| Blkno(extent.blkno.0 + within))
}

/// Returns what is wrong with the inode of the system directory: without it no journal is found.
pub(crate) fn lost_directory(context: &Context<'_>) -> Option<Finding> {
    directory(context, &SystemFiles::read(context).0)
}

/// Returns the finding that the superblock states fewer slots than have files: the journals of the
/// others are not found.
pub(crate) fn lost_slots(context: &Context<'_>, files: &SystemFiles) -> Option<Finding> {
    let mut files = files.clone();
    let finding = slots(context, &mut files);
    finding.filter(|_| files.slots > context.volume.max_slots())
}

fn directory(context: &Context<'_>, system: &SystemFiles) -> Option<Finding> {
    let dir = context.volume.superblock().s_system_dir_blkno;
    let inode = read_dinode(context, dir);
    let is_there = inode.is_some();
    let is_empty = system.files.is_empty();
    let is_directory = inode.is_some_and(|inode| is_in_use(context, &inode) && inode.is_dir());
    if is_directory && !is_empty {
        return None;
    }
    let what = if is_directory { "names no system file" } else { "is not a directory in use" };
    let text = format!("inode {dir} is to be the system directory, and {what}");
    let finding = Finding::new(codes::SYSTEM_DIR_INVALID, Place::inode(dir), text);
    let flags = InodeFlags::VALID | InodeFlags::SYSTEM;
    Some(finding.repaired_by(match is_there && !is_empty {
        true => repair::reflag(dir, FileKind::Directory, flags),
        false => salvage::system_directory(system.lost()),
    }))
}

/// Reads the system directory, and returns what is wrong with its files.
pub(crate) fn check(context: &Context<'_>) -> (SystemFiles, Vec<Finding>) {
    let volume = context.volume;
    let (mut system, mut findings) = SystemFiles::read(context);
    findings.extend(directory(context, &system));
    if system.files.is_empty() {
        // One damage explains that all files are missing.
        return (system, findings);
    }
    if !system.misled.is_empty() {
        findings.push(misled_finding(&system));
    }
    findings.extend(slots(context, &mut system));
    let expected = SystemFile::GLOBAL.into_iter();
    let expected = expected.chain((0..system.slots()).flat_map(SystemFile::of_slot));
    for file in expected.filter(|file| file.is_expected(volume.features())) {
        // Pass 4 reports that an orphan directory is missing.
        let is_other = matches!(file, SystemFile::OrphanDir(_));
        let wrong = judge(context, &system, file);
        findings
            .extend(wrong.filter(|wrong| !is_other || wrong.code != codes::SYSTEM_FILE_MISSING));
    }
    (system, findings)
}

fn misled_finding(system: &SystemFiles) -> Finding {
    let files = &system.misled;
    let names = files.iter().map(|(file, blkno)| format!("{} to inode {blkno}", file.name()));
    let names = names.collect::<Vec<_>>().join(", ");
    let text =
        format!("entries of the system directory lead elsewhere than by their places: {names}");
    let finding = Finding::new(codes::SYSTEM_FILE_ENTRY, Place::inode(system.dir), text);
    finding.repaired_by(repair::lead(files.clone()))
}

/// Compares the slots of the superblock with those that have files.
fn slots(context: &Context<'_>, system: &mut SystemFiles) -> Option<Finding> {
    let stated = context.volume.max_slots();
    let with_files = system.slots_with_files();
    let none = |slot| SystemFile::of_slot(slot).iter().all(|file| system.find(*file).is_none());
    // A slot in between that lost all its files is a case of missing files, not of wrong slots.
    let all_there = (0..with_files.min(stated)).all(|slot| !none(slot));
    if with_files == stated || with_files == 0 || !all_there {
        return None;
    }
    // Files that only lost their names are reported as missing.
    let is_above = |file: &SystemFile| file.slot().is_some_and(|slot| slot >= with_files);
    if with_files < stated && system.lost().files(context.volume).keys().any(is_above) {
        return None;
    }
    let text = format!("s_max_slots is {stated}, there are files of {with_files} slots");
    let place = Place::block(context.volume.found_superblock().blkno);
    let surplus = system.of_slots(stated..with_files);
    let misnamed = system.misnamed(context, stated..with_files, &surplus);
    if !misnamed.is_empty() {
        let names: Vec<_> = misnamed.iter().map(|(file, _)| file.name()).collect();
        let text = format!(
            "{text}; hardly any file of those above is there, and a slot below has none of the kind: \
             the names {} are wrong",
            names.join(", ")
        );
        let finding = Finding::new(codes::SYSTEM_FILE_SURPLUS, place, text);
        return Some(finding.repaired_by(repair::unname(misnamed)));
    }
    if with_files > stated
        && !system.is_complete(context, stated..with_files)
        && surplus.iter().all(|(file, _)| system.is_idle(context, *file))
    {
        let text = format!("{text}; those above are not complete, and nothing is in them");
        let finding = Finding::new(codes::SYSTEM_FILE_SURPLUS, place, text);
        return Some(finding.repaired_by(repair::remove(surplus)));
    }
    let repair = repair::superblock(move |_, it| it.s_max_slots = with_files);
    system.slots = with_files;
    Some(Finding::new(codes::SUPERBLOCK_SLOTS, place, text).repaired_by(repair))
}

fn is_in_use(context: &Context<'_>, inode: &Inode) -> bool {
    let dinode = &inode.dinode;
    dinode.i_fs_generation == context.volume.generation()
        && dinode.flags().contains(InodeFlags::VALID)
}

/// Returns the files whose places hold the inode of another file. Those that look as they should
/// are read together.
fn overwritten(
    context: &Context<'_>,
    files: &BTreeMap<SystemFile, Blkno>,
) -> BTreeMap<SystemFile, Blkno> {
    let places: Vec<_> = files.values().copied().collect();
    let blocks = context.read_scattered(Dinode::NAME, &places);
    let suspects = files.iter().zip(blocks).filter(|((file, blkno), block)| {
        let dinode = block.as_ref().and_then(|block| Dinode::decode(block).ok());
        dinode.is_none_or(|dinode| {
            let is_own = dinode.i_signature == Dinode::SIGNATURE
                && dinode.i_blkno == **blkno
                && (dinode.kind(), dinode.flags()) == (Some(file.kind()), file.flags());
            // The contents of an allocator may show that it is another one.
            !is_own || file.flags().contains(InodeFlags::CHAIN)
        })
    });
    let overwritten = suspects.filter(|((file, blkno), _)| {
        let inode = read_dinode(context, **blkno);
        inode.is_some_and(|inode| is_overwritten(context.volume, &inode, **file))
    });
    overwritten.map(|((file, blkno), _)| (*file, *blkno)).collect()
}

/// Returns whether the inode in a file's place belongs to another file and was written over it: it
/// says so, or it looks like another one and is not the inode of this place's bit. Nothing else
/// that is wrong with an inode is a reason to lose its contents.
fn is_overwritten(volume: &Volume, inode: &Inode, file: SystemFile) -> bool {
    let is_elsewhere =
        inode.dinode.i_blkno != inode.blkno && read::misplaced::is_elsewhere(volume, inode.blkno);
    is_elsewhere
        || is_chain_list(volume, inode) && !file.flags().contains(InodeFlags::CHAIN)
        || !read::misplaced::is_of_its_bit(volume, inode) && is_as_another(volume, inode, file)
}

/// Returns whether an inode is that of an allocator, by its flags and by its list. Taken for that
/// of a file it would have all groups as its contents.
fn is_chain_list(volume: &Volume, inode: &Inode) -> bool {
    inode.dinode.flags().contains(InodeFlags::CHAIN)
        && ChainList::new(inode.id2()).is_ok_and(|list| {
            let ChainListHeader { cl_bpc, cl_count, .. } = list.header;
            usize::from(cl_count) == list.capacity()
                && [1, volume.geometry().blocks_per_cluster()].contains(&cl_bpc.into())
        })
}

/// Returns whether an inode could be that of another file, of the system or of a user.
fn is_as_another(volume: &Volume, inode: &Inode, file: SystemFile) -> bool {
    let mut all = SystemFile::GLOBAL.into_iter().chain(SystemFile::of_slot(0));
    let (kind, flags) = (inode.dinode.kind(), inode.dinode.flags());
    let is_one = flags == InodeFlags::VALID
        || all.any(|other| (Some(other.kind()), other.flags()) == (kind, flags));
    is_one && contradicts(volume, inode, file)
}

/// Returns what is wrong with a file that should exist.
fn judge(context: &Context<'_>, files: &SystemFiles, file: SystemFile) -> Option<Finding> {
    let name = file.name();
    let mut place = Place::default().named(name.as_bytes());
    place.slot = file.slot();
    let made = |place: Place, what: String, named: Option<Blkno>| {
        let text = format!("{name}: {what}; to be made is {}", contents(file));
        let finding = Finding::new(codes::SYSTEM_FILE_MISSING, place, text);
        Some(finding.repaired_by(repair::make(file, named, files.lost())))
    };
    let missing = |place: Place, what: String| {
        // A block past the end of the volume cannot be used, nor one with an inode of a user.
        let named = place.inode.map(Blkno).filter(|blkno| {
            context.geometry().is_valid_block(*blkno) && read_dinode(context, *blkno).is_none()
        });
        made(place, what, named)
    };
    if let Some(blkno) = files.overwritten.get(&file).copied() {
        place.inode = Some(blkno.0);
        let misplaced = misplaced::finding(context.volume, ("inode", blkno), place.clone());
        let what = format!("inode {blkno} is that of another one, and not in its place");
        return misplaced.or_else(|| made(place, what, Some(blkno)));
    }
    let Some(blkno) = files.find(file) else {
        return missing(place, "is not in the system directory".to_owned());
    };
    place.inode = Some(blkno.0);
    let Some(inode) = read_dinode(context, blkno).filter(is_system) else {
        let what = format!("its entry names block {blkno}, which is not an inode of a system file");
        return missing(place, what);
    };
    let dinode = &inode.dinode;
    let generation = context.volume.generation();
    let mut wrong = Vec::new();
    if dinode.i_fs_generation != generation {
        wrong.push(format!("i_fs_generation is {:#010x}", dinode.i_fs_generation));
    }
    if dinode.kind() != Some(file.kind()) {
        wrong.push(format!("i_mode is {:#o}", dinode.i_mode));
    }
    if dinode.flags() != file.flags() {
        wrong.push(format!("i_flags is {:#x}, expected {:#x}", dinode.i_flags, file.flags()));
    }
    if wrong.is_empty() {
        return None;
    }
    let text = format!("{name}, inode {blkno}: {}", wrong.join(", "));
    let repair = repair::reflag(blkno, file.kind(), file.flags());
    Some(Finding::new(codes::SYSTEM_FILE_INVALID, place, text).repaired_by(repair))
}
