//! Volumes that are made larger.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use ocfs2_format::chain::ChainList;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Structure};
use ocfs2_testing::{Run, oracle};

use crate::bench::{Bench, FORMS, extend, volume_at};

/// Returns the groups and chains of the global bitmap, without the bits of backups, which the C
/// tool forgets.
fn groups(path: &std::path::Path) -> Vec<String> {
    let volume = volume_at(path);
    let bitmap = volume.global_bitmap().unwrap();
    let list = ChainList::new(bitmap.inode.id2()).unwrap();
    let mut lines: Vec<_> =
        list.records().map(|it| format!("{} {}", it.c_total, it.c_blkno)).collect();
    for group in volume.groups(&bitmap) {
        let group = group.unwrap();
        let desc = &group.desc;
        let (bits, next, size) = (desc.bg_bits, desc.bg_next_group, desc.bg_size);
        lines.push(format!("{} {} {bits} {next} {size}", group.blkno, group.chain));
    }
    let dinode = &bitmap.inode.dinode;
    lines.push(format!("{} {} {}", dinode.bitmap().1, dinode.i_clusters, dinode.i_size));
    lines
}

#[test]
fn a_volume_grows_as_with_the_c_tool_and_owns_its_backups() {
    let theirs = oracle("tunefs.ocfs2");
    for form in FORMS {
        let bench = Bench::new(form, "100M");
        let copy = bench.scratch.join("copy.img");
        fs::copy(&bench.path, &copy).unwrap();
        // Within a group, into the next one, past 1 GiB, and past 4 GiB.
        for mib in [101, 300, 1100, 4500] {
            let what = format!("{form}: {mib} MiB");
            extend(&bench.path, mib);
            bench.done("-S");
            bench.judge(&what);
            let volume = bench.volume();
            assert_eq!(volume.geometry().size_bytes(), mib << 20, "{what}");
            if let Some(theirs) = &theirs {
                extend(&copy, mib);
                Run::new(theirs).args(["-y", "-q", "-S"]).arg(&copy).success();
                assert_eq!(groups(&bench.path), groups(&copy), "{what}");
            }
            let backup = Blkno((1 << 30) >> volume.block_size().bits());
            if mib > 1024
                && let Some(told) = bench.debugfs(&format!("icheck {}", backup.0))
            {
                assert!(!told.contains("Unused"), "{what}: {told}");
            }
        }
    }
}

#[test]
fn sizes_are_in_the_unit_that_was_asked_for_and_other_changes_follow() {
    let bench = Bench::new("-b 1K -C 4K", "64M");
    extend(&bench.path, 200);
    for (unit, size, mib) in [("bytes", "80M", 80), ("blocks", "96K", 96), ("clusters", "32K", 128)]
    {
        let run = Run::new(ocfs2_testing::program("tunefs.ocfs2")).arg(format!("-S{unit}"));
        run.args(["-N", "3"]).arg(&bench.path).arg(size).success();
        bench.judge(unit);
        assert_eq!(bench.volume().geometry().size_bytes(), mib << 20);
    }
    assert_eq!(bench.volume().max_slots(), 3);
    let run = Run::new(ocfs2_testing::program("tunefs.ocfs2")).arg("-Sbytes").arg(&bench.path);
    let refused = run.arg("300M").output().expect_status(1);
    assert!(refused.stderr.contains("cannot hold more than 51200 clusters"), "{refused}");
}

#[test]
fn a_volume_grows_only_if_it_can_get_the_other_changes_too() {
    let bench = Bench::new("-b 1K -C 4K -N 2", "64M");
    // Nothing has room before the volume is larger.
    fill(&bench);
    extend(&bench.path, 100);
    let before = fs::read(&bench.path).unwrap();
    for options in ["-S -J size=512M", "-S -N 200", "-S -L new -N 200"] {
        let refused = bench.tunefs(options);
        assert!([1, 2].contains(&refused.status), "{options}: {refused}");
        let text = "with its new size, the volume cannot get the other changes";
        assert!(refused.stderr.contains(text), "{options}: {refused}");
        assert!(fs::read(&bench.path).unwrap() == before, "{options}");
    }
    let refused = bench.tunefs("-N 5");
    assert_ne!(refused.status, 0, "{refused}");
    bench.done("-S -N 5");
    bench.judge("with the room that growth gives");
    assert_eq!(
        (bench.volume().geometry().size_bytes(), bench.volume().max_slots()),
        (100 << 20, 5)
    );
}

/// Gives all free clusters but a few to a file.
fn fill(bench: &Bench) {
    use ocfs2_format::dinode::FileKind;
    use ocfs2_volume::edit::NewInode;
    crate::rich::change(&bench.path, |edit| {
        let top = edit.superblock().s_root_blkno;
        let file = edit.create(top, b"full", &NewInode::of(FileKind::Regular, 0o600)).unwrap();
        let free = edit.volume().statfs().unwrap().free_clusters;
        let bytes = u64::from(free - 100) * u64::from(edit.geometry().cluster_size.bytes());
        edit.allocate(file, 0..bytes, true).unwrap();
    });
}

/// Changes the descriptor of a group of the global bitmap.
fn damage(bench: &Bench, group: u32, change: impl FnOnce(&mut GroupDesc)) {
    let blkno = bench.volume().geometry().group_blkno(group);
    let mut block = bench.volume().read_block(blkno).unwrap();
    let mut desc = GroupDesc::decode(&block).unwrap();
    change(&mut desc);
    desc.encode(&mut block).unwrap();
    let file = File::options().write(true).open(&bench.path).unwrap();
    file.write_all_at(&block, blkno.0 << 10).unwrap();
}

#[test]
fn what_growth_touches_is_checked_and_for_other_changes_all_groups() {
    let bench = Bench::new("-b 1K -C 4K --fs-features=nometaecc", "100M");
    let sound = fs::read(&bench.path).unwrap();
    let last = bench.volume().geometry().groups() - 1;
    assert!(last > 1);
    let refused = |options: &str, text: &str| {
        extend(&bench.path, 120);
        let before = fs::read(&bench.path).unwrap();
        let refused = bench.tunefs(options).expect_status(1);
        assert!(refused.stderr.contains(text), "{options}: {refused}");
        assert!(refused.stderr.contains("run fsck.ocfs2 -f"), "{options}: {refused}");
        assert!(fs::read(&bench.path).unwrap() == before, "{options}");
    };
    damage(&bench, last, |desc| desc.bg_free_bits_count -= 1);
    ["-S", "-N 4", "-S -N 4"]
        .iter()
        .for_each(|options| refused(options, "free clusters and states"));
    fs::write(&bench.path, &sound).unwrap();
    damage(&bench, last, |desc| desc.bg_chain = 200);
    refused("-S", "in no chain");
    refused("-N 4", "does not count what its groups have");
    fs::write(&bench.path, &sound).unwrap();
    damage(&bench, 1, |desc| desc.bg_next_group = Blkno(5));
    refused("-N 4", "where no group is");
    fs::write(&bench.path, &sound).unwrap();
    // Clusters are taken from any group, and growth has nothing to do with this one.
    damage(&bench, 1, |desc| desc.bg_free_bits_count -= 1);
    ["-N 4", "-S -N 4"].iter().for_each(|options| refused(options, "free clusters and states"));
    bench.done("-S");
    assert_eq!(bench.volume().geometry().size_bytes(), 120 << 20);
}
