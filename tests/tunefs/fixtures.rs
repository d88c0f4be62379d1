//! Volumes that the kernel filled: nothing new is found after changes.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use ocfs2_testing::{CLEAN, Run, Scratch, fixture_copy, oracle, program};

use crate::bench::{found_by_c, new_by_c, volume_at};

/// Returns the codes of what our fsck finds.
fn found(path: &Path) -> BTreeSet<String> {
    let said = Run::new(program("fsck.ocfs2")).arg("-fn").arg(path).output().stdout;
    let codes = said.lines().filter(|line| line.starts_with('['));
    codes.filter_map(|line| Some(line.split_once(']')?.0.to_owned())).collect()
}

#[test]
fn volumes_that_linux_filled_are_changed_without_a_new_finding() {
    for name in CLEAN {
        let scratch = Scratch::in_memory();
        let image = fixture_copy(name, &scratch);
        let (ours, theirs) = (found(&image), found_by_c(&image));
        let size = std::fs::metadata(&image).unwrap().len();
        File::options().write(true).open(&image).unwrap().set_len(size + (300 << 20)).unwrap();
        for options in ["-N 7 -L larger", "-S -J size=24M,block64", "-J size=10M -U -N 9"] {
            let tunefs = Run::new(program("tunefs.ocfs2")).args(options.split(' '));
            tunefs.arg(&image).success();
            assert_eq!(found(&image), ours, "{name}: {options}");
            let new = new_by_c(&image, &theirs);
            assert!(new.is_empty(), "{name}: {options}: {new:#?}");
        }
        let volume = volume_at(&image);
        assert_eq!((volume.max_slots(), volume.superblock().label()), (9, &b"larger"[..]));
        if let Some(debugfs) = oracle("debugfs.ocfs2") {
            let shown = Run::new(debugfs).args(["-R", "slotmap"]).arg(&image).success();
            assert!(!shown.stdout.contains(" 0"), "{name}: {shown}");
        }
    }
}
