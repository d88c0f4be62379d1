//! Asking whoever is at standard input: a person, or a program that answers for one.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::{Interrupt, Interrupted, Output, terminal};

/// There is nobody who could answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("nobody answers \"{question}\", standard input has ended; {option} answers yes")]
pub struct CannotAsk {
    /// What was asked.
    pub question: String,
    /// The option that makes the question unnecessary.
    pub option: &'static str,
}

/// Asks `question` on standard error and waits for a line of standard input, which need not be a
/// terminal: `yes | mkfs.ocfs2 DEV` answers, too. An empty line is no; what is neither yes nor no is
/// asked about again, a few times.
///
/// # Errors
/// [`CannotAsk`] where standard input has ended, as `/dev/null` has; its text names `option`, the
/// one that answers beforehand. [`Interrupted`].
pub fn confirm(question: &str, option: &'static str, interrupt: &Interrupt) -> Result<bool> {
    let question = question.to_owned();
    Ok(answered(interrupt, move || ask(&question, option))??)
}

/// What `ask` gives, which waits for a person: Ctrl-C is an answer, too.
///
/// # Errors
/// [`Interrupted`].
pub fn answered<T: Send + 'static>(
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

/// So often a question is asked of somebody who does not answer it.
const MOST_ASKED: u32 = 5;

fn ask(question: &str, option: &'static str) -> Result<bool, CannotAsk> {
    let mut stderr = Output::stderr();
    for _ in 0..MOST_ASKED {
        let _ = write!(stderr, "{} (y/N): ", terminal(question));
        let _ = stderr.flush();
        let Ok(Some(line)) = read_answer() else {
            let _ = writeln!(stderr);
            return Err(CannotAsk { question: question.to_owned(), option });
        };
        if let Some(answer) = yes_or_no(&line) {
            return Ok(answer);
        }
        let _ = writeln!(stderr, "y is yes; n, or an empty line, is no.");
    }
    Ok(false)
}

/// The next line of standard input, without its end; `None` where it has ended. One that is longer
/// than any answer is cut, bytes that are no UTF-8 are replaced. Where it is not a terminal, which
/// shows what is typed, the answer is shown after the question.
///
/// # Errors
/// Those of reading.
pub fn read_answer() -> io::Result<Option<String>> {
    let stdin = io::stdin();
    let answer = answer_of(&mut stdin.lock())?;
    if let Some(answer) = answer.as_deref().filter(|_| !stdin.is_terminal()) {
        let _ = writeln!(Output::stderr(), "{}", terminal(answer));
    }
    Ok(answer)
}

fn answer_of(input: &mut impl BufRead) -> io::Result<Option<String>> {
    const LONGEST: u64 = 4096;
    let mut line = Vec::new();
    if input.take(LONGEST).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&line).trim().to_owned()))
}

fn yes_or_no(line: &str) -> Option<bool> {
    match line.to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "" | "n" | "no" | "q" | "quit" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_and_yes_mean_yes() {
        let yes = |line: &str| {
            answer_of(&mut line.as_bytes()).unwrap().map(|line| yes_or_no(&line) == Some(true))
        };
        for (line, expected) in [
            ("y\n", Some(true)),
            ("YES\r\n", Some(true)),
            (" y ", Some(true)),
            ("\n", Some(false)),
            ("yeah, why not\n", Some(false)),
            ("", None),
        ] {
            assert_eq!(yes(line), expected, "{line:?}");
        }
        let garbage = answer_of(&mut &b"\xff\n"[..]).unwrap().unwrap();
        assert_eq!(yes_or_no(&garbage), None);
        assert_eq!(["", "n", "No", "quit"].map(yes_or_no), [Some(false); 4]);
    }

    #[test]
    fn answers_are_lines_and_end_with_the_input() {
        let mut input = &b"y\nn\nlast"[..];
        let mut answers = Vec::new();
        while let Some(answer) = answer_of(&mut input).unwrap() {
            answers.push(answer);
        }
        assert_eq!(answers, ["y", "n", "last"]);
    }
}
