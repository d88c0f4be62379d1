//! Features that change what every file looks like, on volumes with files of every kind.

use std::collections::BTreeSet;
use std::path::Path;

use ocfs2_format::dinode::DynFeatures;
use ocfs2_testing::{CLEAN, Run, Scratch, fixture_copy, program};
use ocfs2_tests::listed;
use ocfs2_volume::Volume;
use ocfs2_volume::edit::Plain;

use crate::bench::{found_by_c, new_by_c, volume_at};
use crate::rich::{change, more, rich};

/// Every switch, in an order in which each has something to do.
const SWITCHES: [&str; 20] = [
    "noindexed-dirs",
    "indexed-dirs",
    "noinline-data",
    "inline-data",
    "nousrquota",
    "usrquota",
    "nogrpquota",
    "grpquota",
    "nometaecc",
    "noindexed-dirs,noinline-data",
    "metaecc,indexed-dirs",
    "nounwritten",
    "unwritten",
    "norefcount",
    "refcount",
    "nosparse",
    "unwritten",
    "nodiscontig-bg",
    "noxattr",
    "xattr,discontig-bg",
];

/// Runs ours. Returns false if that was refused as it has to be.
fn tunefs(path: &Path, features: &str) -> bool {
    let tunefs = Run::new(program("tunefs.ocfs2")).args(["-y", "-q"]);
    let done = tunefs.arg(format!("--fs-features={features}")).arg(path).output();
    let refused = match features {
        "nodiscontig-bg" => "is made of several pieces",
        // Files of Linux have holes larger than the volume.
        "nosparse" => "there is no room left for clusters",
        _ => "",
    };
    if done.status != 0 && !refused.is_empty() && done.stderr.contains(refused) {
        return false;
    }
    assert_eq!(done.status, 0, "{features}: {done}");
    assert_eq!(done.stdout, "", "{features}");
    true
}

/// Returns the codes of what our fsck finds.
fn found(path: &Path) -> BTreeSet<String> {
    let said = Run::new(program("fsck.ocfs2")).arg("-fn").arg(path).output();
    said.stdout.lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect()
}

/// Demands that the features are as asked for, and that nothing is left of those that are off.
fn demand(volume: &Volume, switch: &str) {
    let features = volume.features();
    let names: Vec<&str> = features.names();
    for word in switch.split(',') {
        match word.strip_prefix("no") {
            Some(off) => assert!(!names.contains(&off), "{switch}"),
            None => assert!(names.contains(&word), "{switch}"),
        }
    }
    for inode in volume.inodes() {
        let inode = inode.unwrap();
        let own = inode.dinode.dyn_features();
        let without = |name: &str, gone: DynFeatures| {
            assert!(names.contains(&name) || !own.intersects(gone), "{switch}: {inode:?}");
        };
        without("indexed-dirs", DynFeatures::INDEXED_DIR);
        without("inline-data", DynFeatures::INLINE_DATA);
        without("refcount", DynFeatures::HAS_REFCOUNT);
        without("xattr", DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR);
        assert!(!inode.is_dir() || !volume.lacks_index(&inode), "{switch}: {inode:?}");
        let is_own = inode.dinode.flags().contains(ocfs2_format::dinode::InodeFlags::SYSTEM);
        for (name, what) in [("unwritten", Plain::Written), ("sparse", Plain::Filled)] {
            let edit = ocfs2_volume::edit::Edit::new(volume, Default::default());
            let is_plain = is_own || edit.is_plain(&inode, what).unwrap();
            assert!(names.contains(&name) || is_plain, "{switch}: {inode:?}");
        }
    }
}

/// The same for most of them, several at a time.
const FEWER: [&str; 6] = [
    "noindexed-dirs,noinline-data,nousrquota,nogrpquota,nometaecc",
    "metaecc,indexed-dirs,inline-data,usrquota,grpquota",
    "nounwritten,norefcount",
    "nosparse",
    "nodiscontig-bg",
    "noxattr",
];

/// Makes all `switches` on a volume, one after the other; each a second time if `twice`, when there
/// is nothing to do.
fn switch_all(path: &Path, switches: &[&str], twice: bool) {
    let (ours, theirs) = (found(path), found_by_c(path));
    let mut has_xattrs = true;
    let before = [listed(&volume_at(path), false), listed(&volume_at(path), true)];
    for switch in switches {
        let superblock = volume_at(path).superblock().clone();
        if !tunefs(path, switch) {
            assert_eq!(*volume_at(path).superblock(), superblock, "{switch}: refused");
            continue;
        }
        let new: Vec<_> = found(path).difference(&ours).cloned().collect();
        assert!(new.is_empty(), "{switch}: {new:#?}");
        let volume = volume_at(path);
        let new = new_by_c(path, &theirs);
        assert!(new.is_empty(), "{switch}: {new:#?}");
        demand(&volume, switch);
        has_xattrs &= *switch != "noxattr";
        let now = listed(&volume, has_xattrs);
        assert!(now == before[usize::from(has_xattrs)], "{switch}");
        if twice {
            let written = || std::fs::metadata(path).unwrap().modified().unwrap();
            let before = written();
            tunefs(path, switch);
            assert_eq!(written(), before, "{switch}: again");
        }
    }
}

#[test]
fn every_feature_is_switched_on_volumes_of_ours() {
    for (form, names) in
        [("-b 512 -C 4K", 300), ("-b 1K -C 8K", 30), ("-b 2K -C 4K", 1), ("-b 4K -C 16K", 3000)]
    {
        let scratch = Scratch::in_memory();
        let options = format!("{form} --fs-feature-level=max-features");
        let path = rich(&scratch, &options, "64M", names);
        switch_all(&path, &SWITCHES, true);
    }
}

#[test]
fn every_feature_is_switched_on_volumes_that_linux_filled() {
    for name in CLEAN {
        let scratch = Scratch::in_memory();
        let path = fixture_copy(name, &scratch);
        switch_all(&path, &FEWER, false);
    }
}

#[test]
#[ignore = "slow: each switch alone, where the test above makes several at a time"]
fn every_feature_alone_is_switched_on_volumes_that_linux_filled() {
    for name in CLEAN {
        let scratch = Scratch::in_memory();
        let path = fixture_copy(name, &scratch);
        switch_all(&path, &SWITCHES, false);
    }
}

#[test]
fn a_switch_in_many_transactions_is_undone_and_previewed_and_follows_other_changes() {
    let scratch = Scratch::in_memory();
    let path = rich(&scratch, "-b 2K -C 4K --fs-feature-level=max-features", "64M", 500);
    let before = std::fs::read(&path).unwrap();
    let undo = scratch.join("undo");
    let run = |options: &str| {
        let tunefs = Run::new(program("tunefs.ocfs2")).args(options.split(' '));
        tunefs.arg("--undo-file").arg(&undo).arg(&path).output()
    };
    let switches = "--fs-features=noindexed-dirs,noinline-data,nosparse,norefcount";
    let shown = run(&format!("-n {switches}")).expect_status(0);
    assert!(shown.stdout.contains("Disable the sparse file feature"), "{shown}");
    assert!(shown.stdout.contains("Nothing was changed"), "{shown}");
    assert!(std::fs::read(&path).unwrap() == before);
    run(&format!("-y -q -J size=5M -N 3 -L other {switches}")).expect_status(0);
    let volume = volume_at(&path);
    assert_eq!((volume.max_slots(), volume.superblock().label()), (3, &b"other"[..]));
    demand(&volume, "noindexed-dirs,noinline-data,nosparse,nounwritten,norefcount");
    assert_eq!(found(&path), BTreeSet::new());
    Run::new(program("fsck.ocfs2")).arg("--undo").arg(&undo).arg(&path).success();
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn what_the_same_call_has_changed_before_gets_block_checks() {
    for line in [
        "--fs-features=nousrquota,indexed-dirs,metaecc",
        "-N 4 -J size=5M --fs-features=metaecc",
        "--fs-features=usrquota,grpquota,noextended-slotmap,nobackup-super,metaecc",
        "-N 1 --fs-features=metaecc,noinline-data",
    ] {
        let scratch = Scratch::in_memory();
        let features = "usrquota,nogrpquota,nometaecc,noindexed-dirs";
        let path = rich(&scratch, &format!("-b 2K -C 16K --fs-features={features}"), "96M", 100);
        let before = listed(&volume_at(&path), true);
        let tunefs = Run::new(program("tunefs.ocfs2")).args(["-y", "-q"]).args(line.split(' '));
        tunefs.arg(&path).success();
        assert_eq!(found(&path), BTreeSet::new(), "{line}");
        assert!(listed(&volume_at(&path), true) == before, "{line}");
    }
}

#[test]
fn what_changed_while_there_were_no_block_checks_gets_right_ones() {
    let scratch = Scratch::in_memory();
    let path = rich(&scratch, "-b 512 -C 4K --fs-feature-level=max-features", "64M", 200);
    change(&path, |edit| more(edit, 0));
    let known = found_by_c(&path);
    assert!(tunefs(&path, "nometaecc"));
    assert_eq!(found(&path), BTreeSet::new());
    change(&path, |edit| more(edit, 1));
    change(&path, |edit| {
        let dir = edit.resolve(b"/many").unwrap().blkno;
        for index in 0..100 {
            let name = format!("{index}-{}", "x".repeat(index * 7 % 90));
            edit.unlink(dir, name.as_bytes()).unwrap();
        }
    });
    let before = listed(&volume_at(&path), true);
    assert!(tunefs(&path, "metaecc"));
    assert_eq!(found(&path), BTreeSet::new());
    assert_eq!(new_by_c(&path, &known), [""; 0]);
    assert!(listed(&volume_at(&path), true) == before);
}
