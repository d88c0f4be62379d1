//! Features that need no walk through the volume.

use ocfs2_format::feature::{Compat, Incompat, RoCompat};
use ocfs2_testing::{Run, oracle};

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
    ] {
        let level = if feature.starts_with("no") { "default" } else { "max-compat" };
        let options = format!("-b 1K -C 4K --fs-feature-level={level}");
        let bench = Bench::new(&options, "1100M");
        let copy = bench.scratch.join("copy.img");
        std::fs::copy(&bench.path, &copy).unwrap();
        bench.done(&format!("--fs-features={feature}"));
        let flag = format!("--fs-features={feature}");
        Run::new(&theirs).args(["-y", "-q"]).arg(flag).arg(&copy).success();
        let other = crate::bench::volume_at(&copy);
        assert_eq!(*bench.volume().superblock(), *other.superblock(), "{feature}");
        let taken = other.taken_slots().unwrap();
        assert_eq!(bench.volume().taken_slots().unwrap(), taken, "{feature}");
    }
}
