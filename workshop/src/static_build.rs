//! `cargo xtask static`: all programs in one file that needs no library of the system.

use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use xtask::cargo::{self, cargo};

/// How to build them.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Without optimisation: it makes no difference to whether a program is static
    #[arg(long)]
    quickly: bool,
}

/// Builds the program `ocfs2`, checks it, and prints its path.
pub fn run(options: &Options) -> Result<()> {
    let quickly = [("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"), ("CARGO_PROFILE_RELEASE_LTO", "off")];
    println!("{}", build(if options.quickly { &quickly } else { &SMALL })?.display());
    Ok(())
}

/// It has to fit into an initramfs.
const SMALL: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

/// Builds the program and returns its path.
fn build(profile: &[(&str, &str)]) -> Result<PathBuf> {
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
    let mut build = cargo(["build", "--quiet", "--release", "--package", "ocfs2-programs"]);
    build.args(["--target", &target]).envs(profile.iter().copied());
    if let Some(flags) = flags {
        build.env("RUSTFLAGS", flags);
    }
    cargo::run(&mut build)?;
    let path = cargo::target_dir().join(&target).join("release/ocfs2");
    ensure!(!wants_loader(&std::fs::read(&path)?), "{} is linked dynamically", path.display());
    for words in [["fsck", "--version"], ["debugfs", "--version"]] {
        let output = Command::new(&path).args(words).output();
        let status = output.with_context(|| format!("cannot run {}", path.display()))?.status;
        ensure!(status.success(), "{} {}: {status}", path.display(), words.join(" "));
    }
    Ok(path)
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
