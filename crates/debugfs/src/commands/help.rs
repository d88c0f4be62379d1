//! Help: the list of commands, and each command with an example.

use std::fmt::Write as _;
use std::io::Write;

use super::{COMMANDS, Command, QUIT, find, only};
use crate::error::Failure;
use crate::screen::Screen;
use crate::shell::Shell;

/// Calls of each command after `$`, with the beginning of their output, on fixtures of the tests. A
/// test runs all of them in this order.
const SAMPLES: &str = include_str!("samples.txt");

/// `help`
pub(super) fn help(_: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    if words.is_empty() {
        return list(out);
    }
    let name = ocfs2_cli::terminal(only(words)?);
    if QUIT.contains(&name.as_str()) {
        writeln!(out, "quit\n    Exit the program (also: q, exit)")?;
        return Ok(());
    }
    let none = || Failure::Failed(format!("There is no command '{name}'"));
    let found = find(&name).ok_or_else(none)?;
    record(out, found)?;
    write!(out, "{}", described(found))?;
    Ok(())
}

fn record(out: &mut Screen, command: &Command) -> Result<(), Failure> {
    let Command { names, arguments, help, .. } = command;
    out.record("command", |it| {
        it.put("names", *names).put("arguments", *arguments).put("help", *help)
    })?;
    Ok(())
}

fn list(out: &mut Screen) -> Result<(), Failure> {
    COMMANDS.iter().try_for_each(|command| record(out, command))?;
    let mut lines = vec![("quit, q".to_owned(), "", "Exit the program")];
    for Command { names, arguments, help, .. } in COMMANDS {
        // Other names have lines of their own; a sign is appended to the name.
        let sign = if names.contains(&"?") { ", ?" } else { "" };
        for word in names.iter().filter(|name| **name != "?") {
            let shown = format!("{word}{sign}");
            lines.push((shown, *arguments, *help));
        }
    }
    lines.sort_unstable();
    for (name, arguments, help) in lines {
        writeln!(out, "{:<41} {help}", format!("{name} {arguments}"))?;
    }
    Ok(())
}

/// A command with its arguments, its help, its other names and an example.
fn described(command: &Command) -> String {
    let Command { names, arguments, help, .. } = command;
    let (name, others) = names.split_first().unwrap_or((&"", &[]));
    let mut text = format!("{name} {arguments}").trim_end().to_owned();
    let _ = write!(text, "\n    {help}");
    if !others.is_empty() {
        let _ = write!(text, " (also: {})", others.join(", "));
    }
    text.push('\n');
    if let Some(sample) = sample(names) {
        text.push('\n');
        for line in sample.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// The first sample of a command.
fn sample(names: &[&str]) -> Option<&'static str> {
    let mut start = 0;
    for part in SAMPLES.split_inclusive('\n') {
        let called = part.strip_prefix("$ ").and_then(|line| line.split_whitespace().next());
        if called.is_some_and(|called| names.contains(&called)) {
            let rest = SAMPLES.get(start..)?;
            let end = rest.find("\n$ ").map_or(rest.len(), |end| end + 1);
            return rest.get(..end);
        }
        start += part.len();
    }
    None
}

/// All commands, in the form of a manual.
pub fn reference() -> String {
    let all = COMMANDS.iter().map(described);
    let intro = "Commands, each with an example; `...` stands for what was left out. The examples are \
                 those of the tests, in their order, on copies of volumes that Linux made \
                 (fixtures/ in the sources): a file /new/... was made by one before. Names of \
                 commands of e2fsprogs are known as well.\n\n";
    intro.to_owned() + &all.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_sample() {
        for command in COMMANDS {
            let sample = sample(command.names);
            assert!(sample.is_some_and(|it| it.starts_with("$ ")), "{:?}", command.names);
        }
        let calls = SAMPLES.lines().filter(|line| line.starts_with("$ ")).count();
        assert!(calls >= COMMANDS.len());
        assert!(described(find("bd").unwrap()).contains("(also: bd)\n\n    $ block_dump <"));
    }
}
