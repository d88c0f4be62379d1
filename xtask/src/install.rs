//! `cargo xtask install`: programs, manual pages and completions where the system looks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cargo::{self, Profile};
use crate::programs::{PROGRAMS, Program};

/// Where to install.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Where the programs will be looked for: `/` means `/sbin` and `/usr/share`, any other
    /// one `PREFIX/sbin` and `PREFIX/share`
    #[arg(long, value_name = "PREFIX", default_value = "/")]
    prefix: PathBuf,
    /// A folder to put in front of all of it, as for a package
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// The folder of programs already built; by default they are built now
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// Installs everything.
pub fn run(options: &Options) -> Result<()> {
    let bin_dir = match &options.bin_dir {
        Some(dir) => dir.clone(),
        None => cargo::build_programs(Profile::Release)?,
    };
    let places = Places::new(&options.prefix, options.destdir.as_deref());
    for program in PROGRAMS {
        install_program(&program.built_in(&bin_dir)?, &places.sbin.join(program.name))?;
        write(&places.man.join(man_page_name(program)), &man_page(program)?)?;
        for (shell, path) in [
            (Shell::Bash, places.bash.join(program.name)),
            (Shell::Zsh, places.zsh.join(format!("_{}", program.name))),
            (Shell::Fish, places.fish.join(format!("{}.fish", program.name))),
        ] {
            write(&path, &completions(program, shell))?;
        }
    }
    Ok(())
}

/// Writes the manual pages into `out`.
pub fn write_man_pages(out: &Path) -> Result<()> {
    PROGRAMS
        .iter()
        .try_for_each(|program| write(&out.join(man_page_name(program)), &man_page(program)?))
}

/// The folders things go to.
struct Places {
    sbin: PathBuf,
    man: PathBuf,
    bash: PathBuf,
    zsh: PathBuf,
    fish: PathBuf,
}

impl Places {
    fn new(prefix: &Path, destdir: Option<&Path>) -> Self {
        let whole_system = prefix == Path::new("/");
        let share = if whole_system { Path::new("/usr/share") } else { &prefix.join("share") };
        let under = |path: PathBuf| match destdir {
            Some(destdir) => destdir.join(path.strip_prefix("/").unwrap_or(&path)),
            None => path,
        };
        // A distribution's folder for the shells' own and an administrator's differ.
        let (zsh, fish) = if whole_system {
            ("zsh/vendor-completions", "fish/vendor_completions.d")
        } else {
            ("zsh/site-functions", "fish/vendor_completions.d")
        };
        Self {
            sbin: under(prefix.join("sbin")),
            man: under(share.join("man/man8")),
            bash: under(share.join("bash-completion/completions")),
            zsh: under(share.join(zsh)),
            fish: under(share.join(fish)),
        }
    }
}

/// A C tool that is in the way is kept as `NAME.orig`.
fn install_program(from: &Path, to: &Path) -> Result<()> {
    let orig = PathBuf::from(format!("{}.orig", to.display()));
    if ocfs2_testing::is_c_tool(to) && !orig.exists() {
        fs::rename(to, &orig).with_context(|| format!("can not rename {}", to.display()))?;
        println!("{} (the C tool, kept)", orig.display());
    }
    let program = fs::read(from).with_context(|| from.display().to_string())?;
    write_mode(to, &program, 0o755)
}

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    write_mode(path, contents, 0o644)
}

/// Written beside and renamed, so that a program that is running can be replaced.
fn write_mode(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let write = || {
        let dir = path.parent().unwrap_or(path);
        fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        std::io::Write::write_all(&mut file, contents)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.persist(path).map_err(|err| err.error)
    };
    write().with_context(|| format!("can not write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

fn man_page_name(program: &Program) -> String {
    format!("{}.8", program.name)
}

fn man_page(program: &Program) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(program.command()).section("8").manual("OCFS2").render(&mut page)?;
    Ok(page)
}

fn completions(program: &Program, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program.command(), program.name, &mut script);
    script
}
