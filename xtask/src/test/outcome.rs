//! The result of a test program, from its output.

use std::time::Duration;

use anyhow::{Result, bail};

/// Number of the slowest tests that are listed.
const SLOWEST: usize = 10;

/// Result of one test program.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Name of the program.
    pub program: String,
    /// Whether its exit status was 0.
    pub succeeded: bool,
    /// Time it took.
    pub time: Duration,
    /// Tests that were run.
    pub tests: Vec<Test>,
    /// Number of tests that were not run because they take minutes.
    pub ignored: usize,
    /// Everything it printed.
    pub printed: String,
}

/// A test that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Name of the test.
    pub name: String,
    /// Whether it passed.
    pub succeeded: bool,
    /// Time it took, in seconds.
    pub seconds: f64,
}

impl Outcome {
    /// Evaluates a line such as `test NAME ... ok <0.123s>`.
    pub fn read(&mut self, line: &str) {
        let Some((name, rest)) = line.strip_prefix("test ").and_then(|it| it.split_once(" ... "))
        else {
            return;
        };
        let (verdict, time) = rest.split_once(" <").unwrap_or((rest, ""));
        let seconds = time.trim_end_matches("s>").parse().unwrap_or(0.0);
        let name = name.to_owned();
        match verdict {
            "ok" => self.tests.push(Test { name, succeeded: true, seconds }),
            "FAILED" => self.tests.push(Test { name, succeeded: false, seconds }),
            _ if verdict.starts_with("ignored") => self.ignored += 1,
            _ => {}
        }
    }

    /// Prints it on one line, followed by the output if it failed, otherwise by what it skipped.
    pub fn print(&self) {
        let count = self.tests.len();
        let verdict = if self.succeeded { "ok" } else { "FAILED" };
        let ignored = match self.ignored {
            0 => String::new(),
            ignored => format!(", {ignored} only with --all"),
        };
        let seconds = self.time.as_secs_f64();
        println!("{:<18} {verdict:<6} {seconds:>7.1} s  {count} tests{ignored}", self.program);
        if !self.succeeded {
            println!("{}", self.printed.trim_end());
            return;
        }
        for line in self.printed.lines().filter(|line| line.starts_with("SKIPPED")) {
            println!("  {line}");
        }
    }
}

/// Prints the slowest tests.
///
/// # Errors
/// If a test failed; the error names all that did.
pub fn judge(outcomes: &[Outcome]) -> Result<()> {
    let tests = outcomes.iter().flat_map(|it| it.tests.iter().map(move |test| (it, test)));
    let mut tests: Vec<_> = tests.collect();
    tests.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
    println!("\nThe slowest of {} tests:", tests.len());
    for (outcome, test) in tests.iter().take(SLOWEST) {
        println!("{:>8.1} s  {}::{}", test.seconds, outcome.program, test.name);
    }
    let failed = tests.iter().filter(|(_, test)| !test.succeeded);
    let failed = failed.map(|(outcome, test)| format!("{}::{}", outcome.program, test.name));
    // A program that was killed names no test.
    let dead = outcomes.iter().filter(|it| !it.succeeded && it.tests.iter().all(|it| it.succeeded));
    let failed: Vec<_> = failed.chain(dead.map(|it| it.program.clone())).collect();
    if !failed.is_empty() {
        bail!("{} failed: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_program_prints_is_counted() {
        let mut outcome = Outcome::default();
        for line in [
            "running 4 tests",
            "test a ... ok <0.120s>",
            "test b::c - should panic ... ok <12.000s>",
            "test d has been running for over 60 seconds",
            "test d ... FAILED <61.500s>",
            "test e ... ignored, slow",
            "test result: FAILED. 1 passed; 1 failed",
        ] {
            outcome.read(line);
        }
        let seconds: Vec<_> = outcome.tests.iter().map(|it| (it.seconds, it.succeeded)).collect();
        assert_eq!(seconds, [(0.12, true), (12.0, true), (61.5, false)]);
        assert_eq!(outcome.ignored, 1);
    }

    #[test]
    fn one_failure_is_a_failure_and_so_is_a_program_that_was_killed() {
        let test = |succeeded| Test { name: "t".into(), succeeded, seconds: 1.0 };
        let of = |succeeded, tests| Outcome {
            program: "p".into(),
            succeeded,
            tests,
            ..Default::default()
        };
        assert!(judge(&[of(true, vec![test(true)])]).is_ok());
        let err = judge(&[of(true, vec![test(true)]), of(false, vec![test(false)])]).unwrap_err();
        assert_eq!(err.to_string(), "1 failed: p::t");
        let err = judge(&[of(false, vec![test(true)])]).unwrap_err();
        assert_eq!(err.to_string(), "1 failed: p");
    }
}
