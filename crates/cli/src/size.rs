//! Sizes as people write and read them.

/// A text that is not a size.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SizeError {
    /// It does not start with a digit.
    #[error("\"{0}\" is not a size: expected a number like 4096, 4K or 1M")]
    NoNumber(String),
    /// What follows the digits is not a unit.
    #[error("\"{0}\" is not a size: \"{1}\" is none of b, k, m, g, t, p")]
    UnknownUnit(String, String),
    /// 2^64 bytes or more.
    #[error("\"{0}\" is too large: sizes end below 16 EiB")]
    TooLarge(String),
}

/// Parses a size in bytes, with or without a unit: `4096`, `4096b`, `4K`, `4k`, `4KiB`, `4KB`,
/// `1M`, `2g`, `1T`.
///
/// As in the C tools, units are powers of 1024, even when written as `KB`. A number without a unit
/// is in bytes.
///
/// # Errors
/// [`SizeError`], which names the part that is not valid. Signs, fractions and blanks are not
/// accepted.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(SizeError::NoNumber(text.to_owned()));
    }
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(SizeError::UnknownUnit(text.to_owned(), unit.to_owned())),
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| SizeError::TooLarge(text.to_owned()))
}

/// A size for people: `512 B`, `4 KiB`, `1.5 GiB`, with one decimal unless it is a whole number.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut power = (bytes.max(1).ilog2() / 10) as usize;
    let mut tenths = tenths(bytes, power);
    if tenths >= 10_240 {
        // 1023.96 KiB rounds to 1 MiB.
        power += 1;
        tenths = 10;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let unit = UNITS[power];
    if tenth == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") }
}

/// Tenths of 1024^`power` bytes, rounded.
fn tenths(bytes: u64, power: usize) -> u128 {
    let unit = 1_u128 << (10 * power);
    (u128::from(bytes) * 10 + unit / 2) / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_understood_in_both_cases() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512b", 512),
            ("4K", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("4kb", 4096),
            ("1M", 1 << 20),
            ("4G", 4 << 30),
            ("16t", 16 << 40),
            ("1PiB", 1 << 50),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_says_why() {
        for (text, message) in [
            ("", "\"\" is not a size: expected a number like 4096, 4K or 1M"),
            ("K", "\"K\" is not a size: expected a number like 4096, 4K or 1M"),
            ("-4K", "\"-4K\" is not a size: expected a number like 4096, 4K or 1M"),
            ("4x", "\"4x\" is not a size: \"x\" is none of b, k, m, g, t, p"),
            ("1.5G", "\"1.5G\" is not a size: \".5G\" is none of b, k, m, g, t, p"),
            ("4 K", "\"4 K\" is not a size: \" K\" is none of b, k, m, g, t, p"),
            ("16777216T", "\"16777216T\" is too large: sizes end below 16 EiB"),
            (
                "18446744073709551616",
                "\"18446744073709551616\" is too large: sizes end below 16 EiB",
            ),
        ] {
            assert_eq!(parse_size(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn sizes_are_shown_with_one_decimal_at_most() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (4096, "4 KiB"),
            (1536, "1.5 KiB"),
            (4_293_562_368, "4 GiB"),
            ((1 << 20) - 1, "1 MiB"),
            (16 << 40, "16 TiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
