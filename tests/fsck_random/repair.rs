//! Damage is repaired in one run, or what is left is reported.

use std::path::Path;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::dinode::DynFeatures;
use ocfs2_testing::damage::{CReport, Files, c_fsck, c_fsck_in_little_memory};
use ocfs2_testing::{Outcome, Run, Scratch, fixture, oracle, program};
use ocfs2_volume::{Volume, VolumeOptions};

use crate::cases::{Base, End, LIMIT, Story, base_of};

/// One in this many cases is also judged by the C fsck.
const JUDGED_BY_C: u64 = 3;

/// Damages a volume in a file and makes the program repair it.
pub fn in_one_run(bases: &[Base], seed: u64) -> Result<End, String> {
    let base = base_of(bases, seed);
    let scratch = Scratch::in_memory();
    let (path, damage) = base.damaged(seed, &scratch);
    let told = Story(base, seed, &damage).tell();
    let fsck = |options: &str| fsck(&path, options);
    let lines = |outcome: &Outcome| {
        let lines = outcome.stdout.lines().filter(|line| line.starts_with('['));
        lines.take(10).collect::<Vec<_>>().join("\n    ")
    };
    let before = Files::of(&path);
    let repaired = fsck("-fy");
    let after = fsck("-fn");
    let story = |what: String| Err(format!("{told}: {what}"));
    match (repaired.status, after.status) {
        // Not a volume, one that no superblock can open, or one of a later version.
        (8, 8) => return Ok(End::Refused),
        (8, 0 | 4) if repaired.stderr.contains("features that are not known") => {
            return Ok(End::Refused);
        }
        (0 | 1, 0) => {}
        // It has to report why. What could not be read at first was not recovered, so another run
        // has to check it.
        (5, 0) => return Ok(End::Left),
        (4 | 5, 4) if repaired.stdout.contains("is left") => {
            let left = repaired.stdout.lines().filter(|line| line.contains("is left"));
            println!("{told}:\n    {}", left.take(5).collect::<Vec<_>>().join("\n    "));
            return Ok(if damage.size.is_some() { End::Cut } else { End::Left });
        }
        (first, then) => {
            let (found, left) = (lines(&repaired), lines(&after));
            let stderr = repaired.stderr + &after.stderr;
            let what = format!(
                "-fy gives {first}, then -fn {then}\n    {found}\n  then\n    {left}\n{stderr}"
            );
            return story(what);
        }
    }
    let now = Files::of(&path);
    // Reading a sound volume takes time, so it is done only if something seems to be lost.
    if !before.lost(&now).is_empty()
        && let sound = Files::of(&fixture(base.name))
        && let Some(lost) = before.lost_unless_mended(&now, &sound).first()
    {
        return story(format!(
            "{lost} could be read before, and is lost\n    {}",
            lines(&repaired)
        ));
    }
    // The C fsck takes as long as everything else.
    if seed.is_multiple_of(JUDGED_BY_C) && oracle("fsck.ocfs2").is_some() {
        let known = base.complaints();
        let complains = |theirs: &CReport| {
            !theirs.codes_beyond(&known).is_empty() || theirs.finished != known.finished
        };
        let mut theirs = c_fsck_in_little_memory(&path, "-fn");
        if complains(&theirs) {
            theirs = c_fsck(&path, "-fn");
        }
        let (new, complains) = (theirs.codes_beyond(&known), complains(&theirs));
        // It assumes that a file shares a cluster only with other files.
        if complains && !is_about_hashes(&path, &theirs, &new) && !shares_with_itself(&path) {
            let found = theirs.questions.iter().take(6).cloned().collect::<Vec<_>>().join("\n    ");
            return story(format!("then the C fsck says {new:?}\n    {found}"));
        }
    }
    Ok(if repaired.status == 0 { End::Sound } else { End::Repaired })
}

/// Runs the program with limited memory.
pub fn fsck(image: &Path, options: &str) -> Outcome {
    let limited = "ulimit -v 4000000; exec timeout -k 1 60 \"$0\" -F \"$@\"";
    let run = Run::new("sh").args(["-c", limited]).arg(program("fsck.ocfs2"));
    run.args(options.split_whitespace()).arg(image).timeout(2 * LIMIT).output()
}

/// Returns whether the C fsck complains only about hashes of names with bytes from 0x80 on: it
/// knows only the signed ones. If it looks for such a name in the wrong leaf, it may by chance take
/// it for a missing one, and then counts a link too few.
fn is_about_hashes(image: &Path, theirs: &CReport, new: &[String]) -> bool {
    let json = fsck(image, "-fn --json").stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let unsigned = |kind: &str| {
        let hashes = &json["summary"]["name_hashes"][kind];
        hashes["unsigned"].as_u64().unwrap() as usize
    };
    let asked = |code: &str| {
        let code = format!("[{code}]");
        theirs.questions.iter().filter(move |question| question.starts_with(&code))
    };
    let names = asked("DX_LOOKUP_FAILED").count();
    names <= unsigned("names")
        && asked("DX_LOOKUP_FAILED").all(|question| !question.is_ascii())
        && asked("XATTR_HASH_INVALID").count() <= unsigned("attributes")
        && new.iter().all(|code| match code.as_str() {
            "DX_LOOKUP_FAILED" | "XATTR_HASH_INVALID" => true,
            "INODE_NOT_CONNECTED" | "INODE_COUNT" => names > 0,
            _ => false,
        })
}

/// Returns whether a file has a cluster in two places.
fn shares_with_itself(image: &Path) -> bool {
    let device = open(image, &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    let files = volume.inodes().map(Result::unwrap);
    let mut files = files.filter(|it| it.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT));
    files.any(|inode| {
        let extents = volume.tree(&inode).unwrap().extents().map(Result::unwrap);
        let bits = volume.geometry().bpc_bits();
        let mut runs: Vec<_> = extents
            .map(|extent| (extent.blkno.0, extent.blkno.0 + (u64::from(extent.clusters) << bits)))
            .collect();
        runs.sort_unstable();
        runs.windows(2).any(|pair| pair[1].0 < pair[0].1)
    })
}
