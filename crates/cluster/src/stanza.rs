//! The grammar of cluster.conf: stanzas of attributes, with arbitrary names.

use std::ops::Range;

/// A stanza: a type and its attributes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Stanza<'a> {
    pub kind: &'a str,
    /// The line in which it begins, from 1.
    pub line: usize,
    /// The line after its last attribute, from 1.
    pub end: usize,
    attributes: Vec<Attribute<'a>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Attribute<'a> {
    name: &'a str,
    value: String,
    /// Its lines, from 1; more than one if continued by backslashes.
    lines: Range<usize>,
}

/// The error of a line that does not fit the grammar, which rejects the whole file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {problem}: {}", text.escape_debug())]
pub struct SyntaxError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: SyntaxProblem,
    /// The text of the line.
    pub text: String,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SyntaxProblem {
    /// An attribute before the first stanza, or after the empty line that ends one.
    #[error("attribute outside of a stanza")]
    OutsideStanza,
    /// Not a stanza, an attribute or a comment.
    #[error("neither \"name:\" nor a blank and \"name = value\"")]
    Unknown,
}

impl<'a> Stanza<'a> {
    /// Parses all stanzas of a file.
    pub fn parse_all(text: &'a str) -> Result<Vec<Self>, SyntaxError> {
        let mut stanzas: Vec<Self> = Vec::new();
        let mut inside = false;
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let number = index + 1;
            let error = |problem| SyntaxError { line: number, problem, text: line.to_owned() };
            if line.starts_with('#') {
                continue;
            } else if line.chars().all(is_space) {
                inside = false;
            } else if let Some(kind) = stanza_line(line) {
                stanzas.push(Self { kind, line: number, end: number + 1, attributes: Vec::new() });
                inside = true;
            } else if let Some((name, value)) = attribute_line(line) {
                let stanza = stanzas
                    .last_mut()
                    .filter(|_| inside)
                    .ok_or_else(|| error(SyntaxProblem::OutsideStanza))?;
                let mut value = value.to_owned();
                let mut end = number + 1;
                while value.ends_with('\\') {
                    value.pop();
                    value.push('\n');
                    if let Some((_, more)) = lines.next() {
                        value.push_str(more);
                        end += 1;
                    }
                }
                // Blanks after a value are usually an accident of pasting.
                value.truncate(value.trim_end_matches(is_space).len());
                stanza.end = end;
                stanza.attributes.push(Attribute { name, value, lines: number..end });
            } else {
                return Err(error(SyntaxProblem::Unknown));
            }
        }
        Ok(stanzas)
    }

    /// The value of an attribute; the last one if there are several.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attribute(name).map(|attribute| &*attribute.value)
    }

    /// All keys with their lines, from 1.
    pub fn keys(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.attributes.iter().map(|attribute| (attribute.lines.start, attribute.name))
    }

    /// The lines of an attribute, from 1.
    pub fn lines_of(&self, name: &str) -> Option<Range<usize>> {
        self.attribute(name).map(|attribute| attribute.lines.clone())
    }

    /// The line to report if an attribute is invalid: its own, or the first one of the stanza.
    pub fn line_of(&self, name: &str) -> usize {
        self.attribute(name).map_or(self.line, |attribute| attribute.lines.start)
    }

    fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().rev().find(|attribute| attribute.name == name)
    }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// The ASCII characters for which isspace(3) is true.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Splits off the word at the start of `text`.
fn word(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn stanza_line(line: &str) -> Option<&str> {
    let (kind, rest) = word(line)?;
    rest.strip_prefix(':').filter(|rest| rest.chars().all(is_space)).map(|_| kind)
}

fn attribute_line(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = word(line.strip_prefix(is_blank)?.trim_start_matches(is_blank))?;
    let value = rest.trim_start_matches(is_blank).strip_prefix('=')?;
    Some((name, value.trim_start_matches(is_blank)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_to_the_last_word_of_the_line_and_continue_after_a_backslash() {
        let text = "# c\nnode:\t \n name=a b \n\t x1 \t = \\\nrest\n\nother:\n y =\nthird:";
        let stanzas = Stanza::parse_all(text).unwrap();
        let found: Vec<_> = stanzas.iter().map(|s| (s.kind, s.line)).collect();
        assert_eq!(found, [("node", 2), ("other", 7), ("third", 9)]);
        assert_eq!(stanzas[0].get("name"), Some("a b"));
        assert_eq!(stanzas[0].get("x1"), Some("\nrest"));
        assert_eq!(stanzas[1].get("y"), Some(""));
        assert_eq!(stanzas[2].get("y"), None);
        assert_eq!(Stanza::parse_all(" \t\n").unwrap(), []);
    }

    #[test]
    fn white_space_around_names_and_values_is_no_part_of_them() {
        let text = "node: \t\r\n\t a \t=\t b \t\r\n\tc=d\x0b\x0c\r\r\n\te = f \\\n\n \t\r\r\n\
                    x:\n\ty = \t\n";
        let stanzas = Stanza::parse_all(text).unwrap();
        let values = ["a", "c", "e"].map(|name| stanzas[0].get(name).unwrap());
        assert_eq!((values, stanzas[1].get("y")), (["b", "d", "f"], Some("")));
    }

    #[test]
    fn any_other_line_rejects_the_file() {
        use SyntaxProblem::{OutsideStanza, Unknown};
        for (text, line, problem) in [
            ("\n a = b\n", 2, OutsideStanza),
            ("x:\n a = b\n\n c = d\n", 4, OutsideStanza),
            ("x: y\n", 1, Unknown),
            ("x\n", 1, Unknown),
            ("a = b\n", 1, Unknown),
            ("x:\n a\n", 2, Unknown),
            ("x:\n # indented\n", 2, Unknown),
            ("é:\n", 1, Unknown),
        ] {
            let err = Stanza::parse_all(text).unwrap_err();
            assert_eq!((err.line, err.problem), (line, problem), "{text:?}");
        }
        let err = Stanza::parse_all("x:\n\ta\n").unwrap_err();
        let expected = "line 2: neither \"name:\" nor a blank and \"name = value\": \\ta";
        assert_eq!(err.to_string(), expected);
    }
}
