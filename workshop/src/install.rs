//! `cargo xtask install`: puts programs, manual pages, completions, systemd units, an init script
//! and a udev rule where the system expects them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap_complete::Shell;
use clap_mangen::Man;
use ocfs2_programs::{LINKS, PROGRAMS, Program};

use crate::checks;
use crate::programs::built_in;
use xtask::cargo::{self, Profile};

/// Where to install.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Where the programs will be found: `/` means `/sbin` and `/usr/share`, any other prefix
    /// `PREFIX/sbin` and `PREFIX/share`
    #[arg(long, value_name = "PREFIX", default_value = "/")]
    prefix: PathBuf,
    /// Folder to put before all paths, as for a package
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// Folder of programs already built; by default they are built now
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
        (places.units.join("o2hbmonitor.service"), called(MONITOR), 0o644),
        (places.units.join("ocfs2-fuse@.service"), called(BY_FUSE), 0o644),
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

/// Puts the programs into the folder `sbin`, under their own names. Returns the paths of all new
/// files.
///
/// It takes them from `bin_dir`, or builds them now. A C tool of the same name is kept as
/// `NAME.orig`.
pub fn install_programs(bin_dir: Option<&Path>, sbin: &Path) -> Result<Vec<PathBuf>> {
    let bin_dir =
        bin_dir.map_or_else(|| cargo::build_programs(Profile::Release), |dir| Ok(dir.into()))?;
    let mut paths = Vec::new();
    for program in PROGRAMS {
        let built = built_in(program, &bin_dir)?;
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
    for (name, program) in LINKS {
        let path = sbin.join(name);
        if path.read_link().is_ok_and(|target| target == Path::new(program)) {
            fs::remove_file(&path)?;
        }
        symlink(program, &path).with_context(|| path.display().to_string())?;
        paths.push(path);
    }
    Ok(paths)
}

/// Writes the manual pages to `out`, and prints the path of each.
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
/// Watches the heartbeat of this node.
const MONITOR: &str = include_str!("../../crates/o2cb/system/o2hbmonitor.service");
/// Mounts one volume by FUSE.
const BY_FUSE: &str = include_str!("../../crates/fuse/system/ocfs2-fuse@.service");
/// Mounts the volumes in fstab.
const MOUNTS: &str = include_str!("../../crates/o2cb/system/ocfs2.service");
/// The actions of the C tools' init script, for `o2cb.init ACTION` and `service o2cb ACTION`.
const INIT: &str = include_str!("../../crates/o2cb/system/o2cb.init");
/// Names a device as the daemons of other cluster stacks expect.
const RULES: &str = include_str!("../../crates/o2cb/system/51-ocfs2.rules");

/// The folders to install to.
struct Places {
    sbin: PathBuf,
    /// `sbin` as the programs are called from it, without `destdir`.
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
        // Distributions and administrators use different folders for completions.
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

/// Writes a temporary file and renames it, so that a running program can be replaced.
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
        // `render` would refer to pages of the subcommands, which are sections of this one.
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
    // What follows the options in --help is laid out already, and roff must not fill its lines.
    let page = String::from_utf8(page)?.replace("\n.SH EXTRA\n", "\n.SH NOTES\n.nf\n");
    let page = page.replace("\n.SH VERSION\n", "\n.fi\n.SH VERSION\n");
    let lines = page.lines().scan(false, |is_synopsis, line| {
        // The line of clap_mangen does not show the values of options.
        let line = if *is_synopsis { &*synopsis } else { line };
        *is_synopsis = line == ".SH SYNOPSIS";
        Some(format!("{line}\n"))
    });
    Ok((lines.collect::<String>() + &see_also(program.name)).into_bytes())
}

/// The section SEE ALSO: the pages of all other programs, and that of the checks.
fn see_also(name: &str) -> String {
    let names = PROGRAMS.iter().map(|program| program.name).chain([checks::NAME]);
    let mut names: Vec<_> = names.filter(|other| *other != name).collect();
    names.sort_unstable();
    let pages: Vec<_> = names.iter().map(|name| format!(".BR {name} (8)")).collect();
    format!(".SH \"SEE ALSO\"\n{}\n", pages.join(",\n").replace('-', "\\-"))
}

/// Returns the line of the section SYNOPSIS: every option with its value, the groups of which one
/// option is required, and the positional arguments.
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

/// Returns an option in the form `-L|--label <LABEL>`.
fn option_with_value(arg: &clap::Arg) -> String {
    let aliases = arg.get_visible_short_aliases().unwrap_or_default();
    let aliases = aliases.iter().map(|alias| format!("-{alias}|"));
    let long = arg.get_visible_aliases().unwrap_or_default();
    let aliases = aliases.chain(long.iter().map(|alias| format!("--{alias}|"))).collect::<String>();
    aliases + &option_by_itself(arg)
}

fn option_by_itself(arg: &clap::Arg) -> String {
    match arg.get_short().filter(|_| arg.get_long().is_some()) {
        Some(short) => format!("-{short}|{arg}"),
        None => arg.to_string(),
    }
}

/// Writes the section COMMANDS: each command with its usage, its description and its options.
fn render_subcommands(mut command: clap::Command, page: &mut Vec<u8>) -> Result<()> {
    command = command.disable_help_subcommand(true);
    command.build();
    writeln!(page, ".SH COMMANDS")?;
    for subcommand in command.get_subcommands_mut() {
        let usage = subcommand.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace('-', "\\-");
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, ".SS \"{usage}\"\n{about}.")?;
        // Options of all commands are listed above.
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
