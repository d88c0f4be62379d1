//! Labels may contain anything. Three ways to print them safely.

/// For a terminal: control characters as `^X`, bytes beyond ASCII as `M-X`, and a backslash before
/// each of `escaped`.
pub fn caret(value: &[u8], escaped: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        if byte >= 0x80 {
            out.extend_from_slice(b"M-");
        }
        match byte & 0x7f {
            ascii if ascii < 0x20 || ascii == 0x7f => out.extend([b'^', ascii ^ 0x40]),
            ascii if escaped.contains(&ascii) => out.extend([b'\\', ascii]),
            ascii => out.push(ascii),
        }
    }
}

/// For udev, to be decoded again: everything unusual as `\xHH`.
pub fn hex(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_ascii_alphanumeric() || "#+-.:=@_".contains(character) {
                out.push(character as u8);
            } else if character.is_ascii() {
                hex_byte(character as u8, &mut out);
            } else {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        chunk.invalid().iter().for_each(|byte| hex_byte(*byte, &mut out));
    }
    out
}

fn hex_byte(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
}

/// For udev, in one direction: white space and what is no UTF-8 as `_`. Control characters
/// pass, as they do in util-linux.
pub fn underscore(value: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let words: Vec<&[u8]> = value.split(is_space).filter(|word| !word.is_empty()).collect();
    let mut out = Vec::new();
    for chunk in words.join(&b'_').utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        out.extend(chunk.invalid().iter().map(|_| b'_'));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_dangerous_reaches_a_terminal() {
        let mut out = Vec::new();
        caret(b"a\"\x1b[2J\x7f\xff\x80\xc3\xa4\xc2\x9b", b"\"\\", &mut out);
        assert_eq!(out, b"a\\\"^[[2J^?M-^?M-^@M-CM-$M-BM-^[");
    }

    #[test]
    fn udev_gets_one_word() {
        assert_eq!(hex(b"a /\\\xff\xc3\xa4"), b"a\\x20\\x2f\\x5c\\xff\xc3\xa4");
        assert_eq!(underscore(b"  a \t b\x01\xff\xc3\xa4 "), b"a_b\x01_\xc3\xa4");
    }
}
