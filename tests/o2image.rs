//! `o2image`: what it saves and restores, with the C program as judge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_testing::{
    CLEAN, CRASHED, LoopDevice, Outcome, Run, Scratch, allocated_bytes, fixture, fixture_copy,
    oracle, program,
};
use ocfs2_tests::assert_as_manifest;
use ocfs2_volume::image::PackedImage;
use ocfs2_volume::{Inode, Volume, VolumeOptions};

fn o2image(args: &[&str], from: &Path, to: &Path) -> Outcome {
    Run::new(program("o2image")).args(args).arg(from).arg(to).output()
}

fn packed(path: &Path) -> PackedImage {
    PackedImage::open(open(path, &DeviceOptions::default()).unwrap()).unwrap()
}

fn volume(path: &Path) -> Volume {
    let device = open(path, &DeviceOptions::default()).unwrap();
    Volume::open(device, &VolumeOptions::default()).unwrap()
}

#[test]
fn the_c_program_reads_our_images_and_they_have_what_its_own_have() {
    let Some(c) = oracle("o2image") else { return };
    let Some(debugfs) = oracle("debugfs.ocfs2") else { return };
    let scratch = Scratch::in_memory();
    for name in CLEAN {
        let image = fixture(name);
        let (ours, theirs) = (scratch.join("ours"), scratch.join("theirs"));
        o2image(&["--journals", "--free", "-A"], &image, &ours).expect_status(0);
        Run::new(&c).arg(&image).arg(&theirs).success();
        let (saved, expected) = (packed(&ours), packed(&theirs));
        let original = volume(&image);
        let mut missing = 0;
        for block in expected.ranges().unwrap().into_iter().flatten() {
            let there = saved.has(Blkno(block)).unwrap();
            // The C program saves whole clusters, also the part after the end of what they contain.
            let bits = original.geometry().bpc_bits();
            let mut cluster = (0..1 << bits).map(|n| Blkno((block >> bits << bits) + n));
            let is_known = there || cluster.any(|it| saved.has(it).unwrap());
            let is_empty = || original.read_block(Blkno(block)).unwrap().iter().all(|it| *it == 0);
            missing += u64::from(!is_known && !is_empty());
            if there {
                let (mut a, mut b) = (vec![0; original.block_size().size()], Vec::new());
                b.resize(a.len(), 0);
                let at = block * a.len() as u64;
                ocfs2_device::Device::read_at(&saved, &mut a, at).unwrap();
                ocfs2_device::Device::read_at(&expected, &mut b, at).unwrap();
                assert_eq!(a, b, "{name}: block {block}");
            }
        }
        // It also saves the data of files whose attributes are all in their inodes.
        let data = data_of_inline_attributes(&original);
        assert!(
            missing <= data,
            "{name}: {missing} blocks of the C image are missing, {data} data"
        );
        for command in ["stats", "ls -l /", "stat //journal:0000", "group //global_bitmap", "hb"] {
            let of = |options: &[&str], path: &Path| {
                Run::new(&debugfs).args(options).args(["-R", command]).arg(path).output().stdout
            };
            assert_eq!(of(&["-i"], &ours), of(&[], &image), "{name}: {command}");
        }
        fs::remove_file(&ours).unwrap();
        fs::remove_file(&theirs).unwrap();
    }
}

/// Returns the number of data blocks of files with attributes only in their inodes.
fn data_of_inline_attributes(volume: &Volume) -> u64 {
    use ocfs2_format::dinode::DynFeatures;
    let inodes = volume.inodes().map(Result::unwrap);
    let of = inodes.filter(|inode| {
        inode.dinode.i_xattr_loc.is_none()
            && inode.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR)
    });
    of.map(|inode| u64::from(inode.dinode.i_clusters) << volume.geometry().bpc_bits()).sum()
}

#[test]
fn a_raw_image_is_a_volume_without_data_and_one_with_data_is_the_same() {
    let Some(fsck) = oracle("fsck.ocfs2") else { return };
    let scratch = Scratch::in_memory();
    for name in CLEAN {
        let (raw, all) = (scratch.join("raw"), scratch.join("all"));
        o2image(&["-r"], &fixture(name), &raw).expect_status(0);
        assert_eq!(raw.metadata().unwrap().len(), fixture(name).metadata().unwrap().len());
        // Kernels have put too much into some buckets.
        let found = |fsck: &Path, path: &Path| -> Vec<String> {
            let out = Run::new(fsck).arg("-fn").arg(path).output().stdout;
            let (findings, end) = ("[", "All passes");
            let lines = out.lines().filter(|line| line.starts_with(findings) || line.contains(end));
            lines.map(str::to_owned).collect()
        };
        for fsck in [&fsck, &program("fsck.ocfs2")] {
            assert_eq!(found(fsck, &raw), found(fsck, &fixture(name)), "{name}");
        }
        o2image(&["-r", "-a"], &fixture(name), &all).expect_status(0);
        assert_as_manifest(&volume(&all), name);
        fs::remove_file(&raw).unwrap();
        fs::remove_file(&all).unwrap();
    }
}

#[test]
fn what_is_no_more_is_in_no_image() {
    let scratch = Scratch::in_memory();
    let (folder, image, raw) = (scratch.join("folder"), scratch.join("image"), scratch.join("raw"));
    fs::create_dir(&folder).unwrap();
    for index in 0..40 {
        fs::write(folder.join(format!("SECRET-{index:03}")), "kept").unwrap();
    }
    fs::write(folder.join("inline"), "kept SECRET of an inode".repeat(9)).unwrap();
    for options in ["-b 4096 --fs-features=metaecc", "-b 1024 --fs-features=noinline-data"] {
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-N", "1"]);
        let mkfs = mkfs.args(options.split_whitespace()).arg("-d").arg(&folder);
        mkfs.arg(&image).arg("64M").success();
        let mut lines = String::new();
        for index in 0..40 {
            lines += &format!("ea_set /SECRET-{index:03} user.SECRET SECRET\n");
            lines += &format!("rename /SECRET-{index:03} /kept-{index:03}\n");
            lines += &format!("ea_rm /kept-{index:03} user.SECRET\n");
        }
        lines += "truncate /inline 4\n";
        let debugfs = Run::new(program("debugfs.ocfs2")).args(["-n", "-w"]).arg(&image);
        debugfs.stdin(lines).success();
        let secrets = |options: &[&str]| {
            o2image(options, &image, &raw).expect_status(0);
            let bytes = fs::read(&raw).unwrap();
            bytes.windows(6).filter(|bytes| bytes == b"SECRET").count()
        };
        assert!(secrets(&["-q", "-r", "-A"]) > 0, "{options}");
        assert_eq!(secrets(&["-q", "-r"]), 0, "{options}");
        Run::new(program("fsck.ocfs2")).arg("-fn").arg(&raw).output().expect_status(0);
        let listed = Run::new(program("debugfs.ocfs2")).args(["-R", "ls /"]).arg(&raw).success();
        assert_eq!(listed.stdout.matches("kept-").count(), 40);
    }
}

/// Returns all names and link targets of a volume, and what a check finds.
fn told(image: &Path) -> (Vec<Vec<u8>>, Vec<String>) {
    let volume = volume(image);
    let mut texts = Vec::new();
    for found in volume.walk(&volume.root().unwrap()).unwrap() {
        let found = found.unwrap();
        texts.push(found.entry.name.clone());
        if found.inode.kind() == Some(FileKind::Symlink) {
            texts.push(volume.symlink_target(&found.inode).unwrap());
        }
        texts.extend(volume.xattrs(&found.inode).map(|xattr| xattr.unwrap().name));
    }
    let check = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image).output().stdout;
    // The findings without the names in them.
    let lines = check.lines().filter(|line| line.starts_with('['));
    let lines = lines.map(|line| line.split(" (").next().unwrap().to_owned());
    (texts, lines.collect())
}

#[test]
fn a_scrambled_image_tells_no_names_and_a_check_finds_what_it_finds_in_the_volume() {
    let fsck = oracle("fsck.ocfs2");
    let scratch = Scratch::in_memory();
    for name in CLEAN {
        let (image, raw) = (fixture(name), scratch.join("raw"));
        o2image(&["-q", "-r", "-s"], &image, &raw).expect_status(0);
        let ((before, expected), (after, found)) = (told(&image), told(&raw));
        assert_eq!(found, expected, "{name}");
        assert_eq!(before.len(), after.len(), "{name}");
        let lengths = |texts: &[Vec<u8>]| {
            let mut lengths: Vec<_> = texts.iter().map(Vec::len).collect();
            lengths.sort_unstable();
            lengths
        };
        assert_eq!(lengths(&before), lengths(&after), "{name}");
        // Names of at least eight bytes, which cannot occur by chance: none is anywhere in the
        // image.
        let bytes = fs::read(&raw).unwrap();
        let own: std::collections::HashSet<&[u8]> = before
            .iter()
            .map(Vec::as_slice)
            .filter(|text| text.len() >= 8 && *text != b"lost+found")
            .filter(|text| !text.starts_with(b"system."))
            .map(|text| {
                text.strip_prefix(b"user.").unwrap_or(text).get(..8).unwrap_or(b"\xff\0\xff")
            })
            .collect();
        let full = bytes.chunks(4096).filter(|chunk| chunk.iter().any(|byte| *byte != 0));
        let mut parts = full.flat_map(|chunk| chunk.windows(8));
        let left = parts.find(|part| own.contains(part));
        let left = left.map(|part| part.escape_ascii().to_string());
        assert_eq!(left, None, "{name}");
        if let Some(fsck) = &fsck {
            let run = |path: &Path| {
                let out = Run::new("timeout").arg("60").arg(fsck).arg("-fn").arg(path).output();
                // For names with bytes from 0x80 on it knows only one of two hashes. In a bucket
                // that Linux made it expects less room, which is gone with a name of one byte.
                let known = ["[XATTR_HASH_INVALID]", "[XATTR_FREE_START_INVALID]"];
                let known = |line: &&str| !known.iter().any(|it| line.starts_with(it));
                let lines = out.stdout.lines().filter(|line| line.starts_with('[')).filter(known);
                lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(run(&raw), run(&image), "{name}");
        }
        fs::remove_file(&raw).unwrap();
    }
    let crashed = o2image(&["-q", "-s"], &fixture(CRASHED[0]), &scratch.join("raw"));
    assert!(crashed.expect_status(1).stderr.contains("has to be replayed"));
}

#[test]
fn names_of_one_byte_are_scrambled_too() {
    let scratch = Scratch::in_memory();
    let (folder, image, raw) = (scratch.join("folder"), scratch.join("image"), scratch.join("raw"));
    fs::create_dir_all(folder.join("short")).unwrap();
    // More than there are letters, digits and two signs.
    let bytes = (1..=255_u8).filter(|byte| !matches!(byte, b'/' | b'.'));
    for byte in bytes.clone() {
        fs::write(folder.join("short").join(OsStr::from_bytes(&[byte])), [byte]).unwrap();
    }
    for name in ["inline", "block", "buckets"] {
        fs::write(folder.join(name), name).unwrap();
    }
    for options in ["-b 4096 --fs-features=metaecc", "-b 512 --name-hash unsigned", "-b 1024"] {
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-N", "1"]);
        let mkfs = mkfs.args(options.split_whitespace()).arg("-d").arg(&folder);
        mkfs.arg(&image).arg("64M").success();
        let mut lines = String::new();
        for (file, count, size) in [("inline", 4, 5), ("block", 20, 60), ("buckets", 60, 200)] {
            let value = "v".repeat(size);
            for letter in ('0'..='z').filter(char::is_ascii_alphanumeric).take(count) {
                lines += &format!("ea_set /{file} user.{letter} {value}\n");
                lines += &format!("ea_set /{file} trusted.long-{letter} {value}\n");
            }
        }
        let run = Run::new(program("debugfs.ocfs2")).arg("-w").arg(&image);
        run.stdin(lines.as_str()).success();
        let said = o2image(&["-q", "-r", "-s"], &image, &raw).expect_status(0);
        assert_eq!(said.stderr, "");
        let ((before, expected), (after, found)) = (told(&image), told(&raw));
        assert_eq!(found, expected, "{options}");
        assert_eq!(before.len(), after.len(), "{options}");
        let of = |path: &Path, name: usize| {
            // By size, since the names are others.
            let volume = volume(path);
            let files = volume.inodes().map(Result::unwrap);
            let mut files = files.filter(|inode| inode.size() == name as u64);
            let inode = files.find(|inode| volume.xattrs(inode).next().is_some()).unwrap();
            let names = volume.xattrs(&inode).map(|xattr| xattr.unwrap().name);
            names.filter(|name| name.len() == "user.x".len()).collect::<BTreeSet<_>>()
        };
        for (file, count) in [("inline", 4), ("block", 20), ("buckets", 60)] {
            let (before, after) = (of(&image, file.len()), of(&raw, file.len()));
            assert_eq!((before.len(), after.len()), (count, count), "{options}: {file}");
            // Of 60 names, others may by chance be the same ones.
            assert!(before != after || count == 60, "{options}: {file}");
        }
        let names = after.iter().filter(|name| name.len() == 1).collect::<BTreeSet<_>>();
        assert_eq!(names.len(), bytes.clone().count(), "{options}");
        if let Some(fsck) = oracle("fsck.ocfs2") {
            // For bytes from 0x80 on it knows only one of two hashes.
            let codes = |path: &Path| {
                let out = Run::new("timeout").arg("60").arg(&fsck).arg("-fn").arg(path).output();
                let lines = out.stdout.lines().filter(|line| line.starts_with('['));
                let codes = lines.map(|line| line.split(' ').next().unwrap().to_owned());
                codes.collect::<BTreeSet<_>>()
            };
            assert!(codes(&raw).is_subset(&codes(&image)), "{options}: {:?}", codes(&raw));
        }
    }
}

#[test]
fn names_of_damaged_directories_are_in_no_scrambled_image() {
    let scratch = Scratch::in_memory();
    let (folder, image, raw) = (scratch.join("folder"), scratch.join("image"), scratch.join("raw"));
    fs::create_dir_all(folder.join("sub")).unwrap();
    for index in 0..90 {
        fs::write(folder.join(format!("sub/SECRET-{index:03}")), "").unwrap();
    }
    for index in 0..5 {
        fs::write(folder.join(format!("SECRET-{index:03}")), "").unwrap();
    }
    for options in ["-b 4096 --fs-features=metaecc", "-b 1024", "-b 1024 --fs-features=metaecc"] {
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-N", "1"]);
        let mkfs = mkfs.args(options.split_whitespace()).arg("-d").arg(&folder);
        mkfs.arg(&image).arg("64M").success();
        let debugfs = |command: &str| {
            let run = Run::new(program("debugfs.ocfs2")).args(["-w", "-R", command]).arg(&image);
            run.output().expect_status(0).stdout
        };
        let blocks = debugfs("blocks /sub");
        let block = blocks.split_whitespace().next().map_or("/sub".into(), |it| format!("<{it}>"));
        // An entry with an impossible length, and one in a block whose check does not match.
        debugfs(&format!("set --direct {block}.entries[9].rec_len 3"));
        debugfs("set --direct -n /.entries[5].rec_len 5");
        let said = o2image(&["-q", "-r", "-s"], &image, &raw).expect_status(3);
        assert!(
            said.stderr.contains("its names were scrambled where they could be read"),
            "{said}"
        );
        let bytes = fs::read(&raw).unwrap();
        let left = bytes.windows(6).filter(|bytes| bytes == b"SECRET").count();
        assert_eq!(left, 0, "{options}: {said}");
        let found = |path: &Path| Run::new(program("fsck.ocfs2")).arg("-fn").arg(path).output();
        let codes = |path: &Path| found(path).stdout.matches("[DIRENT_").count();
        assert!(codes(&image) > 0 && codes(&raw) > 0, "{options}: {}", found(&raw));
    }
}

#[test]
fn a_disk_of_qemu_has_what_the_raw_image_has() {
    let Some(qemu) = oracle("qemu-img") else { return };
    let scratch = Scratch::in_memory();
    let convert = |from: &Path, to: &Path| {
        Run::new(&qemu).args(["check", "-q", "-f", "qcow2"]).arg(from).success();
        let convert = Run::new(&qemu).args(["convert", "-f", "qcow2", "-O", "raw"]);
        convert.arg(from).arg(to).success();
    };
    for name in CLEAN.into_iter().chain(CRASHED) {
        let (raw, disk, back) = (scratch.join("raw"), scratch.join("disk"), scratch.join("back"));
        for all in [&["-q"][..], &["-qa"]] {
            o2image(&[all, &["-r"]].concat(), &fixture(name), &raw).expect_status(0);
            o2image(&[all, &["-Q"]].concat(), &fixture(name), &disk).expect_status(0);
            convert(&disk, &back);
            let compare = Run::new("cmp").arg(&raw).arg(&back).output();
            assert_eq!(compare.status, 0, "{name}: {compare}");
            assert!(allocated_bytes(&disk) <= disk.metadata().unwrap().len() + 4096);
        }
        for path in [&raw, &disk, &back] {
            fs::remove_file(path).unwrap();
        }
    }
    // Through a pipe the result is the same; and it is not accepted as a packed image.
    let (disk, piped) = (scratch.join("disk"), scratch.join("piped"));
    let image = fixture("clean-1k-local");
    o2image(&["-qQ"], &image, &disk).expect_status(0);
    let line = "\"$0\" -qQ \"$1\" - >\"$2\"";
    Run::new("sh").args(["-c", line]).arg(program("o2image")).arg(&image).arg(&piped).success();
    assert!(fs::read(&disk).unwrap() == fs::read(&piped).unwrap());
    o2image(&["-I", "-y"], &scratch.join("target"), &disk).expect_status(1);
    o2image(&["-Q", "-r"], &image, &piped).expect_status(1);
}

#[test]
fn a_large_volume_makes_a_small_disk_of_qemu() {
    let Some(qemu) = oracle("qemu-img") else { return };
    let scratch = Scratch::new();
    let (image, disk, back) =
        (scratch.image("large.img", 3 << 40), scratch.join("disk"), scratch.join("back"));
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "2", "-C", "1M"]);
    mkfs.arg(&image).success();
    o2image(&["-qQ"], &image, &disk).expect_status(0);
    Run::new(&qemu).args(["check", "-q", "-f", "qcow2"]).arg(&disk).success();
    let convert = Run::new(&qemu).args(["convert", "-f", "qcow2", "-O", "raw"]);
    convert.arg(&disk).arg(&back).success();
    assert_eq!(back.metadata().unwrap().len(), 3 << 40);
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(&back).output().expect_status(0);
}

#[test]
fn what_is_put_back_is_the_volume_whichever_program_saved_or_puts_it_back() {
    let Some(c) = oracle("o2image") else { return };
    let Some(fsck) = oracle("fsck.ocfs2") else { return };
    let scratch = Scratch::in_memory();
    let image = fixture("clean-1k-local");
    let size = image.metadata().unwrap().len();
    let (ours, theirs) = (scratch.join("ours"), scratch.join("theirs"));
    o2image(&["-a"], &image, &ours).expect_status(0);
    Run::new(&c).arg(&image).arg(&theirs).success();

    // Into an existing, longer file: nothing of it is cut off.
    let target = scratch.image("target", size + (1 << 20));
    let file = File::options().write(true).open(&target).unwrap();
    file.write_all_at(b"after", size + 10).unwrap();
    o2image(&["-I"], &target, &ours).expect_status(1);
    assert_eq!(fs::read(&target).unwrap().iter().filter(|byte| **byte != 0).count(), 5);
    o2image(&["-I", "-y"], &target, &ours).expect_status(0);
    assert_as_manifest(&volume(&target), "clean-1k-local");
    assert_eq!(&fs::read(&target).unwrap()[size as usize + 10..][..5], b"after");

    // An image of the C program, into a new file.
    let target = scratch.join("new");
    o2image(&["-Iy"], &target, &theirs).expect_status(0);
    let found = Run::new(&fsck).arg("-fn").arg(&target).success().stdout;
    assert!(found.contains("All passes succeeded"), "{found}");

    // Restored by the C program.
    let target = scratch.image("by-c", size);
    let put = Run::new(&c).arg("-I").arg(&target).arg(&ours).stdin("y\n").success();
    assert!(put.stderr.is_empty() || !put.stderr.contains("rror"), "{put}");
    // It cuts a file off after the last saved block.
    File::options().write(true).open(&target).unwrap().set_len(size).unwrap();
    assert_as_manifest(&volume(&target), "clean-1k-local");
}

/// Returns mode, size and contents of each file of a volume.
fn contents(path: &Path) -> BTreeMap<Vec<u8>, (u16, u64, Vec<u8>)> {
    let volume = volume(path);
    let of = |(path, inode): (Vec<u8>, Inode)| {
        let mut bytes = Vec::new();
        if inode.dinode.kind() == Some(FileKind::Regular) {
            volume.file(&inode).unwrap().read_to_end(&mut bytes).unwrap();
        }
        (path, (inode.dinode.i_mode, inode.size(), bytes))
    };
    ocfs2_tests::walk(&volume).into_iter().map(of).collect()
}

#[test]
fn a_crashed_volume_is_recovered_from_its_image() {
    let scratch = Scratch::in_memory();
    for name in CRASHED {
        let (image, target) = (scratch.join("image"), scratch.join("target"));
        o2image(&["-a"], &fixture(name), &image).expect_status(0);
        o2image(&["-Iy"], &target, &image).expect_status(0);
        let recovered = fixture_copy(name, &scratch);
        for path in [&target, &recovered] {
            Run::new(program("fsck.ocfs2")).arg("-fy").arg(path).output().expect_status(1);
            Run::new(program("fsck.ocfs2")).arg("-fn").arg(path).success();
        }
        assert_eq!(contents(&target), contents(&recovered), "{name}");
        for path in [&image, &target, &recovered] {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn log_blocks_of_another_life_do_not_stay_in_a_journal() {
    let scratch = Scratch::in_memory();
    let name = "clean-1k-local";
    let (image, target) = (scratch.join("image"), fixture_copy(name, &scratch));
    o2image(&[], &fixture(name), &image).expect_status(0);
    let journal = volume(&target).journal(0).unwrap();
    let size = volume(&target).block_size().size();
    let log = (journal.blkno.0 + 1) * size as u64;
    let file = File::options().read(true).write(true).open(&target).unwrap();
    file.write_all_at(b"an old transaction", log).unwrap();
    o2image(&["-Iy"], &target, &image).expect_status(0);
    let mut block = vec![1; size];
    file.read_exact_at(&mut block, log).unwrap();
    assert!(block.iter().all(|byte| *byte == 0));
}

#[test]
fn the_same_image_comes_out_of_a_pipe_and_nothing_of_this_computer_is_in_it() {
    let scratch = Scratch::in_memory();
    let (image, raw) = (scratch.join("image"), scratch.join("raw"));
    let source = fixture("clean-512-local");
    o2image(&[], &source, &image).expect_status(0);
    let piped = |options: &str, to: &str| {
        let program = program("o2image");
        let line = format!("{} {options} {} - > {to}", program.display(), source.display());
        Run::new("sh").args(["-c", &line]).success();
    };
    let piped_to = scratch.join("piped");
    piped("", &piped_to.display().to_string());
    let (a, b) = (fs::read(&image).unwrap(), fs::read(&piped_to).unwrap());
    assert_eq!(a.len(), b.len());
    // Except for the time.
    assert!(a[..4] == b[..4] && a[8..] == b[8..]);
    assert!(a[0x78..512].iter().all(|byte| *byte == 0));
    o2image(&["-r"], &source, &raw).expect_status(0);
    piped("-r", &piped_to.display().to_string());
    assert!(fs::read(&raw).unwrap() == fs::read(&piped_to).unwrap());
    // A packed image is converted to a raw one.
    let converted = scratch.join("converted");
    o2image(&["-r"], &image, &converted).expect_status(0);
    assert!(fs::read(&raw).unwrap() == fs::read(&converted).unwrap());
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_spoilt() {
    let scratch = Scratch::in_memory();
    let source = fixture_copy("clean-1k-local", &scratch);
    let before = fs::read(&source).unwrap();
    let image = scratch.join("image");
    o2image(&[], &source, &image).expect_status(0);
    let says = |outcome: Outcome, text: &str| {
        let outcome = outcome.expect_status(1);
        assert!(outcome.stderr.contains(text), "{outcome}");
    };
    says(o2image(&[], &source, &source), "is the volume itself");
    says(o2image(&[], &source, scratch.path()), "is not a regular file");
    says(o2image(&[], &scratch.join("none"), &image), "no such file");
    says(o2image(&["-I", "-y", "-r"], &source, &image), "without -r");
    says(o2image(&["-I", "-y"], &image, &source), "with -r");
    says(o2image(&["-I", "-y"], &source, Path::new("-")), "can be -");
    assert!(fs::read(&source).unwrap() == before);

    // An image that was cut off, or contains wrong numbers, is not restored.
    let whole = fs::read(&image).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&image, bytes).unwrap();
        let outcome = o2image(&["-I", "-y"], &source, &image);
        assert!(fs::read(&source).unwrap() == before, "{outcome}");
        outcome
    };
    says(with(&|bytes| bytes.truncate(100_000)), "is cut");
    says(with(&|bytes| bytes.truncate(50)), "is not a packed image");
    says(with(&|bytes| bytes[0x20..0x28].fill(0xff)), "is cut");
    says(with(&|bytes| bytes[0x28] = 7), "hdr_fsblksz");
    says(with(&|bytes| bytes[0x30] -= 1), "bitmap");
    says(with(&|bytes| bytes[0x18] = 9), "hdr_version");
}

#[test]
fn a_part_that_cannot_be_read_is_named_and_the_image_is_made() {
    let scratch = Scratch::in_memory();
    let source = fixture_copy("clean-1k-local", &scratch);
    let target = scratch.join("image");
    let inode = volume(&source).inodes().map(Result::unwrap).last().unwrap().blkno;
    let file = File::options().write(true).open(&source).unwrap();
    file.write_all_at(b"XXXX", inode.0 * 1024).unwrap();
    let outcome = o2image(&[], &source, &target).expect_status(3);
    assert!(outcome.stderr.contains(&inode.to_string()), "{outcome}");
    let saved = packed(&target);
    let device: Arc<dyn ocfs2_device::Device> = Arc::new(saved);
    assert!(Volume::open(device, &VolumeOptions::default()).is_ok());
}

#[test]
fn a_volume_is_not_replaced_by_mistake_and_an_older_image_stays_until_the_new_one_is_complete() {
    let scratch = Scratch::new();
    let volume = fixture("clean-1k-local");
    let save = |options: &[&str], from: &Path, to: &Path| {
        Run::new(program("o2image")).arg("-q").args(options).args([from, to]).output()
    };
    let packed = scratch.join("packed");
    save(&[], &volume, &packed).expect_status(0);
    // -I was forgotten.
    let target = fixture_copy("clean-512-local", &scratch);
    let before = std::fs::read(&target).unwrap();
    let said = save(&[], &packed, &target).expect_status(1);
    assert!(said.stderr.contains("holds a volume; -F puts the new image in its place"), "{said}");
    assert!(before == std::fs::read(&target).unwrap());
    if let Some(device) = LoopDevice::attach(&target, &[]) {
        let said = save(&["-F"], device.path(), &target).expect_status(1);
        assert!(said.stderr.contains("is in use by a loop device"), "{said}");
        assert!(before == std::fs::read(&target).unwrap());
    }
    save(&["-r", "-F"], &volume, &target).expect_status(0);
    // A device that ends too early.
    let old = std::fs::read(&packed).unwrap();
    let damaged = scratch.join("damaged");
    std::fs::write(&damaged, &old[..old.len() / 2]).unwrap();
    save(&[], &damaged, &packed).expect_status(1);
    assert!(old == std::fs::read(&packed).unwrap());
}

#[test]
fn a_file_that_is_no_image_is_not_replaced_without_f_and_an_image_is() {
    let scratch = Scratch::new();
    let volume = fixture("clean-512-local");
    let target = scratch.join("target");
    let save = |options: &[&str]| {
        let run = Run::new(program("o2image")).arg("-q").args(options);
        run.arg(&volume).arg(&target).stdin("y\n").output()
    };
    fs::write(&target, "a letter").unwrap();
    let said = save(&[]).expect_status(1);
    assert!(
        said.stderr.contains("is a file of 8 B that is not an image; -F overwrites it"),
        "{said}"
    );
    assert_eq!(fs::read(&target).unwrap(), b"a letter");
    save(&["-F"]).expect_status(0);
    for options in [&["-Q"][..], &[], &["-r"], &["-r"]] {
        save(options).expect_status(0);
    }
    fs::write(&target, "").unwrap();
    save(&[]).expect_status(0);
    // A terminal is asked.
    fs::write(&target, "a letter").unwrap();
    let Some(script) = oracle("script") else { return };
    for (answer, status) in [("n", 1), ("y", 0)] {
        let line = format!(
            "{} -q {} {}",
            program("o2image").display(),
            volume.display(),
            target.display()
        );
        let run = Run::new(&script).args(["-qec", &line, "/dev/null"]);
        let said = run.stdin(format!("{answer}\n")).output().expect_status(status);
        assert!(said.stdout.contains("not an image. Overwrite it?"), "{said}");
    }
    assert!(fs::read(&target).unwrap().len() > 8);
}

#[test]
fn what_was_answered_with_no_or_ended_early_is_seen_in_the_status() {
    let scratch = Scratch::new();
    let (volume, image) = (fixture("clean-512-local"), scratch.join("image"));
    let asked = Run::new(program("o2image")).args(["-q", "-i"]).arg(&volume).arg(&image);
    let said = asked.stdin("n\n").output().expect_status(1);
    assert!(said.stderr.contains("Aborting image creation.") && !image.exists(), "{said}");
    let line = "\"$0\" -q \"$1\" - | head -c1 >/dev/null; echo \"${PIPESTATUS[0]}\"";
    let run = Run::new("bash").args(["-c", line]).arg(program("o2image")).arg(&volume).output();
    assert_eq!((run.stderr.as_str(), run.stdout.as_str()), ("", "141\n"));
    let nowhere = scratch.join("none/image");
    let said = o2image(&["-q"], &volume, &nowhere).expect_status(1);
    let expected = format!("o2image: {}: No such file or directory\n", nowhere.display());
    assert_eq!(said.stderr, expected);
    for options in ["-I", "--superblock=7"] {
        let run = Run::new(program("o2image")).arg(options).arg(&volume).arg(&image).output();
        run.expect_status(1);
    }
}

#[test]
fn an_image_in_another_format_is_named_with_what_makes_a_volume_of_it() {
    let scratch = Scratch::new();
    let (volume, disk) = (fixture("clean-512-local"), scratch.join("disk.qcow2"));
    o2image(&["-q", "-Q"], &volume, &disk).expect_status(0);
    let compressed = scratch.join("volume.gz");
    Run::new("sh")
        .args(["-c", "head -c 100000 \"$0\" | gzip >\"$1\""])
        .arg(&volume)
        .arg(&compressed)
        .success();
    let empty = scratch.join("empty");
    fs::write(&empty, "").unwrap();
    for (name, args) in [
        ("debugfs.ocfs2", &["-R", "ls"][..]),
        ("fsck.ocfs2", &["-n"]),
        ("o2info", &["--volinfo"]),
        ("o2image", &[]),
        ("tunefs.ocfs2", &["-Q", "%U"]),
    ] {
        for (file, says) in [
            (&disk, "it is a qcow2 image: `qemu-img convert -O raw IMAGE FILE` makes a file"),
            (&compressed, "it is compressed with gzip: gunzip unpacks it"),
            (&empty, "empty"),
        ] {
            let run = Run::new(program(name)).args(args).arg(file);
            let run = if name == "o2image" { run.arg(scratch.join("image")) } else { run };
            let said = run.output();
            assert!(said.status != 0 && said.stderr.contains(says), "{name}: {said}");
            assert!(!said.stderr.contains("--salvage"), "{name}: {said}");
        }
    }
}

#[test]
fn an_image_is_put_neither_in_its_own_place_nor_over_other_files() {
    let scratch = Scratch::in_memory();
    let source = fixture_copy("clean-512-local", &scratch);
    let (image, link) = (scratch.join("image"), scratch.join("link"));
    o2image(&[], &source, &image).expect_status(0);
    std::os::unix::fs::symlink(&image, &link).unwrap();
    let text = scratch.join("text");
    fs::write(&text, "precious").unwrap();
    let refuse = |options: &[&str], target: &Path, image: &Path, says: &str| {
        let before = fs::read(target).ok();
        let refused = o2image(options, target, image).expect_status(1);
        assert!(refused.stderr.contains(says), "{refused}");
        assert!(fs::read(target).ok() == before, "{says}");
    };
    let other = scratch.join("other");
    fs::copy(&image, &other).unwrap();
    for options in [&["-I", "-y"][..], &["-I", "-y", "-F"]] {
        refuse(options, &image, &image, "is the image itself");
        refuse(options, &link, &image, "is the image itself");
        refuse(options, Path::new("/dev/ocfs2-none"), &image, "no such file or directory");
    }
    refuse(&["-I", "-y", "-r"], &source, &source, "is the image itself");
    for target in [&text, &other] {
        refuse(&["-I", "-y"], target, &image, "is a file that is not a volume; -F overwrites it");
    }
    let made = o2image(&["-I", "-y"], &scratch.join("new"), &image).expect_status(0);
    assert!(made.stderr.contains("there is none: it becomes a file of "), "{made}");
    // The only copy of what a crashed node wrote is not replaced by mistake.
    let crashed = fixture_copy("crashed-512-local", &scratch);
    let before = fs::read(&crashed).unwrap();
    let refused = o2image(&["-r"], &source, &crashed).expect_status(1);
    assert!(refused.stderr.contains("was not unmounted by all nodes"), "{refused}");
    assert!(fs::read(&crashed).unwrap() == before);
}

#[test]
fn another_volume_is_only_replaced_with_f() {
    let scratch = Scratch::in_memory();
    let (source, target) =
        (fixture_copy("clean-512-local", &scratch), fixture_copy("clean-1k-local", &scratch));
    let image = scratch.join("image");
    o2image(&[], &source, &image).expect_status(0);
    let before = fs::read(&target).unwrap();
    let refused = o2image(&["-I", "-y"], &target, &image).expect_status(1);
    assert!(refused.stderr.contains("another volume: UUID "), "{refused}");
    assert!(fs::read(&target).unwrap() == before);
    o2image(&["-I", "-y", "-F"], &target, &image).expect_status(0);
    assert_eq!(volume(&target).superblock().s_uuid, volume(&source).superblock().s_uuid);
}

#[test]
fn a_device_that_was_cut_short_is_saved_as_far_as_it_goes() {
    let scratch = Scratch::in_memory();
    let source = fixture_copy("clean-1k-local", &scratch);
    let size = source.metadata().unwrap().len();
    let kept = size / 3;
    File::options().write(true).open(&source).unwrap().set_len(kept).unwrap();
    for options in [&[][..], &["-r"], &["-Q"], &["-r", "-a"]] {
        let target = scratch.join("image");
        let outcome = o2image(options, &source, &target).expect_status(3);
        let said = format!("has {kept} bytes of {size} of the volume");
        assert!(outcome.stderr.contains(&said), "{outcome}");
        if options.contains(&"-r") {
            assert_eq!(target.metadata().unwrap().len(), size);
        }
        if options.contains(&"-a") {
            let saved = fs::read(&target).unwrap();
            let whole = volume(&target).system_file(ocfs2_volume::SystemFile::GlobalBitmap);
            assert!(whole.is_ok() && saved[kept as usize..].iter().all(|byte| *byte == 0));
        }
        fs::remove_file(&target).unwrap();
    }
}

#[test]
fn a_volume_is_named_by_its_label_or_uuid_too() {
    let scratch = Scratch::in_memory();
    let outcome = o2image(&[], Path::new("UUID=00000000"), &scratch.join("image"));
    outcome.expect_status(1);
    assert!(!scratch.join("image").exists());
}
