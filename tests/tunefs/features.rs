//! Switching features on and off.

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::feature::{Compat, Incompat, RoCompat};
use ocfs2_format::superblock::SuperBlock;
use ocfs2_testing::{Run, oracle};
use ocfs2_volume::edit::{Edit, How};

use crate::bench::Bench;

#[test]
fn features_that_are_switched_leave_a_sound_volume() {
    let bench = Bench::new("-b 4K -C 4K --fs-feature-level=max-compat", "1100M");
    for feature in [
        "nobackup-super",
        "extended-slotmap",
        "xattr",
        "inline-data",
        "refcount",
        "discontig-bg",
        "append-dio",
        "sparse,unwritten",
        "noextended-slotmap",
        "noappend-dio",
        "backup-super",
    ] {
        bench.done(&format!("--fs-features={feature}"));
        bench.judge(feature);
    }
    let features = bench.volume().features();
    assert!(features.compat.contains(Compat::BACKUP_SB));
    let on = Incompat::XATTR
        | Incompat::INLINE_DATA
        | Incompat::REFCOUNT_TREE
        | Incompat::DISCONTIG_BG
        | Incompat::SPARSE_ALLOC;
    assert!(features.incompat.contains(on));
    assert!(!features.incompat.intersects(Incompat::EXTENDED_SLOT_MAP | Incompat::APPEND_DIO));
    assert!(features.ro_compat.contains(RoCompat::UNWRITTEN));
    let superblock = bench.volume().superblock().clone();
    assert_eq!(superblock.s_xattr_inline_size, 256);
    assert_ne!(superblock.s_uuid_hash, 0);
}

#[test]
fn the_slot_map_gets_another_format_among_changes_of_many_transactions() {
    let features = "noextended-slotmap,nometaecc,noindexed-dirs";
    let bench = Bench::new(&format!("-b 1K -C 4K -N 3 --fs-features={features}"), "64M");
    // The gate looks at who has which slot before each transaction.
    bench.done("--fs-features=extended-slotmap,metaecc,indexed-dirs");
    bench.judge("another format");
    assert_eq!(bench.volume().taken_slots().unwrap(), []);
    bench.done("-N 5 --fs-features=noextended-slotmap,nounwritten,noindexed-dirs");
    bench.judge("and back");
    assert_eq!(bench.volume().taken_slots().unwrap(), []);
}

#[test]
fn features_are_as_the_c_tool_leaves_them() {
    let Some(theirs) = oracle("tunefs.ocfs2") else { return };
    for feature in [
        "nobackup-super",
        "noextended-slotmap",
        "xattr",
        "inline-data",
        "refcount",
        "discontig-bg",
        "append-dio",
        "sparse,unwritten",
        "local",
        "indexed-dirs",
        "metaecc",
        "usrquota",
        "grpquota",
        "noindexed-dirs",
        "noinline-data",
        "nounwritten",
        "nosparse",
        "norefcount",
        "noxattr",
        "nodiscontig-bg",
        "nousrquota",
        "nogrpquota",
        "nometaecc",
    ] {
        let level = match feature.strip_prefix("no") {
            Some("usrquota" | "grpquota" | "metaecc") => "max-features",
            Some(_) => "default",
            None => "max-compat",
        };
        let options = format!("-b 1K -C 4K --fs-feature-level={level}");
        let size = if feature == "nobackup-super" { "1100M" } else { "64M" };
        let bench = Bench::new(&options, size);
        let copy = bench.scratch.join("copy.img");
        std::fs::copy(&bench.path, &copy).unwrap();
        bench.tunefs(&format!("-y -q --fs-features={feature}")).expect_status(0);
        let flag = format!("--fs-features={feature}");
        Run::new(&theirs).args(["-y", "-q"]).arg(flag).arg(&copy).success();
        let other = crate::bench::volume_at(&copy);
        let of = |volume: &ocfs2_volume::Volume| SuperBlock {
            // Random.
            s_dx_seed: volume.superblock().s_dx_seed.map(|word| word.min(1)),
            ..volume.superblock().clone()
        };
        assert_eq!(of(&bench.volume()), of(&other), "{feature}");
        let taken = other.taken_slots().unwrap();
        assert_eq!(bench.volume().taken_slots().unwrap(), taken, "{feature}");
    }
}

#[test]
fn features_are_switched_off_where_nothing_needs_them() {
    let bench = Bench::new("-b 1K -C 4K --fs-feature-level=max-features", "64M");
    let file = bench.volume().resolve(b"/one").unwrap().blkno;
    let change = |step: &dyn Fn(&mut Edit)| {
        let options = DeviceOptions { write: true, ..Default::default() };
        let device = open(&bench.path, &options).unwrap();
        let mut edit = Edit::new(&bench.volume(), Default::default());
        step(&mut edit);
        edit.commit(How::Journal(0), &device).unwrap();
    };
    change(&|edit| edit.allocate(file, 100_000..200_000, false).unwrap());
    for feature in ["nounwritten", "norefcount", "nometaecc"] {
        bench.done(&format!("--fs-features={feature}"));
        bench.judge(feature);
    }
    let features = bench.volume().features();
    assert!(!features.ro_compat.contains(RoCompat::UNWRITTEN));
    assert!(!features.incompat.intersects(Incompat::REFCOUNT_TREE | Incompat::META_ECC));
    let scratch = ocfs2_testing::Scratch::new();
    let image = ocfs2_testing::fixture_copy("clean-4k-o2cb", &scratch);
    let before = std::fs::read(&image).unwrap();
    for (feature, text) in [
        // It asks, and nobody answers.
        ("noxattr", "access control lists"),
        ("nolocal,clusterinfo", "no cluster is online on this host"),
    ] {
        let tunefs = Run::new(ocfs2_testing::program("tunefs.ocfs2"));
        let refused = tunefs.arg(format!("--fs-features={feature}")).arg(&image).output();
        if feature.contains("clusterinfo") && refused.status == 0 {
            continue;
        }
        assert_eq!(refused.status, 1, "{refused}");
        assert!(format!("{refused}").contains(text), "{feature}: {refused}");
    }
    assert!(std::fs::read(&image).unwrap() == before);
}
