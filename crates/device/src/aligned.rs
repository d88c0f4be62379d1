//! Memory that reads past the page cache can fill.

use memmap2::{Advice, MmapMut};

/// A large page of the processors this runs on. A device moves a read into memory that is in one
/// piece at once, and else 4 KiB by 4 KiB: that takes twice the time on some.
const LARGE_PAGE: usize = 2 << 20;

/// A buffer to be used again and again, as long as it has to be.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    /// For short reads.
    bytes: Vec<u8>,
    /// For long ones, in large pages if there are any.
    pages: Option<MmapMut>,
}

impl AlignedBuffer {
    /// What its start is a multiple of: no file system and no device wants more.
    pub const ALIGN: usize = 4096;

    /// `len` bytes with whatever they held before.
    pub fn get(&mut self, len: usize) -> &mut [u8] {
        if len >= LARGE_PAGE / 2 {
            self.provide_pages(len);
        }
        let (memory, align) = match &mut self.pages {
            Some(pages) if pages.len() >= len + LARGE_PAGE => (&mut pages[..], LARGE_PAGE),
            _ => {
                if self.bytes.len() < len + Self::ALIGN {
                    self.bytes.resize(len + Self::ALIGN, 0);
                }
                (&mut self.bytes[..], Self::ALIGN)
            }
        };
        let start = memory.as_ptr().align_offset(align).min(align);
        &mut memory[start..start + len]
    }

    /// Where this fails there is other memory.
    fn provide_pages(&mut self, len: usize) {
        // None of it is there before it is used.
        let len = len.next_multiple_of(LARGE_PAGE) + LARGE_PAGE;
        if self.pages.as_ref().is_none_or(|pages| pages.len() < len) {
            self.pages = MmapMut::map_anon(len).ok();
            self.bytes = Vec::new();
            let _ = self.pages.as_ref().map(|pages| pages.advise(Advice::HugePage));
        }
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
        for len in [0, 1, 4096, 5000, 1 << 20, 3, (4 << 20) + 1, 2 << 20] {
            let bytes = buffer.get(len);
            assert!(bytes.len() == len && AlignedBuffer::is_aligned(bytes));
            bytes.fill(1);
        }
        assert!(!AlignedBuffer::is_aligned(&buffer.get(2)[1..]));
    }
}
