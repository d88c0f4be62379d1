//! Heartbeat blocks.

use std::io::Write;
use std::time::Duration;

use super::live::wait;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::count_of;

/// Seconds between two looks: a node beats every two seconds.
const SECONDS: u64 = 5;

/// `hb`: shows the blocks; with `-w` looks twice, and says which nodes are alive.
pub(super) fn hb(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let watched = match words {
        [] => None,
        [option] if option == b"-w" => Some(SECONDS),
        [option, seconds] if option == b"-w" => Some(count_of(seconds)?),
        _ => return Err(Failure::Usage),
    };
    let fs = shell.fs()?;
    let context = || "while looking up heartbeat".to_owned();
    let region = fs.volume.heartbeat_region().explain(context)?;
    let read = || {
        let beats = region.blocks(fs.volume.device());
        beats.map_err(|err| Failure::Failed(format!("{err} while reading heartbeat")))
    };
    let earlier = watched.map(|_| read()).transpose()?;
    wait(shell, Duration::from_secs(watched.unwrap_or(0)))?;
    let title = if watched.is_some() { " state" } else { "" };
    writeln!(out, "\tnode: node              seq       generation checksum deadms{title}")?;
    for (node, beat) in read()?.iter().enumerate().filter(|(_, beat)| beat.hb_seq != 0) {
        let (number, seq, generation) = (beat.hb_node, beat.hb_seq, beat.hb_generation);
        let (checksum, dead) = (beat.hb_cksum, beat.hb_dead_ms);
        let state = earlier.as_ref().map(|earlier| match earlier.get(node) {
            Some(before) if (before.hb_seq, before.hb_generation) == (seq, generation) => "silent",
            _ => "live",
        });
        let shown = state.map(|state| format!(" {state}")).unwrap_or_default();
        out.row(
            "heartbeat",
            |it| {
                let it = it.put("block", node).put("node", number).put("sequence", seq);
                let it = it.put("generation", generation).put("checksum", checksum);
                let it = it.put("dead_ms", dead);
                match state {
                    Some(state) => it.put("state", state),
                    None => it,
                }
            },
            format_args!(
                "\t{node:>4}: {number:>4} {seq:016x} {generation:016x} {checksum:08x} {dead:>6}{shown}"
            ),
        )?;
    }
    Ok(())
}
