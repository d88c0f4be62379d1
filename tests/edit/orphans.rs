//! Files and directories that lose their names while they are open.

use std::sync::Arc;

use ocfs2_device::CountingDevice;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Dinode, FileKind, InodeFlags};
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_testing::Random;
use ocfs2_volume::edit::{Edit, EditError, NewInode};
use ocfs2_volume::recovery::{RecoverOptions, Writes};
use ocfs2_volume::{SystemFile, Volume, VolumeOptions};

use crate::bench::Bench;
use crate::files::contents;
use crate::model::{edit_of, read};

/// Makes an inode of any kind that takes room, with a name.
fn create(edit: &mut Edit, random: &mut Random, name: &[u8]) -> Blkno {
    let root = edit.root().unwrap().blkno;
    let kinds = [FileKind::Regular, FileKind::Regular, FileKind::Directory, FileKind::Symlink];
    let kind = *random.of(&kinds);
    let target = vec![b't'; if kind == FileKind::Symlink { 1 + random.below(4000) } else { 0 }];
    let owner = random.below(4) as u32;
    let new = NewInode { target: &target, uid: owner, gid: owner * 7, ..NewInode::of(kind, 0o700) };
    let inode = edit.create(root, name, &new).unwrap();
    if kind == FileKind::Regular {
        let len = random.below(30_000);
        edit.write_file(inode, random.below(100_000) as u64, &random.bytes(len)).unwrap();
    }
    if random.below(3) == 0 {
        let len = random.below(9000);
        edit.set_xattr(inode, XattrPrefix::User, b"name", &random.bytes(len)).unwrap();
    }
    inode
}

/// Removes the only names of `count` inodes that are open.
fn make_orphans(edit: &mut Edit, random: &mut Random, count: usize) -> Vec<Blkno> {
    let root = edit.root().unwrap().blkno;
    (0..count)
        .map(|number| {
            let name = format!("open {number}").into_bytes();
            let inode = create(edit, random, &name);
            assert!(edit.unlink_open(root, &name).unwrap());
            inode
        })
        .collect()
}

fn at_random(options: &str, seed: u64) {
    let bench = Bench::new(options, "64M");
    let mut random = Random(seed);
    let before = read(&bench.volume());
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut edit = edit_of(&bench);
        open.extend(make_orphans(&mut edit, &mut random, 60));
        while open.len() > 20 {
            let inode = open.swap_remove(random.below(open.len()));
            edit.delete_orphan(inode).unwrap();
        }
        bench.commit(&edit);
        let (volume, mut named) = (bench.volume(), Vec::new());
        for orphan in volume.orphans(0).unwrap() {
            assert_eq!(orphan.entry.name, format!("{:016x}", orphan.entry.inode.0).as_bytes());
            let inode = volume.inode(orphan.entry.inode).unwrap();
            assert!(inode.dinode.flags().contains(InodeFlags::ORPHANED));
            assert_eq!((volume.links_count(&inode), inode.dinode.i_orphaned_slot), (0, 0));
            named.push(inode.blkno);
        }
        named.sort_unstable();
        open.sort_unstable();
        assert_eq!(named, open);
    }
    let mut edit = edit_of(&bench);
    open.into_iter().for_each(|inode| edit.delete_orphan(inode).unwrap());
    bench.commit(&edit);
    assert!(read(&bench.volume()) == before);
    bench.judge();
}

#[test]
fn what_is_open_loses_its_name_and_is_deleted_when_it_is_closed() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M", 1);
    at_random("-M local -N 2 -b 1K -C 8K -J size=4M --fs-features=metaecc,noinline-data", 2);
    let quota = "--fs-features=usrquota,grpquota,metaecc";
    at_random(&format!("-M local -N 1 -b 4K -C 4K -J size=4M {quota}"), 3);
}

#[test]
fn a_file_that_is_replaced_while_it_is_open_can_still_be_read() {
    let bench = Bench::new("-M local -N 1 -b 1K -C 4K -J size=4M", "64M");
    let mut edit = bench.edit();
    let (root, file) = (edit.root().unwrap().blkno, bench.file());
    edit.rename_over_open(root, b"empty0", root, b"file").unwrap();
    assert_eq!(contents(&edit, file), vec![7; 100_000]);
    // A file with another name does not become an orphan.
    let other = bench.empty_file(1);
    edit.hard_link(root, b"other", other).unwrap();
    assert!(!edit.unlink_open(root, b"empty1").unwrap());
    let refused = edit.delete_orphan(other);
    assert!(matches!(refused, Err(EditError::Refused(_))), "{refused:?}");
    edit.delete_orphan(file).unwrap();
    bench.commit(&edit);
    bench.judge();
}

fn mark_dirty(edit: &mut Edit) {
    let journal = edit.system_file(SystemFile::Journal(0)).unwrap().blkno;
    edit.update_dinode(journal, |dinode, _| dinode.set_journal(Dinode::JOURNAL_DIRTY, 0)).unwrap();
}

#[test]
fn a_recovery_deletes_thousands_of_orphans_with_a_few_reads_each() {
    let quota = "--fs-features=usrquota,grpquota";
    let bench = Bench::new(&format!("-M local -N 1 -b 1K -C 4K -J size=4M {quota}"), "256M");
    let before = read(&bench.volume());
    let mut edit = bench.edit();
    let orphans = make_orphans(&mut edit, &mut Random(4), 2000).len() as u64;
    mark_dirty(&mut edit);
    bench.commit(&edit);
    let counting = Arc::new(CountingDevice::new(bench.device()));
    let volume = Volume::open(counting.clone(), &VolumeOptions::default()).unwrap();
    let options =
        RecoverOptions { slots: &[0], writes: Writes::Journaled, time: 1, interrupted: &|| false };
    let slots = volume.recover(&counting, &options);
    assert!(slots[0].error.is_none() && slots[0].left.is_empty(), "{slots:?}");
    assert_eq!(slots[0].deleted, orphans);
    let reads = counting.counts().reads;
    assert!(reads < 60 * orphans, "{reads} reads");
    assert!(read(&bench.volume()) == before);
    bench.judge();
}
