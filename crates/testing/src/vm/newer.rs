//! A newer release of Debian than the running one. apt downloads its packages without any change to
//! this system, with separate sources, lists and cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Suites with newer kernels, the newest first.
pub const SUITES: [&str; 2] = ["trixie-backports", RELEASE];

/// The release after Debian 12.
pub const RELEASE: &str = "trixie";

/// Keys of Debian's archive, if the source names none.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A source of Debian's archive.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Source {
    uri: String,
    signed_by: Option<String>,
}

/// Updates the lists of the first of the suites that can be had, in `folder`, and returns the options
/// that make apt use only them.
///
/// # Errors
/// If no archive of Debian is among the sources of this system, it cannot be reached, or its keys
/// are not known here.
pub fn options(folder: &Path, suites: &[&str]) -> Result<Vec<String>> {
    let source = sources(Path::new("/etc/apt"))
        .into_iter()
        .next()
        .context("no archive of Debian is named in /etc/apt/sources.list or sources.list.d")?;
    let parts = folder.join("sources");
    for path in [&parts, &folder.join("lists/partial"), &folder.join("cache/archives/partial")] {
        fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    }
    let options = isolated(folder);
    let mut failed = String::new();
    for suite in suites {
        fs::write(parts.join("newer.sources"), source.text(suite))?;
        let update = Command::new("apt-get")
            .args(&options)
            .args(["update", "-qq", "-o", "Acquire::Retries=2"])
            .stdin(Stdio::null())
            .output()
            .context("apt-get")?;
        let said = String::from_utf8_lossy(&update.stderr);
        // If the suite does not exist any more, apt may still succeed.
        if update.status.success() && !said.lines().any(|line| line.starts_with("E:")) {
            return Ok(options);
        }
        failed += &format!("{suite}: {}\n", said.trim());
        if said.contains("NO_PUBKEY") {
            bail!("{failed}its keys are not known here: package debian-archive-keyring has them");
        }
    }
    bail!("no lists of packages from {}: {}", source.uri, failed.trim())
}

/// Returns options that keep apt away from the sources and lists of this system.
fn isolated(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    [
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={}", path("sources")),
        format!("Dir::State::lists={}", path("lists")),
        format!("Dir::Cache={}", path("cache")),
        "Dir::State::status=/dev/null".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        // The folder may be visible only to its owner.
        "APT::Sandbox::User=root".to_owned(),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect()
}

impl Source {
    fn text(&self, suite: &str) -> String {
        let keys = self.signed_by.clone().or_else(|| {
            let is_there = Path::new(KEYS).exists();
            is_there.then(|| KEYS.to_owned())
        });
        let keys = keys.map(|keys| format!("Signed-By: {keys}\n")).unwrap_or_default();
        format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n{keys}", self.uri)
    }
}

/// Returns the archives of Debian that `folder`, such as `/etc/apt`, names.
fn sources(folder: &Path) -> Vec<Source> {
    let mut files = vec![folder.join("sources.list")];
    if let Ok(entries) = folder.join("sources.list.d").read_dir() {
        let mut more: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        more.sort();
        files.append(&mut more);
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        match path.extension().and_then(|it| it.to_str()) {
            Some("sources") => stanzas(&text),
            Some("list") => one_line_each(&text),
            _ => Vec::new(),
        }
    };
    files.into_iter().flat_map(read).filter(|source| is_debian(&source.uri)).collect()
}

/// Returns whether it is the archive itself or a mirror of it, not that of security, nor Ubuntu's.
fn is_debian(uri: &str) -> bool {
    let uri = uri.trim_end_matches('/');
    uri.ends_with("/debian") && ["http://", "https://"].iter().any(|kind| uri.starts_with(kind))
}

/// Parses a file of stanzas, `.sources`.
fn stanzas(text: &str) -> Vec<Source> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let read = |stanza: &str| {
        let field = |name: &str| {
            stanza.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let is_on = field("Enabled").is_none_or(|it| it != "no");
        let is_deb = field("Types")?.split_whitespace().any(|kind| kind == "deb");
        let uri = field("URIs")?.split_whitespace().next()?.to_owned();
        // An empty field starts a key that is embedded in the stanza.
        let signed_by = field("Signed-By").filter(|keys| keys.starts_with('/'));
        (is_on && is_deb).then_some(Source { uri, signed_by })
    };
    text.split("\n\n").filter_map(read).collect()
}

/// Parses a file with one source per line, `.list`.
fn one_line_each(text: &str) -> Vec<Source> {
    let read = |line: &str| {
        let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let keys = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let signed_by = keys.map(str::to_owned).filter(|keys| keys.starts_with('/'));
        Some(Source { uri: rest.split_whitespace().next()?.to_owned(), signed_by })
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_found_however_it_is_written() {
        let keys = Some("/usr/share/keyrings/debian-archive-keyring.gpg".to_owned());
        let uri = "http://deb.debian.org/debian".to_owned();
        let text = "Types: deb\n# a comment\nURIs: http://deb.debian.org/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    Types: deb-src\nURIs: http://other/debian\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off/debian\n";
        assert_eq!(stanzas(text), [Source { uri: uri.clone(), signed_by: keys.clone() }]);
        let text = "# deb http://old/debian x main\ndeb-src http://deb.debian.org/debian x main\n\
                    deb http://deb.debian.org/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                    http://deb.debian.org/debian bookworm main\n";
        let expected =
            [Source { uri: uri.clone(), signed_by: None }, Source { uri, signed_by: keys }];
        assert_eq!(one_line_each(text), expected);
        assert!(is_debian("https://mirror.example.org/debian/"));
        for other in ["http://deb.debian.org/debian-security", "http://archive.ubuntu.com/ubuntu"] {
            assert!(!is_debian(other), "{other}");
        }
    }
}
