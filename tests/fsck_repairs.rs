//! fsck.ocfs2 -fy repairs every damage that has a recipe in one run: neither ours nor the C
//! fsck.ocfs2 finds anything afterwards, and as little as possible is lost.
//!
//! `OCFS2_RECIPE=EB_` in the environment runs only the recipes whose code or name contains that.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs};

use ocfs2_cli::Interrupt;
use ocfs2_device::{Device, DeviceOptions, OverlayDevice, open};
use ocfs2_format::dinode::{Arm, FileKind, InodeFlags};
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::xattr::{BUCKET_SIZE, XattrArea, XattrBlock, XattrTreeRoot};
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Structure};
use ocfs2_fsck::Options;
use ocfs2_fsck::plan::plan;
use ocfs2_testing::damage::{
    Base, Files, Image, Recipe, all, c_fsck, complaints, demand_none, edit_list, judge_all, recipes,
};
use ocfs2_testing::{Outcome, Run, oracle, program};
use ocfs2_tests::Yes;
use ocfs2_volume::{Inode, Volume, VolumeOptions};

/// Codes that cannot be repaired, and why.
const NOT_REPAIRED: &[(&str, &str)] = &[
    ("RECOVER_CLUSTER_INFO", "is about the cluster that runs here"),
    ("DEVICE_SHORT", "no repair makes a device longer"),
];

/// Codes for which more counts as lost than with the C fsck, and why.
const EXCUSED: &[(&str, &str)] = &[(
    "DUP_CLUSTERS_TWICE",
    "it leaves the wrong clusters in both places, which have the same contents here, and crashes \
     the next time; we leave a hole, and say so",
)];

fn fsck(options: &str, image: &Path) -> Outcome {
    let limited = "ulimit -v 4000000; exec timeout 120 \"$0\" \"$1\" \"$2\"";
    Run::new("sh").args(["-c", limited]).arg(program("fsck.ocfs2")).arg(options).arg(image).output()
}

/// Returns the lines that begin with a code.
fn findings(outcome: &Outcome) -> String {
    let lines = outcome.stdout.lines().filter(|line| line.starts_with('['));
    lines.take(12).collect::<Vec<_>>().join("\n    ")
}

/// Losses by recipe: ours, and those of the C fsck.
type Losses = Mutex<BTreeMap<&'static str, (Vec<String>, Theirs)>>;

/// How the C fsck repairs the same damage.
#[derive(Debug)]
enum Theirs {
    /// It is not installed.
    Unknown,
    /// It gives up, or finds something wrong after its repair.
    NotRepaired,
    /// This number of files and attributes is not as before.
    Lost(usize),
}

/// Returns what is lost if the C fsck repairs it.
fn theirs(recipe: &Recipe, before: &Files) -> Theirs {
    if oracle("fsck.ocfs2").is_none() {
        return Theirs::Unknown;
    }
    let image = recipe.image();
    c_fsck(image.path(), "-fy");
    let known = complaints(recipe.on, "-fn");
    let again = c_fsck(image.path(), "-fn");
    if !again.codes_beyond(&known).is_empty() || !again.finished && known.finished {
        return Theirs::NotRepaired;
    }
    let always = lost_without_damage(recipe.on, before);
    let lost = all_lost(before, image.path());
    Theirs::Lost(lost.iter().filter(|name| !always.contains(name)).count())
}

/// Returns what the C fsck loses of a sound volume: it truncates files with preallocated clusters
/// after their end.
fn lost_without_damage(base: Base, before: &Files) -> Arc<Vec<String>> {
    static KNOWN: Mutex<Option<HashMap<Base, Arc<Vec<String>>>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = known.get_or_insert_default().entry(base).or_insert_with(|| {
        let image = base.image();
        c_fsck(image.path(), "-fy");
        Arc::new(all_lost(before, image.path()))
    });
    Arc::clone(lost)
}

/// Returns the files and attributes that are not as before.
fn all_lost(before: &Files, image: &Path) -> Vec<String> {
    let after = Files::of(image);
    let mut lost = before.lost(&after);
    lost.extend(before.lost_attributes(&after));
    lost
}

/// Returns the contents of a sound volume.
fn files_of(base: Base) -> Arc<Files> {
    static KNOWN: Mutex<Option<HashMap<Base, Arc<Files>>>> = Mutex::new(None);
    let known =
        |it: &mut Option<HashMap<Base, Arc<Files>>>| it.get_or_insert_default().get(&base).cloned();
    if let Some(files) = known(&mut KNOWN.lock().unwrap()) {
        return files;
    }
    let files = Arc::new(Files::of(base.image().path()));
    KNOWN.lock().unwrap().get_or_insert_default().insert(base, Arc::clone(&files));
    files
}

fn is_repaired(recipe: &Recipe, losses: &Losses) -> Result<(), String> {
    let before = files_of(recipe.on);
    let image: Image = recipe.image();
    let options = if recipe.options() == "-fnG" { "-fyG" } else { "-fy" };
    let repaired = fsck(options, image.path());
    if repaired.status != 1 {
        let (status, findings) = (repaired.status, findings(&repaired));
        let stderr = &repaired.stderr;
        let notes = repaired.stdout.lines().filter(|line| line.contains("is left:"));
        let notes: Vec<_> = notes.take(6).collect();
        let notes = notes.join("\n    ");
        return Err(format!("{options} gives {status}\n    {findings}\n    {notes}\n    {stderr}"));
    }
    let again = fsck("-fn", image.path());
    if again.status != 0 {
        return Err(format!("-fn gives {} afterwards\n    {}", again.status, findings(&again)));
    }
    if oracle("fsck.ocfs2").is_some() {
        let theirs = c_fsck(image.path(), "-fn");
        let codes = theirs.codes_beyond(&complaints(recipe.on, "-fn"));
        if !codes.is_empty() || !theirs.finished && complaints(recipe.on, "-fn").finished {
            let questions = theirs.questions.iter().take(8).cloned().collect::<Vec<_>>();
            let (status, text) = (theirs.status, questions.join("\n    "));
            return Err(format!("the C fsck, status {status}, finds {codes:?}\n    {text}"));
        }
    }
    let lost = all_lost(&before, image.path());
    if lost.is_empty() {
        return Ok(());
    }
    let theirs = theirs(recipe, &before);
    if let Theirs::Lost(count) = theirs
        && count < lost.len()
        && EXCUSED.iter().all(|(code, _)| *code != recipe.code)
    {
        return Err(format!("the C fsck loses {count}, we lose {lost:?}"));
    }
    let mut losses = losses.lock().unwrap_or_else(PoisonError::into_inner);
    losses.insert(recipe.name, (lost, theirs));
    Ok(())
}

#[test]
fn all_damage_is_mended_in_one_run_and_what_is_lost_is_listed() {
    let mut recipes = recipes();
    recipes.retain(|recipe| NOT_REPAIRED.iter().all(|(code, _)| *code != recipe.code));
    let losses = Losses::default();
    let wrong = judge_all(&recipes, |recipe| is_repaired(recipe, &losses));
    let losses = losses.into_inner().unwrap();
    if env::var_os("OCFS2_UPDATE").is_none() || recipes.len() < all().len() / 2 {
        demand_none(&wrong, recipes.len());
    }
    if recipes.len() < all().len() / 2 {
        println!("{losses:#?}");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fsck_losses.md");
    let expected = listed(&losses);
    if env::var_os("OCFS2_UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), expected, "see OCFS2_UPDATE=1");
}

#[test]
fn claims_that_are_too_many_to_be_compared_at_once_take_more_rounds() {
    let image = Base::Fixture("clean-1k-local").image();
    let volume = image.volume();
    let dir = volume.resolve(b"/sizes").unwrap();
    let entries = volume.entries(&dir).unwrap().map(Result::unwrap);
    let inodes = entries.map(|entry| volume.inode(entry.inode).unwrap());
    let has_one = |it: &Inode| it.kind() == Some(FileKind::Regular) && it.dinode.i_clusters == 1;
    let files: Vec<Inode> = inodes.filter(has_one).collect();
    let pairs = files.chunks_exact(2);
    assert!(pairs.len() >= 3, "{} files of one cluster", files.len());
    for pair in pairs {
        let first = image.first_record(&pair[0]).e_blkno;
        image.edit_dinode(pair[1].blkno, |_, id2| {
            edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                records[0] = ExtentRec { e_blkno: first, ..records[0] };
            });
        });
    }
    let repaired = |most_claims| {
        let device = open(image.path(), &DeviceOptions::default()).unwrap();
        let changes: Arc<dyn Device> = Arc::new(OverlayDevice::new(device, 512));
        let open = || Volume::open(Arc::clone(&changes), &VolumeOptions::default());
        let options = Options { threads: 1, most_claims, ..Default::default() };
        let plan = plan(&open, &options, &Interrupt::default(), &mut Yes).unwrap();
        let left: Vec<_> = plan.findings.iter().filter(|planned| !planned.is_repaired).collect();
        assert!(left.is_empty(), "{most_claims}: {left:?}");
        (plan.rounds, Files::of_volume(&open().unwrap()))
    };
    let (at_once, few) = (repaired(Options::default().most_claims), repaired(2));
    assert!(few.0 > at_once.0, "{} rounds", few.0);
    assert!(few.1 == at_once.1, "the files are others");
}

/// The clusters next to the buckets belong to other files.
#[test]
fn buckets_that_claim_clusters_of_others_are_mended_and_nothing_is_lost() {
    let mut wrong = Vec::new();
    for name in ["clean-512-local", "clean-1k-local", "clean-2k-local"] {
        let base = Base::Fixture(name);
        let sound = base.image();
        let before = Files::of(sound.path());
        for (root, _) in bucket_trees(&sound) {
            let image = base.image();
            set_buckets(&image, root, |records| {
                let ExtentRec { e_cpos, e_blkno, .. } = records[0];
                records[0] = ExtentRec::leaf(e_cpos, 200, ExtentFlags::empty(), e_blkno);
            });
            let repaired = fsck("-fy", image.path());
            let after = Files::of(image.path());
            let mut lost = before.lost(&after);
            lost.extend(before.lost_attributes(&after));
            let again = fsck("-fn", image.path());
            if (repaired.status, again.status, lost.len()) != (1, 0, 0) {
                wrong.push(format!("{name}, xattr block {root}: {lost:?} {repaired} {again}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever bit of the length of an extent of buckets is wrong, the buckets show how long it is.
#[test]
fn buckets_tell_how_long_their_extent_is() {
    let mut wrong = Vec::new();
    for name in ["clean-512-local", "clean-2k-local"] {
        let base = Base::Fixture(name);
        let sound = base.image();
        let before = Files::of(sound.path());
        let longest = bucket_trees(&sound).into_iter();
        let (root, extent) = longest.max_by_key(|(_, extent)| extent.e_leaf_clusters()).unwrap();
        let clusters = extent.e_leaf_clusters();
        assert!(clusters > 1, "{name}");
        for bit in 0..u16::BITS {
            let image = base.image();
            set_buckets(&image, root, |records| {
                let ExtentRec { e_cpos, e_blkno, .. } = records[0];
                let flags = ExtentFlags::empty();
                records[0] = ExtentRec::leaf(e_cpos, clusters ^ 1 << bit, flags, e_blkno);
            });
            let repaired = fsck("-fy", image.path());
            let after = Files::of(image.path());
            let mut lost = before.lost(&after);
            lost.extend(before.lost_attributes(&after));
            let again = fsck("-fn", image.path());
            let is_said = repaired.stdout.contains("what is lost");
            if (repaired.status, again.status, lost.len(), is_said) != (1, 0, 0, false) {
                wrong.push(format!("{name}, bit {bit}: {lost:?} {repaired} {again}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the xattr blocks whose buckets are in one extent, each with that extent.
fn bucket_trees(image: &Image) -> Vec<(Blkno, ExtentRec)> {
    let inodes = image.volume().inodes().map(Result::unwrap);
    let trees = inodes.filter_map(|inode| {
        let blkno = inode.dinode.i_xattr_loc;
        let block = (!blkno.is_none()).then(|| image.read(blkno))?;
        let list = XattrTreeRoot::list(&block).unwrap();
        let has_one = list.header.l_tree_depth == 0 && list.header.l_next_free_rec == 1;
        let is_tree = XattrBlock::decode(&block).unwrap().is_indexed() && has_one;
        is_tree.then(|| (blkno, list.record(0).unwrap()))
    });
    let trees: Vec<_> = trees.collect();
    assert!(!trees.is_empty(), "no attributes are in buckets");
    trees
}

/// Changes the records that point to buckets.
fn set_buckets(image: &Image, root: Blkno, change: impl FnOnce(&mut Vec<ExtentRec>)) {
    image.edit_block(root, XattrBlock::CHECK_OFFSET, |block| {
        let list = &mut block[XattrTreeRoot::LIST_OFFSET..];
        edit_list(list, |header: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            let mut used = records[..header.l_next_free_rec.into()].to_vec();
            change(&mut used);
            header.l_next_free_rec = used.len() as u16;
            records[..used.len()].copy_from_slice(&used);
        });
    });
}

/// The tree has two extents; the first ends where a file begins, and its length is made to reach
/// into the file.
#[test]
fn buckets_are_never_written_where_only_a_wrong_length_leads() {
    let image = Base::Fixture("clean-512-local").image();
    let before = Files::of(image.path());
    let volume = image.volume();
    let geometry = *volume.geometry();
    assert_eq!(geometry.cluster_size.bytes() as usize, BUCKET_SIZE);
    let trees = bucket_trees(&image);
    let long = trees.iter().find(|(_, extent)| extent.e_leaf_clusters() > 4);
    let (root, extent) = *long.expect("a tree of more than four clusters");
    let files = volume.inodes().map(Result::unwrap).filter(|inode| {
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        inode.kind() == Some(FileKind::Regular) && !is_system
    });
    let trees = files.filter(|inode| inode.dinode.arm() == Arm::ExtentList);
    let extents = trees.flat_map(|inode| volume.tree(&inode).unwrap().extents());
    let free = extents.map(Result::unwrap).find_map(|data| {
        let before = Cluster(geometry.cluster_of(data.blkno)?.0 - 1);
        (data.clusters >= 5 && image.is_free(before)).then_some(before)
    });
    let free = free.expect("a free cluster before one of a file");

    // The first bucket is moved there.
    let home = geometry.block_of(free);
    let per_cluster = u64::from(geometry.blocks_per_cluster());
    for n in 0..per_cluster {
        image.write(Blkno(home.0 + n), &image.read(Blkno(extent.e_blkno.0 + n)));
    }
    image.mark_cluster(free, true);
    image.mark_cluster(geometry.cluster_of(extent.e_blkno).unwrap(), false);
    let second = Blkno(extent.e_blkno.0 + per_cluster);
    let bucket = image.read(second);
    let hash = XattrArea::new(&bucket).unwrap().entries().next().unwrap().xe_name_hash;
    let rest = extent.e_leaf_clusters() - 1;
    image.edit_bucket(home, |header, _| header.xh_num_buckets = 1);
    image.edit_bucket(second, |header, _| header.xh_num_buckets = rest);
    let leaf = |cpos, count, blkno| ExtentRec::leaf(cpos, count, ExtentFlags::empty(), blkno);
    set_buckets(&image, root, |records| {
        *records = vec![leaf(Cpos(0), 1, home), leaf(Cpos(hash), rest, second)];
    });
    let sound = fsck("-fn", image.path());
    // Linux 6.1 writes these, and 6.12 rejects them.
    let full = |line: &str| line.starts_with("[XATTR_BUCKET_FULL]");
    assert!(sound.stdout.lines().filter(|line| line.starts_with('[')).all(full), "{sound}");
    assert_eq!(Files::of(image.path()), before);

    set_buckets(&image, root, |records| records[0] = leaf(Cpos(0), 6, home));
    let repaired = fsck("-fy", image.path());
    let after = Files::of(image.path());
    let (lost, attributes) = (before.lost(&after), before.lost_attributes(&after));
    assert!(lost.is_empty() && attributes.is_empty(), "{lost:?} {attributes:?} {repaired}");
    assert_eq!(repaired.status, 1, "{repaired}");
    let again = fsck("-fn", image.path());
    assert_eq!(again.status, 0, "{again}");
}

/// Returns the losses as text.
fn listed(losses: &BTreeMap<&'static str, (Vec<String>, Theirs)>) -> String {
    let mut text = String::from(
        "# What fsck.ocfs2 -fy cannot save\n\n\
         Of the damaged volumes of the tests, all others are as before when they are repaired.\n\
         Written by the tests (`OCFS2_UPDATE=1 cargo test -p ocfs2-tests --test fsck_repairs`), and\n\
         compared with what they find.\n\n\
         | damage | not as before | with the C fsck |\n|-|-|-|\n",
    );
    for (name, (lost, theirs)) in losses {
        let shown = lost.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
        let more = lost.len().saturating_sub(4);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let theirs = match theirs {
            Theirs::Unknown => "not known".to_owned(),
            Theirs::NotRepaired => "not repaired".to_owned(),
            Theirs::Lost(count) => format!("{count} not as before"),
        };
        writeln!(text, "| {name} | {shown}{more} | {theirs} |").unwrap();
    }
    text
}
