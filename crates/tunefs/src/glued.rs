//! Options with optional values: those of `-S` and `-U` are appended to the letter.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use uuid::Uuid;

/// Short options without a value.
const FLAGS: &[u8] = b"viynqphV";
/// Short options with a value, appended or not.
const WITH_VALUE: &[u8] = b"LNJQM";

/// Rewrites arguments like `-Sclusters` and `-U0123...` to their long forms, in which a value can
/// be told from none. The first argument is the name of the program.
pub fn glued(args: Vec<OsString>) -> Vec<OsString> {
    let mut rewritten = Vec::with_capacity(args.len());
    let (mut is_value, mut is_operand) = (true, false);
    for arg in args {
        if is_value || is_operand {
            is_value = false;
            rewritten.push(arg);
            continue;
        }
        is_operand = arg == OsStr::new("--");
        match split(arg.as_bytes()) {
            Split::Glued(flags, long, value) => {
                if !flags.is_empty() {
                    rewritten.push(OsString::from_vec([b"-", flags].concat()));
                }
                rewritten.push(OsString::from_vec([long, b"=", value].concat()));
            }
            Split::TakesNext => {
                is_value = true;
                rewritten.push(arg);
            }
            Split::Other => rewritten.push(arg),
        }
    }
    rewritten
}

enum Split<'a> {
    /// The flags before it, the long form, the value.
    Glued(&'a [u8], &'static [u8], &'a [u8]),
    /// The next argument is the value of this one.
    TakesNext,
    Other,
}

fn split(arg: &[u8]) -> Split<'_> {
    let Some(letters) = arg.strip_prefix(b"-").filter(|rest| !rest.starts_with(b"-")) else {
        return Split::Other;
    };
    let Some(at) = letters.iter().position(|letter| !FLAGS.contains(letter)) else {
        return Split::Other;
    };
    let (flags, rest) = letters.split_at(at);
    let value = rest.get(1..).unwrap_or_default();
    let value = value.strip_prefix(b"=").unwrap_or(value);
    let long: &[u8] = match rest {
        [b'S', _, ..] => b"--volume-size",
        [b'U', _, ..] => b"--uuid-reset",
        [letter] if WITH_VALUE.contains(letter) => return Split::TakesNext,
        _ => return Split::Other,
    };
    Split::Glued(flags, long, value)
}

/// Returns a hint if a UUID follows `-U` as an argument of its own, as with other programs: it
/// would be taken for the device.
pub fn uuid_apart(args: &[OsString]) -> Option<String> {
    let is_alone = |arg: &OsStr| match arg.as_bytes().strip_prefix(b"-") {
        Some(letters) => letters
            .strip_suffix(b"U")
            .is_some_and(|flags| flags.iter().all(|letter| FLAGS.contains(letter))),
        None => false,
    };
    let options = args.split(|arg| arg == "--").next().unwrap_or_default();
    let uuid = options.windows(2).find(|pair| is_alone(&pair[0])).and_then(|pair| pair[1].to_str());
    let uuid = uuid.filter(|text| text.len() >= 32 && Uuid::try_parse(text).is_ok())?;
    Some(format!("the UUID is appended to -U: -U{uuid}; -U alone gives a random one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_apart_from_its_option_is_explained() {
        let hint = |line: &str| {
            uuid_apart(&line.split(' ').map(OsString::from).collect::<Vec<_>>()).is_some()
        };
        let uuid = "2a4d1c58-1faa-42a1-a41d-26efc90c1315";
        assert!(hint(&format!("x -U {uuid} disk")) && hint(&format!("x -yU {uuid}")));
        assert!(!hint("x -U disk") && !hint(&format!("x -U{uuid} disk")));
        assert!(!hint(&format!("x -L U {uuid}")) && !hint(&format!("x -- -U {uuid}")));
    }

    #[test]
    fn only_glued_values_are_rewritten() {
        let rewrite = |line: &str| {
            let words = glued(line.split(' ').map(OsString::from).collect());
            words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (given, expected) in [
            ("-Sx -S disk", "-Sx -S disk"),
            ("x -Sbytes disk", "x --volume-size=bytes disk"),
            ("x -qyU12 disk", "x -qy --uuid-reset=12 disk"),
            ("x -L -Sbytes disk", "x -L -Sbytes disk"),
            ("x -LS disk -U", "x -LS disk -U"),
            ("x -qL -U1 -U2", "x -qL -U1 --uuid-reset=2"),
            ("x -- -Sbytes", "x -- -Sbytes"),
            ("x -U=12 -S=blocks", "x --uuid-reset=12 --volume-size=blocks"),
            ("x --uuid-reset=1 -", "x --uuid-reset=1 -"),
        ] {
            assert_eq!(rewrite(given), expected);
        }
    }
}
