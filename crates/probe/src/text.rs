//! Labels, which are text stored on the device.

/// The bytes up to the first NUL, without trailing white space.
pub fn trimmed(bytes: &[u8]) -> &[u8] {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let len = text.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
    text.get(..len).unwrap_or_default()
}

/// Converts UTF-16 in either byte order to UTF-8, up to the first NUL. A lone surrogate is encoded
/// as three bytes, like a character.
pub fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let units = bytes.chunks_exact(2).map(|pair| unit(pair.try_into().unwrap_or_default()));
    let mut out = Vec::new();
    for decoded in char::decode_utf16(units.take_while(|unit| *unit != 0)) {
        match decoded {
            Ok(character) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                out.extend([0xe0 | (unit >> 12) as u8, 0x80 | (unit >> 6 & 0x3f) as u8]);
                out.push(0x80 | (unit & 0x3f) as u8);
            }
        }
    }
    out
}

/// One line without control characters, for a message.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            _ if character.is_control() => out.extend(character.escape_unicode()),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_trimmed() {
        assert_eq!(trimmed(b" a b \t\x0b\n\0x"), b" a b");
        assert_eq!(trimmed(b"  \0"), b"");
        assert_eq!(trimmed(b""), b"");
    }

    #[test]
    fn lone_surrogates_do_not_end_a_label() {
        let units = [0x61_u16, 0xd83d, 0xde00, 0xd800, 0x62, 0, 0x63];
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        assert_eq!(utf16(&bytes, u16::from_le_bytes), b"a\xf0\x9f\x98\x80\xed\xa0\x80b");
    }
}
