//! Changes that are refused leave nothing behind.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::dir::FileType;
use ocfs2_format::dx::{DxEntry, DxLeaf, DxRoot, write_dx_entries};
use ocfs2_format::hash::{CharSign, dx_hash};
use ocfs2_volume::allocator::Want;
use ocfs2_volume::edit::{Edit, EditError, EditOptions, How, NewInode};
use ocfs2_volume::tree::Tree;
use ocfs2_volume::{Error, Volume};

use crate::bench::Bench;
use crate::model::{Node, begin, edit_of, join, read};

#[test]
fn a_step_that_fails_within_another_one_takes_nothing_with_it() {
    let bench = Bench::new("-M local -N 1 -b 1K -C 4K -J size=4M", "64M");
    let mut edit = edit_of(&bench);
    let (root, folder) = (edit.root().unwrap().blkno, NewInode::of(FileKind::Directory, 0o700));
    let before = edit.take_clusters(Want::exactly(1)).unwrap();
    edit.create(root, b"file", &folder).unwrap_err();
    let after = edit.take_clusters(Want::exactly(1)).unwrap();
    assert_ne!(before, after);
    edit.give_clusters(before).unwrap();
    edit.give_clusters(after).unwrap();
    edit.finish().unwrap();
    bench.commit(&edit);
    bench.judge();
}

/// Writes a block without any of the checks that protect the volume.
fn damage(volume: &Volume, blkno: Blkno, block: &[u8]) {
    let mut edit = Edit::new(volume, EditOptions::default());
    edit.put_blocks(blkno, block).unwrap();
    edit.commit(How::Unguarded, &**volume.device()).unwrap();
}

#[test]
fn a_directory_that_is_damaged_stays_as_it_is() {
    let (bench, mut names) = begin("-M local -N 1 -b 512 -C 4K -J size=4M", "64M", 21, 40);
    let mut edit = edit_of(&bench);
    names.create(&mut edit, b"", b"large", FileKind::Directory);
    for number in 0..100_u32 {
        names.create(&mut edit, b"large", format!("{number}").as_bytes(), FileKind::Regular);
    }
    names.settle(&bench, edit);
    let large = names.inode(b"large");
    // The list of blocks with room points to a block that is not the directory's.
    let volume = bench.volume();
    let dx = volume.inode(large).unwrap().dinode.i_dx_root;
    let mut block = volume.read_block(dx).unwrap();
    block[0x40..0x48].copy_from_slice(&dx.0.to_le_bytes());
    damage(&volume, dx, &block);
    let mut edit = edit_of(&bench);
    let made = edit.create(large, b"one more", &NewInode::of(FileKind::Regular, 0o644));
    assert!(matches!(made, Err(EditError::Volume(Error::Invalid(_)))), "{made:?}");
    edit.finish().unwrap();
    assert_eq!(edit.changed_blocks(), 0);
}

/// Makes files of all kinds in a directory until the volume is full; whatever fails leaves nothing
/// behind.
fn until_full(options: &str, size: &str, seed: u64) {
    let (bench, mut names) = begin(options, size, seed, 255);
    let mut edit = edit_of(&bench);
    names.create(&mut edit, b"", b"large", FileKind::Directory);
    let (large, mut failed) = (names.inode(b"large"), 0);
    let target = [b't'; 4000];
    for number in 0..100_000_u32 {
        let kinds = [FileKind::Directory, FileKind::Symlink, FileKind::Regular];
        let kind = *names.random.of(&kinds);
        let target = if kind == FileKind::Symlink { &target[..] } else { b"" };
        let mut name = names.name();
        name.truncate(240);
        name.extend(number.to_string().bytes());
        let new = NewInode { target, ..NewInode::of(kind, 0o755) };
        match edit.create(large, &name, &new) {
            Ok(inode) => {
                let links = if kind == FileKind::Directory { 2 } else { 1 };
                let (target, rdev) = (target.to_vec(), (0, 0));
                let node = Node { inode, kind, target, rdev, links };
                names.paths.insert(join(b"large", &name), node);
                names.count(large, i32::from(links == 2));
            }
            Err(err) => {
                assert!(err.is_no_room(), "{err}");
                failed += 1;
            }
        }
        if failed == 50 {
            break;
        }
    }
    assert_eq!(failed, 50);
    names.settle(&bench, edit);
}

#[test]
fn what_a_full_volume_has_no_room_for_leaves_nothing_behind() {
    until_full("-M local -N 1 -b 512 -C 4K -J size=4M", "12M", 30);
    until_full(
        "-M local -N 2 -b 4K -C 4K -J size=4M --fs-features=noinline-data,metaecc",
        "24M",
        31,
    );
    until_full("-M local -N 1 -b 1K -C 8K -J size=4M --fs-features=noindexed-dirs", "12M", 32);
}

#[test]
fn what_cannot_be_named_or_moved_is_refused_and_changes_nothing() {
    let bench = Bench::new("-M local -N 1 -b 1K -C 4K -J size=4M", "64M");
    let mut edit = edit_of(&bench);
    let (root, file) = (edit.root().unwrap().blkno, bench.file());
    let (regular, folder) =
        (NewInode::of(FileKind::Regular, 0o600), NewInode::of(FileKind::Directory, 0o700));
    let outer = edit.create(root, b"outer", &folder).unwrap();
    let inner = edit.create(outer, b"inner", &folder).unwrap();
    let before = read(&edit);
    for name in [&b""[..], b"a/b", b"a\0b"] {
        assert!(matches!(edit.create(root, name, &regular), Err(EditError::Refused(_))));
    }
    for name in [&b"."[..], b"..", b"outer"] {
        assert!(matches!(edit.create(root, name, &regular), Err(EditError::Exists(_))));
        assert!(matches!(edit.unlink(root, name), Err(EditError::Refused(_))));
    }
    let long = [b'n'; 256];
    assert!(matches!(edit.create(root, &long, &regular), Err(EditError::TooLarge(_))));
    assert!(matches!(
        edit.link(root, b"x", Blkno(0), FileType::Regular),
        Err(EditError::Refused(_))
    ));
    let missing = edit.unlink(root, b"missing");
    assert!(matches!(missing, Err(EditError::Volume(Error::NotFound { .. }))));
    let is_refused = |done: Result<(), EditError>| matches!(done, Err(EditError::Refused(_)));
    assert!(is_refused(edit.rename(root, b"outer", inner, b"x")));
    assert!(is_refused(edit.rename(root, b"outer", outer, b"x")));
    assert!(is_refused(edit.rename(outer, b"inner", root, b"file")));
    assert!(is_refused(edit.rename(root, b"file", outer, b"inner")));
    assert!(is_refused(edit.rename(root, b".", outer, b"x")));
    assert!(is_refused(edit.rename(outer, b"inner", root, b"outer")));
    assert!(is_refused(edit.hard_link(root, b"x", outer)));
    assert!(is_refused(edit.hard_link(root, b"x", root)));
    assert!(matches!(edit.create(file, b"x", &regular), Err(EditError::Volume(_))));
    assert!(read(&edit) == before);
    edit.finish().unwrap();
    bench.commit(&edit);
    bench.judge();
}

#[test]
fn without_an_index_a_file_has_at_most_32000_names() {
    let bench =
        Bench::new("-M local -N 1 -b 1K -C 4K -J size=4M --fs-features=noindexed-dirs", "64M");
    let mut edit = edit_of(&bench);
    let root = edit.root().unwrap().blkno;
    let file = edit.create(root, b"one", &NewInode::of(FileKind::Regular, 0o644)).unwrap();
    edit.update_dinode(file, |dinode, _| dinode.set_links_count(31_999, false)).unwrap();
    edit.hard_link(root, b"two", file).unwrap();
    assert!(matches!(edit.hard_link(root, b"three", file), Err(EditError::TooLarge(_))));
}

#[test]
fn a_leaf_full_of_names_with_one_hash_takes_no_other_one() {
    let (bench, mut names) = begin("-M local -N 1 -b 512 -C 4K -J size=4M", "64M", 22, 40);
    let mut edit = edit_of(&bench);
    names.create(&mut edit, b"", b"large", FileKind::Directory);
    for number in 0..100_u32 {
        names.create(&mut edit, b"large", number.to_string().as_bytes(), FileKind::Regular);
    }
    names.settle(&bench, edit);
    let (volume, large) = (bench.volume(), names.inode(b"large"));
    let hash = dx_hash(b"more", volume.superblock().s_dx_seed, CharSign::Signed);
    let dx = volume.inode(large).unwrap().dinode.i_dx_root;
    let block = volume.read_block(dx).unwrap();
    let tree = Tree::new(&volume, dx, &DxRoot::extents(&block).unwrap()).unwrap();
    let leaf = tree.dx_leaf(hash).unwrap().unwrap();
    let mut block = volume.read_block(leaf).unwrap();
    let one = DxLeaf::entries(&block).unwrap().records().next().unwrap();
    let one = DxEntry { dx_major_hash: hash.major, dx_minor_hash: hash.minor, ..one };
    let capacity = usize::from(DxLeaf::entry_capacity(volume.block_size()));
    write_dx_entries(&mut block[DxLeaf::LIST_OFFSET..], &vec![one; capacity]).unwrap();
    damage(&volume, leaf, &block);

    let mut edit = edit_of(&bench);
    let made = edit.create(large, b"more", &NewInode::of(FileKind::Regular, 0o644));
    assert!(matches!(made, Err(EditError::TooLarge(_))), "{made:?}");
    edit.finish().unwrap();
    assert_eq!(edit.changed_blocks(), 0);
}
