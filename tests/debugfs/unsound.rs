//! Volumes that were not unmounted, and damaged ones: what may be changed, and what helps.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_testing::{Outcome, Run, Scratch, fixture_copy, program};

use crate::judge::Judge;
use crate::writing::{change, volume};

fn session(image: &Path, lines: &str) -> Outcome {
    Run::new(program("debugfs.ocfs2")).args(["-n", "-w"]).arg(image).stdin(lines).output()
}

fn shown(image: &Path, command: &str) -> String {
    let run = Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(image);
    run.output().expect_status(0).stdout
}

#[test]
fn a_volume_that_was_not_unmounted_is_changed_after_a_recovery_that_can_be_undone() {
    for name in ["crashed-512-local", "crashed-1k-o2cb"] {
        let scratch = Scratch::in_memory();
        let image = fixture_copy(name, &scratch);
        let (before, undo) = (fs::read(&image).unwrap(), scratch.join("undo"));
        let refused = change(&image, "mkdir /new").expect_status(1);
        assert!(refused.stderr.contains("was not unmounted by all nodes"), "{refused}");
        assert!(refused.stderr.contains("jr does it, or fsck.ocfs2"), "{refused}");
        assert!(fs::read(&image).unwrap() == before);
        let live = shown(&image, "logdump -s 0");
        let replayed = Run::new(program("debugfs.ocfs2")).arg("-w").arg("--undo-file").arg(&undo);
        let replayed = replayed.args(["-R", "jr"]).arg(&image).output().expect_status(0);
        assert!(replayed.stdout.contains("slot 0: "), "{replayed}");
        let number = |text: &str| {
            let words: Vec<_> = text.split_whitespace().collect();
            let at = words.iter().position(|word| word.starts_with("transaction")).unwrap();
            words[at - 1].to_owned()
        };
        let end = live.lines().find(|line| line.contains("A replay brings")).unwrap();
        assert_eq!(number(end), number(replayed.stdout.lines().next().unwrap()), "{replayed}");
        // As after `fsck.ocfs2`: nothing is left of the crash.
        let judge = Judge::new(&image);
        change(&image, "mkdir /new").expect_status(0);
        judge.judge("a directory after a recovery");
        let after = change(&image, "jr").expect_status(0);
        assert_eq!(after.stdout, "No journal has to be replayed\n");
        fs::write(&image, &before).unwrap();
        let again = scratch.join("again");
        let run = Run::new(program("debugfs.ocfs2")).arg("-w").arg("--undo-file").arg(&again);
        run.args(["-R", "jr"]).arg(&image).output().expect_status(0);
        let put_back = format!("--undo={}", again.display());
        Run::new(program("fsck.ocfs2")).arg(put_back).arg(&image).output().expect_status(0);
        assert!(fs::read(&image).unwrap() == before, "{name}");
    }
}

#[test]
fn transactions_are_left_in_a_journal_and_replayed() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 1024 -C 4096 --fs-features=metaecc");
    let judge = Judge::new(&image);
    let (before, local) = (fs::read(&image).unwrap(), scratch.join("local"));
    fs::write(&local, [9; 2000]).unwrap();
    let block: u64 =
        shown(&image, "blocks /large").split_whitespace().next().unwrap().parse().unwrap();
    let lines = format!(
        "jo 1\nmkdir /no\nlogclear 1\njr\njo 0\njw <{block}> {0}\njw -b <60000> {0}\njw -r <60000>\njc\njc\n\
         jw <{block}> {0}\nmkdir /no\n",
        local.display()
    );
    let done = session(&image, &lines).expect_status(1);
    let said: Vec<_> = done.stderr.lines().collect();
    assert!(said.len() == 7 && said[..4].iter().all(|it| it.contains("jc closes it")), "{done}");
    assert!(said[4].contains("No journal is open") && said[5].starts_with("usage: jw"), "{done}");
    assert!(said[6].contains("have to be replayed"), "{done}");
    assert!(done.stdout.contains("is closed and has 3 transactions"), "{done}");
    let live = shown(&image, "logdump -s 1");
    assert_eq!(live.matches("  committed by block ").count(), 3, "{live}");
    assert!(live.contains(&format!("of {block} ")) && live.contains("revokes 60000"), "{live}");
    let copies = shown(&image, "logdump -b 60000 1");
    assert!(copies.contains("revoked by block ") && copies.contains("\t2 versions of"), "{copies}");
    change(&image, "jr").expect_status(0);
    judge.judge("a replay");
    let bytes = fs::read(&image).unwrap();
    let at = block as usize * 1024;
    assert!(bytes[at..at + 2000] == [9; 2000] && bytes[at + 2000..at + 2048] == [0; 48]);
    // What a later transaction revoked stays as it was.
    assert!(bytes[60_000 * 1024..60_001 * 1024] == before[60_000 * 1024..60_001 * 1024]);
}

#[test]
fn what_a_journal_has_of_a_block_is_what_was_written() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 1024 -C 4096 --fs-features=metaecc");
    change(&image, "sif /small mtime 12345").expect_status(0);
    let now = shown(&image, "print /small");
    let inode = shown(&image, "print /small.i_blkno");
    let number = inode.split_whitespace().nth(2).unwrap().to_owned();
    let copies = shown(&image, &format!("logdump -b <{number}> 0"));
    assert!(
        copies.contains("   dinode\n") && copies.contains("i_mtime = 12345 (0x3039)"),
        "{copies}"
    );
    for line in now.lines() {
        assert!(copies.contains(&format!("\t  {line}\n")), "{line}: {copies}");
    }
    for (command, said) in [
        ("logdump -b <1> 0", "Invalid block number"),
        ("logdump -s", "usage"),
        ("logdump -b 9", "usage"),
        ("logdump -s 99", "Invalid node slot number"),
    ] {
        let failed = change(&image, command).expect_status(1);
        assert!(failed.stderr.contains(said), "{failed}");
    }
}

#[test]
fn of_a_damaged_volume_is_said_what_helps_and_damage_can_be_mended_by_hand() {
    let open = |image: &Path, options: &[&str], command: &str| {
        let run = Run::new(program("debugfs.ocfs2")).arg("-w").args(options).args(["-R", command]);
        run.arg(image).output()
    };
    let (journal, slot_map, allocator) = ("26", "9", "22");
    for (block, offset, says) in [
        ("2", 4000, "fsck.ocfs2 mends the superblock, and -c opens"),
        (journal, 0, "-c opens it nevertheless"),
        (slot_map, 0, "-c opens it nevertheless"),
    ] {
        let scratch = Scratch::in_memory();
        let image = fixture_copy("clean-4k-o2cb", &scratch);
        let judge = Judge::new(&image);
        // Two bits: one alone is corrected.
        for bit in [0, 9] {
            let zap = format!("zap -o {offset} -b {bit} <{block}>");
            open(&image, &["-c"], &zap).expect_status(0);
        }
        let refused = open(&image, &[], "mkdir /new").expect_status(1);
        assert!(
            refused.stderr.contains(says) && refused.stderr.contains("fsck.ocfs2"),
            "{refused}"
        );
        let refused = open(&image, &["-c"], "mkdir /new").expect_status(1);
        assert!(refused.stderr.contains("checksum is "), "{refused}");
        for bit in [0, 9] {
            let zap = format!("zap -o {offset} -b {bit} <{block}>");
            open(&image, &["-c"], &zap).expect_status(0);
        }
        open(&image, &[], "mkdir /new").expect_status(0);
        judge.judge("what was mended by hand");
    }
    let scratch = Scratch::in_memory();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    open(&image, &[], &format!("zap <{allocator}>")).expect_status(0);
    let refused = open(&image, &[], "mkdir /new").expect_status(1);
    assert!(refused.stderr.ends_with("; fsck.ocfs2 -f checks the volume\n"), "{refused}");
}

#[test]
fn whoever_is_asked_for_the_fields_of_an_inode_changes_what_is_answered() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 1024 -C 4096 --fs-features=metaecc,usrquota,grpquota");
    let judge = Judge::new(&image);
    let before = shown(&image, "gq user 0");
    let done = session(&image, "mi /large\n0100604\n7\n\n").expect_status(0);
    let (mode, uid) = ("i_mode was 33188 (0x81a4) and is 33156 (0x8184)", "i_uid was 0 and is 7");
    assert!(done.stdout.contains(mode) && done.stdout.contains(uid), "{done}");
    judge.judge("an owner and a mode");
    assert_ne!(shown(&image, "gq user 0"), before);
    let all = fs::read(&image).unwrap();
    for (answers, says) in [
        ("040700\n", "i_mode would be that of another type of file"),
        ("x\n", "i_mode is set to a number"),
        ("\n9999999999\n", "i_uid has 4 bytes"),
    ] {
        let refused = session(&image, &format!("mi /large\n{answers}")).expect_status(1);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    let nothing = session(&image, "mi /large\n\n").expect_status(0);
    assert!(nothing.stdout.contains("is to be changed\n"), "{nothing}");
    assert!(fs::read(&image).unwrap() == all);
    let refused = change(&image, "sif /large mode 0600").expect_status(1);
    assert!(refused.stderr.contains("0100600 keeps the type"), "{refused}");
    change(&image, "sif /large mode 0100600").expect_status(0);
    judge.judge("a mode");
}

#[test]
fn a_tree_is_gone_through_and_changed() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 1024 -C 4096 --fs-features=metaecc");
    let judge = Judge::new(&image);
    let local = scratch.join("local");
    fs::write(&local, vec![7; 20 * 4096]).unwrap();
    session(&image, &format!("write {} /f\n", local.display())).expect_status(0);
    let free: u64 = shown(&image, "ffb 3 10000").split(' ').nth(3).unwrap().parse().unwrap();
    let answers = format!(
        "all\ndelete 4 2\nall\ninsert 4 2 <{}> unwritten\ngoto 5\nset written\nset unwritten\n\
         goto 0\nup\nnext\nnext\nnext\nnext\ndown\ninsert 0 1 <{}>\ninsert 30 1 <64>\ninsert 30 1 <{}>\n\
         delete 90\nfoo\nec\n",
        free * 4,
        free * 4 + 8,
        free * 4 + 1,
    );
    let done = session(&image, &format!("eo /f\n{answers}ls /\n")).expect_status(1);
    judge.judge("a tree that was changed");
    assert!(done.stdout.contains("the range of clusters 4 to 5: a hole; "), "{done}");
    assert!(done.stdout.contains("2 clusters from 4 on are in block "), "{done}");
    for says in [
        "This is the root",
        "There is no such record in this list",
        "There is nothing below",
        "an extent at 0 is there already",
        "begins clusters that are not all free",
        "does not begin a cluster",
        "is not all before the end of the file",
        "root, up, down",
    ] {
        assert!(done.stderr.contains(says), "{says}: {done}");
    }
    // The line after the end of the answers is a command again.
    assert!(done.stdout.contains("lost+found"), "{done}");
    let copy = scratch.join("copy");
    shown(&image, &format!("dump /f {}", copy.display()));
    let bytes = fs::read(&copy).unwrap();
    let holes = 4 * 4096..6 * 4096;
    for (at, byte) in bytes.iter().enumerate() {
        assert_eq!(*byte, if holes.contains(&at) { 0 } else { 7 }, "{at}");
    }
    let refused = session(&image, "eo /sub\ndelete 0\n").expect_status(1);
    assert!(refused.stderr.contains("extent"), "{refused}");
}

#[test]
fn who_has_a_cluster_and_how_room_is_in_pieces() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 4096 -C 4096");
    session(&image, "reflink /large /copy\n").expect_status(0);
    let block = shown(&image, "blocks /large").split_whitespace().next().unwrap().to_owned();
    let text = shown(&image, &format!("refcount -o {block}"));
    assert!(text.contains("counts 2 references") && text.contains(": 2 found\n"), "{text}");
    assert_eq!(text.matches(" shared\n").count(), 2, "{text}");
    let free = shown(&image, "freefrag");
    let bitmap = shown(&image, "stat -T //global_bitmap");
    let count = bitmap.split("Free: ").nth(1).unwrap().trim();
    assert!(free.contains(&format!("Free: {count} (")), "{free}{bitmap}");
    let sum: u64 = free
        .lines()
        .filter_map(|line| line.strip_prefix('\t')?.split_whitespace().nth(4)?.parse::<u64>().ok())
        .sum();
    assert_eq!(sum.to_string(), count, "{free}");
    change(&image, "freefrag -c 3").expect_status(1);
    assert!(shown(&image, "freefrag -c 4096").contains("Chunks of 4096 KiB: "));
}

#[test]
fn a_field_of_a_group_or_a_record_is_set_as_set_does_it() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 1024 -C 4096 --fs-features=metaecc");
    session(&image, "reflink /large /copy\nea_set /small user.a red\n").expect_status(0);
    let before = fs::read(&image).unwrap();
    let word = |text: String, at: usize| text.split_whitespace().nth(at).unwrap().to_owned();
    let group = word(shown(&image, "imap /small"), 7);
    let tree = word(shown(&image, "print /large.i_refcount_loc"), 2);
    for (command, field) in [
        (format!("set_group <{group}> free_bits_count 7"), "bg_free_bits_count = 7"),
        ("set_extent /large 0 blkno 40000".to_owned(), "l_recs[0].e_blkno = 40000 (0x9c40)"),
        (format!("set_refcount <{tree}> 0 refcount 9"), "rl_recs[0].r_refcount = 9"),
        ("set_xattr_field /small 0 name_hash 7".to_owned(), "xh_entries[0].xe_name_hash = 7"),
    ] {
        let place = command.split(' ').nth(1).unwrap();
        change(&image, &command).expect_status(0);
        let text = shown(&image, &format!("print {place}"));
        assert!(text.lines().any(|line| line == field), "{command}: {text}");
        // The check of the block is that of what it holds now; the volume is wrong.
        assert!(shown(&image, &format!("crc {place}")).ends_with(" holds\n"));
        let check = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output();
        assert_ne!(check.status, 0, "{command}");
        fs::write(&image, &before).unwrap();
    }
    for (command, says) in [
        (format!("set_group <{group}> bits 7").as_str(), "--direct sets it nevertheless"),
        ("set_group <5> bits 7", "Bad magic number in group descriptor"),
        ("set_extent /large 99 blkno 7", "has no field 'l_recs[99].e_blkno'"),
        ("set_extent /large 0 blkno", "usage: set_extent"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    assert!(fs::read(&image).unwrap() == before);
}

/// Each block of `/names` in turn, as zeros and as garbage.
#[test]
fn names_that_a_damaged_directory_lacks_are_not_missing_in_silence() {
    for (name, dir, block_size) in
        [("clean-512-local", "/names", 512), ("clean-4k-o2cb", "/n0", 4096)]
    {
        let scratch = Scratch::in_memory();
        let image = fixture_copy(name, &scratch);
        let show = |command: &str| {
            Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(&image).output()
        };
        let listed = show(&format!("blocks {dir}")).expect_status(0).stdout;
        let block: u64 = listed.split_whitespace().next().unwrap().parse().unwrap();
        let whole = show(&format!("ls {dir}")).expect_status(0).stdout.lines().count();
        let file = File::options().write(true).open(&image).unwrap();
        for bytes in [vec![0; block_size], vec![0xa5; block_size]] {
            file.write_all_at(&bytes, block * block_size as u64).unwrap();
            let said = format!("Bad entry in directory block {block} at byte 0");
            let list = show(&format!("ls {dir}")).expect_status(1);
            assert!(list.stderr.contains(&said) && list.stdout.lines().count() < whole, "{list}");
            let to = scratch.join("to");
            fs::create_dir_all(&to).unwrap();
            let copied = show(&format!("rdump {dir} {}", to.display())).expect_status(1);
            assert!(copied.stderr.contains(&said), "{copied}");
            assert!(
                copied.stderr.contains("the copy is not complete: 1 file incomplete"),
                "{copied}"
            );
            fs::remove_dir_all(&to).unwrap();
            let tar = show(&format!("rdump --tar {dir} {}", scratch.join("tar").display()));
            assert!(tar.expect_status(1).stderr.contains(&said));
            fs::remove_file(scratch.join("tar")).unwrap();
            let lost = show(&format!("stat {dir}/no-such-name")).expect_status(1);
            assert!(lost.stderr.contains(&said), "{lost}");
            let json =
                Run::new(program("debugfs.ocfs2")).args(["--json", "-R", &format!("ls {dir}")]);
            let json = json.arg(&image).output().expect_status(1);
            assert!(json.stdout.contains(&said), "{json}");
            let path = show("findpath <2>").expect_status(1);
            assert!(path.stderr.contains("1 directory is damaged"), "{path}");
        }
    }
}
