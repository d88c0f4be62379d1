//! Running a program and examining what it did.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program about to be run: with nothing on standard input, no locale, no time zone, and a
/// timeout of a minute.
#[derive(Debug)]
pub struct Run {
    command: Command,
    stdin: Vec<u8>,
    timeout: Duration,
}

impl Run {
    /// Selects the program at `path`, or of that name in `$PATH`.
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        command.env("LC_ALL", "C").env("TZ", "UTC");
        Self { command, stdin: Vec::new(), timeout: Duration::from_secs(60) }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the folder it is run in.
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets its standard input, which is never a terminal.
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Sets how long it may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started, or is killed because its time is up.
    pub fn output(self) -> Outcome {
        let Self { mut command, stdin, timeout } = self;
        let line = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|err| panic!("{line}: {err}"));
        let mut input = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        thread::scope(|scope| {
            // It is fine if a program does not read its input.
            scope.spawn(move || drop(input.write_all(&stdin)));
            let stdout = scope.spawn(move || read(&mut stdout));
            let stderr = scope.spawn(move || read(&mut stderr));
            let status = wait(&mut child, timeout).unwrap();
            let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
            let Some(status) = status else {
                panic!("{line}: not done after {timeout:?}\n{stdout}{stderr}");
            };
            let status = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
            Outcome { line, status, stdout, stderr }
        })
    }

    /// Runs it and demands status 0.
    ///
    /// # Panics
    /// Like [`Run::output`], and if the status is another one, with everything it printed.
    #[track_caller]
    pub fn success(self) -> Outcome {
        self.output().expect_status(0)
    }
}

fn read(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // What came before an error is worth more than the error.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `None` if it ran out of time and was killed.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= timeout {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Result of running a program.
#[derive(Clone, Debug)]
pub struct Outcome {
    line: String,
    /// Its exit status; 128 + N if signal N ended it.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error output.
    pub stderr: String,
}

impl Outcome {
    /// Returns the outcome unchanged if it ended with `status`.
    ///
    /// # Panics
    /// If it did not, with everything it printed.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert!(self.status == status, "expected status {status} of {self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, status, stdout, stderr } = self;
        write!(f, "{line}\nstatus: {status}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_its_input_and_gives_its_output_and_status() {
        let run = Run::new("sh").args(["-c", "cat; echo oops >&2; exit 3"]).stdin("hello");
        let outcome = run.output().expect_status(3);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("hello", "oops\n"));
        let outcome = Run::new("sh").args(["-c", "kill -TERM $$"]).output();
        assert_eq!(outcome.status, 143);
    }

    #[test]
    #[should_panic(expected = "not done after")]
    fn a_program_that_does_not_end_is_killed() {
        Run::new("sleep").arg("1000").timeout(Duration::from_millis(50)).output();
    }
}
