//! Who answers the questions: the options, or a person at the terminal.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ocfs2_cli::{Interrupt, Interrupted, Output, confirm, is_terminal, print_warning};

use crate::cli::Mode;
use crate::codes::{Code, Default};
use crate::repair::plan::Judge;
use crate::report::{ProgressOut, Report, Stopwatch, question};
use crate::{Finding, Found, Pass};

/// Asks a question that only a person answers.
///
/// # Errors
/// Nobody can be asked; [`Interrupted`].
pub(super) fn confirmed(question: &str, interrupt: &Interrupt) -> Result<bool> {
    let question = question.to_owned();
    Ok(waited(interrupt, move || confirm(&question, "-y"))??)
}

/// What `ask` gives; Ctrl-C is an answer, too.
fn waited<T: Send + 'static>(
    interrupt: &Interrupt,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(ask()));
    loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) if interrupt.requested() => {
                // Behind the question.
                let _ = writeln!(Output::stderr());
                return Err(Interrupted.into());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the question could not be asked"),
        }
    }
}

/// Answers what a plan asks, and shows how it goes on.
pub(super) struct Answers<'a> {
    pub report: &'a mut Report,
    pub watch: &'a mut Stopwatch,
    pub progress: &'a mut ProgressOut,
    pub interrupt: &'a Interrupt,
    pub mode: Mode,
    pub device: String,
    /// Whole checks so far, this one too.
    pub round: u32,
    /// Codes to all of which the answer is yes.
    pub all: HashSet<&'static str>,
    /// That nobody can be asked was said.
    pub nobody: bool,
    /// What was found first that `-p` does not repair.
    pub refused: Option<String>,
    /// When the first check had ended and repairs began.
    pub first_done: Option<Instant>,
}

/// What a person may say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Yes,
    No,
    All,
    Explain,
    Again,
}

impl Answer {
    /// Of a line that was typed; an empty one is the default.
    fn of(line: &str, default: Default) -> Self {
        match (line.trim().to_ascii_lowercase().as_str(), default) {
            ("y" | "yes", _) | ("", Default::Yes) => Self::Yes,
            ("n" | "no", _) | ("", Default::No) => Self::No,
            ("a" | "all", _) => Self::All,
            ("?" | "h" | "help", _) => Self::Explain,
            _ => Self::Again,
        }
    }
}

impl Answers<'_> {
    fn ask(&mut self, finding: &Finding) -> bool {
        let code = finding.code;
        if self.all.contains(code.name) {
            return true;
        }
        if !io::stdin().is_terminal() {
            if !std::mem::replace(&mut self.nobody, true) {
                print_warning(format_args!(
                    "{}: nobody can be asked, standard input is no terminal: all answers are no; \
                     -y answers yes, -p repairs what is safe",
                    self.device
                ));
            }
            return false;
        }
        let hint = match code.default {
            Default::Yes => "<y>",
            Default::No => "<n>",
            Default::Ask => "<y/n>",
        };
        loop {
            let _ = write!(Output::stderr(), "{} {hint} ", question(code, &finding.text));
            let _ = Output::stderr().flush();
            let line = waited(self.interrupt, || {
                let mut line = String::new();
                io::stdin().read_line(&mut line).map(|len| (len, line))
            });
            // The check ends by itself when it was interrupted.
            let Ok(Ok((len, line))) = line else { return false };
            if len == 0 {
                let _ = writeln!(Output::stderr());
                return false;
            }
            match Answer::of(&line, code.default) {
                Answer::Yes => return true,
                Answer::No => return false,
                Answer::All => {
                    self.all.insert(code.name);
                    return true;
                }
                Answer::Explain => {
                    let _ = writeln!(Output::stderr(), "{}", explanation(code));
                }
                Answer::Again => {}
            }
        }
    }
}

fn explanation(code: &Code) -> String {
    let Code { name, condition, repair, default, .. } = code;
    format!(
        "  {name} is found when {condition}.\n  y: {repair}.\n  n: leave it.\n  \
         a: yes to this and to all further {name}.\n  Nothing is written before all is worked \
         out and checked. Default: {}. See fsck.ocfs2.checks(8).",
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

    fn answer(&mut self, found: Found<'_>) -> bool {
        let Found { pass, finding } = found;
        self.progress.pause();
        let can_be = finding.repair.is_some();
        let answer = match self.mode {
            Mode::ReadOnly => false,
            Mode::Yes => can_be,
            // With one that is not, nothing is repaired.
            Mode::Preen => self.refused.is_none() && finding.is_safe(),
            Mode::Interactive => can_be && self.ask(finding),
        };
        if self.mode == Mode::Preen && !answer && self.refused.is_none() {
            self.refused = Some(format!("[{}] {}", finding.code, finding.text));
        }
        // The terminal shows what was asked and answered there.
        let shown =
            self.mode == Mode::Interactive && can_be && io::stdin().is_terminal() && is_terminal();
        match shown {
            true => self.report.count(finding),
            false => self.report.asked(pass, finding, answer),
        }
        answer
    }

    fn stops(&self) -> bool {
        self.refused.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_is_the_default_and_nonsense_is_asked_again() {
        for (line, default, answer) in [
            ("y\n", Default::No, Answer::Yes),
            ("No\n", Default::Yes, Answer::No),
            ("\n", Default::Yes, Answer::Yes),
            ("\n", Default::No, Answer::No),
            ("\n", Default::Ask, Answer::Again),
            ("a\n", Default::Ask, Answer::All),
            ("?\n", Default::Yes, Answer::Explain),
            ("quit\n", Default::Yes, Answer::Again),
        ] {
            assert_eq!(Answer::of(line, default), answer, "{line:?}");
        }
    }
}
