//! The note that the journals hold a newer state of the volume than its blocks.

use ocfs2_cli::{argument, dirty_journals, program_name, volume_argument};

use crate::volume::Fs;

/// Commands that show nothing of which a journal may have a newer version, or say so themselves.
const APART: &[&str] = &[
    "close",
    "controld",
    "curdev",
    "decode",
    "dlm_locks",
    "dx_hash",
    "feature",
    "fields",
    "fs_locks",
    "hb",
    "help",
    "journal_close",
    "journal_open",
    "journal_run",
    "journal_write",
    "lcd",
    "logclear",
    "logdump",
    "lsdel",
    "net_stats",
    "open",
    "params",
    "pwd",
    "set_current_time",
    "set_journal",
    "slotmap",
    "source",
    "stats",
    "undel",
    "who",
];

/// Whether a command, by its first name, shows what may be older than what the journals hold.
pub fn is_shown_by(command: &str, words: &[Vec<u8>]) -> bool {
    let is_journal = words.iter().any(|word| word.starts_with(b"//journal:"));
    !is_journal && !APART.contains(&command)
}

/// The note, with what to do, if a journal holds something. A volume that is open for changes is
/// mended in place.
pub fn note(fs: &Fs, partition: Option<u32>, can_write: bool) -> Option<String> {
    let which = dirty_journals(&fs.volume.slots_with_newer())?;
    let device = volume_argument(partition, &fs.device);
    let what = match (can_write, fs.is_packed()) {
        (true, _) => "jr replays them".to_owned(),
        (_, true) => format!(
            "a raw image can be brought up to date: o2image -r {} COPY; debugfs.ocfs2 -w -R jr COPY",
            argument(&fs.device)
        ),
        _ => format!(
            "if no node uses the volume, a copy can be brought up to date: o2image -a -r {device} \
             COPY; debugfs.ocfs2 -w -R jr COPY"
        ),
    };
    let name = program_name();
    Some(format!("{name}: {which}, and what is shown may be older than what is in there; {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_apart_is_one() {
        for name in APART {
            let command = crate::commands::find(name);
            assert!(command.is_some_and(|command| command.names.first() == Some(name)), "{name}");
        }
        assert!(is_shown_by("stat", &[b"/".to_vec()]));
        assert!(!is_shown_by("stat", &[b"-T".to_vec(), b"//journal:0000".to_vec()]));
    }
}
