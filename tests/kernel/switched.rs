//! The kernel reads, on volumes that it filled itself, everything after `tunefs.ocfs2` has switched
//! features, and goes on writing to them.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Manifest, Run, Scratch, fixture_copy, manifest, manifest_at, program};

use crate::lab::shared_out;
use crate::volume::NEW_JOURNAL;

/// A fixture, and what is switched, one call after the other.
const WORKS: [(&str, &[&str]); 6] = [
    ("clean-1k-local", &["metaecc", "noinline-data"]),
    ("clean-4k-o2cb", &["local,norefcount", "metaecc,usrquota"]),
    ("clean-512-local", &["noindexed-dirs", "indexed-dirs,metaecc"]),
    ("clean-2k-local", &["nounwritten", "unwritten"]),
    ("clean-1k-local", &["noinline-data,noindexed-dirs,norefcount", "indexed-dirs,inline-data"]),
    ("clean-512-local", &["noinline-data", "usrquota,grpquota", "nousrquota"]),
];

/// Returns the codes of what our fsck finds.
pub fn found(image: &Path) -> BTreeSet<String> {
    let said = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image).output().stdout;
    let codes = said.lines().filter(|line| line.starts_with('['));
    codes.filter_map(|line| Some(line.split_once(']')?.0.to_owned())).collect()
}

/// Demands that the kernel read all that it read when it made a fixture.
pub fn assert_reads_as(name: &str, mut read: Manifest, what: &str) {
    let expected = manifest(name);
    assert_eq!(read.files, expected.files, "{what}");
    assert_eq!(read.links, expected.links, "{what}");
    assert!(!expected.sha256.is_empty());
    for (path, digest) in &expected.sha256 {
        assert_eq!(read.sha256.get(path), Some(digest), "{what}: {}", path.escape_ascii());
    }
    // The manifest leaves out some folders.
    read.xattrs.retain(|path, _| expected.xattrs.contains_key(path));
    assert_eq!(read.xattrs, expected.xattrs, "{what}");
}

fn judge(lab: &Lab, works: &[(&'static str, &'static [&'static str])]) -> Result<()> {
    let scratch = Scratch::in_memory();
    let (mut images, mut script) = (Vec::new(), String::from("set -e\n"));
    for ((name, switches), letter) in works.iter().zip('a'..) {
        let folder = scratch.join(letter.to_string());
        std::fs::create_dir(&folder)?;
        let image = fixture_copy(name, &scratch);
        let moved = folder.join("volume.img");
        std::fs::rename(image, &moved)?;
        // Linux 6.1 puts more into a bucket of attributes than later kernels take.
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(&moved).output();
        assert!(fsck.status <= 1, "{fsck}");
        // What was shared or a hole needs room.
        File::options().write(true).open(&moved)?.set_len(2 << 30)?;
        let before = found(&moved);
        Run::new(program("tunefs.ocfs2")).args(["-q", "-S"]).arg(&moved).success();
        for features in *switches {
            let run = Run::new(program("tunefs.ocfs2")).args(["-q", "--fs-features", features]);
            // Not every volume shows how names are hashed in an index.
            run.arg("--name-hash").arg(lab.name_hash().to_string()).arg(&moved).success();
        }
        assert!(found(&moved).is_subset(&before), "{name} {switches:?}: {:?}", found(&moved));
        script += &format!(
            "mount-volume /dev/vd{letter} /mnt
            volume-contents manifest /mnt /share/{letter}
            mkdir /mnt/new; for name in 1 2 3 4 5 6 7 8 9; do echo $name >/mnt/new/file-$name; done
            cp -r $(find /mnt -name names) /mnt/new/; rm -r $(find /mnt -name dirs)
            umount /mnt\n"
        );
        images.push((moved, before));
    }
    let run = lab
        .vm()
        .disks(images.iter().map(|(image, _)| image))
        .share(scratch.path())
        .program(program("volume-contents"))
        .script(script)
        .allow(NEW_JOURNAL)
        .timeout(Duration::from_secs(900))
        .run()?;
    run.assert_ok();
    for (((name, switches), (image, before)), letter) in works.iter().zip(&images).zip('a'..) {
        let what = format!("{name} {switches:?}");
        assert_reads_as(name, manifest_at(scratch.path(), &letter.to_string()), &what);
        assert!(found(image).is_subset(before), "{what}: {:?}", found(image));
    }
    Ok(())
}

#[test]
fn linux_reads_and_goes_on_with_volumes_whose_features_were_switched() -> Result<()> {
    shared_out(&WORKS, |lab, works| judge(lab, &works))
}
