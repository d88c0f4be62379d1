//! Structures field by field.

use std::io::Write;

use ocfs2_format::FieldKind;

use super::only;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::fields::{STRUCTURES, Value, parts, values};

/// `fields`
pub(super) fn fields(_: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    if words.is_empty() {
        for structure in STRUCTURES {
            writeln!(out, "{}", structure.name)?;
        }
        return Ok(());
    }
    let name = ocfs2_cli::terminal(words.join(&b' ')).replace('_', " ");
    let found = STRUCTURES.iter().find(|structure| structure.name == name);
    let found = found.ok_or_else(|| Failure::Failed(format!("There is no structure '{name}'")))?;
    writeln!(out, "Offset  Size  Name                      Meaning")?;
    for field in found.fields {
        let kind = match field.kind {
            FieldKind::Numbers(size) if size > 1 => format!("{}x{size}", field.size / size),
            _ => field.size.to_string(),
        };
        // Without the links of the documentation.
        let meaning = field.meaning().replace(['[', ']', '`'], "");
        writeln!(out, "{:#06x}  {kind:<5} {:<25} {}", field.offset, field.name, meaning)?;
    }
    Ok(())
}

/// `print`
pub(super) fn print(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = only(words)?;
    let (place, wanted) = split(word);
    let found = shell.find(fs, place);
    // A name may have a dot.
    let (blkno, wanted) = match (found, wanted) {
        (Err(_), Some(_)) => (shell.find(fs, word).of(word)?, None),
        (found, wanted) => (found.of(place)?, wanted),
    };
    let block = fs.block(blkno).explain(|| format!("while reading block {blkno}"))?;
    let parts = parts(&block);
    if parts.is_empty() {
        return Err(Failure::Failed(format!("Block {blkno} has no signature that is known")));
    }
    let is_wanted = |value: &Value| match &wanted {
        None => true,
        Some(wanted) => {
            let inner = value.name.strip_prefix(wanted.as_str());
            inner.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                || value.name.ends_with(&format!(".{wanted}"))
        }
    };
    let mut is_found = false;
    for value in values(&block, &parts).iter().filter(|value| is_wanted(value)) {
        writeln!(out, "{} = {}", value.name, value.text)?;
        is_found = true;
    }
    if is_found {
        return Ok(());
    }
    let wanted = wanted.unwrap_or_default();
    Err(Failure::Failed(format!("The structure of block {blkno} has no field '{wanted}'")))
}

/// A place and the field after its last dot: of `<5>.i_check.bc_ecc` all after the first.
fn split(word: &[u8]) -> (&[u8], Option<String>) {
    let is_number = word.starts_with(b"<");
    let dot = match is_number {
        true => word.iter().position(|byte| *byte == b'.'),
        false => word.iter().rposition(|byte| *byte == b'.'),
    };
    let Some((place, field)) = dot.and_then(|dot| Some((word.get(..dot)?, word.get(dot + 1..)?)))
    else {
        return (word, None);
    };
    let is_field = !field.is_empty()
        && field.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte));
    if place.is_empty() || !is_field {
        return (word, None);
    }
    (place, Some(ocfs2_cli::terminal(field)))
}
