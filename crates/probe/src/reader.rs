//! Bounded reads, and decoding of numbers.

use std::io;

use ocfs2_device::Device;

/// The start of a device, which contains most signatures and is read in one piece.
const HEAD: u64 = 128 << 10;

/// Reads parts of a device.
pub struct Reader<'a> {
    device: &'a dyn Device,
    head: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub fn new(device: &'a dyn Device) -> io::Result<Self> {
        let mut head = vec![0; HEAD.min(device.size_bytes()) as usize];
        device.read_at(&mut head, 0)?;
        Ok(Self { device, head })
    }

    pub fn device(&self) -> &'a dyn Device {
        self.device
    }

    pub fn size(&self) -> u64 {
        self.device.size_bytes()
    }

    /// Returns `len` bytes at `offset`; `None` if they reach past the end of the device.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Option<Bytes>> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.size()) {
            return Ok(None);
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(len);
        if let Some(bytes) = self.head.get(range) {
            return Ok(Some(Bytes(bytes.to_vec())));
        }
        let mut bytes = vec![0; len];
        self.device.read_at(&mut bytes, offset)?;
        Ok(Some(Bytes(bytes)))
    }

    /// Returns `len` bytes at `offset`, if they have `magic` at `magic_at`.
    pub fn signed(
        &self,
        offset: u64,
        len: usize,
        magic_at: usize,
        magic: &[u8],
    ) -> io::Result<Option<Bytes>> {
        Ok(self.read(offset, len)?.filter(|bytes| bytes.has(magic_at, magic)))
    }
}

/// Bytes from a device. Numbers beyond their end read as zero, slices as empty.
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn slice(&self, at: usize, len: usize) -> &[u8] {
        let end = at.saturating_add(len).min(self.0.len());
        self.0.get(at..end).unwrap_or_default()
    }

    pub fn has(&self, at: usize, magic: &[u8]) -> bool {
        self.slice(at, magic.len()) == magic
    }

    pub fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.slice(at, N).try_into().unwrap_or([0; N])
    }

    pub fn u8(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }

    pub fn le16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub fn le32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub fn le64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    pub fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    pub fn be32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    pub fn be64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }
}
