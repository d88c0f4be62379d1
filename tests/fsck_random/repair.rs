//! Damage is repaired in one run, or it is said what is left.

use ocfs2_testing::damage::{Files, c_fsck};
use ocfs2_testing::{Outcome, Run, Scratch, oracle, program};

use crate::cases::{Base, End, LIMIT, Story, base_of};

/// Every how many cases the C fsck is asked, too.
const JUDGED_BY_C: u64 = 3;

/// Damages a volume in a file, and has the program repair it.
pub fn in_one_run(bases: &[Base], seed: u64) -> Result<End, String> {
    let base = base_of(bases, seed);
    let scratch = Scratch::new();
    let (path, damage) = base.damaged(seed, &scratch);
    let told = Story(base, seed, &damage).tell();
    let fsck = |options: &str| -> Outcome {
        let limited = "ulimit -v 4000000; exec timeout -k 1 60 \"$0\" \"$1\" -F \"$2\"";
        let run = Run::new("sh").args(["-c", limited]).arg(program("fsck.ocfs2"));
        run.arg(options).arg(&path).timeout(2 * LIMIT).output()
    };
    let lines = |outcome: &Outcome| {
        let lines = outcome.stdout.lines().filter(|line| line.starts_with('['));
        lines.take(10).collect::<Vec<_>>().join("\n    ")
    };
    let before = Files::of(&path);
    let repaired = fsck("-fy");
    let after = fsck("-fn");
    let story = |what: String| Err(format!("{told}: {what}"));
    match (repaired.status, after.status) {
        // No volume, one that can not be opened by any superblock, or one of a later age.
        (8, 8) => return Ok(End::Refused),
        (8, 4) if repaired.stderr.contains("features that are not known") => {
            return Ok(End::Refused);
        }
        (0 | 1, 0) => {}
        // It has to say why.
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
    if let Some(lost) = before.lost(&Files::of(&path)).first() {
        return story(format!(
            "{lost} could be read before, and is lost\n    {}",
            lines(&repaired)
        ));
    }
    // It takes as long as all the rest.
    if seed.is_multiple_of(JUDGED_BY_C) && oracle("fsck.ocfs2").is_some() {
        let theirs = c_fsck(&path, "-fn");
        let known = base.complaints();
        let new = theirs.codes_beyond(&known);
        // It takes for granted that a file shares a cluster only with other files.
        let dies = theirs.output.contains("refcount_extent_insert: Assertion");
        if !new.is_empty() || theirs.finished != known.finished && !dies {
            let found = theirs.questions.iter().take(6).cloned().collect::<Vec<_>>().join("\n    ");
            return story(format!("then the C fsck says {new:?}\n    {found}"));
        }
    }
    Ok(if repaired.status == 0 { End::Sound } else { End::Repaired })
}
