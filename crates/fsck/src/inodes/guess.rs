//! The type of an inode that contradicts itself, guessed from what it holds.

use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::dir::{FileType, entries, write_entry};
use ocfs2_format::extent::ExtentList;
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::{Inode, Volume};

use crate::repair::directory::Directory;
use crate::repair::system::add_feature;
use crate::repair::{EditError, Editor, Repair};

/// The type bits of `i_mode`.
pub(super) const DIRECTORY: u16 = 0o040_000;
pub(super) const REGULAR: u16 = 0o100_000;
pub(super) const SYMLINK: u16 = 0o120_000;

/// Returns a mode with another type. Without any permissions it gets those of the owner alone.
pub(super) fn with_type(mode: u16, kind: u16) -> u16 {
    // Setuid and the like of a mode that was garbage must not give rights to others.
    let permissions = mode & 0o777;
    kind | if permissions == 0 { 0o700 } else { permissions }
}

/// Returns the repair that gives an inode the type it looks like.
pub(super) fn mode(blkno: Blkno) -> Repair {
    Repair::new(move |editor| {
        let inode = editor.inode(blkno)?;
        if inode.kind().is_some() {
            return Ok(());
        }
        let kind = if is_directory(editor.volume(), &inode) {
            DIRECTORY
        } else if is_target(&inode) {
            SYMLINK
        } else {
            REGULAR
        };
        editor.dinode(blkno, |dinode, _| dinode.i_mode = with_type(dinode.i_mode, kind))
    })
}

/// Returns whether the contents begin like those of a directory.
pub(crate) fn is_directory(volume: &Volume, inode: &Inode) -> bool {
    let inline = inode.is_inline().then(|| InlineData::data(inode.id2()).ok()).flatten();
    let first = inline.map(<[u8]>::to_vec).or_else(|| {
        let extent = volume.tree(inode).ok()?.extents().next()?.ok()?;
        volume.read_block(extent.blkno).ok()
    });
    let Some(first) = first else { return false };
    let mut entries = entries(&first).map_while(Result::ok);
    let own = entries.next().is_some_and(|it| it.name == b"." && it.header.inode == inode.blkno);
    own || entries.next().is_some_and(|it| it.name == b"..")
}

/// Returns whether there is only the target of a symbolic link.
fn is_target(inode: &Inode) -> bool {
    let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
    let text = inode.id2().get(..size).filter(|text| !text.is_empty() && !text.contains(&0));
    let plain = !inode.is_inline() && inode.dinode.i_clusters == 0;
    plain && text.is_some() && inode.id2().get(size) == Some(&0)
}

/// Returns the repair of an inode with inline data on a volume without: clears the flag if there is
/// an extent list, otherwise gives the volume the feature.
pub(super) fn inline_data(blkno: Blkno) -> Repair {
    // First: inline data looks like broken extents as long as the volume lacks the feature.
    Repair::first(move |editor| {
        let inode = editor.inode(blkno)?;
        let is_list = ExtentList::new(inode.id2()).is_ok_and(|list| {
            list.verify(blkno).is_ok() && usize::from(list.header.l_count) == list.capacity()
        });
        if !is_list {
            return add_feature(editor, Incompat::INLINE_DATA);
        }
        editor.dinode(blkno, |dinode, _| {
            let features = dinode.dyn_features().difference(DynFeatures::INLINE_DATA);
            dinode.i_dyn_features = features.bits();
        })
    })
}

/// Returns the repair of the reference to a refcount tree: sets the flag if there is a tree,
/// otherwise removes the reference.
pub(super) fn refcount_tree(blkno: Blkno) -> Repair {
    Repair::new(move |editor| {
        let inode = editor.inode(blkno)?;
        let volume = editor.volume();
        let named = inode.dinode.i_refcount_loc;
        let root =
            volume.read_block(named).ok().filter(|_| volume.geometry().is_valid_block(named));
        let root = root.and_then(|block| RefcountBlock::decode(&block).ok());
        let is_root = root.is_some_and(|root| {
            root.rf_signature == RefcountBlock::SIGNATURE
                && root.rf_fs_generation == volume.generation()
                && root.rf_blkno == named
        });
        let is_file = inode.kind() == Some(FileKind::Regular);
        if is_root && is_file && !volume.has(Incompat::REFCOUNT_TREE) {
            add_feature(editor, Incompat::REFCOUNT_TREE)?;
        }
        editor.dinode(blkno, |dinode, _| {
            let mut features = dinode.dyn_features();
            features.set(DynFeatures::HAS_REFCOUNT, is_root && is_file);
            dinode.i_dyn_features = features.bits();
            if !(is_root && is_file) {
                dinode.i_refcount_loc = Blkno(0);
            }
        })
    })
}

/// Makes a directory that has lost its blocks an empty one: in the inode where the volume has
/// inline data, otherwise in a new cluster. What was in it is then found to be in no directory.
pub(super) fn empty_directory(blkno: Blkno) -> Repair {
    Repair::new(move |editor| make_empty(editor, blkno))
}

/// Gives a directory in its inode the size that it has to have. Without any entries it becomes an
/// empty one.
pub(super) fn sized_directory(blkno: Blkno) -> Repair {
    Repair::new(move |editor| {
        let inode = editor.inode(blkno)?;
        if !is_directory(editor.volume(), &inode) {
            return make_empty(editor, blkno);
        }
        let room = inode.id2().len().saturating_sub(InlineData::SIZE);
        editor.dinode(blkno, |dinode, _| dinode.i_size = room as u64)
    })
}

fn make_empty(editor: &mut Editor<'_>, blkno: Blkno) -> Result<(), EditError> {
    let inode = editor.inode(blkno)?;
    if !editor.volume().has(Incompat::INLINE_DATA) {
        editor.dinode(blkno, |dinode, _| {
            let features = dinode.dyn_features().difference(DynFeatures::INDEXED_DIR);
            (dinode.i_dyn_features, dinode.i_dx_root) = (features.bits(), Blkno(0));
            dinode.i_size = 0;
        })?;
        let Some(directory) = Directory::empty(editor, blkno, blkno)? else { return Ok(()) };
        return directory.write(editor);
    }
    let room = inode.id2().len().saturating_sub(InlineData::SIZE);
    editor.dinode(blkno, |dinode, id2| {
        let mut features = dinode.dyn_features();
        features.remove(DynFeatures::INDEXED_DIR);
        features.insert(DynFeatures::INLINE_DATA);
        dinode.i_dyn_features = features.bits();
        (dinode.i_dx_root, dinode.i_last_eb_blk, dinode.i_clusters) = (Blkno(0), Blkno(0), 0);
        dinode.i_size = room as u64;
        let Some(id2) = id2.get_mut(..InlineData::SIZE + room) else { return };
        id2.fill(0);
        let _ = InlineData { id_count: room as u16, ..InlineData::default() }.encode(id2);
        let Some((dot, dotdot)) = id2.split_at_mut_checked(InlineData::SIZE + 16) else {
            return;
        };
        let dot = dot.get_mut(InlineData::SIZE..).unwrap_or_default();
        let _ = write_entry(dot, blkno, 16, FileType::Directory, b".");
        // The next check finds out where it belongs.
        let rest = dotdot.len() as u16;
        let _ = write_entry(dotdot, blkno, rest, FileType::Directory, b"..");
    })
}
