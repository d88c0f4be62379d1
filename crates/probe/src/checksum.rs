//! CRC-32 in the variant of some formats.

/// CRC-32 starting from `state`, without inverting the result.
pub fn crc32_raw(state: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!state);
    hasher.update(bytes);
    !hasher.finalize()
}
