//! Setting fields, and intended damage.

use std::fs;
use std::path::Path;

use ocfs2_testing::{Run, Scratch, oracle, program};

use crate::judge::Judge;
use crate::writing::{change, volume};

const METAECC: &str = "-b 1024 -C 4096 --fs-features=metaecc,usrquota,grpquota";

fn by_c(image: &Path, command: &str) -> Option<String> {
    let c = oracle("debugfs.ocfs2")?;
    Some(Run::new(c).args(["-R", command]).arg(image).env("PAGER", "cat").output().stdout)
}

fn said(image: &Path, command: &str) -> String {
    change(image, command).expect_status(0).stdout
}

#[test]
fn fields_are_set_as_the_c_tool_shows_them_and_the_volume_stays_sound() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, METAECC);
    let judge = Judge::new(&image);
    for (command, says, shown, expected) in [
        ("sif /small mode 0100751", "i_mode of block ", "stat /small", "Mode: 0751"),
        ("sif /small uid 1234", "i_uid of inode ", "stat /small", "User: 1234"),
        ("set_inode_field /small i_gid 99", "i_gid of inode ", "stat /small", "Group: 99"),
        ("sif /sub mtime 0x60000000", "i_mtime of block ", "stat /sub", "mtime: 0x60000000"),
        ("set /large.i_attr 0x80", "i_attr of block ", "stat /large", "Attr: 0x80"),
        ("ssv label \"by hand\"", "s_label of block 2 was ", "stats", "Label: by hand"),
        ("ssv max_mnt_count 7", "s_max_mnt_count of block 2", "stats", "Max Mount Count: 7"),
    ] {
        let text = said(&image, command);
        assert!(text.starts_with(says) && text.contains(" and is "), "{text}");
        judge.judge(command);
        let Some(text) = by_c(&image, shown) else { continue };
        assert!(text.contains(expected), "{command}: {text}");
    }
    let quota = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output();
    assert!(quota.stdout.contains("quota"), "{quota}");
}

#[test]
fn a_field_of_a_record_is_named_by_its_list_and_number() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 4096 -C 4096");
    let show = |what: &str| {
        let run = Run::new(program("debugfs.ocfs2")).args(["-R", what]).arg(&image);
        run.output().expect_status(0).stdout
    };
    let all = show("print /large");
    assert!(all.contains("l_recs[0].e_cpos = 0\n"), "{all}");
    assert!(show("print //global_bitmap").contains("cl_recs[0].c_blkno = "));
    let before = show("print /large.l_recs[0].e_word");
    assert!(said(&image, "set /large.l_recs[0].e_word 1").contains(" was 74 (0x4a) and is 1;"));
    assert_ne!(show("print /large.l_recs[0].e_word"), before);
    // The command does not check other structures; fsck does.
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output().expect_status(4);
    assert!(said(&image, "set /large.l_recs[0].e_word 74").contains("and is 74"));
    Judge::new(&image).judge("as it was");
}

#[test]
fn what_would_no_longer_be_the_structure_is_refused_and_done_where_it_is_meant() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, METAECC);
    let before = fs::read(&image).unwrap();
    for (command, says) in [
        ("set /small.i_blkno 7", "i_blkno is 7, expected"),
        ("sif /small size 0xffffffffffffffff", "that this file can have; --direct sets it"),
        ("sif /large size 0xffffffffffffffff", "that this file can have; --direct sets it"),
        ("sif / size 77", "follows from the contents"),
        ("set /small.i_fs_generation 7", "i_fs_generation is 7"),
        ("set /large.l_next_free_rec 60000", "--direct sets it nevertheless"),
        ("set /small.i_size", "usage"),
        ("set /small i_size", "names no field"),
        ("set /small.i_nothing 1", "has no field 'i_nothing'"),
        ("set /small.i_links_count 65536", "too few for 65536"),
        ("set /small.i_links_count -1", "has no sign"),
        ("set /small.i_links_count many", "is set to a number"),
        ("set /small.i_check 1", "is not one field alone"),
        ("ssv blocksize_bits 9", "only --direct sets it"),
        ("ssv feature_incompat 0", "only --direct sets it"),
        ("ssv label xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "64 bytes"),
        ("set <2>.i_size 1", "only --direct sets it"),
        ("set <999999999>.i_size 1", "Invalid block number"),
        ("zap -o 1020 -l 5 <20>", "is not so long"),
        ("copy_block <20> <999999999>", "Invalid block number"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
        assert!(fs::read(&image).unwrap() == before, "{command}");
    }
    let is_damaged = || {
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output();
        assert_ne!(fsck.status, 0, "{fsck}");
    };
    for command in [
        "set --direct /small.i_blkno 7",
        "set --direct -n /small.i_size 9",
        "set -n /small.i_mtime 9",
        "clri --direct /small",
        "zap -p 0xff /",
        "set --direct <2>.s_max_slots 0",
        "copy_block <20> <21>",
    ] {
        let command = match command {
            // A block is given by its number.
            "zap -p 0xff /" => "zap -p 0xff -o 8 -l 4 <16>",
            command => command,
        };
        let undo = scratch.join("undo");
        let run = Run::new(program("debugfs.ocfs2")).args(["-w", "--undo-file"]).arg(&undo);
        run.args(["-R", command]).arg(&image).output().expect_status(0);
        is_damaged();
        fs::write(&image, &before).unwrap();
        fs::remove_file(&undo).unwrap();
    }
}

#[test]
fn a_check_that_does_not_hold_is_said_and_mended() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, METAECC);
    let judge = Judge::new(&image);
    assert!(said(&image, "crc /small").contains("holds"));
    said(&image, "set -n /small.i_mtime_nsec 5");
    let wrong = change(&image, "crc /small").expect_status(1);
    assert!(wrong.stderr.contains("does not hold"), "{wrong}");
    if let Some(text) = by_c(&image, "stat /small") {
        assert!(text.contains("**FAILED CHECKSUM**"), "{text}");
    }
    assert!(said(&image, "crc -r /small").contains("did not hold and does"));
    judge.judge("crc -r");
}
