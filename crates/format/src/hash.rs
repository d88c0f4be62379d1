//! Hashes: of names in directory indexes, of names of extended attributes, and of the UUID, which
//! is the seed of the latter.

use std::fmt;
use std::str::FromStr;

/// Whether name bytes from 0x80 on count as negative numbers.
///
/// Kernels before 6.2 on x86 and all C tools hash them as signed, those on processors whose `char`
/// is unsigned and all later kernels as unsigned. Of the latter only 6.12.117, 7.3.4 and those
/// after them look for the signed hash as well; no earlier one looks for both. A reader has to try
/// both; a writer follows what the volume shows, and without evidence writes unsigned. An ASCII
/// name has the same hash either way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CharSign {
    /// As the C tools do, and Linux before 6.2 on x86.
    Signed,
    /// As kernels from 6.2 on do.
    #[default]
    Unsigned,
}

impl CharSign {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Signed, Self::Unsigned];

    fn extend(self, byte: u8) -> u32 {
        match self {
            Self::Signed => i32::from(byte as i8) as u32,
            Self::Unsigned => byte.into(),
        }
    }
}

impl fmt::Display for CharSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signed => "signed",
            Self::Unsigned => "unsigned",
        })
    }
}

/// A word that is neither `signed` nor `unsigned`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected signed or unsigned")]
pub struct NoCharSign;

impl FromStr for CharSign {
    type Err = NoCharSign;

    fn from_str(text: &str) -> Result<Self, NoCharSign> {
        Self::ALL.into_iter().find(|sign| sign.to_string() == text).ok_or(NoCharSign)
    }
}

/// Hash of a name in a directory index.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NameHash {
    /// `dx_major_hash`: selects the leaf cluster.
    pub major: u32,
    /// `dx_minor_hash`: selects the block in it.
    pub minor: u32,
}

/// Hash of `name` in a directory index; `seed` is `s_dx_seed`.
///
/// The hashes of `.` and `..` are 0.
pub fn dx_hash(name: &[u8], seed: [u32; 3], sign: CharSign) -> NameHash {
    if name == b"." || name == b".." {
        return NameHash::default();
    }
    let (mut b0, mut b1) = (seed[0], seed[1]);
    let mut left = name.len();
    for chunk in name.chunks(16) {
        (b0, b1) = round(b0, b1, pack(chunk, left, sign));
        left -= chunk.len();
    }
    NameHash { major: b0, minor: b1 }
}

/// Up to 16 bytes as four words. Missing bytes are filled with the length that was left.
fn pack(chunk: &[u8], left: usize, sign: CharSign) -> [u32; 4] {
    let pad = (left as u32 & 0xff).wrapping_mul(0x0101_0101);
    let mut words = [pad; 4];
    for (word, bytes) in words.iter_mut().zip(chunk.chunks(4)) {
        for byte in bytes {
            *word = sign.extend(*byte).wrapping_add(*word << 8);
        }
    }
    words
}

/// Sixteen rounds of TEA, added to the input.
fn round(b0: u32, b1: u32, key: [u32; 4]) -> (u32, u32) {
    let (mut x0, mut x1, mut sum) = (b0, b1, 0_u32);
    let mix = |x: u32, sum: u32, ka: u32, kb: u32| {
        (x << 4).wrapping_add(ka) ^ x.wrapping_add(sum) ^ (x >> 5).wrapping_add(kb)
    };
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        x0 = x0.wrapping_add(mix(x1, sum, key[0], key[1]));
        x1 = x1.wrapping_add(mix(x0, sum, key[2], key[3]));
    }
    (b0.wrapping_add(x0), b1.wrapping_add(x1))
}

/// `xe_name_hash` of an attribute's name without its prefix; `uuid_hash` is `s_uuid_hash`.
pub fn xattr_hash(name: &[u8], uuid_hash: u32, sign: CharSign) -> u32 {
    name.iter().fold(uuid_hash, |hash, byte| hash.rotate_left(5) ^ sign.extend(*byte))
}

/// What `s_uuid_hash` of a new volume has to be.
///
/// Readers use the stored value: a changed UUID leaves it as it was.
pub fn uuid_hash(uuid: &[u8; 16]) -> u32 {
    uuid.iter().fold(0, |hash: u32, byte| hash.rotate_left(5) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_have_the_known_hashes() {
        let seed = [0x3127_8835, 0xd49f_7066, 0x20dc_9b96];
        let long = [b'x'; 255];
        let rows: [(&[u8], u32, u32); 12] = [
            (b".", 0, 0),
            (b"..", 0, 0),
            (b"a", 0x3a7b_9572, 0xae42_bfd9),
            (b"abcd", 0xaea7_6034, 0x4b61_772a),
            (b"lost+found", 0xde5d_03cb, 0xb959_07cc),
            (b"file-000001", 0xb64f_d948, 0x7b9a_b397),
            (b"abcdefghijklmnop", 0x1239_1977, 0x81ac_12f8),
            (b"abcdefghijklmnopq", 0xd471_bbee, 0xcd8c_7c6e),
            (b"file-00000-\xc3\xa9t\xc3\xa9\xff", 0xb0d9_d8a2, 0xa27c_045a),
            (b"file-00000000000000000015", 0xeca1_f404, 0x6560_8cec),
            (b"file-000000000000000000000000000000000000000000040", 0xefd6_2862, 0x1c4f_e757),
            (&long, 0x7e14_627a, 0x0899_7133),
        ];
        for (name, major, minor) in rows {
            let hash = dx_hash(name, seed, CharSign::Signed);
            assert_eq!(hash, NameHash { major, minor }, "{}", name.escape_ascii());
            let unsigned = dx_hash(name, seed, CharSign::Unsigned);
            assert_eq!(unsigned == hash, name.is_ascii(), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn attribute_names_have_the_known_hashes() {
        let rows: [(&[u8], u32); 7] = [
            (b"", 0xa7b6_f8b6),
            (b"s0", 0xdbe2_d4ce),
            (b"s1", 0xdbe2_d4cf),
            (b"name0", 0x6b9e_5561),
            (b"attr-number-0", 0xf8a0_d296),
            (b"big0", 0x8b5a_d3bf),
            (b"nonascii\xe9", 0x65e9_6f5c),
        ];
        for (name, hash) in rows {
            assert_eq!(xattr_hash(name, 0xa7b6_f8b6, CharSign::Signed), hash);
        }
    }

    #[test]
    fn uuids_have_the_known_hashes() {
        let rows = [
            (0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128, 0x7a03_7a03),
            (0xa952_56d2_1d2f_4e2f_97ab_a77f_e9b5_db64, 0xa7b6_f8b6),
            (0x2c9d_8f3e_2513_46d5_8615_98ae_a17c_8115, 0x8874_375c),
        ];
        for (uuid, hash) in rows {
            assert_eq!(uuid_hash(&uuid.to_be_bytes()), hash);
        }
    }
}
