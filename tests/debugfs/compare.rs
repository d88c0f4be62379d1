//! Both tools run the same commands, and their output is compared command by command.

use std::fs;
use std::path::Path;

use ocfs2_testing::{Run, Scratch, oracle, program};

/// Precedes each command of a file in the output.
const PROMPT: &str = "debugfs: ";

/// A command and the output of each tool, without the last line feed.
pub struct Said {
    pub command: String,
    pub ours: String,
    pub c: String,
}

/// Runs `commands` with both tools; `None` if the C tool is not installed.
pub fn run(image: &Path, commands: &[String]) -> Option<Vec<Said>> {
    let c = oracle("debugfs.ocfs2")?;
    let scratch = Scratch::in_memory();
    let file = scratch.join("commands");
    fs::write(&file, commands.join("\n") + "\n").unwrap();
    let run = |tool: &Path| {
        let run = Run::new(tool).env("PAGER", "__none__").arg("-f").arg(&file).arg(image);
        parts(&run.output().stdout)
    };
    let (ours, theirs) = (run(&program("debugfs.ocfs2")), run(&c));
    // The C tool may abort at one of its commands: its output before that counts.
    assert_eq!(ours.len(), commands.len(), "{}", image.display());
    let said = ours.into_iter().zip(theirs).map(|((command, ours), (same, c))| {
        assert_eq!(command, same);
        Said { command, ours, c }
    });
    Some(said.collect())
}

/// Splits an output into the commands, each with the text that follows it.
fn parts(output: &str) -> Vec<(String, String)> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for line in output.lines() {
        if let Some(command) = line.strip_prefix(PROMPT) {
            parts.push((command.to_owned(), String::new()));
        } else if let Some((_, text)) = parts.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    for (_, text) in &mut parts {
        text.truncate(text.trim_end_matches('\n').len());
    }
    parts
}

/// Fails with the first line that differs, if any.
pub fn assert_same(image: &Path, command: &str, ours: &str, c: &str) {
    if ours == c {
        return;
    }
    let mut lines = ours.lines().zip(c.lines());
    let (ours, c) = lines.find(|(ours, c)| ours != c).unwrap_or_else(|| {
        let (few, many) = if ours.len() < c.len() { (ours, c) } else { (c, ours) };
        let next = many.lines().nth(few.lines().count()).unwrap_or_default();
        if many == c { ("nothing", next) } else { (next, "nothing") }
    });
    panic!("{}: {command}\nours: {ours}\n   C: {c}", image.display());
}
