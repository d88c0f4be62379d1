//! `cargo xtask kernel --story`: the walk-through of the documentation, from a run of the kernel
//! test `story`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const DOC: &str = "docs/walk-through.md";
const README: &str = "README.md";
/// Marks around the part that is written into README.md.
const MARKS: (&str, &str) = ("<!-- cargo xtask kernel --story: -->\n", "<!-- end -->\n");
/// The commands that README.md shows; the document has the others as well.
const SHORT: [&str; 7] = [
    "o2cb online",
    "mkdir /ovs; mount",
    "mount -t",
    "mounted.ocfs2 -f",
    "umount",
    "echo saved by",
    "fsck.ocfs2",
];

/// Writes the document and a part of README.md.
///
/// # Errors
/// If a file cannot be read or written, or README.md has no marks.
pub fn write(root: &Path, transcript: &str) -> Result<()> {
    // A question that was answered by Enter ends with invisible blanks.
    let lines: Vec<_> = transcript.trim().lines().map(str::trim_end).collect();
    let transcript = lines.join("\n");
    let document = format!(
        "# From two servers and a disk to a recovered volume\n\n\
         Two virtual machines, `ovs001` and `ovs002`, share the disk `/dev/vda` and have no\n\
         OCFS2 programs but those of this repository. The kernel is Debian's, `mount` is that of\n\
         util-linux, the shell is busybox. `crash` ends a machine as a loss of power does. This\n\
         document is the record of a run of `cargo xtask kernel --story`, which writes it.\n\n\
         ```console\n{transcript}\n```\n"
    );
    fs::write(root.join(DOC), document).context(DOC)?;
    let path = root.join(README);
    let readme = fs::read_to_string(&path).context(README)?;
    fs::write(&path, with_part(&readme, &short(&transcript))?).context(README)
}

/// Returns the commands of [`SHORT`] with their output, without the middle of long output and
/// without the text between commands.
fn short(transcript: &str) -> String {
    let mut out = String::new();
    let mut shown: Vec<&str> = Vec::new();
    let mut flush = |shown: &mut Vec<&str>| {
        let long = shown.len() > 16;
        for (index, line) in shown.iter().enumerate() {
            match index {
                index if !long || index < 1 || index + 13 >= shown.len() => {
                    out += line;
                    out.push('\n');
                }
                1 => out += "...\n",
                _ => {}
            }
        }
        shown.clear();
    };
    let mut wanted = false;
    for line in transcript.lines() {
        let command = line.split_once("]# ").filter(|_| line.starts_with("[root@"));
        if let Some((_, command)) = command {
            flush(&mut shown);
            wanted = SHORT.iter().any(|start| command.starts_with(start));
        } else if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        if wanted {
            shown.push(line);
        }
    }
    flush(&mut shown);
    out
}

/// Returns `readme` with `part` between the marks.
fn with_part(readme: &str, part: &str) -> Result<String> {
    let (before, rest) = readme.split_once(MARKS.0).context("README.md has no mark")?;
    let (_, after) = rest.split_once(MARKS.1).context("README.md has no mark of an end")?;
    Ok(format!("{before}{}\n```console\n{part}```\n\n{}{after}", MARKS.0, MARKS.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_story_has_some_commands_and_the_ends_of_long_ones() {
        let many: String = (0..30).map(|n| format!("line {n}\n")).collect();
        let transcript = format!(
            "# Said.\n[root@a ~]# cat x\nx\n[root@a ~]# umount /ovs\n\n# Then.\n\
             [root@a ~]# fsck.ocfs2 -y /dev/vda1\n{many}"
        );
        let short = short(&transcript);
        let expected =
            "[root@a ~]# umount /ovs\n[root@a ~]# fsck.ocfs2 -y /dev/vda1\n...\nline 17\n";
        assert!(short.starts_with(expected) && short.ends_with("line 29\n"), "{short}");
        let readme = format!("a\n{}old{}b\n", MARKS.0, MARKS.1);
        let with = with_part(&readme, "x\n").unwrap();
        let expected = format!("a\n{}\n```console\nx\n```\n\n{}b\n", MARKS.0, MARKS.1);
        assert_eq!(with, expected);
    }
}
