//! Single changed bytes: both programs have to accept and reject the same ones.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_testing::Scratch;

use crate::images::make;
use crate::{ours, run, theirs, without_ours};

/// Changes every `step`th byte of a range, one at a time, and runs both programs.
fn compare_changed(theirs: &Path, image: &Path, from: u64, to: u64, step: usize) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let (dir, name) = (image.parent().unwrap(), image.file_name().unwrap());
    let ours = ours();
    for at in (from..to).step_by(step) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        for mask in [0x01, 0xff] {
            file.write_all_at(&[byte[0] ^ mask], at).unwrap();
            let arguments = ["-p".as_ref(), name];
            let expected = run(theirs, dir, &arguments);
            let said = without_ours(run(&ours, dir, &arguments));
            assert!(
                said == expected,
                "{} with byte {at} xor {mask:#x}\nutil-linux: {expected:?}\nours: {said:?}",
                image.display()
            );
        }
        file.write_all_at(&byte, at).unwrap();
    }
}

#[test]
fn a_changed_byte_is_judged_as_util_linux_judges_it() {
    let Some(theirs) = theirs() else { return };
    let scratch = Scratch::new();
    for (name, from, to, step) in [
        ("ocfs2-1k", 2048, 2048 + 0x180, 3),
        ("ocfs2-4k", 8192, 8192 + 0x180, 3),
        ("ext4", 1024, 1024 + 270, 2),
        ("ext3", 1024 + 56, 1024 + 104, 1),
        ("xfs", 0, 79, 1),
        ("xfs", 84, 130, 1),
        ("swap", 1024, 1100, 2),
        ("swap", 4086, 4096, 1),
        ("fat12", 0, 64, 2),
        ("fat16", 0, 64, 2),
        ("fat32", 40, 100, 2),
        ("fat32", 510, 520, 1),
        ("ntfs", 0, 90, 3),
        ("btrfs", 65536 + 32, 65536 + 300, 5),
        ("luks2", 0, 220, 7),
        ("gfs2", 65536, 65536 + 48, 2),
        ("jfs", 32768, 32768 + 40, 1),
        ("nilfs2", 1024, 1024 + 40, 1),
        ("gpt", 446, 512 + 96, 5),
        ("mbr", 440, 512, 1),
        ("drbd", (64 << 20) - 4096 + 40, (64 << 20) - 4096 + 64, 1),
    ] {
        let path = scratch.join(format!("{name}.img"));
        if path.exists() || make(&scratch, name).is_some() {
            compare_changed(&theirs, &path, from, to, step);
        }
    }
}
