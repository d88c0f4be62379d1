//! The superblock and its backups.

use ocfs2_format::Blkno;
use ocfs2_format::superblock::{STATE_ERROR, SUPERBLOCK_BLKNO, SuperBlock, backup_blocks};
use ocfs2_testing::{Run, program};
use ocfs2_volume::edit::{EditOptions, How, Session};

use crate::bench::Bench;

/// Returns the superblock and its backups as they are stored.
fn superblocks(bench: &Bench) -> Vec<SuperBlock> {
    let volume = bench.volume();
    let backups = backup_blocks(volume.block_size(), volume.geometry().blocks());
    let blocks = std::iter::once(SUPERBLOCK_BLKNO).chain(backups);
    let of = |blkno: Blkno| SuperBlock::of_block(&volume.read_block(blkno).unwrap()).unwrap();
    blocks.map(of).collect()
}

#[test]
fn a_change_of_the_superblock_is_in_all_backups() {
    let bench = Bench::new("-M local -N 1 -b 4K -C 32K -J size=4M", "1100M");
    let mut edit = bench.edit();
    edit.update_superblock(|superblock| superblock.s_max_mnt_count = 77).unwrap();
    assert_eq!(edit.superblock().s_max_mnt_count, 77);
    let failed = edit.attempt::<(), _>(|edit| {
        edit.update_superblock(|superblock| superblock.s_max_mnt_count = 78)?;
        edit.unlink(Blkno(0), b"none")
    });
    assert!(failed.is_err() && edit.superblock().s_max_mnt_count == 77);
    assert_eq!(edit.commit(How::Journal(0), &bench.device()).unwrap(), 2);
    let stored = superblocks(&bench);
    assert!(stored.len() == 2 && stored.iter().all(|it| it.s_max_mnt_count == 77));
    bench.judge();

    // The error state is only in the superblock, not in its backups.
    let mut session =
        Session::open(&bench.volume(), bench.device(), EditOptions::default()).unwrap();
    let mut edit = session.edit();
    edit.update_superblock(|superblock| {
        superblock.s_label[..4].copy_from_slice(b"name");
        superblock.s_state |= STATE_ERROR;
    })
    .unwrap();
    session.commit(edit).unwrap();
    assert_eq!(session.volume().superblock().label(), b"name");
    session.close().unwrap();
    let stored = superblocks(&bench);
    assert!(stored.iter().all(|it| it.label() == b"name"));
    assert_eq!(
        stored.iter().map(|it| it.s_state & STATE_ERROR != 0).collect::<Vec<_>>(),
        [true, false]
    );
    Run::new(program("fsck.ocfs2")).arg("-y").arg(bench.path()).output().expect_status(1);
    bench.judge();
}
