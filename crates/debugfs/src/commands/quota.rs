//! Commands about quota.

use std::io::Write;

use ocfs2_format::quota::{QuotaEntry, QuotaKind};

use super::only;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::number_of;

/// The kind of quota that a word names.
pub fn kind_of(word: &[u8]) -> Result<QuotaKind, Failure> {
    match word {
        b"user" | b"usr" | b"u" => Ok(QuotaKind::User),
        b"group" | b"grp" | b"g" => Ok(QuotaKind::Group),
        _ => Err(Failure::Usage),
    }
}

/// Parses the number of a user or a group.
pub fn id_of(word: &[u8]) -> Result<u32, Failure> {
    number_of(word)
}

fn title(out: &mut Screen) -> Result<(), Failure> {
    let columns = ["Id", "Bytes", "Soft", "Hard", "Inodes", "Soft", "Hard"];
    let [id, bytes, bsoft, bhard, inodes, isoft, ihard] = columns;
    writeln!(
        out,
        "\t{id:>10} {bytes:>16} {bsoft:>16} {bhard:>16} {inodes:>10} {isoft:>10} {ihard:>10}"
    )?;
    Ok(())
}

fn row(out: &mut Screen, entry: &QuotaEntry) -> Result<(), Failure> {
    let QuotaEntry { dqb_id, dqb_curspace, dqb_bsoftlimit, dqb_bhardlimit, .. } = entry;
    let QuotaEntry { dqb_curinodes, dqb_isoftlimit, dqb_ihardlimit, .. } = entry;
    out.row(
        "quota",
        |it| {
            let it = it.put("id", *dqb_id).put("bytes", *dqb_curspace);
            let it = it.put("bsoftlimit", *dqb_bsoftlimit).put("bhardlimit", *dqb_bhardlimit);
            let it = it.put("inodes", *dqb_curinodes).put("isoftlimit", *dqb_isoftlimit);
            it.put("ihardlimit", *dqb_ihardlimit)
        },
        format_args!(
            "\t{dqb_id:>10} {dqb_curspace:>16} {dqb_bsoftlimit:>16} {dqb_bhardlimit:>16} \
             {dqb_curinodes:>10} {dqb_isoftlimit:>10} {dqb_ihardlimit:>10}"
        ),
    )?;
    Ok(())
}

/// `lq`
pub(super) fn lq(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let kind = kind_of(only(words)?)?;
    let entries = fs.volume.quota_entries(kind);
    let entries = entries.explain(|| "while reading the quota file".to_owned())?;
    title(out)?;
    for entry in entries {
        fs.check()?;
        row(out, &entry)?;
    }
    Ok(())
}

/// `gq`
pub(super) fn gq(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let [kind, id] = words else { return Err(Failure::Usage) };
    let (kind, id) = (kind_of(kind)?, id_of(id)?);
    let entry = fs.volume.quota_entry(kind, id);
    let entry = entry.explain(|| "while reading the quota file".to_owned())?;
    let none = || Failure::Failed(format!("{} {id} has no entry", kind_name(kind)));
    let entry = entry.ok_or_else(none)?;
    title(out)?;
    row(out, &entry)
}

/// The name of a kind of quota.
pub fn kind_name(kind: QuotaKind) -> &'static str {
    match kind {
        QuotaKind::User => "User",
        QuotaKind::Group => "Group",
    }
}
