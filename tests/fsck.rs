//! `fsck.ocfs2` as an administrator or a script uses it: its arguments, its output, and its exit
//! status.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a failed test")]

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use jsonschema::Validator;
use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::xattr::{XattrBlock, XattrTreeRoot};
use ocfs2_format::{Block, Structure};
use ocfs2_testing::damage::{Base, Files, Image, Recipe, all, c_fsck, complaints};
use ocfs2_testing::populate::{Tree, populate};
use ocfs2_testing::{
    CRASHED, Outcome, Run, Scratch, c_fsck_run, fixture, fixture_copy, oracle, program,
    while_beating,
};
use ocfs2_volume::{Volume, VolumeOptions};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn fsck(image: &Path, options: &[&str]) -> Run {
    Run::new(program("fsck.ocfs2")).args(options).arg(image)
}

fn hash(path: &Path) -> String {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path).unwrap(), &mut HashWriter(&mut digest)).unwrap();
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the schema in the documentation, or one of its definitions if `definition` is not empty.
fn schema(definition: &str) -> Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fsck.schema.json");
    let mut schema: Value = serde_json::from_reader(File::open(path).unwrap()).unwrap();
    if !definition.is_empty() {
        schema = json!({ "$ref": format!("#/$defs/{definition}"), "$defs": schema["$defs"] });
    }
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn assert_valid(validator: &Validator, value: &Value) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|err| format!("{}: {err}", err.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{value:#}", errors.join("\n"));
}

/// Returns the document, which has to be valid and state the exit status of the program.
#[track_caller]
fn document(outcome: &Outcome) -> Value {
    let value: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|err| panic!("{err}\n{outcome}"));
    assert_valid(&schema(""), &value);
    assert_eq!(value["exit_status"], outcome.status, "{outcome}");
    value
}

fn recipe(code: &str) -> Recipe {
    all().into_iter().find(|recipe| recipe.code == code).unwrap()
}

/// Returns a volume with an extent block that states another place.
fn damaged() -> Image {
    recipe("EB_BLKNO").image()
}

fn mkfs(image: &Path, options: &[&str]) {
    Run::new(program("mkfs.ocfs2")).args(["-q", "-F"]).args(options).arg(image).success();
}

#[test]
fn another_block_size_than_that_of_the_volume_is_no_leave_to_use_a_backup() {
    let scratch = Scratch::new();
    let image = scratch.image("volume.img", 1100 << 20);
    let options = ["-q", "-M", "local", "-N", "1", "-b", "4096", "-C", "64K", "-J", "size=4M"];
    Run::new(program("mkfs.ocfs2")).args(options).arg(&image).success();
    let superblock = || {
        let mut head = vec![0; 1 << 16];
        File::open(&image).unwrap().read_exact_at(&mut head, 0).unwrap();
        head
    };
    let before = superblock();
    for option in ["-fn", "-fy"] {
        let outcome = fsck(&image, &[option, "-B", "1024"]).output().expect_status(8);
        let told = "the volume has blocks of 4096 bytes, not of 1024";
        assert!(outcome.stderr.contains(told), "{outcome}");
    }
    assert!(superblock() == before, "it was written to");
    fsck(&image, &["-fn", "-B", "4096"]).success();
}

#[test]
fn what_is_no_volume_is_named_and_gives_8() {
    let scratch = Scratch::new();
    let garbage = scratch.join("garbage.img");
    fs::write(&garbage, ocfs2_testing::Random(1).bytes(1 << 20)).unwrap();
    let empty = scratch.join("empty.img");
    fs::write(&empty, "").unwrap();
    let zeros = scratch.image("zeros.img", 16 << 20);
    let mut cases = vec![
        (garbage, "is not an OCFS2 volume"),
        (empty, "is empty"),
        (zeros, "is not an OCFS2 volume"),
        (scratch.join("missing.img"), "no such file"),
        (scratch.path().to_owned(), "is a directory"),
        (PathBuf::from("/dev/null"), "is a character device"),
    ];
    if let Some(mke2fs) = oracle("mke2fs") {
        let ext4 = scratch.image("ext4.img", 16 << 20);
        Run::new(mke2fs).args(["-q", "-F", "-t", "ext4"]).arg(&ext4).success();
        cases.push((ext4, "is not an OCFS2 volume"));
    }
    for (path, why) in &cases {
        for options in [["-fn"].as_slice(), &["-y"], &["-p"], &["-fn", "-r", "1"], &[]] {
            let outcome = fsck(path, options).output().expect_status(8);
            let error = outcome.stderr.lines().last().unwrap_or_default();
            assert!(error.starts_with(&format!("fsck-ocfs2: {}: ", path.display())), "{outcome}");
            if !options.contains(&"-r") {
                assert!(error.contains(why), "{outcome}");
            }
        }
        let outcome = fsck(path, &["-fn", "--json"]).output().expect_status(8);
        let value = document(&outcome);
        assert!(value["error"].as_str().unwrap().contains(why), "{outcome}");
        assert_eq!((&value["volume"], &value["summary"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn what_is_no_command_line_gives_16_and_help_gives_0() {
    for options in
        [[].as_slice(), &["-n", "-y", "x"], &["-x", "x"], &["-r", "9", "x"], &["-b", "y", "x"]]
    {
        let outcome = Run::new(program("fsck.ocfs2")).args(options).output().expect_status(16);
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{outcome}");
    }
    for option in ["--help", "-h", "--version", "-V"] {
        let outcome = Run::new(program("fsck.ocfs2")).arg(option).success();
        assert!(outcome.stdout.contains("fsck.ocfs2") && outcome.stderr.is_empty(), "{outcome}");
    }
    fsck(&fixture("clean-512-local"), &["-D", "-fn"]).output().expect_status(16);
}

#[test]
fn packing_asks_nothing_and_leaves_nothing_of_its_own() {
    for options in [["-fD", "-F"], ["-fpD", "-F"]] {
        let scratch = Scratch::new();
        let image = fixture_copy("clean-1k-local", &scratch);
        let outcome = fsck(&image, &options).stdin("n\n".repeat(20)).output().expect_status(1);
        assert!(!outcome.stdout.contains("[QUOTA_USAGE]"), "{outcome}");
        assert!(outcome.stdout.contains("written through the journal"), "{outcome}");
        fsck(&image, &["-fn"]).output().expect_status(0);
    }
}

#[test]
fn directories_are_packed_and_have_all_they_had() {
    for base in ["clean-512-local", "clean-1k-local", "clean-2k-local", "clean-4k-o2cb"] {
        let scratch = Scratch::new();
        let image = fixture_copy(base, &scratch);
        if base == "clean-512-local" {
            // It has buckets that newer kernels reject.
            fsck(&image, &["-fy"]).output().expect_status(1);
        }
        let before = Files::of(&image);
        let used = |options: &[&str], status: i32| {
            let outcome = fsck(&image, options).output().expect_status(status);
            document(&outcome)["summary"]["space"]["clusters_in_use"].as_u64().unwrap()
        };
        let clusters = used(&["-fn", "--json"], 0);
        let packed = used(&["-fyD", "-F", "--json"], 1);
        assert!(packed < clusters, "{base}: {packed} of {clusters}");
        assert_eq!(used(&["-fn", "--json"], 0), packed, "{base}");
        assert_eq!(Files::of(&image), before, "{base}");
        if oracle("fsck.ocfs2").is_some() {
            let known = complaints(Base::Fixture(base), "-fn");
            let theirs = c_fsck(&image, "-fn");
            assert_eq!(theirs.codes_beyond(&known), [""; 0], "{base}: {}", theirs.output);
        }
        // There is nothing more to pack.
        assert_eq!(used(&["-fyD", "-F", "--json"], 0), packed, "{base}");
    }
}

#[test]
fn without_permission_nothing_is_read_and_the_way_to_only_read_is_named() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let image = fixture_copy("clean-1k-local", &scratch);
    // In a place where an unprivileged user can run it.
    let copy = scratch.join("fsck.ocfs2");
    fs::copy(program("fsck.ocfs2"), &copy).unwrap();
    let as_nobody = |options: &[&str]| {
        let is_root = scratch.path().metadata().unwrap().uid() == 0;
        let run = if is_root {
            let setpriv = oracle("setpriv")?;
            Run::new(setpriv).args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy)
        } else {
            Run::new(&copy)
        };
        Some(run.args(options).arg(&image).output())
    };
    fs::set_permissions(&image, Permissions::from_mode(0o000)).unwrap();
    for options in [["-n"].as_slice(), &["-y"]] {
        let Some(outcome) = as_nobody(options) else { return };
        assert!(outcome.stderr.contains("permission denied"), "{outcome}");
        outcome.expect_status(8);
    }
    fs::set_permissions(&image, Permissions::from_mode(0o444)).unwrap();
    as_nobody(&["-fn"]).unwrap().expect_status(0);
    let outcome = as_nobody(&["-f"]).unwrap().expect_status(8);
    assert!(outcome.stderr.contains("-n checks it without writing"), "{outcome}");
}

#[test]
fn a_clean_volume_is_said_to_be_clean_and_only_a_check_is_noted_in_it() {
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let before = hash(&image);
    let file = image.display();
    for options in [["-n"].as_slice(), &["-y"], &["-p"], &["-a"], &[]] {
        let outcome = fsck(&image, options).success();
        let line = format!("{file} is clean.  It will be checked after 20 additional mounts.");
        assert_eq!(outcome.stdout.lines().last(), Some(line.as_str()), "{outcome}");
        assert!(!outcome.stdout.contains("Pass"), "{outcome}");
    }
    let checked = |options: &[&str]| {
        let outcome = fsck(&image, options).success();
        assert!(outcome.stdout.contains("was run with -f, check forced."), "{outcome}");
        assert!(outcome.stdout.contains("Pass 1: Checking inodes and blocks"), "{outcome}");
        assert!(outcome.stdout.contains("All passes succeeded."), "{outcome}");
    };
    checked(&["-fn"]);
    checked(&["-fy", "--dry-run"]);
    assert_eq!(hash(&image), before);
    // The superblock records the time of the check.
    for options in [["-fy"].as_slice(), &["-fp", "--threads=1"], &["-f"]] {
        checked(options);
        assert_ne!(hash(&image), before);
    }
}

#[test]
fn a_clean_volume_is_described_as_by_the_c_tool() {
    let Some(c_fsck) = oracle("fsck.ocfs2") else { return };
    for name in ["clean-4k-o2cb", "clean-512-local"] {
        let image = fixture(name);
        let theirs = c_fsck_run(&c_fsck, "-n", &image).expect_status(0);
        let ours = fsck(&image, &["-n"]).success();
        let skipped = "** Skipping slot recovery because -n was given. **\n";
        assert_eq!(ours.stdout, theirs.stdout.replace(skipped, ""), "{ours}");
    }
}

#[test]
fn nothing_is_wrong_with_what_the_kernel_or_either_mkfs_made() {
    let of_6_1 = ["clean-1k-local", "clean-2k-local", "clean-4k-o2cb", "clean-1m-global"];
    for name in of_6_1.into_iter().chain(["clean-1k-linux7-local"]) {
        let outcome = fsck(&fixture(name), &["-fn"]).success();
        assert!(!outcome.stdout.contains('['), "{outcome}");
    }
    // With small blocks, Linux up to 6.12.113 makes buckets that it later rejects.
    let small = fsck(&fixture("clean-512-local"), &["-fn"]).output().expect_status(4);
    let mut findings = small.stdout.lines().filter(|line| line.starts_with('['));
    assert!(findings.all(|line| line.starts_with("[XATTR_BUCKET_FULL]")), "{small}");
    let variations: [&[&str]; 6] = [
        &["-b", "512", "-C", "4K", "-N", "1", "-M", "local", "--fs-feature-level=max-compat"],
        &["-b", "1K", "-C", "32K", "-N", "9", "--fs-features=metaecc,noinline-data"],
        &["-b", "2K", "-C", "8K", "-N", "2", "--fs-features=noindexed-dirs,noinline-data"],
        &["-b", "4K", "-C", "4K", "-N", "4", "--fs-feature-level=max-features"],
        &["-b", "4K", "-C", "1M", "-N", "2", "--fs-features=nosparse"],
        &["-b", "4K", "-C", "64K", "-N", "3", "--fs-features=usrquota,grpquota,metaecc"],
    ];
    let programs = [Some(program("mkfs.ocfs2")), oracle("mkfs.ocfs2")];
    for mkfs in programs.into_iter().flatten() {
        for options in variations {
            let scratch = Scratch::new();
            let image = scratch.image("made.img", 1500 << 20);
            let made = Run::new(&mkfs).args(["-q", "-F"]).args(options).arg(&image).stdin("y\n");
            made.success();
            let outcome = fsck(&image, &["-fn"]).success();
            assert!(!outcome.stdout.contains('['), "{options:?}: {outcome}");
        }
    }
}

#[test]
fn a_check_is_due_after_too_many_mounts() {
    let image = Base::Made(&["-N", "2"], "64M").image();
    let superblock = image.volume().found_superblock().blkno;
    image.edit_superblock(superblock, |_, sb| {
        (sb.s_mnt_count, sb.s_max_mnt_count) = (21, 20);
    });
    let outcome = fsck(image.path(), &["-n"]).output();
    let line = "has been mounted 21 times without being checked, check forced.";
    assert!(outcome.stdout.contains(line), "{outcome}");
    assert!(outcome.stdout.contains("Pass 1"), "{outcome}");
}

#[test]
fn what_is_found_is_shown_left_and_gives_4() {
    // Without -y or -p nobody can be asked.
    for mode in ["-fn", "-fp", "-f"] {
        let image = damaged();
        let before = hash(image.path());
        let outcome = fsck(image.path(), &[mode]).output().expect_status(4);
        let lines: Vec<_> = outcome.stdout.lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(lines.len(), 1, "{outcome}");
        assert!(lines[0].starts_with("[EB_BLKNO] Extent block "), "{outcome}");
        assert!(lines[0].ends_with("? n"), "{outcome}");
        assert!(outcome.stdout.contains(": 1 problem found, none corrected"), "{outcome}");
        assert!(!outcome.stdout.contains("succeeded"), "{outcome}");
        // A run that may write marks that something is left.
        assert_eq!(hash(image.path()) == before, mode == "-fn");
    }
    let image = damaged();
    let value = document(&fsck(image.path(), &["-fn", "--json"]).output().expect_status(4));
    let [finding] = &value["findings"].as_array().unwrap()[..] else { panic!("{value:#}") };
    assert_eq!(finding["code"], "EB_BLKNO");
    assert_eq!(finding["pass"], "inodes");
    assert_eq!((&finding["answer"], &finding["outcome"]), (&json!("no"), &json!("left")));
    assert_eq!(value["summary"]["codes"], json!({ "EB_BLKNO": 1 }));
    assert_eq!(value["summary"]["left"], 1);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let image = damaged();
    let before = hash(image.path());
    let dry = fsck(image.path(), &["-fy", "--dry-run", "--json"]).output().expect_status(1);
    assert_eq!(hash(image.path()), before);
    let dry = document(&dry);
    assert_eq!(dry["summary"]["written"]["how"], "dry-run");
    let done = document(&fsck(image.path(), &["-fy", "--json"]).output().expect_status(1));
    assert_eq!(done["summary"]["written"]["how"], "journal");
    assert_eq!(dry["findings"], done["findings"]);
    assert_eq!(done["findings"][0]["outcome"], "corrected");
    for count in ["findings", "corrected", "left", "rounds"] {
        assert_eq!(dry["summary"][count], done["summary"][count], "{count}");
    }
    fsck(image.path(), &["-fn"]).success();
}

#[test]
fn changes_that_may_take_no_memory_are_in_a_file() {
    let limit = ["-fy", "--json", "--memory-limit=0"];
    let scratch = Scratch::new();
    let image = damaged();
    let before = hash(image.path());
    let nowhere = scratch.join("nowhere");
    let failed = fsck(image.path(), &limit).env("TMPDIR", &nowhere).output().expect_status(4);
    assert!(failed.stdout.contains("exceed the memory"), "{failed}");
    // Only the mark that something is left was written.
    assert_ne!(hash(image.path()), before);
    let marked = fsck(image.path(), &["-n"]).output().expect_status(4);
    assert!(marked.stdout.contains("with errors, check forced."), "{marked}");

    let dry = fsck(image.path(), &["-fy", "--json", "--dry-run"]).output().expect_status(1);
    let done = fsck(image.path(), &limit).env("TMPDIR", scratch.path()).output().expect_status(1);
    assert_eq!(document(&dry)["findings"], document(&done)["findings"]);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    fsck(image.path(), &["-fn"]).success();

    let crashed = fixture_copy("crashed-1k-o2cb", &scratch);
    fsck(&crashed, &limit).output().expect_status(1);
    fsck(&crashed, &["-fn", "--memory-limit=0"]).success();
}

#[test]
fn a_person_is_asked_and_told_what_it_is_about() {
    let Some(script) = oracle("script") else { return };
    let image = damaged();
    let before = hash(image.path());
    let command = format!("{} -f {}", program("fsck.ocfs2").display(), image.path().display());
    let answered =
        |input: &str| Run::new(&script).args(["-qec", &command, "/dev/null"]).stdin(input).output();
    let no = answered("?\nwhat\nn\n").expect_status(4);
    assert!(no.stdout.contains("EB_BLKNO is found when"), "{no}");
    assert_eq!(no.stdout.matches("? (Y/n/a/all/quit/?)").count(), 3, "{no}");
    // The mark that something is left is a finding as well.
    assert_ne!(hash(image.path()), before);
    // What is no longer asked about is shown like with -y.
    let yes = answered("all\n").expect_status(1);
    assert!(yes.stdout.contains("all corrected"), "{yes}");
    assert_eq!(yes.stdout.matches("[EB_BLKNO]").count(), 1, "{yes}");
    assert_eq!(yes.stdout.matches("[SUPERBLOCK_STATE]").count(), 1, "{yes}");
    fsck(image.path(), &["-fn"]).success();
}

#[test]
fn answers_are_read_from_standard_input_and_quit_drops_what_was_agreed_to() {
    let image = damaged();
    let answered = |input: &str| fsck(image.path(), &["-f"]).stdin(input).output();
    let ended = answered("").expect_status(4);
    assert!(ended.stderr.contains("nobody can be asked, standard input has ended"), "{ended}");
    // The first run has marked it.
    let before = hash(image.path());
    let quit = answered("quit\n").expect_status(36);
    assert!(quit.stderr.contains("cancelled; nothing was written"), "{quit}");
    assert_eq!(quit.stderr.matches("(Y/n/a/all/quit/?)").count(), 1, "{quit}");
    assert_eq!(hash(image.path()), before);
    // Where both outputs go to the same place, each finding is there once.
    let both = "\"$0\" -f \"$1\" 2>&1";
    let both = Run::new("sh").args(["-c", both]).arg(program("fsck.ocfs2")).arg(image.path());
    let quit = both.stdin("y\nquit\n").output().expect_status(36);
    assert_eq!(quit.stdout.matches("[EB_BLKNO]").count(), 1, "{quit}");
    let yes = answered("perhaps\nall\n").expect_status(1);
    assert!(yes.stdout.contains("all corrected"), "{yes}");
    fsck(image.path(), &["-fn"]).success();
}

#[test]
fn what_was_found_before_quit_makes_the_next_run_check() {
    let image = damaged();
    fsck(image.path(), &["-f"]).stdin("quit\n").output().expect_status(36);
    let marked = fsck(image.path(), &["-n"]).output().expect_status(4);
    assert!(marked.stdout.contains("with errors, check forced."), "{marked}");
}

#[test]
fn what_is_found_does_not_depend_on_the_threads() {
    let image = damaged();
    let found = |threads: &str| {
        let outcome = fsck(image.path(), &["-fn", "--json", threads]).output().expect_status(4);
        document(&outcome)["findings"].clone()
    };
    assert_eq!(found("--threads=1"), found("--threads=7"));
}

#[test]
fn a_volume_of_many_pieces_is_found_the_same_by_any_number_of_threads() {
    const BLOCK: usize = 4096;
    let scratch = Scratch::new();
    let image = scratch.image("many.img", 1 << 30);
    populate(&image, Tree { files: 20_000, files_per_folder: 50, indexed: true, aged: true });
    // Every fiftieth inode gets another link count, every seventieth other contents.
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut blocks = vec![0; 256 * BLOCK];
    let mut inodes = 0;
    for piece in (0..1 << 30).step_by(blocks.len()) {
        file.read_exact_at(&mut blocks, piece).unwrap();
        for (number, block) in (0..).zip(blocks.chunks_exact(BLOCK)) {
            if !block.starts_with(&Dinode::SIGNATURE) {
                continue;
            }
            inodes += 1;
            let at = piece + number * BLOCK as u64;
            for (every, offset) in [(50, 0x2a), (70, 0xd0)] {
                if inodes > 100 && inodes % every == 0 {
                    file.write_all_at(&[0x55; 2], at + offset).unwrap();
                }
            }
        }
    }
    let found = |threads: &str| {
        let outcome = fsck(&image, &["-fn", "--json", threads]).output().expect_status(4);
        document(&outcome)["findings"].clone()
    };
    let one = found("--threads=1");
    assert!(one.as_array().unwrap().len() > inodes / 50, "{one}");
    for threads in ["--threads=2", "--threads=8", "--threads=40"] {
        assert!(found(threads) == one, "{threads}");
    }
}

#[test]
fn both_forms_of_json_are_as_the_schema_says() {
    let line = schema("line");
    let scratch = Scratch::new();
    let small = scratch.image("small.img", 64 << 20);
    mkfs(&small, &["-M", "local"]);
    let image = damaged();
    let paths = [image.path().to_owned(), fixture("crashed-512-local"), fixture("clean-4k-o2cb")];
    for path in paths.iter().chain([&small, &scratch.join("missing")]) {
        for option in ["-n", "-fn"] {
            let whole = fsck(path, &[option, "--json"]).output();
            let value = document(&whole);
            let outcome = fsck(path, &[option, "--json-lines"]).output();
            outcome.clone().expect_status(whole.status);
            let lines: Vec<Value> =
                outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for record in &lines {
                assert_valid(&line, record);
            }
            assert_eq!(lines[0]["type"], "start");
            assert_eq!(lines.last().unwrap()["type"], "end");
            assert_eq!(lines.last().unwrap()["exit_status"], whole.status);
            let of_type =
                |name: &'static str| lines.iter().filter(move |line| line["type"] == name);
            let untyped = |record: &Value| {
                let mut record = record.clone();
                record.as_object_mut().unwrap().remove("type");
                record
            };
            let findings: Vec<_> = of_type("finding").map(untyped).collect();
            assert_eq!(json!(findings), value["findings"]);
            let slots: Vec<_> = of_type("slot").map(untyped).collect();
            assert_eq!(json!(slots), value["slots"]);
        }
    }
}

#[test]
fn the_schema_refuses_what_is_not_in_it() {
    let outcome = fsck(&fixture("clean-1k-local"), &["-fn", "--json"]).success();
    let good = document(&outcome);
    let validator = schema("");
    let refuses = |change: &dyn Fn(&mut Value)| {
        let mut bad = good.clone();
        change(&mut bad);
        !validator.is_valid(&bad)
    };
    assert!(refuses(&|bad| bad["volume"]["colour"] = json!("blue")));
    assert!(refuses(&|bad| bad["slots"][0]["state"] = json!("asleep")));
    assert!(refuses(&|bad| bad["summary"]["passes"][0]["pass"] = json!("first")));
    assert!(refuses(&|bad| drop(bad.as_object_mut().unwrap().remove("findings"))));
    assert!(refuses(&|bad| bad["findings"] = json!([{ "code": "EB_BLKNO" }])));
}

#[test]
fn a_reader_that_goes_away_does_not_change_the_answer() {
    let image = damaged();
    for option in ["--json", "--json-lines", "-tt"] {
        let mut child = Command::new(program("fsck.ocfs2"))
            .args(["-fn", option])
            .arg(image.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let outcome = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!(outcome.status.code(), Some(4), "{said}");
        assert!(!said.contains("panicked") && !said.contains("cannot be written"), "{said}");
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(program("fsck.ocfs2"))
        .arg("-fn")
        .arg(image.path())
        .stdout(full)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4 | 8), "{said}");
    assert!(said.contains("standard output cannot be written"), "{said}");
}

#[test]
fn a_crashed_volume_is_recovered_in_memory_and_stays_as_it_is() {
    for (name, option) in [(CRASHED[0], "-n"), (CRASHED[0], "-fn"), (CRASHED[2], "-n")] {
        let image = fixture(name);
        let before = hash(&image);
        let outcome = fsck(&image, &[option]).output().expect_status(4);
        let expected = "In memory only, because -n was given.";
        assert!(outcome.stdout.contains(expected), "{outcome}");
        assert!(outcome.stdout.contains("journal replayed successfully."), "{outcome}");
        assert!(outcome.stdout.contains("Pass 1"), "{outcome}");
        assert_eq!(hash(&image), before, "{name} was written to");
    }
}

#[test]
fn a_crashed_volume_is_recovered_without_a_question() {
    for name in CRASHED {
        let scratch = Scratch::new();
        let image = fixture_copy(name, &scratch);
        let outcome = fsck(&image, &["-p", "--json"]).output();
        assert!(outcome.status & 1 == 1 && outcome.status & !5 == 0, "{outcome}");
        let value = document(&outcome);
        let slots = value["slots"].as_array().unwrap();
        let dirty: Vec<_> = slots.iter().filter(|slot| slot["state"] == "dirty").collect();
        assert!(!dirty.is_empty(), "{outcome}");
        assert!(dirty.iter().all(|slot| slot["outcome"] == "recovered"), "{outcome}");
        let transactions = dirty.iter().map(|slot| slot["transactions"].as_u64().unwrap());
        assert!(transactions.sum::<u64>() > 0, "{outcome}");
        assert_eq!(value["summary"]["slots_recovered"], dirty.len());

        let again = document(&fsck(&image, &["-fn", "--json"]).output());
        let slots = again["slots"].as_array().unwrap();
        assert!(slots.iter().all(|slot| slot["state"] == "clean"), "{again:#}");
        assert_eq!(again["findings"], value["findings"]);
        for code in ["SLOT_MAP_TAKEN", "INODE_ORPHANED", "CLUSTER_ALLOC_BIT"] {
            assert!(again["summary"]["codes"][code].is_null(), "{name}: {again:#}");
        }

        if let Some(c_fsck) = oracle("fsck.ocfs2") {
            let theirs = c_fsck_run(&c_fsck, "-fn", &image).expect_status(0);
            // It does not know the hashes by which kernels since 6.2 look names up.
            let knows_all = !name.contains("linux7");
            let succeeded = theirs.stdout.contains("All passes succeeded.");
            assert!(succeeded || !knows_all, "{theirs}");
            for code in ["CLUSTER_ALLOC_BIT", "GROUP_", "CHAIN_", "LALLOC_", "TRUNCATE_"] {
                assert!(!theirs.stdout.contains(code), "{theirs}");
            }
        }
    }
}

/// Opens the volume of an image.
fn opened(image: &Path) -> Volume {
    let device = open(image, &DeviceOptions::default()).unwrap();
    Volume::open(device, &VolumeOptions::default()).unwrap()
}

/// The block that a crash has torn may be the one that leads to the journal with its copy.
#[test]
fn a_torn_block_of_the_system_directory_does_not_hide_the_journals() {
    for name in ["crashed-4k-linux7-local", "crashed-1k-o2cb"] {
        let scratch = Scratch::new();
        let image = fixture_copy(name, &scratch);
        let volume = opened(&image);
        let dir = volume.system_dir().unwrap();
        let blocks = volume.dir_blocks(&dir).unwrap().map(|block| block.unwrap().blkno);
        let file = File::options().read(true).write(true).open(&image).unwrap();
        for block in blocks {
            // The last bytes of a trailer belong to no field.
            let end = (block.0 + 1) * u64::from(volume.block_size().bytes());
            file.write_all_at(b"torn", end - 4).unwrap();
        }
        let outcome = fsck(&image, &["-fy", "--json"]).output().expect_status(1);
        let value = document(&outcome);
        let slots = value["slots"].as_array().unwrap();
        let transactions = slots.iter().filter_map(|slot| slot["transactions"].as_u64());
        assert!(transactions.sum::<u64>() > 0, "{outcome}");
        // The passes find everything else that the slots owe.
        assert_eq!(value["summary"]["left"], 0, "{outcome}");
        fsck(&image, &["-fn"]).success();
    }
}

#[test]
fn a_log_is_replayed_before_repairs_also_where_what_leads_to_it_is_damaged() {
    for name in ["crashed-512-local", "crashed-4k-linux7-local"] {
        for what in ["the journal's inode", "the system directory"] {
            let scratch = Scratch::new();
            let image = fixture_copy(name, &scratch);
            let volume = opened(&image);
            let size = u64::from(volume.block_size().bytes());
            let file = File::options().read(true).write(true).open(&image).unwrap();
            match what {
                // The time of the last change, in more than one bit: the checksum does not match.
                "the journal's inode" => {
                    let inode = volume.journal(0).unwrap().inode.blkno;
                    file.write_all_at(b"12345", inode.0 * size + 0x40).unwrap();
                }
                _ => {
                    let dir = volume.superblock().s_system_dir_blkno;
                    file.write_all_at(&vec![0; size as usize], dir.0 * size).unwrap();
                }
            }
            let outcome = fsck(&image, &["-fy", "--json"]).output().expect_status(1);
            let value = document(&outcome);
            assert!(value["slots"][0]["transactions"].as_u64() > Some(0), "{what}: {outcome}");
            assert_eq!(value["lost"].as_array().map(Vec::len), Some(0), "{what}: {outcome}");
            fsck(&image, &["-fn"]).success();
        }
    }
}

#[test]
fn a_live_node_is_named_and_nothing_is_written_under_it() {
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-4k-o2cb", &scratch);
    let device = open(&image, &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    let region = volume.heartbeat_region().unwrap();
    let journal = volume.journal(1).unwrap();
    let of_journal = || {
        let mut block = vec![0; 4096];
        let offset = journal.inode.blkno.0 * 4096;
        File::open(&image).unwrap().read_exact_at(&mut block, offset).unwrap();
        block
    };
    let before = of_journal();
    while_beating(&image, region.offset_bytes, 1, || {
        // With -p or -a a booting node goes on: the node that has it mounted takes care of it.
        for option in ["-p", "-a", "-fp"] {
            let outcome = fsck(&image, &[option]).success();
            let told = "crashed-4k-o2cb.img: in use by node 1, not checked\n";
            assert!(outcome.stdout.ends_with(told), "{outcome}");
        }
        for options in [["-y"].as_slice(), &["-fy"], &["-f"]] {
            let outcome = fsck(&image, options).output().expect_status(8);
            assert!(!outcome.stdout.contains("WARNING"), "{outcome}");
            assert!(outcome.stderr.contains("in use by node 1 in slot 1"), "{outcome}");
            assert!(outcome.stderr.contains("-n checks it without writing"), "{outcome}");
            assert!(outcome.stderr.contains("only a person at a terminal answers"), "{outcome}");
        }
        // Nobody can be asked.
        let outcome = fsck(&image, &["-F", "-y"]).stdin("y\n").output().expect_status(8);
        assert!(outcome.stderr.contains("nobody can be asked"), "{outcome}");

        let outcome = fsck(&image, &["-n", "--json"]).output();
        assert!(outcome.stderr.contains("warning: "), "{outcome}");
        assert!(outcome.stderr.contains("in use by node 1 in slot 1"), "{outcome}");
        let value = document(&outcome);
        assert_eq!(value["slots"][1]["node_state"], "live", "{outcome}");
        assert_eq!(value["slots"][0]["node_state"], "crashed", "{outcome}");
        assert_eq!(value["summary"]["slots_left"], 1, "only that of the crashed node");
        assert!(outcome.stdout.contains("may detect invalid errors"), "{outcome}");
    });
    assert_eq!(of_journal(), before);
}

#[test]
fn an_image_somebody_else_has_is_only_read() {
    let scratch = Scratch::new();
    let image = fixture_copy("clean-1k-local", &scratch);
    let exclusive = DeviceOptions { write: true, exclusive: true, ..Default::default() };
    let _other = open(&image, &exclusive).unwrap();
    let outcome = fsck(&image, &["-fy"]).output().expect_status(8);
    assert!(outcome.stderr.contains("is in use"), "{outcome}");
    fsck(&image, &["-fn"]).success();
}

#[test]
fn a_bad_superblock_is_replaced_by_a_backup() {
    let scratch = Scratch::new();
    let image = scratch.image("disk.img", 1200 << 20);
    mkfs(&image, &["-N", "2", "-L", "backup"]);
    // A check changes its own time in the superblock, but not in the backups.
    thread::sleep(Duration::from_millis(1100));
    fsck(&image, &["-fy"]).success();
    fsck(&image, &["-fn"]).success();
    let same = document(&fsck(&image, &["-fn", "-r", "1", "--json"]).output());
    assert_eq!(same["volume"]["superblock"], (1 << 30) / 4096);
    assert_eq!(same["volume"]["label"], "backup");

    let zero = File::options().write(true).open(&image).unwrap();
    zero.write_all_at(&[0; 4096], 2 * 4096).unwrap();
    for options in [["-n"].as_slice(), &["-n", "-r", "1"], &["-n", "-b", "262144"]] {
        let outcome = fsck(&image, options).output().expect_status(4);
        assert!(outcome.stdout.contains("Label:              backup"), "{outcome}");
        assert!(outcome.stdout.contains("[RECOVER_BACKUP_SUPERBLOCK]"), "{outcome}");
    }
    // -p asks nobody, and without a terminal nobody can be asked.
    for options in [["-p"].as_slice(), &[]] {
        let outcome = fsck(&image, options).output().expect_status(8);
        assert!(!outcome.stdout.contains("Label"), "{outcome}");
    }
    let outcome = fsck(&image, &["-n", "-r", "2"]).output().expect_status(8);
    assert!(outcome.stderr.contains("there is no backup superblock 2"), "{outcome}");
    for options in [["-y"].as_slice(), &["-y", "-r", "1"]] {
        zero.write_all_at(&[0; 4096], 2 * 4096).unwrap();
        let outcome = fsck(&image, options).output().expect_status(1);
        assert!(outcome.stdout.contains("[RECOVER_BACKUP_SUPERBLOCK]"), "{outcome}");
        fsck(&image, &["-fn"]).success();
    }
}

#[test]
fn a_partition_in_an_image_is_checked() {
    let scratch = Scratch::new();
    let image = scratch.image("disk.img", 80 << 20);
    // Partition 1: 64 MiB, starting at 1 MiB.
    let mut table = [0; 512];
    table[446 + 4] = 0x83;
    table[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    table[446 + 12..446 + 16].copy_from_slice(&(64_u32 << 11).to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    File::options().write(true).open(&image).unwrap().write_all_at(&table, 0).unwrap();
    mkfs(&image, &["-M", "local", "--partition=1"]);
    fsck(&image, &["-fn", "--partition=1"]).success();
    fsck(&image, &["-fn"]).output().expect_status(8);
    let outcome = fsck(&image, &["-fn", "--partition=3"]).output().expect_status(8);
    assert!(outcome.stderr.contains("there is no partition 3"), "{outcome}");
}

#[test]
fn a_signal_ends_it_with_32_and_nothing_is_written() {
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-4k-o2cb", &scratch);
    let before = hash(&image);
    let Some(kill) = oracle("kill") else { return };
    // It watches the heartbeat of the crashed nodes for some seconds before it writes.
    let mut child = Command::new(program("fsck.ocfs2"))
        .args(["-y", "--json"])
        .arg(&image)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    // The document has begun; signals are caught before the device is opened.
    stdout.read_line(&mut text).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    Run::new(kill).args(["-INT", &child.id().to_string()]).success();
    stdout.read_to_string(&mut text).unwrap();
    let outcome = child.wait_with_output().unwrap();
    assert_eq!(outcome.status.code(), Some(32), "{text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_valid(&schema(""), &value);
    assert_eq!(value["exit_status"], 32);
    assert_eq!(value["error"], "cancelled; nothing was written");
    assert_eq!(hash(&image), before);
}

#[test]
fn a_signal_at_a_question_ends_it_and_what_was_agreed_to_is_dropped() {
    let Some(kill) = oracle("kill") else { return };
    let image = recipe("INODE_ORPHANED").image();
    for name in ["journal:0000", "truncate_log:0000"] {
        image.edit_dinode(image.system(name).blkno, |dinode, _| dinode.i_links_count = 7);
    }
    let before = hash(image.path());
    let mut child = Command::new(program("fsck.ocfs2"))
        .arg("-f")
        .arg(image.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = child.stdin.take().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let mut text = Vec::new();
    let mut until_asked = |times: usize| {
        while String::from_utf8_lossy(&text).matches("(Y/n/a/all/quit/?)").count() < times {
            let mut byte = [0];
            errors.read_exact(&mut byte).expect("a question");
            text.push(byte[0]);
        }
    };
    until_asked(1);
    answers.write_all(b"y\n").unwrap();
    until_asked(2);
    Run::new(kill).args(["-INT", &child.id().to_string()]).success();
    errors.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    // Cancelled (32), and something is left (4).
    assert_eq!(child.wait().unwrap().code(), Some(36), "{text}");
    assert!(text.contains("cancelled; nothing was written"), "{text}");
    assert_ne!(hash(image.path()), before, "it is marked");
    fsck(image.path(), &["-n"]).output().expect_status(4);
}

#[test]
fn a_front_end_is_told_how_far_it_is() {
    let Some(sh) = oracle("sh") else { return };
    let scratch = Scratch::new();
    let told = scratch.join("told");
    let image = fixture("clean-4k-o2cb");
    let outcome = Run::new(sh)
        .args(["-c", "exec \"$0\" -fn -C 3 \"$1\" 3> \"$2\""])
        .args([&program("fsck.ocfs2"), &image, &told])
        .success();
    assert_eq!(outcome.stderr, "fsck.ocfs2 0.1.0\n", "{outcome}");
    let told = fs::read_to_string(told).unwrap();
    let mut ended = Vec::new();
    for line in told.lines() {
        let [pass, done, total, device] = &line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{told}");
        };
        assert_eq!(*device, image.to_str().unwrap());
        let [pass, done, total] = [pass, done, total].map(|number| number.parse::<u64>().unwrap());
        assert!(pass <= 5 && done <= total && total > 0, "{told}");
        if done == total {
            ended.push(pass);
        }
    }
    assert!(ended.is_sorted() && ended.contains(&1), "{told}");
    let outcome = fsck(&image, &["-fn", "-P"]).success();
    assert!(outcome.stderr.contains("fsck-ocfs2: pass 1: 100%"), "{outcome}");
}

#[test]
fn statistics_are_shown_when_asked_for() {
    let image = fixture("clean-4k-o2cb");
    let plain = fsck(&image, &["-fn"]).success();
    assert!(!plain.stdout.contains("I/O read"), "{plain}");
    let once = fsck(&image, &["-fnt"]).success();
    assert_eq!(once.stdout.matches("I/O read: ").count(), 1, "{once}");
    assert!(once.stdout.contains("regular files"), "{once}");
    let twice = fsck(&image, &["-fntt"]).success();
    assert!(twice.stdout.matches("I/O read: ").count() > 2, "{twice}");
    let verbose = fsck(&image, &["-fnv"]).success();
    assert!(verbose.stdout.contains("Features:           sparse "), "{verbose}");
    assert!(verbose.stdout.contains("Slot 3 is clean."), "{verbose}");
}

/// An allocator whose group Linux 7 returned to the bitmap, and a clone that Linux made of a file
/// with many attributes.
#[test]
fn what_kernels_write_on_sound_volumes_is_no_finding() {
    let shrunk = Base::Fixture("clean-4k-o2cb").image();
    for allocator in ["inode_alloc:0001", "extent_alloc:0000"] {
        shrunk.edit_chains(allocator, |_, header, _| header.cl_next_free_rec += 1);
    }
    let cloned = Base::Fixture("clean-1k-local").image();
    let inodes = cloned.volume().inodes().map(Result::unwrap);
    let blocks = inodes.map(|inode| inode.dinode.i_xattr_loc).filter(|blkno| !blkno.is_none());
    let mut indexed =
        blocks.filter(|blkno| XattrBlock::decode(&cloned.read(*blkno)).unwrap().is_indexed());
    cloned.edit_xattr_block(indexed.next().expect("buckets"), |_, area| {
        let mut root = XattrTreeRoot::decode(area).unwrap();
        root.xt_clusters += 1;
        root.encode(area).unwrap();
    });
    for image in [shrunk, cloned] {
        let outcome = fsck(image.path(), &["-fn"]).success();
        assert!(!outcome.stdout.contains('['), "{outcome}");
    }
}
