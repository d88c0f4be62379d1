//! Images of `o2image`: the metadata of a volume, one block after the other, and a bitmap of which
//! blocks those are.

use std::io;
use std::sync::Arc;

use ocfs2_device::Device;
use ocfs2_format::BlockSize;

/// `hdr_magic`
const MAGIC: u32 = 0x72a3_d45f;
/// `hdr_magic_desc`, as far as it is defined.
const NAME: &[u8] = b"OCFS2 IMAGE\0";
/// The newest version that is known.
const VERSION: u64 = 1;
/// Bytes of a piece of the bitmap.
const PIECE: u64 = 4096;
/// Blocks that a piece is about.
const PIECE_BLOCKS: u64 = PIECE * 8;

/// A volume of which only an image is there. What is not in it cannot be read.
pub struct ImageDevice {
    image: Arc<dyn Device>,
    block_size: u64,
    blocks: u64,
    /// Where the bitmap begins.
    bitmap: u64,
    /// How many blocks are saved before each piece of the bitmap.
    before: Vec<u64>,
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn number(header: &[u8], at: usize) -> u64 {
    let bytes = header.get(at..).and_then(|rest| rest.first_chunk::<8>());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl ImageDevice {
    /// The volume whose image `image` is.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn open(image: Arc<dyn Device>) -> io::Result<Self> {
        let mut header = [0; 512];
        image.read_at(&mut header, 0)?;
        if number(&header, 0) as u32 != MAGIC || header.get(8..8 + NAME.len()) != Some(NAME) {
            return Err(bad("is not an image of o2image"));
        }
        if number(&header, 0x18) > VERSION {
            return Err(bad("is an image of a newer o2image"));
        }
        let block_size = number(&header, 0x28);
        BlockSize::from_bytes(block_size).ok_or_else(|| bad("the image has no size of blocks"))?;
        let (blocks, saved) = (number(&header, 0x20), number(&header, 0x30));
        let bitmap = saved.checked_add(1).and_then(|count| count.checked_mul(block_size));
        let bitmap = bitmap.filter(|start| *start <= image.size_bytes());
        let bitmap = bitmap.ok_or_else(|| bad("the image ends before its bitmap"))?;
        blocks.checked_mul(block_size).ok_or_else(|| bad("the image is of too many blocks"))?;
        let mut device = Self { image, block_size, blocks, bitmap, before: Vec::new() };
        device.count()?;
        Ok(device)
    }

    /// Counts the blocks that are saved, as far as the image has a bitmap.
    fn count(&mut self) -> io::Result<()> {
        let pieces = self.blocks.div_ceil(PIECE_BLOCKS);
        if pieces > (self.image.size_bytes() - self.bitmap).div_ceil(PIECE) {
            return Err(bad("the image ends before its bitmap does"));
        }
        let mut count = 0;
        for piece in 0..pieces {
            self.before.push(count);
            let bits = self.piece(piece)?;
            count += bits.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        }
        Ok(())
    }

    fn piece(&self, piece: u64) -> io::Result<Vec<u8>> {
        let mut bits = vec![0; PIECE as usize];
        self.image.read_at(&mut bits, self.bitmap + piece * PIECE)?;
        Ok(bits)
    }

    /// Where a block is in the image.
    fn place(&self, block: u64) -> io::Result<Option<u64>> {
        let (piece, bit) = (block / PIECE_BLOCKS, (block % PIECE_BLOCKS) as usize);
        let Some(before) = self.before.get(piece as usize) else { return Ok(None) };
        let bits = self.piece(piece)?;
        let (whole, rest) = bits.split_at(bit / 8);
        let byte = rest.first().copied().unwrap_or(0);
        if byte & 1 << (bit % 8) == 0 {
            return Ok(None);
        }
        let below = u64::from((byte & ((1 << (bit % 8)) - 1)).count_ones());
        let whole: u64 = whole.iter().map(|byte| u64::from(byte.count_ones())).sum();
        Ok(Some((1 + before + whole + below) * self.block_size))
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "an image is only read"))
}

impl Device for ImageDevice {
    fn size_bytes(&self) -> u64 {
        self.blocks * self.block_size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (block, within) = (at / self.block_size, at % self.block_size);
            let len = ((self.block_size - within) as usize).min(rest.len());
            let (piece, behind) = rest.split_at_mut(len);
            let place = self.place(block)?;
            let missing = || io::Error::other(format!("block {block} is not in the image"));
            self.image.read_at(piece, place.ok_or_else(missing)? + within)?;
            (at, rest) = (at + len as u64, behind);
        }
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        read_only()
    }

    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        read_only()
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<bool> {
        read_only()
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::MemoryDevice;

    use super::*;

    /// An image of a volume of 40000 blocks of 512 bytes with blocks 2, 9 and 32770.
    fn image(change: impl FnOnce(&mut Vec<u8>)) -> io::Result<ImageDevice> {
        let mut bytes = vec![0; 4 * 512 + 2 * PIECE as usize];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..20].copy_from_slice(NAME);
        for (at, number) in [(0x18, 1_u64), (0x20, 40_000), (0x28, 512), (0x30, 3)] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        for (index, block) in [2_usize, 9, 32_770].into_iter().enumerate() {
            bytes[512 * (index + 1)..][..512].fill(index as u8 + 1);
            bytes[2048 + block / 8] |= 1 << (block % 8);
        }
        change(&mut bytes);
        let device = MemoryDevice::new(bytes.len() as u64);
        device.write_at(&bytes, 0)?;
        ImageDevice::open(Arc::new(device))
    }

    #[test]
    fn blocks_are_where_the_bitmap_says() {
        let device = image(|_| ()).unwrap();
        assert_eq!(device.size_bytes(), 40_000 * 512);
        let read = |offset, len: usize| {
            let mut buf = vec![0xff; len];
            device.read_at(&mut buf, offset).map(|()| buf)
        };
        assert_eq!(read(2 * 512, 512).unwrap(), [1; 512]);
        assert_eq!(read(9 * 512 + 100, 7).unwrap(), [2; 7]);
        assert_eq!(read(32_770 * 512, 512).unwrap(), [3; 512]);
        let missing = read(9 * 512 + 500, 100).unwrap_err();
        assert_eq!(missing.to_string(), "block 10 is not in the image");
        assert!(read(40_000 * 512 - 1, 2).is_err() && device.write_at(&[1], 0).is_err());
    }

    #[test]
    fn what_is_no_image_is_an_error() {
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
            (0x30, 100),
        ] {
            assert!(put(at, number).is_err(), "{at:#x} {number}");
        }
    }
}
