//! The kernel in the packages of the distribution: one package or, in newer releases, several for
//! Debian, several for Ubuntu.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::host;

/// Packages that depend on the newest kernel; the first one that apt knows is taken.
const NEWEST: [&str; 2] = ["linux-image-amd64", "linux-image-generic"];

/// Packages of a release that apt knows.
#[derive(Debug)]
pub struct Packages {
    /// Options of apt-get and apt-cache; none for the release of this system.
    options: Vec<String>,
    /// Package that the kernel is, or that depends on it; `None` for the newest kernel.
    name: Option<String>,
}

impl Packages {
    /// Returns those of this system's release. `name` is a package other than that of its newest
    /// kernel.
    pub fn of_this_system(name: Option<String>) -> Self {
        Self { options: Vec::new(), name }
    }

    /// Returns those that apt knows with these options.
    pub fn with_options(options: Vec<String>) -> Self {
        Self { options, name: None }
    }

    /// Returns the packages that the kernel consists of.
    pub fn names(&self) -> Result<Vec<String>> {
        match self.known() {
            Err(_) if self.update() => self.known(),
            known => known,
        }
    }

    /// Returns the packages `names`, and those they depend on whose names begin as one of
    /// `prefixes`.
    pub fn with_dependencies(&self, names: &[&str], prefixes: &[&str]) -> Result<Vec<String>> {
        let known = || -> Result<Vec<String>> {
            let apt_cache = Command::new("apt-cache")
                .args(&self.options)
                .args(["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-enhances"])
                .args(["--no-conflicts", "--no-breaks", "--no-replaces"])
                .args(names)
                .env("LC_ALL", "C")
                .output()
                .context("apt-cache")?;
            ensure!(apt_cache.status.success(), "apt-cache does not know {}", names.join(", "));
            let text = String::from_utf8_lossy(&apt_cache.stdout);
            let is_wanted = |name: &&str| {
                names.contains(name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
            };
            let all = text.lines().filter(|line| !line.starts_with(' ') && !line.contains(':'));
            Ok(all.filter(is_wanted).map(str::to_owned).collect())
        };
        match known() {
            Err(_) if self.update() => known(),
            known => known,
        }
    }

    /// Downloads the packages `names` into `folder`.
    pub fn download(&self, folder: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
        if !self.apt_get_download(folder, names)? {
            // The lists name a version that has been replaced meanwhile.
            ensure!(self.update(), "apt-get download {} failed", names.join(" "));
            let again = self.apt_get_download(folder, names)?;
            ensure!(again, "apt-get download {} failed", names.join(" "));
        }
        let files = folder.read_dir()?.map(|entry| Ok(entry?.path()));
        let files: Vec<_> = files.collect::<Result<_>>()?;
        let is_package = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "deb");
        Ok(files.into_iter().filter(is_package).collect())
    }

    /// Returns whether new lists were downloaded. Those of another release have just been.
    fn update(&self) -> bool {
        self.options.is_empty() && host::update_package_lists()
    }

    fn known(&self) -> Result<Vec<String>> {
        if let Some(name) = &self.name {
            return self.closure(name);
        }
        for name in NEWEST {
            if let Ok(names) = self.closure(name) {
                return Ok(names);
            }
        }
        bail!("apt knows neither {}", NEWEST.join(" nor "))
    }

    /// Returns the packages of the kernel that `name` is or depends on.
    fn closure(&self, name: &str) -> Result<Vec<String>> {
        let mut names = vec![name.to_owned()];
        let mut next = 0;
        while let Some(name) = names.get(next) {
            let apt_cache = Command::new("apt-cache")
                .args(&self.options)
                .args(["depends", name])
                .env("LC_ALL", "C")
                .output()
                .context("apt-cache")?;
            ensure!(apt_cache.status.success(), "apt-cache knows no package {name}");
            for name in kernel_dependencies(&String::from_utf8_lossy(&apt_cache.stdout)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            next += 1;
        }
        names.retain(|name| has_version(name));
        ensure!(!names.is_empty(), "{name} depends on no kernel");
        Ok(names)
    }

    fn apt_get_download(&self, folder: &Path, names: &[String]) -> Result<bool> {
        let status = Command::new("apt-get")
            .args(&self.options)
            .args(["download", "-qq"])
            .args(names)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("apt-get")?;
        Ok(status.success())
    }
}

/// Returns the release, as `uname -r` prints it, of the kernel that consists of these packages.
pub fn release(names: &[String]) -> Option<&str> {
    names.iter().find_map(|name| name.strip_prefix("linux-image-"))
}

fn kernel_dependencies(apt_cache: &str) -> Vec<String> {
    let depends = apt_cache.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let of_kernel = |name: &&str| {
        ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && has_version(name)
    };
    depends.filter(of_kernel).map(str::to_owned).collect()
}

/// Returns whether it is a kernel's own package, `linux-image-6.1.0-56-amd64`, not one that depends
/// on the newest.
fn has_version(name: &str) -> bool {
    name.split('-').any(|part| part.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_of_a_kernel_are_told_from_its_other_dependencies() {
        let ubuntu = "linux-image-generic\n  Depends: linux-image-6.8.0-31-generic\n\
            \x20 Depends: linux-modules-extra-6.8.0-31-generic\n  Depends: linux-firmware\n\
            \x20|Depends: linux-image-extra-virtual\n  Recommends: thermald\n";
        let names = ["linux-image-6.8.0-31-generic", "linux-modules-extra-6.8.0-31-generic"];
        assert_eq!(kernel_dependencies(ubuntu), names);

        let debian = "linux-image-7.3.4+deb13-amd64\n  Depends: linux-binary-7.3.4+deb13-amd64\n\
            \x20 Depends: linux-base-7.3.4+deb13-amd64\n  Depends: linux-base\n  Depends: kmod\n\
            \x20 Depends: linux-modules-7.3.4+deb13-amd64\n";
        let names = ["binary", "base", "modules"].map(|it| format!("linux-{it}-7.3.4+deb13-amd64"));
        assert_eq!(kernel_dependencies(debian), names);
        let image = "linux-image-7.3.4+deb13-amd64".to_owned();
        assert_eq!(release(&[image]), Some("7.3.4+deb13-amd64"));
    }
}
