//! Running all recipes, several at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, thread};

use super::{Recipe, all};

/// Returns the recipes to run: all, or those whose code or name contains the value of
/// `OCFS2_RECIPE` in the environment.
pub fn recipes() -> Vec<Recipe> {
    let wanted = env::var("OCFS2_RECIPE").unwrap_or_default();
    let mut recipes = all();
    recipes.retain(|recipe| recipe.code.contains(&wanted) || recipe.name.contains(&wanted));
    recipes
}

/// Returns what is wrong with each of the recipes that `judge` does not accept. Several are judged
/// at a time.
pub fn judge_all(
    recipes: &[Recipe],
    judge: impl Fn(&Recipe) -> Result<(), String> + Sync,
) -> Vec<(Recipe, String)> {
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
                        wrong.lock().unwrap_or_else(PoisonError::into_inner).push((*recipe, why));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    wrong.sort_by_key(|(recipe, _)| recipe.name);
    wrong
}

/// Fails if anything is wrong, and prints it.
///
/// # Panics
/// If anything is wrong.
pub fn demand_none(wrong: &[(Recipe, String)], of: usize) {
    let lines: Vec<_> = wrong
        .iter()
        .map(|(recipe, why)| format!("{}, {}: {why}", recipe.code, recipe.name))
        .collect();
    assert!(wrong.is_empty(), "{} of {of}:\n{}", wrong.len(), lines.join("\n"));
}
