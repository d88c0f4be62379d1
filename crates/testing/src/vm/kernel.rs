//! A kernel with its modules, taken from the distribution's packages and cached.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tempfile::TempDir;

use super::archive::Archive;
use super::package::{self, Packages};
use super::{module, newer};

/// Increased when the layout of the cache changes, so that what an older version of us cached is
/// not used.
const LAYOUT: &str = "4";

/// A kernel in the cache folder.
#[derive(Debug)]
pub struct Kernel {
    /// Release as `uname -r` prints it.
    pub release: String,
    /// Its image, decompressed if the emulator can boot that.
    pub image: PathBuf,
    /// The modules that a machine loads, as a part of its initial root file system.
    pub modules: PathBuf,
}

/// Selects a kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// The distribution's newest, or the one of the package named by `$OCFS2_KERNEL_PACKAGE`.
    Ours,
    /// That of Debian's release after 12, which is between the other two.
    Between,
    /// The newest one available to this machine: that of a newer release of Debian.
    Newest,
}

impl Which {
    /// Returns the name of the file in the cache folder that contains the release of the kernel.
    fn pointer(self) -> String {
        match (self, other_package()) {
            (Self::Newest, _) => format!("newest-{LAYOUT}"),
            (Self::Between, _) => format!("between-{LAYOUT}"),
            (Self::Ours, Some(name)) => format!("package-{name}-{LAYOUT}"),
            (Self::Ours, None) => format!("current-{LAYOUT}"),
        }
    }
}

fn other_package() -> Option<String> {
    let name = env::var("OCFS2_KERNEL_PACKAGE").ok()?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

impl Kernel {
    /// Returns the kernel that [`Kernel::get`] returned last.
    pub fn cached(which: Which) -> Result<Option<Self>> {
        let folder = cache_folder()?;
        let Ok(release) = fs::read_to_string(folder.join(which.pointer())) else {
            return Ok(None);
        };
        Ok(Self::of_release(&folder, release.trim()))
    }

    fn of_release(cache: &Path, release: &str) -> Option<Self> {
        let folder = cache.join(format!("{release}-{LAYOUT}"));
        let (image, modules) = (folder.join("kernel"), folder.join("modules.cpio"));
        let is_there = image.exists() && modules.exists();
        is_there.then(|| Self { release: release.to_owned(), image, modules })
    }

    /// Returns the cached kernel or, if there is none, the one of the packages. The newest one is
    /// looked for once a day; if that fails, the cached one is used.
    pub fn get(which: Which) -> Result<Self> {
        // If another process held the lock, it has cached the kernel meanwhile.
        let (cache, _lock) = locked_cache("lock")?;
        let cached = Self::cached(which)?;
        let pointer = cache.join(which.pointer());
        if let Some(kernel) = cached {
            if which == Which::Ours || is_of_today(&pointer) {
                return Ok(kernel);
            }
            return Ok(Self::from_packages(which, &cache).unwrap_or(kernel));
        }
        Self::from_packages(which, &cache)
    }

    fn from_packages(which: Which, cache: &Path) -> Result<Self> {
        let packages = match which {
            Which::Ours => Packages::of_this_system(other_package()),
            Which::Newest => {
                Packages::with_options(newer::options(&cache.join("apt"), &newer::SUITES)?)
            }
            Which::Between => {
                let folder = cache.join("apt-between");
                Packages::with_options(newer::options(&folder, &[newer::RELEASE])?)
            }
        };
        let names = packages.names()?;
        let known = package::release(&names).and_then(|it| Self::of_release(cache, it));
        let scratch = tempfile::tempdir_in(cache)?;
        let kernel = match known {
            Some(kernel) => kernel,
            None => Self::unpacked(&packages.download(scratch.path(), &names)?, &scratch, cache)?,
        };
        let pointer = scratch.path().join("pointer");
        fs::write(&pointer, &kernel.release)?;
        fs::rename(pointer, cache.join(which.pointer()))?;
        Ok(kernel)
    }

    /// Caches the kernel of downloaded packages.
    fn unpacked(packages: &[PathBuf], scratch: &TempDir, cache: &Path) -> Result<Self> {
        let unpacked = scratch.path().join("unpacked");
        for package in packages {
            unpack(package, &unpacked)
                .with_context(|| format!("unpacking {}", package.display()))?;
        }
        let release = release(&unpacked)?;
        let kept = scratch.path().join("kept");
        fs::create_dir(&kept)?;
        fs::write(kept.join("kernel"), image(&fs::read(unpacked.join("vmlinuz"))?))?;
        let modules = modules(&unpacked.join("modules").join(&release))
            .with_context(|| format!("the modules of Linux {release}"))?;
        fs::write(kept.join("modules.cpio"), modules)?;
        let folder = cache.join(format!("{release}-{LAYOUT}"));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::rename(kept, folder)?;
        Self::of_release(cache, &release).ok_or_else(|| anyhow!("Linux {release} is gone again"))
    }
}

/// Returns whether a file was written within the last day.
fn is_of_today(path: &Path) -> bool {
    let age = path.metadata().and_then(|it| it.modified()).ok().and_then(|it| it.elapsed().ok());
    age.is_some_and(|age| age < Duration::from_secs(24 * 60 * 60))
}

/// Returns the folder of the kernels and of the locks of machines.
pub fn cache_folder() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let cache = cache.context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("ocfs2-tools-rs/kernel"))
}

/// Returns the folder of the kernels once no other process holds the lock `name` in it. The lock is
/// held until the returned file is closed.
pub(super) fn locked_cache(name: &str) -> Result<(PathBuf, File)> {
    let cache = cache_folder()?;
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let lock = File::create(cache.join(name))?;
    lock.lock()?;
    Ok((cache, lock))
}

/// Unpacks the image to `folder/vmlinuz`, and the modules that may be needed to `folder/modules`.
fn unpack(package: &Path, folder: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("dpkg-deb")?;
    let stdout = dpkg.stdout.take().context("dpkg-deb")?;
    let mut archive = tar::Archive::new(stdout);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(target) = target(&entry.path()?) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let target = folder.join(target);
        fs::create_dir_all(target.parent().context("no parent")?)?;
        io::copy(&mut entry, &mut File::create(target)?)?;
    }
    // Reads the padding of the archive as well: dpkg-deb must not find its pipe closed.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    ensure!(dpkg.wait()?.success(), "dpkg-deb failed");
    Ok(())
}

/// Returns where a file of a package goes, if it is needed: `/boot/vmlinuz-RELEASE`, and most of
/// `/lib/modules/RELEASE` or, in newer packages, `/usr/lib/modules/RELEASE`.
fn target(path: &Path) -> Option<PathBuf> {
    let names: Vec<_> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let names = names.strip_prefix(&["usr"]).unwrap_or(&names);
    match names {
        ["boot", name] if name.starts_with("vmlinuz-") => Some("vmlinuz".into()),
        ["lib", "modules", _, "vmlinuz"] => Some("vmlinuz".into()),
        ["lib", rest @ ..] => match rest {
            ["modules", _, "modules.builtin"] => Some(rest.iter().collect()),
            // Thousands of drivers for hardware that no machine of ours has.
            ["modules", _, "kernel", "sound" | "samples", ..] => None,
            ["modules", _, "kernel", "drivers", kind, rest @ ..] => {
                let wanted = match *kind {
                    "block" | "char" | "virtio" => true,
                    "net" | "md" => rest.len() == 1,
                    _ => false,
                };
                wanted.then(|| names.iter().skip(1).collect())
            }
            ["modules", _, "kernel", .., file] if file.contains(".ko") => {
                Some(rest.iter().collect())
            }
            _ => None,
        },
        _ => None,
    }
}

fn release(unpacked: &Path) -> Result<String> {
    ensure!(unpacked.join("vmlinuz").exists(), "the packages hold no kernel image");
    let folders = unpacked.join("modules");
    let mut folders = folders.read_dir().context("the packages hold no modules")?;
    let folder = folders.next().context("the packages hold no modules")??;
    Ok(folder.file_name().to_string_lossy().into_owned())
}

fn modules(folder: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("modules")?;
    archive.folder("modules/pcmk")?;
    let selection = module::select(folder)?;
    for (folder, modules) in [("modules", selection.all), ("modules/pcmk", selection.corosync)] {
        for (number, module) in modules.iter().enumerate() {
            // The machine loads them in the order of their names.
            archive.file(&format!("{folder}/{number:02}-{}.ko", module.name), &module.contents)?;
        }
    }
    Ok(archive.finish()?)
}

/// Returns the kernel inside a compressed image, which boots twice as fast; or the image itself if
/// it contains none that the emulator can boot.
fn image(compressed: &[u8]) -> Vec<u8> {
    vmlinux(compressed).unwrap_or_else(|_| compressed.to_vec())
}

/// Finds it by the header described in the kernel's Documentation/arch/x86/boot.rst.
fn vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    let byte = |at: usize| image.get(at).copied().map(usize::from).context("too short");
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..).and_then(<[u8]>::first_chunk).context("too short")?;
        Ok(u32::from_le_bytes(*bytes) as usize)
    };
    // setup_sects, payload_offset, payload_length
    let start = (byte(0x1f1)? + 1) * 512 + word(0x248)?;
    let payload = image.get(start..start + word(0x24c)?).context("too short")?;
    let plain = module::decompress(payload)?;
    if !plain.starts_with(b"\x7fELF") || !has_pvh_entry(&plain) {
        bail!("not a kernel that qemu boots directly");
    }
    Ok(plain)
}

/// Returns whether it has the ELF note that states its entry point: name "Xen", type 18.
fn has_pvh_entry(elf: &[u8]) -> bool {
    let note = b"\x12\0\0\0Xen\0";
    elf.windows(note.len()).any(|bytes| bytes == note)
}

/// Reads a whole file. An error includes its name.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| path.display().to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_package_the_image_and_few_modules_are_kept() {
        let kept = |path: &str| target(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(kept("./boot/vmlinuz-6.1.0-amd64").as_deref(), Some("vmlinuz"));
        let ocfs2 = "modules/6.1/kernel/fs/ocfs2/ocfs2.ko";
        assert_eq!(kept(&format!("./lib/{ocfs2}")).as_deref(), Some(ocfs2));
        assert_eq!(
            kept(&format!("./usr/lib/{ocfs2}.xz")).as_deref(),
            Some(&*format!("{ocfs2}.xz"))
        );
        let virtio = "modules/6.1/kernel/drivers/net/virtio_net.ko.zst";
        assert_eq!(kept(&format!("lib/{virtio}")).as_deref(), Some(virtio));
        assert_eq!(kept("lib/modules/6.1/kernel/drivers/net/ethernet/intel/e100.ko"), None);
        assert_eq!(kept("lib/modules/6.1/kernel/drivers/gpu/drm/drm.ko"), None);
        assert_eq!(kept("./usr/share/doc/linux-image/copyright"), None);
    }

    #[test]
    fn an_image_that_is_not_understood_is_booted_as_it_is() {
        assert_eq!(image(b"not a kernel"), b"not a kernel");
    }
}
