//! The services of a cluster of corosync, from the distribution's packages. They are downloaded for
//! the machines and never installed: this computer is to become no node of anything.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::archive::Archive;
use super::guest;
use super::kernel::{cache_folder, locked_cache, read};
use super::package::Packages;

/// Increased when the contents of the archive change.
const LAYOUT: &str = "1";
const PACKAGES: [&str; 2] = ["corosync", "dlm-controld"];
/// What the packages that hold their libraries are called, before the number of the interface.
const LIBRARIES: [&str; 12] = [
    "libcfg",
    "libcmap",
    "libcorosync-common",
    "libcpg",
    "libdlm",
    "libknet",
    "libnozzle",
    "libqb",
    "libquorum",
    "libsam",
    "libstatgrab",
    "libvotequorum",
];
const PROGRAMS: [&str; 5] =
    ["corosync", "corosync-cpgtool", "corosync-quorumtool", "dlm_controld", "dlm_tool"];

fn path() -> Result<PathBuf> {
    Ok(cache_folder()?.join(format!("corosync-{LAYOUT}.cpio")))
}

/// Returns the archive of the programs with their libraries, a part of the root file system.
pub(super) fn cached() -> Result<PathBuf> {
    let path = path()?;
    ensure!(path.exists(), "corosync and dlm-controld are not downloaded yet: cargo xtask kernel");
    Ok(path)
}

/// Returns the same, and makes it if it is not there yet.
pub(super) fn get() -> Result<PathBuf> {
    // If another process held the lock, it has made the archive meanwhile.
    let (cache, _lock) = locked_cache("lock")?;
    let path = path()?;
    if path.exists() {
        return Ok(path);
    }
    let scratch = tempfile::tempdir_in(&cache)?;
    let packages = Packages::of_this_system(None);
    let names = packages.with_dependencies(&PACKAGES, &LIBRARIES)?;
    let unpacked = scratch.path().join("unpacked");
    for package in packages.download(scratch.path(), &names)? {
        let status = Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked).status();
        ensure!(status.context("dpkg-deb")?.success(), "unpacking {}", package.display());
    }
    let folders: Vec<_> = ["usr/lib", "lib"]
        .map(|folder| unpacked.join(folder).join("x86_64-linux-gnu"))
        .into_iter()
        .filter(|folder| folder.exists())
        .collect();
    let mut archive = Archive::default();
    let mut needed = std::collections::BTreeSet::new();
    for name in PROGRAMS {
        let places = ["usr/sbin", "sbin", "usr/bin"].map(|folder| unpacked.join(folder).join(name));
        let Some(program) = places.into_iter().find(|path| path.exists()) else {
            bail!("no program {name} in the packages {}", names.join(" "));
        };
        archive.file(&format!("sbin/{name}"), &read(&program)?)?;
        needed.append(&mut guest::libraries(&program, &folders)?);
    }
    for library in needed {
        let name = library.file_name().context("a library without a name")?.to_string_lossy();
        archive.file(&format!("usr/lib/{name}"), &read(&library)?)?;
    }
    let new = scratch.path().join("new");
    fs::write(&new, archive.finish()?)?;
    fs::rename(new, &path)?;
    Ok(path)
}
