//! `cargo xtask static`: programs that need no library of the system.

use std::env::consts::ARCH;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::programs::PROGRAMS;
use xtask::cargo::{self, cargo};

/// How to build them.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Without optimisation: it makes no difference to whether a program is static
    #[arg(long)]
    quickly: bool,
}

/// Builds the programs as they are installed, and checks each.
pub fn run(options: &Options) -> Result<()> {
    let quickly = [("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"), ("CARGO_PROFILE_RELEASE_LTO", "off")];
    build(if options.quickly { &quickly } else { &[] })
}

fn build(profile: &[(&str, &str)]) -> Result<()> {
    let musl = format!("{ARCH}-unknown-linux-musl");
    let (target, flags) = if has_target(&musl)? {
        (musl, None)
    } else {
        // Specified although it is the machine's own target: otherwise the flag would affect
        // procedural macros too, which cannot be static.
        let gnu = format!("{ARCH}-unknown-linux-gnu");
        eprintln!("there is no target {musl} (rustup target add {musl}): building for {gnu}");
        (gnu, Some("-C target-feature=+crt-static"))
    };
    let mut build = cargo(["build", "--quiet", "--release", "--workspace"]);
    build.args(["--exclude", "xtask", "--exclude", "workshop"]);
    build.args(["--bins", "--target", &target]).envs(profile.iter().copied());
    if let Some(flags) = flags {
        build.env("RUSTFLAGS", flags);
    }
    cargo::run(&mut build)?;
    let bin_dir = cargo::target_dir().join(&target).join("release");
    for program in PROGRAMS {
        let path = program.built_in(&bin_dir)?;
        let bytes = std::fs::read(&path)?;
        ensure!(!wants_loader(&bytes), "{} is linked dynamically", path.display());
        let version = Command::new(&path).arg("--version").output();
        let version = version.with_context(|| format!("cannot run {}", path.display()))?;
        ensure!(version.status.success(), "{} --version: {}", path.display(), version.status);
        println!("{}", path.display());
    }
    Ok(())
}

/// Returns whether the standard library for `target` is installed.
fn has_target(target: &str) -> Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(cargo::root());
    let output = rustc.output().context("cannot start rustc")?;
    let dir = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && std::path::Path::new(dir.trim()).is_dir())
}

/// Returns whether an ELF file names a dynamic loader, in a program header of type `PT_INTERP`.
fn wants_loader(elf: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&elf[at..at + len]);
        u64::from_le_bytes(bytes) as usize
    };
    let (table, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    (0..count).any(|index| number(table + index * size, 4) == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_wants_a_loader() {
        let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(wants_loader(&elf), cfg!(not(target_feature = "crt-static")));
    }
}
