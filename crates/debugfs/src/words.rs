//! The words of a line.

use ocfs2_cli::encode::unescaped;
use ocfs2_cli::terminal;
use ocfs2_volume::Timestamp;

use crate::error::Failure;

/// Splits a line into words at blanks.
///
/// Names with blanks, which the C tool does not support, can be written in two ways: a word that
/// begins with a quote ends at the same quote before a blank or the end, and `\` before a blank
/// makes the blank a part of the word. Elsewhere quotes and backslashes stand for themselves.
/// Between `"` a backslash begins an escape as our own output shows it: `\n`, `\xff`, `\\`.
pub fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        let Some(first) = rest.first() else { return words };
        let quoted = match first {
            b'\'' | b'"' => quoted(rest, *first),
            _ => None,
        };
        let (word, len) = quoted.unwrap_or_else(|| plain(rest));
        words.push(word);
        rest = rest.get(len..).unwrap_or_default();
    }
}

/// The last word of a line that is being typed: its offset, the word so far, and the words before
/// it. After a blank the last word is empty.
pub fn last_word(line: &[u8]) -> (usize, Vec<u8>, Vec<Vec<u8>>) {
    let (mut before, mut at) = (Vec::new(), 0);
    loop {
        let rest = line.get(at..).unwrap_or_default();
        at += rest.len() - rest.trim_ascii_start().len();
        let rest = rest.trim_ascii_start();
        let quote = rest.first().copied().filter(|byte| matches!(byte, b'\'' | b'"'));
        let (word, len) = match quote.map(|quote| (quote, quoted(rest, quote))) {
            None => plain(rest),
            Some((_, Some(found))) => found,
            Some((quote, None)) => {
                let inner = rest.get(1..).unwrap_or_default();
                let word = Some(inner).filter(|_| quote == b'"').and_then(escapes);
                (word.unwrap_or_else(|| inner.to_vec()), rest.len())
            }
        };
        if len >= rest.len() {
            return (at, word, before);
        }
        before.push(word);
        at += len;
    }
}

fn is_blank(byte: Option<&u8>) -> bool {
    byte.is_none_or(u8::is_ascii_whitespace)
}

/// A word in quotes and its length in bytes with them; `None` if the quote is not closed.
fn quoted(text: &[u8], quote: u8) -> Option<(Vec<u8>, usize)> {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        if *byte == b'\\' && quote == b'"' {
            at += 2;
            continue;
        }
        if *byte == quote && is_blank(text.get(at + 1)) {
            let inner = text.get(1..at)?;
            return Some((if quote == b'"' { escapes(inner)? } else { inner.to_vec() }, at + 1));
        }
        at += 1;
    }
    None
}

/// Decodes the escapes between `"`.
fn escapes(inner: &[u8]) -> Option<Vec<u8>> {
    let mut word = Vec::new();
    for chunk in inner.utf8_chunks() {
        word.extend(unescaped(&chunk.valid().replace("\\\"", "\\x22"))?);
        word.extend_from_slice(chunk.invalid());
    }
    Some(word)
}

fn plain(text: &[u8]) -> (Vec<u8>, usize) {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let next = text.get(at + 1);
        if *byte == b'\\' && next.is_some_and(u8::is_ascii_whitespace) {
            word.extend(next);
            at += 2;
            continue;
        }
        if byte.is_ascii_whitespace() {
            break;
        }
        word.push(*byte);
        at += 1;
    }
    (word, at)
}

/// A number in the notation of C: hexadecimal after `0x`, octal after `0`.
pub fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text.get(1..)?, 8),
        None => (text, 10),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    u64::from_str_radix(digits, radix).ok().filter(|_| is_number)
}

/// The number that an argument has to be.
///
/// # Errors
/// [`Failure::Argument`] that says why it is none.
pub fn number_of<T: TryFrom<u64>>(word: &[u8]) -> Result<T, Failure> {
    let value = number(word)
        .ok_or_else(|| Failure::Argument(format!("'{}' is not a number", terminal(word))))?;
    T::try_from(value).map_err(|_| Failure::Argument(format!("{value} is too large a number")))
}

/// The same, of an argument that cannot be 0.
///
/// # Errors
/// [`Failure::Argument`].
pub fn count_of(word: &[u8]) -> Result<u64, Failure> {
    match number_of(word)? {
        0 => Err(Failure::Argument("0 is too small a number".to_owned())),
        count => Ok(count),
    }
}

/// The time that an argument stands for: seconds since 1970, also after `@`; as RFC 3339 has it; as
/// e2fsprogs has it (`YYYYMMDD`, with `HHMM` or `HHMMSS`, in UTC); `now`.
///
/// # Errors
/// [`Failure::Failed`].
pub fn time_of(word: &[u8]) -> Result<Timestamp, Failure> {
    let text = terminal(word);
    let wrong = || {
        let forms = "seconds, also after @, 20261130010203, 2026-11-30T01:02:03Z, or now";
        Failure::Failed(format!("{text} is no time: {forms}"))
    };
    let of_seconds = |seconds: u64| Timestamp { seconds: seconds as i64, nanoseconds: 0 };
    if let Some(digits) = word.strip_prefix(b"@") {
        return number(digits).map(of_seconds).ok_or_else(wrong);
    }
    let is_date = matches!(word.len(), 8 | 12 | 14) && word.iter().all(u8::is_ascii_digit);
    if let Some(seconds) = number(word).filter(|_| !is_date) {
        return Ok(of_seconds(seconds));
    }
    let parsed = match word {
        b"now" => Ok(jiff::Timestamp::now()),
        _ if is_date => date_of(&text),
        _ => text.parse(),
    };
    let time = parsed.map_err(|_| wrong())?.as_nanosecond();
    let (seconds, nanoseconds) = (time.div_euclid(NANOSECONDS), time.rem_euclid(NANOSECONDS));
    Ok(Timestamp { seconds: seconds as i64, nanoseconds: nanoseconds as u32 })
}

/// Nanoseconds of a second.
const NANOSECONDS: i128 = 1_000_000_000;

/// A time of digits only.
fn date_of(digits: &str) -> Result<jiff::Timestamp, jiff::Error> {
    let form = match digits.len() {
        8 => "%Y%m%d",
        12 => "%Y%m%d%H%M",
        _ => "%Y%m%d%H%M%S",
    };
    let parsed = jiff::fmt::strtime::parse(form, digits)?;
    let time = match digits.len() {
        8 => parsed.to_date()?.at(0, 0, 0, 0),
        _ => parsed.to_datetime()?,
    };
    Ok(time.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Vec<String> {
        words(line.as_bytes()).iter().map(|word| word.escape_ascii().to_string()).collect()
    }

    #[test]
    fn blanks_separate_and_quotes_join() {
        assert_eq!(shown(" ls  -l\t/a "), ["ls", "-l", "/a"]);
        assert_eq!(
            shown("cat 'a b' c\\ d \"e \\\"f\\xff\""),
            ["cat", "a b", "c d", "e \\\"f\\xff"]
        );
        assert_eq!(shown(""), Vec::<String>::new());
    }

    #[test]
    fn what_the_c_tool_takes_means_the_same() {
        assert_eq!(shown("cat back\\slash"), ["cat", "back\\\\slash"]);
        assert_eq!(shown("cat quo'te\"s 'open"), ["cat", "quo\\'te\\\"s", "\\'open"]);
        assert_eq!(shown("cat \\"), ["cat", "\\\\"]);
    }

    #[test]
    fn the_last_word_may_be_one_that_is_not_typed_yet() {
        let of = |line: &str| {
            let (at, word, before) = last_word(line.as_bytes());
            (at, String::from_utf8(word).unwrap(), before.len())
        };
        assert_eq!(of(""), (0, String::new(), 0));
        assert_eq!(of(" l"), (1, "l".to_owned(), 0));
        assert_eq!(of("ls "), (3, String::new(), 1));
        assert_eq!(of("ls \"a b"), (3, "a b".to_owned(), 1));
        assert_eq!(of("ls 'a b' /c"), (9, "/c".to_owned(), 2));
    }

    #[test]
    fn times_are_seconds_or_dates() {
        let of = |text: &str| time_of(text.as_bytes()).ok().map(|it| (it.seconds, it.nanoseconds));
        for text in ["1767323045", "@1767323045", "2026-01-02T03:04:05Z", "20260102030405"] {
            assert_eq!(of(text), Some((1_767_323_045, 0)), "{text}");
        }
        assert_eq!(of("20260102"), Some((1_767_312_000, 0)));
        assert_eq!(of("202601020304"), Some((1_767_323_040, 0)));
        assert_eq!(of("2026-01-02T03:04:05.5Z"), Some((1_767_323_045, 500_000_000)));
        assert_eq!(of("1969-12-31T23:59:58.5Z"), Some((-2, 500_000_000)));
        assert_eq!((of("0"), of("@20260102")), (Some((0, 0)), Some((20_260_102, 0))));
        for text in ["", "@", "@now", "yesterday", "20261399", "20260102030461"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert!(of("now").is_some_and(|(now, _)| now > 1_767_323_045));
    }

    #[test]
    fn numbers_are_those_of_c() {
        let numbers =
            |texts: &[&str]| texts.iter().map(|text| number(text.as_bytes())).collect::<Vec<_>>();
        assert_eq!(numbers(&["0", "17", "0x1f", "010"]), [Some(0), Some(17), Some(31), Some(8)]);
        assert_eq!(
            numbers(&["", "x", "-1", "+1", "1x", "0x", "09", "18446744073709551616"]),
            [None, None, None, None, None, None, None, None]
        );
    }
}
