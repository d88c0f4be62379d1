//! Encoding of output: text from a disk, a file or the command line is encoded for its reader, with
//! one function for each kind of reader.
//!
//! A label, a file name or the name of a cluster may contain anything: a line feed that starts a
//! new line of a list, an escape sequence for the terminal, characters that change the direction of
//! text. Each function takes bytes and cannot fail.
//!
//! | for | function |
//! |-|-|
//! | a line for a person, a cell of a table, a message | [`terminal`], [`shown`] |
//! | a path in a command that a message suggests | [`argument`] |
//! | a line of a report with names in it | [`line()`] |
//! | a path in a report, to be found again | [`path`] |
//! | a text that can be turned back into its bytes | [`escaped`] and [`unescaped`] |
//! | JSON | [`json_text`] for a value, [`json_line`] and [`json_document`] for all of it |
//! | `blkid -o full` and `export` | [`caret`] |
//! | `blkid -o value`, `list`, `device` | [`value`] |
//! | the line of a monitoring plugin | [`plugin`] |
//! | udev | [`udev_word`], [`udev_encoded`] |
//!
//! [`crate::Output`], the only way to standard output and standard error, encodes like [`terminal`]
//! whatever a caller has not encoded, except line feeds and tabs.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether `c` can affect a line beyond its own place: a control character (C0, delete, C1), a line
/// or paragraph separator, a change of direction, or an invisible character.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// One line for a person: [unsafe](is_unsafe) characters are escaped as in Rust strings (`\n`,
/// `\u{1b}`), bytes that are not UTF-8 as `\xff`. Encoding twice changes nothing.
pub fn terminal(bytes: impl AsRef<[u8]>) -> String {
    escape(bytes.as_ref(), |c| !is_unsafe(c))
}

/// Like [`terminal`], but keeps line feeds and tabs.
pub(crate) fn terminal_lines(bytes: &[u8]) -> Cow<'_, [u8]> {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    if bytes.iter().all(plain) {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(escape(bytes, |c| matches!(c, '\n' | '\t') || !is_unsafe(c)).into_bytes())
}

/// A path or an argument for a message: [`terminal`] of its bytes.
pub fn shown(text: impl AsRef<OsStr>) -> String {
    terminal(text.as_ref().as_bytes())
}

/// A path as an argument of a suggested command, which can be pasted into a shell: quoted if
/// necessary, and never taken for an option.
pub fn argument(path: impl AsRef<OsStr>) -> String {
    argument_in(path.as_ref().as_bytes(), is_utf8_locale())
}

/// Any bytes as the value of an option in a suggested command, which can be pasted into a shell:
/// quoted if necessary.
pub fn quoted(value: impl AsRef<[u8]>) -> String {
    quoted_in(value.as_ref(), is_utf8_locale())
}

/// A volume as the arguments of a suggested command.
pub fn volume_argument(partition: Option<u32>, device: impl AsRef<OsStr>) -> String {
    let partition = partition.map(|number| format!("--partition {number} "));
    partition.unwrap_or_default() + &argument(device)
}

/// The note that what was overwritten on a volume, given by its [`volume_argument`], is saved.
pub fn undo_note(undo_file: impl AsRef<OsStr>, volume: &str) -> String {
    let file = argument(undo_file);
    format!("What was there is saved: fsck.ocfs2 --undo={file} {volume} puts it back")
}

fn argument_in(path: &[u8], utf8: bool) -> String {
    let path = match path.first() {
        Some(b'-') => Cow::Owned([b"./", path].concat()),
        _ => Cow::Borrowed(path),
    };
    quoted_in(&path, utf8)
}

fn quoted_in(path: &[u8], utf8: bool) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    match std::str::from_utf8(path) {
        Ok(text) if !text.contains(is_unsafe) && (utf8 || text.is_ascii()) => {
            if !text.is_empty() && text.chars().all(is_plain) {
                return text.to_owned();
            }
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        // Only this form has escapes.
        _ => {
            let mut quoted = String::from("$'");
            for byte in path.iter().copied() {
                match byte {
                    b'\'' | b'\\' => quoted.extend(['\\', char::from(byte)]),
                    b' '..=b'~' => quoted.push(char::from(byte)),
                    // Three digits at most: what follows is not taken for a part of it.
                    byte => {
                        let _ = write!(quoted, "\\{byte:03o}");
                    }
                }
            }
            quoted + "'"
        }
    }
}

/// A line of a report for a person, which may contain file names: like [`terminal`], but outside a
/// UTF-8 locale everything that is not ASCII becomes escapes like `\xc3\xa4`.
pub fn line(bytes: impl AsRef<[u8]>) -> String {
    let text = terminal(bytes);
    if text.is_ascii() || is_utf8_locale() {
        return text;
    }
    ascii(&text)
}

/// Escapes everything that is not ASCII byte by byte.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0x80.. => push_byte(byte, &mut out),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// A path in a report: like [`escaped`], but outside a UTF-8 locale everything that is not ASCII
/// becomes escapes like `\xc3\xa4`.
pub fn path(bytes: impl AsRef<[u8]>) -> String {
    let text = escaped(bytes);
    if text.is_ascii() || is_utf8_locale() { text } else { ascii(&text) }
}

/// Like [`terminal`], but with backslashes doubled, so that [`unescaped`] can restore the bytes.
pub fn escaped(bytes: impl AsRef<[u8]>) -> String {
    escape(bytes.as_ref(), |c| c != '\\' && !is_unsafe(c))
}

/// Restores the bytes that [`escaped`] or [`path`] encoded; `None` if `text` is not such an
/// encoding.
pub fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = escape.chars();
        chars.next();
        match chars.next()? {
            '\\' => out.push(b'\\'),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'x' => {
                let digits = chars.as_str().get(..2)?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
                chars.nth(1);
            }
            'u' => {
                let (digits, behind) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                chars = behind.chars();
            }
            _ => return None,
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

/// Whether the environment selects a UTF-8 locale.
pub fn is_utf8_locale() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.as_bytes().to_ascii_lowercase();
    [&b"utf-8"[..], b"utf8"].iter().any(|name| locale.windows(name.len()).any(|part| part == *name))
}

/// A text as a JSON value. Bytes that are not UTF-8 are replaced by U+FFFD; [`json_escaped`]
/// returns the original bytes then.
pub fn json_text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

/// The bytes in the form of [`escaped`] if [`json_text`] loses some of them, otherwise `None`.
pub fn json_escaped(bytes: impl AsRef<[u8]>) -> Option<String> {
    let bytes = bytes.as_ref();
    std::str::from_utf8(bytes).is_err().then(|| escaped(bytes))
}

/// Like [`json_text`], for a path.
pub fn json_path(path: &Path) -> String {
    json_text(path.as_os_str().as_bytes())
}

/// Like [`json_escaped`], for a path.
pub fn json_path_escaped(path: &Path) -> Option<String> {
    json_escaped(path.as_os_str().as_bytes())
}

/// Returns `value` as one line of JSON, without a line feed. [Unsafe](is_unsafe) characters are
/// escaped like `\u001b`.
///
/// # Errors
/// If `value` cannot be represented in JSON.
pub fn json_line(value: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(json_safe)
}

/// Like [`json_line`], but indented over several lines.
///
/// # Errors
/// If `value` cannot be represented in JSON.
pub fn json_document(value: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(json_safe)
}

/// Escapes the unsafe characters that `serde_json` leaves. They occur only in strings, where those
/// below 0x20 are already escaped.
fn json_safe(json: String) -> String {
    let is_left = |c: char| c != '\n' && is_unsafe(c);
    if !json.contains(is_left) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_left(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// ASCII in the notation of `cat -v`: control characters as `^X`, bytes beyond ASCII as `M-X`, with
/// a backslash before each of `quoted`.
pub fn caret(bytes: impl AsRef<[u8]>, quoted: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in bytes.as_ref() {
        caret_byte(byte, quoted, &mut out);
    }
    out
}

/// UTF-8 unchanged, except that [unsafe](is_unsafe) characters and bytes that are not UTF-8 are
/// encoded like [`caret`].
pub fn value(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.as_ref().utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buf = [0; 4];
            let utf8 = c.encode_utf8(&mut buf).as_bytes();
            if is_unsafe(c) {
                utf8.iter().for_each(|byte| caret_byte(*byte, b"", &mut out));
            } else {
                out.extend_from_slice(utf8);
            }
        }
        chunk.invalid().iter().for_each(|byte| caret_byte(*byte, b"", &mut out));
    }
    out
}

/// As in util-linux, the backslash comes after `M-`.
fn caret_byte(byte: u8, quoted: &[u8], out: &mut Vec<u8>) {
    if byte >= 0x80 {
        out.extend_from_slice(b"M-");
    }
    match byte & 0x7f {
        ascii if ascii < 0x20 || ascii == 0x7f => out.extend([b'^', ascii ^ 0x40]),
        ascii if quoted.contains(&ascii) => out.extend([b'\\', ascii]),
        ascii => out.push(ascii),
    }
}

/// A value for udev that will be decoded: unusual characters become escapes like `\x0a`.
pub fn udev_encoded(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.as_ref().utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buf = [0; 4];
            let utf8 = c.encode_utf8(&mut buf).as_bytes();
            let usual = c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c);
            if usual || !c.is_ascii() && !is_unsafe(c) {
                out.extend_from_slice(utf8);
            } else {
                utf8.iter().for_each(|byte| hex_byte(*byte, &mut out));
            }
        }
        chunk.invalid().iter().for_each(|byte| hex_byte(*byte, &mut out));
    }
    out
}

/// A value for udev as one word: white space, [unsafe](is_unsafe) characters and bytes that are not
/// UTF-8 become `_`.
pub fn udev_word(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let words = bytes.as_ref().split(is_space).filter(|word| !word.is_empty());
    let mut out = Vec::new();
    for chunk in words.collect::<Vec<_>>().join(&b'_').utf8_chunks() {
        for c in chunk.valid().chars() {
            let c = if is_unsafe(c) { '_' } else { c };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend(chunk.invalid().iter().map(|_| b'_'));
    }
    out
}

/// A text in the line of a monitoring plugin: like [`terminal`], without the `|` that ends the text
/// there.
pub fn plugin(bytes: impl AsRef<[u8]>) -> String {
    terminal(bytes).replace('|', "\\x7c")
}

fn hex_byte(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
}

fn push_byte(byte: u8, out: &mut String) {
    let _ = write!(out, "\\x{byte:02x}");
}

/// UTF-8 with every character escaped that is not `plain`.
fn escape(bytes: &[u8], plain: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if plain(c) => out.push(c),
                '\\' | '\n' | '\r' | '\t' => out.extend(c.escape_default()),
                c => out.extend(c.escape_unicode()),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(*byte, &mut out));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line feed, an escape sequence, delete, a C1 control, an invalid byte, a change of
    /// direction.
    const HOSTILE: &[u8] = b"a\nID=x\r\x1b[2J\x7f\xc2\x9b\xff\xe2\x80\xae\xc3\xa4 \\z";

    #[test]
    fn a_line_for_a_person_holds_nothing_that_acts() {
        let text = terminal(HOSTILE);
        assert_eq!(text, r"a\nID=x\r\u{1b}[2J\u{7f}\u{9b}\xff\u{202e}ä \z");
        assert_eq!(terminal(&text), text);
        assert_eq!(terminal_lines(b"a\n\tb\x1b\r\n").as_ref(), b"a\n\tb\\u{1b}\\r\n");
        assert!(matches!(terminal_lines(b"a\tb\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_argument_can_be_pasted_into_a_shell() {
        for (path, expected) in [
            ("/dev/sdb1", "/dev/sdb1"),
            ("-x.img", "./-x.img"),
            ("a b$(c).img", "'a b$(c).img'"),
            ("it's", r"'it'\''s'"),
            ("ä", "ä"),
            ("", "''"),
        ] {
            assert_eq!(argument_in(path.as_bytes(), true), expected);
        }
        assert_eq!(argument_in("ä".as_bytes(), false), r"$'\303\244'");
        for path in [HOSTILE, b"-", b"it's \\ \xff1", "ä b".as_bytes(), b"~", b"*?[a]"] {
            for utf8 in [true, false] {
                let line = format!("printf %s {}", argument_in(path, utf8));
                assert!(!line.contains(is_unsafe), "{line}");
                let Ok(shell) = std::process::Command::new("bash").args(["-c", &line]).output()
                else {
                    return;
                };
                let expected = if path == b"-" { b"./-" } else { path };
                assert_eq!(shell.stdout, expected, "{line}");
            }
        }
    }

    #[test]
    fn what_is_escaped_can_be_had_back() {
        for bytes in [HOSTILE, b"", b"\\\\x", b"\xf0\x9f", "ä\u{e0041}".as_bytes(), b"\0"] {
            assert_eq!(unescaped(&escaped(bytes)).unwrap(), bytes);
            assert_eq!(unescaped(&path(bytes)).unwrap(), bytes);
        }
        for text in ["\\", "\\q", "\\x1", "\\xgg", "\\u{110000}", "\\u{41", "\\u41", "\\xä"] {
            assert_eq!(unescaped(text), None, "{text}");
        }
    }

    #[test]
    fn json_is_safe_to_look_at_and_means_the_same() {
        let text = "\u{7f}\u{9b}\u{202e}\u{e0041}ä\n\"";
        let json = json_line(&text).unwrap();
        assert_eq!(json, r#""\u007f\u009b\u202e\udb40\udc41ä\n\"""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        assert_eq!(json_document(&["\u{9b}"]).unwrap(), "[\n  \"\\u009b\"\n]");
        assert_eq!(json_text(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(json_escaped(b"a\xff\\b").unwrap(), r"a\xff\\b");
        assert_eq!(json_escaped("ä\\"), None);
    }

    #[test]
    fn blkid_prints_one_line_a_value() {
        let plain = b"a\"\x1b[2J\x7f\xff\x80\xc3\xa4\xc2\x9b";
        assert_eq!(caret("ü", b"<"), b"M-CM-\\<");
        assert_eq!(caret(plain, b"\"\\"), b"a\\\"^[[2J^?M-^?M-^@M-CM-$M-BM-^[");
        assert_eq!(value(HOSTILE), "a^JID=x^M^[[2J^?M-BM-^[M-^?M-bM-^@M-.ä \\z".as_bytes());
    }

    #[test]
    fn a_monitoring_plugin_ends_its_text_itself() {
        assert_eq!(plugin(b"a|b\n|\xff"), r"a\x7cb\n\x7c\xff");
    }

    #[test]
    fn udev_gets_no_second_line() {
        assert_eq!(udev_encoded(b"a /\\\xff\xc3\xa4"), b"a\\x20\\x2f\\x5c\\xff\xc3\xa4");
        assert_eq!(udev_encoded(b"x\nID_FS_TYPE=ext4"), b"x\\x0aID_FS_TYPE=ext4");
        assert_eq!(udev_encoded("\u{9b}"), b"\\xc2\\x9b");
        assert_eq!(udev_word(b"  a \t b\x01\xff\xc3\xa4\x7f\xc2\x9b "), b"a_b__\xc3\xa4__");
        assert_eq!(udev_word(b"x\nID_FS_TYPE=ext4"), b"x_ID_FS_TYPE=ext4");
    }
}
