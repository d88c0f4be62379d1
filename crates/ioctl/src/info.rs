//! `OCFS2_IOC_INFO`: features, sizes and free room.

use std::io;

use crate::Mounted;
use crate::raw::{self, HEADER};

/// What each request begins with.
const MAGIC: u32 = 0x4f32_494e;
/// Set in a request: no cluster locks are taken.
const NON_COHERENT: u32 = 1;
/// Set in an answer: there is one.
const FILLED: u32 = 0x4000_0000;
/// Set in an answer: it could not be had.
const ERROR: u32 = 0x8000_0000;

/// Most slots.
const SLOTS: usize = 255;
/// Rows of a histogram.
const ROWS: usize = 32;

/// Room for inodes in a slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InodeRoom {
    /// Inodes there is room for.
    pub total: u64,
    /// Those that are free.
    pub free: u64,
}

/// Free extents of 2^n clusters up to twice as many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Row {
    /// How many there are.
    pub extents: u32,
    /// The clusters of all of them.
    pub clusters: u32,
}

/// How free room is in pieces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fragments {
    /// Free extents by length.
    pub rows: [Row; ROWS],
    /// Clusters of the volume.
    pub clusters: u32,
    /// Those that are free.
    pub free_clusters: u32,
    /// Chunks of the size that was asked for which are wholly free.
    pub free_chunks: u32,
    /// Clusters of the shortest free extent.
    pub shortest: u32,
    /// Clusters of the longest one.
    pub longest: u32,
    /// Clusters of one on average, rounded down.
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

    /// The bytes up to the first that is zero.
    fn text(&self) -> Vec<u8> {
        self.0.iter().copied().take_while(|byte| *byte != 0).collect()
    }
}

impl Mounted {
    /// Asks what has a code, with so many bytes after the header, of which `fill` sets some.
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

    /// Bytes of a cluster.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn cluster_size(&self) -> io::Result<u32> {
        self.number(1)
    }

    /// Bytes of a block.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn block_size(&self) -> io::Result<u32> {
        self.number(2)
    }

    /// Slots of the volume.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn slots(&self) -> io::Result<u32> {
        self.number(3)
    }

    /// The label.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn label(&self) -> io::Result<Vec<u8>> {
        Ok(self.ask(4, 64, |_| ())?.text())
    }

    /// The UUID, as text.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn uuid(&self) -> io::Result<Vec<u8>> {
        Ok(self.ask(5, 33, |_| ())?.text())
    }

    /// The bits of the features: compat, incompat, ro_compat.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn features(&self) -> io::Result<[u32; 3]> {
        let answer = self.ask(6, 16, |_| ())?;
        Ok([0, 4, 8].map(|at| answer.u32(at)))
    }

    /// Bytes of the journal of this node's slot.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn journal_size(&self) -> io::Result<u64> {
        Ok(self.ask(7, 8, |_| ())?.u64(0))
    }

    /// Room for inodes, slot by slot.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn inode_room(&self) -> io::Result<Vec<InodeRoom>> {
        let answer = self.ask(8, SLOTS * 16 + 8, |_| ())?;
        let slots = (answer.u32(SLOTS * 16) as usize).min(SLOTS);
        let of = |slot| InodeRoom { total: answer.u64(slot * 16), free: answer.u64(slot * 16 + 8) };
        Ok((0..slots).map(of).collect())
    }

    /// How free room is in pieces, and how many pieces of so many clusters are wholly free.
    ///
    /// # Errors
    /// What the kernel says: `chunk` has to be a power of 2 that a group has room for.
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
