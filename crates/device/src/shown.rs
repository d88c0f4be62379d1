//! Paths in error messages, without loss.
//!
//! Encoding for a terminal or for JSON happens above this crate and takes text, so a path that is
//! not valid text must keep all of its bytes here.

use std::path::Path;

/// Returns a path as it is, or quoted and escaped if it contains control characters or is not
/// UTF-8.
pub fn path(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("{path:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn no_byte_of_a_path_is_lost() {
        let shown = |bytes: &[u8]| path(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(shown("/dev/ä \"x\\".as_bytes()), "/dev/ä \"x\\");
        assert_eq!(shown(b"a\n\x1b\xc2\x85\xff\xc3\xa4"), r#""a\n\u{1b}\u{85}\xFFä""#);
    }
}
