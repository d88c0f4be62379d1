//! The C fsck.ocfs2 as judge of the damage recipes, and of where we say something else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, thread};

use ocfs2_testing::damage::{CFsck, Recipe, all, c_fsck, complaints};
use ocfs2_testing::oracle;

/// The recipes; with `OCFS2_RECIPE` in the environment those whose code or name contain it.
fn recipes() -> Vec<Recipe> {
    let wanted = env::var("OCFS2_RECIPE").unwrap_or_default();
    let mut recipes = all();
    recipes.retain(|recipe| recipe.code.contains(&wanted) || recipe.name.contains(&wanted));
    recipes
}

/// What is wrong with the recipes, each judged by `judge`, several at a time.
fn judge_all(recipes: &[Recipe], judge: impl Fn(&Recipe) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(4, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(recipe) = recipes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let judged = catch_unwind(AssertUnwindSafe(|| judge(recipe)));
                    let judged = judged.unwrap_or_else(|panic| {
                        Err(panic.downcast_ref::<String>().cloned().unwrap_or_default())
                    });
                    if let Err(why) = judged {
                        let line = format!("{}, {}: {why}", recipe.code, recipe.name);
                        wrong.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), recipes.len(), wrong.join("\n"));
}

#[test]
fn the_c_fsck_finds_what_the_recipes_say() {
    if oracle("fsck.ocfs2").is_none() {
        return;
    }
    judge_all(&recipes(), |recipe| {
        let Some((codes, status)) = recipe.c_codes() else {
            recipe.image();
            return Ok(());
        };
        let options = if matches!(recipe.c, CFsck::Repairing) { "-fy" } else { "-fn" };
        let sound = complaints(recipe.on, options);
        let report = c_fsck(recipe.image().path(), options);
        let found = report.codes_beyond(&sound);
        if found == codes && report.status == status && report.finished == (status == 0) {
            return Ok(());
        }
        let new = report.questions.iter().filter(|line| !sound.questions.contains(line));
        let some: Vec<_> = new.take(5).map(String::as_str).collect();
        let finished = if report.finished { "finished" } else { "not finished" };
        let tail: Vec<_> = report.output.lines().rev().take(4).collect();
        let (at_most, status) = (some.join("\n    "), report.status);
        Err(format!(
            "expected {codes:?}, found {found:?}, status {status}, {finished}\n    {at_most}\n    end: {tail:?}"
        ))
    });
}
