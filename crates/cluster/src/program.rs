//! Programs of the cluster's services that this host may have.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where they are; `$PATH` of a caller is not trusted.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const LONGEST: u64 = 4 << 20;

/// The path of a program; `None` if it is not installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// See [`crate::Kernel::ask`].
pub(crate) fn ask(program: &str, arguments: &[&str]) -> io::Result<String> {
    let path = find(program).ok_or(io::ErrorKind::NotFound)?;
    answer(Command::new(path).args(arguments), PATIENCE)
}

fn answer(command: &mut Command, patience: Duration) -> io::Result<String> {
    let command = command.env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let Some(stdout) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    // Read meanwhile: a program whose output nobody takes does not end.
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        stdout.take(LONGEST).read_to_end(&mut text).map(|_| text)
    });
    wait(&mut child, patience)?;
    let text = reader.join().map_err(|_| io::Error::other("its output cannot be read"))??;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Waits until the program has ended with status 0; kills it if it takes too long.
fn wait(child: &mut Child, patience: Duration) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(status.to_string())),
            None if start.elapsed() < patience => thread::sleep(Duration::from_millis(5)),
            None => {
                // It may have ended meanwhile; either way it is over.
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> io::Result<String> {
        answer(Command::new("/bin/sh").args(["-c", script]), patience)
    }

    #[test]
    fn an_answer_has_to_come_in_time_and_with_status_0() {
        assert_eq!(shell("echo $LC_ALL; echo no >&2", PATIENCE).unwrap(), "C\n");
        assert_eq!(shell("head -c 300000 /dev/zero", PATIENCE).unwrap().len(), 300_000);
        assert!(shell("exit 3", PATIENCE).unwrap_err().to_string().contains('3'));
        let late = shell("exec sleep 100", Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert_eq!(ask("no-such-program", &[]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
