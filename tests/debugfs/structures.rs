//! Every structure other than inodes, and the volume as a whole.

use std::collections::BTreeSet;
use std::path::Path;

use ocfs2_format::dinode::{Arm, DynFeatures};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::{Blkno, Structure};
use ocfs2_testing::damage::Image;
use ocfs2_testing::{Random, Run, Scratch, program};
use ocfs2_volume::Volume;
use ocfs2_volume::tree::Tree;

use crate::compare::{Said, assert_same, run};
use crate::inodes::{inodes, mended, volume};

/// Blocks by the command that shows them.
#[derive(Default)]
struct Blocks {
    groups: BTreeSet<Blkno>,
    extents: BTreeSet<Blkno>,
    roots: BTreeSet<Blkno>,
    leaves: BTreeSet<Blkno>,
    refcounts: BTreeSet<Blkno>,
    data: BTreeSet<Blkno>,
}

impl Blocks {
    fn of(volume: &Volume) -> Self {
        let mut blocks = Self::default();
        for inode in inodes(volume) {
            if inode.dinode.arm() == Arm::ExtentList {
                let mut extents = volume.tree(&inode).unwrap().extents();
                blocks.data.extend(extents.by_ref().map(|extent| extent.unwrap().blkno));
                blocks.extents.extend(extents.extent_blocks());
            }
            if inode.dinode.arm() == Arm::Chain {
                let bitmap = volume.global_bitmap().unwrap();
                let allocator = match inode.blkno == bitmap.inode.blkno {
                    true => bitmap,
                    false => volume.allocator(inode.clone()).unwrap(),
                };
                blocks.groups.extend(volume.groups(&allocator).map(|group| group.unwrap().blkno));
            }
            if inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR) {
                blocks.index(volume, inode.dinode.i_dx_root);
            }
            if inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT) {
                blocks.refcount(volume, inode.dinode.i_refcount_loc);
            }
        }
        blocks
    }

    fn index(&mut self, volume: &Volume, root: Blkno) {
        self.roots.insert(root);
        let block = volume.read_block(root).unwrap();
        if DxRoot::decode(&block).unwrap().is_inline() {
            return;
        }
        let tree = Tree::new(volume, root, &DxRoot::extents(&block).unwrap()).unwrap();
        self.leaves.extend(tree.extents().map(|extent| extent.unwrap().blkno));
    }

    fn refcount(&mut self, volume: &Volume, root: Blkno) {
        self.refcounts.insert(root);
        let block = volume.read_block(root).unwrap();
        if !RefcountBlock::decode(&block).unwrap().is_tree() {
            return;
        }
        let list = RefcountBlock::extents(&block).unwrap();
        let tree = Tree::of_blocks(volume, root, &list).unwrap();
        self.refcounts.extend(tree.extents().map(|extent| extent.unwrap().blkno));
    }

    fn commands(&self) -> Vec<String> {
        let all = [
            ("group", &self.groups),
            ("grpextents", &self.groups),
            ("extent", &self.extents),
            ("dx_root", &self.roots),
            ("dx_leaf", &self.leaves),
            ("refcount", &self.refcounts),
            ("refcount -e", &self.refcounts),
        ];
        let command = |(name, blocks): (&str, &BTreeSet<Blkno>)| -> Vec<String> {
            blocks.iter().map(|blkno| format!("{name} <{blkno}>")).collect()
        };
        all.into_iter().flat_map(command).collect()
    }

    /// Returns some of each kind, for commands that examine the whole volume.
    fn some(&self) -> Vec<Blkno> {
        let all = [&self.groups, &self.extents, &self.roots, &self.refcounts, &self.data];
        let some = |blocks: &BTreeSet<Blkno>| -> Vec<Blkno> {
            let step = (blocks.len() / 6).max(1);
            let near = |blkno: &Blkno| [*blkno, Blkno(blkno.0 + 1)];
            blocks.iter().step_by(step).flat_map(near).collect()
        };
        all.into_iter().flat_map(some).collect()
    }
}

/// Returns commands that `locate` and `decode` a tenth of all inodes.
fn names(volume: &Volume) -> Vec<String> {
    let numbers: Vec<_> = inodes(volume).iter().map(|inode| inode.blkno).collect();
    let some: Vec<_> = numbers.iter().step_by(10).map(|number| format!("<{number}>")).collect();
    let lines = some.chunks(40).map(|some| some.join(" "));
    lines.flat_map(|line| [format!("locate {line}"), format!("decode {line}")]).collect()
}

/// Compares the output of both tools for every structure.
pub fn compare(image: &Path) {
    let volume = volume(image);
    let blocks = Blocks::of(&volume);
    let mut commands = blocks.commands();
    commands.extend(names(&volume));
    for name in ["stats", "stats -h", "stat_sysdir", "slotmap", "hb", "curdev", "ls //", "ls"] {
        commands.push(name.to_owned());
    }
    commands.extend((0..volume.max_slots()).map(|slot| format!("logdump {slot}")));
    let Some(said) = run(image, &commands) else { return };
    assert_eq!(said.len(), commands.len(), "the C tool ended early");
    for said in &said {
        let is_list = said.command.starts_with("locate");
        let ours = if is_list { said.ours.replace("\\t", "\t") } else { said.ours.clone() };
        // Both list the names of an inode in the order of the walk.
        assert_same(image, &said.command, &ours, &mended(said));
    }
    owners(image, &blocks);
}

#[test]
fn a_number_that_is_no_block_is_said_and_the_others_are_answered() {
    let image = ocfs2_testing::fixture("clean-4k-o2cb");
    let run = Run::new(program("debugfs.ocfs2")).args(["-R", "icheck 5 99999999 x 6"]).arg(image);
    let done = run.output().expect_status(1);
    assert_eq!(done.stdout.lines().count(), 3, "{done}");
    assert!(done.stderr.contains("Invalid block number - 99999999"), "{done}");
    assert!(done.stderr.contains("Invalid block number - x"), "{done}");
}

/// Compares `icheck`, which aborts the C tool on some volumes.
fn owners(image: &Path, blocks: &Blocks) {
    let some = blocks.some();
    let lines = some.chunks(40).map(|some| {
        let words: Vec<_> = some.iter().map(ToString::to_string).collect();
        format!("icheck 0 1 2 {}", words.join(" "))
    });
    let Some(said) = run(image, &lines.collect::<Vec<_>>()) else { return };
    let metadata = [&blocks.groups, &blocks.extents, &blocks.roots, &blocks.refcounts];
    for line in said.iter().flat_map(|said| said.ours.lines()).filter(|it| it.contains("Unknown")) {
        let blkno = Blkno(line.split_whitespace().next().unwrap().parse().unwrap());
        assert!(!metadata.iter().any(|blocks| blocks.contains(&blkno)), "{line}");
    }
    let whole = |said: &&Said| said.c.lines().count() == said.ours.lines().count();
    for said in said.iter().filter(whole) {
        for (ours, c) in said.ours.lines().zip(said.c.lines()) {
            // Ours may know the owner where the C tool does not.
            if !c.contains("Unknown") {
                assert_eq!(ours, c, "{}: {}", image.display(), said.command);
            }
        }
    }
}

#[test]
fn every_field_of_a_superblock_is_shown_as_by_the_c_tool() {
    let scratch = Scratch::in_memory();
    let image = Image::open(ocfs2_testing::fixture_copy("crashed-512-local", &scratch), scratch);
    let mut commands = Vec::new();
    let path = image.path().to_owned();
    for round in 0..6_u32 {
        image.edit_superblocks(|_, sb| {
            sb.s_mnt_count = 7 * round as u16;
            sb.s_max_mnt_count = 1 << round;
            sb.s_state = round as u16 & 1;
            sb.s_errors = round as u16;
            sb.s_checkinterval = 86_400 * round;
            sb.s_lastcheck = u64::from(round) << 30;
            sb.s_creator_os = round;
            sb.s_tunefs_flag = round as u16 & 3;
            sb.s_uuid_hash = round.wrapping_mul(0x1234_5678);
            sb.s_dx_seed = [round, 1 << (5 * round), u32::MAX - round];
            sb.s_label = [b'a' + round as u8; 64];
            sb.s_cluster_info.ci_stackflags = round as u8 & 1;
            let wanted = [0x8, 0x4018, 0x4090, 0x0, 0xbf58, 0x4080][round as usize];
            sb.s_feature_incompat = sb.s_feature_incompat & !0x4098 | wanted;
            sb.s_feature_compat = round & 3;
            sb.s_feature_ro_compat = round & 7;
            sb.s_cluster_info.ci_stack = if round < 3 { *b"o2cb" } else { *b"pcmk" };
            sb.s_cluster_info.ci_cluster[..4].copy_from_slice(b"abc\0");
        });
        commands = vec!["stats".to_owned(), "stats -h".to_owned()];
        let Some(said) = run(&path, &commands) else { return };
        for said in &said {
            assert!(said.ours.lines().count() >= 20, "{}", said.ours);
            assert_same(&path, &said.command, &said.ours, &said.c);
        }
    }
    assert_eq!(commands.len(), 2);
}

/// Returns the places of the fields of a block that may hold any value.
fn places(block: &[u8]) -> &'static [std::ops::Range<usize>] {
    match block.get(..8).unwrap() {
        // Not mode, link count, flags and features, nor the upper half of times.
        b"INODE01\0" => &[
            0x08..0x10,
            0x14..0x28,
            0x30..0x34,
            0x38..0x3c,
            0x40..0x44,
            0x48..0x4c,
            0x58..0x76,
            0x80..0x88,
            0x90..0xa8,
            0xb8..0xc0,
        ],
        b"EXBLK01\0" => &[0x08..0x2c, 0x40..0x1f0],
        b"GROUP01\0" => &[0x0e..0x18, 0x20..0x30],
        b"DXDIR01\0" => &[0x08..0x2c, 0x2d..0xc0],
        b"DXLEAF1\0" => &[0x08..0x28, 0x30..0x1f0],
        b"REFCNT1\0" => &[0x08..0x34, 0x38..0x80],
        _ => &[],
    }
}

#[test]
fn any_values_are_shown_as_by_the_c_tool() {
    let scratch = Scratch::in_memory();
    let image = Image::open(ocfs2_testing::fixture_copy("clean-1k-local", &scratch), scratch);
    let blocks = Blocks::of(image.volume());
    let mut random = Random(1);
    let all = inodes(image.volume());
    let some: Vec<_> = (0..60).map(|_| random.of(&all).blkno).collect();
    let last =
        |blocks: &BTreeSet<Blkno>| -> Vec<Blkno> { blocks.iter().copied().take(3).collect() };
    let mut commands = Vec::new();
    for (command, blocks) in [
        ("stat -T", some),
        ("extent", last(&blocks.extents)),
        ("group", last(&blocks.groups)),
        ("dx_root", last(&blocks.roots)),
        ("dx_leaf", last(&blocks.leaves)),
        ("refcount", last(&blocks.refcounts)),
    ] {
        for blkno in blocks {
            for place in places(&image.read(blkno)) {
                let value = match random.below(3) {
                    0 => random.bytes(place.len()),
                    fill => vec![[0, 0xff][fill - 1]; place.len()],
                };
                image.edit_raw(blkno, |block| block[place.clone()].copy_from_slice(&value));
            }
            commands.push(format!("{command} <{blkno}>"));
        }
    }
    let path = image.path().to_owned();
    let Some(said) = run(&path, &commands) else { return };
    assert_eq!(said.len(), commands.len());
    for said in &said {
        let is_mode = |line: &&str| !line.starts_with("\tInode: ");
        let of = |text: &str| text.lines().filter(is_mode).collect::<Vec<_>>().join("\n");
        assert!(!said.ours.is_empty(), "{}", said.command);
        assert_same(&path, &said.command, &of(&said.ours), &of(&mended(said)));
    }
}

#[test]
fn a_check_that_does_not_hold_is_shown_as_by_the_c_tool() {
    let scratch = Scratch::in_memory();
    let image = Image::open(ocfs2_testing::fixture_copy("crashed-512-local", &scratch), scratch);
    let root = image.inode("/").blkno;
    let group = image.volume().global_bitmap().unwrap().chains[0].c_blkno;
    let path = image.path().to_owned();
    for offset in [0x44, 0x80, 0x85, 0x1f0] {
        image.edit_raw(root, |block| block[offset] ^= 0x11);
        image.edit_raw(group, |block| block[offset] ^= 0x01);
        let commands = [format!("stat <{root}>"), format!("group <{group}>")];
        let Some(said) = run(&path, &commands) else { return };
        assert!(said[0].ours.contains("**FAILED CHECKSUM**"), "{}", said[0].ours);
        for said in &said {
            assert_same(&path, &said.command, &said.ours, &said.c);
        }
    }
}
