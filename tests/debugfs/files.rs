//! Contents of files: printed, and copied out.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compare::assert_same;
use ocfs2_testing::{Run, Scratch, allocated_bytes, fixture, oracle, program};

fn debugfs(image: &Path, command: &str) -> Run {
    Run::new(program("debugfs.ocfs2")).arg("-R").arg(command).arg(image)
}

/// Makes a folder with files that are hard to copy.
fn folder(scratch: &Scratch) -> PathBuf {
    let folder = scratch.join("folder");
    fs::create_dir_all(folder.join("sub/deeper")).unwrap();
    fs::write(folder.join("small"), b"\x1b[2J\r\n\xff").unwrap();
    fs::write(
        folder.join("large"),
        (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
    )
    .unwrap();
    fs::write(folder.join("sub/empty"), "").unwrap();
    fs::write(folder.join("sub/with blank"), "blank").unwrap();
    std::os::unix::fs::symlink("../small", folder.join("sub/link")).unwrap();
    let sparse = fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    fs::set_permissions(folder.join("small"), fs::Permissions::from_mode(0o640)).unwrap();
    folder
}

fn filled(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let (folder, image) = (folder(scratch), scratch.join("filled.img"));
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "2", "-d"]);
    mkfs.arg(&folder).arg(&image).arg("128M").success();
    (folder, image)
}

#[test]
fn a_volume_that_was_filled_is_shown_as_by_the_c_tool() {
    let scratch = Scratch::in_memory();
    let (_, image) = filled(&scratch);
    crate::inodes::compare(&image);
    crate::structures::compare(&image);
}

#[test]
fn a_file_on_standard_output_is_byte_for_byte_that_file() {
    let scratch = Scratch::in_memory();
    let (folder, image) = filled(&scratch);
    for name in ["small", "large", "sub/with blank", "sub/empty"] {
        let cat = format!("cat \"/{name}\"");
        let output = Command::new(program("debugfs.ocfs2")).arg("-R").arg(cat).arg(&image).output();
        let output = output.unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        assert_eq!(output.stdout, fs::read(folder.join(name)).unwrap(), "{name}");
    }
    let no_file = debugfs(&image, "cat /sub").output().expect_status(1);
    assert_eq!(no_file.stderr, "cat: Not a regular file\n");
}

#[test]
fn a_tree_is_copied_out_as_it_was_put_in() {
    let scratch = Scratch::in_memory();
    let (folder, image) = filled(&scratch);
    let out = scratch.join("out");
    fs::create_dir(&out).unwrap();
    let said = debugfs(&image, &format!("rdump / {}", out.display())).success().stdout;
    assert_eq!(said, format!("Copying to {}\n", out.display()));
    assert!(fs::metadata(out.join("lost+found")).unwrap().is_dir());
    for name in ["small", "large", "sparse", "sub/empty", "sub/with blank"] {
        let (before, after) = (folder.join(name), out.join(name));
        assert_eq!(fs::read(&after).unwrap(), fs::read(&before).unwrap(), "{name}");
        let (before, after) = (before.metadata().unwrap(), after.metadata().unwrap());
        assert_eq!(after.mode(), before.mode(), "{name}");
        assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    }
    assert_eq!(fs::read_link(out.join("sub/link")).unwrap(), Path::new("../small"));
    assert!(allocated_bytes(out.join("sparse")) < 1 << 20);
    // What is the same is left as it is.
    let again = debugfs(&image, &format!("rdump / {}", out.display())).success();
    assert_eq!(again.stderr, "rdump: 6 files were there already, and were left as they are\n");
    let said = debugfs(&image, &format!("rdump -v /sub {}/sub", out.display())).success().stdout;
    assert!(said.contains("/sub/sub/deeper\n") && said.lines().count() == 6, "{said}");
}

#[test]
fn a_copy_is_that_of_the_c_tool() {
    let Some(c) = oracle("debugfs.ocfs2") else { return };
    let scratch = Scratch::in_memory();
    let image = fixture("clean-2k-local");
    let mut copies = Vec::new();
    for tool in [program("debugfs.ocfs2"), c] {
        let out = scratch.join(tool.file_name().unwrap());
        fs::create_dir(&out).unwrap();
        let commands = scratch.join("commands");
        let shown = out.display();
        // The C tool leaves out what is neither a file, a folder nor a link.
        let lines = ["sizes", "names", "deep"].map(|name| format!("rdump /{name} {shown}"));
        fs::write(&commands, lines.join("\n") + "\n").unwrap();
        Run::new(tool).arg("-f").arg(commands).arg(&image).output();
        copies.push(out);
    }
    let diff = Run::new("diff").args(["-r", "--no-dereference"]).args(&copies).success();
    assert_eq!(diff.stdout, "");
    assert!(copies[0].join("names").is_dir());
}

#[test]
fn a_single_file_is_copied_with_its_times_where_that_is_asked() {
    let scratch = Scratch::in_memory();
    let (folder, image) = filled(&scratch);
    let copy = scratch.join("copy");
    debugfs(&image, &format!("dump -p /small {}", copy.display())).success();
    let (before, after) = (folder.join("small").metadata().unwrap(), copy.metadata().unwrap());
    assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
    assert_eq!(fs::read(&copy).unwrap(), fs::read(folder.join("small")).unwrap());
    debugfs(&image, &format!("dump /sub/link {}/link", scratch.path().display())).success();
    assert_eq!(fs::read_link(scratch.join("link")).unwrap(), Path::new("../small"));
}

#[test]
fn an_image_of_the_metadata_is_shown_as_by_the_c_tool() {
    let (Some(o2image), Some(c)) = (oracle("o2image"), oracle("debugfs.ocfs2")) else { return };
    let scratch = Scratch::in_memory();
    let (packed, commands) = (scratch.join("packed"), scratch.join("commands"));
    let volume = fixture("crashed-4k-o2cb");
    Run::new(o2image).arg(&volume).arg(&packed).output();
    let lines = "stats\nls -l //\nstat //global_bitmap\nstat /\nls -l /\nstat //journal:0000\n\
                 stat_sysdir\nxattr -v /\nlogdump 1\nhb\nslotmap\nlocate <30> <5>\n";
    fs::write(&commands, lines).unwrap();
    let shown = |tool: &Path, option: &str, image: &Path| {
        let run = Run::new(tool).env("PAGER", "__none__").args(["-n", option, "-f"]);
        let text = run.arg(&commands).arg(image).output().stdout;
        text.lines().filter(|line| !line.starts_with("Device: ")).collect::<Vec<_>>().join("\n")
    };
    let ours = shown(&program("debugfs.ocfs2"), "-i", &packed);
    assert!(ours.lines().count() > 1000);
    assert_same(&packed, "-i", ours.trim_end(), shown(&c, "-i", &packed).trim_end());
    assert_same(&volume, "-n", &ours, &shown(&program("debugfs.ocfs2"), "-n", &volume));
    let data = debugfs(&packed, "cat /x").arg("-i").output().expect_status(1);
    assert!(data.stderr.contains("cat: "), "{data}");
    let none = debugfs(&volume, "stat /").arg("-i").output().expect_status(1);
    assert!(none.stderr.contains("is not an image of o2image"), "{none}");
}

#[test]
fn attributes_by_the_hundred_are_shown_as_by_the_c_tool() {
    let scratch = Scratch::in_memory();
    let (archive, image) = (scratch.join("archive.tar"), scratch.join("attributes.img"));
    let mut builder = tar::Builder::new(fs::File::create(&archive).unwrap());
    for (name, count, len) in
        [("few", 5, 30), ("block", 110, 1), ("buckets", 900, 3), ("long", 20, 3000)]
    {
        let value = |index: usize| vec![b'v'; if index.is_multiple_of(7) { 3 * len } else { len }];
        let attributes: Vec<_> = (0..count)
            .map(|index| {
                (format!("SCHILY.xattr.user.{}{index}", "n".repeat(index % 5)), value(index))
            })
            .collect();
        let named = attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        builder.append_pax_extensions(named).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, name, &b"abc"[..]).unwrap();
    }
    builder.finish().unwrap();
    for block_size in ["512", "4096"] {
        let mkfs =
            Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-N", "1", "-b"]);
        mkfs.args([block_size, "-d"]).arg(&archive).arg(&image).arg("64M").success();
        crate::inodes::compare(&image);
    }
}

#[test]
fn a_chain_of_many_is_shown_as_by_the_c_tool() {
    let scratch = Scratch::new();
    let image = scratch.image("large.img", 2 << 40);
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "8", "-b", "4096"]);
    mkfs.args(["-C", "64K"]).arg(&image).success();
    let commands = ["stats -h", "stat //global_bitmap", "icheck 300000000 262144", "group <2>"];
    let Some(said) = crate::compare::run(&image, &commands.map(str::to_owned)) else { return };
    for said in &said {
        assert_same(&image, &said.command, &said.ours, &said.c);
    }
    // A backup of the superblock opens the same volume.
    let first = debugfs(&image, "stats -h").success().stdout;
    assert_eq!(debugfs(&image, "stats -h").args(["-s", "3"]).success().stdout, first);
    assert!(debugfs(&image, "stats -s 5").success().stdout.starts_with(&first));
}
