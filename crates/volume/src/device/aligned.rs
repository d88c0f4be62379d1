//! Memory that reads past the page cache can fill.

/// A buffer to be used again and again, as long as it has to be.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
}

impl AlignedBuffer {
    /// What its start is a multiple of: no file system and no device wants more.
    pub const ALIGN: usize = 4096;

    /// `len` bytes with whatever they held before.
    pub fn get(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < len + Self::ALIGN {
            self.bytes.resize(len + Self::ALIGN, 0);
        }
        let start = self.bytes.as_ptr().align_offset(Self::ALIGN).min(Self::ALIGN);
        &mut self.bytes[start..start + len]
    }

    /// Whether memory is as if it came from here.
    pub(super) fn is_aligned(bytes: &[u8]) -> bool {
        bytes.as_ptr().align_offset(Self::ALIGN) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_whatever_its_length() {
        let mut buffer = AlignedBuffer::default();
        for len in [0, 1, 4096, 5000, 1 << 20, 3] {
            let bytes = buffer.get(len);
            assert!(bytes.len() == len && AlignedBuffer::is_aligned(bytes));
        }
        assert!(!AlignedBuffer::is_aligned(&buffer.get(2)[1..]));
    }
}
