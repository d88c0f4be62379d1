//! Bits of allocators, directories, quota and journals, changed by commands.

use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_testing::{Outcome, Run, Scratch, fixture, fixture_copy, program};

use crate::judge::Judge;
use crate::writing::{change, volume};

const METAECC: &str = "-b 1024 -C 4096 --fs-features=metaecc,usrquota,grpquota";

fn shown(image: &Path, command: &str) -> String {
    let run = Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(image);
    run.output().expect_status(0).stdout
}

/// Runs a command with an undo file and lets `look` examine the result. Undoes it, makes sure that
/// all bytes are as before, and leaves the image with the change.
fn undone(scratch: &Scratch, image: &Path, command: &str, look: impl FnOnce(&Outcome)) {
    let (before, undo) = (fs::read(image).unwrap(), scratch.join("undo"));
    let run = Run::new(program("debugfs.ocfs2")).arg("-w").arg("--undo-file").arg(&undo);
    let done = run.args(["-R", command]).arg(image).output().expect_status(0);
    look(&done);
    let after = fs::read(image).unwrap();
    assert!(after != before, "{command} changed nothing");
    let put_back = format!("--undo={}", undo.display());
    Run::new(program("fsck.ocfs2")).arg(put_back).arg(image).output().expect_status(0);
    assert!(fs::read(image).unwrap() == before, "{command} was not undone");
    fs::write(image, after).unwrap();
    fs::remove_file(&undo).unwrap();
}

fn ours(image: &Path) -> Outcome {
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(image).output()
}

fn number_after(text: &str, words: &str) -> u64 {
    let at = text.find(words).unwrap_or_else(|| panic!("{words}: {text}"));
    let rest = &text[at + words.len()..];
    rest.split(|it: char| !it.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn clusters_are_marked_and_given_back_and_what_has_an_owner_is_not() {
    for options in ["-b 4096 -C 4096", METAECC] {
        let scratch = Scratch::in_memory();
        let image = volume(&scratch, options);
        let judge = Judge::new(&image);
        let free = number_after(&shown(&image, "ffb 5 9000"), "found: ");
        assert_eq!(free, 9000);
        assert_eq!(shown(&image, "testb 9000 2"), "Clusters 9000 to 9001 are free\n");
        undone(&scratch, &image, "setb 9000 5", |done| {
            assert!(done.stdout.starts_with("clusters 9000 to 9004: in use; 2 blocks"), "{done}");
            // Nobody owns them: a check finds nothing else.
            let found = ours(&image).expect_status(4).stdout;
            let codes: Vec<_> = found.lines().filter(|it| it.starts_with('[')).collect();
            assert!(!codes.is_empty() && codes.iter().all(|it| it.contains("CLUSTER")), "{found}");
        });
        let text = shown(&image, "testb 8999 7");
        assert!(text.contains("Clusters 9000 to 9004 are in use"), "{text}");
        assert_eq!(number_after(&shown(&image, "ffb 1 9000"), "found: "), 9005);
        let before = fs::read(&image).unwrap();
        for (command, says) in [
            ("setb 9004 9", "or one of them: already in use"),
            ("freeb 9004 2", "or one of them: already free"),
            ("freeb 0", "belongs to the superblock or a backup of it"),
            ("freeb 99999999", "is not followed by so many clusters"),
            ("freeb 9000 4294967295", "is not followed by so many clusters"),
            ("freeb -r 9000", "only with --direct"),
            ("setb", "usage"),
        ] {
            let refused = change(&image, command).expect_status(1);
            assert!(refused.stderr.contains(says), "{command}: {refused}");
        }
        let first = number_after(&shown(&image, "blocks /large"), "");
        let per_cluster = if options == METAECC { 4 } else { 1 };
        let cluster = first / per_cluster;
        let refused = change(&image, &format!("freeb {cluster}")).expect_status(1);
        assert!(refused.stderr.contains("belongs to inode "), "{refused}");
        assert!(fs::read(&image).unwrap() == before);
        undone(&scratch, &image, "freeb 9000 5", |_| judge.judge("freeb"));
        // Intended damage: a file loses a cluster, and a bit is wrong while its counters are not.
        for command in [format!("freeb --direct {cluster}"), "setb --direct -r 9000".to_owned()] {
            let before = fs::read(&image).unwrap();
            undone(&scratch, &image, &command, |_| {
                assert_ne!(ours(&image).status, 0, "{command}");
            });
            fs::write(&image, before).unwrap();
        }
    }
}

#[test]
fn a_block_of_metadata_is_marked_and_given_back() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, METAECC);
    let judge = Judge::new(&image);
    let free = number_after(&shown(&image, "ffi"), "found: ");
    let text = shown(&image, &format!("imap <{free}>"));
    assert!(text.contains(" of inode_alloc:0000, at byte "), "{text}");
    assert!(text.trim_end().ends_with(&format!("at byte {:#x}", free * 1024)), "{text}");
    assert_eq!(shown(&image, &format!("testi <{free}>")), format!("Block {free} is free\n"));
    undone(&scratch, &image, &format!("seti <{free}>"), |_| {
        assert_ne!(ours(&image).status, 0);
    });
    assert_eq!(shown(&image, &format!("testi <{free}>")), format!("Block {free} is in use\n"));
    undone(&scratch, &image, &format!("freei <{free}>"), |_| judge.judge("freei"));
    // The same for blocks that are not inodes, such as the root of an index.
    change(&image, "expand_dir /sub").expect_status(0);
    judge.judge("expand_dir");
    let root = number_after(&shown(&image, "print /sub.i_dx_root"), "i_dx_root = ");
    assert!(shown(&image, &format!("imap <{root}>")).contains("of extent_alloc:0000"));
    for (command, says) in [
        ("freei /small".to_owned(), "belongs to inode "),
        (format!("freesub <{root}>"), "belongs to inode "),
        (format!("setsub <{root}>"), "is already in use"),
        (format!("seti <{root}>"), "is in no group of inodes"),
        ("freesub <60000>".to_owned(), "is in no group of blocks of metadata"),
    ] {
        let refused = change(&image, &command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
    }
    let next = root + 1;
    undone(&scratch, &image, &format!("setsub <{next}>"), |_| assert_ne!(ours(&image).status, 0));
    undone(&scratch, &image, &format!("freesub <{next}>"), |_| judge.judge("freesub"));
    undone(&scratch, &image, &format!("freesub --direct <{root}>"), |_| {
        assert_ne!(ours(&image).status, 0);
    });
}

#[test]
fn a_directory_gets_room_and_its_index_again() {
    for options in [
        "-b 4096 -C 4096",
        METAECC,
        "-b 512 -C 4096 --fs-features=noinline-data,usrquota",
        "-b 2048 -C 4096 --fs-features=noindexed-dirs,metaecc",
    ] {
        let scratch = Scratch::in_memory();
        let image = volume(&scratch, options);
        let judge = Judge::new(&image);
        let mut lines = String::new();
        // More than fit into the root of an index.
        let count = if options.starts_with("-b 4096") { 300 } else { 150 };
        for index in 0..count {
            lines += &format!("ln /small /sub/{index}-{}\n", "n".repeat(index % 60));
        }
        lines += &format!("rm /sub/100-{}\n", "n".repeat(40));
        let run = Run::new(program("debugfs.ocfs2")).args(["-n", "-w"]).arg(&image);
        run.stdin(lines).output().expect_status(0);
        judge.judge("names");
        let names = shown(&image, "ls /sub");
        let size = |image: &Path| number_after(&shown(image, "print /sub.i_size"), "i_size = ");
        let before = size(&image);
        undone(&scratch, &image, "expand_dir /sub", |done| {
            assert!(size(&image) > before, "{done}");
            judge.judge("expand_dir");
        });
        if options.contains("noindexed") {
            let refused = change(&image, "rebuild_index /sub").expect_status(1);
            assert!(refused.stderr.contains("has no indexed directories"), "{refused}");
            continue;
        }
        undone(&scratch, &image, "rebuild_index /sub", |done| {
            assert!(done.stdout.contains(&format!(" has {} entries; ", count + 2)), "{done}");
            judge.judge("rebuild_index");
        });
        assert_eq!(shown(&image, "ls /sub"), names, "{options}");
        let index = shown(&image, "htree /sub");
        assert!(!index.contains("no name in this block"), "{index}");
        // Names that are added and removed later find the index in order.
        for command in ["rm /sub/5-nnnnn", "ln /small /sub/new", "write /dev/null /sub/x"] {
            let _ = change(&image, command);
            judge.judge(command);
        }
        // A directory in its inode needs no index.
        if !options.contains("noinline") {
            let refused = change(&image, "rebuild_index /").expect_status(1);
            assert!(refused.stderr.contains("which needs no index"), "{refused}");
        }
    }
}

#[test]
fn names_keep_the_hash_that_an_index_has_for_them() {
    let scratch = Scratch::in_memory();
    let (folder, image) = (scratch.join("folder"), scratch.join("volume.img"));
    fs::create_dir(&folder).unwrap();
    for number in 0..300 {
        fs::write(folder.join(format!("größe-{number}")), "").unwrap();
    }
    // The C fsck knows only this hash.
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "2", "-J"]);
    let mkfs = mkfs.args(["size=4M", "-b", "1024", "--name-hash", "signed", "-d"]);
    mkfs.arg(&folder).arg(&image).arg("64M").success();
    let judge = Judge::new(&image);
    let before = shown(&image, "ls /");
    undone(&scratch, &image, "rebuild_index /", |done| {
        assert!(done.stdout.contains(" has 303 entries; "), "{done}");
        judge.judge("rebuild_index");
    });
    assert_eq!(shown(&image, "ls /"), before);
    let hashes = shown(&image, "dx_hash größe-1");
    assert_eq!(hashes.lines().count(), 2, "{hashes}");
    assert_eq!(shown(&image, "dx_hash plain").lines().count(), 1);
    assert_eq!(shown(&image, "dx_hash -s 0:0:0 plain"), shown(&image, "hash -s 0:0:0x0 plain"));
}

#[test]
fn limits_of_users_and_groups_are_set_and_shown() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, METAECC);
    let judge = Judge::new(&image);
    for (command, says) in [
        ("set_quota user 1000 bhardlimit 10M", "bhardlimit of User 1000 was 0 and is 10485760; "),
        ("set_quota user 0 isoftlimit 77", "isoftlimit of User 0 was 0 and is 77; "),
        ("set_quota group 4294967295 dqb_ihardlimit 0x10", "ihardlimit of Group 4294967295 was 0"),
        ("set_quota user 1000 bhardlimit 0", "bhardlimit of User 1000 was 10485760 and is 0; "),
    ] {
        undone(&scratch, &image, command, |done| {
            assert!(done.stdout.starts_with(says), "{done}");
            judge.judge(command);
        });
    }
    let row = |text: &str, id: &str| -> Vec<String> {
        let rows = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
        rows.into_iter().find(|row: &Vec<_>| row[0] == id).unwrap_or_default()
    };
    let all = shown(&image, "lq user");
    assert_eq!(row(&all, "1000")[1..], ["0", "0", "0", "0", "0", "0"], "{all}");
    assert_eq!(row(&all, "0")[5], "77", "{all}");
    assert_eq!(row(&shown(&image, "gq user 0"), "0"), row(&all, "0"));
    assert_eq!(row(&shown(&image, "lq group"), "4294967295")[6], "16");
    // The usage of the id follows its inodes.
    change(&image, "sif /large uid 1000").expect_status(0);
    assert_eq!(row(&shown(&image, "gq user 1000"), "1000")[4], "1");
    for (command, says) in [
        ("gq user 5", "User 5 has no entry"),
        ("set_quota user 5 curspace 1", "cannot be set: bsoftlimit, "),
        ("set_quota other 5 itime 1", "usage"),
        ("lq", "usage"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
    }
    let plain = volume(&Scratch::in_memory(), "-b 4096 -C 4096");
    assert!(!plain.exists());
    let without = fixture("clean-1k-local");
    Run::new(program("debugfs.ocfs2")).args(["-R", "lq user"]).arg(without).output();
}

#[test]
fn a_journal_is_emptied_and_one_gets_a_transaction_that_a_recovery_replays() {
    let scratch = Scratch::in_memory();
    let (image, local) = (volume(&scratch, METAECC), scratch.join("local"));
    change(&image, "mkdir /first").expect_status(0);
    let judge = Judge::new(&image);
    assert!(shown(&image, "logdump 0").contains("Block 1: "), "{}", shown(&image, "logdump 0"));
    undone(&scratch, &image, "logclear 0", |_| judge.judge("logclear"));
    assert!(!shown(&image, "logdump 0").contains("Block 1: "));
    change(&image, "mkdir /second").expect_status(0);
    judge.judge("after logclear");
    // A transaction that changes the data of a file, and is not yet written to its place.
    let block = number_after(&shown(&image, "blocks /large"), "");
    fs::write(&local, [3; 1500]).unwrap();
    let write = format!("jw 1 <{block}> {}", local.display());
    undone(&scratch, &image, &write, |done| {
        assert!(done.stdout.contains("writes 2 and revokes 0 blocks"), "{done}");
        assert!(shown(&image, "stat -T //journal:0001").contains("Journal Flags: Dirty"));
    });
    let refused = change(&image, "mkdir /third").expect_status(1);
    assert!(refused.stderr.contains("was not unmounted by all nodes"), "{refused}");
    let (fresh, copy) = (scratch.join("before"), scratch.join("after"));
    shown(&image, &format!("dump /large {}", fresh.display()));
    assert_eq!(fs::read(&fresh).unwrap()[..2048], [7; 2048]);
    Run::new(program("fsck.ocfs2")).arg("-p").arg(&image).output().expect_status(1);
    shown(&image, &format!("dump /large {}", copy.display()));
    let bytes = fs::read(&copy).unwrap();
    assert!(bytes[..1500] == [3; 1500] && bytes[1500..2048] == [0; 548] && bytes[2048] == 7);
    judge.judge("a replay");
    // With a transaction in a journal, other changes are refused.
    let lines = format!("{write}\n");
    let run = Run::new(program("debugfs.ocfs2")).args(["-n", "-w"]).arg(&image);
    run.stdin(lines).output().expect_status(0);
    for (command, says) in [
        (write.as_str(), "was not unmounted"),
        ("logclear 1", "has to be replayed: jr or fsck.ocfs2 does it"),
        ("jw 9 <99> /dev/null", "Invalid node slot number"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
    }
}

#[test]
fn fields_of_journals_entries_buckets_and_quota_are_set() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, METAECC);
    let judge = Judge::new(&image);
    undone(&scratch, &image, "set_journal 1 s_errno 0x12345", |done| {
        assert!(done.stdout.contains("s_errno of block "), "{done}");
        assert!(done.stdout.contains(" was 0 and is 74565; 1 block"), "{done}");
    });
    change(&image, "set_journal 1 errno 0").expect_status(0);
    judge.judge("set_journal");
    let refused = change(&image, "set_journal 1 maxlen 99999999").expect_status(1);
    assert!(refused.stderr.contains("--direct sets it nevertheless"), "{refused}");
    // An entry of a directory in its inode, and one of a directory in blocks.
    let entries = shown(&image, "print /");
    assert!(entries.contains("entries[0].name = \".\"\n"), "{entries}");
    let index = entries.lines().find(|line| line.ends_with("= \"small\"")).unwrap();
    let entry = index.split('.').next().unwrap().to_owned();
    undone(&scratch, &image, &format!("set /.{entry}.name SMALL"), |_| {
        assert!(shown(&image, "ls /").contains("SMALL"));
        judge.judge("a name");
    });
    change(&image, &format!("set /.{entry}.name small")).expect_status(0);
    for (field, value, says) in [
        ("rec_len", "3", "--direct sets it nevertheless"),
        ("name", "a/b", "neither zero bytes nor slashes"),
        ("name", "abc", "neither zero bytes nor slashes"),
    ] {
        let refused = change(&image, &format!("set /.{entry}.{field} {value}")).expect_status(1);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    change(&image, "expand_dir /sub").expect_status(0);
    let block = number_after(&shown(&image, "blocks /sub"), "");
    let by_signature = shown(&image, &format!("print <{block}>"));
    assert!(by_signature.contains("entries[2].name = \"inner\"\n"), "{by_signature}");
    assert_eq!(shown(&image, &format!("print -t directory <{block}>")), by_signature);
    let set = format!("set <{block}>.entries[2].file_type 0");
    undone(&scratch, &image, &set, |_| assert_ne!(ours(&image).status, 0));
    change(&image, &format!("set <{block}>.entries[2].file_type 1")).expect_status(0);
    judge.judge("a type");
    // Buckets: many names need them.
    let lines: String = (0..60).map(|at| format!("ea_set /small user.n{at} {at}\n")).collect();
    let run = Run::new(program("debugfs.ocfs2")).args(["-n", "-w"]).arg(&image);
    run.stdin(lines).output().expect_status(0);
    let tree = shown(&image, "print /small.i_xattr_loc");
    let root = number_after(&tree, "i_xattr_loc = ");
    let bucket = number_after(&shown(&image, &format!("print <{root}>.l_recs[0].e_blkno")), "= ");
    let all = shown(&image, &format!("print -t bucket <{bucket}>"));
    let hash = number_after(&all, "xh_entries[0].xe_name_hash = ");
    let set = format!("set -t bucket <{bucket}>.xh_entries[0].xe_name_hash");
    undone(&scratch, &image, &format!("{set} {}", hash ^ 1), |_| {
        assert_ne!(ours(&image).status, 0);
    });
    change(&image, &format!("{set} {hash}")).expect_status(0);
    judge.judge("a bucket");
    // Quota: the leaf with user 0 comes after the blocks of the tree.
    let blocks = shown(&image, "blocks //aquota.user");
    let header = number_after(&blocks, "");
    let info = shown(&image, &format!("print <{header}>"));
    assert!(info.contains("dqi_syncms = 10000"), "{info}");
    change(&image, &format!("set <{header}>.dqi_syncms 20000")).expect_status(0);
    judge.judge("quota info");
    let leaf = number_after(&info, "dqi_free_entry = ");
    let leaf = blocks.split_whitespace().nth(leaf as usize).unwrap();
    let set = format!("set -t quota <{leaf}>.entries[0].dqb_bsoftlimit 4096");
    undone(&scratch, &image, &set, |_| judge.judge("a quota leaf"));
    let row = shown(&image, "gq user 0");
    assert!(row.split_whitespace().any(|word| word == "4096"), "{row}");
}

#[test]
fn damage_by_chance_is_the_same_with_the_same_seed() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, METAECC);
    let before = fs::read(&image).unwrap();
    let mut said = Vec::new();
    for command in [
        "blocktrash -n 5 -s 7",
        "blocktrash -n 5 -s 7",
        "blocktrash -n 5 -s 8",
        "blocktrash -t group -s 1 -c",
        "blocktrash -t inode -n 3",
        "fuzz /small.i_links_count ones",
        "fuzz -n /small.i_size random 5",
        "fuzz /large.l_recs[0].e_blkno firstbit",
    ] {
        undone(&scratch, &image, command, |done| said.push(done.stdout.clone()));
        assert_ne!(ours(&image).status, 0, "{command}");
        fs::write(&image, &before).unwrap();
    }
    assert_eq!(said[0], said[1]);
    assert_ne!(said[0], said[2]);
    assert_eq!((said[0].lines().count(), said[4].lines().count()), (5, 3));
    assert!(said[3].contains("(group) is another one; 1 block changed"), "{}", said[3]);
    assert!(said[5].contains(" was 1 and is 65535 (0xffff)"), "{}", said[5]);
    for (command, says) in [
        ("blocktrash -t other", "is none of superblock, inode, "),
        ("blocktrash -t symlink", "There are no such blocks"),
        ("fuzz /small.i_size other", "is fuzzed by one of zeroes, "),
        ("copy_inode /small /large", "reflink does it, or --direct"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
        assert!(fs::read(&image).unwrap() == before, "{command}");
    }
    undone(&scratch, &image, "copy_inode --direct /small /sub/inner", |_| {
        assert!(shown(&image, "stat /sub/inner").contains("Size: 5"));
    });
}

/// Returns the clean fixtures whose directories have most kinds of indexes.
fn indexed() -> [PathBuf; 3] {
    ["clean-512-local", "clean-1k-local", "clean-4k-o2cb"].map(fixture)
}

#[test]
fn what_linux_made_is_shown_by_the_commands_that_only_look() {
    for image in indexed() {
        let all = shown(&image, "ls -l /");
        assert!(!all.is_empty());
        for command in ["who", "params", "feature", "ffb", "ffi", "testb 0", "verify /", "type /"] {
            assert!(!shown(&image, command).is_empty(), "{command}");
        }
    }
    let scratch = Scratch::new();
    // The index of a directory made by Linux is rebuilt, and the names made by Linux stay.
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let judge = Judge::new(&image);
    let dirs = shown(&image, "ls -l /").lines().count();
    assert!(dirs > 3);
    let before = shown(&image, "ls /");
    for dir in ["/n0", "/n1", "/shared"] {
        let done = change(&image, &format!("rebuild_index {dir}"));
        let is_inline = done.stderr.contains("which needs no index");
        assert!(done.status == 0 || is_inline, "{done}");
        judge.judge(dir);
    }
    assert_eq!(shown(&image, "ls /"), before);
}

#[test]
fn a_file_of_commands_is_done_and_calls_no_other_for_ever() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 4096 -C 4096");
    let (file, endless) = (scratch.join("commands"), scratch.join("endless"));
    fs::write(&file, "# two folders\nsct 2001-02-03T04:05:06Z\nmkdir /a\nsct now\nmkdir /b\n")
        .unwrap();
    change(&image, &format!("source {}", file.display())).expect_status(0);
    assert!(shown(&image, "stat /a").contains("mtime: 0x3a7b8372"), "{}", shown(&image, "stat /a"));
    assert!(!shown(&image, "stat /b").contains("mtime: 0x3a7b8372"));
    fs::write(&endless, format!("source {}\n", endless.display())).unwrap();
    let refused = change(&image, &format!("source {}", endless.display())).expect_status(1);
    assert!(refused.stderr.contains("call each other too deeply"), "{refused}");
    change(&image, "sct yesterday").expect_status(1);
}
