//! Aligned buffers for reads that bypass the page cache.

use memmap2::{Advice, MmapMut};

/// Size of a large page on the processors this runs on. Into contiguous memory a device moves a
/// read in one piece, otherwise 4 KiB by 4 KiB, which takes twice the time on some devices.
const LARGE_PAGE: usize = 2 << 20;

/// A reusable buffer that grows to the longest read.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    /// For short reads.
    bytes: Vec<u8>,
    /// For long reads, in large pages where there are any.
    pages: Option<MmapMut>,
}

impl AlignedBuffer {
    /// Alignment of the start of the buffer in bytes: no file system and no device needs more.
    pub const ALIGN: usize = 4096;

    /// Returns `len` bytes, with whatever they held before.
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

    /// Maps memory for long reads. If this fails, `get` uses `bytes`.
    fn provide_pages(&mut self, len: usize) {
        // The kernel provides a page when it is first touched.
        let len = len.next_multiple_of(LARGE_PAGE) + LARGE_PAGE;
        if self.pages.as_ref().is_none_or(|pages| pages.len() < len) {
            self.pages = MmapMut::map_anon(len).ok();
            self.bytes = Vec::new();
            let _ = self.pages.as_ref().map(|pages| pages.advise(Advice::HugePage));
        }
    }

    /// Whether `bytes` is aligned like memory from here.
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
