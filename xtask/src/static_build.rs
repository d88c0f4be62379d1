//! `cargo xtask static`: programs that need no library of the system.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::{self, cargo};
use crate::programs::PROGRAMS;

/// The target is named, though it is the machine's own: otherwise the flag would reach the
/// procedural macros too, which can not be static.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Builds them and checks each.
pub fn run() -> Result<()> {
    let target = target();
    let build = ["build", "--quiet", "--release", "--workspace", "--bins", "--target", &target];
    cargo::run(cargo(build).env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let bin_dir = cargo::target_dir().join(&target).join("release");
    for program in PROGRAMS {
        let path = program.built_in(&bin_dir)?;
        let bytes = std::fs::read(&path)?;
        // The path of the dynamic loader, which only a dynamically linked program has.
        let loader = b"/ld-linux";
        let is_static = !bytes.windows(loader.len()).any(|part| part == loader);
        ensure!(is_static, "{} is linked dynamically", path.display());
        let version = Command::new(&path).arg("--version").output();
        let version = version.with_context(|| format!("can not run {}", path.display()))?;
        ensure!(version.status.success(), "{} --version: {}", path.display(), version.status);
        println!("{}", path.display());
    }
    Ok(())
}
