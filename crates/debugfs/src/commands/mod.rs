//! The commands, by name.

mod blocks;
mod change;
mod dirs;
mod dump;
mod files;
mod icheck;
mod indexes;
mod live;
mod names;
mod print;
mod volumes;

use std::io::Write;

use change::{attributes, contents};

use crate::error::Failure;
use crate::screen::Screen;
use crate::shell::Shell;

/// Does a command with the words after its name.
type Run = fn(&mut Shell, &[Vec<u8>], &mut Screen) -> Result<(), Failure>;

/// A command.
pub struct Command {
    /// Its name, and other names for it.
    pub names: &'static [&'static str],
    /// What it takes.
    pub arguments: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// Does it.
    pub run: Run,
}

const fn command(
    names: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    run: Run,
) -> Command {
    Command { names, arguments, help, run }
}

/// All of them but `quit`, by name.
pub const COMMANDS: &[Command] = &[
    command(
        &["bmap"],
        "<filespec> <logical_blk>",
        "Show the corresponding physical block# for the inode",
        files::bmap,
    ),
    command(&["cat"], "<filespec>", "Show file on stdout", files::cat),
    command(&["cd"], "<filespec>", "Change directory", dirs::cd),
    command(&["chroot"], "<filespec>", "Change root", dirs::chroot),
    command(
        &["clri"],
        "--direct <filespec>",
        "Make the block of an inode zeros, which damages the volume",
        change::names::clri,
    ),
    command(&["close"], "", "Close a device", volumes::close),
    command(&["controld"], "dump", "Obtain information from ocfs2_controld", volumes::controld),
    command(
        &["copy_block"],
        "<block#> <block#>",
        "Overwrite the second block with the first, as it is",
        change::raw::copy_block,
    ),
    command(
        &["crc"],
        "[-r] <filespec>",
        "Say whether the check of a block holds; -r makes it hold",
        change::raw::crc,
    ),
    command(&["curdev"], "", "Show current device", volumes::curdev),
    command(&["decode"], "<lockname#> ...", "Decode block#(s) from the lockname(s)", names::decode),
    command(&["dirblocks"], "<filespec>", "Dump directory blocks", dirs::dirblocks),
    command(
        &["dlm_locks"],
        "[-f <file>] [-l] lockname",
        "Show live dlm locking state",
        live::dlm_locks,
    ),
    command(
        &["dump"],
        "[-p] <filespec> <outfile>",
        "Dumps file to outfile on a mounted fs",
        dump::dump,
    ),
    command(&["dx_dump"], "<filespec>", "Show directory index information", indexes::dx_dump),
    command(&["dx_leaf"], "<block#>", "Show directory index leaf block only", indexes::dx_leaf),
    command(&["dx_root"], "<block#>", "Show directory index root block only", indexes::dx_root),
    command(&["dx_space"], "<filespec>", "Dump directory free space list", indexes::dx_space),
    command(
        &["ea_get"],
        "[-f <outfile>] <filespec> <name>",
        "Show the value of an extended attribute",
        attributes::ea_get,
    ),
    command(&["ea_list"], "<filespec>", "List extended attributes", attributes::ea_list),
    command(&["ea_rm"], "<filespec> <name>", "Remove an extended attribute", attributes::ea_rm),
    command(
        &["ea_set"],
        "[-f <file>] <filespec> <name> [value]",
        "Set an extended attribute",
        attributes::ea_set,
    ),
    command(&["encode"], "<filespec>", "Show lock name", names::encode),
    command(&["extent"], "<block#>", "Show extent block", blocks::extent),
    command(
        &["fallocate"],
        "[-k] <filespec> <first> <last>",
        "Allocate blocks of a file, which read as zeros; -k keeps its size",
        contents::fallocate,
    ),
    command(&["fields"], "[structure]", "Show the fields of a structure", print::fields),
    command(
        &["findpath"],
        "<block#> ...",
        "List one pathname of the inode/lockname",
        names::findpath,
    ),
    command(&["fs_locks"], "[-f <file>] [-l] [-B]", "Show live fs locking state", live::fs_locks),
    command(&["frag"], "<filespec>", "Show inode extents / clusters ratio", files::frag),
    command(&["group"], "<block#>", "Show chain group", blocks::group),
    command(&["grpextents"], "<block#>", "Show free extents in a chain group", blocks::grpextents),
    command(&["hb"], "", "Show the heartbeat blocks", volumes::hb),
    command(&["help", "?"], "", "This information", help),
    command(&["icheck"], "block# ...", "List inode# that is using the block#", icheck::icheck),
    command(
        &["kill_file"],
        "<filespec>",
        "Delete an inode with all its names",
        change::names::kill_file,
    ),
    command(&["lcd"], "<directory>", "Change directory on a mounted flesystem", dirs::lcd),
    command(&["ln"], "<filespec> <new>", "Give a file another name", change::names::ln),
    command(
        &["locate", "ncheck"],
        "<block#> ...",
        "List all pathnames of the inode(s)/lockname(s)",
        names::locate,
    ),
    command(&["logdump"], "[-T] <slot#>", "Show journal file for the node slot", volumes::logdump),
    command(&["ls"], "[-l] <filespec>", "List directory", dirs::ls),
    command(&["lsdel"], "", "List deleted files that journals still have", change::undelete::lsdel),
    command(&["mkdir"], "<new>", "Make a directory", change::names::mkdir),
    command(
        &["mknod"],
        "<new> p|s|c|b [major minor]",
        "Make a FIFO, a socket or a device",
        change::names::mknod,
    ),
    command(
        &["net_stats"],
        "[-f <file>] [interval [count]]",
        "Show net statistics",
        live::net_stats,
    ),
    command(
        &["open"],
        "<device> [-i] [-s backup#] [-P part#] [-w]",
        "Open a device",
        volumes::open,
    ),
    command(
        &["print"],
        "<filespec>[.field]",
        "Show the fields of an inode or of a block",
        print::print,
    ),
    command(
        &["punch"],
        "<filespec> <first> [last]",
        "Free blocks of a file, which read as zeros",
        contents::punch,
    ),
    command(&["pwd"], "", "Show the current directory", dirs::pwd),
    command(
        &["rdump"],
        "[-v] <filespec> <outdir>",
        "Recursively dumps from src to a dir on a mounted filesystem",
        dump::rdump,
    ),
    command(
        &["refcount"],
        "[-e] <filespec>",
        "Dump the refcount tree for the inode or refcount block",
        blocks::refcount,
    ),
    command(
        &["reflink"],
        "<filespec> <new>",
        "Make a file that shares the contents of another one",
        contents::reflink,
    ),
    command(
        &["rename", "mv"],
        "<filespec> <new>",
        "Give a file another path",
        change::names::rename,
    ),
    command(
        &["rm", "unlink"],
        "<filespec>",
        "Remove a name, and a file with its last one",
        change::names::rm,
    ),
    command(&["rmdir"], "<filespec>", "Remove an empty directory", change::names::rmdir),
    command(
        &["set"],
        "[--direct] [-n] <filespec>.<field> <value>",
        "Set a field of an inode or of a block",
        change::fields::set,
    ),
    command(
        &["set_inode_field", "sif"],
        "[--direct] [-n] <filespec> <field> <value>",
        "Set a field of an inode",
        change::fields::set_inode_field,
    ),
    command(
        &["set_super_value", "ssv"],
        "[--direct] [-n] <field> <value>",
        "Set a field of the superblock and of its backups",
        change::fields::set_super_value,
    ),
    command(&["slotmap"], "", "Show slot map", volumes::slotmap),
    command(&["stat"], "[-t|-T] <filespec>", "Show inode", files::stat),
    command(&["stat_sysdir"], "", "Show all objects in the system directory", volumes::stat_sysdir),
    command(&["stats"], "[-h] [-s backup#]", "Show superblock", volumes::stats),
    command(&["symlink"], "<new> <target>", "Make a symbolic link", change::names::symlink),
    command(&["truncate"], "<filespec> <bytes>", "Change the size of a file", contents::truncate),
    command(
        &["undel", "undelete"],
        "<inode#> <new>",
        "Make a file of what a journal has of a deleted one",
        change::undelete::undel,
    ),
    command(
        &["write"],
        "<file> <new>",
        "Copy a file of this machine to the volume",
        contents::write,
    ),
    command(&["xattr"], "[-v] <filespec>", "Show extended attributes", files::xattr),
    command(
        &["zap", "zap_block"],
        "[-o offset] [-l length] [-p byte] [-b bit] [-c] <block#>",
        "Overwrite a block or a part of it, or turn a bit; -c mends its check",
        change::raw::zap,
    ),
];

/// The command of a name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.names.contains(&name))
}

fn help(_: &mut Shell, _: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let mut lines = vec![("quit, q".to_owned(), "", "Exit the program")];
    for Command { names, arguments, help, .. } in COMMANDS {
        // Another name for the same has a line of its own; a sign stands after the name.
        let sign = if names.contains(&"?") { ", ?" } else { "" };
        for word in names.iter().filter(|name| **name != "?") {
            let shown = format!("{word}{sign}");
            lines.push((shown, *arguments, *help));
        }
    }
    lines.sort_unstable();
    for (name, arguments, help) in lines {
        writeln!(out, "{:<41} {help}", format!("{name} {arguments}"))?;
    }
    Ok(())
}

/// The one word there has to be; of more the others are passed over, as the C tool does.
fn only(words: &[Vec<u8>]) -> Result<&[u8], Failure> {
    words.first().map(Vec::as_slice).ok_or(Failure::Usage)
}

/// Whether the first word is `option`, and the words after it.
fn option<'w>(words: &'w [Vec<u8>], option: &str) -> (bool, &'w [Vec<u8>]) {
    match words.split_first() {
        Some((first, rest)) if first == option.as_bytes() => (true, rest),
        _ => (false, words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_of_one_command() {
        let names: Vec<_> = COMMANDS.iter().flat_map(|command| command.names).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| other == &name).count(), 1, "{name}");
        }
        assert!(find("?").is_some() && find("remove").is_none());
    }
}
