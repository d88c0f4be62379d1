//! The same changes for as long as one likes, on volumes with random features.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_testing::Random;

use crate::{attributes, files, names};

/// Features that are chosen at random. A volume without shared clusters may also lack sparse files.
const FEATURES: [&str; 4] = ["metaecc", "noinline-data", "noindexed-dirs", "usrquota,grpquota"];

fn options(random: &mut Random) -> String {
    let block = random.of(&["512", "1K", "2K", "4K"]);
    let cluster = random.of(&["4K", "8K", "16K", "32K"]);
    let mut features = vec!["xattr"];
    features.extend(FEATURES.iter().filter(|_| random.below(2) == 0));
    if random.below(4) == 0 {
        features.push(*random.of(&["norefcount", "norefcount,nosparse,nounwritten"]));
    }
    let features = features.join(",");
    format!("-M local -N 1 -b {block} -C {cluster} -J size=4M --fs-features={features}")
}

/// Prints the seed and the options of the volume if the test fails.
struct Seed<'a>(u64, &'a str);

impl Drop for Seed<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("OCFS2_SOAK_START={}: {}", self.0, self.1);
        }
    }
}

#[test]
#[ignore = "as long as OCFS2_SOAK_SECONDS says: cargo xtask soak edit"]
fn soak() {
    let number = |name: &str| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let until = Instant::now() + Duration::from_secs(number("OCFS2_SOAK_SECONDS").unwrap_or(60));
    let start = number("OCFS2_SOAK_START").unwrap_or(1);
    let most = number("OCFS2_SOAK_CASES").unwrap_or(u64::MAX - start);
    let mut operations = [0; 3];
    let mut seeds = 0;
    for seed in (start..start + most).take_while(|_| Instant::now() < until) {
        let options = options(&mut Random(seed));
        let _named = Seed(seed, &options);
        let kind = seed as usize % operations.len();
        operations[kind] += match kind {
            0 => names::at_random(&options, seed, 3),
            1 => files::at_random(&options, "64M", seed, 4),
            _ => attributes::at_random(&options, seed, 200),
        };
        seeds += 1;
    }
    let [names, files, attributes] = operations;
    println!(
        "{} operations on {seeds} volumes without a fault: {names} of names, {files} of contents, \
         {attributes} of attributes",
        names + files + attributes
    );
}
