//! Commands about the session and about who uses the volume.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::only;
use crate::error::{Explain, Failure, of_file};
use crate::line::{Line, Lines};
use crate::screen::Screen;
use crate::shell::{Done, Shell};
use crate::words::time_of;

/// The greatest depth of files of commands that call each other.
const MOST_SOURCED: u32 = 8;

/// `params`
pub(super) fn params(shell: &mut Shell, _: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let device = shell.device();
    let shown = device.map_or_else(|| "none".to_owned(), ocfs2_cli::shown);
    writeln!(out, "Device: {shown}")?;
    let fs = shell.fs()?;
    let superblock = fs.volume.found_superblock().blkno;
    let (block, cluster) = (fs.volume.block_size(), fs.volume.geometry().cluster_size);
    writeln!(out, "Superblock: {superblock}   Block size: {block}   Cluster size: {cluster}")?;
    let cwd = shell.cwd();
    writeln!(out, "Current directory: <{cwd}>")?;
    out.record("params", |it| {
        let it =
            it.text("device", fs.device.as_os_str().as_bytes()).put("superblock", superblock.0);
        let it = it.put("block_size", block.bytes()).put("cluster_size", cluster.bytes());
        it.put("directory", cwd.0).put("is_open_for_changes", shell.can_write())
    })?;
    let Ok(writer) = shell.writer() else {
        writeln!(out, "Open for: reading")?;
        return Ok(());
    };
    writeln!(out, "Open for: reading and changing")?;
    let undo = writer.undo_file().map_or_else(|| "none".to_owned(), ocfs2_cli::shown);
    writeln!(out, "Undo file: {undo}")?;
    match writer.fixed_time() {
        Some(time) => writeln!(out, "Time of changes: {}", time.seconds)?,
        None => writeln!(out, "Time of changes: now")?,
    }
    Ok(())
}

/// `set_current_time`
pub(super) fn sct(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let word = only(words)?;
    let time = match word {
        b"now" => None,
        _ => Some(time_of(word)?),
    };
    shell.writer()?.set_time(time);
    match time {
        Some(time) => writeln!(out, "Changes are made at {} from now on", time.seconds)?,
        None => writeln!(out, "Changes are made at the time of day from now on")?,
    }
    Ok(())
}

/// `source`
pub(super) fn source(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let path = Path::new(std::ffi::OsStr::from_bytes(only(words)?));
    let file = File::open(path).map_err(|err| of_file(&err, path))?;
    if shell.sourced() >= MOST_SOURCED {
        return Err(Failure::Failed("Files of commands call each other too deeply".to_owned()));
    }
    shell.set_sourced(shell.sourced() + 1);
    shell.push_lines(Lines::plain(file));
    let done = all_lines(shell, out);
    shell.pop_lines();
    shell.set_sourced(shell.sourced().saturating_sub(1));
    done
}

fn all_lines(shell: &mut Shell, out: &mut Screen) -> Result<(), Failure> {
    let mut all = Ok(());
    loop {
        let line = shell.next_line("").map_err(|err| Failure::Failed(ocfs2_cli::causes(&err)))?;
        let Line::Text(line) = line else { return all };
        let line = line.trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match shell.run(line, out) {
            Done::Well => {}
            Done::Badly => all = Err(Failure::Said),
            Done::Quit => return all,
            Done::Interrupted => return Ok(shell.interrupt().check()?),
            Done::Unread => {
                return Err(Failure::Output(std::io::ErrorKind::BrokenPipe.into()));
            }
        }
    }
}

/// `who`
pub(super) fn who(shell: &mut Shell, _: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let taken = fs.volume.taken_slots().explain(|| "while reading the slot map".to_owned())?;
    // Some stacks do not have their heartbeat on the volume.
    let region = fs.volume.heartbeat_region().ok();
    let beats = region.and_then(|region| region.blocks(fs.volume.device()).ok());
    writeln!(out, "\tSlot   Node  Journal  {:<16}  {:<16}", "Heartbeat", "Generation")?;
    for slot in 0..fs.volume.max_slots() {
        fs.check()?;
        let node = taken.iter().find(|it| it.slot == slot).map(|it| it.node);
        let journal = match fs.volume.journal_is_dirty(slot) {
            Ok(true) => "dirty",
            Ok(false) => "clean",
            Err(_) => "damaged",
        };
        let beat = node.zip(beats.as_ref()).and_then(|(node, beats)| {
            beats.iter().find(|beat| beat.hb_seq != 0 && u64::from(beat.hb_node) == u64::from(node))
        });
        let number = node;
        let node = node.map_or_else(|| "-".to_owned(), |node| node.to_string());
        let (seq, generation) = match beat {
            Some(beat) => (format!("{:016x}", beat.hb_seq), format!("{:016x}", beat.hb_generation)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        out.row(
            "slot",
            |it| {
                let it = it.put("slot", slot).put("node", number).put("journal", journal);
                let it = it.put("heartbeat", beat.map(|beat| beat.hb_seq));
                it.put("generation", beat.map(|beat| beat.hb_generation))
            },
            format_args!("\t{slot:>4}  {node:>5}  {journal:<7}  {seq:<16}  {generation:<16}"),
        )?;
    }
    Ok(())
}
