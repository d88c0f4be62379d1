//! Asking the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::{Output, terminal};

/// There is nobody who could answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("can not ask \"{question}\", standard input is no terminal; {option} answers yes")]
pub struct CannotAsk {
    /// What would have been asked.
    pub question: String,
    /// The option that makes the question unnecessary.
    pub option: &'static str,
}

/// Asks `question` on standard error and waits for an answer; anything but `y` or `yes` is no,
/// and so is the end of the input.
///
/// # Errors
/// [`CannotAsk`] without having asked, if standard input is no terminal; its text names
/// `option`, the one that answers beforehand.
pub fn confirm(question: &str, option: &'static str) -> Result<bool, CannotAsk> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CannotAsk { question: question.to_owned(), option });
    }
    let mut stderr = Output::stderr();
    let _ = write!(stderr, "{} (y/N): ", terminal(question));
    let _ = stderr.flush();
    Ok(answer(stdin.lock()))
}

fn answer(mut input: impl BufRead) -> bool {
    let mut line = String::new();
    let read = input.read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_and_yes_mean_yes() {
        for (line, yes) in
            [("y\n", true), ("YES\n", true), (" y ", true), ("", false), ("\n", false)]
        {
            assert_eq!(answer(line.as_bytes()), yes, "{line:?}");
        }
        assert!(!answer("yeah, why not\n".as_bytes()));
        assert!(!answer(b"\xff\n".as_slice()));
    }
}
