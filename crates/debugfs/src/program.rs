//! The program.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use ocfs2_cli::{Interrupt, Output, Status, print_error, print_note, shown, terminal};
use ocfs2_format::Blkno;

use crate::Cli;
use crate::commands;
use crate::error::Failure;
use crate::line::{Line, Lines};
use crate::lock::Lock;
use crate::screen::Screen;
use crate::shell::{Done, OpenOptions, Shell};
use crate::words::number;

const PROMPT: &str = "debugfs: ";

/// Runs the commands that `cli` names.
///
/// # Errors
/// Commands cannot be read, or their output cannot be written.
pub fn run(cli: &Cli) -> Result<Status> {
    if !cli.decode.is_empty() {
        return decode(&cli.decode, cli.json);
    }
    if !cli.encode.is_empty() {
        return encode(&cli.encode, cli.json);
    }
    let mut shell = Shell::new(Interrupt::install()?);
    if let Some(device) = &cli.device {
        let options = OpenOptions {
            backup: cli.superblock,
            partition: cli.partition,
            is_image: cli.image,
            write: cli.write,
            any_damage: cli.catastrophic,
            undo_file: cli.undo_file.clone(),
        };
        if let Err(err) = shell.open(device, &options) {
            // Commands without a volume are still possible.
            let err = err.context("open");
            print_error(&err);
            if cli.json {
                document_of(&err)?;
            }
            if cli.request.is_some() || cli.file.is_some() || !io::stdin().is_terminal() {
                return Ok(Status::FAILURE);
            }
        }
    }
    let status = all(cli, &mut shell);
    // Whatever their outcome: the undo file has to be finished.
    shell.close()?;
    status
}

/// Prints the document of a volume that cannot be opened, in place of any command.
fn document_of(err: &anyhow::Error) -> Result<()> {
    let silent = Box::new(io::sink());
    let mut screen = Screen::with_errors(silent).with_json(true);
    screen.begin(b"open")?;
    screen.say(&ocfs2_cli::causes(err));
    Ok(screen.end(Status::FAILURE.0)?)
}

/// Runs all commands, from the option, a file, a pipe or a terminal.
fn all(cli: &Cli, shell: &mut Shell) -> Result<Status> {
    if let Some(request) = &cli.request {
        // Its questions are answered there.
        shell.push_lines(Lines::plain(io::stdin()));
        return Ok(status(one(cli, shell, request.as_bytes(), true)?));
    }
    match &cli.file {
        Some(path) if path.as_os_str() == "-" => {
            shell.push_lines(Lines::plain(io::stdin()));
            plain(cli, shell)
        }
        Some(path) => {
            let file = File::open(path).with_context(|| shown(path))?;
            shell.push_lines(Lines::plain(file));
            plain(cli, shell)
        }
        None if io::stdin().is_terminal() => {
            shell.push_lines(Lines::terminal()?);
            interactive(cli, shell)
        }
        None => {
            shell.push_lines(Lines::plain(io::stdin()));
            plain(cli, shell)
        }
    }
}

fn status(done: Done) -> Status {
    match done {
        Done::Well | Done::Quit => Status::SUCCESS,
        Done::Badly => Status::FAILURE,
        Done::Interrupted => Status::INTERRUPTED,
        Done::Unread => Status::OUTPUT_CLOSED,
    }
}

/// Runs a command; on a terminal through `$PAGER`, if `is_paged`.
fn one(cli: &Cli, shell: &mut Shell, line: &[u8], is_paged: bool) -> Result<Done> {
    let is_paged = is_paged && !commands::asks(line);
    let Some(mut pager) = Some(()).filter(|()| is_paged).and_then(|()| pager()) else {
        return on(shell, line, Screen::standard().with_json(cli.json));
    };
    let Some(to) = pager.stdin.take() else { bail!("the pager does not listen") };
    let done = on(shell, line, Screen::paged(to).with_json(cli.json))?;
    pager.wait().context("the pager did not end")?;
    // Leaving the pager early does not leave the shell.
    Ok(if done == Done::Unread { Done::Well } else { done })
}

fn on(shell: &mut Shell, line: &[u8], mut screen: Screen) -> Result<Done> {
    let done = match screen.begin(line) {
        Ok(()) => shell.run(line, &mut screen),
        Err(err) => unwritten(err)?,
    };
    match screen.end(status(done).0) {
        Ok(()) => Ok(done),
        Err(err) => unwritten(err),
    }
}

/// The outcome if the reader has gone away; anything else is an error.
fn unwritten(err: io::Error) -> Result<Done> {
    let failure = Failure::from(err);
    if failure.is_closed_output() { Ok(Done::Unread) } else { Err(failure.into()) }
}

/// Starts the pager, if standard output is a terminal and one is set.
fn pager() -> Option<Child> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let pager = std::env::var_os("PAGER").filter(|pager| !pager.is_empty())?;
    if pager == "__none__" || pager == "cat" {
        return None;
    }
    if !is_there(&pager) {
        print_note(format_args!("$PAGER: there is no {}", terminal(pager.as_bytes())));
        return None;
    }
    Command::new("sh").arg("-c").arg(pager).stdin(Stdio::piped()).spawn().ok()
}

/// Whether the program of a command line exists, as far as that can be seen.
fn is_there(line: &OsStr) -> bool {
    let first = line.as_bytes().split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
    let Some(program) = first.map(OsStr::from_bytes) else { return false };
    // A shell may make another word of it.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte);
    if !program.as_bytes().iter().all(is_plain) {
        return true;
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    match program.as_bytes().contains(&b'/') {
        true => Path::new(program).is_file(),
        false => std::env::split_paths(&folders).any(|folder| folder.join(program).is_file()),
    }
}

/// Runs commands from a file or a pipe.
fn plain(cli: &Cli, shell: &mut Shell) -> Result<Status> {
    let mut all = Status::SUCCESS;
    loop {
        let Line::Text(line) = shell.next_line("")? else { return Ok(all) };
        let line = line.trim_ascii_start();
        if line.is_empty() {
            continue;
        }
        // A document names its command.
        if !cli.noprompt && !cli.json {
            writeln!(Output::stdout(), "{PROMPT}{}", terminal(line))?;
        }
        if line.starts_with(b"#") {
            continue;
        }
        match one(cli, shell, line, false)? {
            Done::Well => {}
            Done::Badly => all = Status::FAILURE,
            Done::Quit => return Ok(all),
            done @ (Done::Interrupted | Done::Unread) => return Ok(status(done)),
        }
    }
}

/// Runs commands that a person types.
fn interactive(cli: &Cli, shell: &mut Shell) -> Result<Status> {
    if !cli.noprompt {
        writeln!(Output::stderr(), "debugfs.ocfs2 {}", env!("CARGO_PKG_VERSION"))?;
    }
    if let Some(note) = shell.age_note() {
        writeln!(Output::stderr(), "{}", terminal(note.as_bytes()))?;
    }
    loop {
        match shell.next_line(if cli.noprompt { "" } else { PROMPT })? {
            Line::End => {
                writeln!(Output::stdout())?;
                return Ok(Status::SUCCESS);
            }
            Line::Dropped => {}
            Line::Text(line) => match one(cli, shell, &line, true)? {
                done @ (Done::Quit | Done::Unread) => return Ok(status(done)),
                // Ctrl-C ends a command, not the shell.
                Done::Interrupted => shell.interrupt().clear(),
                Done::Well | Done::Badly => {}
            },
        }
    }
}

fn decode(names: &[impl AsRef<OsStr>], is_json: bool) -> Result<Status> {
    let mut screen = Screen::standard().with_json(is_json);
    let mut status = Status::SUCCESS;
    screen.begin(b"--decode")?;
    for name in names {
        let bytes = name.as_ref().as_bytes();
        match Lock::parse(bytes) {
            Some(lock) => lock_row(&mut screen, &lock, &lock.described())?,
            None => {
                let text = format!("{}: is not a name of a lock", terminal(bytes));
                match is_json {
                    true => screen.say(&text),
                    false => print_error(&anyhow::anyhow!("{text}")),
                }
                status = Status::FAILURE;
            }
        }
    }
    screen.end(status.0)?;
    Ok(status)
}

fn encode(words: &[impl AsRef<OsStr>], is_json: bool) -> Result<Status> {
    let [letter, block, other] = words else { bail!("a lock is encoded from three words") };
    let numbers = number(block.as_ref().as_bytes()).zip(number(other.as_ref().as_bytes()));
    let lock = match (letter.as_ref().as_bytes(), numbers) {
        ([letter], Some((block, other))) => Lock::new(*letter, Blkno(block), other),
        _ => None,
    };
    if numbers.is_none() {
        bail!("the block of a lock and its generation are numbers");
    }
    let Some(lock) = lock else { bail!("there is no such lock") };
    let mut screen = Screen::standard().with_json(is_json);
    screen.begin(b"--encode")?;
    lock_row(&mut screen, &lock, &lock.name())?;
    screen.end(Status::SUCCESS.0)?;
    Ok(Status::SUCCESS)
}

fn lock_row(screen: &mut Screen, lock: &Lock, text: &str) -> io::Result<()> {
    screen.row(
        "lock",
        |it| {
            let it = it.put("name", lock.name()).put("block", lock.block.0).put("type", lock.kind);
            it.put("generation", lock.generation).put("parent", lock.parent.map(|it| it.0))
        },
        format_args!("{text}"),
    )
}
