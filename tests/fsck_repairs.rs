//! fsck.ocfs2 -fy mends every damage there is a recipe for in one run: nothing is found
//! afterwards, by us or by the C fsck.ocfs2, and as little is lost as can be.
//!
//! `OCFS2_RECIPE=EB_` in the environment runs the recipes only whose code or name contains that.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs};

use ocfs2_testing::damage::{
    Base, Files, Image, Recipe, all, c_fsck, complaints, demand_none, judge_all, recipes,
};
use ocfs2_testing::{Outcome, Run, oracle, program};

/// Codes that nothing can be done about, and why.
const NOT_REPAIRED: &[(&str, &str)] = &[
    ("RECOVER_CLUSTER_INFO", "is about the cluster that runs here"),
    ("DEVICE_SHORT", "no repair makes a device longer"),
];

fn fsck(options: &str, image: &Path) -> Outcome {
    let limited = "ulimit -v 4000000; exec timeout 120 \"$0\" \"$1\" \"$2\"";
    Run::new("sh").args(["-c", limited]).arg(program("fsck.ocfs2")).arg(options).arg(image).output()
}

/// The lines that begin with a code.
fn findings(outcome: &Outcome) -> String {
    let lines = outcome.stdout.lines().filter(|line| line.starts_with('['));
    lines.take(12).collect::<Vec<_>>().join("\n    ")
}

/// What was lost, recipe by recipe.
type Losses = Mutex<BTreeMap<&'static str, Vec<String>>>;

/// What is in a sound volume.
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
    let after = Files::of(image.path());
    let mut lost = before.lost(&after);
    lost.extend(before.lost_attributes(&after));
    if !lost.is_empty() {
        let mut losses = losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.insert(recipe.name, lost);
    }
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

/// What is lost, as text.
fn listed(losses: &BTreeMap<&'static str, Vec<String>>) -> String {
    let mut text = String::from(
        "# What fsck.ocfs2 -fy can not save\n\n\
         Of the damaged volumes of the tests, all others are as before when they are repaired.\n\
         Written by the tests (`OCFS2_UPDATE=1 cargo test -p ocfs2-tests --test fsck_repairs`), and\n\
         compared with what they find.\n\n\
         | damage | not as before |\n|-|-|\n",
    );
    for (name, lost) in losses {
        let shown = lost.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
        let more = lost.len().saturating_sub(4);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(text, "| {name} | {shown}{more} |").unwrap();
    }
    text
}
