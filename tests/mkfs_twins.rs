//! Our volumes and those of the C tool, made with the same options and UUID: judged by the C fsck,
//! and compared block by block.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::Structure;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::superblock::SuperBlock;
use ocfs2_mkfs::{Cli, Facts, Plan, Random, WriteOptions, resolve};
use ocfs2_testing::compare::{Comparison, compare};
use ocfs2_testing::{Run, Scratch, c_fsck_run, oracle, program, skip};

const UUID: &str = "2a4d1c58-1faa-42a1-a41d-26efc90c1315";

/// The C tools that are used as judges.
struct Judges {
    mkfs: PathBuf,
    fsck: PathBuf,
    debugfs: PathBuf,
}

impl Judges {
    /// `None`, with a message, if they are not installed.
    fn find() -> Option<Self> {
        let mkfs = oracle("mkfs.ocfs2")?;
        Some(Self { mkfs, fsck: oracle("fsck.ocfs2")?, debugfs: oracle("debugfs.ocfs2")? })
    }

    /// Returns the codes of what fsck finds, sorted and without duplicates.
    fn complaints(&self, image: &Path) -> Vec<String> {
        let checked = if image.metadata().unwrap().len() < 64 << 30 {
            c_fsck_run(&self.fsck, "-fn", image)
        } else {
            let whole = Run::new(&self.fsck).arg("-fn").arg(image);
            whole.timeout(Duration::from_secs(300)).output()
        };
        let code = |line: &str| Some(line.trim().strip_prefix('[')?.split_once(']')?.0.to_owned());
        let mut codes: Vec<_> = checked.stdout.lines().filter_map(code).collect();
        codes.sort_unstable();
        codes.dedup();
        let finished = checked.stdout.contains("All passes succeeded");
        assert!(checked.status == 0 && finished, "{checked}");
        assert!(!codes.is_empty() || !checked.stdout.contains('?'), "{checked}");
        codes
    }

    /// Returns what debugfs prints about a volume, without random numbers, times and block checks.
    fn described(&self, image: &Path, command: &str) -> String {
        let printed = Run::new(&self.debugfs).args(["-R", command]).arg(image).success();
        let mut text = String::new();
        for line in printed.stdout.lines() {
            let random = ["Generation", "DX Seeds", "CRC32", "time:", "Last Check"];
            let line = if random.iter().any(|word| line.contains(word)) {
                line.split(':').next().unwrap().to_owned()
            } else if command.starts_with("ls") {
                // Inode, mode, links, owner, group, size, date, time, name.
                let words: Vec<_> = line.split_whitespace().collect();
                [&words[..6], &words[8..]].concat().join(" ")
            } else {
                line.to_owned()
            };
            text += &line;
            text.push('\n');
        }
        text
    }
}

/// Options that both programs understand, and the size and place of the volumes.
struct Twins<'a> {
    judges: &'a Judges,
    options: Vec<&'a str>,
    size: u64,
    scratch: &'a Scratch,
}

/// Wrong complaints of the C fsck: K-4 and K-5 of the format reference. It has them about volumes
/// made by the C mkfs as well.
const FALSE_COMPLAINTS: [&str; 2] = ["DX_TREE_MISSING", "QMAGIC_INVALID"];

impl Twins<'_> {
    /// Makes both volumes, and demands that they are the same.
    fn check(&self) {
        let (ours, theirs) = (self.make_ours(), self.make_theirs());
        let name = format!("{} bytes, {}", self.size, self.options.join(" "));
        let judges = self.judges;
        let heartbeat_device = self.options.contains(&"-H");
        // fsck rejects heartbeat devices.
        let complaints = if heartbeat_device { Vec::new() } else { judges.complaints(&ours) };
        if !complaints.is_empty() {
            let known = judges.complaints(&theirs);
            for complaint in &complaints {
                let false_one = FALSE_COMPLAINTS.contains(&complaint.as_str());
                assert!(false_one && known.contains(complaint), "{name}: fsck: {complaint}");
            }
        }
        for command in ["stats", "ls -l //"] {
            // The system directory of a heartbeat device is inline, without the feature, and
            // debugfs cannot list it.
            if heartbeat_device && command != "stats" {
                continue;
            }
            let (one, other) =
                (judges.described(&ours, command), judges.described(&theirs, command));
            assert_eq!(one, other, "{name}: debugfs {command}");
        }
        same(&name, compare(&ours, &theirs));
        fs::remove_file(&ours).unwrap();
        // Once more with the random numbers and the time of the C tool: now everything that depends
        // on them, such as hashes and block checks, has to be the same too.
        let copy = self.make_copy(&theirs);
        let exact = compare(&copy, &theirs);
        println!("{name}: {} blocks, {} with undefined bytes or times", exact.blocks, exact.masked);
        same(&format!("{name}, with the same random numbers"), exact);
        fs::remove_file(&copy).unwrap();
        fs::remove_file(&theirs).unwrap();
    }

    fn make_ours(&self) -> PathBuf {
        let image = self.scratch.join("ours.img");
        let size = format!("{}b", self.size);
        Run::new(program("mkfs.ocfs2"))
            .args(["-U", UUID, "-q"])
            .args(&self.options)
            .arg(&image)
            .arg(size)
            .success();
        image
    }

    fn make_theirs(&self) -> PathBuf {
        let image = self.scratch.image("theirs.img", self.size);
        // -F: no cluster runs here, so the options cannot agree with one.
        Run::new(&self.judges.mkfs)
            .args(["-F", "-x", "-U", UUID])
            .args(&self.options)
            .arg(&image)
            .timeout(Duration::from_secs(300))
            .success();
        image
    }

    /// Plans the layout without running the program.
    fn plan(&self, sector_size: u32, time: u64, random: Random) -> anyhow::Result<Plan> {
        let words = ["mkfs.ocfs2", "-U", UUID];
        let cli = Cli::try_parse_from(words.iter().chain(&self.options).copied().chain(["image"]))?;
        let (running, on_disk) = (None, None);
        let facts = Facts { size_bytes: self.size, sector_size, running, on_disk, time, random };
        Ok(Plan::new(&resolve(&cli.options()?, &facts)?)?)
    }

    /// Makes a volume with the random numbers and the time of `theirs`.
    fn make_copy(&self, theirs: &Path) -> PathBuf {
        let device = open(theirs, &DeviceOptions::default()).unwrap();
        let found = [512, 1024, 2048, 4096].into_iter().find_map(|size| {
            let mut block = vec![0; size];
            device.read_at(&mut block, 2 * size as u64).unwrap();
            let superblock = SuperBlock::of_block(&block).unwrap();
            let found = block.starts_with(b"OCFSV2") && 1 << superblock.s_blocksize_bits == size;
            found.then(|| (Dinode::decode(&block).unwrap(), superblock))
        });
        let (dinode, superblock) = found.unwrap();
        let random = Random {
            uuid: superblock.uuid(),
            generation: dinode.i_fs_generation,
            dx_seed: superblock.s_dx_seed,
        };
        let plan = self.plan(512, dinode.i_ctime, random).unwrap();
        let image = self.scratch.image("copy.img", self.size);
        let device = open(&image, &DeviceOptions { write: true, ..Default::default() }).unwrap();
        plan.write(&device, WriteOptions { discard: true }, &mut |_| Ok(())).unwrap();
        image
    }
}

#[track_caller]
fn same(name: &str, comparison: Comparison) {
    let differences: Vec<_> = comparison.differences.iter().map(ToString::to_string).collect();
    assert!(comparison.blocks > 5, "{name}: only {} blocks compared", comparison.blocks);
    assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
}

/// Checks the rows, each a size and options, one after the other.
fn check(rows: &[(&str, &str)]) {
    let Some(judges) = Judges::find() else { return };
    let scratch = Scratch::new();
    for (size, options) in rows {
        let options = options.split_whitespace().collect();
        let size = ocfs2_cli::parse_size(size).unwrap();
        Twins { judges: &judges, options, size, scratch: &scratch }.check();
    }
}

#[test]
fn volumes_with_blocks_of_512_bytes_are_those_of_the_c_mkfs() {
    check(&[
        ("16M", "-b 512 -C 4K -J size=4M"),
        ("40M", "-b 512 -C 8K -J size=4M -N 3"),
        ("60M", "-b 512 -C 16K -J size=4M --fs-features=metaecc"),
        ("80M", "-b 512 -C 32K -J size=4M --fs-features=noinline-data"),
        ("130M", "-b 512 -C 64K"),
        ("100M", "-b 512 -C 128K -J size=4M --fs-feature-level=max-features -N 4"),
        ("120M", "-b 512 -C 256K -J size=5M -M local"),
        ("150M", "-b 512 -C 512K -J size=5M -N 2"),
        ("200M", "-b 512 -C 1M -N 2"),
    ]);
}

#[test]
fn volumes_with_blocks_of_1_kib_are_those_of_the_c_mkfs() {
    check(&[
        ("10M", "-b 1K -C 4K -N 1"),
        ("41943040", ""),
        ("64M", "-b 1K -C 8K -N 5 --fs-features=metaecc,noinline-data"),
        ("64M", "-b 1K -C 16K -N 3 --fs-features=usrquota"),
        ("64M", "-b 1K -C 32K --fs-features=noindexed-dirs,noinline-data"),
        ("90M", "-b 1K -C 64K -J size=6M -L label"),
        ("90M", "-b 1K -C 128K -J size=4M --fs-features=grpquota,metaecc"),
        ("100M", "-b 1K -C 256K -J size=4M --fs-feature-level=max-compat"),
        ("150M", "-b 1K -C 512K -J size=5M"),
        ("200M", "-b 1K -C 1M -N 3"),
    ]);
}

#[test]
fn volumes_with_blocks_of_2_kib_are_those_of_the_c_mkfs() {
    check(&[
        ("20M", "-b 2K -C 4K"),
        ("64M", "-b 2K -C 8K --fs-features=nobackup-super,noxattr"),
        ("64M", "-b 2K -C 16K -J size=4M --fs-feature-level=max-features"),
        ("64M", "-b 2K -C 32K -J size=4M,block64"),
        ("90M", "-b 2K -C 64K -J size=4M -N 6 --fs-features=noextended-slotmap"),
        ("100M", "-b 2K -C 128K -J size=4M"),
        ("120M", "-b 2K -C 256K -J size=4M --fs-features=noinline-data,metaecc -N 3"),
        ("150M", "-b 2K -C 512K -J size=5M"),
        ("200M", "-b 2K -C 1M -N 2 --fs-feature-level=max-features"),
    ]);
}

#[test]
fn volumes_with_blocks_of_4_kib_are_those_of_the_c_mkfs() {
    check(&[
        ("16M", "-b 4K -C 4K"),
        ("64M", "-b 4K -C 8K --fs-features=metaecc"),
        ("64M", "-b 4K -C 16K --fs-features=usrquota,grpquota"),
        ("64M", "-b 4K -C 32K -N 4 -J size=4M"),
        ("64M", "-b 4K -C 64K --fs-features=noinline-data,metaecc,usrquota,noindexed-dirs"),
        ("100M", "-b 4K -C 128K"),
        ("100M", "-b 4K -C 256K -J size=4M"),
        ("150M", "-b 4K -C 512K -J size=5M -N 3"),
        ("200M", "-b 4K -C 1M -N 2"),
    ]);
}

#[test]
fn volumes_with_any_features_are_those_of_the_c_mkfs() {
    check(&[
        ("64M", "-J size=4M -N 2 --fs-feature-level=max-compat"),
        ("64M", "-J size=4M -N 2 --fs-feature-level=max-features"),
        ("64M", "-J size=4M -N 2 --fs-features=nosparse"),
        ("64M", "-J size=4M -N 2 --fs-features=nounwritten"),
        ("64M", "-J size=4M -N 2 --fs-features=norefcount,noappend-dio"),
        ("64M", "-J size=4M -N 2 --fs-features=nodiscontig-bg,metaecc"),
        ("64M", "-J size=4M -N 2 --fs-features=noextended-slotmap,noindexed-dirs"),
        ("64M", "-J size=4M -N 2 --fs-features=noxattr,noindexed-dirs"),
        ("64M", "-J size=4M --fs-features=local,metaecc"),
        ("64M", "-J size=4M -M local --fs-feature-level=max-features"),
        ("64M", "-J size=4M -N 2 --cluster-stack=o2cb --cluster-name=web"),
        ("64M", "-J size=4M -N 2 --cluster-stack=o2cb --cluster-name=web --global-heartbeat"),
        ("64M", "-J size=4M -N 2 --cluster-stack=pcmk --cluster-name=a-cluster"),
        (
            "64M",
            "-J size=4M -N 2 --cluster-stack=pcmk --cluster-name=abcdefghijklmnop \
             --fs-features=clusterinfo,metaecc",
        ),
        (
            "64M",
            "-J size=4M -N 2 --cluster-stack=cman --cluster-name=c --fs-feature-level=max-compat",
        ),
        // K-4: the C mkfs leaves a stale header in the quota files.
        ("64M", "-J size=4M -N 2 --fs-features=noinline-data,usrquota,grpquota"),
        ("64M", "-J size=4M,block64 -N 2 --fs-features=metaecc,noinline-data,noxattr"),
    ]);
}

#[test]
fn volumes_with_any_number_of_slots_are_those_of_the_c_mkfs() {
    check(&[
        ("64M", "-b 4K -J size=4M -N 1"),
        ("64M", "-b 4K -J size=4M -N 8"),
        ("80M", "-b 4K -J size=4M -N 9 --fs-features=metaecc"),
        ("200M", "-b 512 -J size=4M -N 20"),
        ("300M", "-b 1K -C 8K -J size=4M -N 33 --fs-features=usrquota,metaecc"),
        ("600M", "-b 2K -J size=4M -N 100"),
        ("1500M", "-b 4K -J size=4M -N 255"),
        ("1500M", "-b 512 -C 16K -J size=4M -N 255 --fs-features=noinline-data"),
    ]);
}

#[test]
fn volumes_of_any_size_and_purpose_are_those_of_the_c_mkfs() {
    check(&[
        ("1073741824", "-J size=4M"),
        ("4293562368", "-N 4 -L /OVS -J size=4M"),
        ("5G", "-J size=4M -T mail -N 3"),
        ("5G", "-J size=4M -T datafiles -N 3"),
        ("5G", "-J size=4M -T vmstore -N 3"),
        ("17179869184", "-b 1K -C 4K -J size=4M -N 2 --fs-features=metaecc"),
        ("67108863", "-b 512 -J size=4M"),
        ("314574847", "-b 1K -J size=4M"),
        ("5368713216", "-J size=4M --fs-features=nobackup-super"),
        ("100M", "-H"),
        ("100M", "-H -b 1K"),
        ("100M", "-H -M local"),
        ("100M", "-H -C 64K"),
    ]);
}

#[test]
fn large_volumes_are_those_of_the_c_mkfs() {
    check(&[
        // Chains of two groups, and of more than two.
        ("107374182400", "-J size=4M -N 2 -b 2K"),
        ("214748364800", "-J size=4M -N 2 -b 1K -C 16K --fs-features=metaecc"),
        ("700G", "-J size=4M -N 2"),
    ]);
}

/// The smallest volume of each block size: with one cluster less, neither program has room.
#[test]
fn the_smallest_volumes_are_as_small_as_those_of_the_c_mkfs() {
    let Some(judges) = Judges::find() else { return };
    let scratch = Scratch::new();
    for options in ["-b 512 -J size=4M -N 1", "-b 1K -N 1", "-b 2K", "-b 4K", "-b 4K -C 64K -N 1"] {
        let options: Vec<_> = options.split(' ').collect();
        let cluster = if options.contains(&"64K") { 65536 } else { 4096 };
        let twins = |clusters: u64| Twins {
            judges: &judges,
            options: options.clone(),
            size: clusters * cluster,
            scratch: &scratch,
        };
        let (mut too_small, mut enough) = (1, (64 << 20) / cluster);
        while enough - too_small > 1 {
            let middle = (too_small + enough) / 2;
            match twins(middle).plan(512, 0, Random::from_seed(0)) {
                Ok(_) => enough = middle,
                Err(_) => too_small = middle,
            }
        }
        println!("{options:?}: {} bytes", enough * cluster);
        twins(enough).check();
        let image = scratch.image("small.img", too_small * cluster);
        let theirs = Run::new(&judges.mkfs).args(["-F", "-x"]).args(&options).arg(&image).output();
        assert_eq!(theirs.status, 1, "the C mkfs has room: {theirs}");
        fs::remove_file(image).unwrap();
    }
}

/// The largest size that most file systems support. The C mkfs takes minutes for it.
#[test]
#[ignore = "takes minutes; cargo xtask test --all runs it"]
fn the_largest_volumes_are_those_of_the_c_mkfs() {
    check(&[("15T", "-J size=9M -N 2 -T vmstore"), ("8T", "-J size=4M -N 2")]);
}

/// A folder in memory can hold a file that is too large for most file systems.
#[test]
fn a_sparse_volume_of_20_tib_is_clean() {
    let Some(judges) = Judges::find() else { return };
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        return skip("there is no /dev/shm here");
    };
    let image = folder.path().join("large.img");
    File::create_new(&image).unwrap().set_len(20 << 40).unwrap();
    Run::new(program("mkfs.ocfs2")).args(["-q", "-N", "4"]).arg(&image).success();
    assert_eq!(judges.complaints(&image), [""; 0]);
}
