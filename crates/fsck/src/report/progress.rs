//! The progress of the check: a bar for people, lines for fsck(8).

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use ocfs2_cli::{NoProgress, Output, Progress, program_name, progress, shown};

use crate::Pass;
use crate::cli::Cli;

/// Shows progress in the requested ways.
pub(crate) struct ProgressOut {
    bar: Box<dyn Progress>,
    /// The file descriptor of `-C`, given by the calling program.
    lines: Option<File>,
    /// Lines for `-P` without a terminal.
    percents: bool,
    device: String,
    pass: Pass,
    total: u64,
    /// The last line, in percent.
    told: Option<u64>,
}

impl ProgressOut {
    pub fn new(cli: &Cli) -> io::Result<Self> {
        let lines = cli.progress_fd.filter(|fd| *fd >= 0).map(open_fd).transpose()?;
        let is_terminal = io::stderr().is_terminal();
        let bar = if lines.is_none() { progress(true) } else { Box::new(NoProgress) };
        Ok(Self {
            bar,
            percents: cli.progress && lines.is_none() && !is_terminal,
            lines,
            device: shown(&cli.device),
            pass: Pass::Start,
            total: 0,
            told: None,
        })
    }

    pub fn begin(&mut self, pass: Pass, total: u64) {
        (self.pass, self.total, self.told) = (pass, total, None);
        match pass.title().filter(|_| total > 0) {
            Some(title) => self.bar.start(title.split(':').next().unwrap_or(title), total),
            None => self.bar.finish(),
        }
        self.tell(0);
    }

    /// Begins something that comes before or instead of the passes.
    pub fn begin_task(&mut self, what: &str, total: u64) {
        (self.pass, self.total, self.told) = (Pass::Start, total, None);
        self.bar.start(what, total);
        self.tell(0);
    }

    pub fn update(&mut self, done: u64) {
        self.bar.update(done);
        self.tell(done);
    }

    pub fn pause(&self) {
        self.bar.pause();
    }

    pub fn finish(&mut self) {
        self.bar.finish();
    }

    fn tell(&mut self, done: u64) {
        if self.total == 0 || (self.lines.is_none() && !self.percents) {
            return;
        }
        let done = done.min(self.total);
        let percent = (u128::from(done) * 100 / u128::from(self.total)) as u64;
        let step = if self.lines.is_some() { 1 } else { 10 };
        if self.told.is_some_and(|told| percent < told + step && (percent < 100 || told == 100)) {
            return;
        }
        self.told = Some(percent);
        let (pass, total, device) = (self.pass.number(), self.total, &self.device);
        // A reader that has gone away does not need it.
        let _ = match &mut self.lines {
            Some(file) => writeln!(file, "{pass} {done} {total} {device}"),
            None => writeln!(Output::stderr(), "{}: pass {pass}: {percent}%", program_name()),
        };
    }
}

/// Opens a file descriptor that this process inherited.
fn open_fd(fd: i32) -> io::Result<File> {
    let open = File::options().append(true).open(format!("/proc/self/fd/{fd}"));
    open.map_err(|err| io::Error::new(err.kind(), format!("file descriptor {fd} (-C): {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_front_end_reads_pass_done_total_and_device() {
        let out = tempfile::NamedTempFile::new().unwrap();
        let fd = Some(out.as_file().as_raw_fd());
        let cli = Cli { device: "/dev/sdb1".into(), progress_fd: fd, ..Cli::default() };
        let mut progress = ProgressOut::new(&cli).unwrap();
        progress.begin(Pass::Start, 0);
        progress.begin(Pass::Inodes, 1000);
        for done in 1..=1000 {
            progress.update(done);
        }
        progress.begin(Pass::Directories, 2);
        progress.update(2);
        progress.update(7);
        let told = std::fs::read_to_string(out.path()).unwrap();
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 101 + 2, "{told}");
        assert_eq!(lines[..2], ["1 0 1000 /dev/sdb1", "1 10 1000 /dev/sdb1"]);
        assert_eq!(lines[100..], ["1 1000 1000 /dev/sdb1", "2 0 2 /dev/sdb1", "2 2 2 /dev/sdb1"]);
    }

    #[test]
    fn a_file_descriptor_that_is_none_is_named() {
        let cli = Cli { progress_fd: Some(987), ..Cli::default() };
        let Err(err) = ProgressOut::new(&cli) else { panic!("it is open") };
        assert!(err.to_string().starts_with("file descriptor 987 (-C)"), "{err}");
        let off = Cli { progress_fd: Some(-1), ..Cli::default() };
        assert!(ProgressOut::new(&off).is_ok());
    }
}
