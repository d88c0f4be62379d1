//! Answers to the questions: from the options, or from a person at the terminal.

use std::collections::{HashMap, HashSet};
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use ocfs2_cli::{Interrupt, Output, answered, is_shared_output, print_warning, read_answer};
use ocfs2_volume::Volume;

use super::layers::Overlay;
use crate::cli::Mode;
use crate::codes::{Code, Default};
use crate::losses::{Comparison, Touched};
use crate::plan::{Judge, Key, Planned, key};
use crate::repair::{Repair, lost_found};
use crate::report::{ProgressOut, Report, Stopwatch, question};
use crate::{Finding, Found, Pass};

/// Answers the questions of a plan and shows its progress.
pub(super) struct Answers<'a> {
    pub report: &'a mut Report,
    pub watch: &'a mut Stopwatch,
    pub progress: &'a mut ProgressOut,
    pub interrupt: &'a Interrupt,
    pub mode: Mode,
    pub device: String,
    /// Number of whole checks so far, including the current one.
    pub round: u32,
    /// The answers so far.
    pub given: &'a mut Given,
    /// The first finding that `-p` does not repair.
    pub refused: Option<String>,
    /// Number of repairs that were agreed to.
    pub agreed: u64,
    /// The volume before the repairs, and the overlay in which they are made.
    pub sides: Option<(&'a Volume, &'a Overlay)>,
    /// With a memory limit, the bytes that changes may take together with what is known of the
    /// volume.
    pub changes_bytes: Option<u64>,
    /// When the first check had ended and repairs began.
    pub first_done: Option<Instant>,
}

/// The answers of a person. They hold for the whole run, however often the repairs are worked out.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// From now on everything is repaired.
    everything: bool,
    /// Codes for which all answers are yes.
    all: HashSet<&'static str>,
    /// Single answers, by finding.
    each: HashMap<Key, bool>,
    /// It was reported that nobody can be asked.
    nobody: bool,
}

/// An answer, and when it was given.
#[derive(Clone, Copy, Debug)]
enum Answered {
    /// By an option, or to an earlier question.
    Before(bool),
    /// To this question.
    Now(bool),
}

/// The possible answers of a person.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Yes,
    No,
    /// Yes to all of this code.
    AllOfCode,
    /// Yes to everything.
    All,
    Quit,
    Explain,
    Again,
}

impl Answer {
    /// Parses a typed line; an empty one means the default.
    fn of(line: &str, default: Default) -> Self {
        match (&line.to_ascii_lowercase()[..], default) {
            ("y" | "yes", _) | ("", Default::Yes) => Self::Yes,
            ("n" | "no", _) | ("", Default::No) => Self::No,
            ("a", _) => Self::AllOfCode,
            ("all", _) => Self::All,
            ("q" | "quit", _) => Self::Quit,
            ("?" | "h" | "help", _) => Self::Explain,
            _ => Self::Again,
        }
    }
}

/// The possible answers, with the default in upper case.
fn hint(default: Default) -> &'static str {
    match default {
        Default::Yes => "(Y/n/a/all/quit/?)",
        Default::No => "(y/N/a/all/quit/?)",
        Default::Ask => "(y/n/a/all/quit/?)",
    }
}

impl Answers<'_> {
    /// Asks whether to repair it, unless that is answered already. A question goes to standard
    /// error, and its answer comes after it there.
    fn ask(&mut self, finding: &Finding) -> Answered {
        let code = finding.code;
        if self.given.everything || self.given.all.contains(code.name) {
            return Answered::Before(true);
        }
        let key = key(finding);
        if let Some(answer) = self.given.each.get(&key) {
            return Answered::Before(*answer);
        }
        if self.given.nobody {
            return Answered::Before(false);
        }
        let path = self.report.path(finding);
        let question = question(code, &finding.text, path.as_deref());
        loop {
            let _ = write!(Output::stderr(), "{question} {} ", hint(code.default));
            let _ = Output::stderr().flush();
            // The check itself ends on an interrupt.
            let Ok(line) = answered(self.interrupt, read_answer) else {
                return Answered::Now(false);
            };
            let Some(line) = line.ok().flatten() else {
                self.no_answer();
                return Answered::Now(false);
            };
            match Answer::of(&line, code.default) {
                answer @ (Answer::Yes | Answer::No) => {
                    let answer = answer == Answer::Yes;
                    self.given.each.insert(key, answer);
                    return Answered::Now(answer);
                }
                Answer::AllOfCode => {
                    self.given.all.insert(code.name);
                    return Answered::Now(true);
                }
                Answer::All => {
                    self.given.everything = true;
                    return Answered::Now(true);
                }
                Answer::Quit => {
                    self.interrupt.request();
                    return Answered::Now(false);
                }
                Answer::Explain => {
                    let _ = writeln!(Output::stderr(), "{}", explanation(code));
                }
                Answer::Again => {}
            }
        }
    }

    /// Handles the end of standard input: on a terminal it means no, otherwise all further answers
    /// are no.
    fn no_answer(&mut self) {
        let _ = writeln!(Output::stderr(), "n");
        if !io::stdin().is_terminal() {
            self.given.nobody = true;
            print_warning(format_args!(
                "{}: nobody can be asked, standard input has ended: all further answers are no; \
                 -y answers yes, -p repairs what is safe",
                self.device
            ));
        }
    }
}

fn explanation(code: &Code) -> String {
    let Code { name, condition, repair, default, .. } = code;
    format!(
        "  {name} is found when {condition}.\n  y: {repair}.\n  n: leave it.\n  \
         a: yes to this and to all further {name}.\n  all: yes to this and to all further \
         questions.\n  quit: stop here; nothing of what was agreed to is done.\n  Nothing is \
         written before all is worked out and checked. Default: {}. See fsck.ocfs2.checks(8).",
        default.name()
    )
}

impl Judge for Answers<'_> {
    fn round(&mut self, round: u32) {
        self.round = round;
        self.progress.finish();
        if round > 1 {
            self.watch.end();
            self.first_done = self.first_done.or_else(|| Some(Instant::now()));
            self.report.note("Repairs are worked out; checking the repaired volume.");
        }
    }

    fn pass(&mut self, pass: Pass, total: u64) {
        if self.round == 1 {
            self.watch.begin(pass);
        }
        self.progress.finish();
        if let Some(title) = pass.title().filter(|_| self.round == 1) {
            self.report.show(&crate::report::Record::Pass { pass, title });
        }
        self.progress.begin(pass, total);
    }

    fn progress(&mut self, done: u64) {
        self.progress.update(done);
    }

    /// Leaves the changes what the knowledge of the volume does not take. The next round takes as
    /// much again, while the changes stay.
    fn known(&mut self, bytes: u64) {
        if let (Some((_, overlay)), Some(changes_bytes)) = (self.sides, self.changes_bytes) {
            overlay.limit_memory(changes_bytes.saturating_sub(bytes));
        }
    }

    fn answer(&mut self, found: Found<'_>) -> bool {
        let Found { pass, finding } = found;
        // Findings between the interrupt and the end of the check are not asked about.
        if self.interrupt.requested() {
            return false;
        }
        self.progress.pause();
        let can_be = finding.repair.is_some();
        let answered = match self.mode {
            Mode::ReadOnly => Answered::Before(false),
            Mode::Yes => Answered::Before(can_be),
            // After one that is not safe nothing is repaired.
            Mode::Preen => Answered::Before(self.refused.is_none() && finding.is_safe()),
            Mode::Interactive if can_be => self.ask(finding),
            Mode::Interactive => Answered::Before(false),
        };
        let (Answered::Before(answer) | Answered::Now(answer)) = answered;
        // Left open, not refused.
        if self.interrupt.requested() {
            self.report.count(finding);
            return false;
        }
        if self.mode == Mode::Preen && !answer && self.refused.is_none() {
            self.refused = Some(format!("[{}] {}", finding.code, finding.text));
        }
        self.agreed += u64::from(answer);
        // Whoever reads both outputs has seen question and answer.
        match answered {
            Answered::Now(_) if is_shared_output() => self.report.count(finding),
            _ => self.report.asked(pass, finding, answer),
        }
        answer
    }

    fn stops(&self) -> bool {
        self.refused.is_some()
    }

    /// Buries the files of which nothing is left.
    fn finish(&mut self, volume: &Volume, findings: &[Planned]) -> Option<Repair> {
        let (before, overlay) = self.sides?;
        let touched = Touched::of(before, overlay, findings);
        let emptied = Comparison::new(before, volume, &touched, self.interrupt).emptied().ok()?;
        (!emptied.is_empty()).then(|| lost_found::bury(emptied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_is_the_default_and_nonsense_is_asked_again() {
        for (line, default, answer) in [
            ("y", Default::No, Answer::Yes),
            ("no", Default::Yes, Answer::No),
            ("", Default::Yes, Answer::Yes),
            ("", Default::No, Answer::No),
            ("", Default::Ask, Answer::Again),
            ("a", Default::Ask, Answer::AllOfCode),
            ("all", Default::No, Answer::All),
            ("quit", Default::Yes, Answer::Quit),
            ("?", Default::Yes, Answer::Explain),
            ("perhaps", Default::Yes, Answer::Again),
        ] {
            assert_eq!(Answer::of(line, default), answer, "{line:?}");
        }
    }
}
