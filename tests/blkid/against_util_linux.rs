//! Every image in every output format, compared with util-linux.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_testing::{Scratch, fixture};

use crate::images::{make, make_all, patch, patched, piece};
use crate::{made_by_hand, ours, run, theirs, without_ours};

/// All combinations of options. Formats occur twice, because `-p` shows more.
const ASKED: &[&str] = &[
    "",
    "-o full",
    "-o value",
    "-o list",
    "-o udev",
    "-o export",
    "-o device",
    "-d",
    "-d -o export",
    "-s LABEL",
    "-s UUID -s TYPE",
    "-o value -s TYPE -s PTTYPE",
    "-o export -s UUID",
    "-s NOTHING",
    "-t TYPE=ext4",
    "-t LABEL=data -o device",
    "-p",
    "-p -D",
    "-p -o full",
    "-p -o udev",
    "-p -o export",
    "-p -o device",
    "-p -s UUID",
    "-p -o value -s LABEL",
    "-p -u filesystem",
    "-p -u noraid,crypto",
    "-p -n ext4,ocfs2,swap",
    "-p -n noext4,vfat",
];

/// Runs both programs on `image` with all combinations of options.
fn compare(theirs: &Path, image: &Path) {
    compare_asked(theirs, image, ASKED);
}

fn compare_asked(theirs: &Path, image: &Path, asked: &[&str]) {
    let (dir, name) = (image.parent().unwrap(), image.file_name().unwrap());
    let ours = ours();
    for asked in asked {
        let mut arguments: Vec<&OsStr> = asked.split_whitespace().map(OsStr::new).collect();
        arguments.push(name);
        let mut uncached = vec![OsStr::new("-c"), OsStr::new("/dev/null")];
        uncached.extend(&arguments);
        let expected = run(theirs, dir, &uncached);
        let said = run(&ours, dir, &arguments);
        let said = without_ours(said);
        assert!(
            said == expected,
            "blkid {asked} {}\nutil-linux: {expected:?}\nours: {said:?}",
            image.display()
        );
    }
}

#[test]
fn every_image_is_described_as_util_linux_describes_it() {
    let Some(theirs) = theirs() else { return };
    let scratch = Scratch::new();
    let images = make_all(&scratch);
    assert!(images.len() > 5, "only {} kinds of images can be made here", images.len());
    images.iter().for_each(|image| compare(&theirs, image));
}

#[test]
fn volumes_the_kernel_wrote_are_described_as_util_linux_describes_them() {
    let Some(theirs) = theirs() else { return };
    let of_6_1 = ["clean-4k-o2cb", "clean-1k-local", "clean-512-local", "clean-1m-global"];
    let of_7 = ["clean-1k-linux7-local", "crashed-4k-linux7-local"];
    for name in of_6_1.into_iter().chain(of_7) {
        compare(&theirs, &fixture(name));
    }
}

#[test]
fn formats_without_programs_are_described_as_util_linux_describes_them() {
    let Some(theirs) = theirs() else { return };
    let scratch = Scratch::new();
    let images = made_by_hand::make_all(&scratch);
    images.iter().for_each(|image| compare(&theirs, image));
}

#[test]
fn labels_are_escaped_as_util_linux_escapes_them() {
    let Some(theirs) = theirs() else { return };
    // util-linux prints these unchanged; ours escapes what is not plain text, see outputs.rs.
    let as_it_is = ["-o value", "-o list", "-o udev", "-d", "-d -o export", "-p -o value -s LABEL"];
    let asked = |label: &[u8]| -> Vec<&str> {
        let text = str::from_utf8(label).is_ok_and(|text| !text.contains(char::is_control));
        let is_asked = |asked: &&&str| text || !as_it_is.iter().any(|left| asked.contains(left));
        ASKED.iter().filter(is_asked).copied().collect()
    };
    let scratch = Scratch::new();
    let labels: &[&[u8]] = &[
        b"q\"\\ \t$`'<>|;&",
        b" in  front",
        b"behind  ",
        b"\x01\x1b[2J\x7f",
        b"\xff\xfe\x80x",
        "gr\u{fc}\u{df}e \u{20ac}".as_bytes(),
        b"\xc3",
        b"/dev/../x",
        b"#+-.:=@_%*?",
        b" ",
        b"sixteen_bytes_16",
        b"a\0b",
    ];
    // The place and the length of the label.
    for (name, at, len) in [("ext2", 1024 + 120, 16), ("swap", 1024 + 28, 16)] {
        let Some(image) = make(&scratch, name) else { continue };
        for label in labels {
            let mut field = vec![0; len];
            let label = &label[..label.len().min(len)];
            field[..label.len()].copy_from_slice(label);
            patch(&image, &[(at, &field)]);
            compare_asked(&theirs, &image, &asked(label));
        }
    }
    let path = scratch.join("ocfs2.img");
    fs::copy(fixture("clean-512-local"), &path).unwrap();
    for label in labels {
        let mut field = vec![0; 64];
        field[..label.len()].copy_from_slice(label);
        patch(&path, &[(1024 + 0x110, &field)]);
        compare_asked(&theirs, &path, &asked(label));
    }
    let unterminated = [b'x'; 64];
    patch(&path, &[(1024 + 0x110, &unterminated)]);
    compare(&theirs, &path);
}

#[test]
fn what_shares_a_device_is_ambivalent_when_util_linux_says_so() {
    let Some(theirs) = theirs() else { return };
    let scratch = Scratch::new();
    // A piece of the second image is written over the first one.
    for (base, over, at, len) in [
        ("xfs-4k", "ext2", 1024, 1024),
        ("ext4", "iso-plain", 32768, 8192),
        ("gpt", "iso-plain", 32768, 8192),
        ("mbr", "ext2", 1024, 1024),
        ("mbr", "luks1", 0, 440),
        ("luks1", "ext2", 1024, 1024),
        ("fat12", "ext2", 1024, 1024),
        ("fat32", "ext2", 1024, 1024),
        ("jfs", "ext2", 1024, 1024),
        ("ocfs2-4k", "ext2", 1024, 1024),
        ("ocfs2-4k", "swap", 1024, 3072),
        ("drbd", "ext2", 1024, 1024),
    ] {
        let scratch_of_pair = Scratch::new();
        let images = (make(&scratch_of_pair, base), make(&scratch, over));
        let (Some(image), Some(other)) = images else { continue };
        patch(&image, &[(at, &piece(&other, at, len))]);
        compare(&theirs, &image);
        fs::remove_file(other).unwrap();
    }
}

#[test]
fn statuses_are_those_of_util_linux() {
    let Some(theirs) = theirs() else { return };
    let scratch = Scratch::new();
    let nothing = patched(&scratch, "nothing", 4 << 20, &[]);
    let Some(ext2) = make(&scratch, "ext2") else { return };
    let names: Vec<PathBuf> = [&nothing, &ext2].map(|path| path.file_name().unwrap().into()).into();
    let ours = ours();
    for asked in [
        "nothing.img",
        "-p nothing.img",
        "-p nothing.img ext2.img",
        "-p ext2.img nothing.img",
        "-p ext2.img no-such-file",
        "-p no-such-file ext2.img",
        "-p -u bogus ext2.img",
        "nothing.img ext2.img",
        "no-such-file",
        "-p no-such-file",
        "no-such-file ext2.img",
        "-t LABEL=none ext2.img",
        "-t LABEL=data ext2.img",
        "-t LABEL ext2.img",
        "-p -t LABEL=none ext2.img",
        "-o bogus ext2.img",
        "-p -o list ext2.img",
        "-p -n ext4 ext2.img",
        "-p -O 1024 ext2.img",
        "-p -O 1M ext2.img",
        "-p -S 512K ext2.img",
        "-p",
        "-l ext2.img",
        "-i ext2.img",
        "-g",
        "-c /dev/null ext2.img",
        "-w /dev/null ext2.img",
        ".",
        "-p /dev/null",
    ] {
        let words: Vec<OsString> = asked.split_whitespace().map(OsString::from).collect();
        let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
        let expected = run(&theirs, scratch.path(), &words);
        let said = run(&ours, scratch.path(), &words);
        assert!(said == expected, "blkid {asked}\nutil-linux: {expected:?}\nours: {said:?}");
    }
    assert_eq!(names.len(), 2);
}
