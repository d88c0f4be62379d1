//! Inodes: the common part, and what each owns.

use std::io::Write;

use ocfs2_cli::People;
use ocfs2_format::Structure;
use ocfs2_format::chain::ChainList;
use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::inline::InlineData;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::truncate_log::TruncateLog;
use ocfs2_show::time;
use ocfs2_volume::Inode;

use super::{Out, Shown, bits, block_check, extents, group};
use crate::error::{Failure, Problem};
use crate::volume::Fs;

const FLAGS: [(u64, &str); 12] = [
    (0x0001, "Valid"),
    (0x0002, "Unused2"),
    (0x0004, "Orphan"),
    (0x0008, "Unused3"),
    (0x0010, "System"),
    (0x0020, "Superblock"),
    (0x0040, "Localalloc"),
    (0x0080, "Allocbitmap"),
    (0x0100, "Journal"),
    (0x0200, "Heartbeat"),
    (0x0400, "Chain"),
    (0x0800, "Dealloc"),
];

const DYN_FEATURES: [(u64, &str); 5] = [
    (0x01, "InlineData"),
    (0x02, "HasXattr"),
    (0x04, "InlineXattr"),
    (0x08, "IndexedDir"),
    (0x10, "Refcounted"),
];

fn kind(dinode: &Dinode) -> &'static str {
    match dinode.kind() {
        Some(FileKind::Regular) => "Regular",
        Some(FileKind::Directory) => "Directory",
        Some(FileKind::CharDevice) => "Char Device",
        Some(FileKind::BlockDevice) => "Block Device",
        Some(FileKind::Fifo) => "FIFO",
        Some(FileKind::Symlink) => "Symbolic Link",
        Some(FileKind::Socket) => "Socket",
        None => "Unknown",
    }
}

/// Shows the part that every inode has.
pub fn head(out: Out<'_>, inode: &Inode, people: &People, is_checked: bool) -> Shown {
    let dinode = &inode.dinode;
    let (blkno, mode, generation) = (dinode.i_blkno, dinode.i_mode, dinode.i_generation);
    let mode = mode & 0o7777;
    out.structure(inode.block(), is_checked)?;
    writeln!(
        out,
        "\tInode: {blkno}   Mode: 0{mode:o}   Generation: {generation} ({generation:#x})"
    )?;
    let generation = dinode.i_fs_generation;
    writeln!(out, "\tFS Generation: {generation} ({generation:#x})")?;
    block_check::<Dinode>(out, inode.block(), is_checked)?;
    let flags = bits(dinode.i_flags.into(), &FLAGS);
    writeln!(out, "\tType: {}   Attr: {:#x}   Flags: {flags}", kind(dinode), dinode.i_attr)?;
    let features = bits(dinode.i_dyn_features.into(), &DYN_FEATURES);
    writeln!(out, "\tDynamic Features: ({:#x}) {features}", dinode.i_dyn_features)?;
    if dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
        let (blkno, size) = (dinode.i_xattr_loc, dinode.i_xattr_inline_size);
        writeln!(
            out,
            "\tExtended Attributes Block: {blkno}  Extended Attributes Inline Size: {size}"
        )?;
    }
    owner(out, dinode, people)?;
    times(out, dinode)?;
    places(out, dinode)?;
    counts(out, inode)
}

fn owner(out: Out<'_>, dinode: &Dinode, people: &People) -> Shown {
    let (uid, gid, size) = (dinode.i_uid, dinode.i_gid, dinode.i_size);
    let (user, group) = (people.user(uid), people.group(gid));
    writeln!(out, "\tUser: {uid} ({user})   Group: {gid} ({group})   Size: {size}")?;
    let links = dinode.links_count(true);
    writeln!(out, "\tLinks: {links}   Clusters: {}", dinode.i_clusters)
}

fn times(out: Out<'_>, dinode: &Dinode) -> Shown {
    for (name, seconds, nanoseconds) in [
        ("ctime", dinode.i_ctime, dinode.i_ctime_nsec),
        ("atime", dinode.i_atime, dinode.i_atime_nsec),
        ("mtime", dinode.i_mtime, dinode.i_mtime_nsec),
    ] {
        let text = time::with_nanoseconds(seconds, nanoseconds);
        writeln!(out, "\t{name}: {seconds:#x} {nanoseconds:#x} -- {text}")?;
    }
    writeln!(out, "\tdtime: {:#x} -- {}", dinode.i_dtime, time::long(dinode.i_dtime))
}

fn places(out: Out<'_>, dinode: &Dinode) -> Shown {
    writeln!(out, "\tRefcount Block: {}", dinode.i_refcount_loc)?;
    let (last, slot) = (dinode.i_last_eb_blk, dinode.i_orphaned_slot);
    writeln!(out, "\tLast Extblk: {last}   Orphan Slot: {slot}")?;
    let slot = match dinode.i_suballoc_slot {
        Dinode::GLOBAL_SLOT => "Global".to_owned(),
        slot => slot.to_string(),
    };
    write!(out, "\tSub Alloc Slot: {slot}   Sub Alloc Bit: {}", dinode.i_suballoc_bit)?;
    if !dinode.i_suballoc_loc.is_none() {
        write!(out, "   Sub Alloc Group {}", dinode.i_suballoc_loc)?;
    }
    writeln!(out)
}

fn counts(out: Out<'_>, inode: &Inode) -> Shown {
    let dinode = &inode.dinode;
    let (flags, features) = (dinode.flags(), dinode.dyn_features());
    if flags.contains(InodeFlags::BITMAP) {
        let (used, total) = dinode.bitmap();
        let free = total.wrapping_sub(used);
        writeln!(out, "\tBitmap Total: {total}   Used: {used}   Free: {free}")?;
    }
    if flags.contains(InodeFlags::JOURNAL) {
        let dirty = bits(dinode.journal_flags().into(), &[(1, "Dirty")]);
        writeln!(out, "\tJournal Flags: {dirty}")?;
        writeln!(out, "\tRecovery Generation: {}", dinode.journal_recovery_generation())?;
    }
    if features.contains(DynFeatures::INLINE_DATA) {
        // Even if the attributes leave no room for it.
        let data = inode.block().get(Dinode::ID2_OFFSET..).map(InlineData::decode);
        let count = data.and_then(Result::ok).map_or(0, |data| data.id_count);
        writeln!(out, "\tInline Data Max: {count}")?;
    }
    if features.contains(DynFeatures::INDEXED_DIR) {
        writeln!(out, "\tIndexed Tree Root: {}", dinode.i_dx_root)?;
    }
    Ok(())
}

/// Shows what an inode owns: trees, chains and groups, or what it has instead.
pub fn contents(out: Out<'_>, fs: &Fs, inode: &Inode) -> Result<(), Failure> {
    match inode.dinode.arm() {
        Arm::Chain => {
            own(out, inode)?;
            let list = ChainList::new(inode.id2())?;
            for rec in list.records() {
                writeln!(out)?;
                group::chain(out, fs, rec.c_blkno)?;
            }
            Ok(())
        }
        Arm::ExtentList => {
            let list = inode.extent_list().map_err(Problem::from)?;
            extents::tree(out, fs, &list, inode.blkno)
        }
        _ => Ok(own(out, inode)?),
    }
}

/// Shows what is stored in the block of the inode.
pub fn own(out: Out<'_>, inode: &Inode) -> Shown {
    let id2 = inode.id2();
    match inode.dinode.arm() {
        Arm::LocalAlloc => {
            let alloc = LocalAlloc::decode(id2).unwrap_or_default();
            let (offset, size) = (alloc.la_bm_off, alloc.la_size);
            writeln!(out, "\tLocal Bitmap Offset: {offset}   Size: {size}")
        }
        Arm::Chain => ChainList::new(id2).map_or(Ok(()), |list| group::chains(out, &list)),
        Arm::TruncateLog => TruncateLog::new(id2).map_or(Ok(()), |log| truncate_log(out, &log)),
        Arm::Symlink => {
            let target = id2.split(|byte| *byte == 0).next().unwrap_or_default();
            writeln!(out, "\tFast Symlink Destination: {}", ocfs2_cli::terminal(target))
        }
        Arm::ExtentList => inode.extent_list().map_or(Ok(()), |list| extents::list(out, &list)),
        Arm::Super | Arm::InlineData => Ok(()),
    }
}

fn truncate_log(out: Out<'_>, log: &TruncateLog<'_>) -> Shown {
    let (count, used) = (log.header.tl_count, log.header.tl_used);
    writeln!(out, "\tTotal Records: {count}   Used: {used}")?;
    writeln!(out, "\t##   Start Cluster   Num Clusters")?;
    for (index, rec) in log.records().enumerate() {
        writeln!(out, "\t{index:<2}   {:<10}   {:<10}", rec.t_start, rec.t_clusters)?;
    }
    Ok(())
}
