//! The recipes of docs/debugfs.md and the samples in the help show the actual output.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ocfs2_testing::{Run, Scratch, fixture_copy, program};

/// The input of `dlm_locks`, as Linux writes it.
const DLM_STATE: &str = "\
NAME:M000000000000000000323100000000
LRES:1,0,0,0,0,0,0,0,0,0,4
RMAP:1 
LVBX:LVB
LOCK:1,0,5,-1,1,1:7,0,0,0,0,0,0,0,0,2
LOCK:1,2,3,-1,0,0:9,0,0,0,0,0,0,0,0,2

";

/// Returns the same with the value of the lock.
pub fn dlm_state() -> String {
    DLM_STATE.replace("LVB\n", &format!("{}\n", "0".repeat(128)))
}

/// Returns the commands of a text with their expected output.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut is_console = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            commands.push((command.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = commands.last_mut().filter(|_| is_console) {
            lines.push(line.to_owned());
        }
    }
    commands
}

/// Returns whether the lines are as expected: `...` stands for the rest of a line, or for any
/// number of lines.
fn is_as_told(lines: &[&str], told: &[String]) -> bool {
    match (told.split_first(), lines.split_first()) {
        (None, first) => first.is_none(),
        (Some((told_line, rest)), _) if told_line == "..." => {
            (0..=lines.len()).any(|skipped| is_as_told(&lines[skipped..], rest))
        }
        (Some((told_line, rest)), Some((line, lines))) => {
            let is_line = match told_line.strip_suffix("...") {
                Some(beginning) => line.starts_with(beginning),
                None => line.trim_end() == told_line.trim_end(),
            };
            is_line && is_as_told(lines, rest)
        }
        (Some(_), None) => false,
    }
}

/// Runs the commands of a text in a folder with the images that it names, and compares what they
/// say.
fn assert_told(text: &str, at_least: usize) {
    let commands = commands(text);
    assert!(commands.len() >= at_least, "{commands:?}");
    let scratch = Scratch::new();
    let bin = scratch.join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["debugfs.ocfs2", "fsck.ocfs2", "o2image", "o2info"] {
        symlink(program(name), bin.join(name)).unwrap();
    }
    for (image, name) in [
        ("crashed-4k-o2cb", "crashed.img"),
        ("clean-4k-o2cb", "clean.img"),
        ("clean-2k-local", "old.img"),
    ] {
        fs::rename(fixture_copy(image, &scratch), scratch.join(name)).unwrap();
    }
    fs::write(scratch.join("dlm_state"), dlm_state()).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    for (command, told) in commands {
        let run = Run::new("sh").args(["-c", &format!("{command} 2>&1")]).env("PATH", &path);
        let said = run.current_dir(scratch.path()).output();
        let lines: Vec<_> = said.stdout.lines().collect();
        assert!(is_as_told(&lines, &told), "{command}\n{said}\ntold: {told:#?}");
    }
}

#[test]
fn each_recipe_gives_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert_told(&fs::read_to_string(root.join("docs/debugfs.md")).unwrap(), 16);
}

#[test]
fn each_recipe_of_o2image_gives_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert_told(&fs::read_to_string(root.join("docs/o2image.md")).unwrap(), 12);
}

#[test]
fn each_sample_of_o2image_is_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("crates/o2image/src/samples.txt")).unwrap();
    assert_told(&format!("```console\n{text}```\n"), 10);
}

#[test]
fn each_request_of_o2info_has_a_sample_that_is_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("crates/o2info/src/samples.txt")).unwrap();
    let commands = commands(&format!("```console\n{text}```\n"));
    assert_eq!(commands.len(), 7);
    let image = ocfs2_testing::fixture("clean-4k-o2cb");
    for (command, told) in commands {
        let words = command.strip_prefix("o2info ").and_then(|it| it.strip_suffix(" clean.img"));
        let run = Run::new(program("o2info")).args(words.unwrap().split(' ')).arg(&image);
        let said = run.output().expect_status(0);
        let lines: Vec<_> = said.stdout.lines().collect();
        assert!(is_as_told(&lines, &told), "{command}\n{said}\ntold: {told:#?}");
    }
}

/// Returns the input of `fs_locks`, as Linux writes it.
pub fn fs_state() -> String {
    let value = "0x0\t".repeat(64);
    let counts = "1\t0\t0\t0\t45432248\t0\t45432\t0\t0\t1795867921109538\t0\t0";
    format!("0x4\tN00000000000000050000fc02\t3\t0x41\t0x0\t0x0\t0\t0\t3\t-1\t{value}{counts}\n")
}

/// Joins the commands from opening a journal to closing it, since they need a single session.
fn together(commands: Vec<(String, Vec<String>)>) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let mut is_open = false;
    for (command, told) in commands {
        let name = command.split(' ').next().unwrap().to_owned();
        match all.last_mut().filter(|_| is_open) {
            Some((line, lines)) => {
                *line += &format!("{command}\n");
                lines.extend(told);
            }
            None if name == "journal_open" => all.push((format!("{command}\n"), told)),
            None => all.push((command, told)),
        }
        is_open = name == "journal_open" || is_open && name != "journal_close";
    }
    all
}

#[test]
fn each_command_has_a_sample_that_is_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("crates/debugfs/src/commands/samples.txt");
    let text = format!("```console\n{}```\n", fs::read_to_string(path).unwrap());
    let commands = commands(&text);
    assert!(commands.len() > 90, "{}", commands.len());
    let scratch = Scratch::new();
    fs::rename(fixture_copy("clean-4k-o2cb", &scratch), scratch.join("clean.img")).unwrap();
    fs::write(scratch.join("dlm_state"), dlm_state()).unwrap();
    fs::write(scratch.join("fs_state"), fs_state()).unwrap();
    let stats = "1,1,69,1420572,94689370,1931844843,94,10336428\n";
    fs::write(scratch.join("net_state"), stats).unwrap();
    fs::write(scratch.join("local"), "some text\n").unwrap();
    fs::write(scratch.join("commands"), "# a folder, and what is in it\nmkdir /d\nls /d\n")
        .unwrap();
    fs::create_dir(scratch.join("tree")).unwrap();
    for (command, told) in together(commands) {
        let run = Run::new(program("debugfs.ocfs2")).arg("-w");
        let run = match command.contains('\n') {
            true => run.arg("-n").arg("clean.img").stdin(command.as_str()),
            false => run.args(["-R", &command]).arg("clean.img"),
        };
        let said = run.current_dir(scratch.path()).output();
        // Its daemon has not existed for a long time.
        assert_eq!(said.status, i32::from(command == "controld dump"), "{command}: {said}");
        let all = format!("{}{}", said.stdout, said.stderr);
        let lines: Vec<_> = all.lines().collect();
        assert!(is_as_told(&lines, &told), "{command}\n{said}\ntold: {told:#?}");
    }
}
