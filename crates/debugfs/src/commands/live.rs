//! Commands about the running kernel.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::live::dlm_locks::Resource;
use crate::live::fs_locks::FsLock;
use crate::live::net_stats::{TITLE, Traffic};
use crate::live::{lines, open};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::count_of;

/// The default number of repetitions: without end.
const ENDLESS: u64 = u64::MAX;

/// The arguments of `fs_locks` and `dlm_locks`.
#[derive(Default)]
struct Wanted<'w> {
    file: Option<&'w Path>,
    with_value: bool,
    only_busy: bool,
    names: Vec<String>,
}

impl<'w> Wanted<'w> {
    fn parse(words: &'w [Vec<u8>], takes_busy: bool) -> Result<Self, Failure> {
        let mut wanted = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"-f" => {
                    let path = words.next().ok_or(Failure::Usage)?;
                    wanted.file = Some(Path::new(std::ffi::OsStr::from_bytes(path)));
                }
                b"-l" => wanted.with_value = true,
                b"-B" if takes_busy => wanted.only_busy = true,
                word if word.starts_with(b"-") => return Err(Failure::Usage),
                word => {
                    let name = word.strip_prefix(b"<").and_then(|it| it.strip_suffix(b">"));
                    wanted.names.push(ocfs2_cli::terminal(name.unwrap_or(word)));
                }
            }
        }
        Ok(wanted)
    }

    fn has(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

/// The path of the kernel's file about the volume, in `folder`.
fn state_of(shell: &Shell, folder: &str) -> Result<PathBuf, Failure> {
    let uuid = shell.fs()?.volume.superblock().uuid_string();
    Ok(Path::new(folder).join(uuid).join("locking_state"))
}

/// The lines of the given file, or of the kernel's file about the volume.
fn state(
    shell: &Shell,
    wanted: &Wanted<'_>,
    folder: &str,
) -> Result<impl Iterator<Item = std::io::Result<String>>, Failure> {
    let kernel = match wanted.file {
        Some(_) => PathBuf::new(),
        None => state_of(shell, folder)?,
    };
    Ok(lines(open(wanted.file, || kernel)?))
}

/// `fs_locks`
pub(super) fn fs_locks(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let wanted = Wanted::parse(words, true)?;
    for line in state(shell, &wanted, "ocfs2")? {
        shell.interrupt().check()?;
        let lock = FsLock::parse(&line?).map_err(Failure::Failed)?;
        if wanted.has(&lock.name) && (!wanted.only_busy || lock.is_busy()) {
            out.record("fs_lock", |it| lock.record(it))?;
            write!(out, "{}", lock.text(wanted.with_value))?;
        }
    }
    Ok(())
}

/// `dlm_locks`
pub(super) fn dlm_locks(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let wanted = Wanted::parse(words, false)?;
    let mut resource = None;
    let mut show = |found: Option<Resource>| -> Result<(), Failure> {
        if found.as_ref().is_some_and(|it| it.name.is_empty()) {
            return Err(Failure::Failed(
                "a lock without a name: not a state of the DLM".to_owned(),
            ));
        }
        if let Some(found) = found.filter(|it| wanted.has(&it.name)) {
            out.record("dlm_lock", |it| found.record(it))?;
            write!(out, "{}", found.text(wanted.with_value))?;
        }
        Ok(())
    };
    for line in state(shell, &wanted, "o2dlm")? {
        shell.interrupt().check()?;
        let line = line?;
        if line.is_empty() {
            show(resource.take())?;
            continue;
        }
        resource.get_or_insert_with(Resource::default).take(&line).map_err(Failure::Failed)?;
    }
    show(resource)
}

/// `net_stats`
pub(super) fn net_stats(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (file, words) = match words {
        [option, path, rest @ ..] if option == b"-f" => {
            (Some(Path::new(std::ffi::OsStr::from_bytes(path))), rest)
        }
        words => (None, words),
    };
    let mut numbers = words.iter().map(|word| count_of(word));
    let (interval, looks) = (numbers.next().transpose()?, numbers.next().transpose()?);
    let looks = if interval.is_some() { looks.unwrap_or(ENDLESS) } else { 1 };
    let mut before: BTreeMap<u64, Traffic> = BTreeMap::new();
    for look in 0..looks {
        let seconds = if look == 0 { 0 } else { interval.unwrap_or(0) };
        wait(shell, Duration::from_secs(seconds))?;
        let opened = open(file, || PathBuf::from("o2net/stats"))?;
        write!(out, "{TITLE}")?;
        for line in lines(opened) {
            let line = line?;
            let Some(traffic) = Traffic::parse(&line) else {
                if let Some(file) = file.filter(|_| !line.trim().is_empty()) {
                    let file = ocfs2_cli::shown(file);
                    let text = format!("'{file}' has a line that is no statistics of o2net");
                    return Err(Failure::Failed(text));
                }
                continue;
            };
            let earlier = before.insert(traffic.node(), traffic);
            out.record("traffic", |it| traffic.record(it))?;
            write!(out, "{}", traffic.row(earlier.as_ref(), seconds))?;
        }
        out.flush()?;
    }
    Ok(())
}

/// Waits; fails after a signal.
pub(super) fn wait(shell: &Shell, time: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < time {
        shell.interrupt().check()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(shell.interrupt().check()?)
}
