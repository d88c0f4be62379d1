//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, CommandFactory, Parser};

/// Change an OCFS2 volume, or show what its superblock says.
///
/// A volume belongs to the cluster its superblock names, and no other can mount it.
/// --update-cluster-stack gives it to the one that is online on this host, after a question that
/// -y answers.
///
/// Nothing is changed while a node uses the volume: its slot map, its heartbeat, its journals and
/// the use of the device on this host are looked at. A volume that was not unmounted by all nodes
/// has to be recovered by fsck.ocfs2 first. The superblock is written first, then its backups; if
/// that is interrupted in between, fsck.ocfs2 makes the backups equal to it.
///
/// Everything else that tunefs.ocfs2 of ocfs2-tools does is not done by this program yet: labels
/// (-L), node slots (-N), UUIDs (-U), journals (-J), sizes (-S), features (--fs-features), clones
/// (--cloned-volume), lists of sparse files and intervals of quotas. That program does it; if this
/// one was installed over it, it is there as tunefs.ocfs2.orig.
///
/// The exit status is 0, or 1 if something failed or was refused.
#[derive(Clone, Debug, Parser)]
#[command(name = "tunefs.ocfs2", version, arg_required_else_help = true)]
#[command(group = ArgGroup::new("action").required(true))]
pub struct Cli {
    /// Give the volume to the cluster that is online on this host
    #[arg(long, group = "action")]
    pub update_cluster_stack: bool,

    /// Print what FORMAT asks for
    ///
    /// %B block size, %T cluster size, %N node slots, %R block of the root directory, %Y of the
    /// system directory, %P of the first cluster group, %V label, %U UUID, %M compat, %H incompat
    /// and %O read-only compat features, %C the cluster as stack,name,heartbeat (`default` where
    /// the volume does not say, `local` where there is none). \n, \t and \\ are known.
    #[arg(short = 'Q', long, value_name = "FORMAT", group = "action")]
    pub query: Option<String>,

    /// Do not ask, the answer is yes
    #[arg(short, long, conflicts_with = "no")]
    pub yes: bool,

    /// Do not ask, the answer is no: only say what would be changed
    #[arg(short, long)]
    pub no: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Partition of a disk or of a whole-disk image, by its number
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,

    /// Block device or image file, or LABEL=... or UUID=... of the volume
    pub device: PathBuf,
}

/// Options of the C tool that this program does not have.
const NOT_DONE: [&str; 17] = [
    "-L",
    "--label",
    "-N",
    "--node-slots",
    "-U",
    "--uuid-reset",
    "-J",
    "--journal-options",
    "-S",
    "--volume-size",
    "--fs-features",
    "--cloned-volume",
    "--list-sparse",
    "--backup-super",
    "--mount-type",
    "--usrquota-sync-interval",
    "--grpquota-sync-interval",
];

/// What is to be said of an option that only the C tool has.
pub fn not_done(option: &str) -> Option<String> {
    NOT_DONE.contains(&option).then(|| {
        format!(
            "{option} is not done by this program yet; tunefs.ocfs2 of ocfs2-tools does it \
             (tunefs.ocfs2.orig if this one was installed over it)"
        )
    })
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_c_tool_does_is_said() {
        let told = not_done("-L").unwrap();
        assert!(told.starts_with("-L is not done by this program yet; "), "{told}");
        assert_eq!(not_done("-Z"), None);
        for option in NOT_DONE {
            let has = |arg: &clap::Arg| match option.strip_prefix("--") {
                Some(long) => arg.get_long() == Some(long),
                None => arg.get_short() == option.chars().nth(1),
            };
            assert!(!command().get_arguments().any(has), "{option}");
        }
    }

    #[test]
    fn one_thing_is_done_at_a_time() {
        command().debug_assert();
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("x --update-cluster-stack -y disk").unwrap().update_cluster_stack);
        assert_eq!(parse("x -Q %V disk").unwrap().query.as_deref(), Some("%V"));
        assert!(parse("x disk").is_err() && parse("x -Q %V --update-cluster-stack disk").is_err());
        assert!(parse("x --update-cluster-stack -y -n disk").is_err());
    }
}
