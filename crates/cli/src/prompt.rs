//! Questions to whoever is at standard input: a person, or a program that answers for one.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::{Interrupt, Interrupted, Output, terminal};

/// Nobody can answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("nobody answers \"{question}\", standard input has ended; {option} answers yes")]
pub struct CannotAsk {
    /// The question.
    pub question: String,
    /// The option that makes the question unnecessary.
    pub option: &'static str,
}

/// Asks `question` on standard error and reads a line from standard input, which need not be a
/// terminal: `yes | mkfs.ocfs2 DEV` works, too. An empty line means no. After any other answer than
/// yes or no the question is repeated a few times, then the answer is no.
///
/// # Errors
/// [`CannotAsk`] if standard input has ended, as with `/dev/null`; its text names `option`, which
/// answers in advance. [`Interrupted`].
pub fn confirm(question: &str, option: &'static str, interrupt: &Interrupt) -> Result<bool> {
    let question = question.to_owned();
    Ok(answered(interrupt, move || ask(&question, option))??)
}

/// Returns the result of `ask`, which waits for a person, unless the program is interrupted first.
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
                // Ends the line of the question.
                let _ = writeln!(Output::stderr());
                return Err(Interrupted.into());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the question could not be asked"),
        }
    }
}

/// How often a question is asked at most.
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

/// Reads the next line of standard input, without its end; `None` at the end of the input. A line
/// longer than any answer is cut, and bytes that are not UTF-8 are replaced. If standard input is
/// not a terminal, which would show what is typed, the answer is printed after the question.
///
/// # Errors
/// Those of reading standard input.
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
