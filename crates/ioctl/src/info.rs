//! `OCFS2_IOC_INFO`: features, sizes and free space.

use std::io;

use crate::Mounted;
use crate::raw::{self, HEADER};

/// The magic number at the start of each request.
const MAGIC: u32 = 0x4f32_494e;
/// Request flag: take no cluster locks.
const NON_COHERENT: u32 = 1;
/// Answer flag: the answer was filled in.
const FILLED: u32 = 0x4000_0000;
/// Answer flag: the kernel failed to fill it in.
const ERROR: u32 = 0x8000_0000;

/// Most slots of a volume.
const SLOTS: usize = 255;
/// Rows of a histogram.
const ROWS: usize = 32;

/// Room for inodes in a slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InodeRoom {
    /// Number of inodes there is room for.
    pub total: u64,
    /// Number of these that are free.
    pub free: u64,
}

/// Free extents of 2^n clusters up to twice as many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Row {
    /// Number of extents.
    pub extents: u32,
    /// Number of clusters in all of them.
    pub clusters: u32,
}

/// Fragmentation of free space.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fragments {
    /// Free extents by length: row n has those of 2^n clusters up to twice as many.
    pub rows: [Row; ROWS],
    /// Number of clusters of the volume.
    pub clusters: u32,
    /// Number of free clusters.
    pub free_clusters: u32,
    /// Number of entirely free chunks of the size asked for.
    pub free_chunks: u32,
    /// Length of the shortest free extent in clusters.
    pub shortest: u32,
    /// Length of the longest free extent in clusters.
    pub longest: u32,
    /// Average length of a free extent in clusters, rounded down.
    pub average: u32,
}

/// An answer of the kernel, after its header.
struct Answer(Vec<u8>);

impl Answer {
    fn u32(&self, at: usize) -> u32 {
        let bytes = self.0.get(at..at + 4).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }

    fn u64(&self, at: usize) -> u64 {
        let bytes = self.0.get(at..at + 8).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    }

    /// The bytes up to the first zero.
    fn text(&self) -> Vec<u8> {
        self.0.iter().copied().take_while(|byte| *byte != 0).collect()
    }
}

impl Mounted {
    /// Sends the request `code` with `size` bytes after the header, which `fill` initializes.
    fn ask(&self, code: u32, size: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Answer> {
        let flags = if self.is_coherent { 0 } else { NON_COHERENT };
        let words = [MAGIC, code, (HEADER + size) as u32, flags];
        let mut request: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        request.resize(HEADER + size, 0);
        fill(request.get_mut(HEADER..).unwrap_or_default());
        raw::info(self, &mut request)?;
        let answer = Answer(request.split_off(HEADER));
        let flags = Answer(request).u32(12);
        match flags & (FILLED | ERROR) {
            FILLED => Ok(answer),
            0 => Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel does not know it")),
            _ => Err(io::Error::other("the kernel could not find it out")),
        }
    }

    fn number(&self, code: u32) -> io::Result<u32> {
        Ok(self.ask(code, 8, |_| ())?.u32(0))
    }

    /// Returns the cluster size in bytes.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn cluster_size(&self) -> io::Result<u32> {
        self.number(1)
    }

    /// Returns the block size in bytes.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn block_size(&self) -> io::Result<u32> {
        self.number(2)
    }

    /// Returns the number of slots of the volume.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn slots(&self) -> io::Result<u32> {
        self.number(3)
    }

    /// Returns the label.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn label(&self) -> io::Result<Vec<u8>> {
        Ok(self.ask(4, 64, |_| ())?.text())
    }

    /// Returns the UUID as text.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn uuid(&self) -> io::Result<Vec<u8>> {
        Ok(self.ask(5, 33, |_| ())?.text())
    }

    /// Returns the feature bits: compat, incompat, ro_compat.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn features(&self) -> io::Result<[u32; 3]> {
        let answer = self.ask(6, 16, |_| ())?;
        Ok([0, 4, 8].map(|at| answer.u32(at)))
    }

    /// Returns the size in bytes of the journal of this node's slot.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn journal_size(&self) -> io::Result<u64> {
        Ok(self.ask(7, 8, |_| ())?.u64(0))
    }

    /// Returns the room for inodes, by slot.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn inode_room(&self) -> io::Result<Vec<InodeRoom>> {
        let answer = self.ask(8, SLOTS * 16 + 8, |_| ())?;
        let slots = (answer.u32(SLOTS * 16) as usize).min(SLOTS);
        let of = |slot| InodeRoom { total: answer.u64(slot * 16), free: answer.u64(slot * 16 + 8) };
        Ok((0..slots).map(of).collect())
    }

    /// Returns the fragmentation of free space, and how many chunks of `chunk` clusters are
    /// entirely free.
    ///
    /// # Errors
    /// Those of the kernel: `chunk` has to be a power of 2 that fits into a group.
    pub fn fragments(&self, chunk: u32) -> io::Result<Fragments> {
        let (numbers, input) = (ROWS * 8, ROWS * 8 + 32);
        let answer = self.ask(9, input + 8, |bytes| {
            if let Some(place) = bytes.get_mut(input..input + 4) {
                place.copy_from_slice(&chunk.to_ne_bytes());
            }
        })?;
        let row = |index: usize| Row {
            extents: answer.u32(index * 4),
            clusters: answer.u32((ROWS + index) * 4),
        };
        let number = |index: usize| answer.u32(numbers + index * 4);
        Ok(Fragments {
            rows: std::array::from_fn(row),
            clusters: number(0),
            free_clusters: number(1),
            free_chunks: number(3),
            shortest: number(4),
            longest: number(5),
            average: number(6),
        })
    }
}
