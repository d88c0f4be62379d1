//! fsck.ocfs2 survives random damage: it does not panic, hang or take much memory, and never calls
//! a damaged volume sound; what it repairs is sound afterwards.
//!
//! A case that fails is printed with its seed. `OCFS2_SEED=N` runs only that one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::env;
use std::time::{Duration, Instant};

mod cases;
mod find;
mod repair;
mod soak;

use cases::{Base, End, run_all};
use find::{by_program, in_process};
use repair::in_one_run;
use soak::{Ending, Endings, ending};

/// Number of cases of the ordinary tests, in this process and by the program.
const CASES: u64 = 1800;
const PROGRAM_CASES: u64 = 60;
/// Number of cases that are repaired, and the percentage that has to be repaired in one run.
const REPAIR_CASES: u64 = 400;
const REPAIRED_OF_100: u64 = 99;
/// Number of cases that damage only attributes and refcount trees.
const TREE_CASES: u64 = 60;

#[test]
fn any_damage_is_survived_and_none_is_called_sound() {
    let bases = Base::all();
    run_all(0..CASES, None, |seed| in_process(&bases, seed));
}

#[test]
fn the_program_survives_any_damage_and_says_so_in_its_status() {
    let bases = Base::all();
    run_all(1_000_000..1_000_000 + PROGRAM_CASES, None, |seed| by_program(&bases, seed));
}

#[test]
fn any_damage_is_repaired_in_one_run_and_nothing_that_could_be_read_is_lost() {
    let mut bases = Base::all();
    // Without its region on another volume, it takes seconds to find out whether its nodes are
    // alive.
    bases.retain(|base| base.name != "clean-1m-global");
    let seeds = 3_000_000..3_000_000 + REPAIR_CASES;
    let ends = run_all(seeds, None, |seed| in_one_run(&bases, seed));
    let of = |end| ends.get(&end).copied().unwrap_or(0);
    let all: u64 = ends.values().sum();
    let done = all - of(End::Left) - of(End::Refused);
    assert!(done * 100 >= (all - of(End::Refused)) * REPAIRED_OF_100, "{ends:?}");
}

#[test]
fn any_damage_of_attributes_and_refcount_trees_is_repaired_in_one_run() {
    let mut bases = Base::all();
    for base in &mut bases {
        base.metadata = base.metadata.attributes_and_refcounts();
    }
    let seeds = 4_000_000..4_000_000 + TREE_CASES;
    let ends = run_all(seeds, None, |seed| in_one_run(&bases, seed));
    assert_eq!(ends.get(&End::Left), None, "{ends:?}");
}

#[test]
#[ignore = "as long as OCFS2_SOAK_SECONDS says: cargo xtask soak"]
fn soak() {
    let number = |name: &str| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seconds = number("OCFS2_SOAK_SECONDS").unwrap_or(60);
    let start = number("OCFS2_SOAK_START").unwrap_or(2_000_000);
    let cases = number("OCFS2_SOAK_CASES").unwrap_or(u64::MAX - start);
    let only: Vec<u64> = env::var("OCFS2_SOAK_SEEDS").map_or(Vec::new(), |seeds| {
        seeds.split_whitespace().map(|seed| seed.parse().unwrap()).collect()
    });
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut bases = Base::all();
    bases.retain(|base| base.name != "clean-1m-global");
    let endings = Endings::default();
    let seeds = if only.is_empty() { start..start + cases } else { 0..only.len() as u64 };
    run_all(seeds, Some(until), |seed| {
        let seed = only.get(seed as usize).copied().unwrap_or(seed);
        let ended = ending(&bases, seed)?;
        if let Ending::Left(left) = &ended {
            println!("OCFS2_SEED={seed} leaves {}", left.join("; "));
        }
        endings.add(seed, ended);
        Ok(End::Found)
    });
    println!("{}", endings.table());
}
