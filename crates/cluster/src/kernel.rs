//! Access to the running kernel: sysfs, configfs, modules.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program;

/// The cluster interfaces of the kernel. Paths are relative to the root directory:
/// `sys/fs/ocfs2/cluster_stack`.
pub trait Kernel {
    /// Reads the text of a file, without the newline at its end.
    ///
    /// # Errors
    /// If the file does not exist or the kernel refuses.
    fn read(&self, path: &str) -> io::Result<String>;

    /// Writes `value` and a newline to an existing file.
    ///
    /// # Errors
    /// If the file does not exist or the kernel refuses the value.
    fn write(&self, path: &str, value: &str) -> io::Result<()>;

    /// Creates a folder, which in configfs creates an object.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Removes a folder, which in configfs removes an object with all its attributes.
    ///
    /// # Errors
    /// If the kernel refuses: [`io::ErrorKind::ResourceBusy`] if the object is in use.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// Whether the file or folder exists.
    fn exists(&self, path: &str) -> bool;

    /// The names of the folders in a folder, sorted; empty if it does not exist.
    fn folders(&self, path: &str) -> Vec<String>;

    /// Loads a module unless it is already loaded.
    ///
    /// # Errors
    /// The reason for the failure, as text for people.
    fn load_module(&self, name: &str) -> Result<(), String>;

    /// Mounts configfs on `sys/kernel/config`.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn mount_configfs(&self) -> io::Result<()>;

    /// Mounts dlmfs on `folder`, which is created if it does not exist.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn mount_dlmfs(&self, folder: &str) -> io::Result<()>;

    /// Runs a program of the cluster's services, such as `dlm_tool`, for some seconds at most, and
    /// returns what it prints.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not installed; if it fails, or has not ended in time.
    fn ask(&self, program: &str, arguments: &[&str]) -> io::Result<String>;

    /// The name of this host.
    fn host_name(&self) -> String;
}

/// The kernel of this machine.
#[derive(Clone, Debug)]
pub struct RunningKernel {
    root: PathBuf,
}

impl Default for RunningKernel {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl RunningKernel {
    /// What is recorded in a folder that stands for the root directory.
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Kernel for RunningKernel {
    fn read(&self, path: &str) -> io::Result<String> {
        Ok(fs::read_to_string(self.at(path))?.trim_end_matches('\n').to_owned())
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        // In one piece, because each write is a command.
        use io::Write;
        let mut file = fs::OpenOptions::new().write(true).open(self.at(path))?;
        file.write_all(format!("{value}\n").as_bytes())
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        fs::create_dir(self.at(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.at(path))
    }

    fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    fn folders(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at(path)) else { return Vec::new() };
        let folders = entries.flatten().filter(|entry| entry.path().is_dir());
        let mut names: Vec<_> =
            folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn load_module(&self, name: &str) -> Result<(), String> {
        let candidates = ["/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe"];
        let Some(modprobe) = candidates.into_iter().find(|path| Path::new(path).exists()) else {
            return Err("there is no modprobe on this machine".to_owned());
        };
        let output = Command::new(modprobe)
            .args(["--", name])
            .stdin(Stdio::null())
            .output()
            .map_err(|err| format!("{modprobe}: {err}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(match said.trim() {
            "" => format!("modprobe {name}: {}", output.status),
            said => said.to_owned(),
        })
    }

    fn mount_configfs(&self) -> io::Result<()> {
        use rustix::mount::{MountFlags, mount};
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        Ok(mount("configfs", self.at("sys/kernel/config"), "configfs", flags, None)?)
    }

    fn mount_dlmfs(&self, folder: &str) -> io::Result<()> {
        use rustix::mount::{MountFlags, mount};
        fs::create_dir_all(folder)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        Ok(mount("ocfs2_dlmfs", folder, "ocfs2_dlmfs", flags, None)?)
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        program::ask(program, arguments)
    }

    fn host_name(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_only_where_they_are_and_folders_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let kernel = RunningKernel::under(root.path());
        assert!(kernel.write("mode", "local").is_err(), "it is not there");
        fs::write(root.path().join("mode"), "").unwrap();
        kernel.write("mode", "local").unwrap();
        assert_eq!(fs::read(root.path().join("mode")).unwrap(), b"local\n");
        assert_eq!(kernel.read("mode").unwrap(), "local");
        kernel.create_dir("b").unwrap();
        kernel.create_dir("a").unwrap();
        assert_eq!(kernel.folders(""), ["a", "b"]);
        assert!(kernel.folders("none").is_empty() && !kernel.exists("none"));
        kernel.remove_dir("a").unwrap();
        assert!(!kernel.exists("a") && kernel.exists("b"));
        assert!(!kernel.host_name().is_empty());
    }
}
