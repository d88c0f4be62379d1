//! Volumes on which files and directories lie in pieces, and how they lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Arm, Dinode, FileKind, InodeFlags};
use ocfs2_format::extent::ExtentFlags;
use ocfs2_testing::Scratch;
use ocfs2_volume::Volume;
use ocfs2_volume::edit::{Edit, NewInode};

use crate::bench::volume_at;
use crate::rich;

/// A volume with files of every kind, and files and directories that were written in turn, in pieces of
/// a cluster.
pub fn scattered(scratch: &Scratch, form: &str, turns: u64) -> PathBuf {
    let size = if form.contains("1M") { "700M" } else { "96M" };
    let path = rich::rich(scratch, form, size, 60);
    for slot in [0, 1] {
        rich::change_in(&path, slot, |edit| rich::more(edit, slot));
    }
    rich::change(&path, |edit| in_turn(edit, turns));
    path
}

fn in_turn(edit: &mut Edit, turns: u64) {
    let top = edit.superblock().s_root_blkno;
    let cluster = u64::from(edit.geometry().cluster_size.bytes());
    let mut make = |name: &str, kind| {
        let new = NewInode::of(kind, 0o755);
        edit.create(top, name.as_bytes(), &new).unwrap()
    };
    let files: Vec<Blkno> =
        (0..4).map(|it| make(&format!("turn {it}"), FileKind::Regular)).collect();
    let dirs: Vec<Blkno> =
        (0..2).map(|it| make(&format!("turns {it}"), FileKind::Directory)).collect();
    let gone: Vec<Blkno> =
        (0..2).map(|it| make(&format!("gone {it}"), FileKind::Regular)).collect();
    for turn in 0..turns {
        for (index, file) in files.iter().enumerate() {
            // The last one has holes, and every third piece of the first one is unwritten.
            let at = turn * if index == 3 { 3 * cluster } else { cluster };
            let is_unwritten = index == 0 && turn % 3 == 1;
            let unwritten = ocfs2_format::feature::RoCompat::UNWRITTEN;
            if is_unwritten && edit.features().ro_compat.contains(unwritten) {
                edit.allocate(*file, at..at + cluster, false).unwrap();
            } else {
                let text = format!("{index} {turn} ");
                let bytes: Vec<u8> =
                    text.bytes().cycle().take(cluster.min(9000) as usize).collect();
                edit.write_file(*file, at, &bytes).unwrap();
            }
        }
        for file in &gone {
            edit.write_file(*file, turn * cluster, b"gone").unwrap();
        }
        for dir in &dirs {
            for name in 0..cluster.min(8192) / 230 {
                let name = format!("{turn} {name} {}", "n".repeat(200));
                edit.hard_link(*dir, name.as_bytes(), files[0]).unwrap();
            }
        }
    }
    for it in 0..2 {
        edit.unlink(top, format!("gone {it}").as_bytes()).unwrap();
    }
}

/// How a file or directory lies, found without the program's own code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lying {
    pub is_dir: bool,
    /// Number of places from which it is read.
    pub pieces: usize,
    /// The positions that have clusters, and the flags of these.
    pub positions: Vec<(u64, ExtentFlags)>,
    /// Where its shared clusters are.
    pub shared: Vec<(u64, Blkno)>,
    /// Everything else that its inode says: it stays.
    pub dinode: Dinode,
}

/// All files and directories that are not of the system.
pub fn lying(path: &Path) -> BTreeMap<Blkno, Lying> {
    let volume = volume_at(path);
    let inodes = volume.inodes().map(Result::unwrap);
    let own = inodes.filter(|it| !it.dinode.flags().contains(InodeFlags::SYSTEM));
    own.map(|inode| (inode.blkno, lies(&volume, &inode))).collect()
}

fn lies(volume: &Volume, inode: &ocfs2_volume::Inode) -> Lying {
    let bits = volume.geometry().bpc_bits();
    let mut dinode = inode.dinode.clone();
    (dinode.i_last_eb_blk, dinode.i_dx_root) = (Blkno(0), Blkno(0));
    dinode.i_check = Dinode::default().i_check;
    let is_list = dinode.arm() == Arm::ExtentList;
    let is_dir = inode.is_dir();
    let mut found = Lying { is_dir, pieces: 0, positions: Vec::new(), shared: Vec::new(), dinode };
    let is_kind = is_dir || inode.kind() == Some(FileKind::Regular);
    let mut end = None;
    for extent in
        volume.tree(inode).into_iter().filter(|_| is_list && is_kind).flat_map(|it| it.extents())
    {
        let extent = extent.unwrap();
        found.pieces += usize::from(end != Some(extent.blkno.0));
        end = Some(extent.blkno.0 + (u64::from(extent.clusters) << bits));
        for index in 0..u64::from(extent.clusters) {
            let (at, blkno) = (u64::from(extent.cpos.0) + index, extent.blkno.0 + (index << bits));
            found.positions.push((at, extent.flags));
            if extent.flags.contains(ExtentFlags::REFCOUNTED) {
                found.shared.push((at, Blkno(blkno)));
            }
        }
    }
    found
}
