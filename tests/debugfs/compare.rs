//! Both tools do the same commands, and what they say is compared command by command.

use std::fs;
use std::path::Path;

use ocfs2_testing::{Run, Scratch, oracle, program};

/// What stands before each command of a file.
const PROMPT: &str = "debugfs: ";

/// A command and what each tool said, without the end of the last line.
pub struct Said {
    pub command: String,
    pub ours: String,
    pub c: String,
}

/// Does `commands` with both tools; `None` where there is no C tool.
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
    // The C tool may be aborted by its last commands: what it said before counts.
    assert_eq!(ours.len(), commands.len(), "{}", image.display());
    let said = ours.into_iter().zip(theirs).map(|((command, ours), (same, c))| {
        assert_eq!(command, same);
        Said { command, ours, c }
    });
    Some(said.collect())
}

/// The commands of an output with what follows each.
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

/// Fails with the first line that differs, if one does.
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
