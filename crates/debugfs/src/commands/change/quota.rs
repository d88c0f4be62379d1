//! Limits of users and groups.

use ocfs2_cli::{parse_size, terminal};
use ocfs2_format::quota::QuotaEntry;

use super::{refused, say};
use crate::commands::quota::{id_of, kind_name, kind_of};
use crate::error::Failure;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::number;

/// A field of an entry that can be set.
type Field = fn(&mut QuotaEntry) -> &mut u64;

/// The fields that can be set; the usage is counted instead.
const FIELDS: [(&str, Field); 6] = [
    ("bsoftlimit", |entry| &mut entry.dqb_bsoftlimit),
    ("bhardlimit", |entry| &mut entry.dqb_bhardlimit),
    ("isoftlimit", |entry| &mut entry.dqb_isoftlimit),
    ("ihardlimit", |entry| &mut entry.dqb_ihardlimit),
    ("btime", |entry| &mut entry.dqb_btime),
    ("itime", |entry| &mut entry.dqb_itime),
];

/// `set_quota`
pub(in super::super) fn set_quota(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [kind, id, name, value] = words else { return Err(Failure::Usage) };
    let (kind, id) = (kind_of(kind)?, id_of(id)?);
    let plain = name.strip_prefix(b"dqb_").unwrap_or(name);
    let found = FIELDS.iter().find(|(known, _)| known.as_bytes() == plain);
    let (known, field) = found.ok_or_else(|| {
        let names: Vec<_> = FIELDS.iter().map(|(known, _)| *known).collect();
        refused(name, &format!("cannot be set: {}", names.join(", ")))
    })?;
    let parsed = number(value)
        .or_else(|| parse_size(std::str::from_utf8(value).ok()?).ok())
        .ok_or_else(|| refused(value, "is not a number"))?;
    let mut before = 0;
    let ((), committed) = shell.change(|edit| {
        edit.update_quota(kind, id, |entry| before = std::mem::replace(field(entry), parsed))?;
        Ok(())
    })?;
    let (whose, known) = (kind_name(kind), terminal(known.as_bytes()));
    say(out, &format!("{known} of {whose} {id} was {before} and is {parsed}"), committed)
}
