//! `cargo xtask install`: programs, manual pages, completions, systemd units, an init script and a
//! udev rule where the system looks.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::checks;
use crate::programs::{PROGRAMS, Program};
use xtask::cargo::{self, Profile};

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

/// Installs everything, and prints the path of each file.
pub fn run(options: &Options) -> Result<()> {
    let places = Places::new(&options.prefix, options.destdir.as_deref());
    for path in install_programs(options.bin_dir.as_deref(), &places.sbin)? {
        println!("{}", path.display());
    }
    write_man_pages(&places.man)?;
    let called = |text: &str| text.replace("@SBIN@", &places.called.to_string_lossy());
    for (path, contents, mode) in [
        (places.units.join("o2cb.service"), called(UNIT), 0o644),
        (places.units.join("ocfs2.service"), called(MOUNTS), 0o644),
        (places.sbin.join("o2cb.init"), called(INIT), 0o755),
        (places.init.join("o2cb"), called(INIT), 0o755),
        (places.rules.join("51-ocfs2.rules"), RULES.to_owned(), 0o644),
    ] {
        write(&path, contents.as_bytes(), mode)?;
        println!("{}", path.display());
    }
    for program in PROGRAMS {
        for (shell, path) in [
            (Shell::Bash, places.bash.join(program.name)),
            (Shell::Zsh, places.zsh.join(format!("_{}", program.name))),
            (Shell::Fish, places.fish.join(format!("{}.fish", program.name))),
        ] {
            write(&path, &completions(program, shell), 0o644)?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

/// Puts the programs into the folder `sbin`, under their own names; gives the paths of all
/// new files.
///
/// They are those in `bin_dir`, or are built now. A C tool that is in the way is kept as
/// `NAME.orig`.
pub fn install_programs(bin_dir: Option<&Path>, sbin: &Path) -> Result<Vec<PathBuf>> {
    let bin_dir =
        bin_dir.map_or_else(|| cargo::build_programs(Profile::Release), |dir| Ok(dir.into()))?;
    let mut paths = Vec::new();
    for program in PROGRAMS {
        let built = program.built_in(&bin_dir)?;
        let contents = fs::read(&built).with_context(|| built.display().to_string())?;
        let path = sbin.join(program.name);
        let orig = sbin.join(format!("{}.orig", program.name));
        if ocfs2_testing::is_c_tool(&path) && !orig.exists() {
            fs::rename(&path, &orig)
                .with_context(|| format!("cannot rename {}", path.display()))?;
            paths.push(orig);
        }
        write(&path, &contents, 0o755)?;
        paths.push(path);
    }
    Ok(paths)
}

/// Writes the manual pages into `out`, and prints the path of each.
pub fn write_man_pages(out: &Path) -> Result<()> {
    for program in PROGRAMS {
        let path = out.join(format!("{}.8", program.name));
        write(&path, &man_page(program)?, 0o644)?;
        println!("{}", path.display());
    }
    let path = out.join(format!("{}.8", checks::NAME));
    write(&path, checks::man_page().as_bytes(), 0o644)?;
    println!("{}", path.display());
    Ok(())
}

/// Brings the cluster online at boot, if `o2cb configure` enabled it.
const UNIT: &str = include_str!("../../crates/o2cb/system/o2cb.service");
/// Mounts what is in fstab.
const MOUNTS: &str = include_str!("../../crates/o2cb/system/ocfs2.service");
/// The actions of the C tools' init script, for `o2cb.init ACTION` and `service o2cb ACTION`.
const INIT: &str = include_str!("../../crates/o2cb/system/o2cb.init");
/// Names a device as the daemons of other cluster stacks expect it.
const RULES: &str = include_str!("../../crates/o2cb/system/51-ocfs2.rules");

/// The folders things go to.
struct Places {
    sbin: PathBuf,
    /// The same as it is called from, without the folder in front of all.
    called: PathBuf,
    units: PathBuf,
    init: PathBuf,
    rules: PathBuf,
    man: PathBuf,
    bash: PathBuf,
    zsh: PathBuf,
    fish: PathBuf,
}

impl Places {
    fn new(prefix: &Path, destdir: Option<&Path>) -> Self {
        let whole_system = prefix == Path::new("/");
        let share = if whole_system { Path::new("/usr/share") } else { &prefix.join("share") };
        let lib = if whole_system { Path::new("/usr/lib") } else { &prefix.join("lib") };
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
            called: prefix.join("sbin"),
            units: under(lib.join("systemd/system")),
            init: under(if whole_system {
                "/etc/init.d".into()
            } else {
                prefix.join("etc/init.d")
            }),
            rules: under(lib.join("udev/rules.d")),
            man: under(share.join("man/man8")),
            bash: under(share.join("bash-completion/completions")),
            zsh: under(share.join(zsh)),
            fish: under(share.join(fish)),
        }
    }
}

/// Written beside and renamed, so that a program that is running can be replaced.
fn write(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let write = || {
        let dir = path.parent().unwrap_or(path);
        fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(contents)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.persist(path).map(drop).map_err(|err| err.error)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn man_page(program: &Program) -> Result<Vec<u8>> {
    let command = program.command();
    let man = Man::new(command.clone()).section("8").manual("OCFS2");
    let synopsis = synopsis(command.clone());
    let mut page = Vec::new();
    if command.has_subcommands() {
        // As a whole it would refer to pages of the subcommands, which are in this one.
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        render_subcommands(command, &mut page)?;
        man.render_version_section(&mut page)?;
    } else {
        man.render(&mut page)?;
    }
    // What stands after the options in --help is laid out already, and its lines are not to
    // be filled.
    let page = String::from_utf8(page)?.replace("\n.SH EXTRA\n", "\n.SH NOTES\n.nf\n");
    let page = page.replace("\n.SH VERSION\n", "\n.fi\n.SH VERSION\n");
    let lines = page.lines().scan(false, |is_synopsis, line| {
        // That of clap_mangen has no values of options.
        let line = if *is_synopsis { &*synopsis } else { line };
        *is_synopsis = line == ".SH SYNOPSIS";
        Some(format!("{line}\n"))
    });
    Ok(lines.collect::<String>().into_bytes())
}

/// The line of the section SYNOPSIS: every option with its value, those of which one is needed,
/// what stands by itself.
fn synopsis(mut command: clap::Command) -> String {
    command.build();
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let needed = command.get_groups().filter(|group| group.is_required_set());
    let needed: Vec<Vec<_>> = needed.map(|group| group.get_args().collect()).collect();
    let in_group = |arg: &clap::Arg| needed.iter().flatten().any(|id| *id == arg.get_id());
    let options = shown().filter(|arg| !arg.is_positional() && !in_group(arg));
    let mut words: Vec<_> = options.map(|arg| format!("[{}]", option_with_value(arg))).collect();
    for group in &needed {
        let members = shown().filter(|arg| group.contains(&arg.get_id()));
        words.push(format!("{{{}}}", members.map(option_with_value).collect::<Vec<_>>().join("|")));
    }
    words.extend(shown().filter(|arg| arg.is_positional()).map(ToString::to_string));
    if command.has_subcommands() {
        words.push("<COMMAND>".to_owned());
    }
    format!("\\fB{}\\fR {}", command.get_name(), words.join(" ").replace('-', "\\-"))
}

/// As `-L|--label <LABEL>`.
fn option_with_value(arg: &clap::Arg) -> String {
    match arg.get_short().filter(|_| arg.get_long().is_some()) {
        Some(short) => format!("-{short}|{arg}"),
        None => arg.to_string(),
    }
}

/// The section COMMANDS: each with its usage, what it does, its options.
fn render_subcommands(mut command: clap::Command, page: &mut Vec<u8>) -> Result<()> {
    command = command.disable_help_subcommand(true);
    command.build();
    writeln!(page, ".SH COMMANDS")?;
    for subcommand in command.get_subcommands_mut() {
        let usage = subcommand.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace('-', "\\-");
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, ".SS \"{usage}\"\n{about}.")?;
        // Options of all commands stand above.
        let own = |arg: &clap::Arg| !arg.is_global_set() && arg.get_id() != "help";
        for arg in subcommand.get_arguments().filter(|arg| own(arg)) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            writeln!(page, ".TP\n\\fB{}\\fR\n{help}", arg.to_string().replace('-', "\\-"))?;
        }
    }
    Ok(())
}

fn completions(program: &Program, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program.command(), program.name, &mut script);
    script
}
