//! Features that only our blkid has.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use ocfs2_testing::{Run, Scratch, fixture};
use serde_json::Value;

use crate::images::{make, patch, patched};
use crate::{ours, run};

fn blkid() -> Run {
    Run::new(ours())
}

fn json(path: impl AsRef<OsStr>) -> Value {
    serde_json::from_str(&blkid().args(["-o", "json"]).arg(path).success().stdout).unwrap()
}

#[test]
fn an_ocfs2_volume_is_described_completely() {
    let path = fixture("clean-1m-global");
    let said = blkid().arg("-p").arg(&path).success().stdout;
    for tag in [
        "LABEL=\"kvmstore\"",
        "OCFS2_SLOTS=\"4\"",
        "OCFS2_CLUSTER_STACK=\"o2cb\"",
        "OCFS2_CLUSTER_NAME=\"ovscluster\"",
        "OCFS2_CLUSTER_SIZE=\"1048576\"",
        "OCFS2_VOLUME_SIZE=\"734003200\"",
        "OCFS2_FEATURES=\"sparse extended-slotmap ",
    ] {
        assert!(said.contains(tag), "{tag} is not in {said}");
    }
    let volume = &json(&path)[0];
    assert_eq!(volume["size_bytes"], path.metadata().unwrap().len());
    let contents = &volume["contents"][0];
    assert_eq!(contents["type"], "ocfs2");
    assert_eq!(contents["slots"], 4);
    assert_eq!(contents["block_size"], 4096);
    assert_eq!(contents["cluster_size_bytes"], 1 << 20);
    assert_eq!(contents["cluster_name"], "ovscluster");
    assert_eq!(contents["magic_offset"], 8192);
    let features = contents["features"].as_array().unwrap();
    assert!(features.contains(&Value::from("clusterinfo")), "{features:?}");
    assert_eq!(json(fixture("clean-512-local"))[0]["contents"][0]["cluster_stack"], "local");
}

#[test]
fn partitions_inside_an_image_are_listed_and_can_be_chosen() {
    let scratch = Scratch::new();
    let Some(disk) = make(&scratch, "gpt") else { return };
    let Some(ext2) = make(&scratch, "ext2") else { return };
    patch(&disk, &[(1 << 20, &fs::read(ext2).unwrap())]);
    let said = blkid().current_dir(scratch.path()).arg("gpt.img").success().stdout;
    let lines: Vec<_> = said.lines().collect();
    let uuid = "11111111-2222-3333-4444-555555555555";
    assert_eq!(lines[0], format!("gpt.img: PTUUID=\"{uuid}\" PTTYPE=\"gpt\""));
    assert_eq!(
        lines[1],
        format!(
            "gpt.img#1: LABEL=\"data\" UUID=\"{uuid}\" BLOCK_SIZE=\"1024\" TYPE=\"ext2\" \
             PARTUUID=\"{uuid}\""
        )
    );
    assert!(lines[2].starts_with("gpt.img#2: PARTLABEL=\"da_ta\" PARTUUID=\""), "{said}");

    let run = |arguments: &str| {
        let run = blkid().current_dir(scratch.path()).args(arguments.split_whitespace());
        run.output()
    };
    let one = run("--partition 1 -o value -s TYPE gpt.img").expect_status(0);
    assert_eq!(one.stdout, "ext2\n");
    let low_level = run("-p --partition 1 gpt.img").expect_status(0).stdout;
    assert!(
        low_level.contains("PART_ENTRY_NUMBER=\"1\" PART_ENTRY_OFFSET=\"2048\""),
        "{low_level}"
    );
    assert_eq!(run("-L data gpt.img").expect_status(0).stdout, "gpt.img#1\n");
    assert_eq!(run("-U no-such-uuid gpt.img").expect_status(2).stdout, "");
    let missing = run("--partition 7 gpt.img").expect_status(2);
    assert!(missing.stderr.contains("there is no partition 7, only 1, 2"), "{missing}");

    let document = json(&disk);
    assert_eq!(document[0]["contents"][0]["partitions"][1]["name"], "da_ta");
    assert_eq!(document[1]["partition"], 1);
    assert_eq!(document[1]["contents"][0]["label"], "data");
}

#[test]
fn logical_partitions_are_those_of_sfdisk() {
    let scratch = Scratch::new();
    let Some(disk) = make(&scratch, "mbr") else { return };
    let Some(sfdisk) = ocfs2_testing::oracle("sfdisk") else { return };
    let theirs = Run::new(sfdisk).args(["-J"]).arg(&disk).success().stdout;
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    let theirs = theirs["partitiontable"]["partitions"].as_array().unwrap().clone();
    let ours = json(&disk);
    let ours = ours[0]["contents"][0]["partitions"].as_array().unwrap().clone();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours["start_bytes"], theirs["start"].as_u64().unwrap() * 512);
        assert_eq!(ours["size_bytes"], theirs["size"].as_u64().unwrap() * 512);
        let kind = format!("0x{}", theirs["type"].as_str().unwrap());
        assert_eq!(ours["type"], kind);
    }
}

#[test]
fn an_ocfs1_volume_is_recognised_where_it_has_its_header() {
    let scratch = Scratch::new();
    let image = patched(
        &scratch,
        "ocfs1",
        16 << 20,
        &[(0, b"\x03\0\0\0\x02\0\0\0OracleCFS"), (560, b"old"), (624, b"\x03\0")],
    );
    let said = blkid().current_dir(scratch.path()).arg("-p").arg("ocfs1.img").success().stdout;
    assert_eq!(
        said,
        "ocfs1.img: LABEL=\"old\" VERSION=\"2.3\" TYPE=\"ocfs\" USAGE=\"filesystem\"\n"
    );
    assert_eq!(json(&image)[0]["contents"][0]["description"], "OCFS1 volume, label \"old\"");
}

#[test]
fn what_can_not_be_opened_is_named() {
    let scratch = Scratch::new();
    let said = blkid().current_dir(scratch.path()).arg("missing.img").output().expect_status(2);
    assert_eq!(said.stderr, "blkid-ocfs2: missing.img: no such file or directory\n");
    // Depends on the devices of this machine: without -v there is no complaint about any of them.
    let said = blkid().output();
    assert_eq!(said.stderr, "");
    assert!([0, 2].contains(&said.status), "{said}");
}

#[test]
fn ambiguous_contents_are_all_named() {
    let scratch = Scratch::new();
    patched(&scratch, "two", 4 << 20, &[(1080, b"\x53\xef"), (32, b"ORCLDISK")]);
    let said = blkid().current_dir(scratch.path()).args(["-p", "two.img"]).output();
    let said = said.expect_status(8);
    assert!(said.stderr.contains("ambivalent result: ext2 file system; Oracle ASM disk"), "{said}");
    assert_eq!(json(scratch.join("two.img"))[0]["ambivalent"], true);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let scratch = Scratch::new();
    // More output than a pipe holds.
    let label = vec![(1080_u64, b"\x53\xef".as_slice()), (1144, b"label")];
    patched(&scratch, "ext2", 4 << 20, &label);
    let mut child = Command::new(ours())
        .args(["ext2.img"; 5000])
        .current_dir(scratch.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn the_types_that_are_known_are_listed() {
    let said = run(&ours(), "/".as_ref(), &["-k".as_ref()]);
    let types = String::from_utf8(said.stdout).unwrap();
    for name in ["ocfs2", "ocfs", "ext4", "linux_raid_member", "crypto_LUKS", "gpt"] {
        assert!(types.lines().any(|line| line == name), "{name} is not in {types}");
    }
}

#[test]
fn every_type_that_util_linux_knows_is_known() {
    let Some(theirs) = ocfs2_testing::oracle("blkid") else { return };
    let types = |program: &std::path::Path| {
        let said = run(program, "/".as_ref(), &["-k".as_ref()]);
        String::from_utf8(said.stdout).unwrap()
    };
    let (ours, theirs) = (types(&ours()), types(&theirs));
    let missing: Vec<_> =
        theirs.lines().filter(|name| !ours.lines().any(|line| line == *name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {ours}");
}

#[test]
fn what_is_only_told_by_its_signature_is_named_and_not_overwritten() {
    const SIZE: u64 = 64 << 20;
    let scratch = Scratch::new();
    for (name, at, magic) in [
        ("ceph_bluestore", 0, &b"bluestore block device\n"[..]),
        ("vdo", 0, b"dmvdo001"),
        ("DM_snapshot_cow", 0, b"SnAp"),
        ("ReFS", 0, b"\0\0\0ReFS\0"),
        ("swsuspend", 4086, b"S1SUSPEND"),
        ("isw_raid_member", SIZE - 1024, b"Intel Raid ISM Cfg Sig. 1.2.01"),
        ("ddf_raid_member", SIZE - 512, b"\xde\x11\xde\x11"),
        ("ufs", 8192 + 1372, b"\x54\x19\x01\x00"),
        ("ubifs", 0, b"\x31\x18\x10\x06"),
        ("apfs", 32, b"NXSB"),
        ("zonefs", 0, b"SFOZ"),
        ("stratis", 516, b"!Stra0tis\x86\xff\x02^\x41rh"),
        // Not known to util-linux, but found next to OCFS2 on the same SAN.
        ("sbd", 0, b"SBD_SBD_"),
        ("oracleasm", 0, b"\x01\x82\x01\x01"),
    ] {
        let image = patched(&scratch, name, SIZE, &[(at, magic)]);
        let kind = blkid().args(["-o", "value", "-s", "TYPE"]).arg(&image).success().stdout;
        assert_eq!(kind.trim_end(), name);
        let before = fs::read(&image).unwrap();
        let mkfs = Run::new(ocfs2_testing::program("mkfs.ocfs2")).args(["-M", "local"]);
        let refused = mkfs.arg(&image).output().expect_status(1);
        assert!(refused.stderr.contains("it holds: "), "{name}: {refused}");
        assert!(fs::read(&image).unwrap() == before, "{name}");
        fs::remove_file(image).unwrap();
    }
}
