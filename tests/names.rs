//! The hashes of names with bytes from 0x80 on, of files and of attributes; and the number of
//! attributes in a bucket. `kernel/names.rs` tests that the kernel finds them.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::hash::{CharSign, dx_hash, xattr_hash};
use ocfs2_format::xattr::bucket_entries;
use ocfs2_fsck::Signs;
use ocfs2_testing::{Outcome, Run, Scratch, c_fsck_run, oracle, program};
use ocfs2_volume::{Inode, Volume, VolumeOptions};

/// A volume on an image, made from an archive.
struct Made {
    scratch: Scratch,
}

fn name(number: usize) -> String {
    format!("größe-日本-{number}")
}

/// Returns an archive with folders of `names` UTF-8 names each, and with a file of `attributes`
/// attributes.
fn archive(folders: &[(&str, usize)], attributes: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut member = |name: &str, attributes: usize| {
        let value = "red".to_owned();
        let keys = (0..attributes).map(|number| format!("SCHILY.xattr.user.größe-{number}"));
        let keys: Vec<_> = keys.collect();
        let extensions = keys.iter().map(|key| (key.as_str(), value.as_bytes()));
        builder.append_pax_extensions(extensions).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(9);
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
    };
    for (folder, names) in folders {
        for number in 0..*names {
            member(&format!("{folder}/{}", name(number)), 0);
        }
    }
    member("attributes", attributes);
    builder.into_inner().unwrap()
}

impl Made {
    fn new(options: &str, archive: &[u8]) -> Self {
        let made = Self { scratch: Scratch::new() };
        fs::write(made.scratch.join("files.tar"), archive).unwrap();
        Run::new(program("mkfs.ocfs2"))
            .current_dir(made.scratch.path())
            .args(["-q", "-M", "local", "-d", "files.tar"])
            .args(options.split_whitespace())
            .args(["disk.img", "64M"])
            .success();
        made
    }

    fn image(&self) -> PathBuf {
        self.scratch.join("disk.img")
    }

    fn volume(&self) -> Volume {
        let device = open(&self.image(), &DeviceOptions::default()).unwrap();
        Volume::open(device, &VolumeOptions::default()).unwrap()
    }

    fn fsck(&self, options: &str) -> Outcome {
        let fsck = Run::new(program("fsck.ocfs2")).args(options.split_whitespace());
        fsck.arg(self.image()).output()
    }

    /// Returns the lines with codes that the C fsck prints; none if it is not installed.
    fn c_findings(&self) -> Vec<String> {
        let Some(fsck) = oracle("fsck.ocfs2") else { return Vec::new() };
        let found = c_fsck_run(&fsck, "-fn", &self.image());
        let lines = found.stdout.lines().filter(|line| line.starts_with('['));
        // The system directory has no index.
        lines.filter(|it| !it.starts_with("[DX_TREE_MISSING]")).map(str::to_owned).collect()
    }

    fn find(&self, name: &str) -> Inode {
        let volume = self.volume();
        let entry = volume.lookup(&volume.root().unwrap(), name.as_bytes()).unwrap().unwrap();
        volume.inode(entry.inode).unwrap()
    }

    /// Returns the number of attributes in each bucket, and how many of all have the hash of
    /// `sign`.
    fn buckets(&self, sign: CharSign) -> (Vec<usize>, usize) {
        let volume = self.volume();
        let seed = volume.superblock().s_uuid_hash;
        let inode = self.find("attributes");
        let mut counts = BTreeMap::<u64, usize>::new();
        let mut of_sign = 0;
        for attribute in volume.xattrs(&inode) {
            let attribute = attribute.unwrap();
            assert_eq!(attribute.size(), 3);
            *counts.entry(attribute.blkno.0).or_default() += 1;
            let name = attribute.name.strip_prefix(b"user.").unwrap();
            of_sign += usize::from(xattr_hash(name, seed, sign) == attribute.entry.xe_name_hash);
        }
        (counts.into_values().collect(), of_sign)
    }
}

impl Made {
    /// Returns the counts of hashes in the `--json` report of a check, of directories and of
    /// attributes.
    fn hashes(&self) -> [Signs; 2] {
        let outcome = self.fsck("-fn --json").expect_status(0);
        let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let of = |kind: &str| {
            let count = |sign: &str| json["summary"]["name_hashes"][kind][sign].as_u64().unwrap();
            Signs { signed: count("signed"), unsigned: count("unsigned") }
        };
        let notes = json["notes"].as_array().unwrap();
        let has_note = notes.iter().any(|it| it.as_str().unwrap().starts_with("NOTE: "));
        let found = ["names", "attributes"].map(of);
        assert_eq!(has_note, found.iter().any(|signs| signs.signed > 0), "{json}");
        found
    }

    /// Changes the root of the index of a folder.
    fn edit_index(&self, folder: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let volume = self.volume();
        let root = self.find(folder).dinode.i_dx_root;
        let mut block = volume.read_block(root).unwrap();
        change(&mut block);
        let offset = root.offset_bytes(volume.block_size()).unwrap();
        let image = fs::File::options().write(true).open(self.image()).unwrap();
        image.write_all_at(&block, offset).unwrap();
    }
}

const fn signs(signed: u64, unsigned: u64) -> Signs {
    Signs { signed, unsigned }
}

/// Returns counts with only one sign.
fn of(sign: CharSign, count: u64) -> Signs {
    match sign {
        CharSign::Signed => signs(count, 0),
        CharSign::Unsigned => signs(0, count),
    }
}

#[test]
fn an_index_that_is_built_follows_what_the_volume_shows() {
    let archive_of = |folders| archive(folders, 0);
    let both = archive_of(&[("many", 300), ("other", 60)]);
    let alone = archive_of(&[("many", 300)]);
    for sign in CharSign::ALL {
        let options = format!("-b 512 --name-hash {sign}");
        // First the root is lost while its clusters and another folder exist; then nothing is left.
        let wrong_signature = |block: &mut Vec<u8>| block[3] ^= 1;
        let nothing_left = |block: &mut Vec<u8>| block.fill(0);
        let made = Made::new(&options, &both);
        assert_eq!(made.hashes()[0], of(sign, 360));
        made.edit_index("many", nothing_left);
        made.fsck("-fy").expect_status(1);
        assert_eq!(made.hashes()[0], of(sign, 360), "by another folder");

        let made = Made::new(&options, &alone);
        made.edit_index("many", wrong_signature);
        made.fsck("-fy").expect_status(1);
        assert_eq!(made.hashes()[0], of(sign, 300), "by the old index");

        let made = Made::new(&options, &alone);
        made.edit_index("many", nothing_left);
        made.fsck("-fy").expect_status(1);
        assert_eq!(made.hashes()[0], signs(0, 300), "without evidence");
    }
}

#[test]
fn both_hashes_in_one_folder_are_right() {
    // All entries are in the root of the index.
    let made = Made::new("-b 512 --name-hash signed", &archive(&[("many", 12)], 0));
    let seed = made.volume().superblock().s_dx_seed;
    let words = CharSign::ALL.map(|sign| {
        let hash = dx_hash(name(7).as_bytes(), seed, sign);
        [hash.major.to_le_bytes(), hash.minor.to_le_bytes()].concat()
    });
    made.edit_index("many", |block| {
        let at = block.windows(8).position(|bytes| bytes == words[0]).unwrap();
        block[at..at + 8].copy_from_slice(&words[1]);
    });
    assert_eq!(made.hashes()[0], signs(11, 1));
    let outcome = made.fsck("-fn").expect_status(0);
    let note = "NOTE: ";
    let line = outcome.stdout.lines().find(|line| line.starts_with(note)).unwrap();
    assert!(line.contains(": 11 names with bytes from 0x80 on"), "{outcome}");
}

#[test]
fn all_names_are_hashed_alike_when_that_is_asked_for() {
    let made = Made::new("-b 512 --name-hash signed", &archive(&[("many", 300), ("few", 12)], 150));
    assert_eq!(made.hashes(), [signs(312, 0), signs(150, 0)]);
    made.fsck("-fyD --name-hash unsigned").expect_status(1);
    assert_eq!(made.hashes(), [signs(0, 312), signs(0, 150)]);
    assert_eq!(made.buckets(CharSign::Unsigned).1, 150);
    made.fsck("-fyD --name-hash unsigned").expect_status(0);
    made.fsck("-fyD --name-hash signed").expect_status(1);
    assert_eq!(made.hashes(), [signs(312, 0), signs(150, 0)]);
    assert_eq!(made.c_findings(), [""; 0]);
    let alone = made.fsck("-fy --name-hash signed").expect_status(16);
    assert!(alone.stderr.contains("-D"), "{alone}");
}

#[test]
fn no_bucket_has_more_attributes_than_its_first_block_holds() {
    for (block_size, counts) in [("512", [32, 60, 150]), ("1K", [60, 100, 150]), ("2K", [100; 3])] {
        for count in counts {
            let made =
                Made::new(&format!("-b {block_size} --name-hash signed"), &archive(&[], count));
            let most = bucket_entries(made.volume().block_size());
            let (buckets, _) = made.buckets(CharSign::Signed);
            let is_full = buckets.iter().any(|entries| *entries > most);
            assert!(!is_full && buckets.iter().sum::<usize>() == count, "{buckets:?} {block_size}");
            made.fsck("-fn").expect_status(0);
            assert_eq!(made.c_findings(), [""; 0], "{block_size}, {count} attributes");
        }
    }
}

#[test]
fn names_of_files_and_attributes_are_hashed_as_it_was_asked_for() {
    let archive = archive(&[("many", 300)], 150);
    let count = |found: &[String], code: &str| {
        found.iter().filter(|line| line.starts_with(&format!("[{code}]"))).count()
    };
    let unsigned = Made::new("-b 512", &archive);
    assert_eq!(unsigned.buckets(CharSign::Unsigned).1, 150);
    // The C fsck knows only signed bytes.
    if oracle("fsck.ocfs2").is_some() {
        let found = unsigned.c_findings();
        // If it looks for a name in the wrong leaf, it may by chance of the seed take it for a
        // missing one, and then counts a link too few.
        let follows = ["INODE_NOT_CONNECTED", "INODE_COUNT"].map(|code| count(&found, code));
        let counts = ["DX_LOOKUP_FAILED", "XATTR_HASH_INVALID"].map(|code| count(&found, code));
        assert!(counts[0] > 100 && counts[1] == 150, "{found:#?}");
        assert_eq!(counts.iter().chain(&follows).sum::<usize>(), found.len(), "{found:#?}");
    }
    let signed = Made::new("-b 512 --name-hash signed", &archive);
    assert_eq!(signed.buckets(CharSign::Signed).1, 150);
    assert_eq!(signed.c_findings(), [""; 0]);
    for made in [&unsigned, &signed] {
        made.fsck("-fn").expect_status(0);
    }
}
