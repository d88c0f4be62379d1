//! One inode in use: its fields, and the contents of the rest of its block.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::extent::ExtentRec;
use ocfs2_format::feature::Incompat;
use ocfs2_volume::Inode;

use super::guess::{self, DIRECTORY, with_type};
use super::surplus::{Suspects, TooLong};
use super::{index, inline, lacking, local_alloc, symlink, truncate_log};
use crate::codes::{directories, inodes as codes};
use crate::extents::{self, TreeRoot, Walked};
use crate::read::holds::{Holds, Longest};
use crate::repair::{self, Repair};
use crate::tables::collected::{Collected, TreeUser};
use crate::tables::inodes::{Facts, OrphanClaims};
use crate::tables::suballocs::{Bit, Group, Suballoc};
use crate::{Context, Finding, Place, misplaced, read, xattrs};

/// An inode with its flags as they are once they are mended.
pub(super) struct Subject<'a> {
    pub inode: &'a Inode,
    pub kind: Option<FileKind>,
    pub features: DynFeatures,
    /// Its refcount tree.
    pub refcount_tree: Option<Blkno>,
    /// Whether it is a file that may have holes.
    pub may_have_holes: bool,
    /// Whether it may have unwritten extents.
    pub may_be_unwritten: bool,
}

impl Subject<'_> {
    pub fn dinode(&self) -> &Dinode {
        &self.inode.dinode
    }

    pub fn blkno(&self) -> Blkno {
        self.inode.blkno
    }

    pub fn finding(
        &self,
        code: &'static crate::codes::Code,
        text: impl std::fmt::Display,
    ) -> Finding {
        let blkno = self.inode.blkno;
        Finding::new(code, Place::inode(blkno), format_args!("inode {blkno}: {text}"))
    }

    /// Returns the repair that changes the dinode, and its block from `id2` on.
    pub fn repair(
        &self,
        change: impl Fn(&mut Dinode, &mut [u8]) + Send + Sync + 'static,
    ) -> Repair {
        Repair::dinode(self.inode.blkno, change)
    }

    pub fn is_system(&self) -> bool {
        self.dinode().flags().contains(InodeFlags::SYSTEM)
    }
}

/// Checks an inode in use. `bad_check` is what is wrong with its checksum.
pub(super) fn check(
    context: &Context<'_>,
    group: &Group,
    at: Bit,
    inode: &Inode,
    bad_check: Option<String>,
    out: &mut Collected,
) {
    let mended = xattrs::mended(context, inode, out);
    let inode = mended.as_ref().unwrap_or(inode);
    let dinode = &inode.dinode;
    let mut subject = Subject {
        inode,
        kind: inode.kind(),
        features: dinode.dyn_features(),
        refcount_tree: None,
        may_have_holes: false,
        may_be_unwritten: context.has_unwritten(),
    };
    if let Some(bad) = bad_check {
        let code = match subject.kind {
            Some(FileKind::Directory) => directories::BAD_CRC32,
            _ => codes::INODE_ECC,
        };
        let repair = Repair::block_check::<Dinode>(inode.blkno);
        out.found(subject.finding(code, bad).repaired_by(repair));
    }
    identity(context, group, at, &mut subject, out);
    kind(context, group, &subject, out);
    features(context, &mut subject, out);
    let is_file = subject.kind == Some(FileKind::Regular) && !subject.is_system();
    subject.may_have_holes = is_file && context.volume.has(Incompat::SPARSE_ALLOC);
    let shows = lacking::shows(context, &subject, out);
    subject.may_have_holes |= shows.holes;
    subject.may_be_unwritten |= shows.unwritten;
    lacking::shows_quota(context, &subject, out);
    out.inodes.push((at, facts(context, &subject)));
    count(&subject, out);
    if let Some(tree) = subject.refcount_tree {
        out.tree_users.push(TreeUser { tree, inode: inode.blkno });
    }
    let clusters = contents(context, &subject, out);
    out.usage.charge(context, inode, clusters);
    index::claim(context, &subject, out);
    let Subject { features, refcount_tree, .. } = subject;
    xattrs::check(context, &xattrs::Owner { inode, features, refcount_tree }, out);
}

fn facts(context: &Context<'_>, subject: &Subject<'_>) -> Facts {
    let flags = subject.dinode().flags();
    Facts {
        kind: subject.kind,
        in_use: true,
        is_system: flags.contains(InodeFlags::SYSTEM),
        claims: OrphanClaims::of(flags),
        links: context.volume.links_count(subject.inode),
    }
}

fn count(subject: &Subject<'_>, out: &mut Collected) {
    let totals = &mut out.totals;
    totals.inodes += 1;
    match subject.kind {
        Some(FileKind::Regular) => totals.files += 1,
        Some(FileKind::Directory) => totals.directories += 1,
        Some(FileKind::Symlink) => totals.symlinks += 1,
        Some(_) => totals.special += 1,
        None => {}
    }
    if subject.features.contains(DynFeatures::INLINE_DATA) {
        totals.inline += 1;
    }
}

/// Checks where the inode is and where it was allocated from.
fn identity(
    context: &Context<'_>,
    group: &Group,
    at: Bit,
    subject: &mut Subject<'_>,
    out: &mut Collected,
) {
    let (dinode, blkno) = (&subject.inode.dinode, subject.blkno());
    if dinode.i_blkno != blkno {
        let place = Place::inode(blkno);
        if let Some(finding) = misplaced::finding(context.volume, ("inode", blkno), place) {
            // For inodes of the system it was reported at the start, except that the root is lost.
            let is_root = blkno == context.volume.superblock().s_root_blkno;
            let is_lost_root = is_root && read::misplaced::is_copy(context.volume, blkno);
            if group.suballoc != Suballoc::GlobalInodes || is_lost_root {
                out.found(finding);
            }
            return;
        }
        let finding = subject.finding(codes::INODE_BLKNO, format!("i_blkno is {}", dinode.i_blkno));
        let repair = subject.repair(move |dinode, _| dinode.i_blkno = blkno);
        out.found(finding.repaired_by(repair));
    }
    let slot = group.suballoc.slot();
    if dinode.i_suballoc_slot != slot {
        let text = format!("i_suballoc_slot is {}, expected {slot}", dinode.i_suballoc_slot);
        let repair = subject.repair(move |dinode, _| dinode.i_suballoc_slot = slot);
        out.found(subject.finding(codes::INODE_SUBALLOC, text).repaired_by(repair));
    }
    let loc = dinode.i_suballoc_loc;
    let misled = u32::from(dinode.i_suballoc_bit) != at.bit || !loc.is_none() && loc != group.blkno;
    // Without `i_suballoc_loc` the bit alone identifies the block, but only in a contiguous group.
    let lost = loc.is_none() && group.runs.len() > 1;
    if misled || lost {
        let text = format!(
            "i_suballoc_bit is {} of group {loc}, expected {} of group {}",
            dinode.i_suballoc_bit, at.bit, group.blkno
        );
        let (bit, group) = (at.bit as u16, group.blkno);
        let repair = subject.repair(move |dinode, _| {
            (dinode.i_suballoc_bit, dinode.i_suballoc_loc) = (bit, group);
        });
        out.found(subject.finding(codes::INODE_SUBALLOC_BIT, text).repaired_by(repair));
    }
    if dinode.i_dtime != 0 {
        let text = format!("is in use and was deleted at {}", dinode.i_dtime);
        let repair = subject.repair(|dinode, _| dinode.i_dtime = 0);
        out.found(subject.finding(codes::INODE_NZ_DTIME, text).repaired_by(repair));
    }
    let root = context.volume.superblock().s_root_blkno;
    if blkno == root && subject.kind != Some(FileKind::Directory) {
        let text = format!("is the root directory, i_mode is {:#o}", dinode.i_mode);
        let repair =
            subject.repair(|dinode, _| dinode.i_mode = with_type(dinode.i_mode, DIRECTORY));
        out.found(subject.finding(codes::ROOT_NOTDIR, text).repaired_by(repair));
        subject.kind = Some(FileKind::Directory);
    }
}

/// The flags that say what an inode of the system is for, at most one per inode.
pub(super) const PURPOSES: InodeFlags = InodeFlags::SUPER_BLOCK
    .union(InodeFlags::LOCAL_ALLOC)
    .union(InodeFlags::BITMAP)
    .union(InodeFlags::JOURNAL)
    .union(InodeFlags::HEARTBEAT)
    .union(InodeFlags::CHAIN)
    .union(InodeFlags::DEALLOC)
    .union(InodeFlags::QUOTA);

/// Checks that mode and flags exist and fit each other.
fn kind(context: &Context<'_>, group: &Group, subject: &Subject<'_>, out: &mut Collected) {
    let dinode = subject.dinode();
    let root = context.volume.superblock().s_root_blkno;
    if subject.kind.is_none() && subject.blkno() != root {
        let text = format!("i_mode is {:#o}, no type of file", dinode.i_mode);
        out.found(
            subject.finding(codes::INODE_MODE, text).repaired_by(guess::mode(subject.blkno())),
        );
    }
    let is_device = matches!(subject.kind, Some(FileKind::CharDevice | FileKind::BlockDevice));
    if subject.kind.is_some() && !is_device && !subject.is_system() && dinode.id1 != 0 {
        let text =
            format!("i_rdev is {:#x}, i_mode is {:#o}, no device", dinode.id1, dinode.i_mode);
        let repair = subject.repair(|dinode, _| dinode.id1 = 0);
        out.found(subject.finding(codes::INODE_RDEV, text).repaired_by(repair));
    }
    let flags = dinode.flags();
    let known = PURPOSES
        | InodeFlags::VALID
        | InodeFlags::ORPHANED
        | InodeFlags::SYSTEM
        | InodeFlags::DIO_ORPHANED;
    let unknown = !known.contains(flags);
    let purpose = flags & PURPOSES;
    let is_system = flags.contains(InodeFlags::SYSTEM);
    // All inodes of the system are allocated from one place.
    let may_be = group.suballoc == Suballoc::GlobalInodes;
    let misplaced = !purpose.is_empty() && !is_system || is_system && !may_be;
    if unknown || misplaced || purpose.contains(InodeFlags::SUPER_BLOCK) {
        let text = format!("i_flags is {:#x}", flags.bits());
        let repair = subject.repair(move |dinode, _| {
            let mut flags = dinode.flags() & known;
            flags.set(InodeFlags::SYSTEM, is_system && may_be);
            let flags = match flags.contains(InodeFlags::SYSTEM) {
                true => flags.difference(InodeFlags::SUPER_BLOCK),
                false => flags.difference(PURPOSES),
            };
            dinode.i_flags = flags.bits();
        });
        out.found(subject.finding(codes::INODE_FLAGS, text).repaired_by(repair));
    }
}

/// Checks that the volume and the inode have what `i_dyn_features` states, and mends it in
/// `subject`.
fn features(context: &Context<'_>, subject: &mut Subject<'_>, out: &mut Collected) {
    let volume = context.volume;
    let features = subject.features;
    let known = DynFeatures::INLINE_DATA
        | DynFeatures::HAS_XATTR
        | DynFeatures::INLINE_XATTR
        | DynFeatures::INDEXED_DIR
        | DynFeatures::HAS_REFCOUNT;
    let is_dir = subject.kind == Some(FileKind::Directory);
    let is_index_misplaced = features.contains(DynFeatures::INDEXED_DIR)
        && (!is_dir || features.contains(DynFeatures::INLINE_DATA));
    if !known.contains(features) || is_index_misplaced {
        let text = format!("i_dyn_features is {:#x}", features.bits());
        let repair = subject.repair(move |dinode, _| {
            let mut features = dinode.dyn_features() & known;
            if is_index_misplaced {
                features.remove(DynFeatures::INDEXED_DIR);
                dinode.i_dx_root = Blkno(0);
            }
            dinode.i_dyn_features = features.bits();
        });
        out.found(subject.finding(codes::INODE_FLAGS, text).repaired_by(repair));
    }
    if features.contains(DynFeatures::INLINE_DATA) && !volume.has(Incompat::INLINE_DATA) {
        let text = "has inline data, which the volume has not";
        let repair = guess::inline_data(subject.blkno());
        out.found(subject.finding(codes::INLINE_DATA_FLAG_INVALID, text).repaired_by(repair));
        subject.features.remove(DynFeatures::INLINE_DATA);
    }
    let loc = subject.dinode().i_refcount_loc;
    if features.contains(DynFeatures::HAS_REFCOUNT) {
        if volume.has(Incompat::REFCOUNT_TREE) || lacking::shows_refcounts(context, subject, out) {
            subject.refcount_tree = Some(loc);
        } else {
            let text = "has a refcount tree, which the volume has not";
            let repair = guess::refcount_tree(subject.blkno());
            out.found(subject.finding(codes::REFCOUNT_FLAG_INVALID, text).repaired_by(repair));
            subject.features.remove(DynFeatures::HAS_REFCOUNT);
        }
    } else if !loc.is_none() {
        let text = format!("i_refcount_loc is {loc}, without HAS_REFCOUNT");
        let repair = guess::refcount_tree(subject.blkno());
        out.found(subject.finding(codes::REFCOUNT_LOC_INVALID, text).repaired_by(repair));
    }
}

/// Checks the contents. Returns their clusters.
fn contents(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) -> u64 {
    let arm = match subject.dinode().arm() {
        Arm::InlineData if !subject.features.contains(DynFeatures::INLINE_DATA) => Arm::ExtentList,
        Arm::Symlink if symlink::has_extents(context, subject) => {
            let text = "i_clusters is 0, the symbolic link has an extent list";
            let mut aside = out.aside();
            let clusters = tree(context, subject, &mut aside).clusters;
            let count = u32::try_from(clusters).unwrap_or(u32::MAX);
            let repair = subject.repair(move |dinode, _| dinode.i_clusters = count);
            out.found(subject.finding(codes::LINK_FAST_DATA, text).repaired_by(repair));
            out.append(aside);
            return clusters;
        }
        arm => arm,
    };
    match arm {
        Arm::Super | Arm::Chain => {}
        Arm::LocalAlloc => local_alloc::check(context, subject, out),
        Arm::TruncateLog => truncate_log::check(context, subject, out),
        Arm::InlineData => inline::check(context, subject, out),
        Arm::Symlink => symlink::check_fast(subject, out),
        Arm::ExtentList => {
            let walked = tree(context, subject, out);
            if subject.kind == Some(FileKind::Symlink) {
                symlink::check_slow(context, subject, &walked, out);
            }
            if !walked.incomplete {
                sums(context, subject, &walked, out);
                return walked.clusters;
            }
        }
    }
    subject.dinode().i_clusters.into()
}

fn tree(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) -> Walked {
    let mut as_it_is = out.aside();
    let (walked, written, suspects) = follow(context, subject, None, &mut as_it_is);
    let dinode = subject.dinode();
    let needed = clusters_for(context, dinode.i_size);
    // The size says nothing about clusters that are allocated and not written.
    let may_be = |it: &TooLong| it.is_stated || subject.may_have_holes && written > needed;
    let too_long = suspects.too_long(&walked, dinode.i_clusters.into(), needed).filter(may_be);
    let shorter = too_long.and_then(|it| shorter(context, subject, &it, (&walked, written), out));
    if let Some(shorter) = shorter {
        return shorter;
    }
    ends(context, subject, &walked, written, &mut as_it_is);
    out.append(as_it_is);
    walked
}

/// Returns the tree with one extent shortened, if it is sound then. `as_it_is` is the tree with the
/// full extent, and the end of what was written.
fn shorter(
    context: &Context<'_>,
    subject: &Subject<'_>,
    too_long: &TooLong,
    as_it_is: (&Walked, u64),
    out: &mut Collected,
) -> Option<Walked> {
    let mut found = out.aside();
    let (walked, written, _) = follow(context, subject, Some(too_long.longest), &mut found);
    if walked.incomplete {
        return None;
    }
    ends(context, subject, &walked, written, &mut found);
    let mut otherwise = out.aside();
    ends(context, subject, as_it_is.0, as_it_is.1, &mut otherwise);
    sums(context, subject, as_it_is.0, &mut otherwise);
    let holds = holds(subject);
    let surplus = too_long.surplus(context, subject, holds, otherwise.findings);
    // The sums are unknown until that is decided.
    let incomplete = surplus.is_some();
    match surplus {
        Some(surplus) => found.surplus.push(surplus),
        None => found.found(too_long.finding(subject, holds)),
    }
    out.append(found);
    Some(Walked { incomplete, ..walked })
}

/// Returns the clusters that a file of that size needs; `u64::MAX` if no file can have that size.
fn clusters_for(context: &Context<'_>, size: u64) -> u64 {
    context.geometry().clusters_for(size).map_or(u64::MAX, u64::from)
}

fn holds(subject: &Subject<'_>) -> Holds {
    if subject.may_have_holes { Holds::Data } else { Holds::Dense }
}

/// Follows the tree. Also returns the end of what was written.
fn follow(
    context: &Context<'_>,
    subject: &Subject<'_>,
    longest: Option<Longest>,
    out: &mut Collected,
) -> (Walked, u64, Suspects) {
    let holds = holds(subject);
    let root = TreeRoot {
        owner: subject.blkno(),
        blkno: subject.blkno(),
        list: subject.inode.id2(),
        holds,
        refcount_tree: subject.refcount_tree,
        may_be_unwritten: subject.may_be_unwritten,
        mend: &|| Some(repair::tree::of_inode(subject.blkno(), holds)),
    };
    // Unwritten clusters may lie past the end of the file.
    let (mut written, mut suspects) = (0, Suspects::default());
    let taken = |rec: &ExtentRec, _: Option<&ExtentRec>| longest.map_or(*rec, |it| it.of(*rec));
    let walked = extents::walk_as(context, &root, &taken, out, |_, extent| {
        suspects.extent(extent);
        if !extent.is_unwritten() {
            written = extent.end();
        }
    });
    (walked, written, suspects)
}

/// Checks that the inode names the last leaf of its tree, and that its size covers what was
/// written.
fn ends(
    context: &Context<'_>,
    subject: &Subject<'_>,
    walked: &Walked,
    written: u64,
    out: &mut Collected,
) {
    let dinode = subject.dinode();
    if !walked.incomplete && dinode.i_last_eb_blk != walked.last_leaf {
        let text =
            format!("i_last_eb_blk is {}, expected {}", dinode.i_last_eb_blk, walked.last_leaf);
        let last = walked.last_leaf;
        let repair = subject.repair(move |dinode, _| dinode.i_last_eb_blk = last);
        out.found(subject.finding(codes::INODE_LAST_EB, text).repaired_by(repair));
    }
    if subject.kind == Some(FileKind::Regular) {
        out.totals.fragmented += u64::from(walked.extents > 1);
        let needed = clusters_for(context, dinode.i_size);
        if subject.may_have_holes && !walked.incomplete && written > needed {
            let text = format!(
                "i_size is {}, clusters are written up to {written}, beyond its {needed}",
                dinode.i_size
            );
            let size = written << context.geometry().cluster_size.bits();
            let repair = subject.repair(move |dinode, _| dinode.i_size = size);
            out.found(subject.finding(codes::INODE_SPARSE_SIZE, text).repaired_by(repair));
        }
    }
}

/// Compares the sizes in the inode with those of the tree.
fn sums(context: &Context<'_>, subject: &Subject<'_>, walked: &Walked, out: &mut Collected) {
    let dinode = subject.dinode();
    let sparse = context.volume.has(Incompat::SPARSE_ALLOC);
    if u64::from(dinode.i_clusters) != walked.clusters {
        let text = format!("i_clusters is {}, expected {}", dinode.i_clusters, walked.clusters);
        let code = if sparse { codes::INODE_SPARSE_CLUSTERS } else { codes::INODE_CLUSTERS };
        let count = u32::try_from(walked.clusters).unwrap_or(u32::MAX);
        let repair = subject.repair(move |dinode, _| dinode.i_clusters = count);
        out.found(subject.finding(code, text).repaired_by(repair));
    }
    let allocated = walked.end << context.geometry().cluster_size.bits();
    let is_dir = subject.kind == Some(FileKind::Directory);
    if is_dir && walked.extents == 0 {
        let finding = subject.finding(codes::DIR_ZERO, "is a directory without any block");
        out.found(finding.repaired_by(guess::empty_directory(subject.blkno())));
        return;
    }
    if is_dir && dinode.i_size == 0 {
        let text = format!("is a directory of size 0, {allocated} bytes are allocated");
        let repair = subject.repair(move |dinode, _| dinode.i_size = allocated);
        out.found(subject.finding(codes::DIR_SIZE_ZERO, text).repaired_by(repair));
        return;
    }
    let must_fit =
        is_dir || subject.kind == Some(FileKind::Regular) && !sparse && !subject.may_have_holes;
    if must_fit && dinode.i_size > allocated {
        let text = format!("i_size is {}, {allocated} bytes are allocated", dinode.i_size);
        let repair = subject.repair(move |dinode, _| dinode.i_size = allocated);
        out.found(subject.finding(codes::INODE_SIZE, text).repaired_by(repair));
        return;
    }
    let most = context.geometry().most_file_bytes();
    if subject.may_have_holes && dinode.i_size > most {
        let without = without_top_bit(dinode.i_size);
        let is_one = without <= most && clusters_for(context, without) >= walked.end;
        let size = if is_one { without } else { allocated };
        let text = format!("i_size is {}, a file can have {most} bytes", dinode.i_size);
        let repair = subject.repair(move |dinode, _| dinode.i_size = size);
        out.found(subject.finding(codes::INODE_SIZE, text).repaired_by(repair));
    }
}

/// Returns a size without its highest bit: the right one if a single wrong bit made it too large.
fn without_top_bit(size: u64) -> u64 {
    size.checked_ilog2().map_or(size, |bit| size & !(1 << bit))
}
