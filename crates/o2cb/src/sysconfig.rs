//! The file `/etc/default/o2cb` or `/etc/sysconfig/o2cb`: what happens at boot, and the timeouts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ocfs2_cluster::{Timeouts, write_whole};

/// The contents of the file: assignments in shell syntax.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sysconfig {
    text: String,
}

/// Returns the path of the file below `root`. An existing file is preferred, that of Red Hat and
/// SUSE before that of Debian; otherwise the existing folder decides. The init script of the C
/// tools chooses in the same way.
pub fn sysconfig_path(root: &Path) -> PathBuf {
    let (red_hat, debian) = (root.join("etc/sysconfig"), root.join("etc/default"));
    let files = [red_hat.join("o2cb"), debian.join("o2cb")];
    if let Some(there) = files.iter().find(|file| file.is_file()) {
        return there.clone();
    }
    if red_hat.is_dir() { red_hat.join("o2cb") } else { debian.join("o2cb") }
}

impl Sysconfig {
    /// Reads the file; a missing file counts as empty.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self { text }),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err).with_context(|| ocfs2_cli::shown(path)),
        }
    }

    /// Replaces the file atomically.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, self.text.as_bytes())
            .with_context(|| format!("cannot write {}", ocfs2_cli::shown(path)))
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A value without quotes and surrounding blanks; `None` if it is not set or is empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = self.text.lines().rev().find_map(|line| assignment(line, key))?;
        let value = value.trim();
        let quotes = ['"', '\''];
        let inner = quotes.iter().find_map(|q| value.strip_prefix(*q)?.split(*q).next());
        let plain = || value.split([' ', '\t', '#', ';']).next().unwrap_or(value);
        Some(inner.unwrap_or_else(plain).trim()).filter(|value| !value.is_empty())
    }

    /// Sets a value and keeps everything else. A value that is not a single word for a shell is
    /// quoted, because a shell sources the file.
    pub fn set(&mut self, key: &str, value: &str) {
        let line = format!("{key}={}", quoted(value));
        let mut lines: Vec<&str> = self.text.lines().collect();
        match lines.iter().rposition(|line| assignment(line, key).is_some()) {
            Some(at) => {
                if let Some(place) = lines.get_mut(at) {
                    *place = &line;
                }
            }
            None => lines.push(&line),
        }
        self.text = lines.join("\n") + "\n";
    }

    /// Whether to bring the cluster online at boot.
    pub fn is_enabled(&self) -> bool {
        matches!(self.get("O2CB_ENABLED"), Some("true" | "yes" | "1"))
    }

    /// The cluster to bring online at boot.
    pub fn boot_cluster(&self) -> Option<&str> {
        self.get("O2CB_BOOTCLUSTER")
    }

    /// The timeouts that are set.
    ///
    /// # Errors
    /// If one is not a number, or the kernel would refuse it.
    pub fn timeouts(&self) -> Result<Timeouts> {
        let number = |key: &str| match self.get(key) {
            None => Ok(None),
            Some(text) => {
                text.parse().map(Some).with_context(|| format!("{key} is {text}, not a number"))
            }
        };
        let timeouts = Timeouts {
            dead_threshold: number("O2CB_HEARTBEAT_THRESHOLD")?,
            idle_timeout_ms: number("O2CB_IDLE_TIMEOUT_MS")?,
            keepalive_delay_ms: number("O2CB_KEEPALIVE_DELAY_MS")?,
            reconnect_delay_ms: number("O2CB_RECONNECT_DELAY_MS")?,
        };
        if let Some(threshold) = timeouts.dead_threshold.filter(|threshold| *threshold <= 2) {
            bail!("the heartbeat dead threshold is {threshold}, expected more than 2");
        }
        let all = timeouts.or(Timeouts::OF_KERNEL);
        if let (Some(keepalive), Some(idle)) = (all.keepalive_delay_ms, all.idle_timeout_ms)
            && keepalive >= idle
        {
            bail!(
                "the keepalive delay is {keepalive} ms, expected less than the idle timeout, {idle} ms"
            );
        }
        Ok(timeouts)
    }
}

/// The value as one word for a shell.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.,:/@%+".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// The value that `line` assigns to `key`; `None` if it does not.
fn assignment<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    line.strip_prefix(key)?.strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_does_and_set_in_their_place() {
        let text =
            "# boot\nO2CB_ENABLED=true # yes\nexport O2CB_BOOTCLUSTER=\"web\"\nO2CB_STACK=\nX=1\n";
        let mut file = Sysconfig { text: text.to_owned() };
        assert!(file.is_enabled());
        assert_eq!((file.boot_cluster(), file.get("O2CB_STACK")), (Some("web"), None));
        assert_eq!(file.timeouts().unwrap(), Timeouts::default());
        file.set("O2CB_BOOTCLUSTER", "ovs");
        file.set("O2CB_HEARTBEAT_THRESHOLD", "8");
        let expected = "# boot\nO2CB_ENABLED=true # yes\nO2CB_BOOTCLUSTER=ovs\nO2CB_STACK=\nX=1\n\
                        O2CB_HEARTBEAT_THRESHOLD=8\n";
        assert_eq!(file.text(), expected);
        assert_eq!(file.timeouts().unwrap().dead_threshold, Some(8));
    }

    #[test]
    fn a_shell_that_sources_the_file_gets_one_word_a_value() {
        for value in ["a b", "$(touch x)", "`x`;y", "it's", "", "ovs\nX=1", "a#b", "~", "*"] {
            let mut file = Sysconfig::default();
            file.set("O2CB_BOOTCLUSTER", value);
            let script = format!("{}printf %s \"$O2CB_BOOTCLUSTER\"", file.text());
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
        }
        let file = Sysconfig { text: "A=' x '\nB=\" y\" # z\nC=1;D=2\n".to_owned() };
        let values = ["A", "B", "C"].map(|key| file.get(key).unwrap());
        assert_eq!(values, ["x", "y", "1"]);
    }

    #[test]
    fn the_file_that_is_there_is_taken_and_else_the_folder_decides() {
        let root = tempfile::tempdir().unwrap();
        let path = |root: &Path| sysconfig_path(root).strip_prefix(root).unwrap().to_owned();
        let (red_hat, debian) = (Path::new("etc/sysconfig/o2cb"), Path::new("etc/default/o2cb"));
        assert_eq!(path(root.path()), debian);
        fs::create_dir_all(root.path().join("etc/sysconfig")).unwrap();
        assert_eq!(path(root.path()), red_hat);
        fs::create_dir_all(root.path().join("etc/default")).unwrap();
        fs::write(root.path().join(debian), "").unwrap();
        assert_eq!(path(root.path()), debian);
        fs::write(root.path().join(red_hat), "").unwrap();
        assert_eq!(path(root.path()), red_hat);
    }

    #[test]
    fn timeouts_the_kernel_would_refuse_are_refused_before() {
        for (key, value, message) in [
            (
                "O2CB_HEARTBEAT_THRESHOLD",
                "2",
                "the heartbeat dead threshold is 2, expected more than 2",
            ),
            (
                "O2CB_IDLE_TIMEOUT_MS",
                "2000",
                "the keepalive delay is 2000 ms, expected less than the idle timeout, 2000 ms",
            ),
            ("O2CB_RECONNECT_DELAY_MS", "soon", "O2CB_RECONNECT_DELAY_MS is soon, not a number"),
        ] {
            let mut file = Sysconfig::default();
            file.set(key, value);
            assert_eq!(file.timeouts().unwrap_err().to_string(), message);
        }
    }
}
