//! The root file system of a machine: busybox, the commands of the folder `guest`, and programs.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::Archive;
use super::kernel::read;

/// Commands for scripts, each a script itself.
const COMMANDS: [(&str, &str); 12] = [
    ("barrier", include_str!("../../guest/barrier")),
    ("cluster-conf", include_str!("../../guest/cluster-conf")),
    ("cluster-up", include_str!("../../guest/cluster-up")),
    ("corosync-conf", include_str!("../../guest/corosync-conf")),
    ("corosync-up", include_str!("../../guest/corosync-up")),
    ("crash", include_str!("../../guest/crash")),
    ("dlm-links", include_str!("../../guest/dlm-links")),
    ("heartbeat-area", include_str!("../../guest/heartbeat-area")),
    ("heartbeat-start", include_str!("../../guest/heartbeat-start")),
    ("mount-volume", include_str!("../../guest/mount-volume")),
    ("ocfs2_hb_ctl", include_str!("../../guest/ocfs2_hb_ctl")),
    ("peer-dead", include_str!("../../guest/peer-dead")),
];
const INIT: &str = include_str!("../../guest/init");
const FOLDERS: [&str; 15] = [
    "bin", "dev", "etc", "lab", "mnt", "proc", "root", "run", "sbin", "share", "sys", "tmp", "usr",
    "usr/lib", "var",
];

/// Returns the archive of everything except the modules.
pub fn root(busybox: &Path, programs: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.folder(folder)?;
    }
    // All libraries are in one folder, wherever they are looked for.
    archive.link("lib", "usr/lib")?;
    archive.link("lib64", "usr/lib")?;
    archive.file("init", INIT.as_bytes())?;
    let given = programs.iter().map(|program| name(program)).collect::<Result<Vec<_>>>()?;
    for (name, script) in COMMANDS.iter().filter(|(name, _)| !given.iter().any(|it| it == name)) {
        archive.file(&format!("sbin/{name}"), script.as_bytes())?;
    }
    archive.file("bin/busybox", &read(busybox)?)?;
    let mut needed = libraries(busybox, &[])?;
    for program in programs {
        archive.file(&format!("sbin/{}", name(program)?), &read(program)?)?;
        needed.append(&mut libraries(program, &[])?);
    }
    for library in needed {
        let name = library.file_name().context("a library without a name")?.to_string_lossy();
        archive.file(&format!("usr/lib/{name}"), &read(&library)?)?;
    }
    Ok(archive.finish()?)
}

/// Returns the name that the system uses, such as `mounted.ocfs2`, which cargo has to call
/// `mounted-ocfs2`.
fn name(program: &Path) -> Result<String> {
    let name = program.file_name().with_context(|| program.display().to_string())?;
    let name = name.to_string_lossy().into_owned();
    Ok(name.strip_suffix("-ocfs2").map(|stem| format!("{stem}.ocfs2")).unwrap_or(name))
}

/// Returns the shared libraries that a program needs, including its loader; none if it is static.
/// They are looked for in `folders` first.
pub(super) fn libraries(program: &Path, folders: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program).env("LC_ALL", "C");
    if !folders.is_empty() {
        ldd.env("LD_LIBRARY_PATH", env::join_paths(folders)?);
    }
    let ldd = ldd.output().context("ldd")?;
    let lines = String::from_utf8_lossy(&ldd.stdout);
    let mut libraries = BTreeSet::new();
    for line in lines.lines().map(str::trim) {
        let found = line.split_once(" => ").map_or(line, |(_, path)| path);
        if found == "not found" {
            bail!("{}: {line}", program.display());
        }
        let path = found.split(" (0x").next().unwrap_or_default();
        if path.starts_with('/') {
            // Both names of a file are kept: either may be asked for.
            fs::metadata(path).with_context(|| path.to_owned())?;
            libraries.insert(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_called_as_the_system_calls_it() {
        assert_eq!(name(Path::new("target/debug/mounted-ocfs2")).unwrap(), "mounted.ocfs2");
        assert_eq!(name(Path::new("/usr/bin/setfattr")).unwrap(), "setfattr");
    }

    #[test]
    fn a_dynamic_program_comes_with_its_libraries() {
        let test = std::env::current_exe().unwrap();
        let libraries = libraries(&test, &[]).unwrap();
        assert!(libraries.iter().any(|path| path.to_string_lossy().contains("libc.so")));
    }
}
