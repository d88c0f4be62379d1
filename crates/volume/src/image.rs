//! A packed image, as `o2image` makes it, used as a read-only device.
//!
//! A block that is not saved reads as zeros, as in a raw image: a reader of many blocks at a time
//! does not need all of them.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ocfs2_device::{Device, end_within};
use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::image::ImageHeader;
use ocfs2_format::{Blkno, Invalid, Structure};

/// Why a file cannot be used as a packed image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It does not begin as one.
    #[error("is not an image of o2image")]
    Other,
    /// The header is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// It ends before what its header states.
    #[error("is cut: it has {found} bytes, and its header states {expected}")]
    Cut {
        /// Bytes there are.
        found: u64,
        /// Bytes the header states.
        expected: u64,
    },
    /// The bitmap disagrees with the header.
    #[error("its bitmap has {found} blocks, and its header states {expected}")]
    Count {
        /// Bits that are set.
        found: u64,
        /// `hdr_imgblkcnt`.
        expected: u64,
    },
}

/// The volume in a packed image.
pub struct PackedImage {
    file: Arc<dyn Device>,
    header: ImageHeader,
    /// For each piece of the bitmap how many blocks before it are saved.
    before: Vec<u64>,
    /// The piece that was used last, and its number.
    piece: Mutex<Option<(u64, Vec<u8>)>>,
}

impl std::fmt::Debug for PackedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedImage").field("header", &self.header).finish_non_exhaustive()
    }
}

impl PackedImage {
    /// Whether a file begins as a packed image does.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_one(file: &dyn Device) -> io::Result<bool> {
        Ok(header(file)?.is_some_and(|header| header.hdr_magic == ImageHeader::MAGIC))
    }

    /// The volume in the packed image `file`. Reads its bitmap.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn open(file: Arc<dyn Device>) -> Result<Self, ImageError> {
        let header = header(&*file)?.filter(|header| header.hdr_magic == ImageHeader::MAGIC);
        let header = header.ok_or(ImageError::Other)?;
        header.verify()?;
        let mut image = Self { file, header, before: Vec::new(), piece: Mutex::new(None) };
        // What the header states is compared with the file before memory is allocated for it.
        let end = image.bitmap_at(image.header.pieces());
        let (found, expected) = (image.file.size_bytes(), end.unwrap_or(u64::MAX));
        if found < expected {
            return Err(ImageError::Cut { found, expected });
        }
        image.count()?;
        Ok(image)
    }

    /// The header.
    pub fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// Whether a block is saved.
    ///
    /// # Errors
    /// The bitmap cannot be read.
    pub fn has(&self, blkno: Blkno) -> io::Result<bool> {
        Ok(self.place(blkno)?.is_some())
    }

    /// The blocks that are saved, as ascending ranges.
    ///
    /// # Errors
    /// The bitmap cannot be read.
    pub fn ranges(&self) -> io::Result<Vec<Range<u64>>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for number in 0..self.header.pieces() {
            let piece = self.read_piece(number)?;
            let first = number * ImageHeader::BLOCKS_PER_PIECE;
            let bits = Bitmap::new(&piece, self.bits_of(number));
            let saved = (0..bits.len()).filter(|bit| bits.get(*bit));
            for block in saved.map(|bit| first + bit as u64) {
                match ranges.last_mut().filter(|last| last.end == block) {
                    Some(last) => last.end = block + 1,
                    None => ranges.push(block..block + 1),
                }
            }
        }
        Ok(ranges)
    }

    /// Where a piece of the bitmap is, in bytes; `None` if that does not fit 64 bits.
    fn bitmap_at(&self, piece: u64) -> Option<u64> {
        let blocks = self.header.hdr_imgblkcnt.checked_add(1)?;
        let start = blocks.checked_mul(self.header.hdr_fsblksz)?;
        start.checked_add(piece.checked_mul(ImageHeader::BITMAP_PIECE)?)
    }

    fn count(&mut self) -> Result<(), ImageError> {
        let mut count = 0;
        for number in 0..self.header.pieces() {
            self.before.push(count);
            let piece = self.read_piece(number)?;
            count += Bitmap::new(&piece, self.bits_of(number)).count_ones() as u64;
        }
        let expected = self.header.hdr_imgblkcnt;
        if count != expected {
            return Err(ImageError::Count { found: count, expected });
        }
        Ok(())
    }

    /// Bits of a piece that stand for blocks. Those after them mean nothing: the C program leaves
    /// what is in its memory there.
    fn bits_of(&self, number: u64) -> usize {
        let before = number * ImageHeader::BLOCKS_PER_PIECE;
        let left = self.header.hdr_fsblkcnt.saturating_sub(before);
        left.min(ImageHeader::BLOCKS_PER_PIECE) as usize
    }

    fn read_piece(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; ImageHeader::BITMAP_PIECE as usize];
        self.file.read_at(&mut piece, self.bitmap_at(number).unwrap_or(u64::MAX))?;
        Ok(piece)
    }

    /// Where a block is in the file, in bytes; `None` if it is not saved.
    fn place(&self, blkno: Blkno) -> io::Result<Option<u64>> {
        let (number, bit) =
            (blkno.0 / ImageHeader::BLOCKS_PER_PIECE, blkno.0 % ImageHeader::BLOCKS_PER_PIECE);
        let mut last = self.piece.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(there, _)| *there != number) {
            *last = Some((number, self.read_piece(number)?));
        }
        let piece = last.as_ref().map(|(_, piece)| piece.as_slice()).unwrap_or_default();
        let (byte, bit) = ((bit / 8) as usize, bit % 8);
        let at = piece.get(byte).copied().unwrap_or_default();
        if at & (1 << bit) == 0 {
            return Ok(None);
        }
        let within = piece.iter().take(byte).map(|byte| byte.count_ones()).sum::<u32>();
        let within = within + (at & ((1_u8 << bit) - 1)).count_ones();
        let before = self.before.get(number as usize).copied().unwrap_or_default();
        Ok(Some((1 + before + u64::from(within)) * self.header.hdr_fsblksz))
    }
}

/// The header of a file that is long enough for one.
fn header(file: &dyn Device) -> io::Result<Option<ImageHeader>> {
    let mut bytes = [0; ImageHeader::SIZE];
    if file.size_bytes() < bytes.len() as u64 {
        return Ok(None);
    }
    file.read_at(&mut bytes, 0)?;
    Ok(ImageHeader::decode(&bytes).ok())
}

impl Device for PackedImage {
    fn size_bytes(&self) -> u64 {
        self.header.hdr_fsblkcnt.saturating_mul(self.header.hdr_fsblksz)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        // No block beyond the end is looked up in the bitmap.
        end_within(self.size_bytes(), offset, buf.len() as u64)?;
        let size = self.header.hdr_fsblksz;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (block, within) = (Blkno(at / size), at % size);
            let len = rest.len().min((size - within) as usize);
            let (piece, after) = rest.split_at_mut(len);
            match self.place(block)? {
                Some(place) => self.file.read_at(piece, place + within)?,
                None => piece.fill(0),
            }
            (at, rest) = (at + len as u64, after);
        }
        Ok(())
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(refused())
    }

    fn zero(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(refused())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a packed image is not written to")
}

/// A packed image in which a block that is not saved is an error instead of zeros: zeros would be
/// taken for the contents of files.
#[derive(Debug)]
pub struct OnlySaved(pub Arc<PackedImage>);

impl Device for OnlySaved {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let size = self.0.header().hdr_fsblksz.max(1);
        let end = offset.saturating_add(buf.len() as u64);
        for block in offset / size..end.div_ceil(size) {
            if !self.0.has(Blkno(block))? {
                return Err(io::Error::other("the image does not have it"));
            }
        }
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.zero(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.0.discard(offset, len)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::MemoryDevice;

    use super::*;

    /// An image of a volume of 40000 blocks of 512 bytes with blocks 2, 9 and 32770.
    fn image(change: impl FnOnce(&mut Vec<u8>)) -> Result<PackedImage, ImageError> {
        let mut bytes = vec![0; 4 * 512 + 2 * 4096];
        bytes[..4].copy_from_slice(&ImageHeader::MAGIC.to_le_bytes());
        bytes[8..20].copy_from_slice(&ImageHeader::DESCRIPTION);
        for (at, number) in [(0x18, 1_u64), (0x20, 40_000), (0x28, 512), (0x30, 3), (0x38, 4096)] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        for (index, block) in [2_usize, 9, 32_770].into_iter().enumerate() {
            bytes[512 * (index + 1)..][..512].fill(index as u8 + 1);
            bytes[2048 + block / 8] |= 1 << (block % 8);
        }
        // After the last block the C program leaves what is in its memory.
        bytes[2048 + 8191] = 0xff;
        change(&mut bytes);
        let device = MemoryDevice::new(bytes.len() as u64);
        device.write_at(&bytes, 0)?;
        PackedImage::open(Arc::new(device))
    }

    #[test]
    fn blocks_are_where_the_bitmap_says_and_others_are_zeros() {
        let device = image(|_| ()).unwrap();
        assert_eq!(device.size_bytes(), 40_000 * 512);
        let read = |offset, len: usize| {
            let mut buf = vec![0xff; len];
            device.read_at(&mut buf, offset).map(|()| buf)
        };
        assert_eq!(read(2 * 512, 512).unwrap(), [1; 512]);
        assert_eq!(read(9 * 512 + 100, 7).unwrap(), [2; 7]);
        assert_eq!(read(32_770 * 512, 512).unwrap(), [3; 512]);
        assert_eq!(read(9 * 512 + 510, 4).unwrap(), [2, 2, 0, 0]);
        assert!(read(40_000 * 512 - 1, 2).is_err() && device.write_at(&[1], 0).is_err());
        assert_eq!(device.ranges().unwrap(), [2..3, 9..10, 32_770..32_771]);
    }

    #[test]
    fn what_is_not_an_image_is_an_error() {
        let put = |at: usize, number: u64| {
            image(move |bytes| bytes[at..at + 8].copy_from_slice(&number.to_le_bytes()))
        };
        for (at, number) in [
            (0, 0),
            (8, 0),
            (0x18, 2),
            (0x20, u64::MAX),
            (0x20, 1 << 40),
            (0x28, 777),
            (0x30, u64::MAX),
            (0x30, 2),
            (0x30, 40),
            (0x38, 512),
        ] {
            assert!(put(at, number).is_err(), "{number:#x} at {at:#x}");
        }
        assert!(image(|bytes| bytes.truncate(4096)).is_err());
        assert!(image(|bytes| bytes.truncate(100)).is_err());
    }
}
