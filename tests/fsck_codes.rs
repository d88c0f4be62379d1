//! fsck.ocfs2 finds in every damaged volume what is wrong with it and nothing else; the C
//! fsck.ocfs2 judges the damage, and the differences are listed.
//!
//! `OCFS2_RECIPE=EB_` in the environment runs only the recipes whose code or name contains that.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use ocfs2_testing::damage::{
    Image, Recipe, all, c_fsck, complaints, demand_none, judge_all, recipes,
};
use ocfs2_testing::{Outcome, Run, oracle, program};

/// Codes without a recipe, and why.
const NO_RECIPE: &[(&str, &str)] = &[
    ("RECOVER_CLUSTER_INFO", "is about the cluster that runs here"),
    ("IO_ERROR", "needs a device that fails: fsck_bad_blocks.rs"),
    ("DEVICE_CUT", "needs --salvage: fsck_salvage"),
];

fn check(options: &str, image: &Path) -> Outcome {
    Run::new(program("fsck.ocfs2")).args([options, "--json"]).arg(image).output()
}

/// Returns the codes of all findings, sorted, and one line per finding.
fn findings(checked: &Outcome) -> (Vec<String>, Vec<String>) {
    let report: serde_json::Value =
        serde_json::from_str(&checked.stdout).unwrap_or_else(|err| panic!("{err}: {checked}"));
    let findings = report["findings"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let codes: BTreeSet<_> = findings.iter().map(|finding| text(&finding["code"])).collect();
    let line = |finding: &serde_json::Value| {
        format!("[{}] {}", text(&finding["code"]), text(&finding["text"]))
    };
    (codes.into_iter().collect(), findings.iter().map(line).collect())
}

/// Checks that our fsck finds exactly what the recipe states, and does not change the image.
fn found_as_stated(recipe: &Recipe) -> Result<(), String> {
    let image: Image = recipe.image();
    let before = image.digest();
    let options = if recipe.options() == "-fy" { "-fn" } else { recipe.options() };
    let checked = check(options, image.path());
    if image.digest() != before {
        return Err(format!("-n changed the image: {checked}"));
    }
    let (codes, lines) = findings(&checked);
    if codes == recipe.found && checked.status == 4 {
        return Ok(());
    }
    let lines: Vec<_> = lines.iter().take(8).map(String::as_str).collect();
    let (found, status, expected) = (lines.join("\n    "), checked.status, recipe.found);
    Err(format!("expected {expected:?}, found {codes:?}, status {status}\n    {found}"))
}

#[test]
fn all_damage_is_found_and_nothing_else_and_nothing_is_written() {
    let recipes = recipes();
    let wrong = judge_all(&recipes, found_as_stated);
    demand_none(&wrong, recipes.len());
}

#[test]
fn every_code_has_a_recipe_and_every_recipe_has_codes_that_exist() {
    let codes: BTreeSet<_> = ocfs2_fsck::codes::all().map(|code| code.name).collect();
    let mut covered: BTreeSet<_> = all().iter().map(|recipe| recipe.code).collect();
    for recipe in all() {
        for code in recipe.found {
            assert!(codes.contains(code), "{}: there is no code {code}", recipe.name);
        }
    }
    for (code, why) in NO_RECIPE {
        assert!(codes.contains(code), "there is no code {code}");
        assert!(covered.insert(code), "{code} has a recipe, though it {why}");
    }
    let without: Vec<_> = codes.difference(&covered).collect();
    assert!(without.is_empty(), "codes without a recipe: {without:?}");
}

#[test]
fn the_c_fsck_finds_what_the_recipes_say() {
    if oracle("fsck.ocfs2").is_none() {
        return;
    }
    let recipes = recipes();
    let wrong = judge_all(&recipes, |recipe| {
        let Some((codes, status)) = recipe.c_codes() else { return Ok(()) };
        let options = recipe.options();
        let sound = complaints(recipe.on, options);
        let report = c_fsck(recipe.image().path(), options);
        let found = report.codes_beyond(&sound);
        if found == codes && report.status == status && report.finished == (status == 0) {
            return Ok(());
        }
        let new = report.questions.iter().filter(|line| !sound.questions.contains(line));
        let some: Vec<_> = new.take(5).map(String::as_str).collect();
        let (some, status) = (some.join("\n    "), report.status);
        Err(format!("expected {codes:?}, found {found:?}, status {status}\n    {some}"))
    });
    demand_none(&wrong, recipes.len());
}

/// Returns the differences from the C fsck as text.
fn differences() -> String {
    let mut text = String::from(
        "# Where fsck.ocfs2 finds something else than the C fsck.ocfs2 1.8.7\n\n\
         Of the damaged volumes of the tests, asked with `-fn`. Written by the tests from the\n\
         recipes (`OCFS2_UPDATE=1 cargo test -p ocfs2-tests --test fsck_codes`), and compared with\n\
         them; each recipe is run with both programs.\n\n\
         | damage | we find | C fsck | why |\n|-|-|-|-|\n",
    );
    for recipe in all() {
        let Some(why) = recipe.why_not_as_c() else { continue };
        let theirs = match recipe.c_codes() {
            None => "not asked".to_owned(),
            Some((codes, status)) => {
                let same = codes == recipe.found;
                let codes = if same { "the same".to_owned() } else { codes.join(", ") };
                let codes = if codes.is_empty() { "nothing".to_owned() } else { codes };
                if status == 0 { codes } else { format!("{codes}; exit status {status}") }
            }
        };
        let ours = recipe.found.join(", ");
        writeln!(text, "| {} | {ours} | {theirs} | {why} |", recipe.name).unwrap();
    }
    text
}

#[test]
fn the_differences_to_the_c_fsck_are_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fsck_differences.md");
    let expected = differences();
    if env::var_os("OCFS2_UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let listed = fs::read_to_string(&path).unwrap_or_default();
    for (listed, expected) in listed.lines().zip(expected.lines()) {
        assert_eq!(listed, expected, "run it with OCFS2_UPDATE=1");
    }
    assert_eq!(listed, expected, "run it with OCFS2_UPDATE=1");
}

#[test]
fn every_check_of_the_kernel_has_a_finding_and_a_recipe() {
    let recipes = all();
    for check in ocfs2_fsck::codes::kernels::CHECKS {
        let of_name = recipes.iter().find(|recipe| recipe.name == check.damage);
        let recipe = of_name.unwrap_or_else(|| panic!("no recipe does: {}", check.damage));
        // The tests of all recipes check that exactly this is found and repaired in one run.
        assert_eq!(recipe.code, check.code.name, "{}", check.damage);
    }
}
