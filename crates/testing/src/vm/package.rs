//! The kernel as the distribution packages it: Debian's in one package, Ubuntu's in several.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::host;

/// Packages that stand for the newest kernel; the first one known is taken.
const NEWEST: [&str; 2] = ["linux-image-amd64", "linux-image-generic"];

/// Downloads the packages of the distribution's kernel into `folder`.
///
/// `$OCFS2_KERNEL_PACKAGE` names another one than the newest.
pub fn download(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = match names() {
        Ok(names) => names,
        Err(err) if !host::update_package_lists() => return Err(err),
        Err(_) => names()?,
    };
    if !apt_get_download(folder, &names)? {
        // The lists name a version that has been replaced meanwhile.
        ensure!(host::update_package_lists(), "apt-get download {} failed", names.join(" "));
        ensure!(apt_get_download(folder, &names)?, "apt-get download {} failed", names.join(" "));
    }
    let files = folder.read_dir()?.map(|entry| Ok(entry?.path()));
    let files: Vec<_> = files.collect::<Result<_>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "deb")).collect())
}

fn names() -> Result<Vec<String>> {
    if let Ok(name) = env::var("OCFS2_KERNEL_PACKAGE") {
        return closure(&name);
    }
    for name in NEWEST {
        if let Ok(names) = closure(name) {
            return Ok(names);
        }
    }
    bail!("apt knows neither {}", NEWEST.join(" nor "))
}

/// The packages of a kernel that `name` is or depends on.
fn closure(name: &str) -> Result<Vec<String>> {
    let mut names = vec![name.to_owned()];
    let mut next = 0;
    while let Some(name) = names.get(next) {
        let apt_cache = Command::new("apt-cache")
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

fn kernel_dependencies(apt_cache: &str) -> Vec<String> {
    let depends = apt_cache.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let of_kernel = |name: &&str| {
        ["linux-image-", "linux-binary-", "linux-modules-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && has_version(name)
    };
    depends.filter(of_kernel).map(str::to_owned).collect()
}

/// Whether it is a kernel's own package, `linux-image-6.1.0-56-amd64`, not one that stands for
/// the newest.
fn has_version(name: &str) -> bool {
    name.split('-').any(|part| part.starts_with(|first: char| first.is_ascii_digit()))
}

fn apt_get_download(folder: &Path, names: &[String]) -> Result<bool> {
    let status = Command::new("apt-get")
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
    }
}
