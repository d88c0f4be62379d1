//! `struct ocfs2_block_check` and how it is computed (metaecc).
//!
//! A check is a CRC-32, which shows whether a block is sound, and a Hamming parity, which finds the
//! wrong bit if there is only one. Both are over the bytes as stored, with the check itself taken
//! as zero.

use std::ops::Range;

use binrw::binrw;

use crate::structure::structure;

structure! {
    "block check", 8;

    /// `struct ocfs2_block_check`: eight bytes that guard a metadata block.
    ///
    /// Meaningful only on a volume with the metaecc feature; otherwise ignored, and written
    /// as zero.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct BlockCheck {
        /// 0x00: CRC-32 of the block with these eight bytes zero.
        pub bc_crc32e: u32,
        /// 0x04: Hamming parity of the same.
        pub bc_ecc: u16,
        /// 0x06: 0.
        pub bc_reserved1: u16,
    }
}

/// The result of comparing a block with its check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Checked {
    /// The block is as it was written.
    Good,
    /// One bit is wrong: bit `n & 7` of byte `n >> 3`.
    OneBit(usize),
    /// More than one bit is wrong, or the check itself.
    Bad {
        /// CRC-32 the check states.
        stored: u32,
        /// CRC-32 the block has.
        computed: u32,
    },
}

/// The check of `block`, which holds (or will hold) it at `check_offset`.
///
/// If the block ends before `check_offset`, there is no check to be taken as zero.
pub fn compute(block: &[u8], check_offset: usize) -> BlockCheck {
    let [head, hole, tail] = parts(block, check_offset);
    BlockCheck {
        bc_crc32e: crc(&[head, &[0; 8][..hole.len()], tail]),
        bc_ecc: parity(block, head.len()..head.len() + hole.len()),
        bc_reserved1: 0,
    }
}

/// Writes its check into `block`: the last step before the block is written.
///
/// Does nothing to a block that does not reach as far as `check_offset` plus 8.
pub fn stamp(block: &mut [u8], check_offset: usize) {
    let check = compute(block, check_offset);
    if let Some(place) = block.get_mut(check_offset..) {
        let _ = crate::Structure::encode(&check, place);
    }
}

/// Compares `block` with the check it holds at `check_offset`.
pub fn validate(block: &[u8], check_offset: usize) -> Checked {
    let [head, hole, tail] = parts(block, check_offset);
    let Ok(stored) = <BlockCheck as crate::Structure>::decode(hole) else {
        return Checked::Bad { stored: 0, computed: crc(&[block]) };
    };
    let computed = crc(&[head, &[0; 8], tail]);
    if computed == stored.bc_crc32e {
        return Checked::Good;
    }
    let bad = Checked::Bad { stored: stored.bc_crc32e, computed };
    let hole = head.len()..head.len() + hole.len();
    let ecc = parity(block, hole.clone());
    let Some(bit) = bit_of_code(ecc ^ stored.bc_ecc).filter(|bit| bit / 8 < block.len()) else {
        return bad;
    };
    if hole.contains(&(bit / 8)) {
        return bad;
    }
    let mut mended = block.to_vec();
    mended[bit / 8] ^= 1 << (bit % 8);
    let [head, _, tail] = parts(&mended, check_offset);
    if crc(&[head, &[0; 8], tail]) == stored.bc_crc32e { Checked::OneBit(bit) } else { bad }
}

/// [`validate`], and flips the wrong bit if there is only one.
pub fn correct(block: &mut [u8], check_offset: usize) -> Checked {
    let checked = validate(block, check_offset);
    if let Checked::OneBit(bit) = checked
        && let Some(byte) = block.get_mut(bit / 8)
    {
        *byte ^= 1 << (bit % 8);
    }
    checked
}

/// The bytes before the check, the check, and the bytes after it.
fn parts(block: &[u8], check_offset: usize) -> [&[u8]; 3] {
    let (head, rest) = block.split_at(check_offset.min(block.len()));
    let (hole, tail) = rest.split_at(rest.len().min(8));
    [head, hole, tail]
}

/// CRC-32 with the register starting at all ones and not inverted at the end.
fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    !hasher.finalize()
}

/// The Hamming parity of `data` with the bytes of `hole` zero: the exclusive or of the code
/// positions of its set bits.
///
/// Data bit i has the i-th (from 0) code position that is not a power of two.
fn parity(data: &[u8], hole: Range<usize>) -> u16 {
    let mut words = code_words(data, hole);
    let mut parity = 0;
    // Bit b of the index of a word is bit b + 6 of the code positions in it. So bit b + 6 of the
    // parity is the parity of all words whose index has bit b. For the highest bit these are the
    // upper half of the words. Then both halves are combined, and the next bit is decided in the
    // same way by the upper half of what remains.
    let mut half = words.len().next_power_of_two() / 2;
    while half > 0 {
        let (lower, upper) = words.split_at_mut(half);
        let mut all = 0;
        for (lower, upper) in lower.iter_mut().zip(&*upper) {
            *lower ^= upper;
            all ^= upper;
        }
        parity |= (half << 6) * odd(all);
        words.truncate(half);
        half /= 2;
    }
    // One word is left: the same within it.
    let mut word = words.first().copied().unwrap_or_default();
    for bit in (0..6).rev() {
        let upper = word >> (1 << bit);
        parity |= odd(upper & ((1 << (1 << bit)) - 1)) << bit;
        word ^= upper;
    }
    parity as u16
}

/// 1 if an odd number of bits is set, else 0.
fn odd(word: u64) -> usize {
    word.count_ones() as usize & 1
}

/// The bits of `data` (zeros for `hole`) at their code positions: word k has the positions from `64
/// * k` on.
fn code_words(data: &[u8], hole: Range<usize>) -> Vec<u64> {
    let (whole, rest) = data.as_chunks::<8>();
    let mut words = Vec::with_capacity(whole.len() + 2);
    words.extend(whole.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    words.push(rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    words.push(0);
    for byte in hole {
        words[byte / 8] &= !(0xff << (byte % 8 * 8));
    }
    // From 2^j up to the next power of two, a code position is its data bit plus j + 2, so that all
    // words in between are shifted by the same distance. Powers of two from 64 on begin a word. The
    // words are shifted from the end, as each needs the one before it.
    let mut end = words.len();
    while end > 1 {
        let start = 1_usize << (end - 1).ilog2();
        let shift = 8 + start.ilog2();
        for k in (start..end).rev() {
            words[k] = words[k] << shift | words[k - 1] >> (64 - shift);
        }
        // The power itself is not a position of data.
        words[start] &= !1;
        end = start;
    }
    // In the first word, the stretches between the powers from 2 to 32.
    let first = words[0];
    words[0] = (first << 3 & 0x8)
        | (first << 4 & 0xe0)
        | (first << 5 & 0xfe00)
        | (first << 6 & 0xfffe_0000)
        | (first << 7 & 0xffff_fffe_0000_0000);
    words
}

/// The data bit at code position `code`; `None` for 0 and powers of two, which hold no data.
fn bit_of_code(code: u16) -> Option<usize> {
    if code == 0 || code.is_power_of_two() {
        return None;
    }
    let powers_before = u16::BITS - code.leading_zeros();
    usize::from(code).checked_sub(powers_before as usize + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::structure::assert_round_trip;

    /// As the format defines it, bit by bit.
    fn plain_parity(data: &[u8]) -> u16 {
        let mut parity = 0;
        let mut code = 0_usize;
        for index in 0..8 * data.len() {
            code += 1;
            while code.is_power_of_two() {
                code += 1;
            }
            if data[index / 8] & 1 << (index % 8) != 0 {
                parity ^= code;
            }
        }
        parity as u16
    }

    fn filled(len: usize, set: &[(usize, u8)]) -> Vec<u8> {
        let mut data = vec![0; len];
        set.iter().for_each(|(at, value)| data[*at] = *value);
        data
    }

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<BlockCheck>();
    }

    #[test]
    fn plain_buffers_have_the_known_checks() {
        let counted = |len: usize| (0..len).map(|i| i as u8).collect::<Vec<_>>();
        let rows: Vec<(Vec<u8>, u32, u16)> = vec![
            (filled(512, &[]), 0x4d55_8a87, 0),
            (filled(1024, &[]), 0x104a_50d1, 0),
            (filled(2048, &[]), 0x0e17_4561, 0),
            (filled(4096, &[]), 0x38e3_ffee, 0),
            (filled(512, &[(0, 1)]), 0x5d27_51af, 3),
            (filled(512, &[(0, 2)]), 0x6db0_3cd7, 5),
            (filled(512, &[(0, 4)]), 0x0c9e_e627, 6),
            (filled(512, &[(0, 0x80)]), 0x1905_33ca, 0xc),
            (filled(512, &[(1, 1)]), 0xe5f4_f81d, 0xd),
            (filled(512, &[(511, 0x80)]), 0xa0ed_09a7, 0x100d),
            (filled(4096, &[(4095, 0x80)]), 0xd55b_7cce, 0x8010),
            (vec![0xff; 512], 0x4284_3c60, 0x1ffe),
            (counted(512), 0xe39e_ca89, 0x1f72),
            (vec![0xff; 4096], 0x0eab_98f5, 0x7fef),
            (counted(4096), 0x5d6e_df7d, 0xbf62),
        ];
        for (data, crc_expected, ecc) in rows {
            assert_eq!(
                (crc(&[&data]), parity(&data, 0..0)),
                (crc_expected, ecc),
                "{:?}",
                &data[..2]
            );
        }
        assert_eq!(crc(&[b"123456789"]), 0x340b_c6d9);
    }

    #[test]
    fn every_single_bit_is_found_and_turned_back() {
        for size in [512, 1024, 2048, 4096] {
            let mut block: Vec<u8> = (0..size).map(|i| (i * 7 + i / 256) as u8).collect();
            stamp(&mut block, 0x80);
            assert_eq!(validate(&block, 0x80), Checked::Good);
            let bits = (0..size * 8).filter(|bit| !(0x80..0x88).contains(&(bit / 8)));
            for bit in bits.step_by(13) {
                let mut broken = block.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(correct(&mut broken, 0x80), Checked::OneBit(bit));
                assert_eq!(broken, block);
            }
        }
    }

    #[test]
    fn two_wrong_bits_are_not_mended() {
        let mut block = vec![0x5a; 512];
        stamp(&mut block, 0x08);
        block[100] ^= 0x11;
        let broken = block.clone();
        assert!(matches!(correct(&mut block, 0x08), Checked::Bad { .. }));
        assert_eq!(block, broken);
    }

    #[test]
    fn a_block_too_short_for_a_check_is_bad() {
        assert!(matches!(validate(&[1; 7], 0), Checked::Bad { .. }));
        assert!(matches!(validate(&[], 100), Checked::Bad { .. }));
        let mut short = [1; 7];
        stamp(&mut short, 3);
        assert_eq!(short, [1; 7]);
    }

    proptest! {
        #[test]
        fn the_parity_is_the_one_defined(
            data in proptest::collection::vec(any::<u8>(), 0..600),
            at in 0_usize..600,
        ) {
            prop_assert_eq!(parity(&data, 0..0), plain_parity(&data));
            let hole = at.min(data.len())..(at + 8).min(data.len());
            let mut zeroed = data.clone();
            zeroed[hole.clone()].fill(0);
            prop_assert_eq!(parity(&data, hole), plain_parity(&zeroed));
        }

        #[test]
        fn any_bytes_are_survived(
            mut data in proptest::collection::vec(any::<u8>(), 0..600),
            at in 0_usize..700,
        ) {
            correct(&mut data, at);
            stamp(&mut data, at);
            if at + 8 <= data.len() {
                prop_assert_eq!(validate(&data, at), Checked::Good);
            }
        }
    }
}
