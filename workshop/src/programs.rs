//! The programs to install, as cargo builds them.

use std::path::{Path, PathBuf};

use ocfs2_programs::Program;

/// Returns cargo's name for a program.
pub fn binary(program: &Program) -> String {
    program.name.replace('.', "-")
}

/// Returns its path in `bin_dir`; fails if cargo has not built it.
pub fn built_in(program: &Program, bin_dir: &Path) -> anyhow::Result<PathBuf> {
    let path = bin_dir.join(binary(program));
    anyhow::ensure!(path.is_file(), "{} is not there", path.display());
    Ok(path)
}
