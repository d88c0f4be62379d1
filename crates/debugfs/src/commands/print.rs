//! Structures field by field.

use std::io::Write;

use ocfs2_format::{Blkno, FieldKind};

use super::only;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::fields::{Place, STRUCTURES, places, shown, value};
use crate::show::parts::Shape;

/// `fields`
pub(super) fn fields(_: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    if words.is_empty() {
        for structure in STRUCTURES {
            let name = structure.name;
            out.row("structure_name", |it| it.put("name", name), format_args!("{name}"))?;
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
        let meaning = plain(&field.meaning());
        let (offset, name) = (field.offset, field.name);
        out.row(
            "field",
            |it| {
                let it = it.put("name", name).put("offset", offset).put("size", field.size);
                it.put("meaning", meaning.trim())
            },
            format_args!("{offset:#06x}  {kind:<5} {name:<25} {meaning}"),
        )?;
    }
    Ok(())
}

/// The description of a field without the markup of the documentation: a link to a constant or a type
/// becomes its name in words.
fn plain(meaning: &str) -> String {
    let mut parts = meaning.split("[`");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (link, rest) = part.split_once("`]").unwrap_or((part, ""));
        text.push_str(&in_words(link.rsplit("::").next().unwrap_or(link)));
        text.push_str(rest);
    }
    text.replace('`', "")
}

/// A name of the sources in words: `DynFeatures` and `DYN_FEATURES` are "dyn features".
fn in_words(name: &str) -> String {
    let is_constant = !name.contains(|c: char| c.is_ascii_lowercase());
    let mut words = String::new();
    for c in name.chars() {
        if c == '_' {
            words.push(' ');
        } else if c.is_ascii_uppercase() && !is_constant && !words.is_empty() {
            words.extend([' ', c.to_ascii_lowercase()]);
        } else {
            words.push(c.to_ascii_lowercase());
        }
    }
    words
}

/// `print`
pub(super) fn print(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (shape, words) = shape_of(words)?;
    let (blkno, wanted) = place_and_field(shell, only(words)?)?;
    let block = shape.read(fs, blkno).explain(|| format!("while reading block {blkno}"))?;
    let parts = shape.parts(&block);
    if parts.is_empty() {
        return Err(Failure::Failed(format!("Block {blkno} has no signature that is known")));
    }
    let is_wanted = |place: &Place| wanted.as_ref().is_none_or(|wanted| place.is(wanted.as_str()));
    let mut is_found = false;
    if wanted.is_none() {
        out.structure_as(shape, &block, fs.has_checks())?;
    }
    for place in places(&block, &parts).iter().filter(|place| is_wanted(place)) {
        let bytes = block.get(place.at..place.at + place.size).unwrap_or_default();
        if wanted.is_some() {
            let name = place.name.as_str();
            out.record("value", |it| it.put("name", name).put("value", value(bytes, place)))?;
        }
        writeln!(out, "{} = {}", place.name, shown(bytes, place))?;
        is_found = true;
    }
    if is_found {
        return Ok(());
    }
    let wanted = wanted.unwrap_or_default();
    Err(Failure::Failed(format!("The structure of block {blkno} has no field '{wanted}'")))
}

/// The fields of a block by its signature, one per line.
pub(super) fn fields_of(block: &[u8]) -> Vec<String> {
    let all = places(block, &Shape::default().parts(block));
    let line = |place: &Place| {
        let bytes = block.get(place.at..place.at + place.size).unwrap_or_default();
        format!("{} = {}", place.name, shown(bytes, place))
    };
    all.iter().map(line).collect()
}

/// Parses `-t` with a shape; returns also the words after it.
pub(super) fn shape_of(words: &[Vec<u8>]) -> Result<(Shape, &[Vec<u8>]), Failure> {
    match words {
        [option, shape, rest @ ..] if option == b"-t" => {
            let names = "directory, bucket, quota";
            let none = || Failure::Failed(format!("A block can be taken for one of {names}"));
            Ok((Shape::of_word(shape).ok_or_else(none)?, rest))
        }
        words => Ok((Shape::default(), words)),
    }
}

/// Finds the block that a word names, and the field after it.
pub(super) fn place_and_field(
    shell: &Shell,
    word: &[u8],
) -> Result<(Blkno, Option<String>), Failure> {
    let fs = shell.fs()?;
    // Names and fields may both contain dots: the shortest field is tried first.
    let dots = word.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let mut split: Vec<_> = dots.filter_map(|at| split(word, at)).collect();
    split.reverse();
    for (place, field) in split {
        if let Ok(blkno) = shell.find(fs, place) {
            return Ok((blkno, Some(field)));
        }
    }
    // After a number in `<>` the rest is the wrong part.
    let end = word.iter().position(|byte| *byte == b'>').filter(|_| word.starts_with(b"<"));
    let place = end.and_then(|end| word.get(..=end)).unwrap_or(word);
    Ok((shell.find(fs, place).of(place)?, None))
}

/// Splits a word at the dot at `at`; `None` unless a field may follow.
fn split(word: &[u8], at: usize) -> Option<(&[u8], String)> {
    let (place, field) = (word.get(..at)?, word.get(at + 1..)?);
    let is_field = !field.is_empty()
        && field.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.[]".contains(byte));
    (!place.is_empty() && is_field).then(|| (place, ocfs2_cli::terminal(field)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_the_sources_is_shown() {
        assert_eq!(plain("[`Dinode::SIGNATURE`], or `none`."), "signature, or none.");
        assert_eq!(plain("see [`DynFeatures`] and [`crate::a::xattr_hash`]"), {
            "see dyn features and xattr hash"
        });
        for structure in STRUCTURES {
            for field in structure.fields {
                let text = plain(&field.meaning());
                assert!(!text.contains("::") && !text.contains(['[', '`']), "{text}");
            }
        }
    }
}
