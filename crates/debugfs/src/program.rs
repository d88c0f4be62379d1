//! The program.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use ocfs2_cli::{Interrupt, Output, Status, print_error, shown, terminal};
use ocfs2_format::Blkno;

use crate::Cli;
use crate::line::{Line, Lines};
use crate::lock::Lock;
use crate::screen::Screen;
use crate::shell::{Done, OpenOptions, Shell};
use crate::words::number;

/// The status of a run that a signal ended, as a shell reports it of SIGINT.
const INTERRUPTED: Status = Status(130);
const PROMPT: &str = "debugfs: ";

/// Does what `cli` asks for.
///
/// # Errors
/// Commands cannot be read, or what they say cannot be written.
pub fn run(cli: &Cli) -> Result<Status> {
    if !cli.decode.is_empty() {
        return decode(&cli.decode);
    }
    if !cli.encode.is_empty() {
        return encode(&cli.encode);
    }
    let mut shell = Shell::new(Interrupt::install()?);
    if let Some(device) = &cli.device {
        let options = OpenOptions {
            backup: cli.superblock,
            partition: cli.partition,
            is_image: cli.image,
            write: cli.write,
            undo_file: cli.undo_file.clone(),
        };
        if let Err(err) = shell.open(device, &options) {
            // Commands that need none may still be done.
            print_error(&err.context("open"));
            if cli.request.is_some() || cli.file.is_some() || !io::stdin().is_terminal() {
                return Ok(Status::FAILURE);
            }
        }
    }
    let status = commands(cli, &mut shell);
    // However they went: what was saved of the volume is to be of use.
    shell.close()?;
    status
}

/// Does the commands there are.
fn commands(cli: &Cli, shell: &mut Shell) -> Result<Status> {
    if let Some(request) = &cli.request {
        return Ok(status(one(shell, request.as_bytes(), true)?));
    }
    match &cli.file {
        Some(path) => {
            let file = File::open(path).with_context(|| shown(path))?;
            plain(shell, Lines::plain(file), !cli.noprompt)
        }
        None if io::stdin().is_terminal() => interactive(shell, !cli.noprompt),
        None => plain(shell, Lines::plain(io::stdin()), !cli.noprompt),
    }
}

fn status(done: Done) -> Status {
    match done {
        Done::Well | Done::Quit => Status::SUCCESS,
        Done::Badly => Status::FAILURE,
        Done::Interrupted => INTERRUPTED,
        Done::Unread => Status::OUTPUT_CLOSED,
    }
}

/// Does a command; on a terminal through `$PAGER`, where that is wished for.
fn one(shell: &mut Shell, line: &[u8], is_paged: bool) -> Result<Done> {
    let Some(mut pager) = Some(()).filter(|()| is_paged).and_then(|()| pager()) else {
        return Ok(shell.run(line, &mut Screen::standard()));
    };
    let Some(to) = pager.stdin.take() else { bail!("the pager does not listen") };
    let mut screen = Screen::paged(to);
    let done = shell.run(line, &mut screen);
    drop(screen);
    pager.wait().context("the pager did not end")?;
    // Who leaves the pager before the end does not leave the shell.
    Ok(if done == Done::Unread { Done::Well } else { done })
}

/// The program that shows text page by page, where there is somebody to see it.
fn pager() -> Option<Child> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let pager = std::env::var_os("PAGER").filter(|pager| !pager.is_empty())?;
    if pager == "__none__" || pager == "cat" {
        return None;
    }
    Command::new("sh").arg("-c").arg(pager).stdin(Stdio::piped()).spawn().ok()
}

/// Commands of a file or from a pipe.
fn plain(shell: &mut Shell, mut lines: Lines, is_shown: bool) -> Result<Status> {
    let mut all = Status::SUCCESS;
    loop {
        let Line::Text(line) = lines.next(PROMPT)? else { return Ok(all) };
        let line = line.trim_ascii_start();
        if line.is_empty() {
            continue;
        }
        if is_shown {
            writeln!(Output::stdout(), "{PROMPT}{}", terminal(line))?;
        }
        if line.starts_with(b"#") {
            continue;
        }
        match one(shell, line, false)? {
            Done::Well => {}
            Done::Badly => all = Status::FAILURE,
            Done::Quit => return Ok(all),
            done @ (Done::Interrupted | Done::Unread) => return Ok(status(done)),
        }
    }
}

/// Commands of a person.
fn interactive(shell: &mut Shell, is_prompted: bool) -> Result<Status> {
    let mut lines = Lines::terminal()?;
    if is_prompted {
        writeln!(Output::stderr(), "debugfs.ocfs2 {}", env!("CARGO_PKG_VERSION"))?;
    }
    loop {
        match lines.next(if is_prompted { PROMPT } else { "" })? {
            Line::End => {
                writeln!(Output::stdout())?;
                return Ok(Status::SUCCESS);
            }
            Line::Dropped => {}
            Line::Text(line) => match one(shell, &line, true)? {
                done @ (Done::Quit | Done::Unread) => return Ok(status(done)),
                // Ctrl-C ends a command, not the shell.
                Done::Interrupted => shell.interrupt().clear(),
                Done::Well | Done::Badly => {}
            },
        }
    }
}

fn decode(names: &[impl AsRef<OsStr>]) -> Result<Status> {
    let mut out = Output::stdout();
    let mut status = Status::SUCCESS;
    for name in names {
        let bytes = name.as_ref().as_bytes();
        match Lock::parse(bytes) {
            Some(lock) => writeln!(out, "{}", lock.described())?,
            None => {
                print_error(&anyhow::anyhow!("{}: is not a name of a lock", terminal(bytes)));
                status = Status::FAILURE;
            }
        }
    }
    Ok(status)
}

fn encode(words: &[impl AsRef<OsStr>]) -> Result<Status> {
    let [letter, block, other] = words else { bail!("a lock is encoded from three words") };
    let numbers = number(block.as_ref().as_bytes()).zip(number(other.as_ref().as_bytes()));
    let lock = match (letter.as_ref().as_bytes(), numbers) {
        ([letter], Some((block, other))) => Lock::new(*letter, Blkno(block), other),
        _ => None,
    };
    let Some(lock) = lock else { bail!("there is no such lock") };
    writeln!(Output::stdout(), "{}", lock.name())?;
    Ok(Status::SUCCESS)
}
