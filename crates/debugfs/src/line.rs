//! Input lines: from a terminal, a file or a pipe.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use anyhow::Context;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::complete::{Completion, Known};
use crate::history;

/// The greatest length of a line in bytes.
const MOST: u64 = 64 << 10;

/// A source of lines.
pub enum Lines {
    /// A terminal, with line editing, a history and completion.
    Terminal(Box<Editor<Completion, FileHistory>>),
    /// Anything else.
    Plain(Box<dyn BufRead>),
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_terminal() { "Terminal" } else { "Plain" })
    }
}

/// A line, or why there is none.
pub enum Line {
    /// A line without its line feed.
    Text(Vec<u8>),
    /// The end of the input.
    End,
    /// Ctrl-C at the prompt.
    Dropped,
}

impl Lines {
    /// Lines from a terminal.
    pub fn terminal() -> anyhow::Result<Self> {
        let config = Config::builder().auto_add_history(true);
        let config = config.max_history_size(history::MOST_LINES)?;
        let config = config.completion_type(CompletionType::List).build();
        let lines = FileHistory::with_config(&config);
        let mut editor = Editor::with_history(config, lines)?;
        editor.set_helper(Some(Completion::default()));
        if let Some(path) = history::path() {
            let _ = editor.load_history(&path);
        }
        Ok(Self::Terminal(Box::new(editor)))
    }

    /// Lines from anything else.
    pub fn plain(from: impl Read + 'static) -> Self {
        Self::Plain(Box::new(BufReader::new(from)))
    }

    /// Whether a person types the lines: with a prompt and completion.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Sets what words are completed from.
    pub fn set_known(&mut self, known: Known) {
        if let Self::Terminal(editor) = self
            && let Some(helper) = editor.helper_mut()
        {
            helper.known = known;
        }
    }

    /// Reads the next line; `prompt` is only for a terminal.
    pub fn next(&mut self, prompt: &str) -> anyhow::Result<Line> {
        match self {
            Self::Terminal(editor) => match editor.readline(prompt) {
                Ok(text) => {
                    // At once, since a signal may end the program.
                    if let Some(path) = history::path() {
                        let _ = editor.append_history(&path);
                    }
                    Ok(Line::Text(text.into_bytes()))
                }
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Dropped),
                Err(err) => Err(err.into()),
            },
            Self::Plain(from) => {
                let mut line = Vec::new();
                let mut from = from.take(MOST);
                from.read_until(b'\n', &mut line).context("commands cannot be read")?;
                anyhow::ensure!((line.len() as u64) < MOST, "a line has more than {MOST} bytes");
                if line.is_empty() {
                    return Ok(Line::End);
                }
                Ok(Line::Text(line.strip_suffix(b"\n").unwrap_or(&line).to_vec()))
            }
        }
    }
}
